//! Clients that post at all nodes while a test does something to these.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use plimsoll_tests::cluster::{Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::trace::{pending, resolved, transition};

/// Artifacts that all clients post to.
const ARTIFACTS: u64 = 6;

/// How long a client waits for an answer before it gives up, and does not know.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two posts of a client: a test is no measurement.
const PAUSE: Duration = Duration::from_millis(10);

/// A ref that is known to be open.
struct Open {
    artifact: String,
    key: String,
    number: u64,
}

/// See the module.
pub(crate) struct Load<'a> {
    cluster: &'a Cluster,
    history: &'a History,
    acknowledged: Vec<AtomicU64>,
    open: Mutex<Vec<Open>>,
    is_over: AtomicBool,
}

/// The load ends with this, also where a test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Does something while a client posts at each node, named so that no two loads of a test post the same.
pub(crate) fn under_load<T>(cluster: &Cluster, history: &History, name: &str, work: impl FnOnce(&Load<'_>) -> T) -> T {
    under_load_at(cluster, cluster.numbers(), history, name, work)
}

/// As [`under_load`], with clients at some nodes only.
pub(crate) fn under_load_at<T>(
    cluster: &Cluster,
    numbers: impl IntoIterator<Item = u8>,
    history: &History,
    name: &str,
    work: impl FnOnce(&Load<'_>) -> T,
) -> T {
    let acknowledged = cluster.numbers().map(|_| AtomicU64::new(0)).collect();
    let (open, is_over) = (Mutex::default(), AtomicBool::new(false));
    let load = Load { cluster, history, acknowledged, open, is_over };
    thread::scope(|scope| {
        for number in numbers {
            let load = &load;
            scope.spawn(move || cluster.network.as_client(|| load.post_at(number, name)));
        }
        let _end = End(&load.is_over);
        work(&load)
    })
}

impl Load<'_> {
    /// Waits until each of these nodes has acknowledged so many more transitions.
    #[track_caller]
    pub(crate) fn more(&self, numbers: impl IntoIterator<Item = u8>, count: u64) {
        let now = |number: u8| self.acknowledged[usize::from(number) - 1].load(Ordering::SeqCst);
        let wanted: Vec<(u8, u64)> = numbers.into_iter().map(|number| (number, now(number) + count)).collect();
        until("transitions are acknowledged", || wanted.iter().all(|(number, wanted)| now(*number) >= *wanted));
    }

    /// Posts at a node until the load is over: each transition opens a ref, and each third resolves one that any client has
    /// opened at any node.
    fn post_at(&self, number: u8, name: &str) {
        let client = self.cluster.client(number, PATIENCE);
        for turn in 0_u64.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let resolving = if turn % 3 == 0 { self.open.lock().unwrap().pop() } else { None };
            let artifact = resolving.as_ref().map_or(format!("artifact-{}", turn % ARTIFACTS), |o| o.artifact.clone());
            let id = format!("{name}-{number}-{turn}");
            let mut refs = vec![pending(&id)];
            refs.extend(resolving.as_ref().map(|open| resolved(&open.key, open.number)));
            let transition = transition(&artifact, &id, &format!("s-{id}"), &refs);
            let mut outcome = self.history.post(&client, &transition);
            // One emitter tries again what it knows nothing of, the next leaves it.
            while outcome == Outcome::Unknown && turn % 2 == 0 && !self.is_over.load(Ordering::SeqCst) {
                thread::sleep(PAUSE);
                outcome = self.history.post(&client, &transition);
            }
            if outcome.is_acknowledged() {
                self.acknowledged[usize::from(number) - 1].fetch_add(1, Ordering::SeqCst);
                let opened = Open { artifact, key: id, number: 1_000_000 * u64::from(number) + turn + 1 };
                self.open.lock().unwrap().push(opened);
            }
            thread::sleep(PAUSE);
        }
    }
}
