//! A file of pages as a power cut may leave it: of what was written since the last sync any part may be there, and one write may
//! be torn between two sectors (Pillai et al. 2014, *All File Systems Are Not Created Equal*, section 2).

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_node::environment::StorageBackend;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;

/// See the module. Clones are handles to the same pages.
#[derive(Debug, Clone, Default)]
pub struct Pages(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    durable: Vec<u8>,
    /// What readers see.
    written: Vec<u8>,
    /// What made `written` of `durable`, in order.
    unsynced: Vec<Change>,
    is_full: bool,
    next_sync_fails: bool,
    /// Handles of an earlier power cycle write no more.
    cycle: u64,
    is_on: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl Pages {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handle for a database, which is of use until the power goes.
    pub(super) fn powered(&self) -> Powered {
        let mut state = self.state();
        state.is_on = true;
        state.cycle += 1;
        Powered { pages: self.clone(), cycle: state.cycle }
    }

    pub(super) fn power_off(&self) {
        self.state().is_on = false;
    }

    /// Of the unsynced writes some stay, drawn from `kept`; none for 0.
    pub(super) fn crash(&self, kept: usize) {
        let state = &mut *self.state();
        let mut rng = StdRng::seed_from_u64(kept as u64);
        for mut change in std::mem::take(&mut state.unsynced) {
            if kept == 0 || rng.random_range(0..2_u32) == 0 {
                continue;
            }
            if let Change::Write { data, .. } = &mut change
                && rng.random_range(0..4_u32) == 0
            {
                data.truncate(rng.random_range(0..=data.len() / SECTOR) * SECTOR);
            }
            change.apply(&mut state.durable);
        }
        state.written.clone_from(&state.durable);
        state.next_sync_fails = false;
        state.is_on = false;
    }

    pub(super) fn backup(&self) -> Self {
        let durable = self.state().durable.clone();
        Self(Arc::new(Mutex::new(State { written: durable.clone(), durable, ..State::default() })))
    }

    pub(super) fn set_room(&self, has_room: bool) {
        self.state().is_full = !has_room;
    }

    pub(super) fn fail_next_sync(&self) {
        self.state().next_sync_fails = true;
    }
}

impl Change {
    fn apply(&self, pages: &mut Vec<u8>) {
        match self {
            Self::Length(length) => pages.resize(*length, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if pages.len() < end {
                    pages.resize(end, 0);
                }
                pages[*offset..end].copy_from_slice(data);
            }
        }
    }
}

/// The pages as one database sees them, until the power goes.
#[derive(Debug, Clone)]
pub(super) struct Powered {
    pages: Pages,
    cycle: u64,
}

impl Powered {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.pages.state();
        if state.is_on && state.cycle == self.cycle { Ok(state) } else { Err(io::Error::other("the power is off")) }
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.state()?;
        change.apply(&mut state.written);
        state.unsynced.push(change);
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| ErrorKind::InvalidInput.into())
}

impl StorageBackend for Powered {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state()?.written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (state, offset) = (self.state()?, place(offset)?);
        let found = offset.checked_add(out.len()).and_then(|end| state.written.get(offset..end));
        out.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let length = place(len)?;
        let state = self.state()?;
        if state.is_full && length > state.written.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        drop(state);
        self.change(Change::Length(length))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let state = &mut *self.state()?;
        if std::mem::take(&mut state.next_sync_fails) {
            return Err(io::Error::other("the sync was made to fail"));
        }
        for change in state.unsynced.drain(..) {
            change.apply(&mut state.durable);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let offset = place(offset)?;
        if self.state()?.is_full {
            return Err(ErrorKind::StorageFull.into());
        }
        self.change(Change::Write { offset, data: data.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pages: &Powered, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        pages.read(0, &mut out).unwrap();
        out
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may_go() {
        let pages = Pages::default();
        let powered = pages.powered();
        powered.set_len(2_048).unwrap();
        powered.write(0, &[1; 2_048]).unwrap();
        powered.sync_data().unwrap();
        powered.write(0, &[2; 2_048]).unwrap();
        assert_eq!(read(&powered, 2_048), [2; 2_048]);
        let backup = pages.backup();
        pages.crash(0);
        assert!(powered.write(0, &[3]).is_err(), "the power is off");
        assert_eq!(read(&pages.powered(), 2_048), [1; 2_048]);
        assert_eq!(read(&backup.powered(), 2_048), [1; 2_048]);
    }

    #[test]
    fn a_write_is_kept_lost_or_torn_between_sectors() {
        let mut seen = std::collections::BTreeSet::new();
        for kept in 1..200 {
            let pages = Pages::default();
            let powered = pages.powered();
            powered.set_len(2_048).unwrap();
            powered.sync_data().unwrap();
            powered.write(0, &[2; 2_048]).unwrap();
            pages.crash(kept);
            let after = read(&pages.powered(), 2_048);
            let there = after.iter().take_while(|byte| **byte == 2).count();
            assert!(after[there..].iter().all(|byte| *byte == 0) && there % SECTOR == 0);
            seen.insert(there);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 512, 1_024, 1_536, 2_048]);
    }

    #[test]
    fn a_failed_sync_keeps_nothing_and_a_full_disk_takes_nothing() {
        let pages = Pages::default();
        let powered = pages.powered();
        powered.set_len(512).unwrap();
        pages.fail_next_sync();
        assert!(powered.sync_data().is_err());
        pages.set_room(false);
        assert_eq!(powered.write(0, &[1]).unwrap_err().kind(), ErrorKind::StorageFull);
        pages.crash(0);
        assert_eq!(pages.powered().len().unwrap(), 0);
    }
}
