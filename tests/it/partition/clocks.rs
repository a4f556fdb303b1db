//! What happens to clocks: one is set ahead, or back, while its node runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_node::environment::system_time;
use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::trace::transition;

use super::load::under_load;
use super::{cluster, comes_to_rest, post, refused};

/// How far the clock of the third node is set off: twenty times what it may be.
const OFF_MS: i64 = 10_000;

/// `max_drift_ms`, as it is by default.
const DRIFT_MAX_MS: i64 = 500;

/// The time so many milliseconds from now, as texts sort.
fn now_and(millis: i64) -> String {
    let now = i128::from(system_time().get()) + i128::from(millis) * 1_000_000;
    UnixNanos::new(u64::try_from(now).unwrap()).to_text()
}

/// Three nodes, of which the third has a clock that is set, and clients that post while it is.
struct Scene {
    cluster: Cluster,
    history: History,
    posted: AtomicU32,
}

impl Scene {
    /// All of them run, each has told the others its time, and all are right.
    fn begin(test: &str) -> Option<Self> {
        // In regions of their own each follows each, and so all are judges.
        let cluster = cluster(test, &["eu", "us", "ap"], &[])?;
        cluster.clock(3).set(0);
        cluster.start_all();
        cluster.ready();
        Some(Self { cluster, history: History::default(), posted: AtomicU32::new(0) })
    }

    /// Posts to an artifact.
    fn post(&self, number: u8, artifact: &str) -> Outcome {
        let id = format!("{artifact}-{}", self.posted.fetch_add(1, Ordering::SeqCst));
        post(&self.cluster, &self.history, number, &transition(artifact, &id, &format!("s-{id}"), &[]))
    }

    /// Posts something that has to be accepted, and returns its stamp.
    #[track_caller]
    fn stamp(&self, number: u8, artifact: &str) -> String {
        match self.post(number, artifact) {
            Outcome::Accepted(stamp) => stamp,
            outcome => panic!("{outcome:?}"),
        }
    }

    /// The first two nodes accept posts, and their stamps are of the moment: no other clock drags theirs along, beyond what
    /// is allowed. Nobody else posts to that artifact.
    #[track_caller]
    fn the_others_are_right(&self) {
        for number in [1, 2] {
            let before = now_and(0);
            let stamp = self.stamp(number, "right");
            let after = now_and(DRIFT_MAX_MS);
            assert!(before <= stamp && stamp <= after, "node {number}: {before} {stamp} {after}");
        }
    }

    /// Waits until the third node has fenced itself, and sees that it refuses posts, and serves reads.
    #[track_caller]
    fn is_fenced(&self) {
        until("its clock is seen to be off", || {
            self.the_others_are_right();
            self.cluster.state(3) == "clock_fenced"
        });
        assert_eq!(self.post(3, "fenced"), refused(503, "clock-fenced"));
        for path in ["/projections/artifact-1", "/projections/artifact-1/cursor", "/projections/artifact-1/transitions"]
        {
            assert!(self.cluster.get(3, path).is_object());
        }
        assert!([1, 2].iter().all(|number| self.cluster.state(*number) == "ready"));
    }

    /// A node that had caught up before is to be sent requests all the same.
    #[track_caller]
    fn says_so(&self) {
        let readiness = self.cluster.get(3, "/readyz");
        let reason = "urn:plimsoll:problem:clock-fenced";
        assert_eq!((&readiness["ready"], &readiness["reason"]), (&false.into(), &reason.into()));
    }

    /// Waits until it takes writes again, by itself.
    #[track_caller]
    fn is_right_again(&self) {
        until("its clock is seen to be right", || {
            self.the_others_are_right();
            self.cluster.state(3) == "ready"
        });
    }

    /// Cuts the third node off, or mends that, and waits until all have seen it.
    #[track_caller]
    fn cut_off(&self) {
        let cluster = &self.cluster;
        cluster.network.cut_off(&[3]);
        until("the cut is seen", || [1, 2].iter().all(|other| !cluster.sees(*other, 3) && !cluster.sees(3, *other)));
    }

    /// Waits until what another node has accepted is visible at the third.
    #[track_caller]
    fn what_others_accept_is_read_there(&self) {
        let id = format!("told-{}", self.posted.fetch_add(1, Ordering::SeqCst));
        let told = post(&self.cluster, &self.history, 1, &transition("told", &id, "told", &[]));
        assert!(matches!(told, Outcome::Accepted(_)), "{told:?}");
        until("it is read there", || {
            let client = self.cluster.client(3, BOUND);
            self.cluster
                .network
                .as_client(|| client.get(&format!("/projections/told/cursor?contains={id}")))
                .unwrap()
                .status
                == 200
        });
    }

