//! What the store is told by its owner.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::timestamp::UnixNanos;

/// Reads the wall clock: the only way time enters the store.
pub type WallClock = Arc<dyn Fn() -> UnixNanos + Send + Sync>;

/// Tells how many bytes the data disk has left; `None` where it cannot be told.
pub type FreeBytes = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// What the store is told by its owner.
#[derive(Clone)]
pub struct Options {
    /// How far ahead of this node's clock a token may lie (`projections.md`, section *Clock*: 500 ms).
    pub drift_max: Duration,
    /// Bytes of memory for the cursors that were read or written lately: some 300 bytes an artifact.
    pub cursor_cache_bytes: u64,
    /// Bytes of memory for the heads the writer met lately, which it needs to decide the next write: some 500 bytes an
    /// artifact.
    pub head_cache_bytes: u64,
    /// Facts one tenant may keep.
    pub tenant_facts_max: u64,
    /// Bytes of facts one tenant may keep, as stored in the log; indexes come on top.
    pub tenant_bytes_max: u64,
    /// Below this many free bytes on the data disk no write is taken.
    pub reserve_bytes: u64,
    /// The wall clock.
    pub wall_clock: WallClock,
    /// The room on the data disk.
    pub free_bytes: FreeBytes,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("drift_max", &self.drift_max)
            .field("cursor_cache_bytes", &self.cursor_cache_bytes)
            .field("head_cache_bytes", &self.head_cache_bytes)
            .field("tenant_facts_max", &self.tenant_facts_max)
            .field("tenant_bytes_max", &self.tenant_bytes_max)
            .field("reserve_bytes", &self.reserve_bytes)
            .finish_non_exhaustive()
    }
}
