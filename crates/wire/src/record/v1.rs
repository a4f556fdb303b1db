//! Version 1 of the stored records.
//!
//! For each: the type as `domain` or the store knows it, and a pair of functions that write and read its bytes.

mod horizon;

use std::borrow::Cow;

use plimsoll_domain::id::{ArtifactId, NodeId, Status, TenantId, TransitionId};
use plimsoll_domain::projection::{
    Body, Fact, FactHash, FactKey, Fingerprint, ProducedRef, Projection, RefDraft, RefKey, RefState, RefsDigest,
    Resolution, Transition, Winner,
};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use serde::{Deserialize, Serialize};

use super::{RecordError, decode, decode_first, encode};

pub use horizon::*;

const SCHEMA: u8 = 1;

/// A fact, with the tenant it belongs to: the log holds those of all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFact {
    /// The tenant.
    pub tenant: TenantId,
    /// The fact.
    pub fact: Fact,
}

/// A projection, and the place of its latest change in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHead {
    /// The state.
    pub projection: Projection,
    /// The sequence of the latest change.
    pub sequence: u64,
}

/// Who a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredIdentity {
    /// The node, for the life of the directory.
    pub node: NodeId,
    /// Drawn when the directory was made: positions of another incarnation are void.
    pub incarnation: u64,
}

/// What a tenant occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredUsage {
    /// Facts, hidden ones included.
    pub facts: u64,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// How far a node has taken over the feed of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredWatermark {
    /// The incarnation of the other's data directory: another one has another feed.
    pub incarnation: u64,
    /// Every fact up to this sequence is here.
    pub sequence: u64,
}

/// A fact that was taken out of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRemoval {
    /// Its key.
    pub key: FactKey,
    /// Its hash.
    pub hash: FactHash,
}

/// Borrowed when it is written, owned when it was read.
type Text<'a> = Cow<'a, str>;

#[derive(Serialize, Deserialize)]
pub(super) struct StampV1(u64, u64);

#[derive(Serialize, Deserialize)]
struct FactV1<'a> {
    tenant: Text<'a>,
    first: StampV1,
    last: StampV1,
    body: BodyV1<'a>,
}

#[derive(Serialize, Deserialize)]
enum BodyV1<'a> {
    Transition { artifact: Text<'a>, id: Text<'a>, status: Text<'a>, refs: Vec<RefV1<'a>> },
    Tombstone { artifact: Text<'a> },
}

#[derive(Serialize, Deserialize)]
struct RefV1<'a> {
    target_repo: Text<'a>,
    idempotency_key: Text<'a>,
    resolution: Option<ResolutionV1<'a>>,
}

#[derive(Serialize, Deserialize)]
struct ResolutionV1<'a> {
    number: u64,
    url: Text<'a>,
    created_at: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct HeadV1<'a> {
    sequence: u64,
    seen: Option<StampV1>,
    tombstone: Option<StampV1>,
    winner: Option<WinnerV1<'a>>,
    refs_sum: u128,
    refs_count: u64,
}