    /// The stamp of each artifact at the third node.
    fn stamps(&self) -> BTreeMap<String, String> {
        let listed = self.cluster.get(3, "/projections?limit=1000");
        assert!(listed["next"].is_null());
        let items = listed["items"].as_array().unwrap().iter();
        let text = |text: &serde_json::Value| text.as_str().unwrap().to_owned();
        let stamp = |token: String| token.rsplit_once('/').unwrap().0.to_owned();
        items.map(|item| (text(&item["artifact_id"]), stamp(text(&item["committed_version"])))).collect()
    }

    /// What a wrong clock has stamped was stamped beside the time, so what is the latest of an artifact is not what was
    /// posted last, until something is posted after all of that is known.
    #[track_caller]
    fn comes_to_rest(&self) {
        self.cluster.converged();
        for artifact in self.stamps().keys().filter(|artifact| *artifact != "right") {
            assert!(matches!(self.post(1, artifact), Outcome::Accepted(_)));
        }
        comes_to_rest(&self.cluster, &self.history);
    }
}

/// What it stamps ahead before anybody has told it, the others take over when it is time; nobody else's clock is moved by
/// it, and what it was told before stays below.
#[test]
fn a_node_whose_clock_is_set_ahead_keeps_its_writes_to_itself() {
    let Some(scene) = Scene::begin("a clock that is set ahead") else { return };
    let cluster = &scene.cluster;
    under_load(cluster, &scene.history, "load", |load| {
        load.more([1, 2, 3], 20);
        // Under the eyes of the others: the fence comes up while clients post.
        cluster.clock(3).set(OFF_MS);
        scene.is_fenced();
        scene.says_so();
        load.more([1, 2], 20);
        scene.what_others_accept_is_read_there();
        cluster.clock(3).set(0);
        scene.is_right_again();
        load.more([1, 2, 3], 20);
        // And where nobody sees it, so that it stamps what is ahead.
        scene.cut_off();
        cluster.clock(3).set(OFF_MS);
        let before = now_and(OFF_MS);
        assert!(before <= scene.stamp(3, "ahead"));
        load.more([3], 5);
        cluster.network.mend();
        scene.is_fenced();
        scene.what_others_accept_is_read_there();
        load.more([1, 2], 20);
        cluster.clock(3).set(0);
        scene.is_right_again();
        load.more([1, 2, 3], 20);
        until("what it stamped ahead is everywhere", || {
            scene.the_others_are_right();
            cluster.network.as_client(|| {
                let is_there = |number| cluster.client(number, BOUND).get("/projections/ahead").unwrap().status == 200;
                is_there(1) && is_there(2)
            })
        });
        assert!(before <= now_and(DRIFT_MAX_MS), "it was taken over before it was time");
    });
    scene.comes_to_rest();
}

/// What the others stamp is in its future: it does not take that over, and goes on reading what it has. It does not stamp
/// below what it has stamped, not even after a restart, when nobody tells it that its clock is wrong.
#[test]
fn a_node_whose_clock_is_set_back_never_goes_back() {
    let Some(scene) = Scene::begin("a clock that is set back") else { return };
    let cluster = &scene.cluster;
    under_load(cluster, &scene.history, "load", |load| {
        load.more([1, 2, 3], 20);
        cluster.clock(3).set(-OFF_MS);
        scene.is_fenced();
        scene.says_so();
        load.more([1, 2], 20);
        scene.cut_off();
        let before = scene.stamps();
        cluster.stop(3);
        cluster.start(3);
        let stamp = scene.stamp(3, "back");
        assert!(before.values().all(|earlier| *earlier < stamp), "{stamp} {before:?}");
        load.more([3], 20);
        let after = scene.stamps();
        assert!(before.iter().all(|(artifact, earlier)| earlier <= &after[artifact]), "{before:?} {after:?}");
        cluster.kill(3);
        cluster.start(3);
        let again = scene.stamp(3, "back");
        assert!(after.values().all(|earlier| *earlier < again), "{again} {after:?}");
        cluster.network.mend();
        scene.is_fenced();
        cluster.clock(3).set(0);
        scene.is_right_again();
        load.more([1, 2, 3], 20);
        scene.what_others_accept_is_read_there();
        let last = scene.stamps();
        assert!(after.iter().all(|(artifact, earlier)| earlier <= &last[artifact]), "{after:?} {last:?}");
    });
    scene.comes_to_rest();
}
