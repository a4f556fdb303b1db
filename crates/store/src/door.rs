//! The single commit door: every fact enters the store here.
//!
//! The one idea: the writes of a group are *decided* one by one over a [`Staging`], each seeing the ones before it, then
//! committed as one batch and synced once. Log, projection, refs, clock and usage change together or not at all. The
//! door does no waiting and starts no thread; [`crate::writer`] drives it.
//!
//! A write that fails while it is decided has staged nothing: all that can fail is read before the first row is put.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_domain::clock::{Clock, DriftExceeded};
use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::{
    Body, Expectation, Fact, FactHash, FactKey, Fingerprint, Merge, Projection, RefRows, Refusal, Submission, Token,
    Transition, Verdict, judge,
};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::record::v1::{self, StoredIdentity, StoredRemoval, StoredUsage};
use plimsoll_wire::record::v2::{self, StoredHead};

use crate::conflicts::ConflictCounts;
use crate::engine::{Batch, Engine, EngineError, Table};
use crate::error::{ReadError, WriteError};
use crate::format::Format;
use crate::heads::{self, Heads};
use crate::horizons::Horizons;
use crate::layout;
use crate::options::Options;
use crate::shared::{self, Changed, Changing};
use crate::staging::{Known, Removal, Staging};
use crate::stamped::Stamped;
use crate::tally::{Counted, Shown, Tally, When};

/// The most refs one artifact may have: what one answer can list, and one tombstone can take away, in a breath.
pub const ARTIFACT_REFS_MAX: u64 = 10_000;

/// An accepted or repeated write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Whether it was accepted before: nothing has changed.
    pub repeated: bool,
    /// The artifact's token as it stands now.
    pub token: Token,
}

/// See the module.
pub(crate) struct Door {
    engine: Arc<dyn Engine>,
    state: State,
}

/// What the door keeps in memory between groups. After a failed commit it is ahead of the disk: the door is not used
/// again.
pub(crate) struct State {
    options: Options,
    clock: Clock,
    sequence: u64,
    usages: BTreeMap<TenantId, StoredUsage>,
    heads: Heads,
    fingerprint: Fingerprint,
    /// `None` where the format is an old one, which is not written.
    tally: Option<Tally>,
    conflicts: Arc<ConflictCounts>,
    stamped: Arc<Stamped>,
    pub(crate) horizons: Horizons,
}

impl Door {
    /// A door to `engine`, going on from what it holds.
    pub(crate) fn open(
        engine: Arc<dyn Engine>,
        (format, identity): (Format, StoredIdentity),
        options: Options,
    ) -> Result<Self, ReadError> {
        let number = |key: &[u8]| -> Result<u64, ReadError> {
            let value = engine.get(Table::Meta, key)?;
            Ok(value.map(|value| v1::decode_number(&value)).transpose()?.unwrap_or_default())
        };
        let high_water = UnixNanos::new(number(layout::CLOCK)?);
        let sequence = number(layout::SEQUENCE)?;
        let clock = Clock::resume(identity.node, high_water, options.drift_max);
        let heads = heads::cache(options.head_cache_bytes, shared::hasher(identity));
        let value = engine.get(Table::Meta, layout::FINGERPRINT)?;
        let fingerprint = value.map(|value| v1::decode_fingerprint(&value)).transpose()?.unwrap_or_default();
        let tally = if format.is_old() { None } else { Some(Tally::open(&*engine, sequence, fingerprint)?) };
        let value = engine.get(Table::Meta, layout::HORIZON)?;
        let horizon = value.map(|value| v1::decode_horizon(&value)).transpose()?.unwrap_or_default();
        let state = State {
            options,
            clock,
            sequence,
            usages: BTreeMap::new(),
            heads,
            fingerprint,
            tally,
            conflicts: Arc::default(),
            stamped: Arc::new(Stamped::unknown(identity.node, sequence)),
            horizons: Horizons::new(horizon, UnixNanos::new(number(layout::BINDING)?)),
        };
        Ok(Self { engine, state })
    }

    /// The sequence of the latest commit.
    pub(crate) const fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// How far this node's own facts reach.
    pub(crate) fn stamped(&self) -> Arc<Stamped> {
        Arc::clone(&self.state.stamped)
    }

    /// The conflicts that were met.
    pub(crate) fn conflicts(&self) -> Arc<ConflictCounts> {
        Arc::clone(&self.state.conflicts)
    }

    /// How far the store is with forgetting.
    pub(crate) const fn horizons(&self) -> &Horizons {
        &self.state.horizons
    }

    /// The engine behind the door.
    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// The time on the wall.
    pub(crate) fn now(&self) -> UnixNanos {
        (self.state.options.wall_clock)()
    }

