//! The fingerprints of ranges, kept up to date as facts come and go, and found again after a restart.
//!
//! The writer counts what it commits into the [`Leaves`], in memory. What it costs a fact is a place in a list and two
//! additions; no row is written for it. For the next start there is a *checkpoint* now and then: the leaves as of a
//! sequence. After a restart they are the checkpoint, without the facts that were taken out since, and with those of the
//! log behind it. A fact of a checkpoint that is taken out is noted in the batch that does so, in a row that the next
//! checkpoint drops; one that came after the checkpoint is just not in the log any more.
//!
//! The log behind a checkpoint, or all of it where there is none, is counted by the writer itself, a slice at a time and
//! between its groups. So it is exact without a lock or a snapshot: nothing is committed while a slice is read, a fact
//! before the slice's end is counted and is discounted when it goes, one behind it will be met or will be gone.
//! Until all is counted, readers are told that it is not.
//!
//! The leaves are as of the latest *commit*, a sync ahead of the disk at most. That is enough, since they only say where
//! to look for differences: see `docs/decisions/0008-reconciliation.md`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_domain::projection::reconcile::{Leaves, Range};
use plimsoll_domain::projection::{FactHash, FactKey, Fingerprint};
use plimsoll_wire::record::v1::{self, StoredFact, StoredRemoval};

use crate::engine::{Batch, Direction, Engine, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;
use crate::log;

// In tests the numbers are small: a few facts meet slices and checkpoints.

/// Facts that are counted at a time, in half a millisecond or so: a write that comes meanwhile waits as long.
const SLICE_FACTS: usize = if cfg!(test) { 3 } else { 512 };

/// After so many facts there is a checkpoint. It writes a megabyte and a half, a hundredth of what they wrote; and so many
/// facts are counted in less than half a second.
const CHECKPOINT_FACTS: u64 = if cfg!(test) { 8 } else { 1 << 17 };

/// After so many facts of the checkpoint were taken out there is another: one batch drops their rows.
const GONE_MAX: usize = if cfg!(test) { 3 } else { 4_096 };

/// What a commit did to the set of facts, in order. The sequence is that at which the fact stands, or stood.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Added { sequence: u64, key: FactKey, hash: FactHash },
    Removed { sequence: u64, key: FactKey, hash: FactHash },
}

/// When a checkpoint is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// When enough has changed since the one before.
    Due,
    /// When anything has.
    Closing,
}

/// What readers see of it.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    leaves: Leaves,
    /// Whether all facts are counted; then they stay so.
    whole: bool,
    /// Whether what was counted was not what there is.
    was_wrong: bool,
}

impl Shown {
    /// The fingerprint of a range, as far as facts are counted.
    pub(crate) fn fingerprint(&self, range: Range) -> Fingerprint {
        self.lock().leaves.fingerprint(range)
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.lock().whole
    }

    /// Whether the checkpoint was wrong when the store was opened.
    pub(crate) fn was_wrong(&self) -> bool {
        self.lock().was_wrong
    }

    // Nothing panics between two changes that belong together.
    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's side of it. See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    shown: Arc<Shown>,
    /// Every fact of the log up to this sequence is counted, and none behind it.
    reached: u64,
    /// Whether that is all there are.
    whole: bool,
    /// Whether they are counted from the beginning, because the checkpoint was wrong.
    again: bool,
    /// Whether the log could not be read. It is tried again after the next group.
    stuck: bool,
    /// The sequence of the checkpoint; 0 before the first.
    noted: u64,
    /// The blocks of leaves that are not as in the checkpoint.
    changed: BTreeSet<u8>,
    /// The keys of the rows of what was taken out since the checkpoint.
    gone: Vec<Vec<u8>>,
}

impl Tally {
    /// What the checkpoint says, in a store that has come to `sequence` with facts of this fingerprint.
    pub(crate) fn open(engine: &dyn Engine, sequence: u64, total: Fingerprint) -> Result<Self, ReadError> {
        let mut tally = Self::default();
        if let Some(noted) = engine.get(Table::Meta, layout::LEAVES)? {
            tally.noted = v1::decode_number(&noted)?;
            tally.reached = tally.noted;
            if let Err(error) = tally.load(engine) {
                tracing::error!(%error, "the checkpoint of fingerprints cannot be read: all facts are counted anew");
                tally.start_again();
            }
        }
        if tally.reached == sequence {
            tally.finish(sequence, total);
        }
        Ok(tally)
    }

    fn load(&mut self, engine: &dyn Engine) -> Result<(), ReadError> {
        let mut count = self.shown.lock();
        for row in engine.scan(Table::Meta, KeyRange::prefix(layout::LEAVES_PREFIX), Direction::Forward) {
            let (key, value) = row?;
            let block = layout::leaves_block(&key).ok_or(ReadError::Dangling { sequence: self.noted })?;
            for (leaf, fingerprint) in v1::decode_leaves(&value)? {
                count.leaves.set(u16::from_be_bytes([block, leaf]), fingerprint);
            }
        }
        for row in engine.scan(Table::Meta, KeyRange::prefix(layout::GONE_PREFIX), Direction::Forward) {
            let (row, value) = row?;
            let StoredRemoval { key, hash } = v1::decode_removal(&value)?;
            count.leaves.remove(key, hash);
            self.changed.insert(block_of(key));
            self.gone.push(row);
        }
        Ok(())
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }

    /// Whether a fact that stood at a sequence is in the checkpoint.
    pub(crate) const fn has_noted(&self, sequence: u64) -> bool {
        sequence <= self.noted
    }

