//! The engine over sled 0.34.7: one tree, a table's number before each key.
//!
//! It rests on `apply_batch`, which is atomic within one tree only, hence the one tree. Every read takes sled's
//! process-wide lock in shared mode and `apply_batch` takes it alone, so a point read sees whole batches; an iterator
//! takes it anew for each row and may see a batch that arrives on its way.
//!
//! Traps of this version, each met in its source:
//!
//! - `flush` ends in `sync_file_range`, which covers neither the size of the file nor its extents nor the disk's cache:
//!   [`Engine::sync`] follows it with `fdatasync` of `db`, the one file that holds the log. Nothing calls `flush_async`.
//! - A *page* of more than an eighth of a mebibyte (a quarter of a segment) leaves the log for a file of its own in
//!   `blobs`, which sled never syncs, and a page holds up to 17 rows: rows of 8 KiB suffice. Recovery steps over a
//!   missing blob as if its write had never been, which would tear a batch. So each commit syncs new blobs before it
//!   returns, while the end of its batch is not written yet, and each sync does before the log, since readers split pages
//!   too. Rows longer than [`Sled::VALUE_BYTES_MAX`] are refused.
//! - `conf` is written once, without a sync; `snap.*` only while opening, with one, but its rename has none. Opening
//!   ends with a sync of all of them and of both directories.
//! - A segment returns to use when all its pages were rewritten. Those mostly stale are cleaned by the periodic flusher
//!   and by nothing else; it is off, as every group is flushed, and was measured to change nothing: a mix of few
//!   changing and many resting rows occupies 12 to 14 times its size with it and without, even writes 4 times.
//! - A damaged directory makes it panic, in `open` and in reads. Both are contained here and told as damage.
//! - The lock is `flock` on `db`, and a failure to get it is told as text. Dropped handles may hold it for a moment
//!   through sled's thread pool, so opening tries for a while.
//!
//! Memory: the page cache of [`EngineOptions::cache_bytes`], an index of every page, and a few segments of 512 KiB. In
//! practice that is about the size of the data after opening.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{
    Batch, Contained, Direction, Engine, EngineError, EngineOptions, KeyRange, Row, Table, contain, create_directory,
    directory_bytes, sync_directory,
};

/// How often, and how far apart, opening tries for the lock: half a second in all.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A sled database in a directory of its own.
#[derive(Debug)]
pub struct Sled {
    database: ::sled::Db,
    /// sled's log, on a descriptor of our own that has been open since before the first write, so that a sync of it
    /// reports every write the kernel failed at.
    log: File,
    directory: PathBuf,
    /// The names in `blobs` that are durable.
    synced_blobs: Mutex<BTreeSet<OsString>>,
    /// Whether a commit or a sync failed; nothing is written after.
    failed: AtomicBool,
}

impl Sled {
    /// Values up to this length are taken, well below the 256 KiB that are this project's limit for sled. A commit with
    /// a longer one is refused before anything is written.
    pub const VALUE_BYTES_MAX: usize = 192 * 1024;

    /// Opens the database in `directory`, which is created if its parent exists. Takes up to half a second to find that
    /// another process holds it.
    ///
    /// # Errors
    /// [`EngineError::InUse`]; [`EngineError::Damaged`], of which nothing more can be read; [`EngineError::DiskFull`],
    /// also where the data is whole, since sled writes while it opens.
    pub fn open(directory: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        create_directory(directory)?;
        let database = open_patiently(directory, options)?;
        let log = OpenOptions::new().read(true).write(true).open(directory.join("db"))?;
        let engine = Self {
            database,
            log,
            directory: directory.to_path_buf(),
            synced_blobs: Mutex::default(),
            failed: AtomicBool::new(false),
        };
        engine.sync_layout()?;
        Ok(engine)
    }

    /// Makes durable what sled wrote while it opened.
    fn sync_layout(&self) -> Result<(), EngineError> {
        self.sync_new_blobs()?;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        sync_directory(&self.directory.join("blobs"))?;
        sync_directory(&self.directory)
    }