#[derive(Serialize, Deserialize)]
struct WinnerV1<'a> {
    stamp: StampV1,
    transition: Text<'a>,
    status: Text<'a>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct RefRowV1<'a> {
    target_repo: Text<'a>,
    idempotency_key: Text<'a>,
    resolution: Option<(ResolutionV1<'a>, StampV1)>,
}

#[derive(Serialize, Deserialize)]
struct IdentityV1 {
    node: u64,
    incarnation: u64,
}

#[derive(Serialize, Deserialize)]
struct UsageV1 {
    facts: u64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct FingerprintV1 {
    sum: u128,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct WatermarkV1 {
    incarnation: u64,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
struct LeafV1(u8, FingerprintV1);

#[derive(Serialize, Deserialize)]
struct RemovalV1 {
    key: [u8; FactKey::BYTES],
    hash: u128,
}

impl From<Timestamp> for StampV1 {
    fn from(stamp: Timestamp) -> Self {
        Self(stamp.time.get(), stamp.node.number())
    }
}

impl From<StampV1> for Timestamp {
    fn from(StampV1(time, node): StampV1) -> Self {
        Self { time: UnixNanos::new(time), node: NodeId::new(node) }
    }
}

impl<'a> From<&'a Winner> for WinnerV1<'a> {
    fn from(winner: &'a Winner) -> Self {
        Self {
            stamp: winner.stamp.into(),
            transition: Cow::Borrowed(winner.transition.as_str()),
            status: Cow::Borrowed(winner.status.as_str()),
        }
    }
}

impl TryFrom<WinnerV1<'_>> for Winner {
    type Error = RecordError;

    fn try_from(winner: WinnerV1<'_>) -> Result<Self, RecordError> {
        Ok(Self {
            stamp: winner.stamp.into(),
            transition: TransitionId::parse(winner.transition.into_owned())?,
            status: Status::parse(winner.status.into_owned())?,
        })
    }
}

impl<'a> HeadV1<'a> {
    pub(super) fn of(projection: &'a Projection, sequence: u64) -> Self {
        Self {
            sequence,
            seen: projection.seen.map(StampV1::from),
            tombstone: projection.tombstone.map(StampV1::from),
            winner: projection.winner.as_ref().map(WinnerV1::from),
            refs_sum: projection.refs.sum,
            refs_count: projection.refs.count,
        }
    }
}

impl TryFrom<HeadV1<'_>> for StoredHead {
    type Error = RecordError;

    fn try_from(head: HeadV1<'_>) -> Result<Self, RecordError> {
        let projection = Projection {
            seen: head.seen.map(Timestamp::from),
            tombstone: head.tombstone.map(Timestamp::from),
            winner: head.winner.map(Winner::try_from).transpose()?,
            refs: RefsDigest { sum: head.refs_sum, count: head.refs_count },
        };
        Ok(Self { projection, sequence: head.sequence })
    }
}

impl<'a> RefRowV1<'a> {
    pub(super) fn of(key: &'a RefKey, state: &'a RefState) -> Self {
        let resolution = match state {
            RefState::Pending => None,
            RefState::Resolved { resolution, stamp } => Some((resolution.into(), (*stamp).into())),
        };
        Self {
            target_repo: Cow::Borrowed(&key.target_repo),
            idempotency_key: Cow::Borrowed(&key.idempotency_key),
            resolution,
        }
    }
}

impl TryFrom<RefRowV1<'_>> for (RefKey, RefState) {
    type Error = RecordError;

    fn try_from(row: RefRowV1<'_>) -> Result<Self, RecordError> {
        let RefRowV1 { target_repo, idempotency_key, resolution } = row;
        let (resolution, stamp) = resolution.unzip();
        let produced = ProducedRef::parse(0, RefV1 { target_repo, idempotency_key, resolution }.into())?;
        let state = match (produced.resolution, stamp) {
            (Some(resolution), Some(stamp)) => RefState::Resolved { resolution, stamp: stamp.into() },
            _ => RefState::Pending,
        };
        Ok((produced.key, state))
    }
}

impl<'a> From<&'a Resolution> for ResolutionV1<'a> {
    fn from(resolution: &'a Resolution) -> Self {
        Self {
            number: resolution.number,
            url: Cow::Borrowed(&resolution.url),
            created_at: Cow::Borrowed(&resolution.created_at),
        }
    }
}

impl<'a> From<&'a ProducedRef> for RefV1<'a> {
    fn from(produced: &'a ProducedRef) -> Self {
        Self {
            target_repo: Cow::Borrowed(&produced.key.target_repo),
            idempotency_key: Cow::Borrowed(&produced.key.idempotency_key),
            resolution: produced.resolution.as_ref().map(ResolutionV1::from),
        }
    }
}

impl From<RefV1<'_>> for RefDraft {
    fn from(stored: RefV1<'_>) -> Self {
        let resolution = stored
            .resolution
            .map(|resolution| (resolution.number, resolution.url.into_owned(), resolution.created_at.into_owned()));
        Self {
            target_repo: stored.target_repo.into_owned(),
            idempotency_key: stored.idempotency_key.into_owned(),
            resolution,
        }
    }
}

