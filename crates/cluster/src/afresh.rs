//! Starting afresh: what a node that has fallen behind takes with it, and what only it has.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{Fact, FactKey};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
pub use plimsoll_wire::peer::v1::HELD_MAX;
use plimsoll_wire::peer::v1::{RosterEntry, Standing, decode_held, encode_ask_held};

use crate::cluster::Cluster;
use crate::horizon::exchange;
use crate::link::Link;

/// How long a member may take to say which of some facts it has.
const HELD_TIME_MAX: Duration = Duration::from_secs(10);

/// What a node that has to start afresh hands on to the new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// This node.
    pub here: NodeId,
    /// A member that goes on has this node's feed up to this sequence.
    pub replicated: u64,
    /// The members that go on, and were asked.
    pub staying: BTreeSet<NodeId>,
    /// They have forgotten something from up to here; and nothing of what is later.
    pub forgotten_until: UnixNanos,
    /// The members, for the new node to call; this one is gone.
    pub roster: Vec<RosterEntry>,
}

impl Legacy {
    /// Whether it has to be asked whether a fact with these stamps is anywhere else. What a member accepted that goes on, it
    /// had, and may have let go; it may also have lost it, where an older state of its data directory was put back. What is
    /// later than they have forgotten tells the one from the other.
    #[must_use]
    pub fn is_in_doubt(&self, first: Timestamp, last: Timestamp) -> bool {
        last.time > self.forgotten_until || !self.is_theirs(first, last)
    }

    /// Whether those that go on accepted it.
    fn is_theirs(&self, first: Timestamp, last: Timestamp) -> bool {
        self.staying.contains(&first.node) && self.staying.contains(&last.node)
    }

    /// Whether a fact is elsewhere, if one with its key is. The key of a tombstone does not tell which of several it is: one
    /// that those accepted who go on is taken for it.
    #[must_use]
    pub fn is_there(&self, fact: &Fact, is_held: bool) -> bool {
        is_held && (fact.transition().is_some() || self.is_theirs(fact.first, fact.last))
    }

    /// Whether a fact that no member has who goes on is one that they let go, of which they need not be told: this node
    /// accepted it, they took it with its feed, and it is as old as what they have forgotten.
    #[must_use]
    pub fn is_let_go(&self, sequence: u64, fact: &Fact) -> bool {
        let is_accepted_here = fact.first.node == self.here && fact.last.node == self.here;
        is_accepted_here && sequence <= self.replicated && fact.first.time <= self.forgotten_until
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
        let standings: Vec<(NodeId, Standing)> = standings.collect();
        let horizons = standings.iter().filter_map(|(_, standing)| standing.horizon);
        let forgotten_until = horizons.map(|horizon| horizon.until).max().unwrap_or_default();
        let (staying, taken): (BTreeSet<NodeId>, Vec<_>) =
            standings.into_iter().map(|(node, standing)| (node, standing.taken)).unzip();
        let here = context.roster.here();
        let of_this = taken.into_iter().flatten().filter(|(incarnation, _)| *incarnation == here.incarnation);
        let replicated = of_this.map(|(_, sequence)| sequence).max().unwrap_or_default();
        let mut roster = context.roster.entries();
        roster.retain(|entry| entry.member.node != here.node);
        roster.push(RosterEntry { member: here.clone(), gone: true });
        Legacy { here: here.node, replicated, staying, forgotten_until, roster }
    }

    /// Which of some facts, at most [`HELD_MAX`], one of the members has that go on. One that does not answer has none.
    pub async fn held(&self, legacy: &Legacy, keys: &[FactKey]) -> Vec<bool> {
        let links: Vec<Link> = self
            .context
            .roster
            .view(|peers| legacy.staying.iter().filter_map(|node| peers.get(node)?.link.clone()).collect());
        let question = encode_ask_held(keys);
        let asking = links.iter().map(|link| link.ask_for("held", question.clone(), HELD_TIME_MAX, decode_held));
        let mut held = vec![false; keys.len()];
        for answer in join_all(asking).await {
            match answer {
                Ok(theirs) => held.iter_mut().zip(theirs).for_each(|(held, theirs)| *held |= theirs),
                Err(error) => tracing::warn!(%error, "a member does not say which facts it has: more may be exported"),
            }
        }
        held
    }
}
