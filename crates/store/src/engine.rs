//! The whole seam to a disk: point reads, ordered scans, atomic batches, and a sync.
//!
//! The one idea: *committed* and *durable* are two events. [`Engine::commit`] makes a batch visible to every reader,
//! whole or not at all; [`Engine::sync`] makes everything committed before it survive a power cut. Between the two a
//! crash may take back any suffix of the committed batches, never a part of one and never an earlier one alone.
//!
//! An engine knows nothing of transitions, tenants or versions: keys and values are bytes, grouped in [`Table`]s whose
//! meaning is the layout module's. Every engine passes the same conformance suite, in `engine/conformance.rs`.

pub mod fjall;
pub mod memory;
pub mod redb;
pub mod sled;

#[cfg(test)]
mod conformance;

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use thiserror::Error;

/// What an engine on a disk is told when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EngineOptions {
    /// Bytes of memory for keys and values that were read and may be read again. Write buffers come on top: each
    /// engine's module says how much. Raise it until the working set fits or memory is wanted elsewhere.
    pub cache_bytes: u64,
}

/// A named, ordered space of keys. The numbers are on disk: they are never reused or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// The store's own facts about itself: format, identity, clock, usage.
    Meta = 1,
    /// Facts in the order this node committed them: the change feed.
    Log = 2,
    /// Where in the log the fact of a transition id, or an artifact's tombstone, stands.
    Identity = 3,
    /// The projection of each artifact, with its newest history and its refs while they are few.
    Head = 4,
    /// Where in the log the older facts of an artifact stand, by stamp.
    History = 5,
    /// The produced refs of the artifacts that have many.
    Ref = 6,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Meta, Self::Log, Self::Identity, Self::Head, Self::History, Self::Ref];

    /// The table's name, where an engine has names for tables: on disk too.
    const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Log => "log",
            Self::Identity => "identity",
            Self::Head => "head",
            Self::History => "history",
            Self::Ref => "ref",
        }
    }

    /// The table's number, as it is on disk.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its place in [`Table::ALL`].
    const fn index(self) -> usize {
        self as usize - 1
    }
}

/// A key and its value, as a scan yields them.
pub type Row = (Vec<u8>, Vec<u8>);

/// An atomic group of writes. A later write to a key replaces an earlier one of the same batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    tables: [BTreeMap<Vec<u8>, Option<Vec<u8>>>; Table::ALL.len()],
}

impl Batch {
    /// Sets a key of at least one byte: not every engine can hold the empty one, so to pass it is a bug and a panic.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        assert!(!key.is_empty(), "an empty key is put into {table:?}");
        self.tables[table.index()].insert(key, Some(value));
    }

    /// Removes a key, present or not. The empty one is a bug, as in [`Batch::put`].
    pub fn remove(&mut self, table: Table, key: Vec<u8>) {
        assert!(!key.is_empty(), "an empty key is removed from {table:?}");
        self.tables[table.index()].insert(key, None);
    }

    /// What the batch does to a key: nothing (`None`), remove it (`Some(None)`), or set it.
    #[must_use]
    pub fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables[table.index()].get(key).map(Option::as_deref)
    }

    /// What the batch does to the keys of a range, in order.
    pub fn range(&self, table: Table, range: KeyRange) -> impl DoubleEndedIterator<Item = (&[u8], Option<&[u8]>)> {
        let rows = if range.is_void() {
            None
        } else {
            Some(self.tables[table.index()].range::<Vec<u8>, _>((range.start, range.end)))
        };
        rows.into_iter().flatten().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// The number of keys the batch touches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.iter().map(BTreeMap::len).sum()
    }

    /// Whether the batch touches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes out what the batch does to a table and those after it.
    #[must_use]
    pub(crate) fn split_off(&mut self, first: Table) -> Self {
        let mut rest = Self::default();
        rest.tables[first.index()..].swap_with_slice(&mut self.tables[first.index()..]);
        rest
    }

    /// The writes, in the order of tables and keys; `None` removes. Ordered writes are what engines take fastest.
    pub fn into_writes(self) -> impl Iterator<Item = (Table, Vec<u8>, Option<Vec<u8>>)> {
        Table::ALL
            .into_iter()
            .zip(self.tables)
            .flat_map(|(table, rows)| rows.into_iter().map(move |(key, value)| (table, key, value)))
    }
}

/// The keys of a scan within one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Where the range begins.
    pub start: Bound<Vec<u8>>,
    /// Where it ends.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { start: Bound::Included(prefix.to_vec()), end: after_prefix(prefix) }
    }

    /// `key`, and every greater one.
    #[must_use]
    pub fn from_key(key: Vec<u8>) -> Self {
        Self { start: Bound::Included(key), end: Bound::Unbounded }
    }

    /// Every key that begins with `prefix` and is greater than `key`.
    #[must_use]
    pub fn prefix_after(prefix: &[u8], key: Vec<u8>) -> Self {
        Self { start: Bound::Excluded(key), end: after_prefix(prefix) }
    }

    /// Every key that begins with `prefix` and is less than `key`.
    #[must_use]
    pub fn prefix_before(prefix: &[u8], key: Vec<u8>) -> Self {
        Self { start: Bound::Included(prefix.to_vec()), end: Bound::Excluded(key) }
    }

    /// Every key that begins with `prefix` and is not greater than `key`.
    #[must_use]
    pub fn prefix_to(prefix: &[u8], key: Vec<u8>) -> Self {
        Self { start: Bound::Included(prefix.to_vec()), end: Bound::Included(key) }
    }

    /// Whether no key can lie within: the ends have met or crossed. Ordered maps panic on such a range.
    fn is_void(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
        }
    }
}

