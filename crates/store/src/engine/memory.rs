//! An engine in memory, for simulations and tests: it forgets on [`Memory::crash`] exactly what a disk may forget.
//!
//! The one idea: what is visible lives in ordered maps, and beside them stands the way back, one entry a batch since
//! the last sync. A crash walks back whole batches, newest first; a sync throws the way back away. So a commit costs
//! what it touches, whatever the maps hold, and there is no second copy of the data.
//!
//! It has no threads, no clock and no randomness, and its maps are ordered: the same calls give the same answers. It
//! does not tear a batch or lose an older one before a newer, since no engine is allowed to.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::{Batch, Direction, Engine, EngineError, KeyRange, Row, Table};

/// Ordered maps that behave like a disk. Clones are handles to the same maps, so a test can keep one and crash it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    shared: Arc<RwLock<State>>,
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<Table, Map>,
    /// The batches since the last sync, oldest first.
    unsynced: Vec<Undo>,
    /// Bytes of all keys and values.
    bytes: u64,
    disk: Disk,
    /// What the next sync does.
    next_sync: NextSync,
    /// Whether a commit or a sync failed since the last crash.
    failed: bool,
}

/// The keys a batch touched and their values before it.
type Undo = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, Default, PartialEq, Eq)]
enum Disk {
    #[default]
    HasRoom,
    Full,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum NextSync {
    #[default]
    Succeeds,
    Fails,
}

impl Memory {
    /// An empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A power cut that takes back every batch committed since the last sync. The handle then serves as if opened anew:
    /// an earlier failure is forgotten with the process that saw it. Iterators begun before are of no use after.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// A power cut after which the first `batches` of the unsynced ones happen to be on the disk, and no later one is.
    pub fn crash_keeping(&self, batches: usize) {
        let state = &mut *self.write();
        while state.unsynced.len() > batches {
            for (table, key, before) in state.unsynced.pop().into_iter().flatten().rev() {
                state.set(table, key, before);
            }
        }
        state.unsynced.clear();
        state.failed = false;
        state.next_sync = NextSync::Succeeds;
    }

    /// A copy of what a power cut would leave now, on a disk of its own that has room.
    #[must_use]
    pub fn backup(&self) -> Self {
        let state = self.read();
        let copied = Self {
            shared: Arc::new(RwLock::new(State {
                tables: state.tables.clone(),
                bytes: state.bytes,
                ..State::default()
            })),
        };
        let mut copy = copied.write();
        for undo in state.unsynced.iter().rev() {
            for (table, key, before) in undo.iter().rev() {
                copy.set(*table, key.clone(), before.clone());
            }
        }
        drop(copy);
        copied
    }

    /// How many batches a crash would take back now.
    #[must_use]
    pub fn unsynced_batches(&self) -> usize {
        self.read().unsynced.len()
    }

    /// Makes the next sync fail, as a disk that could not write a page. What it should have covered stays unsynced.
    pub fn fail_next_sync(&self) {
        self.write().next_sync = NextSync::Fails;
    }

    /// Makes commits fail for want of room, until [`Memory::free_disk`].
    pub fn fill_disk(&self) {
        self.write().disk = Disk::Full;
    }

    /// Gives commits room again. One that failed meanwhile still needs a [`Memory::crash`], as a disk a new process.
    pub fn free_disk(&self) {
        self.write().disk = Disk::HasRoom;
    }

    // A poisoned lock is a panic between two writes of one batch, which only a bug here can cause; the test that
    // panicked has failed already, and hiding its message behind a second panic helps nobody.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.shared.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.shared.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.read().tables.get(&table).and_then(|map| map.get(key)).cloned())
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Row, EngineError>> + Send + 'a> {
        Box::new(Scan { memory: self, table, range, direction }.map(Ok))
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        let state = &mut *self.write();
        if state.failed {
            return Err(EngineError::failed_before());
        }
        if state.disk == Disk::Full {
            state.failed = true;
            return Err(EngineError::DiskFull);
        }
        let mut undo = Undo::with_capacity(batch.len());
        for (table, key, value) in batch.into_writes() {
            let before = state.set(table, key.clone(), value);
            undo.push((table, key, before));
        }
        state.unsynced.push(undo);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let state = &mut *self.write();
        if state.failed {
            return Err(EngineError::failed_before());
        }
        if state.next_sync == NextSync::Fails {
            state.failed = true;
            return Err(EngineError::Io(io::Error::other("the sync was made to fail")));
        }
        state.unsynced.clear();
        Ok(())
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        Ok(self.read().bytes)
    }
}

impl State {
    /// Sets or removes a key; its value before.
    fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        let key_bytes = key.len();
        let added = value.as_ref().map_or(0, |value| key_bytes + value.len());
        let map = self.tables.entry(table).or_default();
        let before = match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        let taken = before.as_ref().map_or(0, |before| key_bytes + before.len());
        self.bytes = self.bytes + added as u64 - taken as u64;
        before
    }
}

