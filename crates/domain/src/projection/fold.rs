//! The fold: from a set of facts to the state of an artifact, at once or one fact at a time.

use std::iter;

use super::fact::{Body, Fact};
use super::refs::{RefKey, RefRows, RefState, RefsDigest};
use super::token::{Digester, Token};
use super::transition::Transition;
use crate::id::{ArtifactId, Status, TransitionId};
use crate::planted::{self, Bug};
use crate::timestamp::Timestamp;

/// The state of an artifact, its refs apart: they may be many, and this holds their digest, so that a merge costs the
/// same for an artifact with two refs and one with two thousand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    /// The greatest stamp ever seen for the artifact; `None` before its first fact.
    pub seen: Option<Timestamp>,
    /// The greatest tombstone, if there was one.
    pub tombstone: Option<Timestamp>,
    /// The transition that gives the status; `None` while no transition is visible.
    pub winner: Option<Winner>,
    /// The digest of the visible refs.
    pub refs: RefsDigest,
}

/// The transition that gives an artifact its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Winner {
    /// Its effective stamp: the greatest of the visible transitions.
    pub stamp: Timestamp,
    /// The transition.
    pub transition: TransitionId,
    /// Its status.
    pub status: Status,
}

/// What a fact did to a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The token is another one now.
    Advanced,
    /// The fact is new, or its stamps are, and the token is the same: an older fact that changed nothing visible.
    Absorbed,
    /// All of it was known: there is nothing to store.
    Duplicate,
}

/// The outcome of a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What it did.
    pub merge: Merge,
    /// The fact as it stands now, joined with what was known of it.
    pub fact: Fact,
    /// Whether the transition id came with two contents: rule 6.
    pub conflict: bool,
    /// The refs for which two answers of the forge disagree: rule 3.
    pub disputes: Vec<RefKey>,
}

impl Projection {
    /// Whether the artifact is projected: whether a read finds it.
    #[must_use]
    pub const fn is_visible(&self) -> bool {
        self.winner.is_some()
    }

