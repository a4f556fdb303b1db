//! Frames: what nodes say to each other.
//!
//! A frame is its length in four bytes, big-endian, then one format byte (the body is bincode 2), one schema byte (of which
//! version its type is), and the body. A length beyond [`FRAME_BYTES_MAX`] is refused
//! before anything is kept for it.
//!
//! Adjacent versions are spoken, so that a cluster is upgraded node by node:
//!
//! | version | what changed |
//! |---|---|
//! | 1 | the first |
//! | 2 | pages of facts are compressed, by LZ4 |
//! | 3 | nodes agree on what they forget: the questions `horizon`, `promise` and `held` |
//! | 4 | a page is compressed against the pages before it, and says whether its arrival is waited for |

pub mod v1;

use bincode::config::{Configuration, Limit};
use plimsoll_domain::id::TextRule;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The oldest version of the conversation that is spoken.
pub const OLDEST: u16 = 1;

/// The newest.
pub const NEWEST: u16 = 4;

/// From this version on pages are compressed.
pub(crate) const COMPRESSES: u16 = 2;

/// From this version on a node may have forgotten something, and says up to when.
pub const FORGETS: u16 = 3;

/// From this version on a page is compressed against the pages before it.
pub(crate) const CONTINUES: u16 = 4;

/// The most bytes of a frame without its length: far more than a page of facts and one fact more.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

const FORMAT_BINCODE_2: u8 = 1;

const LENGTH_BYTES: usize = 4;

/// Bytes are not a frame of this version.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Longer than any frame is.
    #[error("a frame of {length} bytes, and {FRAME_BYTES_MAX} are the most there may be")]
    TooLong {
        /// The length it claims.
        length: usize,
    },
    /// The bytes end within a frame.
    #[error("the bytes end within a frame")]
    CutShort,
    /// Of another version, or no frame at all.
    #[error("a frame of format {format} and schema {schema}, which is not spoken here")]
    Unknown {
        /// The format byte.
        format: u8,
        /// The schema byte.
        schema: u8,
    },
    /// The body is not of its schema.
    #[error("the frame's body cannot be read: {0}")]
    Body(#[from] bincode::error::DecodeError),
    /// Bytes follow the body.
    #[error("{0} bytes follow the frame's body")]
    Trailing(usize),
    /// A field breaks a rule.
    #[error("the frame's {field} {rule}")]
    Field {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: String,
    },
    /// A compressed page cannot be read.
    #[error("the page cannot be decompressed: {0}")]
    Compressed(String),
}

impl FrameError {
    pub(crate) fn text(field: &'static str) -> impl Fn(TextRule) -> Self {
        move |rule| Self::Field { field, rule: rule.to_string() }
    }
}

fn configuration() -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<FRAME_BYTES_MAX>> {
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>()
}

/// Writes a frame with its length. `schema` is the version of the conversation.
pub(crate) fn encode(schema: u8, body: &impl Serialize) -> Vec<u8> {
    let mut frame = vec![0; LENGTH_BYTES];
    frame.extend([FORMAT_BINCODE_2, schema]);
    bincode::serde::encode_into_std_write(body, &mut frame, configuration())
        .expect("frames have a known shape, and a vector takes every byte");
    let length = u32::try_from(frame.len() - LENGTH_BYTES).expect("a frame is far below 4 GiB");
    frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    frame
}

/// Reads the body of a frame, given without its length.
pub(crate) fn decode<Body: DeserializeOwned>(schema: u8, frame: &[u8]) -> Result<Body, FrameError> {
    let [format, actual, body @ ..] = frame else { return Err(FrameError::CutShort) };
    if (*format, *actual) != (FORMAT_BINCODE_2, schema) {
        return Err(FrameError::Unknown { format: *format, schema: *actual });
    }
    decode_whole(body)
}

/// Writes the bare body of something that another frame carries.
///
/// # Panics
/// If it has no fixed shape, as a sequence of unknown length.
#[must_use]
pub fn encode_bare(body: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(body, configuration()).expect("what is carried has a known shape")
}

/// Reads the bare body at the beginning of `bytes`. Returns how many of them it took.
///
/// # Errors
/// [`FrameError`]: the bytes do not begin with such a body.
pub fn decode_bare<Body: DeserializeOwned>(bytes: &[u8]) -> Result<(Body, usize), FrameError> {
    Ok(bincode::serde::decode_from_slice(bytes, configuration())?)
}

/// Reads a bare body that is all of `bytes`.
pub(crate) fn decode_whole<Body: DeserializeOwned>(bytes: &[u8]) -> Result<Body, FrameError> {
    let (body, used) = decode_bare(bytes)?;
    if used < bytes.len() {
        return Err(FrameError::Trailing(bytes.len() - used));
    }
    Ok(body)
}

/// Bytes within a body, written and read at once and not one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Blob;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// How many of the bytes have been handed out.
    done: usize,
}

impl Frames {
    /// Adds what came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done > 0 {
            self.bytes.drain(..self.done);
            self.done = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame without its length, if all of it is here.
    ///
    /// # Errors
    /// [`FrameError::TooLong`].
    #[expect(clippy::should_implement_trait, reason = "what it returns borrows from it")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(length) = self.bytes[self.done..].first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { length });
        }
        let begin = self.done + LENGTH_BYTES;
        let Some(frame) = self.bytes.get(begin..begin + length) else { return Ok(None) };
        self.done = begin + length;
        Ok(Some(frame))
    }

    /// The only frame of these bytes, without its length.
    ///
    /// # Errors
    /// [`FrameError`]: they are not exactly one frame.
    pub fn only(bytes: &[u8]) -> Result<&[u8], FrameError> {
        let (length, frame) = bytes.split_at_checked(LENGTH_BYTES).ok_or(FrameError::CutShort)?;
        let length = u32::from_be_bytes(length.try_into().expect("it was cut to four bytes")) as usize;
        match frame.len().checked_sub(length) {
            Some(0) => Ok(frame),
            Some(more) => Err(FrameError::Trailing(more)),
            None => Err(FrameError::CutShort),
        }
    }
}

#[cfg(test)]
mod laws;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_are() {
        let stream = [encode(1, &7_u64), encode(1, &"text"), encode(1, &())].concat();
        for piece in 1..stream.len() {
            let mut frames = Frames::default();
            let mut lengths = Vec::new();
            for bytes in stream.chunks(piece) {
                frames.push(bytes);
                while let Some(frame) = frames.next().unwrap() {
                    lengths.push(frame.len());
                }
            }
            assert_eq!(lengths, [3, 7, 2], "in pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_claims_too_much_is_refused_at_once() {
        let mut frames = Frames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert!(matches!(frames.next(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn another_version_is_not_read_as_this_one() {
        let frame = encode(2, &7_u64);
        assert!(matches!(decode::<u64>(1, Frames::only(&frame).unwrap()), Err(FrameError::Unknown { schema: 2, .. })));
    }
}
