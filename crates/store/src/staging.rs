//! Writes that are decided but not committed, read as if they were.
//!
//! A group of requests is decided one after another, each seeing what the ones before it wrote, and committed as one
//! batch: a [`Staging`] is that batch, laid over the engine.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use plimsoll_domain::id::{ArtifactId, TenantId, TransitionId};
use plimsoll_domain::projection::{Body, Fact, FactKey, RefKey, RefRows, RefState, Transition};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::record::v1::{self, StoredFact};
use plimsoll_wire::record::v2::{self, Place, StoredHistory, StoredRefs};

use crate::engine::{Batch, Direction, Engine, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;
use crate::log::{self, Packing};

/// Entries of its history that a head holds, at some 25 bytes each: most artifacts never have more. When there are more,
/// the older half goes to the table at once: its rows lie side by side.
const RECENT_MAX: usize = 8;

/// Refs that a head holds, and their bytes: beyond either they go to the table, so that a head stays cheap to rewrite.
const REFS_HERE_MAX: usize = 4;
const REFS_HERE_BYTES_MAX: usize = 512;

/// The batch of a group, over the engine.
pub(crate) struct Staging<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
    packing: Packing,
}

/// A fact that is here, and where.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) place: Place,
    pub(crate) fact: Fact,
}

/// A fact that is to be taken out of the log, and what is left of its pack then: the pack is being filled, or a row,
/// which goes with its last fact.
#[derive(Debug)]
pub(crate) struct Removal {
    known: Known,
    rest: Option<Option<Vec<u8>>>,
}

impl Removal {
    /// The fact.
    pub(crate) const fn fact(&self) -> &Fact {
        &self.known.fact
    }

    /// Its place.
    pub(crate) const fn place(&self) -> Place {
        self.known.place
    }
}

