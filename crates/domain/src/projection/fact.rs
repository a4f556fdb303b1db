//! Facts: the unit that is stored, sent and reconciled.

use super::transition::Transition;
use crate::id::ArtifactId;
use crate::planted::{self, Bug};
use crate::timestamp::Timestamp;

/// A stamped transition, or a tombstone: immutable but for the stamps of its duplicates.
///
/// Two nodes that accept the same transition stamp it twice. The facts are joined: `first` decides what the transition
/// wins against, `last` only moves the artifact's token forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What was stamped.
    pub body: Body,
    /// The effective stamp: the smallest it was given.
    pub first: Timestamp,
    /// The greatest stamp it was given.
    pub last: Timestamp,
}

/// What a fact says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Body {
    /// An artifact took on a status.
    Transition(Transition),
    /// An artifact was retired.
    Tombstone(ArtifactId),
}

/// Two facts of one transition, as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The one fact.
    pub fact: Fact,
    /// Whether the two had different content: rule 6.
    pub conflict: bool,
}

impl Fact {
    /// A body with its first stamp.
    #[must_use]
    pub const fn new(body: Body, stamp: Timestamp) -> Self {
        Self { body, first: stamp, last: stamp }
    }

    /// The artifact it is about.
    #[must_use]
    pub const fn artifact(&self) -> &ArtifactId {
        match &self.body {
            Body::Transition(transition) => &transition.artifact,
            Body::Tombstone(artifact) => artifact,
        }
    }

    /// The transition, if it is one.
    #[must_use]
    pub const fn transition(&self) -> Option<&Transition> {
        match &self.body {
            Body::Transition(transition) => Some(transition),
            Body::Tombstone(_) => None,
        }
    }

    /// Joins two facts of one transition id and artifact: the smaller effective stamp with its content, the greater
    /// last stamp. Commutative, associative and idempotent. Should one stamp ever come with two contents, which no
    /// correct node does, the smaller content stands, so that replicas agree even then.
    #[must_use]
    pub fn join(&self, other: &Self) -> Joined {
        let (earlier, later) =
            if (self.first, &self.body) <= (other.first, &other.body) { (self, other) } else { (other, self) };
        let (earlier, later) = if planted::has(Bug::GreaterStampKept) { (later, earlier) } else { (earlier, later) };
        Joined {
            fact: Self { body: earlier.body.clone(), first: earlier.first, last: self.last.max(other.last) },
            conflict: earlier.body != later.body,
        }
    }
}
