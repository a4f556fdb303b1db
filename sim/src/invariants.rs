//! What must be true of every run (`replication.md`), one property a file. Each is given what clients saw, and what the
//! nodes show once they have come to rest.

pub mod converge;
pub mod forward;
pub mod honest;
pub mod keep;
pub mod once;

use std::collections::BTreeMap;

use crate::history::Seen;

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
}

/// What a node shows in the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copy {
    /// The node.
    pub node: u8,
    /// The hash over all its facts.
    pub digest: String,
    /// By id.
    pub artifacts: BTreeMap<String, Artifact>,
}

/// A property: the name of what was promised, and what breaks it.
pub type Property = (&'static str, fn(&Seen, &[Copy]) -> Vec<String>);

/// All of them.
pub const ALL: [Property; 5] = [
    ("converge", converge::broken),
    ("keep", keep::broken),
    ("once", once::broken),
    ("forward", forward::broken),
    ("honest", honest::broken),
];

/// What of the promises a run has broken, each with its name.
#[must_use]
pub fn broken(seen: &Seen, copies: &[Copy]) -> Vec<String> {
    let broken = ALL.iter().flat_map(|(name, broken)| broken(seen, copies).into_iter().map(move |what| (name, what)));
    broken.map(|(name, what)| format!("{name}: {what}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::history::{Outcome, Posted};

    /// A run in which all is well: one transition, acknowledged, at two nodes.
    pub(crate) fn sound() -> (Seen, Vec<Copy>) {
        let mut seen = Seen::default();
        let transition = json!({"artifact_id": "a", "transition_id": "t-1", "status": "new", "produced_refs": []});
        seen.posted.insert("t-1".into(), Posted { transition, tries: vec![(1, Outcome::Stands)] });
        let shown = Shown { id: "t-1".into(), status: "new".into(), stamp: "1/1".into() };
        let artifact = Artifact { token: "1/1/x".into(), status: "new".into(), transitions: vec![shown] };
        let copy =
            |node| Copy { node, digest: "d".into(), artifacts: BTreeMap::from([("a".into(), artifact.clone())]) };
        (seen, vec![copy(1), copy(2)])
    }

    #[test]
    fn a_run_in_which_all_is_well_breaks_nothing() {
        let (seen, copies) = sound();
        assert_eq!(broken(&seen, &copies), Vec::<String>::new());
    }
}
