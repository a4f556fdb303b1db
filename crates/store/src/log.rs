//! The log of facts: how they are packed into rows, and read out of them.
//!
//! The facts of a group that stand one after another share a row, a *pack*, whose key is the sequence of its first: a
//! row costs an engine far more than the bytes in it do. A pack is never added to once it is committed.

use plimsoll_wire::record::v1::{self, StoredFact};
use plimsoll_wire::record::v2::{self, Place};

use crate::engine::{Batch, Table};
use crate::error::ReadError;
use crate::layout;

/// A pack is full with so many facts or, however few, so many bytes: reading one fact reads its pack.
const PACK_FACTS_MAX: usize = 64;
const PACK_BYTES_MAX: usize = 16 << 10;

/// The fact at a place, given the row its pack is; `None` where it was removed.
pub(crate) fn fact_in(pack: &[u8], place: Place) -> Result<Option<StoredFact>, ReadError> {
    let facts = v2::decode_pack(pack)?;
    let fact = facts.get(usize::from(place.offset)).ok_or(ReadError::Dangling { sequence: place.sequence })?;
    Ok(fact.map(v1::decode_fact).transpose()?)
}

/// The facts of a row of the log with their sequences, as bytes; those that were removed left out.
pub(crate) fn facts_of<'pack>(key: &[u8], pack: &'pack [u8]) -> Result<Vec<(u64, &'pack [u8])>, ReadError> {
    let first = layout::log_sequence(key).ok_or(ReadError::Dangling { sequence: 0 })?;
    let facts = v2::decode_pack(pack)?;
    if first.checked_add(facts.len() as u64).is_none() {
        return Err(ReadError::Dangling { sequence: first });
    }
    Ok((first..).zip(facts).filter_map(|(sequence, fact)| Some((sequence, fact?))).collect())
}

/// The same row without the fact at a place; `None` where it held no other.
pub(crate) fn pack_without(pack: &[u8], place: Place) -> Result<Option<Vec<u8>>, ReadError> {
    let mut facts = v2::decode_pack(pack)?;
    if let Some(fact) = facts.get_mut(usize::from(place.offset)) {
        *fact = None;
    }
    let is_empty = facts.iter().all(Option::is_none);
    let facts: Vec<&[u8]> = facts.into_iter().map(Option::unwrap_or_default).collect();
    Ok((!is_empty).then(|| v2::encode_pack(&facts)))
}

/// The pack that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Packing {
    first: u64,
    facts: Vec<Vec<u8>>,
    bytes: usize,
}

impl Packing {
    /// Adds a fact with the sequence after that of the one before. What is full goes into `batch`.
    pub(crate) fn push(&mut self, batch: &mut Batch, sequence: u64, fact: Vec<u8>) -> Place {
        if self.facts.len() == PACK_FACTS_MAX || self.bytes + fact.len() > PACK_BYTES_MAX {
            self.close(batch);
        }
        if self.facts.is_empty() {
            self.first = sequence;
        }
        let offset = self.facts.len();
        assert_eq!(self.first + offset as u64, sequence, "the sequences of a pack follow one another");
        self.bytes += fact.len();
        self.facts.push(fact);
        Place { sequence, offset: u16::try_from(offset).expect("a pack has at most 64 facts") }
    }

    /// Puts what there is into `batch`, as a row.
    pub(crate) fn close(&mut self, batch: &mut Batch) {
        let Self { first, facts, .. } = std::mem::take(self);
        if facts.iter().any(|fact| !fact.is_empty()) {
            batch.put(Table::Log, layout::log(first), v2::encode_pack(&facts));
        }
    }

    /// The bytes of the fact at a place, if it is here and was not removed.
    pub(crate) fn get(&self, place: Place) -> Option<&[u8]> {
        let fact = self.facts.get(usize::from(place.offset)).filter(|_| self.first == place.pack())?;
        (!fact.is_empty()).then_some(fact)
    }

    /// The facts that are here.
    pub(crate) fn facts(&self) -> impl Iterator<Item = &[u8]> {
        self.facts.iter().map(Vec::as_slice).filter(|fact| !fact.is_empty())
    }

    /// Removes the fact at a place, if it is here.
    pub(crate) fn remove(&mut self, place: Place) {
        if let Some(fact) = self.facts.get_mut(usize::from(place.offset)).filter(|_| self.first == place.pack()) {
            fact.clear();
        }
    }
}
