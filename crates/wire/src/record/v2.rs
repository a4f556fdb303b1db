//! Version 2 of the records that changed since version 1: those of data directories of format 3.
//!
//! - A *pack* is a row of the log with the facts of consecutive sequences, so that a group of small facts is one row.
//! - A *place* says where in the log a fact is: its sequence, and how many facts of its pack come before it.
//! - A *head* holds, beside the projection, the newest entries of the artifact's history and, while they are few, its
//!   refs: most artifacts are one row.
//!
//! Each is read in version 1 too: a row with one fact is a pack of one, a sequence alone is a place at the front of its
//! pack, and a head without history and refs has all of them in the tables for what does not fit.

use plimsoll_domain::projection::{Projection, RefKey, RefState};
use plimsoll_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

use super::v1::{self, HeadV1, RefRowV1, StampV1};
use super::{FORMAT_FRAMES, RecordError, body_of, decode, encode, is_v1};

const SCHEMA: u8 = 2;

/// Where in the log a fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The fact's own.
    pub sequence: u64,
    /// How many sequences before it its pack begins; at most `sequence`.
    pub offset: u16,
}

impl Place {
    /// The sequence of the first fact of its pack: the key of the pack.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.sequence - self.offset as u64
    }
}

/// The history of an artifact, as far as its head holds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredHistory {
    /// Entries up to this effective stamp are in a table, those after it here; `None` where all are here.
    pub apart: Option<Timestamp>,
    /// The newest entries, by effective stamp.
    pub recent: Vec<(Timestamp, Place)>,
}

/// The refs of an artifact, as far as its head holds them: all or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredRefs {
    /// All of them, by key.
    Here(Vec<(RefKey, RefState)>),
    /// They are in a table.
    Apart,
}

/// An artifact: its projection, and what else is small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// The state.
    pub projection: Projection,
    /// The sequence of the latest change; 0 before the first.
    pub sequence: u64,
    /// Its newest history.
    pub history: StoredHistory,
    /// Its refs.
    pub refs: StoredRefs,
}

impl Default for StoredHead {
    /// An artifact without facts.
    fn default() -> Self {
        Self {
            projection: Projection::default(),
            sequence: 0,
            history: StoredHistory::default(),
            refs: StoredRefs::Here(Vec::new()),
        }
    }
}

impl From<v1::StoredHead> for StoredHead {
    fn from(v1::StoredHead { projection, sequence }: v1::StoredHead) -> Self {
        let history = StoredHistory { apart: projection.seen, recent: Vec::new() };
        let refs = if projection.refs.count == 0 { StoredRefs::Here(Vec::new()) } else { StoredRefs::Apart };
        Self { projection, sequence, history, refs }
    }
}

#[derive(Serialize, Deserialize)]
struct PlaceV2(u64, u16);

/// Begins as a head of version 1 does: bincode writes the fields of a field as its own.
#[derive(Serialize, Deserialize)]
struct HeadV2<'a> {
    head: HeadV1<'a>,
    history_apart: Option<StampV1>,
    recent: Vec<(StampV1, PlaceV2)>,
    refs: Option<Vec<RefRowV1<'a>>>,
}

impl TryFrom<PlaceV2> for Place {
    type Error = RecordError;

    fn try_from(PlaceV2(sequence, offset): PlaceV2) -> Result<Self, RecordError> {
        if u64::from(offset) > sequence {
            return Err(RecordError::Place);
        }
        Ok(Self { sequence, offset })
    }
}

/// Writes a head.
#[must_use]
pub fn encode_head(head: &StoredHead) -> Vec<u8> {
    let refs = match &head.refs {
        StoredRefs::Here(refs) => Some(refs.iter().map(|(key, state)| RefRowV1::of(key, state)).collect()),
        StoredRefs::Apart => None,
    };
    let recent = head.history.recent.iter();
    encode(
        SCHEMA,
        &HeadV2 {
            head: HeadV1::of(&head.projection, head.sequence),
            history_apart: head.history.apart.map(StampV1::from),
            recent: recent.map(|(stamp, place)| ((*stamp).into(), PlaceV2(place.sequence, place.offset))).collect(),
            refs,
        },
    )
}

