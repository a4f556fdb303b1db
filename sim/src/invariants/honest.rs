//! No node says what is not so: a ref that was opened, and of which its emitter was told so, is not unknown; a node that says it
//! has a transition has it; and what it shows is not older than it says (`replication.md`, *Honest*).

use super::Run;
use crate::history::{Outcome, Posted};

/// Transitions that were refused for good though there was no reason, and words that were not so.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = run.seen.false_words.clone();
    for (id, posted) in run.seen.posted.iter().filter(|(_, posted)| is_to_be_accepted(run, posted)) {
        for one in &posted.tries {
            if let Outcome::Refused { problem, is_final: true } = &one.outcome {
                broken.push(format!("n{} refused {id} for good: {problem}", one.store.0));
            }
        }
    }
    broken
}

/// Emitters post what is to be accepted, and resolve only what they were told stands: unless it has gone with a disk since.
fn is_to_be_accepted(run: &Run, posted: &Posted) -> bool {
    let opener = posted.resolves.as_ref().and_then(|opener| Some((opener, run.seen.posted.get(opener)?)));
    opener.is_none_or(|(id, opener)| run.is_promised(opener) && !run.exported.contains(id))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{lost, sound, tried};
    use super::*;

    #[test]
    fn a_false_409_is_found() {
        let mut run = sound();
        let refused = Outcome::Refused { problem: "409 unknown-pending-ref".into(), is_final: true };
        let mut resolving = run.seen.posted["t-1"].clone();
        (resolving.resolves, resolving.tries) = (Some("t-1".into()), vec![tried(2, refused)]);
        run.seen.posted.insert("t-2".into(), resolving);
        assert_eq!(broken(&run), ["n2 refused t-2 for good: 409 unknown-pending-ref"]);
        run.losses = vec![lost(1, 5)];
        assert_eq!(broken(&run), [""; 0], "the ref may be unknown, its disk is gone");
    }

    #[test]
    fn a_false_word_is_found() {
        let mut run = sound();
        run.seen.false_words.push("n1 said that it has t-1".into());
        assert_eq!(broken(&run).len(), 1);
    }
}
