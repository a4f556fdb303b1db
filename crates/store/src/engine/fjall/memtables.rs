//! Memory tables that fjall is done with are freed where nobody waits for it.
//!
//! lsm-tree 3.1 lets go of a memory table in `SuperVersions::maintenance`, under the lock that every read and every write of the
//! keyspace takes. If that was the last reference, its hundred thousand rows are freed one by one meanwhile: 5 to 20 ms for 8 MiB,
//! a quarter of what fjall's thread does. So this holds a reference of its own to each, and when that is the last, a thread gives
//! it up.

use std::any::Any;
use std::io;
use std::ptr::addr_eq;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ::fjall::{AbstractTree as _, Keyspace};

/// How often it is looked whether fjall has let go of a table. It does so some time after it has written the table out, and may
/// not while there are no writes.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Tables on their way to the thread. Where it has stopped and there is no room, fjall frees a table itself.
const RETIRED_MAX: usize = 256;

/// Its type has no public name, and nothing is asked of it.
type Memtable = Arc<dyn Any + Send + Sync>;

/// A reference to each memory table that fjall may still have. While there are no writes it is one too many: the table that was
/// filled last is kept until the next write.
pub(super) struct Memtables {
    /// Of each keyspace the one that took the last write.
    active: Mutex<Vec<Memtable>>,
    retired: SyncSender<Memtable>,
}

impl Memtables {
    /// Starts the thread. It ends after this does.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn of(keyspaces: &[Keyspace]) -> io::Result<Self> {
        let (memtables, retired) = Self::retiring(keyspaces);
        thread::Builder::new().name("plimsoll-freer".to_owned()).spawn(move || free(&retired))?;
        Ok(memtables)
    }

    fn retiring(keyspaces: &[Keyspace]) -> (Self, Receiver<Memtable>) {
        let (sender, retired) = mpsc::sync_channel(RETIRED_MAX);
        (Self { active: Mutex::new(keyspaces.iter().map(active).collect()), retired: sender }, retired)
    }

    /// Takes note of the tables that have taken the place of others. Call it before each write: a table is replaced only once it
    /// has been written to.
    pub(super) fn note(&self, keyspaces: &[Keyspace]) {
        let mut held = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        for (held, keyspace) in held.iter_mut().zip(keyspaces) {
            let now = active(keyspace);
            if !addr_eq(Arc::as_ptr(held), Arc::as_ptr(&now)) {
                let retired = std::mem::replace(held, now);
                // Where there is no room fjall still has it.
                let _ = self.retired.try_send(retired);
            }
        }
    }
}

fn active(keyspace: &Keyspace) -> Memtable {
    keyspace.tree.active_memtable()
}

/// Frees what fjall has let go of, until there are no more tables to come.
fn free(retired: &Receiver<Memtable>) {
    let mut waiting: Vec<Memtable> = Vec::new();
    loop {
        let next = if waiting.is_empty() {
            retired.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            retired.recv_timeout(LOOK_EVERY)
        };
        match next {
            Ok(table) => waiting.push(table),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        waiting.retain(|table| Arc::strong_count(table) > 1);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Instant;

    use super::super::{Fjall, MEMTABLE_BYTES_MAX};
    use super::*;
    use crate::engine::{Batch, Engine as _, EngineOptions, Table};

    const BOUND: Duration = Duration::from_secs(60);

    fn engine(folder: &tempfile::TempDir) -> Fjall {
        Fjall::open(&folder.path().join("fjall"), EngineOptions { cache_bytes: 1 << 20 }).unwrap()
    }

    fn write(engine: &Fjall, bytes: u64) {
        for number in 0..bytes / (64 << 10) {
            let mut batch = Batch::default();
            batch.put(Table::Log, number.to_be_bytes().to_vec(), vec![7; 64 << 10]);
            engine.commit(batch).unwrap();
        }
    }

    fn until(what: &str, is_true: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_true() {
            assert!(begun.elapsed() < BOUND, "not within {BOUND:?}: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Otherwise fjall would free it, under its lock.
    #[test]
    fn of_each_table_that_was_replaced_the_last_reference_comes_here() {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = engine(&folder);
        let (memtables, retired) = Memtables::retiring(&engine.keyspaces);
        engine.memtables = memtables;
        write(&engine, 3 * MEMTABLE_BYTES_MAX);
        until("fjall has written out what was replaced", || {
            write(&engine, 64 << 10);
            engine.keyspace(Table::Log).sealed_memtable_count() == 0
        });
        let tables: Vec<Memtable> = retired.try_iter().collect();
        assert!(tables.len() >= 2, "{}", tables.len());
        // fjall looks what it can let go of when a table is replaced.
        until("fjall has let go of the first", || {
            write(&engine, MEMTABLE_BYTES_MAX);
            Arc::strong_count(&tables[0]) == 1
        });
    }

    #[test]
    fn a_table_that_was_replaced_is_freed_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let engine = engine(&folder);
        let first: Weak<_> = Arc::downgrade(&active(engine.keyspace(Table::Log)));
        until("the first table is freed", || {
            write(&engine, MEMTABLE_BYTES_MAX);
            first.upgrade().is_none()
        });
    }
}
