//! The token: the name of one exact state of one projection.

use std::fmt;

use thiserror::Error;

use crate::id::parse_hex;
use crate::timestamp::{Timestamp, UnixNanos, write_hex};

/// `committed_version`: `<time>/<node>/<digest>`, 69 bytes.
///
/// Comparing texts is comparing stamps; two states are equal if and only if their tokens are (the digest has 64 bits:
/// by accident, two states of one stamp share it once in 10^19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// The greatest stamp ever seen for the artifact.
    pub stamp: Timestamp,
    /// The digest of the projection's content.
    pub digest: u64,
}

/// A text that is not a token in its fixed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be a token as this API gives them: <time>/<node>/<digest>, 69 bytes")]
pub struct NotAToken;

impl Token {
    /// The length of a token's text.
    pub const TEXT_BYTES: usize = Timestamp::TEXT_BYTES + 1 + 16;

    /// Reads a token exactly as [`Token::to_text`] writes it.
    ///
    /// # Errors
    /// [`NotAToken`] for anything else.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        if text.len() != Self::TEXT_BYTES || text.as_bytes()[Timestamp::TEXT_BYTES] != b'/' {
            return Err(NotAToken);
        }
        let (stamp, digest) = text.split_at_checked(Timestamp::TEXT_BYTES).ok_or(NotAToken)?;
        Ok(Self {
            stamp: Timestamp::parse(stamp).map_err(|_| NotAToken)?,
            digest: parse_hex(&digest.as_bytes()[1..]).map_err(|_| NotAToken)?,
        })
    }

    /// The text.
    #[must_use]
    pub fn to_text(self) -> String {
        let mut text = Vec::with_capacity(Self::TEXT_BYTES);
        self.stamp.write_text(&mut text);
        text.push(b'/');
        write_hex(&mut text, self.digest);
        String::from_utf8(text).expect("digits and punctuation are ASCII")
    }

    /// The time of its stamp: `updated_at`.
    #[must_use]
    pub const fn updated_at(self) -> UnixNanos {
        self.stamp.time
    }
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_text())
    }
}

/// What the fields of most facts and projections occupy.
const FIELDS_BYTES_USUAL: usize = 512;

/// Hashes fields so that no two sequences of fields share an encoding: each is preceded by its length.
///
/// The fields are gathered and hashed at once: fed to a hasher field by field, they made an import a fifteenth slower.
pub(super) struct Digester(Vec<u8>);

impl Digester {
    /// A digester for one purpose; purposes do not share digests.
    pub(super) fn new(purpose: &str) -> Self {
        let mut digester = Self(Vec::with_capacity(FIELDS_BYTES_USUAL));
        digester.text(purpose);
        digester
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn wide_number(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    pub(super) fn finish_128(&self) -> u128 {
        u128::from_be_bytes(self.first_bytes())
    }

    pub(super) fn finish_64(&self) -> u64 {
        u64::from_be_bytes(self.first_bytes())
    }

    fn first_bytes<const N: usize>(&self) -> [u8; N] {
        *blake3::hash(&self.0).as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    const EXAMPLE: &str = "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";

    #[test]
    fn the_example_of_the_contract_is_a_token() {
        let token = Token::parse(EXAMPLE).unwrap();
        assert_eq!(token.stamp.node, NodeId::new(0x00c0_ffee_00c0_ffee));
        assert_eq!(token.digest, 0x9f86_d081_884c_7d65);
        assert_eq!(token.to_text(), EXAMPLE);
        assert_eq!(EXAMPLE.len(), 69);
    }

    #[test]
    fn nothing_else_is() {
        for text in ["", "x", &EXAMPLE[1..], &EXAMPLE.replace('/', "-"), &EXAMPLE.to_uppercase(), &"é".repeat(35)] {
            assert_eq!(Token::parse(text), Err(NotAToken), "{text}");
        }
        assert_eq!(Token::parse(&format!("{}é", &EXAMPLE[..67])), Err(NotAToken));
    }
}
