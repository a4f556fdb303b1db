//! Why a projection is what it is: which fact decided each field, and over which others.

use std::collections::BTreeMap;

use super::fact::{Body, Fact};
use super::refs::{RefKey, RefState, Resolution};
use super::transition::Transition;
use crate::id::{Status, TransitionId};
use crate::timestamp::Timestamp;

/// Who decided, and when that transition was first accepted anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decider {
    /// The transition.
    pub transition: TransitionId,
    /// Its effective stamp.
    pub stamp: Timestamp,
}

/// Why a ref is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Nobody said anything else of it.
    Alone,
    /// Resolved beats pending, always (rule 3).
    Resolved,
    /// Of two different resolutions the one with the greater effective stamp stands (rule 3).
    Later,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedRef {
    /// The key.
    pub key: RefKey,
    /// What stands: `None` for pending.
    pub resolution: Option<Resolution>,
    /// Who decided it.
    pub by: Decider,
    /// Why.
    pub why: Why,
    /// Resolutions that disagree with it, the latest first, and who brought them.
    pub disputed: Vec<(Decider, Resolution)>,
}

/// Why a projection is what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The status, and who gave it: the visible transition with the greatest effective stamp (rule 2); `None` where none
    /// is visible.
    pub status: Option<(Status, Decider)>,
    /// The refs, by key.
    pub refs: Vec<DecidedRef>,
}

/// All that was said of one ref, in the order of stamps.
type Said<'a> = Vec<(Decider, Option<&'a Resolution>)>;

/// Explains what is folded from the visible facts of one artifact.
#[must_use]
pub fn explain<'a>(visible: impl IntoIterator<Item = &'a Fact>) -> Explanation {
    let mut transitions: Vec<(Timestamp, &Transition)> = visible
        .into_iter()
        .filter_map(|fact| match &fact.body {
            Body::Transition(transition) => Some((fact.first, transition)),
            Body::Tombstone(_) => None,
        })
        .collect();
    transitions.sort_by_key(|(stamp, _)| *stamp);
    let mut refs: BTreeMap<&RefKey, Said<'a>> = BTreeMap::new();
    for (stamp, transition) in &transitions {
        for produced in transition.refs() {
            let said = (decider(*stamp, transition), produced.resolution.as_ref());
            refs.entry(&produced.key).or_default().push(said);
        }
    }
    Explanation {
        status: transitions.last().map(|(stamp, winner)| (winner.status.clone(), decider(*stamp, winner))),
        refs: refs.into_iter().map(|(key, said)| decide(key, said)).collect(),
    }
}

fn decider(stamp: Timestamp, transition: &Transition) -> Decider {
    Decider { transition: transition.id.clone(), stamp }
}

fn decide(key: &RefKey, said: Said<'_>) -> DecidedRef {
    let pending = said.iter().any(|(_, resolution)| resolution.is_none());
    let mut resolutions = said.iter().rev().filter_map(|(by, resolution)| Some((by, (*resolution)?)));
    let Some((by, standing)) = resolutions.next() else {
        let (by, _) = said.into_iter().next().expect("a key is here because somebody named it");
        return DecidedRef { key: key.clone(), resolution: None, by, why: Why::Alone, disputed: Vec::new() };
    };
    let disputed: Vec<_> = resolutions
        .filter(|(_, resolution)| !resolution.agrees_with(standing))
        .map(|(by, resolution)| (by.clone(), resolution.clone()))
        .collect();
    let why = match (disputed.is_empty(), pending) {
        (false, _) => Why::Later,
        (true, true) => Why::Resolved,
        (true, false) => Why::Alone,
    };
    DecidedRef { key: key.clone(), resolution: Some(standing.clone()), by: by.clone(), why, disputed }
}

impl DecidedRef {
    /// The state it explains.
    #[must_use]
    pub fn state(&self) -> RefState {
        match &self.resolution {
            None => RefState::Pending,
            Some(resolution) => RefState::Resolved { resolution: resolution.clone(), stamp: self.by.stamp },
        }
    }
}