    fn sync_new_blobs(&self) -> Result<(), EngineError> {
        let blobs = self.directory.join("blobs");
        let mut synced = self.synced_blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut present = BTreeSet::new();
        let mut any_new = false;
        for entry in fs::read_dir(&blobs)? {
            let name = entry?.file_name();
            if !synced.contains(&name) {
                match File::open(blobs.join(&name)) {
                    Ok(blob) => blob.sync_all()?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // replaced meanwhile
                    Err(error) => return Err(error.into()),
                }
                any_new = true;
            }
            present.insert(name);
        }
        if any_new {
            sync_directory(&blobs)?;
        }
        *synced = present;
        Ok(())
    }

    /// Runs a write unless an earlier one failed, and remembers if this one does.
    fn fenced(&self, write: impl FnOnce() -> Result<(), EngineError>) -> Result<(), EngineError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(EngineError::failed_before());
        }
        contain(write).inspect_err(|_| self.failed.store(true, Ordering::Release))
    }
}

impl Engine for Sled {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        contain(|| Ok(self.database.get(prefixed(table, key)).map_err(translate)?.map(|value| value.to_vec())))
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
        let start = match range.start {
            Bound::Unbounded => Bound::Included(vec![table.number()]),
            bound => bound.map(|key| prefixed(table, &key)),
        };
        let end = match range.end {
            Bound::Unbounded => Bound::Excluded(vec![table.number() + 1]),
            bound => bound.map(|key| prefixed(table, &key)),
        };
        let rows = match contain(|| Ok(self.database.range::<Vec<u8>, _>((start, end)))) {
            Ok(rows) => rows,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let row = |row: ::sled::Result<(::sled::IVec, ::sled::IVec)>| match row {
            Ok((key, value)) => Ok((key[1..].to_vec(), value.to_vec())),
            Err(error) => Err(translate(error)),
        };
        match direction {
            Direction::Forward => Box::new(Contained::new(rows.map(row))),
            Direction::Backward => Box::new(Contained::new(rows.rev().map(row))),
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        let mut writes = ::sled::Batch::default();
        for (table, key, value) in batch.into_writes() {
            let key = prefixed(table, &key);
            match value {
                Some(value) if value.len() > Self::VALUE_BYTES_MAX => return Err(too_long(&value)),
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.fenced(|| {
            self.database.apply_batch(writes).map_err(translate)?;
            self.sync_new_blobs()
        })
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.fenced(|| {
            self.database.flush().map_err(translate)?;
            self.sync_new_blobs()?;
            Ok(self.log.sync_data()?)
        })
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        directory_bytes(&self.directory)
    }
}

fn open_patiently(directory: &Path, options: EngineOptions) -> Result<::sled::Db, EngineError> {
    for _ in 1..LOCK_ATTEMPTS {
        match open_once(directory, options) {
            Err(EngineError::InUse) => thread::sleep(LOCK_PAUSE),
            outcome => return outcome,
        }
    }
    open_once(directory, options)
}

fn open_once(directory: &Path, options: EngineOptions) -> Result<::sled::Db, EngineError> {
    let config = ::sled::Config::new().path(directory).cache_capacity(options.cache_bytes).flush_every_ms(None);
    contain(|| config.open().map_err(translate))
}

fn prefixed(table: Table, key: &[u8]) -> Vec<u8> {
    let mut prefixed = Vec::with_capacity(1 + key.len());
    prefixed.push(table.number());
    prefixed.extend_from_slice(key);
    prefixed
}

fn too_long(value: &[u8]) -> EngineError {
    let message = format!("a value of {} bytes is over the {} that sled takes", value.len(), Sled::VALUE_BYTES_MAX);
    EngineError::Io(io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn translate(error: ::sled::Error) -> EngineError {
    match error {
        // sled wraps the kernel's refusal of the lock in an error of kind `Other`; its text is all there is.
        ::sled::Error::Io(error) if error.to_string().contains("could not acquire lock") => EngineError::InUse,
        ::sled::Error::Io(error) => error.into(),
        error => EngineError::Damaged { detail: error.to_string() },
    }
}