    /// What holds of every state.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&self) {
        let winner = self.winner.as_ref().map(|winner| winner.stamp);
        assert!(self.seen >= winner, "what wins was seen: {self:?}");
        assert!(self.seen >= self.tombstone, "what hides was seen: {self:?}");
        assert!(winner.is_none_or(|stamp| !self.hides(stamp)), "what wins is not hidden: {self:?}");
        assert!(
            winner.is_some() || self.refs == RefsDigest::default(),
            "refs are those of visible transitions: {self:?}"
        );
    }

    /// The token of this state of `artifact`; `None` before its first fact.
    #[must_use]
    pub fn token(&self, artifact: &ArtifactId) -> Option<Token> {
        let stamp = self.seen?;
        let mut digester = Digester::new("plimsoll projection 1");
        digester.text(artifact.as_str());
        match &self.winner {
            None => digester.number(0),
            Some(winner) => {
                digester.number(1);
                digester.text(winner.transition.as_str());
                digester.text(winner.status.as_str());
            }
        }
        if !planted::has(Bug::DigestLeftOut) {
            digester.number(self.refs.count);
            digester.wide_number(self.refs.sum);
        }
        Some(Token { stamp, digest: digester.finish_64() })
    }

    /// Folds a set of facts of one artifact from scratch.
    #[must_use]
    pub fn fold<'a>(facts: impl Iterator<Item = &'a Fact> + Clone) -> (Self, RefRows) {
        let mut projection = Self::default();
        let mut rows = RefRows::default();
        rows.replace();
        for fact in facts.clone() {
            projection.note(fact);
        }
        for fact in facts {
            projection.show(&mut rows, fact);
        }
        (projection, rows)
    }

    /// Merges one fact into the state.
    ///
    /// `known` is what is known of the same transition id (of the tombstone with the same stamp), `rows` has loaded
    /// the row of each ref that `arriving` names, and `history` reads every other fact of the artifact: it is called
    /// only where the past itself changes, that is where a known transition turns out to be older than it was taken
    /// for or to have other content, and where a tombstone arrives late.
    ///
    /// The result is the same as that of [`Projection::fold`] over all facts. All facts are of one artifact.
    ///
    /// # Errors
    /// What `history` fails with. State and rows are then to be thrown away; nothing was stored.
    pub fn merge<E, H>(
        &mut self,
        rows: &mut RefRows,
        known: Option<&Fact>,
        arriving: &Fact,
        history: impl FnOnce() -> H,
    ) -> Result<Merged, E>
    where
        H: Iterator<Item = Result<Fact, E>>,
    {
        assert!(
            known.is_none_or(|known| known.artifact() == arriving.artifact()),
            "a projection is folded from the facts of one artifact"
        );
        let before = self.clone();
        let (fact, conflict) = match known {
            None => (arriving.clone(), false),
            Some(known) => {
                let joined = known.join(arriving);
                (joined.fact, joined.conflict)
            }
        };
        if self.has_nothing_to_learn(known, &fact) {
            return Ok(Merged { merge: Merge::Duplicate, fact, conflict, disputes: Vec::new() });
        }
        self.note(&fact);
        let disputes = match Past::after(&before, known, &fact) {
            Past::Extended => self.show(rows, &fact),
            Past::Same => Vec::new(),
            Past::Hidden => {
                self.hide(rows);
                Vec::new()
            }
            Past::Changed => {
                self.hide(rows);
                let mut disputes = Vec::new();
                for fact in history().chain(iter::once(Ok(fact.clone()))) {
                    disputes.append(&mut self.show(rows, &fact?));
                }
                disputes
            }
        };
        self.check();
        let same = self.seen == before.seen && self.same_content(&before);
        let merge = if same { Merge::Absorbed } else { Merge::Advanced };
        Ok(Merged { merge, fact, conflict, disputes })
    }

    fn has_nothing_to_learn(&self, known: Option<&Fact>, fact: &Fact) -> bool {
        match &fact.body {
            Body::Transition(_) => known == Some(fact),
            Body::Tombstone(_) => self.tombstone >= Some(fact.first),
        }
    }

    fn same_content(&self, other: &Self) -> bool {
        let content = |winner: &Winner| (winner.transition.clone(), winner.status.clone());
        self.refs == other.refs && self.winner.as_ref().map(content) == other.winner.as_ref().map(content)
    }

    /// Takes note of a fact's stamps: rules 4 and 5.
    fn note(&mut self, fact: &Fact) {
        self.seen = self.seen.max(Some(fact.last));
        if matches!(fact.body, Body::Tombstone(_)) {
            self.tombstone = self.tombstone.max(Some(fact.first));
        }
    }

    /// Whether a tombstone hides a transition with this effective stamp: rule 4.
    fn hides(&self, stamp: Timestamp) -> bool {
        self.tombstone >= Some(stamp) && !planted::has(Bug::RetiredComesBack)
    }

    /// Shows a fact, if no tombstone hides it: rules 2 and 3.
    fn show(&mut self, rows: &mut RefRows, fact: &Fact) -> Vec<RefKey> {
        match &fact.body {
            Body::Transition(transition) if !self.hides(fact.first) => {
                self.crown(transition, fact.first);
                self.show_refs(rows, transition, fact.first)
            }
            _ => Vec::new(),
        }
    }

    fn crown(&mut self, transition: &Transition, stamp: Timestamp) {
        if self.winner.as_ref().is_none_or(|winner| winner.stamp < stamp) {
            let (transition, status) = (transition.id.clone(), transition.status.clone());
            self.winner = Some(Winner { stamp, transition, status });
        }
    }

    fn show_refs(&mut self, rows: &mut RefRows, transition: &Transition, stamp: Timestamp) -> Vec<RefKey> {
        let mut disputes = Vec::new();
        for produced in transition.refs() {
            let state = match &produced.resolution {
                None => RefState::Pending,
                Some(resolution) => RefState::Resolved { resolution: resolution.clone(), stamp },
            };
            if rows.merge(&mut self.refs, &produced.key, state) {
                disputes.push(produced.key.clone());
            }
        }
        disputes
    }

    fn hide(&mut self, rows: &mut RefRows) {
        self.winner = None;
        self.refs = RefsDigest::default();
        rows.replace();
    }
}

/// What an arriving fact means for what was shown before it.
enum Past {
    /// It stands, and the fact adds to it.
    Extended,
    /// It stands, and the fact is part of it: a retry that was stamped later.
    Same,
    /// All of it is hidden now.
    Hidden,
    /// Some of it was shown wrongly, and has to be shown anew.
    Changed,
}

impl Past {
    fn after(before: &Projection, known: Option<&Fact>, fact: &Fact) -> Self {
        match (&fact.body, known) {
            (Body::Tombstone(_), _) if before.winner.as_ref().is_none_or(|winner| winner.stamp < fact.first) => {
                Self::Hidden
            }
            (Body::Tombstone(_), _) => Self::Changed,
            (Body::Transition(_), None) => Self::Extended,
            (Body::Transition(_), Some(known)) if known.first == fact.first && known.body == fact.body => Self::Same,
            (Body::Transition(_), Some(_)) => Self::Changed,
        }
    }
}
