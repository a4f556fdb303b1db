//! Writes that are decided but not committed, read as if they were.
//!
//! A group of requests is decided one after another, each seeing what the ones before it wrote, and committed as one
//! batch: a [`Staging`] is that batch, laid over the engine.

use std::collections::BTreeMap;

use plimsoll_domain::id::{ArtifactId, TenantId, TransitionId};
use plimsoll_domain::projection::{Body, Fact, RefRows, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::{self, StoredFact};

use crate::engine::{Batch, Direction, Engine, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;

/// The batch of a group, over the engine.
pub(crate) struct Staging<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
}

impl<'a> Staging<'a> {
    /// An empty batch over `engine`.
    pub(crate) fn over(engine: &'a dyn Engine) -> Self {
        Self { engine, batch: Batch::default() }
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put(table, key, value);
    }

    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.batch.remove(table, key);
    }

    pub(crate) fn into_batch(self) -> Batch {
        self.batch
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.batch.get(table, key) {
            Some(staged) => Ok(staged.map(<[u8]>::to_vec)),
            None => Ok(self.engine.get(table, key)?),
        }
    }

    /// All rows that begin with `prefix`.
    fn scan(&self, table: Table, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ReadError> {
        let stored = self.engine.scan(table, KeyRange::prefix(prefix), Direction::Forward);
        let mut rows = stored.collect::<Result<BTreeMap<_, _>, _>>()?;
        for (key, staged) in self.batch.range(table, KeyRange::prefix(prefix)) {
            match staged {
                Some(value) => drop(rows.insert(key.to_vec(), value.to_vec())),
                None => drop(rows.remove(key)),
            }
        }
        Ok(rows)
    }

    /// The fact at a place of the log that something points to.
    fn fact_at(&self, sequence: u64) -> Result<StoredFact, ReadError> {
        let value = self.get(Table::Log, &layout::log(sequence))?.ok_or(ReadError::Dangling { sequence })?;
        Ok(v1::decode_fact(&value)?)
    }

    /// The fact of a transition id.
    pub(crate) fn fact_of(&self, tenant: &TenantId, id: &TransitionId) -> Result<Option<Fact>, ReadError> {
        let Some(value) = self.get(Table::Identity, &layout::identity(tenant, id))? else { return Ok(None) };
        let sequence = v1::decode_number(&value)?;
        let StoredFact { tenant: owner, fact } = self.fact_at(sequence)?;
        if owner != *tenant || fact.transition().is_none_or(|transition| transition.id != *id) {
            return Err(ReadError::Dangling { sequence });
        }
        Ok(Some(fact))
    }

    /// The facts of an artifact, by effective stamp, tombstones and hidden ones included.
    pub(crate) fn facts_of(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
    ) -> impl Iterator<Item = Result<Fact, ReadError>> {
        let (places, failure) = match self.scan(Table::History, &layout::of_artifact(tenant, artifact)) {
            Ok(places) => (places, None),
            Err(failure) => (BTreeMap::new(), Some(Err(failure))),
        };
        let facts = places.into_values().map(|value| Ok(self.fact_at(v1::decode_number(&value)?)?.fact));
        failure.into_iter().chain(facts)
    }

    /// Removes a tombstone that a greater one supersedes, so that what is kept does not depend on how many there were.
    pub(crate) fn remove_superseded(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        tombstone: Timestamp,
    ) -> Result<(), ReadError> {
        let key = layout::history(&layout::of_artifact(tenant, artifact), tombstone);
        if let Some(value) = self.get(Table::History, &key)? {
            self.remove(Table::Log, layout::log(v1::decode_number(&value)?));
            self.remove(Table::History, key);
        }
        Ok(())
    }

    /// The rows of the refs a transition names.
    pub(crate) fn refs_named_by(&self, tenant: &TenantId, transition: &Transition) -> Result<RefRows, ReadError> {
        let mut rows = RefRows::default();
        let prefix = layout::of_artifact(tenant, &transition.artifact);
        for produced in transition.refs() {
            if let Some(value) = self.get(Table::Ref, &layout::produced_ref(&prefix, &produced.key))? {
                let (key, state) = v1::decode_ref(&value)?;
                if key != produced.key {
                    return Err(ReadError::RefsDoNotMatch { artifact: transition.artifact.to_string() });
                }
                rows.load(key, state);
            }
        }
        Ok(rows)
    }

    /// Writes the rows a merge changed.
    pub(crate) fn put_refs(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        rows: &RefRows,
    ) -> Result<(), ReadError> {
        let prefix = layout::of_artifact(tenant, artifact);
        if rows.is_replaced() {
            for (key, _) in self.scan(Table::Ref, &prefix)? {
                self.remove(Table::Ref, key);
            }
        }
        for (key, state) in rows.changed() {
            self.put(Table::Ref, layout::produced_ref(&prefix, key), v1::encode_ref(key, state));
        }
        Ok(())
    }

    /// Writes a fact at a place of the log, and what points to it. Returns the bytes it takes there.
    pub(crate) fn put_fact(&mut self, tenant: &TenantId, fact: &Fact, sequence: u64) -> u64 {
        let value = v1::encode_fact(tenant, fact);
        let bytes = value.len() as u64;
        self.put(Table::Log, layout::log(sequence), value);
        let key = layout::history(&layout::of_artifact(tenant, fact.artifact()), fact.first);
        self.put(Table::History, key, v1::encode_number(sequence));
        if let Body::Transition(transition) = &fact.body {
            self.put(Table::Identity, layout::identity(tenant, &transition.id), v1::encode_number(sequence));
        }
        bytes
    }
}
