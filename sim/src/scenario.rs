//! A scenario: all of a run that is not chance. With a seed it makes a [`Plan`](crate::plan::Plan).

pub mod file;
pub mod model;
pub mod problem;
pub mod quantity;
pub mod ready;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::faults::{Event, Swarm};

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// What it is called: 1 to 64 of a-z, 0-9 and the hyphen.
    pub name: String,
    /// How long clients ask, and things go wrong: 1 s to an hour.
    pub lasting: Duration,
    /// How long the nodes may take, once all is mended and nobody posts any more, to be ready and equal: 1 s to an hour.
    pub calm: Duration,
    /// Where the nodes are: node 1 and those after it in the first region, and so on. 2 to 100 nodes in all.
    pub regions: Vec<Region>,
    /// How messages travel.
    pub links: Links,
    /// What every node is told.
    pub settings: Settings,
    /// What clients do.
    pub workload: Workload,
    /// Ids of transitions that clients leave out: they draw them as ever, and do not post them. At most 100,000.
    pub unposted: BTreeSet<String>,
    /// What goes wrong at a time that was chosen, in order of time.
    pub schedule: Vec<Event>,
    /// What goes wrong by chance.
    pub swarm: Option<Swarm>,
    /// What is asked of a run beyond the promises, which every run has to keep.
    pub assertions: Vec<Assertion>,
}

/// Nodes that are near each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its name, as the product takes it.
    pub name: String,
    /// How many nodes are there: 1 to 100.
    pub nodes: u8,
}

/// How messages travel within regions and between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Links {
    /// Between two hosts of one region.
    pub within: Link,
    /// Between two regions of which nothing else is said.
    pub between: Link,
    /// Between two regions, the name that sorts first in front.
    pub pairs: BTreeMap<(String, String), Link>,
}

impl Links {
    /// How messages travel between two regions, or within one.
    #[must_use]
    pub fn of(&self, one: &str, other: &str) -> Link {
        if one == other {
            return self.within;
        }
        let (first, second) = if one < other { (one, other) } else { (other, one) };
        self.pairs.get(&(first.to_owned(), second.to_owned())).copied().unwrap_or(self.between)
    }
}

/// How messages travel between two hosts. Hosts speak TCP, so nothing is lost, doubled or out of order for those who listen:
/// what is lost on the way comes later, and everything behind it too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The least time a segment takes, one way: 1 ms to 10 s.
    pub latency: Duration,
    /// At most so much more, drawn for each segment: up to 10 s.
    pub jitter: Duration,
    /// The part of segments that is lost and sent again after a timeout: 0 to 0.5.
    pub loss: f64,
    /// Bytes a second each way; `None` for no bound. At least 1,000.
    pub bandwidth: Option<u64>,
}

impl Link {
    /// A link that takes so many milliseconds one way, and nothing else of note.
    #[must_use]
    pub const fn of_millis(millis: u64) -> Self {
        Self { latency: Duration::from_millis(millis), jitter: Duration::ZERO, loss: 0.0, bandwidth: None }
    }
}

/// What every node is told: settings of the product, in its own units and bounds (`docs/configuration.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// By key, as they would be in the product's configuration file. Not `listen`, `peer_listen`, `advertise`, `seed`, `region`,
    /// `data_dir`, `engine`, `tls` and `tokens`: those are the simulation's.
    pub product: BTreeMap<String, String>,
    /// What nodes keep their store on.
    pub disk: DiskKind,
}

/// What a simulated disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskKind {
    /// The engine in memory, which loses whole batches that were not synced.
    Memory,
    /// redb, on pages that are lost or torn if they were not synced.
    Redb,
}

/// What clients do. Each node has clients near it; all rates are for each node, in simulated time, and bounded by 1,000.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// When clients begin: up to an hour after the run does. Not at all if it is over by then.
    pub after: Duration,
    /// Artifacts that clients post about: 1 to 100,000.
    pub artifacts: u32,
    /// Posts a second of the emitter, which tries again, and elsewhere, with the same id.
    pub posts: f64,
    /// The part of posts that resolve a ref that was opened elsewhere: 0 to 1.
    pub resolves: f64,
    /// The part of posts that retire an artifact: 0 to 1.
    pub retires: f64,
    /// The part of posts that are sent to two nodes at once: 0 to 1.
    pub doubled: f64,
    /// Cursors a second that the reader polls.
    pub reads: f64,
    /// Transitions a second of others that a watcher waits for with a long poll, and whose lag it measures.
    pub watches: f64,
    /// Batches of an importer, in all: up to 10,000.
    pub imports: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            after: Duration::ZERO,
            artifacts: 12,
            posts: 5.0,
            resolves: 0.2,
            retires: 0.05,
            doubled: 0.05,
            reads: 5.0,
            watches: 1.0,
            imports: 0,
        }
    }
}

/// What is asked of a run beyond the promises.
#[derive(Debug, Clone, PartialEq)]
pub enum Assertion {
    /// All nodes are ready and equal so soon after the last fault and the last post.
    Converges {
        /// At most.
        within: Duration,
    },
    /// Every acknowledged transition is at every node: also those whose only disk was wiped, which no promise covers.
    NoLostAcks,
    /// Of what was measured, so many percent lie below a bound.
    Percentile {
        /// What was measured.
        measure: Measure,
        /// 0 to 100; 99.9 for p99.9.
        percentile: f64,
        /// The bound.
        below: Duration,
        /// At the nodes of one region; `None` for all.
        region: Option<String>,
    },
    /// Of all posts at least this part is acknowledged, in the end: 0 to 1.
    Acknowledged {
        /// The part.
        at_least: f64,
        /// By the nodes of one region; `None` for all.
        region: Option<String>,
    },
}

/// What is measured during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    /// From the acknowledgement of a post until a node elsewhere shows it, by `contains`.
    CursorLag,
    /// From a post to its acknowledgement, retries included.
    PostLatency,
    /// From asking for a cursor to the answer.
    ReadLatency,
}

impl Scenario {
    /// The scenario of a run of which nothing else is said: so many nodes in three regions 40 ms apart, everything clients do, and
    /// up to twelve faults of any kind.
    #[must_use]
    pub fn standard(nodes: u8, lasting: Duration) -> Self {
        let of = |at: u8| nodes / 3 + u8::from(at < nodes % 3);
        let regions =
            ["eu", "us", "ap"].into_iter().zip(0..).map(|(name, at)| Region { name: name.to_owned(), nodes: of(at) });
        Self {
            name: "standard".to_owned(),
            lasting,
            calm: Duration::from_secs(120),
            regions: regions.filter(|region| region.nodes > 0).collect(),
            links: Links { within: Link::of_millis(1), between: Link::of_millis(40), pairs: BTreeMap::new() },
            settings: Settings {
                product: BTreeMap::from([
                    ("pulse_ms".to_owned(), "1000".to_owned()),
                    ("retention_s".to_owned(), "5".to_owned()),
                ]),
                disk: DiskKind::Memory,
            },
            workload: Workload::default(),
            unposted: BTreeSet::new(),
            schedule: Vec::new(),
            swarm: Some(Swarm::default()),
            assertions: Vec::new(),
        }
    }

    /// The region of each node, in the order of their numbers.
    #[must_use]
    pub fn region_of_each(&self) -> Vec<String> {
        self.regions
            .iter()
            .flat_map(|region| std::iter::repeat_n(region.name.clone(), usize::from(region.nodes)))
            .collect()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> u8 {
        self.regions.iter().map(|region| region.nodes).sum()
    }
}
