//! What was acknowledged is there, at every node, as it was posted (`replication.md`, *Keep*).

use super::{Run, is_retired};

/// Acknowledged transitions that a node does not show, or shows otherwise. Those that a node exported when it started afresh were
/// not dropped in silence; those of artifacts that are retired are another matter ([`super::gone`]).
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, posted) in &run.seen.posted {
        if is_retired(posted.artifact()) || run.exported.contains(id) || !run.is_promised(posted) {
            continue;
        }
        let status = posted.transition["status"].as_str().unwrap_or_default();
        for copy in &run.copies {
            if copy.shown(posted.artifact(), id).is_none_or(|shown| shown.status != status) {
                broken.push(format!("{id} was acknowledged, and n{} does not show it", copy.node));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lost, sound};
    use super::*;
    use crate::history::Outcome;

    #[test]
    fn what_is_lost_or_changed_is_found_and_what_nobody_was_told_is_not_missed() {
        let mut run = sound();
        run.copies[1].artifacts.clear();
        let missing = ["t-1 was acknowledged, and n2 does not show it"];
        assert_eq!(broken(&run), missing);
        run.exported.insert("t-1".into());
        assert_eq!(broken(&run), [""; 0], "it was exported");
        run.exported.clear();
        run.losses = vec![lost(1, 9)];
        assert_eq!(broken(&run), [""; 0], "its disk is gone");
        run.losses.clear();
        assert_eq!(broken(&run), missing);
        run.seen.posted.get_mut("t-1").unwrap().tries[0].outcome = Outcome::Unknown;
        assert_eq!(broken(&run), [""; 0], "nobody was told");
        let mut run = sound();
        run.copies[0].artifacts.get_mut("a").unwrap().transitions[0].status = "old".into();
        assert_eq!(broken(&run).len(), 1);
    }
}
