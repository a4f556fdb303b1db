//! What a node does with the facts of its peers.
//!
//! They are merged at the same door as posts, in the same groups, and under no judgement but the clock's: another node
//! has accepted them. A fact from too far ahead is refused, and what follows it in the same feed with it: its origin keeps
//! it and offers it again (`projections.md`, section *Clock*). How far a peer's feed has been taken over is committed
//! with its facts, so a restart goes on where it was.

use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::{Fact, Horizon, Projection, RefRows};
use plimsoll_wire::record::RecordError;
use plimsoll_wire::record::v1::{self, StoredFact, StoredWatermark};
use plimsoll_wire::record::v2::StoredHead;

use crate::door::{Accepted, Group, token_of};
use crate::engine::Table;
use crate::error::{ReadError, WriteError};
use crate::feed::Position;
use crate::layout;
use crate::staging::Known;

/// A part of a peer's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The peer.
    pub peer: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// The sequence the page begins after.
    pub after: u64,
    /// How much the peer had forgotten when it told them.
    pub horizon: Horizon,
    /// Its facts, each with its sequence there, in order.
    pub facts: Vec<(u64, StoredFact)>,
    /// Everything of the peer's feed from `after` up to here is in `facts`.
    pub up_to: u64,
}

impl Delivery {
    /// Reads the facts of a page of a feed of a peer of this horizon that begins after `after`.
    ///
    /// # Errors
    /// [`RecordError`]: one of them cannot be read.
    pub fn read(after: Position, horizon: Horizon, facts: &[(u64, Vec<u8>)], up_to: u64) -> Result<Self, RecordError> {
        let facts = facts.iter().map(|(sequence, fact)| Ok((*sequence, v1::decode_fact(fact)?)));
        let facts = facts.collect::<Result<_, RecordError>>()?;
        Ok(Self { peer: after.node, incarnation: after.incarnation, after: after.sequence, horizon, facts, up_to })
    }
}

