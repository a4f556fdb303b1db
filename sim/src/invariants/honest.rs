//! No node says what is not so: a ref that was opened, and of which its emitter was told so, is not unknown
//! (`replication.md`, *Honest*).

use super::Copy;
use crate::history::{Outcome, Seen};

/// Resolutions that were refused for good though what they resolve had been acknowledged before they were posted.
#[must_use]
pub fn broken(seen: &Seen, _: &[Copy]) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, posted) in &seen.posted {
        let resolves = posted.transition["produced_refs"][0]["kind"] == "resolved";
        for (node, outcome) in &posted.tries {
            if let Outcome::Refused { problem, is_final: true } = outcome
                // Emitters resolve only what they were told stands.
                && (resolves || problem != "409 unknown-pending-ref")
            {
                broken.push(format!("n{node} refused {id} for good: {problem}"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::sound;
    use super::*;

    #[test]
    fn a_false_409_is_found() {
        let (mut seen, copies) = sound();
        let posted = seen.posted.get_mut("t-1").unwrap();
        posted.transition["produced_refs"] = json!([{"kind": "resolved"}]);
        posted.tries = vec![(2, Outcome::Refused { problem: "409 unknown-pending-ref".into(), is_final: true })];
        assert_eq!(broken(&seen, &copies), ["n2 refused t-1 for good: 409 unknown-pending-ref"]);
    }
}
