//! Notes: small values that others keep in the store under a name of theirs, and the fence they may put around it.
//!
//! The store does not look into a note: what it says, and in which version, is for whoever wrote it.

use crate::engine::Table;
use crate::error::{ReadError, WriteError};
use crate::layout;
use crate::projections::Projections;
use crate::writer::Work;

/// The most bytes of a note: below the 256 KiB beyond which sled puts a value into a file of its own.
pub const NOTE_BYTES_MAX: usize = 240 << 10;

/// Why clients' writes are turned away, though the store could take them. Peers' facts are merged all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    /// This node's clock is wrong: what it stamps would decide over what others stamp.
    Clock,
    /// Another node has this node's identity: the stamps of the two cannot be told apart.
    Identity,
    /// This node has left its cluster, leaves it, or was forgotten: what it takes would go nowhere.
    NoMember,
    /// This node was away for longer than the retention, and has to start afresh: what it takes might be let go.
    Behind,
}

impl Projections {
    /// What is noted under a name.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.engine.get(Table::Meta, &layout::note(name))?)
    }

    /// Notes something under a name, in place of what was noted there: returns once it is on the disk.
    ///
    /// # Errors
    /// See [`WriteError`].
    ///
    /// # Panics
    /// If the note is longer than [`NOTE_BYTES_MAX`].
    pub async fn set_note(&self, name: &str, note: Vec<u8>) -> Result<(), WriteError> {
        assert!(note.len() <= NOTE_BYTES_MAX, "a note has at most {NOTE_BYTES_MAX} bytes");
        self.ask_to(Work::Note(layout::note(name), note)).await
    }

    /// Returns once everything that was handed to the writer before this is decided, and on the disk.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn written(&self) -> Result<(), WriteError> {
        self.ask_to(Work::List(Vec::new())).await
    }

    /// Turns clients' writes away from now on, or takes them again.
    pub fn set_fence(&self, fence: Option<Fence>) {
        self.shared.set_fence(fence);
    }

    /// Why clients' writes are turned away, if they are.
    #[must_use]
    pub fn fence(&self) -> Option<Fence> {
        self.shared.fence()
    }
}