/// Reads a head, of version 1 too.
///
/// # Errors
/// [`RecordError`]: the bytes are not a head.
pub fn decode_head(value: &[u8]) -> Result<StoredHead, RecordError> {
    if is_v1(value) {
        return Ok(v1::decode_head(value)?.into());
    }
    let HeadV2 { head, history_apart, recent, refs } = decode(SCHEMA, value)?;
    let v1::StoredHead { projection, sequence } = head.try_into()?;
    let recent = recent.into_iter().map(|(stamp, place)| Ok((stamp.into(), place.try_into()?)));
    let recent: Vec<(Timestamp, Place)> = recent.collect::<Result<_, RecordError>>()?;
    let apart = history_apart.map(Timestamp::from);
    let stamps = apart.into_iter().chain(recent.iter().map(|(stamp, _)| *stamp));
    if !stamps.is_sorted_by(|one, next| one < next) {
        return Err(RecordError::Order);
    }
    let refs = match refs {
        None => StoredRefs::Apart,
        Some(refs) => StoredRefs::Here(refs.into_iter().map(<_>::try_from).collect::<Result<_, RecordError>>()?),
    };
    if let StoredRefs::Here(refs) = &refs {
        check_refs(refs, projection.refs.count)?;
    }
    Ok(StoredHead { projection, sequence, history: StoredHistory { apart, recent }, refs })
}

fn check_refs(refs: &[(RefKey, RefState)], counted: u64) -> Result<(), RecordError> {
    if !refs.is_sorted_by(|(one, _), (next, _)| one < next) {
        return Err(RecordError::Order);
    }
    if refs.len() as u64 != counted {
        return Err(RecordError::RefsCount { listed: refs.len(), counted });
    }
    Ok(())
}

/// Writes a place.
#[must_use]
pub fn encode_place(place: Place) -> Vec<u8> {
    encode(SCHEMA, &PlaceV2(place.sequence, place.offset))
}

/// Reads a place; a bare sequence of version 1 too.
///
/// # Errors
/// [`RecordError`]: the bytes are not a place.
pub fn decode_place(value: &[u8]) -> Result<Place, RecordError> {
    if is_v1(value) {
        return Ok(Place { sequence: v1::decode_number(value)?, offset: 0 });
    }
    decode::<PlaceV2>(SCHEMA, value)?.try_into()
}

/// The length of a fact in a pack, little-endian, before the fact.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Writes a pack of facts as [`v1::encode_fact`] writes them; one of no bytes stands for a fact that was removed.
///
/// # Panics
/// If a fact has 4 GiB.
#[must_use]
pub fn encode_pack(facts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let bytes: usize = facts.iter().map(|fact| LENGTH_BYTES + fact.as_ref().len()).sum();
    let mut value = Vec::with_capacity(2 + bytes);
    value.extend([FORMAT_FRAMES, SCHEMA]);
    for fact in facts.iter().map(AsRef::as_ref) {
        value.extend(u32::try_from(fact.len()).expect("a fact is smaller than 4 GiB").to_le_bytes());
        value.extend_from_slice(fact);
    }
    value
}

/// The facts of a pack, in the order of their sequences, each as [`v1::decode_fact`] reads them; `None` where one was
/// removed. A fact of version 1 is a pack of one.
///
/// # Errors
/// [`RecordError`]: the bytes are not a pack.
pub fn decode_pack(value: &[u8]) -> Result<Vec<Option<&[u8]>>, RecordError> {
    if is_v1(value) {
        return Ok(vec![Some(value)]);
    }
    let mut rest = body_of(FORMAT_FRAMES, SCHEMA, value)?;
    let mut facts = Vec::new();
    while !rest.is_empty() {
        let cut = |length| RecordError::Frame { length, left: rest.len() };
        let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>().ok_or(cut(LENGTH_BYTES))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (fact, after) = after.split_at_checked(length).ok_or(cut(length))?;
        facts.push((!fact.is_empty()).then_some(fact));
        rest = after;
    }
    Ok(facts)
}
