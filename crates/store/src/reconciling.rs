//! What a store says of the facts it holds, so that replicas find out where they differ.
//!
//! The rules are `domain`'s, in [`reconcile`]; here is what they ask for. A run here is: [`Projections::summary`] for
//! both roots, then for each question of the run, an answer of the peer, and what it brings into [`Projections::absorb`].
//! The peer answers from its own summary and by [`Projections::facts_in`].

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use plimsoll_domain::projection::reconcile::{self, Range};
use plimsoll_domain::projection::{FactHash, FactKey, Fingerprint};
use plimsoll_wire::record::v1::{self, StoredFact};
use plimsoll_wire::record::v2::{self, Place};

use crate::engine::{Direction, KeyRange, Row, Table};
use crate::error::ReadError;
use crate::pages::{Page, YIELD_ROWS};
use crate::projections::{Projections, TORN_READS_MAX};
use crate::tally::Shown;

/// What a store holds, as reconciliation asks for it: at each question as of the latest commit. It keeps the store open.
#[derive(Debug, Clone)]
pub struct Holdings {
    projections: Projections,
    counted: Arc<Shown>,
}

impl Holdings {
    /// The fingerprint of all facts.
    #[must_use]
    pub fn root(&self) -> Fingerprint {
        reconcile::Summary::fingerprint(self, Range::WHOLE)
    }

    /// Whether what was noted of the facts was wrong when the store was opened, so that all were counted anew: the store is
    /// damaged, or has a fault.
    #[must_use]
    pub fn was_wrong(&self) -> bool {
        self.counted.was_wrong()
    }
}

impl reconcile::Summary for Holdings {
    type Failure = ReadError;

    fn fingerprint(&self, range: Range) -> Fingerprint {
        self.counted.fingerprint(range)
    }

    fn digests(&self, range: Range, after: Option<FactKey>, limit: usize) -> Result<Vec<u64>, ReadError> {
        self.projections.digests_in(range, after, limit)
    }
}

impl Projections {
    /// The fingerprints of ranges of facts; `None` while facts are counted that were not when the store was closed, and
    /// where the directory is of an older format.
    #[must_use]
    pub fn summary(&self) -> Option<Holdings> {
        let counted = self.counted.as_ref().filter(|counted| counted.is_whole())?;
        Some(Holdings { projections: self.clone(), counted: Arc::clone(counted) })
    }

    /// Answers [`reconcile::Question::Facts`], once it is checked: the durable facts of some ranges, in the order of keys, with
    /// greater keys than `after`, but for those with a digest in `have`: as many as have `bytes_max` bytes, and one at least.
    /// Reads no more rows than it returns and `have` names, and one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts_in(
        &self,
        ranges: &[Range],
        after: Option<FactKey>,
        have: &[u64],
        bytes_max: usize,
    ) -> Result<Page<StoredFact, FactKey>, ReadError> {
        let have: BTreeSet<u64> = have.iter().copied().collect();
        let mut page = Page { items: Vec::new(), next: None };
        let (mut bytes, mut newest, mut reached) = (0, 0, None);
        for (looked_at, row) in ranges.iter().flat_map(|range| self.identities(*range, after)).enumerate() {
            if looked_at % YIELD_ROWS == YIELD_ROWS - 1 {
                tokio::task::yield_now().await;
            }
            let Some((key, place, stored)) = self.fact_of(row?)? else { continue };
            if !have.contains(&FactHash::of(&stored.tenant, &stored.fact).digest()) {
                bytes += v1::encode_fact(&stored.tenant, &stored.fact).len();
                if bytes > bytes_max && !page.items.is_empty() {
                    page.next = reached;
                    break;
                }
                newest = newest.max(place.sequence);
                page.items.push(stored);
            }
            reached = Some(key);
        }
        self.settled(newest).await?;
        Ok(page)
    }

    /// Which of these facts are here, on the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn held(&self, keys: &[FactKey]) -> Result<Vec<bool>, ReadError> {
        let is_here = |key: &FactKey| Ok(self.engine.get(Table::Identity, &key.bytes())?.is_some());
        let held = keys.iter().map(is_here).collect::<Result<_, ReadError>>()?;
        self.synced().await?;
        Ok(held)
    }

    /// The digests of the facts of a range with greater keys than `after`, in the order of keys, at most `limit`: as of
    /// the latest commit.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn digests_in(&self, range: Range, after: Option<FactKey>, limit: usize) -> Result<Vec<u64>, ReadError> {
        let facts =
            self.identities(range, after).map(|row| self.fact_of(row?)).filter_map(Result::transpose).take(limit);
        facts.map(|fact| fact.map(|(_, _, stored)| FactHash::of(&stored.tenant, &stored.fact).digest())).collect()
    }

    /// The rows of the identities of a range.
    fn identities(
        &self,
        range: Range,
        after: Option<FactKey>,
    ) -> impl Iterator<Item = Result<Row, ReadError>> + Send + '_ {
        let bytes = |key: FactKey| key.bytes().to_vec();
        let start = match after.filter(|after| range.first_key() <= *after) {
            Some(after) => Bound::Excluded(bytes(after)),
            None => Bound::Included(bytes(range.first_key())),
        };
        let end = Bound::Included(bytes(range.last_key()));
        let is_over = after.is_some_and(|after| range.last_key() <= after);
        let rows = (!is_over).then(|| self.engine.scan(Table::Identity, KeyRange { start, end }, Direction::Forward));
        rows.into_iter().flatten().map(|row| Ok(row?))
    }

    /// The fact an identity leads to; `None` where it was forgotten in between. It is looked for again where it moved in
    /// between: a joined fact stands anew at the end of the log. The same place twice is damage.
    fn fact_of(&self, (key, value): Row) -> Result<Option<(FactKey, Place, StoredFact)>, ReadError> {
        let mut place = v2::decode_place(&value)?;
        let dangling = |place: Place| ReadError::Dangling { sequence: place.sequence };
        for _ in 0..TORN_READS_MAX {
            if let Some(stored) = self.fact_at(place)? {
                let found = FactKey::of(&stored.tenant, &stored.fact);
                return if found.bytes()[..] == key { Ok(Some((found, place, stored))) } else { Err(dangling(place)) };
            }
            let Some(value) = self.engine.get(Table::Identity, &key)? else { return Ok(None) };
            let moved = v2::decode_place(&value)?;
            if moved == place {
                return Err(dangling(place));
            }
            place = moved;
        }
        Err(dangling(place))
    }
}
