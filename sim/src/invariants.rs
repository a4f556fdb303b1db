//! What must be true of every run (`replication.md`), one property a file. Each is given what clients saw, what the nodes show once
//! they have come to rest, and which disks were lost.

pub mod bounded;
pub mod converge;
pub mod fenced;
pub mod forward;
pub mod gone;
pub mod honest;
pub mod keep;
pub mod once;
pub mod private;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::history::{Posted, Seen, Store, Try};
use crate::verdict::Broken;

/// A transition, as a node's history shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// The status it gave.
    pub status: String,
    /// Its effective stamp.
    pub stamp: String,
}

/// An artifact, as a node shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Artifact {
    /// Its token.
    pub token: String,
    /// Its status.
    pub status: String,
    /// Its history, newest first.
    pub transitions: Vec<Shown>,
    /// Keys of its refs, and whether they are resolved.
    pub refs: BTreeMap<String, bool>,
}

/// What a node shows in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// The node.
    pub node: u8,
    /// By id.
    pub artifacts: BTreeMap<String, Artifact>,
}

impl Copy {
    /// A transition of an artifact, if it shows it.
    #[must_use]
    pub fn shown(&self, artifact: &str, id: &str) -> Option<&Shown> {
        self.artifacts.get(artifact)?.transitions.iter().find(|shown| shown.id == id)
    }
}

/// A store that is no more: its disk was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub store: Store,
    /// When.
    pub at: Duration,
}

/// A run that has come to its end.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// What clients saw.
    pub seen: Seen,
    /// What the nodes show.
    pub copies: Vec<Copy>,
    /// Stores that were lost: not those whose nodes started afresh, which leave nothing out in silence.
    pub losses: Vec<Loss>,
    /// Transitions that were exported by nodes that started afresh.
    pub exported: BTreeSet<String>,
    /// Stores whose nodes started afresh.
    pub parted: BTreeSet<Store>,
    /// Nodes whose clocks were never touched.
    pub right_clocks: BTreeSet<u8>,
    /// Nodes whose clocks were far off, from when to when, while nothing else went wrong.
    pub far_off: Vec<(u8, Duration, Duration)>,
    /// How far ahead of a node's clock a fact may lie.
    pub drift_max: Duration,
}

impl Run {
    /// Whether a transition was acknowledged and nothing happened since that could have taken it away: neither of the disks it
    /// was said to be on was replaced.
    #[must_use]
    pub fn is_promised(&self, posted: &Posted) -> bool {
        posted.acknowledged().any(|one| self.is_safe(one))
    }

    fn is_safe(&self, one: &Try) -> bool {
        let since = self.losses.iter().filter(|loss| loss.at >= one.asked);
        match one.disks {
            0 | 1 => !since.clone().any(|loss| loss.store == one.store),
            disks => since.count() < usize::from(disks),
        }
    }

    /// Whether a transition of this id is at every node.
    #[must_use]
    pub fn is_everywhere(&self, id: &str, posted: &Posted) -> bool {
        self.copies.iter().all(|copy| copy.shown(posted.artifact(), id).is_some())
    }
}

/// Whether an artifact is one that somebody retires.
#[must_use]
pub fn is_retired(artifact: &str) -> bool {
    artifact.starts_with("r-")
}

/// A property: the name of what was promised, and what breaks it.
pub type Property = (&'static str, fn(&Run) -> Vec<String>);

/// All of them but *live*, which is judged where a run does not come to its end.
pub const ALL: [Property; 9] = [
    ("converge", converge::broken),
    ("keep", keep::broken),
    ("once", once::broken),
    ("forward", forward::broken),
    ("honest", honest::broken),
    ("fenced", fenced::broken),
    ("private", private::broken),
    ("gone", gone::broken),
    ("bounded", bounded::broken),
];

/// What of the promises a run has broken, each with its name.
#[must_use]
pub fn broken(run: &Run) -> Vec<Broken> {
    let of =
        |(promise, broken): &Property| broken(run).into_iter().map(|what| Broken { promise, what }).collect::<Vec<_>>();
    ALL.iter().flat_map(of).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::Outcome;

    pub(crate) fn tried(node: u8, outcome: Outcome) -> Try {
        let (asked, told) = (Duration::from_secs(1), Duration::from_secs(2));
        Try { store: (node, 0), asked, told, disks: 1, outcome, stamp: None }
    }

    /// A run in which all is well: one transition, acknowledged, at two nodes.
    pub(crate) fn sound() -> Run {
        let transition = json!({"artifact_id": "a", "transition_id": "t-1", "status": "new", "produced_refs": []});
        let tries = vec![tried(1, Outcome::Stands)];
        let posted = Posted { transition, region: "eu".into(), resolves: None, asked: 1, tries };
        let shown = Shown { id: "t-1".into(), status: "new".into(), stamp: "1/1".into() };
        let artifact =
            Artifact { token: "1/1/x".into(), status: "new".into(), transitions: vec![shown], ..Artifact::default() };
        let copy = |node| Copy { node, artifacts: BTreeMap::from([("a".into(), artifact.clone())]) };
        Run {
            seen: Seen { posted: BTreeMap::from([("t-1".into(), posted)]), ..Seen::default() },
            copies: vec![copy(1), copy(2)],
            drift_max: Duration::from_millis(500),
            ..Run::default()
        }
    }

    pub(crate) fn lost(node: u8, second: u64) -> Loss {
        Loss { store: (node, 0), at: Duration::from_secs(second) }
    }

    #[test]
    fn a_run_in_which_all_is_well_breaks_nothing() {
        assert_eq!(broken(&sound()), []);
    }

    #[test]
    fn what_was_on_a_disk_that_is_gone_is_not_promised() {
        let mut run = sound();
        let promised = |run: &Run| run.is_promised(&run.seen.posted["t-1"]);
        run.losses = vec![lost(1, 0), lost(2, 5)];
        assert!(promised(&run), "before it was asked, and another one's");
        run.losses.push(lost(1, 5));
        assert!(!promised(&run));
        run.seen.posted.get_mut("t-1").unwrap().tries[0].disks = 3;
        assert!(promised(&run), "two of three are gone");
    }
}
