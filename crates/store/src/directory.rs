//! The data directory: one lock, one engine, a ballast.
//!
//! ```text
//! <data-dir>/LOCK       held while a process has the directory open
//! <data-dir>/BALLAST    bytes to give back when an engine cannot open on a full disk
//! <data-dir>/HOLDS      how far the store had come, as the sequence of a change
//! <data-dir>/fjall/     the engine's own files; or redb/, or sled/
//! ```
//!
//! A directory belongs to the engine it was first opened with. `HOLDS` is written at each opening and at each clean close.
//! An engine cannot tell a log that was cut short from one that was never longer, nor an empty folder from a new one; a
//! store that has come less far than it had is told from both by this mark, and is not opened.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use plimsoll_wire::record::{RecordError, v1};
use thiserror::Error;

use crate::engine::fjall::Fjall;
use crate::engine::redb::Redb;
use crate::engine::sled::Sled;
use crate::engine::{Engine, EngineError, EngineOptions, Table, create_directories};
use crate::layout;

/// What the ballast weighs: enough for sled, which needs room to open, to write what it recovers.
const BALLAST_BYTES: usize = 32 << 20;

/// How far the store had come when it was opened or closed last.
const HOLDS: &str = "HOLDS";

/// That, while it is written.
const FRESH_HOLDS: &str = "HOLDS.new";

/// An engine on a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// fjall: a log-structured merge tree. The default: the fastest at durable writes, within a stated budget.
    #[default]
    Fjall,
    /// redb: a copy-on-write B-tree in one file. Least memory, fewest moving parts, slowest writes.
    Redb,
    /// sled: a lock-free tree over a log. Needs about four times the disk.
    Sled,
}

impl EngineKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Fjall, Self::Redb, Self::Sled];

    /// Its name: in the configuration, and of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }

    fn open(self, directory: &Path, options: EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
        Ok(match self {
            Self::Fjall => Arc::new(Fjall::open(directory, options)?),
            Self::Redb => Arc::new(Redb::open(directory, options)?),
            Self::Sled => Arc::new(Sled::open(directory, options)?),
        })
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name that is no engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be fjall, redb or sled")]
pub struct NoSuchEngine;

impl FromStr for EngineKind {
    type Err = NoSuchEngine;

    fn from_str(text: &str) -> Result<Self, NoSuchEngine> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or(NoSuchEngine)
    }
}

/// A data directory that cannot be opened. Nothing in it was changed, unless a variant says so.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// Another process has it open.
    #[error("{} is in use by another process: stop that one, or give this one a data directory of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It was made with another engine.
    #[error("{} holds a {found} store: start with --engine {found}, or give another data directory", path.display())]
    OtherEngine {
        /// The directory.
        path: PathBuf,
        /// The engine it was made with.
        found: EngineKind,
    },
    /// It held more than the engine finds: files were removed, cut short, or replaced by older ones.
    #[error("{} is damaged: its store had come to change {}, and {}: restore it as a whole, or give a new data directory",
        path.display(), marked.unwrap_or_default(), found(*reached))]
    Lost {
        /// The directory.
        path: PathBuf,
        /// How far the store had come when it was opened or closed last.
        marked: Option<u64>,
        /// How far it comes now; `None` where it is empty.
        reached: Option<u64>,
    },
    /// The operating system refuses.
    #[error("cannot use {} as a data directory: {source}", path.display())]
    Io {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// The engine refuses.
    #[error("cannot open the {kind} store in {}: {source}", path.display())]
    Engine {
        /// The directory.
        path: PathBuf,
        /// The engine.
        kind: EngineKind,
        /// What it said.
        #[source]
        source: EngineError,
    },
}

fn found(reached: Option<u64>) -> String {
    match reached {
        Some(reached) => format!("ends at change {reached} now"),
        None => "is empty now".to_owned(),
    }
}

/// A data directory, open and locked. Keep it as long as the engine is in use.
pub struct Directory {
    path: PathBuf,
    kind: EngineKind,
    /// Kept to note how far it has come at the end; `None` once that is done.
    engine: Option<Arc<dyn Engine>>,
    _lock: File,
}

impl fmt::Debug for Directory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Directory").field("path", &self.path).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// A store that is closed has come as far as its engine says. The engine is closed before the lock is let go.
impl Drop for Directory {
    fn drop(&mut self) {
        self.mark();
        self.engine = None;
    }
}

