//! What a cluster costs by its size: the same facts in clusters of so many nodes in so many regions, with nothing going wrong.
//!
//! Clients begin after [`Size::settling`], so that what nodes say to each other without any facts is told apart.

mod plot;
mod table;

use std::fmt::Write as _;
use std::time::Duration;

pub use plot::plot;
pub use table::tables;

use crate::job::Outcome;
use crate::measured::Crossing;
use crate::net::Traffic;

/// Posts a second, of all clients together.
pub const POSTS: f64 = 100.0;

/// Transitions a second that are waited for elsewhere, at all nodes together.
pub const WATCHES: f64 = 60.0;

/// How large a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    /// Nodes: at least one in each region.
    pub nodes: u8,
    /// Regions they are in, as evenly as may be.
    pub regions: u8,
}

/// The smallest cluster: what the process needs for itself is taken from a run of it.
pub const SMALLEST: Size = Size { nodes: 2, regions: 2 };

impl Size {
    /// All sizes of so many nodes and regions, small ones first. Where there are more regions than nodes there is none.
    #[must_use]
    pub fn all(nodes: &[u8], regions: &[u8]) -> Vec<Self> {
        let of =
            |nodes: &u8| regions.iter().map(|regions| Self { nodes: *nodes, regions: *regions }).collect::<Vec<_>>();
        let mut sizes: Vec<Self> =
            nodes.iter().flat_map(of).filter(|size| (1..=size.nodes).contains(&size.regions)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// How long nodes have to find each other before clients begin. What they say in the second half of it is taken for what they
    /// say when idle: the signs of life on each feed, one in four seconds.
    #[must_use]
    pub const fn settling(self) -> Duration {
        Duration::from_secs(if self.nodes > 30 { 20 } else { 8 })
    }

    /// The scenario of a run of it, as a file has it, in which clients post for so long.
    #[must_use]
    pub fn scenario(self, posting: Duration) -> String {
        let Self { nodes, regions } = self;
        let lasting = (self.settling() + posting).as_secs();
        let mut text = format!("name = \"scale-{nodes}-{regions}\"\nlasting = \"{lasting}s\"\n");
        // Writing to a text does not fail, here and below.
        let _ = write!(text, "\n[links]\nwithin = {{ latency = \"1ms\" }}\nbetween = {{ latency = \"40ms\" }}\n");
        for region in 0..regions {
            let there = nodes / regions + u8::from(region < nodes % regions);
            let _ = write!(text, "\n[[region]]\nname = \"r{region}\"\nnodes = {there}\n");
        }
        let of_each = |rate: f64| rate / f64::from(nodes);
        let _ = write!(
            text,
            "\n[workload]\nafter = \"{}s\"\nartifacts = 4\nposts = {:?}\nwatches = {:?}\nreads = 0.0\nresolves = 0.0\n\
             retires = 0.0\ndoubled = 0.0\n",
            self.settling().as_secs(),
            of_each(POSTS),
            of_each(WATCHES)
        );
        text
    }
}

/// A run of a size.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The size.
    pub size: Size,
    /// What came of it.
    pub outcome: Outcome,
    /// For how long clients posted.
    pub posting: Duration,
    /// How long the run took, by the wall.
    pub took: Duration,
    /// The most memory that a run of the [`SMALLEST`] cluster had, in KiB.
    pub smallest_kib: u64,
}

/// What passed a place, for each fact; and in each second without any.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes for each fact, signs of life and all.
    pub bytes: f64,
    /// Messages for each fact.
    pub segments: f64,
    /// Bytes for each fact beyond those of an idle cluster.
    pub net_bytes: f64,
    /// Bytes a second of an idle cluster.
    pub idle_bytes: f64,
    /// Messages a second of an idle cluster.
    pub idle_segments: f64,
}

impl Row {
    /// Facts: transitions that were acknowledged.
    #[must_use]
    pub const fn facts(&self) -> u64 {
        self.outcome.acknowledged
    }

    fn cost(&self, loaded: Traffic, quiet: Traffic) -> Cost {
        let (facts, quiet_s) = (self.facts().max(1) as f64, self.size.settling().as_secs_f64() / 2.0);
        let idle_bytes = quiet.bytes as f64 / quiet_s;
        Cost {
            bytes: loaded.bytes as f64 / facts,
            segments: loaded.segments as f64 / facts,
            net_bytes: (loaded.bytes as f64 - idle_bytes * self.posting.as_secs_f64()) / facts,
            idle_bytes,
            idle_segments: quiet.segments as f64 / quiet_s,
        }
    }

    fn sum(&self, counts: impl Fn(&Crossing) -> bool) -> Cost {
        let (mut loaded, mut quiet) = (Traffic::default(), Traffic::default());
        for crossing in self.outcome.measured.traffic.iter().filter(|crossing| counts(crossing)) {
            loaded += crossing.loaded;
            quiet += crossing.quiet;
        }
        self.cost(loaded, quiet)
    }

    /// Over all boundaries between regions, both ways.
    #[must_use]
    pub fn between(&self) -> Cost {
        self.sum(Crossing::is_between)
    }

    /// Within all regions.
    #[must_use]
    pub fn within(&self) -> Cost {
        self.sum(|crossing| !crossing.is_between())
    }

    /// Bytes for each fact over each boundary, one way, in ascending order.
    #[must_use]
    pub fn boundaries(&self) -> Vec<f64> {
        let crossings = self.outcome.measured.traffic.iter().filter(|crossing| crossing.is_between());
        let mut bytes: Vec<f64> = crossings.map(|crossing| self.cost(crossing.loaded, crossing.quiet).bytes).collect();
        bytes.sort_unstable_by(f64::total_cmp);
        bytes
    }

    /// Bytes over boundaries for each fact and each region that it has to go to, beyond those of an idle cluster.
    #[must_use]
    pub fn to_each_other_region(&self) -> f64 {
        self.between().net_bytes / f64::from(self.size.regions.saturating_sub(1).max(1))
    }

    /// Memory of a node more, in MiB: its store in memory, its buffers, and what simulates it. None for the smallest cluster.
    #[must_use]
    pub fn node_mib(&self) -> Option<f64> {
        let more = self.size.nodes.checked_sub(SMALLEST.nodes).filter(|more| *more > 0)?;
        let kib = self.outcome.measured.peak_kib.saturating_sub(self.smallest_kib);
        Some(kib as f64 / 1_024.0 / f64::from(more))
    }

    /// Simulated seconds in each second by the wall, and in each second the run had a processor.
    #[must_use]
    pub fn speed(&self) -> (f64, f64) {
        let lasted = self.outcome.lasted.as_secs_f64();
        (lasted / self.took.as_secs_f64(), lasted / self.outcome.measured.processor.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::file::read;

    #[test]
    fn every_size_is_a_scenario() {
        let sizes = Size::all(&[100, 10, 2], &[3, 10, 1]);
        let told: Vec<(u8, u8)> = sizes.iter().map(|size| (size.nodes, size.regions)).collect();
        assert_eq!(told, [(2, 1), (10, 1), (10, 3), (10, 10), (100, 1), (100, 3), (100, 10)]);
        for size in sizes {
            let scenario = read("scale", &size.scenario(Duration::from_secs(5))).unwrap();
            assert_eq!((scenario.nodes(), scenario.regions.len()), (size.nodes, usize::from(size.regions)));
            assert_eq!(scenario.lasting, size.settling() + Duration::from_secs(5));
            assert!(scenario.swarm.is_none() && scenario.schedule.is_empty());
        }
    }
}
