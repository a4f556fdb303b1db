//! What a node answers to a transition before it stamps it.

use thiserror::Error;

use super::fact::Fact;
use super::fold::Projection;
use super::refs::{RefKey, RefRows, RefState, Resolution};
use super::token::Token;
use super::transition::Transition;
use crate::id::ArtifactId;

/// What an emitter expects of the artifact as it stands on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing.
    #[default]
    Any,
    /// It is projected here (`If-Match: *`).
    Present,
    /// It is not projected here (`If-None-Match: *`).
    Absent,
    /// Its token is one of these (`If-Match`).
    OneOf(Vec<Token>),
}

impl Expectation {
    /// Whether it holds.
    #[must_use]
    pub fn holds(&self, projection: &Projection, artifact: &ArtifactId) -> bool {
        let token = || projection.token(artifact).filter(|_| projection.is_visible());
        match self {
            Self::Any => true,
            Self::Present => projection.is_visible(),
            Self::Absent => !projection.is_visible(),
            Self::OneOf(tokens) => token().is_some_and(|token| tokens.contains(&token)),
        }
    }
}

/// A transition that is not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new: stamp it.
    Accept,
    /// It was accepted before: nothing changes.
    Repeat,
}

/// Why a transition is refused. Nothing was stored; the same request gets the same answer until the state changes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The transition id was used with different content.
    #[error("the transition id was used before, with different content")]
    TransitionConflict,
    /// The emitter's expectation does not hold.
    #[error("the artifact's token is not what the request expects")]
    Moved {
        /// The token as it stands; `None` where the artifact is not projected.
        token: Option<Token>,
    },
    /// No pending ref with this key is known to this node.
    #[error("no transition opened {:?} in {:?} as pending", key.idempotency_key, key.target_repo)]
    UnknownPendingRef {
        /// The ref.
        key: RefKey,
    },
    /// The ref is resolved to something else.
    #[error("{:?} in {:?} is resolved to number {} at {}", key.idempotency_key, key.target_repo, standing.number, standing.url)]
    ResolvedRefConflict {
        /// The ref.
        key: RefKey,
        /// What it is resolved to.
        standing: Resolution,
    },
}

/// Judges a transition by what this node knows: `known` is the fact of the same transition id, if any, and `rows` has
/// loaded the row of each ref the transition names.
///
/// A repetition is seen before the expectation is looked at: a retry whose first answer was lost would otherwise be
/// told that the artifact moved, by itself (RFC 9110, section 13.1.1, allows it).
///
/// # Errors
/// The first reason to refuse it.
pub fn judge(
    transition: &Transition,
    expectation: &Expectation,
    projection: &Projection,
    known: Option<&Fact>,
    rows: &RefRows,
) -> Result<Verdict, Refusal> {
    match known.map(Fact::transition) {
        Some(Some(known)) if known == transition => return Ok(Verdict::Repeat),
        Some(_) => return Err(Refusal::TransitionConflict),
        None => {}
    }
    if !expectation.holds(projection, &transition.artifact) {
        let token = projection.token(&transition.artifact).filter(|_| projection.is_visible());
        return Err(Refusal::Moved { token });
    }
    for produced in transition.refs() {
        let Some(resolution) = &produced.resolution else { continue };
        judge_resolution(transition, &produced.key, resolution, rows)?;
    }
    Ok(Verdict::Accept)
}

fn judge_resolution(
    transition: &Transition,
    key: &RefKey,
    resolution: &Resolution,
    rows: &RefRows,
) -> Result<(), Refusal> {
    let opened_here = || transition.refs().iter().any(|other| other.key == *key && other.resolution.is_none());
    match rows.get(key) {
        Some(RefState::Resolved { resolution: standing, .. }) if !standing.agrees_with(resolution) => {
            Err(Refusal::ResolvedRefConflict { key: key.clone(), standing: standing.clone() })
        }
        Some(_) => Ok(()),
        None if opened_here() => Ok(()),
        None => Err(Refusal::UnknownPendingRef { key: key.clone() }),
    }
}
