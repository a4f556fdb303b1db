//! The frames of the conversation, versions 1 to 4.
//!
//! A connection begins with [`Hello`], answered by [`Welcome`]. After it the one who called may [`Follow`] the other's
//! feed: [`Downstream`] frames come back, [`Upstream`] frames go out on the same stream. Everything else is one question
//! and one answer.

mod feed;
mod horizon;
mod member;
mod questions;
mod recent;
mod reconcile;

use serde::{Deserialize, Serialize};

use super::{FrameError, NEWEST};

pub use feed::*;
pub use horizon::*;
pub use member::*;
pub use questions::*;
pub use recent::Recent;
pub use reconcile::*;

/// What the first exchange is written in, whatever is spoken later.
const FIRST: u8 = 1;

/// The versions of the conversation a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest; at least `oldest`.
    pub newest: u16,
}

impl Versions {
    /// The newest both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// Reads what was compressed by LZ4 after its length.
fn decompressed<Body: serde::de::DeserializeOwned>(compressed: &[u8]) -> Result<Body, FrameError> {
    let (length, block) = lz4_flex::block::uncompressed_size(compressed).map_err(|error| broken(&error))?;
    super::decode_whole(&decompress(block, length, &[])?)
}

/// Up to `length` bytes that were compressed by LZ4 with a dictionary.
fn decompress(block: &[u8], length: usize, dictionary: &[u8]) -> Result<Vec<u8>, FrameError> {
    if length > super::FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length });
    }
    lz4_flex::block::decompress_with_dict(block, length, dictionary).map_err(|error| broken(&error))
}

fn broken(error: &lz4_flex::block::DecompressError) -> FrameError {
    FrameError::Compressed(error.to_string())
}

/// The versions of the conversation this software speaks.
pub const SPOKEN: Versions = Versions { oldest: super::OLDEST, newest: NEWEST };