/// The first key after all that begin with `prefix`; unbounded where the prefix is all `0xff`.
fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// Which end of a range a scan starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key up.
    Forward,
    /// From the greatest key down.
    Backward,
}

/// A disk, or something that behaves like one.
///
/// One thread commits at a time (the store's writer) and one syncs (its syncer), perhaps while the other commits; any
/// number of threads read meanwhile.
pub trait Engine: Send + Sync + 'static {
    /// The value of one key, as of the latest commit.
    ///
    /// # Errors
    /// [`EngineError`]: the value could not be read; other keys may still be.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// The rows of a range, in order. The iterator sees each batch committed before the call; whether it sees later
    /// ones is the engine's choice. The caller bounds how much it takes.
    fn scan<'a>(
        &'a self,
        table: Table,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Row, EngineError>> + Send + 'a>;

    /// Makes a batch visible, whole or not at all. It is durable only after the next [`Engine::sync`].
    ///
    /// # Errors
    /// After an error the caller must treat the engine as failed: whether the batch will be seen after a restart is
    /// unknown, and no further commit or sync may be tried on this handle.
    fn commit(&self, batch: Batch) -> Result<(), EngineError>;

    /// Returns once every batch committed before the call would survive a power cut.
    ///
    /// # Errors
    /// As for [`Engine::commit`]: a failed sync is final, since the kernel may have dropped the pages it could not
    /// write (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    fn sync(&self) -> Result<(), EngineError>;

    /// Roughly how many bytes the engine occupies on its disk.
    ///
    /// # Errors
    /// [`EngineError`]: the size could not be read.
    fn disk_bytes(&self) -> Result<u64, EngineError>;
}

/// The disk, or the library that drives it, failed.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The file system has no room left.
    #[error("no space left on the data disk")]
    DiskFull,
    /// Another process holds the files.
    #[error("the data directory is in use by another process")]
    InUse,
    /// Bytes on the disk are not what was written; what else the store holds may still be read.
    #[error("damaged data: {detail}")]
    Damaged {
        /// What the engine said of it.
        detail: String,
    },
    /// The operating system refused an operation.
    #[error("disk: {0}")]
    Io(#[source] io::Error),
}

impl From<io::Error> for EngineError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged { detail: error.to_string() },
            _ => Self::Io(error),
        }
    }
}

impl EngineError {
    /// The answer to a write after an earlier one failed.
    fn failed_before() -> Self {
        Self::Io(io::Error::other("an earlier write or sync failed; the engine must be opened again"))
    }
}

/// Runs what may panic on bytes it did not write itself. The panic hook has printed by then; the caller gets an error.
fn contain<T>(action: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    panic::catch_unwind(AssertUnwindSafe(action))
        .unwrap_or_else(|payload| Err(EngineError::Damaged { detail: panic_message(payload.as_ref()) }))
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("the storage library panicked: {}", text.unwrap_or("no message"))
}

/// The rows of a scan that may panic, ended by its first error.
struct Contained<I> {
    rows: Option<I>,
}

impl<I> Contained<I> {
    fn new(rows: I) -> Self {
        Self { rows: Some(rows) }
    }
}

impl<I: Iterator<Item = Result<Row, EngineError>>> Iterator for Contained<I> {
    type Item = Result<Row, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rows = self.rows.as_mut()?;
        let row = contain(|| rows.next().transpose()).transpose();
        if !matches!(row, Some(Ok(_))) {
            self.rows = None;
        }
        row
    }
}

/// Makes a directory, durably, unless it is there; its parent must be.
fn create_directory(directory: &Path) -> Result<(), EngineError> {
    match fs::create_dir(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    match directory.parent() {
        Some(parent) if parent != Path::new("") => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Makes a directory and those above it, durably, unless they are there.
pub(crate) fn create_directories(directory: &Path) -> Result<(), EngineError> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| *parent != Path::new("")) {
        create_directories(parent)?;
    }
    create_directory(directory)
}

/// Makes the names in a directory durable; an fsync of a file covers its bytes, not its name.
fn sync_directory(directory: &Path) -> Result<(), EngineError> {
    Ok(File::open(directory)?.sync_all()?)
}

/// The bytes that the files below a directory occupy; less than their lengths where they have holes.
fn directory_bytes(directory: &Path) -> Result<u64, EngineError> {
    /// The unit of `st_blocks`, whatever the file system's own block is.
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    let mut pending = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(entry.path()),
                Ok(metadata) => bytes += metadata.blocks() * BLOCK_BYTES,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {} // the engine removed it meanwhile
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(bytes)
}
