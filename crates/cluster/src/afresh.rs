//! Starting afresh: what a node that has fallen behind takes with it, and what only it has.

use futures_util::future::join_all;
use plimsoll_wire::peer::v1::RosterEntry;

use crate::cluster::Cluster;
use crate::horizon::standing_of;
use crate::link::Link;

/// What a node that has to start afresh hands on to the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// Some other member has this node's feed up to this sequence; what this node accepted after it may be nowhere else.
    pub replicated: u64,
    /// The members, for the new node to call; this one is gone.
    pub roster: Vec<RosterEntry>,
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
        let links: Vec<Link> =
            context.roster.view(|peers| peers.values().filter_map(|peer| peer.link.clone()).collect());
        let standings = join_all(links.iter().map(|link| standing_of(link, own))).await;
        let here = context.roster.here();
        let taken = standings.into_iter().filter_map(|standing| standing.ok()?.taken);
        let of_this = taken.filter(|(incarnation, _)| *incarnation == here.incarnation);
        let replicated = of_this.map(|(_, sequence)| sequence).max().unwrap_or_default();
        let mut roster = context.roster.entries();
        roster.retain(|entry| entry.member.node != here.node);
        roster.push(RosterEntry { member: here.clone(), gone: true });
        Legacy { replicated, roster }
    }
}