    /// Begins a group.
    pub(crate) fn group(&mut self, room: Room) -> Group<'_> {
        let now = self.now();
        let staging = Staging::over(&*self.engine);
        Group { staging, state: &mut self.state, changed: BTreeMap::new(), counted: Vec::new(), room, now }
    }

    /// Commits what was decided; it is durable only after the next sync.
    pub(crate) fn commit(&mut self, decision: Decision) -> Result<Changed, EngineError> {
        let Decision { mut batch, counted, changed } = decision;
        if planted::has(Bug::BatchHalfApplied) {
            let heads = batch.split_off(Table::Head);
            self.engine.commit(std::mem::replace(&mut batch, heads))?;
        }
        if !batch.is_empty() {
            self.engine.commit(batch)?;
        }
        if let Some(tally) = &mut self.state.tally {
            tally.apply(counted);
        }
        Ok(changed)
    }

    /// What readers see of the leaves.
    pub(crate) fn shown(&self) -> Option<Arc<Shown>> {
        self.state.tally.as_ref().map(Tally::shown)
    }

    /// Whether there are facts to count that may be counted now.
    pub(crate) fn is_behind(&self) -> bool {
        self.state.tally.as_ref().is_some_and(Tally::is_behind)
    }

    /// Counts some of the facts that are not counted yet.
    pub(crate) fn catch_up(&mut self) {
        let State { tally, sequence, fingerprint, .. } = &mut self.state;
        if let Some(tally) = tally {
            tally.catch_up(&*self.engine, *sequence, *fingerprint);
        }
    }

    /// Whether it is time for a checkpoint of the leaves.
    pub(crate) fn is_checkpoint_due(&self, when: When) -> bool {
        self.state.tally.as_ref().is_some_and(|tally| tally.is_due(self.state.sequence, when))
    }

    /// Commits a checkpoint of the leaves.
    pub(crate) fn checkpoint(&mut self) -> Result<(), EngineError> {
        let State { tally, sequence, .. } = &mut self.state;
        tally.as_mut().map_or(Ok(()), |tally| self.engine.commit(tally.checkpoint(*sequence)))
    }
}

/// Whether the data disk takes anything new. What was accepted before is still answered as a repetition.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    Ample,
    Short { reserve_bytes: u64 },
}

/// A group of writes in the making.
pub(crate) struct Group<'a> {
    pub(crate) staging: Staging<'a>,
    pub(crate) state: &'a mut State,
    /// By key of [`layout::head`].
    changed: BTreeMap<Vec<u8>, Change>,
    counted: Vec<Counted>,
    room: Room,
    pub(crate) now: UnixNanos,
}

/// A group that is decided.
pub(crate) struct Decision {
    batch: Batch,
    changed: Changed,
    counted: Vec<Counted>,
}

/// What a group made of an artifact.
struct Change {
    artifact: ArtifactId,
    token: Token,
    head: StoredHead,
}

