//! The engine over fjall 3.1: a log-structured tree (a *keyspace*) for each [`Table`], one journal for all.
//!
//! It rests on the journal: a batch over several keyspaces is one checksummed record of it, written by
//! [`Engine::commit`] without a sync, and [`Engine::sync`] is `fdatasync` of the journal. That suffices: the journal is
//! made at its full 64 MiB with `fsync` of file and directory before the first record, `fdatasync` covers the extents
//! and any growth after that, and a change to the next journal syncs the old one first. Tables are synced with their
//! directory before the journal that held their rows is removed.
//!
//! Traps of this version, each met in its source:
//!
//! - `Keyspace::get` and `range` read beyond the last *published* batch and see half of one that is being applied. All
//!   reads here go through a snapshot, which sees whole batches.
//! - Keys of no bytes, and of more than 65535, make it panic: [`Batch`] takes none of the first, commits here refuse the
//!   second.
//! - The write-buffer limit of the database is accepted and ignored. The limit of a keyspace holds: memory for writes is
//!   three memtables of 5 to 8 MiB for each of six keyspaces, one more that waits to be freed, those that an open scan keeps,
//!   and one batch; three keyspaces are written by most transitions. Small ones are also faster than the default of 64 MiB.
//! - A commit that meets four waiting memtables, or thirty tables in level zero, sleeps until there are fewer, and does
//!   not see that the worker which should bring that about has died, of a full disk say. So a commit here waits before
//!   it gets that far, and looks for the failure while it does.
//! - When the worker or a sync fails the database is *poisoned*: writes are refused until it is opened again, without
//!   the cause. Whether the cause was a full disk is asked of the file system.
//! - Recovery cuts the newest journal at the first byte that is no record, since a torn write looks like that. A flipped
//!   bit there is either found by the batch's checksum, or it *silently drops the synced batches after it*. The loss is
//!   always a suffix of the commits, as of a crash; it cannot be told from one. Damaged tables are told.
//! - Recovery deletes a keyspace whose manifest is missing, all keyspaces if the index of keyspaces is, and begins an
//!   empty journal where there is none. So the layout is looked over before fjall may touch it.
//! - A creation that is cut short leaves a directory that cannot be opened. So a database is made under another name,
//!   closed, renamed and opened again.
//! - Making a keyspace does not sync the directory it is made in; it is synced before the rename.
//! - A memory table that is done with is freed under a lock that all reads and writes of the keyspace take: see
//!   `engine/fjall/memtables.rs`.
//!
//! It owns one thread, which flushes and compacts, and this module another, which frees.

mod memtables;

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher as _;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ::fjall::config::PartitioningPolicy;
use ::fjall::{AbstractTree as _, Database, Error, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use self::memtables::{Memtable, Memtables};
use super::{
    Batch, Contained, Direction, Engine, EngineError, EngineOptions, KeyRange, Row, Table, contain, create_directory,
    directory_bytes, sync_directory,
};

/// The database's directory within the engine's, and its name until it is whole.
const DATABASE: &str = "database";
const UNFINISHED_DATABASE: &str = "database.new";

/// Bytes of writes a keyspace gathers in memory before they become a table. Measured: up to 8 MiB are 1.5 times as fast
/// as 16 MiB with batches in the order of keys; under that, flushes disturb more often.
const MEMTABLE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Each keyspace of each new database draws a size of its own from here up, and keeps it. The nodes of a cluster take the same facts: with
/// tables of one size all of them would be full, and be written out, at the same moments, on disks and processors they may share.
const MEMTABLE_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// Bytes of journals that are full but still needed, above which fjall flushes the keyspaces that need them. Opening
/// reads all of them.
const JOURNAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// File descriptors that stay open; processes commonly have 1024 for everything.
const OPEN_FILES_MAX: usize = 256;

/// Filters and indexes of tables are read in pieces of 4 KiB, but for those of level zero, which are small and stay in memory. By
/// fjall's own policy they are whole up to level two: a megabyte for each table of 64 MiB, which no cache of a few keeps. Each
/// lookup of an unknown key then read whole filters from the file: with 1.6 million transitions a post took 370 µs of the writer.
const PARTITIONED_FROM_LEVEL_ONE: [bool; 2] = [false, true];

/// Waiting memtables and tables of level zero at which a commit waits. fjall's own limits, at which it would wait
/// without end, are 4 and 30; one commit adds at most two memtables to a keyspace.
const SEALED_MEMTABLES_MAX: usize = 2;
const LEVEL_ZERO_TABLES_MAX: usize = 16;
const ROOM_PAUSE: Duration = Duration::from_millis(1);

/// A worker that has flushed nothing for so long is stuck, not slow.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(60);

/// Free bytes on the file system below which a failure is told as a full disk: a memtable could not be flushed.
const FREE_BYTES_MIN: u64 = 2 * MEMTABLE_BYTES_MAX;

/// A fjall database in a directory of its own.
pub struct Fjall {
    /// In the order of [`Table::ALL`].
    keyspaces: Vec<Keyspace>,
    memtables: Memtables,
    database: Database,
    directory: PathBuf,
}

impl Fjall {
    /// Keys up to this length are taken. A commit with a longer one is refused before anything is written.
    pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

    /// Opens the database in `directory`, which is created if its parent exists. Takes about a third of a second to
    /// find that another process holds it.
    ///
    /// # Errors
    /// [`EngineError::InUse`]; [`EngineError::Damaged`], before anything was changed where parts are missing;
    /// [`EngineError::DiskFull`].
    pub fn open(directory: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        create_directory(directory)?;
        let path = directory.join(DATABASE);
        if path.try_exists()? {
            look_over(&path)?;
        } else {
            contain(|| create(directory, options))?;
        }
        let (database, keyspaces) = contain(|| open_database(&path, options))?;
        let memtables = contain(|| Ok(Memtables::begin(active_memtables(&keyspaces))?))?;
        Ok(Self { keyspaces, memtables, database, directory: directory.to_path_buf() })
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.keyspaces[table.index()]
    }

    /// Returns once no keyspace is so far behind that fjall would hold a commit up, or with the failure that keeps it
    /// there.
    fn wait_for_room(&self) -> Result<(), EngineError> {
        let behind = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() >= SEALED_MEMTABLES_MAX
                || keyspace.l0_table_count() >= LEVEL_ZERO_TABLES_MAX
        };
        let begun = Instant::now();
        while self.keyspaces.iter().any(behind) {
            if begun.elapsed() > ROOM_WAIT_MAX {
                return Err(
                    io::Error::new(io::ErrorKind::TimedOut, "fjall has not flushed its memory for a minute").into()
                );
            }
            // The one public way to ask whether the database is poisoned.
            self.database.persist(PersistMode::Buffer).map_err(|error| self.translate(error))?;
            thread::sleep(ROOM_PAUSE);
        }
        Ok(())
    }

    /// As the free function, but finds out whether a poisoned database is one on a full disk.
    fn translate(&self, error: Error) -> EngineError {
        match (error, rustix::fs::statvfs(&self.directory)) {
            (Error::Poisoned, Ok(disk)) if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN => {
                EngineError::DiskFull
            }
            (error, _) => translate(error),
        }
    }
}

