//! What nodes say to each other about forgetting, from version 3 on.

use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{FactKey, Fingerprint, Horizon};
use plimsoll_domain::timestamp::UnixNanos;
use serde::{Deserialize, Serialize};

use super::super::{FrameError, decode, encode};

/// The version that brought these frames.
const SCHEMA: u8 = 3;

/// How far a node is with forgetting: the question `horizon`, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The horizon of its facts; `None` while it forgets.
    pub horizon: Option<Horizon>,
    /// How far it has taken over the feed of whom it tells this: the incarnation of that one's data directory, and the
    /// sequence; `None` where it has nothing of it.
    pub taken: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct HorizonV3 {
    until: u64,
    sum: u128,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct StandingV3 {
    horizon: Option<HorizonV3>,
    taken: Option<(u64, u64)>,
}

impl From<Horizon> for HorizonV3 {
    fn from(Horizon { until, facts: Fingerprint { sum, count } }: Horizon) -> Self {
        Self { until: until.get(), sum, count }
    }
}

impl From<HorizonV3> for Horizon {
    fn from(HorizonV3 { until, sum, count }: HorizonV3) -> Self {
        Self { until: UnixNanos::new(until), facts: Fingerprint { sum, count } }
    }
}

/// Writes how far a node is with forgetting, with its length.
#[must_use]
pub fn encode_standing(standing: Standing) -> Vec<u8> {
    let Standing { horizon, taken } = standing;
    encode(SCHEMA, &StandingV3 { horizon: horizon.map(Into::into), taken })
}

/// Reads how far a node is with forgetting.
///
/// # Errors
/// [`FrameError`].
pub fn decode_standing(frame: &[u8]) -> Result<Standing, FrameError> {
    let StandingV3 { horizon, taken } = decode(SCHEMA, frame)?;
    Ok(Standing { horizon: horizon.map(Into::into), taken })
}

/// Writes the question `promise`, with its length: up to when to forget.
#[must_use]
pub fn encode_ask_promise(until: UnixNanos) -> Vec<u8> {
    encode(SCHEMA, &until.get())
}

/// Reads the question `promise`.
///
/// # Errors
/// [`FrameError`].
pub fn decode_ask_promise(frame: &[u8]) -> Result<UnixNanos, FrameError> {
    Ok(UnixNanos::new(decode(SCHEMA, frame)?))
}

/// Writes the answer to it, with its length: what the node has from up to then; `None` where it does not promise.
#[must_use]
pub fn encode_promise(horizon: Option<Horizon>) -> Vec<u8> {
    encode(SCHEMA, &horizon.map(HorizonV3::from))
}

/// Reads the answer to `promise`.
///
/// # Errors
/// [`FrameError`].
pub fn decode_promise(frame: &[u8]) -> Result<Option<Horizon>, FrameError> {
    Ok(decode::<Option<HorizonV3>>(SCHEMA, frame)?.map(Into::into))
}

/// How long members have been away, as a node keeps it: nanoseconds by node.
pub type KeptAbsences = Vec<(NodeId, Duration)>;

/// Writes how long members have been away, with its length.
///
/// # Panics
/// If one is away for centuries.
#[must_use]
pub fn encode_absences(absences: &KeptAbsences) -> Vec<u8> {
    let nanos = |away: Duration| u64::try_from(away.as_nanos()).expect("nobody is away for centuries");
    let absences: Vec<(u64, u64)> = absences.iter().map(|(node, away)| (node.number(), nanos(*away))).collect();
    encode(SCHEMA, &absences)
}

/// Reads how long members have been away.
///
/// # Errors
/// [`FrameError`].
pub fn decode_absences(frame: &[u8]) -> Result<KeptAbsences, FrameError> {
    let absences: Vec<(u64, u64)> = decode(SCHEMA, frame)?;
    Ok(absences.into_iter().map(|(node, nanos)| (NodeId::new(node), Duration::from_nanos(nanos))).collect())
}

/// The most facts one question asks for.
pub const HELD_MAX: usize = 4_096;

/// Writes the question `held`, with its length: of which facts, by key.
///
/// # Panics
/// If they are more than [`HELD_MAX`].
#[must_use]
pub fn encode_ask_held(keys: &[FactKey]) -> Vec<u8> {
    assert!(keys.len() <= HELD_MAX, "a question is for at most {HELD_MAX} facts");
    encode(SCHEMA, &keys.iter().map(|key| key.bytes()).collect::<Vec<_>>())
}

/// Reads the question `held`.
///
/// # Errors
/// [`FrameError`].
pub fn decode_ask_held(frame: &[u8]) -> Result<Vec<FactKey>, FrameError> {
    let keys: Vec<[u8; FactKey::BYTES]> = decode(SCHEMA, frame)?;
    if keys.len() > HELD_MAX {
        return Err(FrameError::Field { field: "keys", rule: format!("must be at most {HELD_MAX}") });
    }
    Ok(keys.into_iter().map(FactKey::new).collect())
}

/// Writes the answer to it, with its length: for each, whether it is there.
#[must_use]
pub fn encode_held(held: &[bool]) -> Vec<u8> {
    encode(SCHEMA, &held)
}

/// Reads the answer to `held`.
///
/// # Errors
/// [`FrameError`].
pub fn decode_held(frame: &[u8]) -> Result<Vec<bool>, FrameError> {
    decode(SCHEMA, frame)
}
