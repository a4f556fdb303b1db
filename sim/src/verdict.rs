//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::net::Traffic;
use crate::scenario::Measure;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise: one of the names in `docs/simulation.md`.
    pub promise: &'static str,
    /// How.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.promise, self.what)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The promises the run broke.
    pub broken: Vec<Broken>,
    /// By the region of the client: transitions that were posted, and how many of them were acknowledged.
    pub posts: BTreeMap<String, Posts>,
    /// The ids of all transitions that clients posted, each once, in ascending order: what a failing run can be shrunk by.
    pub ids: Vec<String>,
    /// Cursors that were read.
    pub reads: u64,
    /// What was measured, by region of the node that answered, in the order it was measured.
    pub samples: BTreeMap<(Measure, String), Vec<Duration>>,
    /// Acknowledged transitions that are not at every node, broken promise or not.
    pub lost: Vec<String>,
    /// How long after the last fault and the last post all nodes were ready and equal; `None` if they were not in time.
    pub converged: Option<Duration>,
    /// What nodes told each other while clients asked: what arrived from when they began until the end of `lasting`, by the regions
    /// it came from and went to. Without what clients were told, and what turned up later.
    pub traffic: BTreeMap<(String, String), Traffic>,
    /// The same before clients began, in the second half of that time. Nothing where they began at once.
    pub quiet: BTreeMap<(String, String), Traffic>,
    /// How long the run was, in simulated time.
    pub lasted: Duration,
}

/// Transitions that were posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Posts {
    /// How many.
    pub posted: u64,
    /// Of how many somebody was told that they stand.
    pub acknowledged: u64,
}

impl Verdict {
    /// Of all regions.
    #[must_use]
    pub fn all_posts(&self) -> Posts {
        self.posts.values().fold(Posts::default(), |sum, posts| Posts {
            posted: sum.posted + posts.posted,
            acknowledged: sum.acknowledged + posts.acknowledged,
        })
    }
}
