//! What was acknowledged is there, at every node, as it was posted (`replication.md`, *Keep*).

use super::Copy;
use crate::history::Seen;

/// Acknowledged transitions that a node does not show, or shows otherwise.
#[must_use]
pub fn broken(seen: &Seen, copies: &[Copy]) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, posted) in seen.posted.iter().filter(|(_, posted)| posted.is_acknowledged()) {
        let artifact = posted.transition["artifact_id"].as_str().unwrap_or_default();
        let status = posted.transition["status"].as_str().unwrap_or_default();
        for copy in copies {
            let transitions = copy.artifacts.get(artifact).map(|artifact| artifact.transitions.as_slice());
            let shown = transitions.unwrap_or_default().iter().find(|shown| shown.id == *id);
            if shown.is_none_or(|shown| shown.status != status) {
                broken.push(format!("{id} was acknowledged, and n{} does not show it", copy.node));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;
    use crate::history::Outcome;

    #[test]
    fn what_is_lost_or_changed_is_found_and_what_nobody_was_told_is_not_missed() {
        let (mut seen, mut copies) = sound();
        copies[1].artifacts.clear();
        assert_eq!(broken(&seen, &copies), ["t-1 was acknowledged, and n2 does not show it"]);
        seen.posted.get_mut("t-1").unwrap().tries = vec![(1, Outcome::Unknown)];
        assert_eq!(broken(&seen, &copies), [""; 0]);
        let (seen, mut copies) = sound();
        copies[0].artifacts.get_mut("a").unwrap().transitions[0].status = "old".into();
        assert_eq!(broken(&seen, &copies).len(), 1);
    }
}