impl Group<'_> {
    /// Decides on a transition a client posted.
    pub(crate) fn submit(
        &mut self,
        tenant: &TenantId,
        submission: Submission,
        expectation: &Expectation,
    ) -> Result<Accepted, WriteError> {
        let Submission { transition, after } = submission;
        let known = self.staging.known_transition(tenant, &transition.id)?.map(|known| known.fact);
        let head = self.head(tenant, &transition.artifact)?;
        let rows = self.rows(tenant, &transition, &head)?;
        if judge(&transition, expectation, &head.projection, known.as_ref(), &rows)? == Verdict::Repeat {
            return Ok(Accepted { repeated: true, token: token_of(&head.projection, &transition.artifact) });
        }
        self.check_room()?;
        self.check_quota(tenant, &head.projection, new_refs(&transition, &rows))?;
        if let Some(after) = after {
            self.observe(after.stamp)?;
        }
        let fact = Fact::new(Body::Transition(transition), self.state.clock.stamp(self.now));
        self.admit(tenant, &fact, None, head, rows)
    }

    /// Decides on a client's wish to retire an artifact.
    pub(crate) fn retire(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        expectation: &Expectation,
    ) -> Result<Accepted, WriteError> {
        let head = self.head(tenant, artifact)?;
        if !head.projection.is_visible() {
            return Err(WriteError::NotProjected);
        }
        if !expectation.holds(&head.projection, artifact) {
            return Err(Refusal::Moved { token: head.projection.token(artifact) }.into());
        }
        self.check_room()?;
        let stamp = self.state.clock.stamp(self.now);
        let older = self.staging.known_tombstone(tenant, artifact)?;
        let fact = Fact::new(Body::Tombstone(artifact.clone()), stamp);
        self.admit(tenant, &fact, older, head, RefRows::default())
    }

    /// Merges a fact, and stages all that follows from it. `known` is what is known of its transition id, or the older
    /// tombstone it supersedes, so that what is kept does not depend on how many there were: it makes room.
    pub(crate) fn admit(
        &mut self,
        tenant: &TenantId,
        fact: &Fact,
        known: Option<Known>,
        mut head: StoredHead,
        mut rows: RefRows,
    ) -> Result<Accepted, WriteError> {
        let artifact = fact.artifact().clone();
        let is_other = |other: &Fact| known.as_ref().is_none_or(|known| known.fact.first != other.first);
        let others = || {
            let all = self.staging.facts_of(tenant, &artifact, &head.history);
            all.filter(|fact| fact.as_ref().map_or(true, is_other))
        };
        let same = known.as_ref().map(|known| &known.fact).filter(|known| known.transition().is_some());
        let merged = head.projection.merge(&mut rows, same, fact, others)?;
        let token = token_of(&head.projection, &artifact);
        if merged.merge == Merge::Duplicate {
            return Ok(Accepted { repeated: true, token });
        }
        let usage = self.usage(tenant)?;
        let lost =
            same.filter(|_| merged.conflict).map(|known| if merged.fact.body == known.body { fact } else { known });
        let reuse = lost.map(|lost| self.reuse(tenant, &merged.fact, lost)).transpose()?;
        let removal = known.map(|known| self.staging.removal(known)).transpose()?;
        self.staging.put_refs(tenant, &artifact, &mut head.refs, &rows)?;
        // From here on nothing fails.
        self.void_promise(&merged.fact);
        self.count_conflicts(merged.disputes.len(), usize::from(reuse.is_some()));
        self.keep_reuse(reuse.unwrap_or_default());
        let usage = self.remove(tenant, &mut head, usage, removal);
        self.state.sequence = self.next_sequence();
        head.sequence = self.state.sequence;
        self.state.stamped.note(&merged.fact, head.sequence);
        let key = FactKey::of(tenant, &merged.fact);
        let (place, bytes) = self.staging.put_fact(tenant, &merged.fact, key, head.sequence);
        self.staging.put_history(tenant, &artifact, &mut head.history, (merged.fact.first, place));
        let hash = FactHash::of(tenant, &merged.fact);
        self.state.fingerprint.add_hash(hash);
        self.counted.push(Counted::Added { sequence: head.sequence, key, hash });
        self.set_usage(tenant, StoredUsage { facts: usage.facts + 1, bytes: usage.bytes + bytes });
        self.change(tenant, artifact, token, head);
        Ok(Accepted { repeated: false, token })
    }

    /// Counts conflicts of rule 3 and of rule 6.
    pub(crate) fn count_conflicts(&self, disputes: usize, reuses: usize) {
        self.state.conflicts.add(disputes, reuses);
    }

    /// Takes a fact out of the store, if there is one to take. Returns what the tenant occupies without it.
    pub(crate) fn remove(
        &mut self,
        tenant: &TenantId,
        head: &mut StoredHead,
        usage: StoredUsage,
        removal: Option<Removal>,
    ) -> StoredUsage {
        let Some(removal) = removal else { return usage };
        let bytes = v1::encode_fact(tenant, removal.fact()).len() as u64;
        self.discount(tenant, &removal);
        self.staging.remove_fact(tenant, &mut head.history, removal);
        // Stores of format 2 counted every tombstone, and kept one.
        StoredUsage { facts: usage.facts.saturating_sub(1), bytes: usage.bytes.saturating_sub(bytes) }
    }

    /// Takes a fact out of the fingerprints. If a checkpoint holds it, that is noted with the commit: after a restart
    /// nothing else would tell that it is gone.
    fn discount(&mut self, tenant: &TenantId, removal: &Removal) {
        let (key, hash) = (FactKey::of(tenant, removal.fact()), FactHash::of(tenant, removal.fact()));
        let sequence = removal.place().sequence;
        self.state.fingerprint.remove_hash(hash);
        if self.state.tally.as_ref().is_some_and(|tally| tally.has_noted(sequence)) {
            let removal = StoredRemoval { key, hash };
            self.staging.put(Table::Meta, layout::gone(sequence), v1::encode_removal(removal));
        }
        self.counted.push(Counted::Removed { sequence, key, hash });
    }

    pub(crate) fn set_usage(&mut self, tenant: &TenantId, usage: StoredUsage) {
        self.state.usages.insert(tenant.clone(), usage);
        self.staging.put(Table::Meta, layout::usage(tenant), v1::encode_usage(usage));
    }

    /// Forgets an artifact of which no fact is left.
    pub(crate) fn drop_head(&mut self, tenant: &TenantId, artifact: &ArtifactId) {
        let key = layout::head(tenant, artifact);
        self.changed.remove(&key);
        self.state.heads.remove(&key);
        self.staging.remove(Table::Head, key);
    }

    /// Notes what became of an artifact.
    pub(crate) fn change(&mut self, tenant: &TenantId, artifact: ArtifactId, token: Token, head: StoredHead) {
        self.changed.insert(layout::head(tenant, &artifact), Change { artifact, token, head });
    }

    /// The rows of the refs a transition names.
    pub(crate) fn rows(
        &self,
        tenant: &TenantId,
        transition: &Transition,
        head: &StoredHead,
    ) -> Result<RefRows, ReadError> {
        match head.projection.refs.count {
            0 => Ok(RefRows::default()),
            _ => self.staging.refs_named_by(tenant, transition, &head.refs),
        }
    }

    pub(crate) fn check_room(&self) -> Result<(), WriteError> {
        match self.room {
            Room::Ample => Ok(()),
            Room::Short { reserve_bytes } => Err(WriteError::DiskFull { reserve_bytes }),
        }
    }

    /// The sequence of the next fact.
    pub(crate) const fn next_sequence(&self) -> u64 {
        self.state.sequence + 1
    }

    /// Moves the clock past a stamp another node gave.
    pub(crate) fn observe(&mut self, stamp: Timestamp) -> Result<(), DriftExceeded> {
        self.state.clock.observe(self.now, stamp)
    }

    /// Writes the clock's mark: after a restart nothing is stamped before it.
    pub(crate) fn keep_clock(&mut self) {
        let high_water = self.state.clock.high_water().get();
        if !planted::has(Bug::HighWaterNotPersisted) {
            self.staging.put(Table::Meta, layout::CLOCK.to_vec(), v1::encode_number(high_water));
        }
    }

    fn check_quota(&mut self, tenant: &TenantId, head: &Projection, new_refs: u64) -> Result<(), WriteError> {
        let usage = self.usage(tenant)?;
        let options = &self.state.options;
        let quotas = [
            (usage.facts + 1, options.tenant_facts_max, "transitions a tenant"),
            (usage.bytes + 1, options.tenant_bytes_max, "bytes a tenant"),
            (head.refs.count + new_refs, ARTIFACT_REFS_MAX, "refs an artifact"),
        ];
        match quotas.into_iter().find(|(wanted, limit, _)| wanted > limit) {
            Some((_, limit, unit)) => Err(WriteError::QuotaExceeded { limit, unit }),
            None => Ok(()),
        }
    }

    pub(crate) fn usage(&mut self, tenant: &TenantId) -> Result<StoredUsage, ReadError> {
        if let Some(usage) = self.state.usages.get(tenant) {
            return Ok(*usage);
        }
        let value = self.staging.get(Table::Meta, &layout::usage(tenant))?;
        let usage = value.map(|value| v1::decode_usage(&value)).transpose()?.unwrap_or_default();
        self.state.usages.insert(tenant.clone(), usage);
        Ok(usage)
    }

    pub(crate) fn head(&mut self, tenant: &TenantId, artifact: &ArtifactId) -> Result<StoredHead, ReadError> {
        let key = layout::head(tenant, artifact);
        if let Some(change) = self.changed.get(&key) {
            return Ok(change.head.clone());
        }
        if let Some(record) = self.state.heads.get(&key) {
            return Ok(v2::decode_head(record)?);
        }
        let Some(record) = self.staging.get(Table::Head, &key)? else { return Ok(StoredHead::default()) };
        let head = v2::decode_head(&record)?;
        self.state.heads.insert(key, record.into());
        Ok(head)
    }

    /// Ends the group: the batch to commit, and what it changes.
    pub(crate) fn finish(mut self) -> Decision {
        if self.changed.is_empty() && self.counted.is_empty() {
            return Decision { batch: self.staging.into_batch(), changed: Changed::new(), counted: self.counted };
        }
        self.keep_clock();
        let mut changed = Changed::with_capacity(self.changed.len());
        for (key, Change { artifact, token, head }) in self.changed {
            let record = v2::encode_head(&head);
            self.state.heads.insert(key.clone(), record.as_slice().into());
            self.staging.put(Table::Head, key.clone(), record);
            changed.push((key, Changing::of(artifact, token, &head)));
        }
        self.staging.put(Table::Meta, layout::SEQUENCE.to_vec(), v1::encode_number(self.state.sequence));
        self.staging.put(Table::Meta, layout::FINGERPRINT.to_vec(), v1::encode_fingerprint(self.state.fingerprint));
        Decision { batch: self.staging.into_batch(), changed, counted: self.counted }
    }
}

/// How many refs the transition brings that the artifact does not have.
fn new_refs(transition: &Transition, rows: &RefRows) -> u64 {
    let mut keys: Vec<_> = transition.refs().iter().map(|produced| &produced.key).collect();
    keys.dedup();
    keys.into_iter().filter(|key| rows.get(key).is_none()).count() as u64
}

pub(crate) fn token_of(projection: &Projection, artifact: &ArtifactId) -> Token {
    projection.token(artifact).expect("an artifact with a fact has a token")
}
