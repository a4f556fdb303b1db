//! Version 1 of the stored records.
//!
//! For each: the type as `domain` or the store knows it, and a pair of functions that write and read its bytes.

use plimsoll_domain::id::{ArtifactId, NodeId, Status, TenantId, TransitionId};
use plimsoll_domain::projection::{
    Body, Fact, ProducedRef, Projection, RefDraft, RefState, RefsDigest, Resolution, Transition, Winner,
};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use serde::{Deserialize, Serialize};

use super::{RecordError, decode, encode};

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

#[derive(Serialize, Deserialize)]
struct StampV1(u64, u64);

#[derive(Serialize, Deserialize)]
struct FactV1 {
    tenant: String,
    first: StampV1,
    last: StampV1,
    body: BodyV1,
}

#[derive(Serialize, Deserialize)]
enum BodyV1 {
    Transition { artifact: String, id: String, status: String, refs: Vec<RefV1> },
    Tombstone { artifact: String },
}

#[derive(Serialize, Deserialize)]
struct RefV1 {
    target_repo: String,
    idempotency_key: String,
    resolution: Option<ResolutionV1>,
}

#[derive(Serialize, Deserialize)]
struct ResolutionV1 {
    number: u64,
    url: String,
    created_at: String,
}

#[derive(Serialize, Deserialize)]
struct HeadV1 {
    sequence: u64,
    seen: Option<StampV1>,
    tombstone: Option<StampV1>,
    winner: Option<WinnerV1>,
    refs_sum: u128,
    refs_count: u64,
}

#[derive(Serialize, Deserialize)]
struct WinnerV1 {
    stamp: StampV1,
    transition: String,
    status: String,
}

#[derive(Serialize, Deserialize)]
enum RefStateV1 {
    Pending,
    Resolved { resolution: ResolutionV1, stamp: StampV1 },
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

impl From<&Resolution> for ResolutionV1 {
    fn from(resolution: &Resolution) -> Self {
        Self {
            number: resolution.number,
            url: resolution.url.to_string(),
            created_at: resolution.created_at.to_string(),
        }
    }
}

impl From<ResolutionV1> for Resolution {
    fn from(resolution: ResolutionV1) -> Self {
        Self { number: resolution.number, url: resolution.url.into(), created_at: resolution.created_at.into() }
    }
}

impl From<&ProducedRef> for RefV1 {
    fn from(produced: &ProducedRef) -> Self {
        Self {
            target_repo: produced.key.target_repo.to_string(),
            idempotency_key: produced.key.idempotency_key.to_string(),
            resolution: produced.resolution.as_ref().map(ResolutionV1::from),
        }
    }
}

impl From<RefV1> for RefDraft {
    fn from(stored: RefV1) -> Self {
        Self {
            target_repo: stored.target_repo,
            idempotency_key: stored.idempotency_key,
            resolution: stored.resolution.map(|resolution| (resolution.number, resolution.url, resolution.created_at)),
        }
    }
}

/// Writes a fact.
#[must_use]
pub fn encode_fact(tenant: &TenantId, fact: &Fact) -> Vec<u8> {
    let body = match &fact.body {
        Body::Transition(transition) => BodyV1::Transition {
            artifact: transition.artifact.to_string(),
            id: transition.id.to_string(),
            status: transition.status.to_string(),
            refs: transition.refs().iter().map(RefV1::from).collect(),
        },
        Body::Tombstone(artifact) => BodyV1::Tombstone { artifact: artifact.to_string() },
    };
    encode(SCHEMA, &FactV1 { tenant: tenant.to_string(), first: fact.first.into(), last: fact.last.into(), body })
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
            Body::Transition(Transition::parse(artifact, id, status, refs)?)
        }
        BodyV1::Tombstone { artifact } => Body::Tombstone(ArtifactId::parse(artifact)?),
    };
    let fact = Fact { body, first: first.into(), last: last.into() };
    Ok(StoredFact { tenant: TenantId::parse(tenant)?, fact })
}

/// Writes a projection.
#[must_use]
pub fn encode_head(projection: &Projection, sequence: u64) -> Vec<u8> {
    let winner = projection.winner.as_ref().map(|winner| WinnerV1 {
        stamp: winner.stamp.into(),
        transition: winner.transition.to_string(),
        status: winner.status.to_string(),
    });
    encode(
        SCHEMA,
        &HeadV1 {
            sequence,
            seen: projection.seen.map(StampV1::from),
            tombstone: projection.tombstone.map(StampV1::from),
            winner,
            refs_sum: projection.refs.sum,
            refs_count: projection.refs.count,
        },
    )
}

/// Reads a projection.
///
/// # Errors
/// [`RecordError`]: the bytes are not a projection of this version.
pub fn decode_head(value: &[u8]) -> Result<StoredHead, RecordError> {
    let head: HeadV1 = decode(SCHEMA, value)?;
    let winner = head
        .winner
        .map(|winner| {
            Ok::<_, RecordError>(Winner {
                stamp: winner.stamp.into(),
                transition: TransitionId::parse(winner.transition)?,
                status: Status::parse(winner.status)?,
            })
        })
        .transpose()?;
    let projection = Projection {
        seen: head.seen.map(Timestamp::from),
        tombstone: head.tombstone.map(Timestamp::from),
        winner,
        refs: RefsDigest { sum: head.refs_sum, count: head.refs_count },
    };
    Ok(StoredHead { projection, sequence: head.sequence })
}

/// Writes the state of a ref.
#[must_use]
pub fn encode_ref(state: &RefState) -> Vec<u8> {
    let body = match state {
        RefState::Pending => RefStateV1::Pending,
        RefState::Resolved { resolution, stamp } => {
            RefStateV1::Resolved { resolution: resolution.into(), stamp: (*stamp).into() }
        }
    };
    encode(SCHEMA, &body)
}

/// Reads the state of a ref.
///
/// # Errors
/// [`RecordError`]: the bytes are not a ref of this version.
pub fn decode_ref(value: &[u8]) -> Result<RefState, RecordError> {
    Ok(match decode(SCHEMA, value)? {
        RefStateV1::Pending => RefState::Pending,
        RefStateV1::Resolved { resolution, stamp } => {
            RefState::Resolved { resolution: resolution.into(), stamp: stamp.into() }
        }
    })
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
