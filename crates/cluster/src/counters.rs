//! What is counted, for the node's metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bytes_sent: Count,
    pub(crate) bytes_received: Count,
    pub(crate) facts_sent: Count,
    pub(crate) facts_received: Count,
    pub(crate) facts_from_afar: Count,
    pub(crate) facts_refused: Count,
    pub(crate) links_made: Count,
    pub(crate) links_failed: Count,
    pub(crate) callers_refused: Count,
    /// Rounds in which the members did not agree on what to forget.
    pub(crate) rounds_failed: Count,
    pub(crate) refs_asked: Count,
    pub(crate) repair_questions: Count,
    pub(crate) repair_facts: Count,
    pub(crate) refs_repaired: Count,
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