impl<'a> Staging<'a> {
    /// An empty batch over `engine`.
    pub(crate) fn over(engine: &'a dyn Engine) -> Self {
        Self { engine, batch: Batch::default(), packing: Packing::default() }
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put(table, key, value);
    }

    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.batch.remove(table, key);
    }

    pub(crate) fn into_batch(mut self) -> Batch {
        self.packing.close(&mut self.batch);
        self.batch
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.batch.get(table, key) {
            Some(staged) => Ok(staged.map(<[u8]>::to_vec)),
            None => Ok(self.engine.get(table, key)?),
        }
    }

    /// All rows that begin with `prefix`.
    pub(crate) fn scan(&self, table: Table, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ReadError> {
        self.rows(table, prefix).collect()
    }

    /// All rows that begin with `prefix`, in order. They are read as they are taken.
    fn rows<'s>(
        &'s self,
        table: Table,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), ReadError>> + use<'s, 'a> {
        let mut stored = self.engine.scan(table, KeyRange::prefix(prefix), Direction::Forward).peekable();
        let mut staged = self.batch.range(table, KeyRange::prefix(prefix)).peekable();
        std::iter::from_fn(move || {
            loop {
                let (next, before) = match (staged.peek(), stored.peek()) {
                    (Some((key, _)), Some(Ok((other, _)))) => (Some(*key), (*key).cmp(other.as_slice())),
                    (Some((key, _)), None) => (Some(*key), Ordering::Less),
                    (_, _) => (None, Ordering::Greater),
                };
                let Some(key) = next.filter(|_| before.is_le()) else { return stored.next().map(|row| Ok(row?)) };
                if before.is_eq() {
                    stored.next();
                }
                if let Some((_, Some(value))) = staged.next() {
                    return Some(Ok((key.to_vec(), value.to_vec())));
                }
            }
        })
    }

    /// Whether there is a fact from up to a moment. One that is being removed may be met too.
    pub(crate) fn has_facts_up_to(&self, until: UnixNanos) -> Result<bool, ReadError> {
        let is_old = |record: &[u8]| Ok::<_, ReadError>(v1::decode_fact_stamps(record)?.0.time <= until);
        let all = || KeyRange::prefix(&[]);
        let stored = self.engine.scan(Table::Log, all(), Direction::Forward).map(|row| Ok::<_, ReadError>(row?));
        let staged = self.batch.range(Table::Log, all());
        let staged = staged.filter_map(|(key, pack)| Some(Ok((key.to_vec(), pack?.to_vec()))));
        for row in stored.chain(staged) {
            let (key, pack) = row?;
            for (_, record) in log::facts_of(&key, &pack)? {
                if is_old(record)? {
                    return Ok(true);
                }
            }
        }
        for record in self.packing.facts() {
            if is_old(record)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The fact at a place of the log that something points to.
    fn fact_at(&self, place: Place) -> Result<StoredFact, ReadError> {
        if let Some(fact) = self.packing.get(place) {
            return Ok(v1::decode_fact(fact)?);
        }
        let dangling = ReadError::Dangling { sequence: place.sequence };
        let Some(pack) = self.get(Table::Log, &layout::log(place.pack()))? else { return Err(dangling) };
        log::fact_in(&pack, place)?.ok_or(dangling)
    }

    /// The fact of a transition id.
    pub(crate) fn known_transition(&self, tenant: &TenantId, id: &TransitionId) -> Result<Option<Known>, ReadError> {
        let is_it = |fact: &Fact| fact.transition().is_some_and(|transition| transition.id == *id);
        self.known(tenant, &FactKey::of_transition(tenant, id).bytes(), is_it)
    }

    /// The one tombstone of an artifact that is kept.
    pub(crate) fn known_tombstone(&self, tenant: &TenantId, artifact: &ArtifactId) -> Result<Option<Known>, ReadError> {
        let is_it = |fact: &Fact| matches!(&fact.body, Body::Tombstone(buried) if buried == artifact);
        self.known(tenant, &FactKey::of_tombstone(tenant, artifact).bytes(), is_it)
    }

    fn known(&self, tenant: &TenantId, key: &[u8], is_it: impl Fn(&Fact) -> bool) -> Result<Option<Known>, ReadError> {
        let Some(value) = self.get(Table::Identity, key)? else { return Ok(None) };
        let place = v2::decode_place(&value)?;
        let StoredFact { tenant: owner, fact } = self.fact_at(place)?;
        if owner != *tenant || !is_it(&fact) {
            return Err(ReadError::Dangling { sequence: place.sequence });
        }
        Ok(Some(Known { place, fact }))
    }

    /// The facts of an artifact, by effective stamp, tombstones and hidden ones included. They are read as they are taken.
    pub(crate) fn facts_of(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        history: &StoredHistory,
    ) -> impl Iterator<Item = Result<Fact, ReadError>> {
        let apart = self.rows(Table::History, &layout::of_artifact(tenant, artifact));
        let apart = apart.map(|row| Ok(v2::decode_place(&row?.1)?));
        let recent = history.recent.iter().map(|(_, place)| Ok(*place));
        apart.chain(recent).map(|place: Result<Place, ReadError>| Ok(self.fact_at(place?)?.fact))
    }

    /// Writes a fact into the log, to be found by its key. Returns its place, and the bytes it takes there.
    pub(crate) fn put_fact(&mut self, tenant: &TenantId, fact: &Fact, key: FactKey, sequence: u64) -> (Place, u64) {
        let record = v1::encode_fact(tenant, fact);
        let bytes = record.len() as u64;
        let place = self.packing.push(&mut self.batch, sequence, record);
        self.put(Table::Identity, key.bytes().to_vec(), v2::encode_place(place));
        (place, bytes)
    }

    /// Reads what it takes to take a fact out of the log, for [`Staging::remove_fact`] to do it without fail.
    pub(crate) fn removal(&self, known: Known) -> Result<Removal, ReadError> {
        let Place { sequence, .. } = known.place;
        if self.packing.get(known.place).is_some() {
            return Ok(Removal { known, rest: None });
        }
        let pack = self.get(Table::Log, &layout::log(known.place.pack()))?.ok_or(ReadError::Dangling { sequence })?;
        let rest = Some(log::pack_without(&pack, known.place)?);
        Ok(Removal { known, rest })
    }

    /// Takes a fact out of the log and out of the history of its artifact. Its identity stays: what takes its place, a
    /// joined fact or a greater tombstone, has the same one.
    pub(crate) fn remove_fact(&mut self, tenant: &TenantId, history: &mut StoredHistory, removal: Removal) {
        let Removal { known: Known { place, fact }, rest } = removal;
        match history.recent.iter().position(|(stamp, _)| *stamp == fact.first) {
            Some(at) => drop(history.recent.remove(at)),
            None => {
                let prefix = layout::of_artifact(tenant, fact.artifact());
                self.remove(Table::History, layout::history(&prefix, fact.first));
            }
        }
        let row = layout::log(place.pack());
        match rest {
            None => self.packing.remove(place),
            Some(None) => self.remove(Table::Log, row),
            Some(Some(rest)) => self.put(Table::Log, row, rest),
        }
    }

    /// Enters a fact into the history of its artifact.
    pub(crate) fn put_history(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        history: &mut StoredHistory,
        (stamp, place): (Timestamp, Place),
    ) {
        let prefix = || layout::of_artifact(tenant, artifact);
        if Some(stamp) <= history.apart {
            return self.put(Table::History, layout::history(&prefix(), stamp), v2::encode_place(place));
        }
        match history.recent.binary_search_by_key(&stamp, |(stamp, _)| *stamp) {
            Ok(at) => history.recent[at].1 = place,
            Err(at) => history.recent.insert(at, (stamp, place)),
        }
        if history.recent.len() <= RECENT_MAX {
            return;
        }
        let prefix = prefix();
        for (stamp, place) in history.recent.drain(..RECENT_MAX / 2) {
            self.batch.put(Table::History, layout::history(&prefix, stamp), v2::encode_place(place));
            history.apart = Some(stamp);
        }
    }

    /// The refs a transition names, as far as they are known.
    pub(crate) fn refs_named_by(
        &self,
        tenant: &TenantId,
        transition: &Transition,
        refs: &StoredRefs,
    ) -> Result<RefRows, ReadError> {
        let mut rows = RefRows::default();
        for key in transition.refs().iter().map(|produced| &produced.key) {
            let known = match refs {
                StoredRefs::Here(refs) => index_of(refs, key).ok().map(|at| refs[at].1.clone()),
                StoredRefs::Apart => self.ref_apart(tenant, &transition.artifact, key)?,
            };
            if let Some(state) = known {
                rows.load(key.clone(), state);
            }
        }
        Ok(rows)
    }

    fn ref_apart(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        wanted: &RefKey,
    ) -> Result<Option<RefState>, ReadError> {
        let row = layout::produced_ref(&layout::of_artifact(tenant, artifact), wanted);
        let Some(value) = self.get(Table::Ref, &row)? else { return Ok(None) };
        let (key, state) = v1::decode_ref(&value)?;
        if key != *wanted {
            return Err(ReadError::RefsDoNotMatch { artifact: artifact.to_string() });
        }
        Ok(Some(state))
    }

    /// Writes the refs a merge changed: into the head while they fit, and else into the table.
    pub(crate) fn put_refs(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        refs: &mut StoredRefs,
        rows: &RefRows,
    ) -> Result<(), ReadError> {
        let prefix = || layout::of_artifact(tenant, artifact);
        if rows.is_replaced() && matches!(std::mem::replace(refs, StoredRefs::Here(Vec::new())), StoredRefs::Apart) {
            for (key, _) in self.scan(Table::Ref, &prefix())? {
                self.remove(Table::Ref, key);
            }
        }
        let apart = match refs {
            StoredRefs::Apart => rows.changed().map(|(key, state)| (key.clone(), state.clone())).collect(),
            StoredRefs::Here(here) => {
                change(here, rows);
                if fit(here) {
                    return Ok(());
                }
                std::mem::take(here)
            }
        };
        *refs = StoredRefs::Apart;
        let prefix = prefix();
        for (key, state) in apart {
            self.put(Table::Ref, layout::produced_ref(&prefix, &key), v1::encode_ref(&key, &state));
        }
        Ok(())
    }
}

/// Enters what a merge changed among the refs of a head.
fn change(refs: &mut Vec<(RefKey, RefState)>, rows: &RefRows) {
    for (key, state) in rows.changed() {
        match index_of(refs, key) {
            Ok(at) => refs[at].1 = state.clone(),
            Err(at) => refs.insert(at, (key.clone(), state.clone())),
        }
    }
}

/// Where a ref is among those of a head, or where it would be.
fn index_of(refs: &[(RefKey, RefState)], key: &RefKey) -> Result<usize, usize> {
    refs.binary_search_by(|(other, _)| other.cmp(key))
}

/// Whether a head can hold the refs.
fn fit(refs: &[(RefKey, RefState)]) -> bool {
    let of_ref = |(key, state): &(RefKey, RefState)| {
        let resolution = match state {
            RefState::Pending => 0,
            RefState::Resolved { resolution, .. } => resolution.text_bytes(),
        };
        key.text_bytes() + resolution
    };
    refs.len() <= REFS_HERE_MAX && refs.iter().map(of_ref).sum::<usize>() <= REFS_HERE_BYTES_MAX
}