impl std::fmt::Debug for Fjall {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fjall").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Engine for Fjall {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let value = contain(|| self.database.snapshot().get(self.keyspace(table), key).map_err(translate))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Row, EngineError>> + Send + 'a> {
        if range.is_void() {
            return Box::new(std::iter::empty());
        }
        let begin = || {
            let snapshot: Snapshot = self.database.snapshot();
            Ok(snapshot.range::<Vec<u8>, _>(self.keyspace(table), (range.start, range.end)))
        };
        let rows = match contain(begin) {
            Ok(rows) => rows,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let row = |guard: ::fjall::Guard| match guard.into_inner() {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(error) => Err(translate(error)),
        };
        match direction {
            Direction::Forward => Box::new(Contained::new(rows.map(row))),
            Direction::Backward => Box::new(Contained::new(rows.rev().map(row))),
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        // With the journal left to us (`manual_journal_persist`) a batch has no durability of its own.
        let mut writes = self.database.batch();
        for (table, key, value) in batch.into_writes() {
            if key.len() > Self::KEY_BYTES_MAX {
                return Err(too_long(&key));
            }
            match value {
                Some(value) => writes.insert(self.keyspace(table), key, value),
                None => writes.remove(self.keyspace(table), key),
            }
        }
        contain(|| {
            self.wait_for_room()?;
            self.memtables.note(active_memtables(&self.keyspaces));
            writes.commit().map_err(|error| self.translate(error))
        })
    }

    fn sync(&self) -> Result<(), EngineError> {
        contain(|| self.database.persist(PersistMode::SyncData).map_err(|error| self.translate(error)))
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        directory_bytes(&self.directory)
    }
}

/// Makes a whole database under its final name, or none.
fn create(directory: &Path, options: EngineOptions) -> Result<(), EngineError> {
    let unfinished = directory.join(UNFINISHED_DATABASE);
    if unfinished.try_exists()? {
        fs::remove_dir_all(&unfinished)?;
    }
    drop(open_database(&unfinished, options)?);
    sync_directory(&unfinished.join("keyspaces"))?;
    sync_directory(&unfinished)?;
    look_over(&unfinished)?;
    fs::rename(&unfinished, directory.join(DATABASE))?;
    sync_directory(directory)
}

fn open_database(path: &Path, options: EngineOptions) -> Result<(Database, Vec<Keyspace>), EngineError> {
    let database = Database::builder(path)
        .manual_journal_persist(true)
        .cache_size(options.cache_bytes)
        .worker_threads(1)
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .open()
        .map_err(translate)?;
    let keyspace = |table: Table| database.keyspace(table.name(), keyspace_options).map_err(translate);
    let keyspaces = Table::ALL.into_iter().map(keyspace).collect::<Result<_, _>>()?;
    Ok((database, keyspaces))
}

/// Of each keyspace the memory table that takes the writes.
fn active_memtables(keyspaces: &[Keyspace]) -> impl Iterator<Item = Memtable> {
    keyspaces.iter().map(|keyspace| keyspace.tree.active_memtable() as Memtable)
}

/// A size for the memory tables of a keyspace, by a random number.
const fn memtable_bytes(random: u64) -> u64 {
    MEMTABLE_BYTES_MIN + random % (MEMTABLE_BYTES_MAX - MEMTABLE_BYTES_MIN + 1)
}

/// A keyspace keeps the options it was made with.
fn keyspace_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(memtable_bytes(RandomState::new().hash_one(())))
        .filter_block_partitioning_policy(PartitioningPolicy::new(PARTITIONED_FROM_LEVEL_ONE))
        .index_block_partitioning_policy(PartitioningPolicy::new(PARTITIONED_FROM_LEVEL_ONE))
}

