//! Memory tables that the engine is done with are freed where nobody waits for it.
//!
//! lsm-tree 3.1 lets go of a memory table in `SuperVersions::maintenance`, under the lock that every read and every write of the
//! keyspace takes. If that was the last reference, its hundred thousand rows are freed one by one meanwhile: 5 to 20 ms for 8 MiB,
//! a quarter of what its thread does. So this holds a reference of its own to each table that was there when a commit began, and
//! once that is the last, a thread gives it up. A table that comes and goes within one commit, or was filled by recovery, is
//! freed by the engine itself.

use std::any::Any;
use std::io;
use std::ptr::addr_eq;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often it is looked whether the engine has let go of a table. It does so some time after it has written the table out, and
/// may not while there are no writes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Tables on their way to the thread. Where that has ended, or is so far behind, whoever lets go last frees a table.
const RETIRED_MAX: usize = 16;

/// Nothing is asked of it but whether somebody else has it.
pub(super) type Memtable = Arc<dyn Any + Send + Sync>;

/// A reference to each memory table that the engine may still have. While there are no writes there is one too many of each
/// keyspace: the table that was filled last is kept until the next write.
pub(super) struct Memtables {
    /// Of each keyspace the one that took the writes when it was last looked.
    active: Mutex<Vec<Memtable>>,
    retired: SyncSender<Memtable>,
}

impl Memtables {
    /// Starts the thread, with the table of each keyspace that takes the writes. The thread ends after this does.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn begin(active: impl Iterator<Item = Memtable>) -> io::Result<Self> {
        let (sender, retired) = mpsc::sync_channel(RETIRED_MAX);
        thread::Builder::new().name("plimsoll-freer".to_owned()).spawn(move || free(&retired))?;
        Ok(Self { active: Mutex::new(active.collect()), retired: sender })
    }

    /// Takes note of the tables that take the writes now, in the same order, and sees the others off. Call it before each
    /// commit: the engine replaces a table some time after a commit has filled it.
    pub(super) fn note(&self, active: impl Iterator<Item = Memtable>) {
        let mut held = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        for (held, now) in held.iter_mut().zip(active) {
            if !addr_eq(Arc::as_ptr(held), Arc::as_ptr(&now)) {
                let retired = std::mem::replace(held, now);
                let _ = self.retired.try_send(retired);
            }
        }
    }
}

/// Frees what the engine has let go of, until there are no more tables to come.
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
    use std::sync::mpsc::Sender;

    use super::*;

    /// Tells the thread that frees it.
    struct Probe(u8, Sender<(u8, Option<String>)>);

    impl Drop for Probe {
        fn drop(&mut self) {
            let _ = self.1.send((self.0, thread::current().name().map(str::to_owned)));
        }
    }

    /// However late the engine lets go of one, and whatever it replaces meanwhile.
    #[test]
    fn what_was_replaced_is_freed_by_the_thread_and_only_once_the_engine_has_let_go() {
        let (told, freed) = mpsc::channel();
        let table = |number| -> Memtable { Arc::new(Probe(number, told.clone())) };
        let (first, other, second, third) = (table(1), table(2), table(3), table(4));
        let memtables = Memtables::begin([&first, &other].into_iter().cloned()).unwrap();
        memtables.note([&second, &other].into_iter().cloned());
        memtables.note([&third, &other].into_iter().cloned());
        drop(second);
        let by_the_thread = Some("plimsoll-freer".to_owned());
        assert_eq!(freed.recv(), Ok((3, by_the_thread.clone())));
        // The thread has looked at the first one as well, which came before.
        drop(first);
        assert_eq!(freed.recv(), Ok((1, by_the_thread)));
        drop((other, third, memtables));
        let mut active: Vec<u8> = freed.iter().take(2).map(|(number, _)| number).collect();
        active.sort_unstable();
        assert_eq!(active, [2, 4]);
    }
}