impl Group<'_> {
    /// Merges the facts of a delivery, up to the first that cannot be: the last outcome is then an error.
    pub(crate) fn receive(&mut self, delivery: Delivery) -> Vec<Result<Accepted, WriteError>> {
        let Delivery { peer, incarnation, after, horizon, facts, up_to } = delivery;
        if !self.is_of_horizon(horizon) {
            return vec![Err(WriteError::OtherHorizon)];
        }
        let mut outcomes = Vec::with_capacity(facts.len());
        let mut reached = after;
        for (sequence, StoredFact { tenant, fact }) in facts {
            let outcome = self.receive_fact(&tenant, &fact);
            outcomes.push(outcome);
            if outcomes.last().is_some_and(Result::is_err) {
                break;
            }
            reached = sequence;
        }
        if outcomes.last().is_none_or(Result::is_ok) || planted::has(Bug::WatermarkBeforeFacts) {
            reached = up_to;
        }
        if let Err(failure) = self.note_watermark(peer, after, StoredWatermark { incarnation, sequence: reached }) {
            outcomes.push(Err(failure.into()));
        }
        outcomes
    }

    /// Merges facts that were missing here, each for itself: they come from no feed, and those that cannot be merged now
    /// are missed again.
    pub(crate) fn absorb(&mut self, horizon: Horizon, facts: &[StoredFact]) -> Vec<Result<Accepted, WriteError>> {
        if !self.is_of_horizon(horizon) {
            return vec![Err(WriteError::OtherHorizon)];
        }
        facts.iter().map(|StoredFact { tenant, fact }| self.receive_fact(tenant, fact)).collect()
    }

    /// Notes how far a peer's feed has been taken over, unless the page begins after a gap: a page before it was cut
    /// short, and what it left out is offered again. The feed of another incarnation begins anew.
    fn note_watermark(&mut self, peer: NodeId, after: u64, reached: StoredWatermark) -> Result<(), ReadError> {
        let key = layout::watermark(peer);
        let stored = self.staging.get(Table::Meta, &key)?.map(|value| v1::decode_watermark(&value)).transpose()?;
        let before = match stored {
            Some(stored) if stored.incarnation == reached.incarnation => stored.sequence,
            _ => 0,
        };
        if after <= before && reached.sequence > before {
            self.staging.put(Table::Meta, key, v1::encode_watermark(reached));
        }
        Ok(())
    }

    fn receive_fact(&mut self, tenant: &TenantId, fact: &Fact) -> Result<Accepted, WriteError> {
        self.observe(fact.last)?;
        let known = match fact.transition() {
            Some(transition) => self.staging.known_transition(tenant, &transition.id)?,
            None => self.staging.known_tombstone(tenant, fact.artifact())?,
        };
        if known.as_ref().is_none_or(|known| known.fact != *fact) {
            self.check_room()?;
            if self.would_break_word(fact, known.as_ref().map(|known| &known.fact)) {
                return Err(WriteError::OtherHorizon);
            }
        }
        match known {
            Some(known) if known.fact.artifact() != fact.artifact() => self.receive_namesake(tenant, fact, known),
            known => self.merge(tenant, fact, known),
        }
    }

    fn merge(&mut self, tenant: &TenantId, fact: &Fact, known: Option<Known>) -> Result<Accepted, WriteError> {
        let (head, rows) = self.state_for(tenant, fact)?;
        self.admit(tenant, fact, known, head, rows)
    }

    /// What a fact is merged into.
    fn state_for(&mut self, tenant: &TenantId, fact: &Fact) -> Result<(StoredHead, RefRows), ReadError> {
        let head = self.head(tenant, fact.artifact())?;
        let rows = match fact.transition() {
            Some(transition) => self.rows(tenant, transition, &head)?,
            None => RefRows::default(),
        };
        Ok((head, rows))
    }

    /// One transition id for two artifacts, from two nodes: rule 6 of the merge. The smaller effective stamp's content
    /// stands, and so its artifact; the other artifact is as if it had never had the transition, but for the stamp part
    /// of its token, which does not go back.
    fn receive_namesake(&mut self, tenant: &TenantId, fact: &Fact, known: Known) -> Result<Accepted, WriteError> {
        let joined = known.fact.join(fact).fact;
        if joined.body == known.fact.body {
            let is_new = joined != known.fact;
            let reuse = if is_new { self.reuse(tenant, &joined, fact)? } else { Vec::new() };
            let merged = self.merge(tenant, &joined, Some(known))?;
            self.count_conflicts(0, usize::from(is_new));
            self.keep_reuse(reuse);
            return Ok(merged);
        }
        // All that can fail is read before the first of the two artifacts changes.
        let (head, rows) = self.state_for(tenant, &joined)?;
        let reuse = self.reuse(tenant, &joined, &known.fact)?;
        self.retract(tenant, known)?;
        self.count_conflicts(0, 1);
        self.keep_reuse(reuse);
        self.admit(tenant, &joined, None, head, rows)
    }

    /// Folds an artifact anew without one of its facts. The change is part of the commit that follows.
    fn retract(&mut self, tenant: &TenantId, known: Known) -> Result<(), ReadError> {
        let artifact = known.fact.artifact().clone();
        let mut head = self.head(tenant, &artifact)?;
        let facts: Vec<Fact> = self.staging.facts_of(tenant, &artifact, &head.history).collect::<Result<_, _>>()?;
        let others = facts.iter().filter(|fact| fact.first != known.fact.first);
        let (projection, rows) = Projection::fold(others);
        let usage = self.usage(tenant)?;
        let removal = self.staging.removal(known)?;
        self.staging.put_refs(tenant, &artifact, &mut head.refs, &rows)?;
        head.projection = Projection { seen: head.projection.seen, ..projection };
        head.sequence = self.next_sequence();
        let usage = self.remove(tenant, &mut head, usage, Some(removal));
        self.set_usage(tenant, usage);
        let token = token_of(&head.projection, &artifact);
        self.change(tenant, artifact, token, head);
        Ok(())
    }
}
