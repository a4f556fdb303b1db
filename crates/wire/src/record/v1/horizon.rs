//! What a store keeps of forgetting: up to when it has, what it has promised, and the tombstones it is to forget by.

use plimsoll_domain::projection::{Fingerprint, Horizon};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use serde::{Deserialize, Serialize};

use super::super::{RecordError, decode, encode};
use super::{SCHEMA, StampV1};

/// How far a store is with forgetting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoredHorizon {
    /// It has forgotten up to here, or is about to.
    pub reached: Horizon,
    /// Whether it still is.
    pub is_forgetting: bool,
    /// What it has promised to forget next, if the other members have what it has; the list of tombstones is for this.
    pub promised: Option<Horizon>,
}

#[derive(Serialize, Deserialize)]
struct HorizonV1 {
    until: u64,
    sum: u128,
    count: u64,
}

#[derive(Serialize, Deserialize)]
struct StoredHorizonV1 {
    reached: HorizonV1,
    is_forgetting: bool,
    promised: Option<HorizonV1>,
}

impl From<Horizon> for HorizonV1 {
    fn from(Horizon { until, facts: Fingerprint { sum, count } }: Horizon) -> Self {
        Self { until: until.get(), sum, count }
    }
}

impl From<HorizonV1> for Horizon {
    fn from(HorizonV1 { until, sum, count }: HorizonV1) -> Self {
        Self { until: UnixNanos::new(until), facts: Fingerprint { sum, count } }
    }
}

/// Writes how far a store is with forgetting.
#[must_use]
pub fn encode_horizon(horizon: StoredHorizon) -> Vec<u8> {
    let StoredHorizon { reached, is_forgetting, promised } = horizon;
    encode(SCHEMA, &StoredHorizonV1 { reached: reached.into(), is_forgetting, promised: promised.map(Into::into) })
}

/// Reads how far a store is with forgetting.
///
/// # Errors
/// [`RecordError`]: the bytes are not that.
pub fn decode_horizon(value: &[u8]) -> Result<StoredHorizon, RecordError> {
    let StoredHorizonV1 { reached, is_forgetting, promised } = decode(SCHEMA, value)?;
    Ok(StoredHorizon { reached: reached.into(), is_forgetting, promised: promised.map(Into::into) })
}

/// Writes the stamp of a tombstone.
#[must_use]
pub fn encode_stamp(stamp: Timestamp) -> Vec<u8> {
    encode(SCHEMA, &StampV1::from(stamp))
}

/// Reads the stamp of a tombstone.
///
/// # Errors
/// [`RecordError`]: the bytes are not a stamp.
pub fn decode_stamp(value: &[u8]) -> Result<Timestamp, RecordError> {
    Ok(decode::<StampV1>(SCHEMA, value)?.into())
}
