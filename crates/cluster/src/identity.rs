//! One node id, one process: a copy of a node's data directory is turned away.
//!
//! Each start of a node draws an instance, and has a greater generation than the one before it. Of a node that was started
//! again only the later start is left: nobody answers for the earlier one any more, though connections to it may hang for a
//! while. Of a copy and its original both answer. So whoever is connected to one start of a node, and is called by another,
//! asks the first whether it is still there, and turns the second away if it is. What a dead process may have sent before
//! does not count: it is no answer to a question that was asked after the other had called.
//!
//! Which of the two is the copy is not for the nodes to tell. What matters is that nobody takes writes whom the others do
//! not follow and ask.

use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_wire::peer::v1::{Hello, Refusal, RosterEntry, encode_roster};

use crate::context::Context;

/// How long the start of a node that is connected may take to answer: over any round trip of this planet, and less than
/// whoever says hello waits.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(1_500);

/// One start of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) instance: u64,
    pub(crate) generation: u64,
}

impl Start {
    pub(crate) const fn of(hello: &Hello) -> Self {
        Self { instance: hello.instance, generation: hello.member.generation }
    }
}

impl Context {
    /// Whether to talk to who says this of itself, and in which version.
    pub(crate) async fn admit(&self, hello: &Hello) -> Result<u16, Refusal> {
        let version = self.meet(hello)?;
        let start = Start::of(hello);
        let known = self.roster.peer(hello.member.node, |peer| (peer.entry.member.generation, peer.link.clone()));
        let Some((latest, link)) = known else { return Ok(version) };
        if latest > start.generation {
            return Err(Refusal::SameNode);
        }
        let Some(other) = link.filter(|link| link.start().instance != start.instance) else { return Ok(version) };
        // It fences itself where it reads that it is not the later one.
        let question = encode_roster(&[RosterEntry { member: hello.member.clone(), gone: false }]);
        match other.ask("roster", question, ANSWER_TIME_MAX).await {
            Ok(_) => Err(Refusal::SameNode),
            Err(_) => Ok(version),
        }
    }

    /// Waits until a later start of a node is known than the one of this generation: connections with that one end then, so
    /// that it has to say hello again if it still runs.
    pub(crate) async fn superseded(&self, node: NodeId, generation: u64) {
        let is_later = || self.roster.peer(node, |peer| peer.entry.member.generation > generation) == Some(true);
        // The other end is the roster's own, so it does not end.
        drop(self.roster.watch().wait_for(|()| is_later()).await);
    }
}
