//! A disk in memory that does as a test tells it before it reads or syncs, and for each row it scans.

use super::*;
use crate::engine::{Batch, Direction, EngineError, KeyRange, Row, Table};

/// See the module.
pub(super) struct Hooked {
    pub(super) disk: Memory,
    pub(super) on_read: Box<dyn Fn() -> Result<(), EngineError> + Send + Sync>,
    pub(super) on_row: Box<dyn Fn(Table) + Send + Sync>,
    pub(super) on_sync: Box<dyn Fn() + Send + Sync>,
}

impl Default for Hooked {
    fn default() -> Self {
        Self { disk: Memory::new(), on_read: Box::new(|| Ok(())), on_row: Box::new(|_| {}), on_sync: Box::new(|| {}) }
    }
}

impl Engine for Hooked {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        (self.on_read)()?;
        self.disk.get(table, key)
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Row, EngineError>> + Send + 'a> {
        match (self.on_read)() {
            Ok(()) => Box::new(self.disk.scan(table, range, direction).inspect(move |_| (self.on_row)(table))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.disk.commit(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        (self.on_sync)();
        self.disk.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.disk.disk_bytes()
    }
}
