//! Lists, a page at a time: an artifact's history, and a tenant's projections.

use plimsoll_domain::id::{ArtifactId, Status, TenantId};
use plimsoll_domain::projection::{Fact, Token, Transition, Winner};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v2::{self, Place, StoredHistory};

use crate::engine::{Direction, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;
use crate::projections::{Projections, unless_moved};

/// The most rows one page looks at: a filter that fits few of them ends the page early.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// Visible facts are read up to so many bytes of refs.
const VISIBLE_BYTES_MAX: usize = 16 << 20;

/// After so many rows the thread is given to others for a moment.
pub(crate) const YIELD_ROWS: usize = 256;

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Item, Start> {
    /// The items.
    pub items: Vec<Item>,
    /// What to give for the next page; `None` on the last.
    pub next: Option<Start>,
}

/// A visible transition of an artifact's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The transition.
    pub transition: Transition,
    /// Its effective stamp.
    pub stamp: Timestamp,
}

/// A projection without its refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The artifact.
    pub artifact: ArtifactId,
    /// The transition that gives the status.
    pub winner: Winner,
    /// Names the state.
    pub token: Token,
}

impl Projections {
    /// The visible transitions of an artifact, newest first, from the one before `before` on; `None` where the
    /// artifact is not projected here.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn history(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Option<Page<Past, Timestamp>>, ReadError> {
        unless_moved(|| self.history_now(tenant, artifact, before, limit)).await
    }

    /// The facts of an artifact that a reader sees and that are `wanted`, newest first: up to `limit` of them and some 16 MiB,
    /// among the [`PAGE_ROWS_MAX`] newest.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn visible_facts(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        limit: usize,
        wanted: impl Fn(&Fact) -> bool,
    ) -> Result<Vec<Fact>, ReadError> {
        unless_moved(|| self.visible_facts_now(tenant, artifact, limit, &wanted)).await
    }

    async fn visible_facts_now(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        limit: usize,
        wanted: impl Fn(&Fact) -> bool,
    ) -> Result<Vec<Fact>, ReadError> {
        let Some(head) = self.head(tenant, artifact)? else { return Ok(Vec::new()) };
        let (mut facts, mut bytes) = (Vec::new(), 0);
        let mut newest = head.sequence;
        let entries = self.entries(&layout::of_artifact(tenant, artifact), &head.history, None);
        for entry in entries.take(PAGE_ROWS_MAX) {
            let (stamp, place) = entry?;
            let is_hidden = head.projection.tombstone.is_some_and(|tombstone| stamp <= tombstone);
            if is_hidden || facts.len() == limit || bytes > VISIBLE_BYTES_MAX {
                break;
            }
            newest = newest.max(place.sequence);
            let fact = self.fact_of_artifact(tenant, artifact, place)?;
            if wanted(&fact) {
                bytes += fact.transition().map_or(0, Transition::refs_text_bytes);
                facts.push(fact);
            }
        }
        self.settled(newest).await?;
        Ok(facts)
    }

    async fn history_now(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        before: Option<Timestamp>,
        limit: usize,
    ) -> Result<Option<Page<Past, Timestamp>>, ReadError> {
        let Some(head) = self.head(tenant, artifact)? else { return Ok(None) };
        if !head.projection.is_visible() {
            self.settled(head.sequence).await?;
            return Ok(None);
        }
        let hidden = |stamp: Timestamp| head.projection.tombstone.is_some_and(|tombstone| stamp <= tombstone);
        let mut items = Vec::new();
        let mut next = None;
        let mut newest = head.sequence;
        for entry in self.entries(&layout::of_artifact(tenant, artifact), &head.history, before) {
            let (stamp, place) = entry?;
            if hidden(stamp) {
                break;
            }
            if items.len() == limit {
                next = items.last().map(|past: &Past| past.stamp);
                break;
            }
            newest = newest.max(place.sequence);
            let fact = self.fact_of_artifact(tenant, artifact, place)?;
            // A tombstone that is newer than the head read above ends the history it belongs to.
            let Some(transition) = fact.transition() else { break };
            items.push(Past { transition: transition.clone(), stamp: fact.first });
        }
        self.settled(newest).await?;
        Ok(Some(Page { items, next }))
    }

    /// The fact that an entry of an artifact's history leads to.
    fn fact_of_artifact(&self, tenant: &TenantId, artifact: &ArtifactId, place: Place) -> Result<Fact, ReadError> {
        let dangling = ReadError::Dangling { sequence: place.sequence };
        match self.fact_at(place)? {
            Some(stored) if stored.tenant == *tenant && stored.fact.artifact() == artifact => Ok(stored.fact),
            _ => Err(dangling),
        }
    }

    /// The entries of a history, newest first: those the head holds, then those that are apart from it. What has gone
    /// from the one to the other since the head was read is told once.
    pub(crate) fn entries<'a>(
        &'a self,
        prefix: &[u8],
        history: &'a StoredHistory,
        before: Option<Timestamp>,
    ) -> impl Iterator<Item = Result<(Timestamp, Place), ReadError>> + Send + 'a {
        let is_before = move |stamp: Timestamp| before.is_none_or(|before| stamp < before);
        let recent = history.recent.iter().rev().filter(move |(stamp, _)| is_before(*stamp)).map(|entry| Ok(*entry));
        let apart = history.apart.map(|apart| {
            let range = match before.filter(|before| *before <= apart) {
                Some(before) => KeyRange::prefix_before(prefix, layout::history(prefix, before)),
                None => KeyRange::prefix_to(prefix, layout::history(prefix, apart)),
            };
            self.engine.scan(Table::History, range, Direction::Backward)
        });
        recent.chain(apart.into_iter().flatten().map(|row| {
            let (key, value) = row?;
            let place = v2::decode_place(&value)?;
            let stamp = layout::history_stamp(&key).ok_or(ReadError::Dangling { sequence: place.sequence })?;
            Ok((stamp, place))
        }))
    }

    /// The projections of a tenant, ordered by artifact id, from the one after `after` on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn list(
        &self,
        tenant: &TenantId,
        status: Option<&Status>,
        after: Option<&ArtifactId>,
        limit: usize,
    ) -> Result<Page<Summary, ArtifactId>, ReadError> {
        let prefix = layout::heads(tenant);
        let range = match after {
            Some(after) => KeyRange::prefix_after(&prefix, layout::head(tenant, after)),
            None => KeyRange::prefix(&prefix),
        };
        let mut page = Page { items: Vec::new(), next: None };
        let mut newest = 0;
        let mut last = None;
        for (looked_at, row) in self.engine.scan(Table::Head, range, Direction::Forward).enumerate() {
            if page.items.len() == limit || looked_at == PAGE_ROWS_MAX {
                page.next = last;
                break;
            }
            if looked_at % YIELD_ROWS == YIELD_ROWS - 1 {
                tokio::task::yield_now().await;
            }
            let (key, value) = row?;
            let head = v2::decode_head(&value)?;
            let name = layout::head_artifact(tenant, &key).unwrap_or_default();
            let artifact = ArtifactId::parse(name).map_err(plimsoll_wire::record::RecordError::Text)?;
            last = Some(artifact.clone());
            // Also of what is left out: an item that is hidden by a change not yet durable must not be missing.
            newest = newest.max(head.sequence);
            let fits = |winner: &Winner| status.is_none_or(|status| *status == winner.status);
            if head.projection.winner.as_ref().is_some_and(fits) {
                let token = head.projection.token(&artifact);
                let summary = head.projection.winner.zip(token);
                page.items.extend(summary.map(|(winner, token)| Summary { artifact, winner, token }));
            }
        }
        self.settled(newest).await?;
        Ok(page)
    }
}
