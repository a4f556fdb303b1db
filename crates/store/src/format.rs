//! The format of a data directory, and the way from an older one to this one.
//!
//! | format | since | what changed |
//! |---|---|---|
//! | 1 | before quotas | log, identities, heads, history, refs |
//! | 2 | quotas | what each tenant occupies is kept, a row a tenant |
//! | 3 | peers | rows of records of version 2, beside those of version 1, which are read for ever; where each tombstone is; the fingerprint of all facts |
//! | 4 | reconciliation | checkpoints of the fingerprints of ranges, and what is taken out after them: a version that does not note that must not write |
//!
//! A directory of a newer format is refused. One of an older format is read and not written, until a migration has
//! brought it here: the steps run one format at a time, each as one atomic batch that ends with the format's new
//! number, so a migration that is interrupted is one that has not begun its last step.

use std::collections::BTreeMap;

use plimsoll_domain::id::TenantId;
use plimsoll_domain::projection::{FactKey, Fingerprint};
use plimsoll_wire::record::RecordError;
use plimsoll_wire::record::v1::{self, StoredFact, StoredIdentity, StoredUsage};
use plimsoll_wire::record::v2::{self, Place};
use thiserror::Error;

use crate::engine::{Batch, Direction, Engine, EngineError, KeyRange, Table};
use crate::error::{ReadError, WriteError};
use crate::layout;
use crate::log;

/// The format this version writes.
pub const CURRENT: u64 = 4;

/// The oldest format this version reads.
pub const OLDEST: u64 = 1;

/// The format of a data directory that this version can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format(u64);

/// A data directory cannot be opened.
#[derive(Debug, Error)]
pub enum FormatError {
    /// It was written by a newer version. Nothing was changed.
    #[error(
        "the data directory is of format {found}, and this version reads formats {OLDEST} to {CURRENT}: use the version that wrote it, or a newer one"
    )]
    Newer {
        /// Its format.
        found: u64,
    },
    /// What it says about itself is incomplete. Nothing was changed.
    #[error("the data directory has data, and does not say of which format or node it is: it is damaged")]
    Unlabelled,
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<EngineError> for FormatError {
    fn from(error: EngineError) -> Self {
        Self::Read(error.into())
    }
}

impl From<RecordError> for FormatError {
    fn from(error: RecordError) -> Self {
        Self::Read(error.into())
    }
}

impl Format {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Whether a migration is needed before anything is written.
    #[must_use]
    pub const fn is_old(self) -> bool {
        self.0 < CURRENT
    }

    pub(crate) const fn check_writable(self) -> Result<(), WriteError> {
        if self.is_old() {
            return Err(WriteError::MigrationPending { found: self.0, current: CURRENT });
        }
        Ok(())
    }
}

/// Reads what an engine says about itself; an empty one is labelled with `fresh` and the current format.
pub(crate) fn open(engine: &dyn Engine, fresh: StoredIdentity) -> Result<(Format, StoredIdentity), FormatError> {
    let format = engine.get(Table::Meta, layout::FORMAT)?;
    let identity = engine.get(Table::Meta, layout::IDENTITY)?;
    match (format, identity) {
        (Some(format), Some(identity)) => {
            Ok((Format(known(v1::decode_number(&format)?)?), v1::decode_identity(&identity)?))
        }
        (None, None) if is_empty(engine)? => {
            let mut batch = Batch::default();
            batch.put(Table::Meta, layout::FORMAT.to_vec(), v1::encode_number(CURRENT));
            batch.put(Table::Meta, layout::IDENTITY.to_vec(), v1::encode_identity(fresh));
            engine.commit(batch)?;
            engine.sync()?;
            Ok((Format(CURRENT), fresh))
        }
        _ => Err(FormatError::Unlabelled),
    }
}

fn known(found: u64) -> Result<u64, FormatError> {
    match found {
        OLDEST..=CURRENT => Ok(found),
        0 => Err(FormatError::Unlabelled),
        _ => Err(FormatError::Newer { found }),
    }
}

fn is_empty(engine: &dyn Engine) -> Result<bool, EngineError> {
    for table in Table::ALL {
        if let Some(row) = engine.scan(table, KeyRange::prefix(&[]), Direction::Forward).next() {
            row?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// What a migration did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The format before.
    pub from: u64,
    /// The format after.
    pub to: u64,
    /// Facts that were looked at.
    pub facts: u64,
    /// Rows written, the format's number included.
    pub rows: u64,
}

/// Whether a migration writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// It does all but write.
    Dry,
    /// It writes.
    Real,
}

/// Brings what an engine holds to the current format. What is there already is left alone.
///
/// # Errors
/// [`FormatError`]; then what was there before is still there, under its old format.
pub fn migrate(engine: &dyn Engine, run: Run) -> Result<Migration, FormatError> {
    let Some(value) = engine.get(Table::Meta, layout::FORMAT)? else { return Err(FormatError::Unlabelled) };
    let from = known(v1::decode_number(&value)?)?;
    let mut migration = Migration { from, to: CURRENT, facts: 0, rows: 0 };
    for step in from + 1..=CURRENT {
        let (mut batch, facts) = match step {
            2 => count_usages(engine)?,
            3 => find_tombstones(engine)?,
            _ => (Batch::default(), 0), // the first checkpoint is made from the log, when there is time
        };
        batch.put(Table::Meta, layout::FORMAT.to_vec(), v1::encode_number(step));
        migration.facts = migration.facts.max(facts);
        migration.rows += batch.len() as u64;
        if run == Run::Real {
            engine.commit(batch)?;
            engine.sync()?;
        }
    }
    Ok(migration)
}

/// From 2 to 3: notes where tombstones stand, and takes the fingerprint of all facts.
fn find_tombstones(engine: &dyn Engine) -> Result<(Batch, u64), FormatError> {
    let mut batch = Batch::default();
    let mut fingerprint = Fingerprint::default();
    for row in engine.scan(Table::Log, KeyRange::prefix(&[]), Direction::Forward) {
        let (key, pack) = row?;
        for (sequence, fact) in log::facts_of(&key, &pack)? {
            let StoredFact { tenant, fact } = v1::decode_fact(fact)?;
            fingerprint.add(&tenant, &fact);
            if fact.transition().is_none() {
                let place = Place { sequence, offset: 0 }; // a row of this format holds one fact
                batch.put(Table::Identity, FactKey::of(&tenant, &fact).bytes().to_vec(), v2::encode_place(place));
            }
        }
    }
    batch.put(Table::Meta, layout::FINGERPRINT.to_vec(), v1::encode_fingerprint(fingerprint));
    Ok((batch, fingerprint.count))
}

/// From 1 to 2: counts what each tenant occupies.
fn count_usages(engine: &dyn Engine) -> Result<(Batch, u64), FormatError> {
    let mut usages: BTreeMap<TenantId, StoredUsage> = BTreeMap::new();
    let mut facts = 0;
    for row in engine.scan(Table::Log, KeyRange::prefix(&[]), Direction::Forward) {
        let (key, pack) = row?;
        for (_, fact) in log::facts_of(&key, &pack)? {
            let usage = usages.entry(v1::decode_fact(fact)?.tenant).or_default();
            usage.facts += 1;
            usage.bytes += fact.len() as u64;
            facts += 1;
        }
    }
    let mut batch = Batch::default();
    for (tenant, usage) in usages {
        batch.put(Table::Meta, layout::usage(&tenant), v1::encode_usage(usage));
    }
    Ok((batch, facts))
}
