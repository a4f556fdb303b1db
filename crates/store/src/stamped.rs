//! How far this node's own facts reach in its log.
//!
//! Who follows a node for what it stamps itself would have it read all that it takes over from others, and find nothing. A node
//! that others follow so, and that only takes over, need not look.

use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Fact;

/// The latest sequence of a fact that this node has stamped, or a later one.
#[derive(Debug)]
pub(crate) struct Stamped {
    node: NodeId,
    up_to: AtomicU64,
}

impl Stamped {
    /// What is in the log of `node` up to `sequence` is not known.
    pub(crate) const fn unknown(node: NodeId, sequence: u64) -> Self {
        Self { node, up_to: AtomicU64::new(sequence) }
    }

    /// Notes a fact, before it can be durable.
    pub(crate) fn note(&self, fact: &Fact, sequence: u64) {
        if [fact.first.node, fact.last.node].contains(&self.node) {
            self.up_to.fetch_max(sequence, Ordering::SeqCst);
        }
    }

    /// Whether there may be any after a sequence.
    pub(crate) fn may_be_after(&self, sequence: u64) -> bool {
        self.up_to.load(Ordering::SeqCst) > sequence
    }
}
