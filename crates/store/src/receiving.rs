//! What a node does with the facts of its peers.
//!
//! They are merged at the same door as posts, in the same groups, and under no judgement but the clock's: another node
//! has accepted them. A fact from too far ahead is refused, and what follows it in the same feed with it: its origin keeps
//! it and offers it again (`projections.md`, section *Clock*). How far a peer's feed has been taken over is committed
//! with its facts, so a restart goes on where it was.

use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::projection::{Fact, Projection, RefRows};
use plimsoll_wire::record::v1::{self, StoredFact, StoredWatermark};

use crate::door::{Accepted, Admitted, Group};
use crate::engine::Table;
use crate::error::WriteError;
use crate::layout;
use crate::staging::Known;

/// A part of a peer's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The peer.
    pub peer: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// Its facts, each with its sequence there, in order.
    pub facts: Vec<(u64, StoredFact)>,
    /// Everything of the peer's feed up to here is in `facts` or was delivered before.
    pub up_to: u64,
}

impl Group<'_> {
    /// Merges the facts of a delivery, up to the first that cannot be: the last outcome is then an error.
    pub(crate) fn receive(&mut self, delivery: Delivery) -> Vec<Result<Accepted, WriteError>> {
        let Delivery { peer, incarnation, facts, up_to } = delivery;
        let mut outcomes = Vec::with_capacity(facts.len());
        let mut reached = None;
        for (sequence, StoredFact { tenant, fact }) in facts {
            let outcome = self.receive_fact(&tenant, &fact).map(Admitted::accepted);
            let failed = outcome.is_err();
            outcomes.push(outcome);
            if failed {
                break;
            }
            reached = Some(sequence);
        }
        let failed = outcomes.last().is_some_and(Result::is_err);
        if let Some(sequence) = if failed { reached } else { Some(up_to) } {
            let watermark = StoredWatermark { incarnation, sequence };
            self.staging.put(Table::Meta, layout::watermark(peer), v1::encode_watermark(watermark));
        }
        outcomes
    }

    fn receive_fact(&mut self, tenant: &TenantId, fact: &Fact) -> Result<Admitted, WriteError> {
        self.check_room()?;
        self.observe(fact.last)?;
        let known = match fact.transition() {
            Some(transition) => self.staging.known_transition(tenant, &transition.id)?,
            None => self.staging.known_tombstone(tenant, fact.artifact())?,
        };
        match known {
            Some(known) if known.fact.artifact() != fact.artifact() => self.receive_namesake(tenant, fact, known),
            known => self.merge(tenant, fact, known),
        }
    }

    fn merge(&mut self, tenant: &TenantId, fact: &Fact, known: Option<Known>) -> Result<Admitted, WriteError> {
        let head = self.head(tenant, fact.artifact())?;
        let rows = match fact.transition() {
            Some(transition) => self.rows(tenant, transition, &head)?,
            None => RefRows::default(),
        };
        self.admit(tenant, fact, known, head, rows)
    }

    /// One transition id for two artifacts, from two nodes: rule 6 of the merge. The smaller effective stamp's content
    /// stands, and so its artifact; the other artifact is as if it had never had the transition, but for the stamp part
    /// of its token, which does not go back.
    fn receive_namesake(&mut self, tenant: &TenantId, fact: &Fact, known: Known) -> Result<Admitted, WriteError> {
        let joined = known.fact.join(fact).fact;
        if joined.body == known.fact.body {
            return self.merge(tenant, &joined, Some(known));
        }
        self.retract(tenant, known)?;
        self.merge(tenant, &joined, None)
    }

    /// Folds an artifact anew without one of its facts.
    fn retract(&mut self, tenant: &TenantId, known: Known) -> Result<(), WriteError> {
        let artifact = known.fact.artifact().clone();
        let mut head = self.head(tenant, &artifact)?;
        let facts: Vec<Fact> = self.staging.facts_of(tenant, &artifact, &head.history).collect::<Result<_, _>>()?;
        let others = facts.iter().filter(|fact| fact.first != known.fact.first);
        let (projection, rows) = Projection::fold(others);
        let usage = self.usage(tenant)?;
        let removal = self.staging.removal(known)?;
        self.staging.put_refs(tenant, &artifact, &mut head.refs, &rows)?;
        head.projection = Projection { seen: head.projection.seen, ..projection };
        let usage = self.remove(tenant, &mut head, usage, Some(removal));
        self.set_usage(tenant, usage);
        self.change(tenant, artifact, head);
        Ok(())
    }
}
