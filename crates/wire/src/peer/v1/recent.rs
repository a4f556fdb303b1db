//! What a conversation said last.
//!
//! Facts that follow each other are alike: the same tenant, repositories and artifacts, stamps of one clock and one node. A page
//! of one fact has nothing in it that repeats, and the pages before it have most of it.

use super::super::FrameError;

/// Who tells and who listens keep so much of what was told: some sixty facts. More is seldom shorter, and each page costs the
/// time to look through all of it. A part of the format: who keeps another number cannot read what is written.
const RECENT_BYTES: usize = 8 << 10;

/// The end of all pages so far, not compressed: the dictionary for the next one. Both sides of a conversation have the same.
#[derive(Debug, Clone, Default)]
pub struct Recent(Vec<u8>);

impl Recent {
    pub(super) fn compress(&self, plain: &[u8]) -> Vec<u8> {
        lz4_flex::block::compress_with_dict(plain, &self.0)
    }

    /// `length` is how much has to come out.
    pub(super) fn decompress(&self, compressed: &[u8], length: u64) -> Result<Vec<u8>, FrameError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let plain = super::decompress(compressed, length, &self.0)?;
        if plain.len() < length {
            return Err(FrameError::Compressed(format!("it has {} bytes, and says {length}", plain.len())));
        }
        Ok(plain)
    }

    pub(super) fn push(&mut self, plain: &[u8]) {
        let new = &plain[plain.len().saturating_sub(RECENT_BYTES)..];
        let surplus = (self.0.len() + new.len()).saturating_sub(RECENT_BYTES);
        self.0.drain(..surplus);
        self.0.extend_from_slice(new);
    }
}
