//! The engine over redb 4.4: one file, one table of it for each [`Table`].
//!
//! It rests on copy-on-write: a commit builds new pages beside the old and swaps the root, so a reader keeps a whole
//! state for as long as it likes. [`Engine::commit`] swaps it in memory only (`Durability::None`), [`Engine::sync`]
//! commits an empty transaction with `Durability::Immediate`, which writes the pages and the root with their checksums
//! and calls `fdatasync`. After a crash the root of the last sync is found; the commits since are gone, all of them.
//!
//! Opening a transaction and a table costs more than a point read in it. So the tables of the latest commit stay open
//! and are replaced by each commit; a scan keeps those it began with.
//!
//! Facts of this version that matter here:
//!
//! - Pages freed by commits without durability return to use at the next durable one; as every group ends in a sync,
//!   the file does not grow for it. A scan that is held open keeps its state's pages.
//! - Checksums are verified after a crash, over the whole file, which takes time in proportion to it. After a clean
//!   close nothing is verified, at opening or at reading: a flipped bit in a value is served as it is, one in a page's
//!   frame gives an error, or a panic that is contained here. What must be told from damage needs a checksum above.
//! - An empty file counts as a new database. So a database is made under another name and renamed when it is whole,
//!   and an empty file under the final name is damage.
//! - After an I/O error every write, and every read that is not answered from the cache, is refused (`PreviousIo`) until
//!   the file is opened again.
//! - Locks are of open file descriptions: a second opening in the same process is refused as well.
//!
//! It owns no threads. Memory: [`EngineOptions::cache_bytes`], which includes the pages not yet written.

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use ::redb::StorageBackend;
use ::redb::{
    AccessGuard, Builder, CommitError, Database, DatabaseError, Durability, Range, ReadOnlyTable, ReadableDatabase,
    StorageError, TableDefinition, TableError, TransactionError,
};

use super::{
    Batch, Contained, Direction, Engine, EngineError, EngineOptions, KeyRange, Row, Table, contain, create_directory,
    directory_bytes, sync_directory,
};

/// The database's file, and its name until it is whole.
const FILE: &str = "store.redb";
const UNFINISHED_FILE: &str = "store.redb.new";

type Bytes = &'static [u8];

/// A redb database in a directory of its own.
pub struct Redb {
    /// The state after the latest commit. Declared before the database, to be dropped before it.
    view: RwLock<Arc<View>>,
    database: Database,
    place: Place,
}

/// Where a database is.
enum Place {
    Directory(PathBuf),
    Pages(Box<dyn StorageBackend>),
}

/// Every table at one commit, in the order of [`Table::ALL`].
struct View {
    tables: Vec<ReadOnlyTable<Bytes, Bytes>>,
}

impl Redb {
    /// Opens the database in `directory`, which is created if its parent exists. After a crash it reads the whole file
    /// once before it returns.
    ///
    /// # Errors
    /// [`EngineError::InUse`]; [`EngineError::Damaged`], of which nothing more can be read; [`EngineError::DiskFull`],
    /// where the database is new.
    pub fn open(directory: &Path, options: EngineOptions) -> Result<Self, EngineError> {
        create_directory(directory)?;
        let database = contain(|| open_database(directory, options))?;
        Self::opened(database, Place::Directory(directory.to_path_buf()))
    }

    /// Opens the database over pages that are in no file, or makes one where there are none: for simulations, which lose and
    /// tear them. Clones of `pages` are handles to the same ones. The making must not be interrupted.
    ///
    /// # Errors
    /// As [`Redb::open`].
    pub fn over(pages: impl StorageBackend + Clone, options: EngineOptions) -> Result<Self, EngineError> {
        let mut builder = Builder::new();
        builder.set_cache_size(usize::try_from(options.cache_bytes).unwrap_or(usize::MAX));
        let (is_new, backend) = (pages.len()? == 0, pages.clone());
        let database = contain(|| builder.create_with_backend(backend).map_err(translate_database))?;
        if is_new {
            contain(|| make_tables(&database))?;
        }
        Self::opened(database, Place::Pages(Box::new(pages)))
    }

    fn opened(database: Database, place: Place) -> Result<Self, EngineError> {
        let view = contain(|| View::latest(&database))?;
        Ok(Self { view: RwLock::new(Arc::new(view)), database, place })
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut transaction = self.database.begin_write().map_err(translate_transaction)?;
        transaction.set_durability(Durability::None).map_err(|error| EngineError::Io(io::Error::other(error)))?;
        let mut writes = batch.into_writes().peekable();
        while let Some(table) = writes.peek().map(|(table, _, _)| *table) {
            let mut rows = transaction.open_table(definition(table)).map_err(translate_table)?;
            while let Some((_, key, value)) = writes.next_if(|(next, _, _)| *next == table) {
                match value {
                    Some(value) => rows.insert(key.as_slice(), value.as_slice()).map_err(translate)?,
                    None => rows.remove(key.as_slice()).map_err(translate)?,
                };
            }
        }
        transaction.commit().map_err(translate_commit)?;
        let view = Arc::new(View::latest(&self.database)?);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
        Ok(())
    }
}

