//! The change feed: every artifact that changed since a position.
//!
//! The log is the feed. A reader holds a [`Position`] and asks for what comes after; however far behind it is, the
//! store keeps nothing for it. A page names each artifact once, at its latest place within the page.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::str::FromStr;

use plimsoll_domain::id::{ArtifactId, NodeId, TenantId};
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::{self, StoredIdentity};
use thiserror::Error;

use crate::engine::{Direction, KeyRange, Table};
use crate::error::ReadError;
use crate::layout;
use crate::log;
use crate::projections::Projections;

/// The most facts one page looks at.
const FEED_FACTS_MAX: usize = 1_000;

/// Where a reader stands in one node's feed: after everything up to `sequence`. Not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The node whose feed it is.
    pub node: NodeId,
    /// The incarnation of that node's data directory.
    pub incarnation: u64,
    /// The latest change the reader has seen.
    pub sequence: u64,
}

/// A text that is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be a position as the change feed gives them: <node>-<incarnation>-<sequence>")]
pub struct NotAPosition;

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:016x}-{}", self.node, self.incarnation, self.sequence)
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(NotAPosition);
        let node: NodeId = part()?.parse().map_err(|_| NotAPosition)?;
        let incarnation: NodeId = part()?.parse().map_err(|_| NotAPosition)?;
        let sequence = part()?.parse().map_err(|_| NotAPosition)?;
        let position = Self { node, incarnation: incarnation.number(), sequence };
        (position.to_string() == text).then_some(position).ok_or(NotAPosition)
    }
}

/// A part of the feed, its facts as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactPage {
    /// The facts that were wanted, each with its sequence, in order.
    pub facts: Vec<(u64, Vec<u8>)>,
    /// All that was wanted up to here is in `facts`.
    pub up_to: u64,
}

/// What changed after a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The tenant's artifacts that changed, in the order of their latest changes, each with the position after it.
    pub artifacts: Vec<(ArtifactId, Position)>,
    /// Where to go on.
    pub next: Position,
}

/// What came of looking at a part of the log.
struct Followed {
    /// Whether no fact was missing in between.
    whole: bool,
    /// How far it went, where it went to the end.
    ended_at: Option<u64>,
}

impl Projections {
    /// The position of this node's latest durable change.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position_at(self.shared.durable())
    }

    fn position_at(&self, sequence: u64) -> Position {
        let StoredIdentity { node, incarnation } = self.identity();
        Position { node, incarnation, sequence }
    }

    /// Whether a reader can go on from a position here: it is of this node and incarnation, and not ahead of it.
    #[must_use]
    pub fn knows(&self, position: Position) -> bool {
        let here = self.position();
        position.node == here.node && position.incarnation == here.incarnation && position.sequence <= here.sequence
    }

    /// A tenant's changes after a position, as far as they are durable. Empty `artifacts` with a `next` that has not
    /// moved means there are none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn changes(&self, tenant: &TenantId, after: Position) -> Result<Changes, ReadError> {
        let mut latest: BTreeMap<ArtifactId, u64> = BTreeMap::new();
        let mut reached = after.sequence;
        let followed = self.follow(after.sequence, |sequence, fact| {
            reached = sequence;
            if v1::decode_fact_tenant(fact)? == *tenant || planted::has(Bug::TenantLeftOut) {
                latest.insert(v1::decode_fact(fact)?.fact.artifact().clone(), sequence);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.settle_unless(followed.whole).await?;
        reached = followed.ended_at.unwrap_or(reached);
        let mut artifacts: Vec<_> =
            latest.into_iter().map(|(artifact, sequence)| (artifact, self.position_at(sequence))).collect();
        artifacts.sort_by_key(|(_, position)| position.sequence);
        Ok(Changes { artifacts, next: self.position_at(reached) })
    }

    /// Whether this node may have stamped any of the facts after a sequence that were durable when this was asked. Those that it
    /// takes over do not count; what was there when the store was opened does.
    #[must_use]
    pub fn may_have_own_after(&self, sequence: u64) -> bool {
        self.stamped.may_be_after(sequence)
    }

    /// What a peer takes over: the facts of every tenant after a position, as far as they are durable, in order, up to
    /// about `bytes_max` bytes of them; `wanted` tells by a fact's first and last stamp whether it is among them. `None`
    /// where the position is not of this feed.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn facts(
        &self,
        after: Position,
        bytes_max: usize,
        wanted: impl Fn(Timestamp, Timestamp) -> bool,
    ) -> Result<Option<FactPage>, ReadError> {
        if !self.knows(after) {
            return Ok(None);
        }
        let mut page = FactPage { facts: Vec::new(), up_to: after.sequence };
        let mut bytes = 0;
        let followed = self.follow(after.sequence, |sequence, fact| {
            let (first, last) = v1::decode_fact_stamps(fact)?;
            if wanted(first, last) {
                bytes += fact.len();
                page.facts.push((sequence, fact.to_vec()));
            }
            page.up_to = sequence;
            Ok(if bytes < bytes_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        self.settle_unless(followed.whole).await?;
        page.up_to = followed.ended_at.unwrap_or(page.up_to);
        Ok(Some(page))
    }

    /// Shows the durable facts after a sequence, up to the bound of a page or until it is told that it is enough.
    fn follow(
        &self,
        after: u64,
        mut show: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<Followed, ReadError> {
        let durable = self.shared.durable();
        let (mut next, mut shown, mut whole) = (after + 1, 0, true);
        for row in self.engine.scan(Table::Log, self.packs_after(after)?, Direction::Forward) {
            let (key, pack) = row?;
            for (sequence, fact) in log::facts_of(&key, &pack)? {
                if sequence <= after {
                    continue;
                }
                if shown == FEED_FACTS_MAX {
                    return Ok(Followed { whole, ended_at: None });
                }
                whole &= next == sequence.min(durable + 1);
                if sequence > durable {
                    return Ok(Followed { whole, ended_at: Some(durable) });
                }
                shown += 1;
                next = sequence + 1;
                if show(sequence, fact)?.is_break() {
                    return Ok(Followed { whole, ended_at: None });
                }
            }
        }
        // What stood at the end may have been forgotten: then the feed has come further than its last fact.
        Ok(Followed { whole: whole && next > durable, ended_at: Some(durable.max(after)) })
    }

    /// Where a fact is missing it was taken away, to stand anew at the end. A commit that is not durable may have done so,
    /// and the fact may yet come back: then the page is not to be told before that commit is durable.
    async fn settle_unless(&self, whole: bool) -> Result<(), ReadError> {
        if whole {
            return Ok(());
        }
        self.synced().await
    }

    /// The packs with every fact after a sequence: the first may begin before it.
    fn packs_after(&self, sequence: u64) -> Result<KeyRange, ReadError> {
        let up_to = KeyRange::prefix_to(&[], layout::log(sequence));
        let first = self.engine.scan(Table::Log, up_to, Direction::Backward).next().transpose()?;
        Ok(first.map_or_else(|| KeyRange::prefix(&[]), |(key, _)| KeyRange::from_key(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_one_text() {
        let position = Position { node: NodeId::new(1), incarnation: 2, sequence: 3 };
        let text = "0000000000000001-0000000000000002-3";
        assert_eq!(position.to_string(), text);
        assert_eq!(text.parse(), Ok(position));
        for other in ["", "1-2-3", "0000000000000001-0000000000000002-03", "0000000000000001-0000000000000002-3-4"] {
            assert_eq!(other.parse::<Position>(), Err(NotAPosition), "{other}");
        }
    }
}
