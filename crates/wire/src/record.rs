//! Values a store keeps on its disk.
//!
//! Each value is one format byte (how the body is encoded: bincode 2, or frames one after another), one schema byte
//! (which version of its record type the body is), and the body. The body's encoding can neither add a field nor be read under another version, so a changed
//! record is a new schema with an explicit conversion from the old one, and the old one's golden file stays.
//!
//! What is read is parsed: a record that breaks a rule of `domain` is a [`RecordError`], not a value.

pub mod v1;
pub mod v2;

use bincode::config::{Configuration, Limit};
use plimsoll_domain::id::TextRule;
use plimsoll_domain::projection::Invalid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Bodies in bincode 2's standard configuration.
const FORMAT_BINCODE_2: u8 = 1;

/// Bodies of frames: each its length in four bytes, little-endian, and so many bytes.
const FORMAT_FRAMES: u8 = 2;

/// What most records fit, so that writing one allocates once.
const RECORD_BYTES_USUAL: usize = 384;

/// The most bytes of one body: the texts of a transition's refs have 128 KiB at most, the rest less than 2 KiB.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// A stored value cannot be read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Shorter than its header.
    #[error("the record has {0} bytes, and no room for its header")]
    Truncated(usize),
    /// Written by a newer version, or damaged.
    #[error("the record has format {format} and schema {schema}, which this version does not read")]
    Unknown {
        /// The format byte.
        format: u8,
        /// The schema byte.
        schema: u8,
    },
    /// The body is not of its schema.
    #[error("the record's body cannot be read: {0}")]
    Body(#[from] bincode::error::DecodeError),
    /// The first stamp of a fact is greater than its last.
    #[error("the record's stamps are in the wrong order")]
    Stamps,
    /// A place in the log is before the pack it is in.
    #[error("the record names a place before the beginning of the log")]
    Place,
    /// What is kept in order is not.
    #[error("the record's entries are in the wrong order")]
    Order,
    /// A frame ends before its length.
    #[error("a frame of {length} bytes is cut short: {left} are left of the record")]
    Frame {
        /// What its length says.
        length: usize,
        /// The bytes that are left.
        left: usize,
    },
    /// A head lists other refs than it counts.
    #[error("the record lists {listed} refs and counts {counted}")]
    RefsCount {
        /// The refs it lists.
        listed: usize,
        /// The refs it counts.
        counted: u64,
    },
    /// Bytes follow the body.
    #[error("{0} bytes follow the record's body")]
    Trailing(usize),
    /// A field breaks its rule.
    #[error("the record breaks a rule: {0}")]
    Field(#[from] Invalid),
    /// A name breaks its rule.
    #[error("the record breaks a rule: {0}")]
    Text(#[from] TextRule),
}

fn configuration() -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<BODY_BYTES_MAX>> {
    bincode::config::standard().with_limit::<BODY_BYTES_MAX>()
}

fn encode(schema: u8, body: &impl Serialize) -> Vec<u8> {
    let mut value = Vec::with_capacity(RECORD_BYTES_USUAL);
    value.extend([FORMAT_BINCODE_2, schema]);
    bincode::serde::encode_into_std_write(body, &mut value, configuration())
        .expect("records have a known shape, and a vector takes every byte");
    value
}

/// Reads the first field of a body, or the first few as a tuple, and leaves the rest.
fn decode_first<Field: DeserializeOwned>(schema: u8, value: &[u8]) -> Result<Field, RecordError> {
    Ok(bincode::serde::decode_from_slice(body_of(FORMAT_BINCODE_2, schema, value)?, configuration())?.0)
}

/// Whether a value is of version 1 of its record type; those are all bincode.
fn is_v1(value: &[u8]) -> bool {
    value.starts_with(&[FORMAT_BINCODE_2, 1])
}

fn body_of(expected: u8, schema: u8, value: &[u8]) -> Result<&[u8], RecordError> {
    let [format, actual, body @ ..] = value else { return Err(RecordError::Truncated(value.len())) };
    if (*format, *actual) != (expected, schema) {
        return Err(RecordError::Unknown { format: *format, schema: *actual });
    }
    Ok(body)
}

fn decode<Body: DeserializeOwned>(schema: u8, value: &[u8]) -> Result<Body, RecordError> {
    let body = body_of(FORMAT_BINCODE_2, schema, value)?;
    let (record, used) = bincode::serde::decode_from_slice(body, configuration())?;
    if used < body.len() {
        return Err(RecordError::Trailing(body.len() - used));
    }
    Ok(record)
}
