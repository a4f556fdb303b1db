//! A transition takes effect once, however often it was tried, and none that nobody posted (`replication.md`, *Once*).

use std::collections::BTreeSet;

use super::Run;

/// Transitions a node shows twice, or that nobody posted.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for copy in &run.copies {
        let mut met = BTreeSet::new();
        for shown in copy.artifacts.values().flat_map(|artifact| &artifact.transitions) {
            if !met.insert(&shown.id) {
                broken.push(format!("n{} shows {} twice", copy.node, shown.id));
            }
            if !run.seen.posted.contains_key(&shown.id) {
                broken.push(format!("n{} shows {}, which nobody posted", copy.node, shown.id));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn what_stands_twice_or_was_never_posted_is_found() {
        let mut run = sound();
        let artifact = run.copies[0].artifacts.get_mut("a").unwrap();
        let again = artifact.transitions[0].clone();
        artifact.transitions.push(again);
        assert_eq!(broken(&run), ["n1 shows t-1 twice"]);
        run.seen.posted.clear();
        assert!(broken(&run).contains(&"n2 shows t-1, which nobody posted".to_owned()));
    }
}
