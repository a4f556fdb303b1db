//! Brings a data directory to the format this version writes. The node that uses it must be stopped.

use std::path::{Path, PathBuf};

use plimsoll_store::directory::{Directory, DirectoryError, EngineKind};
use plimsoll_store::engine::EngineOptions;
use plimsoll_store::format::{self, FormatError, Migration, Run};
use thiserror::Error;

/// What a migration reads, it reads once: there is little to cache.
const CACHE_BYTES: u64 = 16 << 20;

/// A data directory was not migrated; it is as it was.
#[derive(Debug, Error)]
pub enum MigrateError {
    /// There is no store.
    #[error("{} holds no store", path.display())]
    NoStore {
        /// The directory.
        path: PathBuf,
    },
    /// The directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What it holds cannot be migrated.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// Migrates a data directory, which has to be of the engine, where one is given. Doing it again does nothing.
///
/// # Errors
/// [`MigrateError`].
pub fn migrate(path: &Path, engine: Option<EngineKind>, run: Run) -> Result<Migration, MigrateError> {
    if Directory::kind_of(path).is_none() {
        return Err(MigrateError::NoStore { path: path.to_path_buf() });
    }
    let (_directory, engine) = Directory::open(path, engine, EngineOptions { cache_bytes: CACHE_BYTES })?;
    Ok(format::migrate(&*engine, run)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_store_none_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("none");
        assert!(matches!(migrate(&path, None, Run::Real), Err(MigrateError::NoStore { .. })));
        assert!(!path.exists());
    }
}
