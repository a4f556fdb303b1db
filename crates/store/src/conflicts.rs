//! Conflicts of rule 6: one transition id, two contents, from two nodes.
//!
//! The content of the smaller effective stamp stands, and the other is no part of any state. So that it can be seen what was
//! lost, the node that met both keeps the other beside the log, a few for each artifact. It is no fact: it is neither told
//! nor compared, so another node may have seen other conflicts. Those of rule 3 need no rows: the history has them.

use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::{Fact, FactKey};
use plimsoll_wire::record::v1;

use crate::door::Group;
use crate::engine::{Direction, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;
use crate::projections::Projections;

/// The most that is kept for one artifact: the first ones.
pub const REUSES_MAX: usize = 16;

/// How many conflicts were met since the store was opened.
#[derive(Debug, Default)]
pub struct ConflictCounts {
    disputes: AtomicU64,
    reuses: AtomicU64,
}

impl ConflictCounts {
    /// Refs that were resolved to two things (rule 3).
    #[must_use]
    pub fn disputes(&self) -> u64 {
        self.disputes.load(Ordering::Relaxed)
    }

    /// Transition ids that came with two contents (rule 6).
    #[must_use]
    pub fn reuses(&self) -> u64 {
        self.reuses.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, disputes: usize, reuses: usize) {
        self.disputes.fetch_add(disputes as u64, Ordering::Relaxed);
        self.reuses.fetch_add(reuses as u64, Ordering::Relaxed);
    }
}

/// A content that is kept, as a row.
pub(crate) type Reuse = (Vec<u8>, Vec<u8>);

impl Group<'_> {
    /// The rows that keep `lost`, which had the transition id that `standing` has, with both artifacts: none where there
    /// are as many as are kept.
    pub(crate) fn reuse(&self, tenant: &TenantId, standing: &Fact, lost: &Fact) -> Result<Vec<Reuse>, ReadError> {
        let mut artifacts = vec![standing.artifact(), lost.artifact()];
        artifacts.dedup();
        let mut rows = Vec::new();
        for artifact in artifacts {
            let prefix = layout::reuses(tenant, artifact);
            if self.staging.scan(Table::Meta, &prefix)?.len() < REUSES_MAX {
                let key = [&prefix[..], &FactKey::of(tenant, lost).bytes()].concat();
                rows.push((key, v1::encode_fact(tenant, lost)));
            }
        }
        Ok(rows)
    }

    /// Keeps them.
    pub(crate) fn keep_reuse(&mut self, rows: Vec<Reuse>) {
        for (key, lost) in rows {
            self.staging.put(Table::Meta, key, lost);
        }
    }
}

impl Projections {
    /// How many conflicts were met since the store was opened.
    #[must_use]
    pub fn conflict_counts(&self) -> &ConflictCounts {
        &self.conflicts
    }

    /// Contents that lost to another under the same transition id (rule 6 of the merge), as far as this node met both: at
    /// most [`REUSES_MAX`] for an artifact.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn reused(&self, tenant: &TenantId, artifact: &ArtifactId) -> Result<Vec<Fact>, ReadError> {
        let rows =
            self.engine.scan(Table::Meta, KeyRange::prefix(&layout::reuses(tenant, artifact)), Direction::Forward);
        let facts: Vec<Fact> = rows.map(|row| Ok(v1::decode_fact(&row?.1)?.fact)).collect::<Result<_, ReadError>>()?;
        // They were written with a fact of the artifact, or of the other one, at most as late as this.
        if !facts.is_empty() {
            self.synced().await?;
        }
        Ok(facts)
    }
}
