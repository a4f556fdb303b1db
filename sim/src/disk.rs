//! The disk of a host: what was synced is on it, and what was not may be lost.

mod pages;

use std::sync::Arc;

use plimsoll_node::environment::{Engine, EngineError, EngineOptions, Memory, Redb};

use crate::scenario::DiskKind;
use pages::Pages;

/// Memory for redb's pages: no run has more than fits.
const CACHE_BYTES: u64 = 4 << 20;

/// See the module. Clones are handles to one disk.
#[derive(Debug, Clone)]
pub enum Disk {
    /// The engine in memory, which loses whole batches.
    Batches(Memory),
    /// Pages, which are lost and torn, under redb.
    Pages(Pages),
}

impl Disk {
    /// An empty one.
    #[must_use]
    pub fn new(kind: DiskKind) -> Self {
        match kind {
            DiskKind::Memory => Self::Batches(Memory::new()),
            DiskKind::Redb => Self::Pages(Pages::default()),
        }
    }

    /// The engine over it. One at a time: what an earlier one writes from now on is lost.
    ///
    /// # Errors
    /// What is on it cannot be opened.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(match self {
            Self::Batches(memory) => Arc::new(memory.clone()),
            Self::Pages(pages) => Arc::new(Redb::over(pages.powered(), EngineOptions { cache_bytes: CACHE_BYTES })?),
        })
    }

    /// The power goes: what is written from now on comes to nothing, until [`Disk::crash`].
    pub fn power_off(&self) {
        if let Self::Pages(pages) = self {
            pages.power_off();
        }
    }

    /// What was not synced is lost, but for so many writes of it.
    pub fn crash(&self, kept: usize) {
        match self {
            Self::Batches(memory) => memory.crash_keeping(kept),
            Self::Pages(pages) => pages.crash(kept),
        }
    }

    /// A copy of what a power cut would leave.
    #[must_use]
    pub fn backup(&self) -> Self {
        match self {
            Self::Batches(memory) => Self::Batches(memory.backup()),
            Self::Pages(pages) => Self::Pages(pages.backup()),
        }
    }

    /// Whether there is room for what is new.
    pub fn set_room(&self, has_room: bool) {
        match self {
            Self::Batches(memory) if has_room => memory.free_disk(),
            Self::Batches(memory) => memory.fill_disk(),
            Self::Pages(pages) => pages.set_room(has_room),
        }
    }

    /// Makes the next sync fail.
    pub fn fail_next_sync(&self) {
        match self {
            Self::Batches(memory) => memory.fail_next_sync(),
            Self::Pages(pages) => pages.fail_next_sync(),
        }
    }
}