/// Finds missing what fjall would replace by nothing: the version, every journal, the index of keyspaces (which fjall
/// numbers 0) or a keyspace (numbered from 1 in the order they were made).
fn look_over(path: &Path) -> Result<(), EngineError> {
    let missing = |what: &str| Err(EngineError::Damaged { detail: format!("{DATABASE}/{what} is missing") });
    if !path.join("version").try_exists()? {
        return missing("version");
    }
    for number in 0..=Table::ALL.len() {
        let manifest = format!("keyspaces/{number}/current");
        if !path.join(&manifest).try_exists()? {
            return missing(&manifest);
        }
    }
    for entry in fs::read_dir(path)? {
        if entry?.path().extension().is_some_and(|extension| extension == "jnl") {
            return Ok(());
        }
    }
    missing("*.jnl")
}

fn too_long(key: &[u8]) -> EngineError {
    let message = format!("a key of {} bytes is over the {} that fjall takes", key.len(), Fjall::KEY_BYTES_MAX);
    EngineError::Io(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn translate(error: Error) -> EngineError {
    match error {
        Error::Locked => EngineError::InUse,
        Error::Io(error) | Error::Storage(::fjall::LsmError::Io(error)) => error.into(),
        Error::Poisoned => EngineError::failed_before(),
        error => EngineError::Damaged { detail: error.to_string() },
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::sync::Arc;

    use super::*;

    const ROWS: u64 = 700_000;

    fn key(number: u64) -> Vec<u8> {
        // Spread, as transition ids are.
        let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        spread.to_be_bytes().to_vec()
    }

    /// Bytes that this thread has read from files, cached or not.
    fn bytes_read() -> u64 {
        let counts = fs::read_to_string("/proc/thread-self/io").unwrap();
        counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    /// A table that nobody sees off would stay for ever, and one that is not held is freed under the engine's lock.
    #[test]
    fn a_memory_table_is_held_until_it_is_replaced_and_freed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Fjall::open(&folder.path().join("fjall"), EngineOptions { cache_bytes: 1 << 20 }).unwrap();
        let log = engine.keyspace(Table::Log);
        let first = log.tree.active_memtable();
        // This one, the engine's, and the one held.
        assert_eq!(Arc::strong_count(&first), 3);
        let (weak, begun) = (Arc::downgrade(&first), Instant::now());
        drop(first);
        while weak.strong_count() > 0 {
            assert!(begun.elapsed() < ROOM_WAIT_MAX, "the first table is not freed");
            for number in 0..MEMTABLE_BYTES_MAX >> 16 {
                let mut batch = Batch::default();
                batch.put(Table::Log, number.to_be_bytes().to_vec(), vec![7; 1 << 16]);
                engine.commit(batch).unwrap();
            }
        }
    }

    /// A cache that holds no whole filter stands for a store with many.
    #[test]
    fn whether_a_key_is_there_costs_a_few_blocks_however_many_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Fjall::open(&folder.path().join("fjall"), EngineOptions { cache_bytes: 1 << 18 }).unwrap();
        for first in (0..ROWS).step_by(10_000) {
            let mut batch = Batch::default();
            for number in first..first + 10_000 {
                batch.put(Table::Identity, key(number), vec![7; 32]);
            }
            engine.commit(batch).unwrap();
        }
        // Tables of level zero have their filters in memory.
        let keyspace = engine.keyspace(Table::Identity);
        let begun = Instant::now();
        while keyspace.sealed_memtable_count() > 0 || keyspace.l0_table_count() >= 4 {
            assert!(begun.elapsed() < 5 * ROOM_WAIT_MAX, "fjall does not flush");
            thread::sleep(ROOM_PAUSE);
        }
        let before = bytes_read();
        let lookups = 1_000;
        for number in ROWS..ROWS + lookups {
            assert_eq!(engine.get(Table::Identity, &key(number)).unwrap(), None);
        }
        let each = (bytes_read() - before) / lookups;
        assert!(each < 64 * 1024, "{each} bytes read for each");
    }
}