impl Directory {
    /// Opens a data directory, making it where it is not there. `kind` is the engine for a new one; an existing one
    /// must be of that kind, where one is given.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    pub fn open(
        path: &Path,
        kind: Option<EngineKind>,
        options: EngineOptions,
    ) -> Result<(Self, Arc<dyn Engine>), DirectoryError> {
        create_directories(path).map_err(|error| {
            let source = match error {
                EngineError::Io(source) => source,
                other => io::Error::other(other),
            };
            DirectoryError::Io { path: path.to_path_buf(), source }
        })?;
        let lock = lock(path)?;
        if let (Some(marked), None) = (marked(path), Self::kind_of(path)) {
            return Err(DirectoryError::Lost { path: path.to_path_buf(), marked: Some(marked), reached: None });
        }
        let kind = match (Self::kind_of(path), kind) {
            (Some(found), Some(wanted)) if found != wanted => {
                return Err(DirectoryError::OtherEngine { path: path.to_path_buf(), found });
            }
            (found, wanted) => found.or(wanted).unwrap_or_default(),
        };
        let of_engine = |source| DirectoryError::Engine { path: path.to_path_buf(), kind, source };
        let engine = open_with_ballast(path, kind, options).map_err(of_engine)?;
        let reached = reached(&*engine).map_err(of_engine)?;
        let marked = marked(path);
        if reached < marked {
            return Err(DirectoryError::Lost { path: path.to_path_buf(), marked, reached });
        }
        let directory = Self { path: path.to_path_buf(), kind, engine: Some(Arc::clone(&engine)), _lock: lock };
        directory.mark();
        Ok((directory, engine))
    }

    /// The engine a directory was made with; `None` for an empty one.
    #[must_use]
    pub fn kind_of(path: &Path) -> Option<EngineKind> {
        EngineKind::ALL.into_iter().find(|kind| path.join(kind.name()).is_dir())
    }

    /// The engine it was made with.
    #[must_use]
    pub const fn kind(&self) -> EngineKind {
        self.kind
    }

    /// Bytes the file system has left for an ordinary user; `None` where it cannot be told.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.path)
    }

    /// Notes how far the store has come, if it holds anything. A store that cannot be read tells that elsewhere.
    fn mark(&self) {
        let reached = self.engine.as_ref().and_then(|engine| reached(&**engine).ok().flatten());
        if let Some(reached) = reached.filter(|reached| Some(*reached) > marked(&self.path)) {
            mark(&self.path, reached);
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Sets aside what a data directory holds, so that it is opened as a new one: moves it to `folder`, on the same file system.
///
/// # Errors
/// See [`DirectoryError`]. Where only a part was moved, what is left is opened as before, or set aside the next time.
pub fn park(path: &Path, folder: &Path) -> Result<(), DirectoryError> {
    let _lock = lock(path)?;
    let io_error = |source| DirectoryError::Io { path: path.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(io_error)?;
    // The mark first: a store without one is opened as it is, and a mark without a store is not.
    let held = std::iter::once(HOLDS).chain(EngineKind::ALL.iter().map(|kind| kind.name()));
    for name in held.filter(|name| path.join(name).exists()) {
        fs::rename(path.join(name), folder.join(name)).map_err(io_error)?;
        for folder in folder.ancestors().take(2).chain([path]) {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error)?;
        }
    }
    Ok(())
}

/// Bytes the file system of `path` has left for an ordinary user; `None` where it cannot be told.
#[must_use]
pub fn free_bytes(path: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(path).ok()?;
    room.f_bavail.checked_mul(room.f_frsize)
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let path_of_lock = path.join("LOCK");
    let io_error = |source| DirectoryError::Io { path: path_of_lock.clone(), source };
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path_of_lock).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// Opens the engine; on a full disk once more, with the room the ballast gives back.
fn open_with_ballast(path: &Path, kind: EngineKind, options: EngineOptions) -> Result<Arc<dyn Engine>, EngineError> {
    let ballast = path.join("BALLAST");
    let folder = path.join(kind.name());
    let opened = match kind.open(&folder, options) {
        Err(EngineError::DiskFull) if ballast.exists() => {
            fs::remove_file(&ballast)?;
            tracing::warn!("the data disk is full: the ballast was given back to open the store");
            kind.open(&folder, options)
        }
        opened => opened,
    };
    if opened.is_ok() {
        lay_ballast(path, &ballast);
    }
    opened
}

/// How far a store has come; `None` where it holds nothing.
fn reached(engine: &dyn Engine) -> Result<Option<u64>, EngineError> {
    let number = |key| -> Result<Option<u64>, EngineError> {
        let value = engine.get(Table::Meta, key)?;
        value.map(|value| v1::decode_number(&value).map_err(|error| damaged(&error))).transpose()
    };
    let holds_data = number(layout::FORMAT)?.is_some();
    Ok(if holds_data { Some(number(layout::SEQUENCE)?.unwrap_or_default()) } else { None })
}

fn damaged(error: &RecordError) -> EngineError {
    EngineError::Damaged { detail: error.to_string() }
}

/// How far the store had come when it was marked last. A mark that cannot be read is none.
fn marked(path: &Path) -> Option<u64> {
    fs::read_to_string(path.join(HOLDS)).ok()?.trim().parse().ok()
}

/// Marks how far a store has come, durably. Without the mark a later loss is not noticed; the data is as safe.
fn mark(path: &Path, reached: u64) {
    let fresh = path.join(FRESH_HOLDS);
    let laid = File::create(&fresh).and_then(|mut file| {
        writeln!(file, "{reached}")?;
        file.sync_all()?;
        fs::rename(&fresh, path.join(HOLDS))
    });
    if let Err(error) = laid {
        tracing::warn!(%error, "how far the store has come could not be noted");
    }
}

/// Lays the ballast where there is ample room for it. A store without one works.
fn lay_ballast(path: &Path, ballast: &Path) {
    let ample = free_bytes(path).is_some_and(|free| free > 8 * BALLAST_BYTES as u64);
    if ballast.exists() || !ample {
        return;
    }
    let laid = File::create(ballast).and_then(|mut file| {
        file.write_all(&vec![0_u8; BALLAST_BYTES])?;
        file.sync_all()
    });
    if let Err(error) = laid {
        tracing::warn!(%error, "no ballast could be laid on the data disk");
        // A part of a ballast is none; it is laid anew at the next start.
        let _ = fs::remove_file(ballast);
    }
}