/// A scan that takes the lock for one row at a time, so that a slow reader holds up no commit.
struct Scan<'a> {
    memory: &'a Memory,
    table: Table,
    range: KeyRange,
    direction: Direction,
}

impl Iterator for Scan<'_> {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.range.is_void() {
            return None;
        }
        let state = self.memory.read();
        let map = state.tables.get(&self.table)?;
        let bounds = (self.range.start.as_ref().map(Vec::as_slice), self.range.end.as_ref().map(Vec::as_slice));
        let mut rows = map.range::<[u8], _>(bounds);
        let (key, value) = match self.direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.next_back(),
        }?;
        let row = (key.clone(), value.clone());
        let passed = Bound::Excluded(row.0.clone());
        match self.direction {
            Direction::Forward => self.range.start = passed,
            Direction::Backward => self.range.end = passed,
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(memory: &Memory, key: &[u8], value: &[u8]) {
        let mut batch = Batch::default();
        batch.put(Table::Log, key.to_vec(), value.to_vec());
        memory.commit(batch).unwrap();
    }

    fn get(memory: &Memory, key: &[u8]) -> Option<Vec<u8>> {
        memory.get(Table::Log, key).unwrap()
    }

    #[test]
    fn a_crash_takes_back_each_unsynced_batch_whole() {
        let memory = Memory::new();
        put(&memory, b"kept", b"1");
        put(&memory, b"changed", b"1");
        memory.sync().unwrap();
        let bytes = memory.disk_bytes().unwrap();
        put(&memory, b"changed", b"22");
        let mut batch = Batch::default();
        batch.remove(Table::Log, b"kept".to_vec());
        batch.put(Table::Head, b"other table".to_vec(), b"3".to_vec());
        memory.commit(batch).unwrap();
        assert_eq!(memory.unsynced_batches(), 2);

        memory.crash();
        assert_eq!(get(&memory, b"kept").as_deref(), Some(b"1".as_slice()));
        assert_eq!(get(&memory, b"changed").as_deref(), Some(b"1".as_slice()));
        assert_eq!(memory.get(Table::Head, b"other table").unwrap(), None);
        assert_eq!(memory.disk_bytes().unwrap(), bytes);
        assert_eq!(memory.unsynced_batches(), 0);
    }

    #[test]
    fn a_crash_can_keep_the_older_of_the_unsynced_batches() {
        let memory = Memory::new();
        for value in [b"1", b"2", b"3"] {
            put(&memory, b"key", value);
        }
        memory.crash_keeping(2);
        assert_eq!(get(&memory, b"key").as_deref(), Some(b"2".as_slice()));
        memory.crash();
        assert_eq!(get(&memory, b"key").as_deref(), Some(b"2".as_slice()), "what a crash kept is durable");
    }

    #[test]
    fn a_backup_is_what_a_crash_would_leave_and_a_disk_of_its_own() {
        let memory = Memory::new();
        put(&memory, b"key", b"1");
        memory.sync().unwrap();
        for value in [b"2", b"3"] {
            put(&memory, b"key", value);
        }
        put(&memory, b"new", b"4");
        let backup = memory.backup();
        assert_eq!((get(&backup, b"key").as_deref(), get(&backup, b"new")), (Some(b"1".as_slice()), None));
        assert_eq!(get(&memory, b"key").as_deref(), Some(b"3".as_slice()));
        put(&backup, b"key", b"5");
        memory.crash();
        assert_eq!(get(&memory, b"key").as_deref(), Some(b"1".as_slice()));
        assert_eq!(memory.disk_bytes().unwrap(), backup.disk_bytes().unwrap());
    }

    #[test]
    fn a_failed_sync_is_final_until_the_crash() {
        let memory = Memory::new();
        put(&memory, b"key", b"1");
        memory.fail_next_sync();
        assert!(matches!(memory.sync(), Err(EngineError::Io(_))));
        assert!(matches!(memory.sync(), Err(EngineError::Io(_))));
        assert!(matches!(memory.commit(Batch::default()), Err(EngineError::Io(_))));
        memory.crash();
        assert_eq!(get(&memory, b"key"), None);
        put(&memory, b"key", b"2");
        memory.sync().unwrap();
    }

    #[test]
    fn a_full_disk_refuses_the_batch_and_still_reads() {
        let memory = Memory::new();
        put(&memory, b"key", b"1");
        memory.sync().unwrap();
        memory.fill_disk();
        let mut batch = Batch::default();
        batch.put(Table::Log, b"key".to_vec(), b"2".to_vec());
        assert!(matches!(memory.commit(batch), Err(EngineError::DiskFull)));
        assert_eq!(get(&memory, b"key").as_deref(), Some(b"1".as_slice()));
        memory.free_disk();
        memory.crash();
        put(&memory, b"key", b"3");
    }
}
