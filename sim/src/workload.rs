//! Clients as in life, near each node: an emitter that posts, retries and retires, a reader and a watcher of cursors, an importer,
//! and somebody who has no business there.

mod emitter;
mod importer;
mod reader;
mod stranger;

pub(crate) use reader::BOUNDED;

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::sleep;

use crate::history::{History, Store};
use crate::host::Host;
use crate::net::Weather;
use crate::plan::Plan;

/// What all clients near one node know.
#[derive(Clone)]
pub struct Clients {
    /// The node they are near.
    pub nearest: u8,
    /// What they are to do.
    pub plan: Arc<Plan>,
    /// All hosts.
    pub hosts: Arc<Vec<Host>>,
    /// The network.
    pub weather: Weather,
    /// Where they write down what they see.
    pub history: Arc<History>,
}

impl Clients {
    /// Does everything clients do until the time is up, and what was begun has ended.
    pub async fn run(self) {
        let workload = &self.plan.scenario.workload;
        if !workload.after.is_zero() {
            sleep(workload.after).await;
        }
        let (posts, reads, watches) = (workload.posts, workload.reads, workload.watches);
        tokio::join!(
            self.each("emitter", posts, emitter::emit),
            self.each("reader", reads, reader::read),
            self.each("watcher", watches, reader::watch),
            importer::import(&self),
            self.each("stranger", STRANGERS, stranger::look),
        );
        self.history.client_ended();
    }

    /// Runs one of them, with chance of its own; not at all where it has nothing to do.
    async fn each(&self, who: &str, rate: f64, run: impl AsyncFnOnce(&Self, StdRng, Pace)) {
        if rate > 0.0 {
            let seed = blake3::hash(format!("{} {who} {}", self.plan.seed, self.nearest).as_bytes());
            let rng = StdRng::from_seed(*seed.as_bytes());
            run(self, rng, Pace { rate, until: self.plan.scenario.lasting }).await;
        }
    }

    fn nodes(&self) -> u8 {
        self.plan.scenario.nodes()
    }

    fn host(&self, node: u8) -> &Host {
        &self.hosts[usize::from(node) - 1]
    }

    fn store(&self, node: u8) -> Store {
        (node, self.host(node).store())
    }

    /// Whether everything that was acknowledged must be where an answer says it is: no disk was replaced.
    fn can_judge_age(&self) -> bool {
        self.hosts.iter().all(|host| host.store() == 0)
    }

    fn region(&self) -> &str {
        &self.host(self.nearest).region
    }

    /// The node after this one, all round.
    fn after(&self, node: u8) -> u8 {
        1 + node % self.nodes()
    }
}

/// So often a second does a stranger look.
const STRANGERS: f64 = 0.2;

/// How often something is done, in the mean, and until when.
#[derive(Debug, Clone, Copy)]
struct Pace {
    rate: f64,
    until: Duration,
}

impl Pace {
    /// Waits for the next time; not, if there is none.
    async fn next(&self, rng: &mut StdRng) -> bool {
        sleep(Duration::from_secs_f64(rng.random_range(0.0..2.0) / self.rate)).await;
        now() < self.until
    }
}

/// Since the beginning of the run.
pub(crate) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
