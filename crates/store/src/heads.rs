//! The heads the writer met lately: what it needs to know of an artifact to decide its next transition.
//!
//! Only the writer has them, so they need no lock; and they are as of the latest *decided* group, ahead of what readers
//! are shown by at most the groups that wait for a sync. They are kept as they are stored: decoded, they take twice the
//! room, and a head that is not here costs more than decoding ten that are.

use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};

use crate::shared::Hasher;

/// About what an entry occupies beside its key and record.
const ENTRY_BYTES: usize = 120;

/// The usual size of an entry, by which places are reserved.
const ENTRY_BYTES_USUAL: u64 = 480;

/// Records of heads by key of [`crate::layout::head`].
pub(crate) type Heads = Cache<Vec<u8>, Box<[u8]>, HeadBytes, Hasher>;

/// Weighs an entry by what it occupies.
#[derive(Debug, Clone)]
pub(crate) struct HeadBytes;

impl Weighter<Vec<u8>, Box<[u8]>> for HeadBytes {
    fn weight(&self, key: &Vec<u8>, record: &Box<[u8]>) -> u64 {
        (ENTRY_BYTES + key.len() + record.len()) as u64
    }
}

/// An empty cache of at most so many bytes.
pub(crate) fn cache(bytes: u64, hasher: Hasher) -> Heads {
    let entries = usize::try_from(bytes / ENTRY_BYTES_USUAL).unwrap_or(usize::MAX);
    Cache::with(entries, bytes, HeadBytes, hasher, DefaultLifecycle::default())
}