impl fmt::Debug for Redb {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = match &self.place {
            Place::Directory(directory) => Some(directory),
            Place::Pages(_) => None,
        };
        formatter.debug_struct("Redb").field("directory", &directory).finish_non_exhaustive()
    }
}

impl Engine for Redb {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let view = self.view();
        contain(|| Ok(view.table(table).get(key).map_err(translate)?.map(|value| value.value().to_vec())))
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
        match contain(|| self.view().range(table, &range)) {
            Ok(rows) => match direction {
                Direction::Forward => Box::new(Contained::new(rows.map(row))),
                Direction::Backward => Box::new(Contained::new(rows.rev().map(row))),
            },
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        contain(|| self.write(batch))
    }

    fn sync(&self) -> Result<(), EngineError> {
        contain(|| {
            let transaction = self.database.begin_write().map_err(translate_transaction)?;
            transaction.commit().map_err(translate_commit)
        })
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        match &self.place {
            Place::Directory(directory) => directory_bytes(directory),
            Place::Pages(pages) => Ok(pages.len()?),
        }
    }
}

impl View {
    fn latest(database: &Database) -> Result<Self, EngineError> {
        let transaction = database.begin_read().map_err(translate_transaction)?;
        let tables = Table::ALL.map(|table| transaction.open_table(definition(table)).map_err(translate_table));
        Ok(Self { tables: tables.into_iter().collect::<Result<_, _>>()? })
    }

    fn table(&self, table: Table) -> &ReadOnlyTable<Bytes, Bytes> {
        &self.tables[table.index()]
    }

    fn range(&self, table: Table, range: &KeyRange) -> Result<Range<'static, Bytes, Bytes>, EngineError> {
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) =
            (range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice));
        self.table(table).range::<&[u8]>(bounds).map_err(translate)
    }
}

fn open_database(directory: &Path, options: EngineOptions) -> Result<Database, EngineError> {
    let mut builder = Builder::new();
    builder.set_cache_size(usize::try_from(options.cache_bytes).unwrap_or(usize::MAX));
    let path = directory.join(FILE);
    if path.try_exists()? {
        if fs::metadata(&path)?.len() == 0 {
            return Err(EngineError::Damaged { detail: format!("{FILE} is empty") });
        }
        return builder.open(&path).map_err(translate_database);
    }
    let unfinished = directory.join(UNFINISHED_FILE);
    let database = builder.create(&unfinished).map_err(translate_database)?;
    make_tables(&database)?;
    fs::rename(&unfinished, &path)?;
    sync_directory(directory)?;
    Ok(database)
}

fn make_tables(database: &Database) -> Result<(), EngineError> {
    let transaction = database.begin_write().map_err(translate_transaction)?;
    for table in Table::ALL {
        transaction.open_table(definition(table)).map_err(translate_table)?;
    }
    transaction.commit().map_err(translate_commit)
}

fn definition(table: Table) -> TableDefinition<'static, Bytes, Bytes> {
    TableDefinition::new(table.name())
}

type Guards = (AccessGuard<'static, Bytes>, AccessGuard<'static, Bytes>);

fn row(row: Result<Guards, StorageError>) -> Result<Row, EngineError> {
    let (key, value) = row.map_err(translate)?;
    Ok((key.value().to_vec(), value.value().to_vec()))
}

fn translate(error: StorageError) -> EngineError {
    match error {
        StorageError::Io(error) => error.into(),
        StorageError::Corrupted(detail) => EngineError::Damaged { detail },
        StorageError::PreviousIo => EngineError::failed_before(),
        error => EngineError::Io(io::Error::other(error)),
    }
}

fn translate_database(error: DatabaseError) -> EngineError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => EngineError::InUse,
        DatabaseError::Storage(error) => translate(error),
        error => EngineError::Damaged { detail: error.to_string() },
    }
}

fn translate_transaction(error: TransactionError) -> EngineError {
    match error {
        TransactionError::Storage(error) => translate(error),
        error => EngineError::Io(io::Error::other(error)),
    }
}

fn translate_table(error: TableError) -> EngineError {
    match error {
        TableError::Storage(error) => translate(error),
        error => EngineError::Damaged { detail: error.to_string() },
    }
}

fn translate_commit(error: CommitError) -> EngineError {
    match error {
        CommitError::Storage(error) => translate(error),
        error => EngineError::Io(io::Error::other(error)),
    }
}