/// Writes a fact.
#[must_use]
pub fn encode_fact(tenant: &TenantId, fact: &Fact) -> Vec<u8> {
    let body = match &fact.body {
        Body::Transition(transition) => BodyV1::Transition {
            artifact: Cow::Borrowed(transition.artifact.as_str()),
            id: Cow::Borrowed(transition.id.as_str()),
            status: Cow::Borrowed(transition.status.as_str()),
            refs: transition.refs().iter().map(RefV1::from).collect(),
        },
        Body::Tombstone(artifact) => BodyV1::Tombstone { artifact: Cow::Borrowed(artifact.as_str()) },
    };
    encode(
        SCHEMA,
        &FactV1 { tenant: Cow::Borrowed(tenant.as_str()), first: fact.first.into(), last: fact.last.into(), body },
    )
}

/// Reads a fact.
///
/// # Errors
/// [`RecordError`]: the bytes are not a fact of this version.
pub fn decode_fact(value: &[u8]) -> Result<StoredFact, RecordError> {
    let FactV1 { tenant, first, last, body } = decode(SCHEMA, value)?;
    let body = match body {
        BodyV1::Transition { artifact, id, status, refs } => {
            let refs = refs.into_iter().map(RefDraft::from).collect();
            Body::Transition(Transition::parse(artifact.into_owned(), id.into_owned(), status.into_owned(), refs)?)
        }
        BodyV1::Tombstone { artifact } => Body::Tombstone(ArtifactId::parse(artifact.into_owned())?),
    };
    let (first, last) = (Timestamp::from(first), Timestamp::from(last));
    if first > last {
        return Err(RecordError::Stamps);
    }
    let fact = Fact { body, first, last };
    Ok(StoredFact { tenant: TenantId::parse(tenant.into_owned())?, fact })
}

/// Reads whose fact it is, and leaves the rest: what a reader needs to pass over those of other tenants.
///
/// # Errors
/// [`RecordError`]: the bytes do not begin as a fact of this version.
pub fn decode_fact_tenant(value: &[u8]) -> Result<TenantId, RecordError> {
    Ok(TenantId::parse(decode_first::<String>(SCHEMA, value)?)?)
}

/// Reads a fact's first and last stamp, and leaves the rest: they tell who stamped it.
///
/// # Errors
/// [`RecordError`]: the bytes do not begin as a fact of this version.
pub fn decode_fact_stamps(value: &[u8]) -> Result<(Timestamp, Timestamp), RecordError> {
    let (_tenant, first, last) = decode_first::<(String, StampV1, StampV1)>(SCHEMA, value)?;
    Ok((first.into(), last.into()))
}

/// Writes a projection.
#[must_use]
pub fn encode_head(projection: &Projection, sequence: u64) -> Vec<u8> {
    encode(SCHEMA, &HeadV1::of(projection, sequence))
}

/// Reads a projection.
///
/// # Errors
/// [`RecordError`]: the bytes are not a projection of this version.
pub fn decode_head(value: &[u8]) -> Result<StoredHead, RecordError> {
    decode::<HeadV1<'_>>(SCHEMA, value)?.try_into()
}

/// Writes a ref: its key and its state.
#[must_use]
pub fn encode_ref(key: &RefKey, state: &RefState) -> Vec<u8> {
    encode(SCHEMA, &RefRowV1::of(key, state))
}

/// Reads a ref: its key and its state.
///
/// # Errors
/// [`RecordError`]: the bytes are not a ref of this version.
pub fn decode_ref(value: &[u8]) -> Result<(RefKey, RefState), RecordError> {
    decode::<RefRowV1<'_>>(SCHEMA, value)?.try_into()
}

/// Writes a data directory's identity.
#[must_use]
pub fn encode_identity(identity: StoredIdentity) -> Vec<u8> {
    encode(SCHEMA, &IdentityV1 { node: identity.node.number(), incarnation: identity.incarnation })
}

/// Reads a data directory's identity.
///
/// # Errors
/// [`RecordError`]: the bytes are not an identity of this version.
pub fn decode_identity(value: &[u8]) -> Result<StoredIdentity, RecordError> {
    let identity: IdentityV1 = decode(SCHEMA, value)?;
    Ok(StoredIdentity { node: NodeId::new(identity.node), incarnation: identity.incarnation })
}