    /// Whether there are facts to count that may be counted now.
    pub(crate) const fn is_behind(&self) -> bool {
        !self.whole && !self.stuck
    }

    /// Counts what a commit did.
    pub(crate) fn apply(&mut self, commit: Vec<Counted>) {
        if commit.is_empty() {
            return;
        }
        let mut count = self.shown.lock();
        for one in commit {
            match one {
                // The one after those that are counted; others stand behind what is not counted yet.
                Counted::Added { sequence, key, hash } if sequence == self.reached + 1 => {
                    self.reached = sequence;
                    count.leaves.add(key, hash);
                    self.changed.insert(block_of(key));
                }
                Counted::Removed { sequence, key, hash } if sequence <= self.reached => {
                    count.leaves.remove(key, hash);
                    self.changed.insert(block_of(key));
                }
                Counted::Added { .. } | Counted::Removed { .. } => {}
            }
            if let Counted::Removed { sequence, .. } = one
                && sequence <= self.noted
            {
                self.gone.push(layout::gone(sequence));
            }
        }
    }

    /// Counts a slice of the log of a store that has come to `sequence`, with facts of the fingerprint `total`.
    pub(crate) fn catch_up(&mut self, engine: &dyn Engine, sequence: u64, total: Fingerprint) {
        if self.whole {
            return;
        }
        let slice = self.slice(engine);
        if let (Err(error), false) = (&slice, self.stuck) {
            tracing::error!(%error, "the log cannot be read: what differs from other nodes is not looked for");
        }
        self.stuck = slice.is_err();
        if matches!(slice, Ok(Slice::Last)) {
            self.finish(sequence, total);
        }
    }

    fn slice(&mut self, engine: &dyn Engine) -> Result<Slice, ReadError> {
        let mut facts = Vec::with_capacity(SLICE_FACTS);
        let behind = KeyRange::from_key(layout::log(self.reached + 1));
        let mut rows = engine.scan(Table::Log, behind, Direction::Forward);
        // A pack is counted whole: the next slice begins with the row behind its last fact.
        while facts.len() < SLICE_FACTS {
            let Some((key, pack)) = rows.next().transpose()? else { break };
            for (sequence, fact) in log::facts_of(&key, &pack)? {
                let StoredFact { tenant, fact } = v1::decode_fact(fact)?;
                facts.push((sequence, FactKey::of(&tenant, &fact), FactHash::of(&tenant, &fact)));
            }
        }
        let slice = if facts.len() < SLICE_FACTS { Slice::Last } else { Slice::Full };
        let mut count = self.shown.lock();
        for (sequence, key, hash) in facts {
            self.reached = sequence;
            count.leaves.add(key, hash);
            self.changed.insert(block_of(key));
        }
        Ok(slice)
    }

    /// All is counted, if it comes to the fingerprint of all facts. Should a checkpoint ever be wrong, the log is right.
    fn finish(&mut self, sequence: u64, total: Fingerprint) {
        let counted = self.shown.fingerprint(Range::WHOLE);
        let is_right = counted == total;
        if !is_right && self.noted > 0 && !self.again {
            tracing::error!(%counted, %total, "the checkpoint of fingerprints is wrong: all facts are counted anew");
            return self.start_again();
        }
        if !is_right {
            tracing::error!(%counted, %total, "the facts of the log are not those that were counted when they came");
        }
        let mut count = self.shown.lock();
        (count.whole, count.was_wrong) = (true, count.was_wrong || !is_right);
        (self.reached, self.whole) = (sequence, true);
    }

    /// Forgets what the checkpoint says; the next one replaces all of it.
    fn start_again(&mut self) {
        *self.shown.lock() = Count { was_wrong: true, ..Count::default() };
        (self.reached, self.again, self.changed) = (0, true, (0..=u8::MAX).collect());
    }

    /// Whether it is time for a checkpoint of a store that has come to `sequence`.
    pub(crate) const fn is_due(&self, sequence: u64, when: When) -> bool {
        let enough = match when {
            When::Due => CHECKPOINT_FACTS,
            When::Closing => 1,
        };
        self.whole && (sequence.saturating_sub(self.noted) >= enough || self.gone.len() >= GONE_MAX)
    }

    /// The rows of a checkpoint of a store that has come to `sequence`, to be committed at once.
    pub(crate) fn checkpoint(&mut self, sequence: u64) -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Meta, layout::LEAVES.to_vec(), v1::encode_number(sequence));
        let count = self.shown.lock();
        for block in std::mem::take(&mut self.changed) {
            batch.put(Table::Meta, layout::leaves(block), v1::encode_leaves(&block_leaves(&count.leaves, block)));
        }
        for row in self.gone.drain(..) {
            batch.remove(Table::Meta, row);
        }
        self.noted = sequence;
        batch
    }
}

/// Whether a slice comes to the end of the log.
enum Slice {
    Full,
    Last,
}

fn block_of(key: FactKey) -> u8 {
    key.bytes()[0]
}

/// The leaves of a block that have facts.
fn block_leaves(leaves: &Leaves, block: u8) -> Vec<(u8, Fingerprint)> {
    let of_leaf = |leaf| {
        let range = Range::new(Range::DEPTH_MAX, u16::from_be_bytes([block, leaf])).expect("each number is a leaf's");
        (leaf, leaves.fingerprint(range))
    };
    (0..=u8::MAX).map(of_leaf).filter(|(_, fingerprint)| *fingerprint != Fingerprint::default()).collect()
}
