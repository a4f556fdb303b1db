//! Starting afresh: what a node that has fallen behind takes with it, and what only it has.

use std::collections::BTreeSet;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::peer::v1::{RosterEntry, Standing};

use crate::cluster::Cluster;
use crate::horizon::exchange;

/// What a node that has to start afresh hands on to the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// A member that goes on has this node's feed up to this sequence; what came after it may be nowhere else.
    pub replicated: u64,
    /// The members that go on, and were asked. What they accepted they had.
    pub staying: BTreeSet<NodeId>,
    /// The members, for the new node to call; this one is gone.
    pub roster: Vec<RosterEntry>,
}

impl Legacy {
    /// Whether a fact with these stamps, from behind `replicated`, may be nowhere but here.
    #[must_use]
    pub fn is_unreplicated(&self, first: Timestamp, last: Timestamp) -> bool {
        !self.staying.contains(&first.node) || !self.staying.contains(&last.node)
    }
}

impl Cluster {
    /// Whether this node has fallen behind, and has to start afresh with an empty data directory.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        *self.context.behind.borrow()
    }

    /// Waits until this node has fallen behind; for ever, where it does not.
    pub async fn behind(&self) {
        let mut behind = self.context.behind.subscribe();
        // The other end is the context's own, so it does not end.
        drop(behind.wait_for(|is_behind| *is_behind).await);
    }

    /// What a node that has fallen behind hands on. Asks the members that are connected how far they came with its feed.
    pub async fn legacy(&self) -> Legacy {
        let context = &self.context;
        let own = context.projections.horizon().unwrap_or_default();
        // What only another one has that will start afresh is as good as lost.
        let stays = |standing: &Standing| standing.horizon.is_some_and(|theirs| theirs.until > own.until);
        let standings = exchange(context, own).await.into_iter().filter(|(_, standing)| stays(standing));
        let (staying, taken): (BTreeSet<NodeId>, Vec<_>) =
            standings.map(|(node, standing)| (node, standing.taken)).unzip();
        let here = context.roster.here();
        let of_this = taken.into_iter().flatten().filter(|(incarnation, _)| *incarnation == here.incarnation);
        let replicated = of_this.map(|(_, sequence)| sequence).max().unwrap_or_default();
        let mut roster = context.roster.entries();
        roster.retain(|entry| entry.member.node != here.node);
        roster.push(RosterEntry { member: here.clone(), gone: true });
        Legacy { replicated, staying, roster }
    }
}