/// Writes what a tenant occupies.
#[must_use]
pub fn encode_usage(usage: StoredUsage) -> Vec<u8> {
    encode(SCHEMA, &UsageV1 { facts: usage.facts, bytes: usage.bytes })
}

/// Reads what a tenant occupies.
///
/// # Errors
/// [`RecordError`]: the bytes are not a usage of this version.
pub fn decode_usage(value: &[u8]) -> Result<StoredUsage, RecordError> {
    let usage: UsageV1 = decode(SCHEMA, value)?;
    Ok(StoredUsage { facts: usage.facts, bytes: usage.bytes })
}

/// Writes the fingerprint of a set of facts.
#[must_use]
pub fn encode_fingerprint(fingerprint: Fingerprint) -> Vec<u8> {
    encode(SCHEMA, &FingerprintV1 { sum: fingerprint.sum, count: fingerprint.count })
}

/// Reads the fingerprint of a set of facts.
///
/// # Errors
/// [`RecordError`]: the bytes are not a fingerprint of this version.
pub fn decode_fingerprint(value: &[u8]) -> Result<Fingerprint, RecordError> {
    let FingerprintV1 { sum, count } = decode(SCHEMA, value)?;
    Ok(Fingerprint { sum, count })
}

/// Writes the leaves of a block that have facts: the number of each in the block, and its fingerprint.
#[must_use]
pub fn encode_leaves(leaves: &[(u8, Fingerprint)]) -> Vec<u8> {
    let of_leaf = |(leaf, Fingerprint { sum, count }): &(u8, Fingerprint)| {
        LeafV1(*leaf, FingerprintV1 { sum: *sum, count: *count })
    };
    encode(SCHEMA, &leaves.iter().map(of_leaf).collect::<Vec<_>>())
}

/// Reads the leaves of a block that have facts.
///
/// # Errors
/// [`RecordError`]: the bytes are no leaves of this version.
pub fn decode_leaves(value: &[u8]) -> Result<Vec<(u8, Fingerprint)>, RecordError> {
    let leaves: Vec<LeafV1> = decode(SCHEMA, value)?;
    let of_leaf = |LeafV1(leaf, FingerprintV1 { sum, count })| (leaf, Fingerprint { sum, count });
    Ok(leaves.into_iter().map(of_leaf).collect())
}

/// Writes a removal.
#[must_use]
pub fn encode_removal(removal: StoredRemoval) -> Vec<u8> {
    encode(SCHEMA, &RemovalV1 { key: removal.key.bytes(), hash: removal.hash.get() })
}

/// Reads a removal.
///
/// # Errors
/// [`RecordError`]: the bytes are not a removal of this version.
pub fn decode_removal(value: &[u8]) -> Result<StoredRemoval, RecordError> {
    let RemovalV1 { key, hash } = decode(SCHEMA, value)?;
    Ok(StoredRemoval { key: FactKey::new(key), hash: FactHash::new(hash) })
}

/// Writes a watermark.
#[must_use]
pub fn encode_watermark(watermark: StoredWatermark) -> Vec<u8> {
    encode(SCHEMA, &WatermarkV1 { incarnation: watermark.incarnation, sequence: watermark.sequence })
}

/// Reads a watermark.
///
/// # Errors
/// [`RecordError`]: the bytes are not a watermark of this version.
pub fn decode_watermark(value: &[u8]) -> Result<StoredWatermark, RecordError> {
    let WatermarkV1 { incarnation, sequence } = decode(SCHEMA, value)?;
    Ok(StoredWatermark { incarnation, sequence })
}

/// Writes a bare number: a sequence, the clock's high-water mark, the format of a store.
#[must_use]
pub fn encode_number(number: u64) -> Vec<u8> {
    encode(SCHEMA, &number)
}

/// Reads a bare number.
///
/// # Errors
/// [`RecordError`]: the bytes are not a number of this version.
pub fn decode_number(value: &[u8]) -> Result<u64, RecordError> {
    decode(SCHEMA, value)
}
