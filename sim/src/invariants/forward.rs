//! Nothing goes back: what a node shows of an artifact never gets older, what it stamps is later than all it stamped before, a
//! transition keeps the first stamp it was given, in the end the latest transition stands, and a ref that was resolved is resolved
//! (`replication.md`, *Forward*).

use std::collections::BTreeMap;

use super::{Run, is_retired};
use crate::history::{Store, Try};

/// Tokens that went back, artifacts that do not show their latest transition, and resolved refs that are pending.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = run.seen.regressions.clone();
    broken.append(&mut stamped_backwards(run));
    broken.append(&mut stamped_anew(run));
    for copy in &run.copies {
        for (id, artifact) in &copy.artifacts {
            let latest = artifact.transitions.iter().max_by(|one, other| one.stamp.cmp(&other.stamp));
            if latest.is_some_and(|latest| latest.status != artifact.status) {
                broken.push(format!("n{} shows {id} as {}, which is not its latest", copy.node, artifact.status));
            }
        }
        for (id, posted) in &run.seen.posted {
            let Some(key) = posted.resolves.as_ref().filter(|_| !is_retired(posted.artifact())) else { continue };
            let refs = copy.shown(posted.artifact(), id).and_then(|_| copy.artifacts.get(posted.artifact()));
            if refs.is_some_and(|artifact| artifact.refs.get(key) == Some(&false)) {
                broken.push(format!("n{} shows the ref {key} as pending, which {id} resolved", copy.node));
            }
        }
    }
    broken
}

/// Stamps of a store that are not later than one it had told of before it was asked.
fn stamped_backwards(run: &Run) -> Vec<String> {
    let mut by_store: BTreeMap<Store, Vec<(&Try, &str)>> = BTreeMap::new();
    for one in run.seen.posted.values().flat_map(|posted| &posted.tries) {
        if let Some(stamp) = &one.stamp {
            by_store.entry(one.store).or_default().push((one, stamp));
        }
    }
    let mut broken = Vec::new();
    for ((node, _), mut stamped) in by_store {
        stamped.sort_by_key(|(_, stamp)| *stamp);
        // The latest that was asked for, of those with earlier stamps: whoever was told before that has to have one as early.
        let mut latest: Option<&(&Try, &str)> = None;
        for later in &stamped {
            if let Some((before, stamp)) = latest.filter(|(before, _)| before.asked > later.0.told) {
                broken.push(format!(
                    "n{node} stamped {} at {:?}, and then {stamp} at {:?}",
                    later.1, later.0.told, before.asked
                ));
            }
            if latest.is_none_or(|(before, _)| before.asked < later.0.asked) {
                latest = Some(later);
            }
        }
    }
    broken
}

/// Transitions that are shown with a later stamp than somebody was told of.
fn stamped_anew(run: &Run) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, posted) in
        run.seen.posted.iter().filter(|(_, posted)| run.is_promised(posted) && !is_retired(posted.artifact()))
    {
        let safe = posted.tries.iter().filter(|one| run.is_safe(one) && !run.exported.contains(id));
        let Some(first) = safe.filter_map(|one| one.stamp.as_deref()).min() else { continue };
        let later = |copy: &&super::Copy| copy.shown(posted.artifact(), id).is_some_and(|shown| *shown.stamp > *first);
        broken.extend(
            run.copies
                .iter()
                .filter(later)
                .map(|copy| format!("n{} shows {id} later than {first}, which it was given", copy.node)),
        );
    }
    broken
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Shown;
    use super::super::tests::{sound, tried};
    use super::*;
    use crate::history::Outcome;

    #[test]
    fn a_token_that_goes_back_and_an_older_winner_are_found() {
        let mut run = sound();
        run.seen.regressions.push("n1 showed a as of 2, and then as of 1".into());
        let later = Shown { id: "t-2".into(), status: "done".into(), stamp: "2/1".into() };
        run.copies[1].artifacts.get_mut("a").unwrap().transitions.push(later);
        assert_eq!(broken(&run).len(), 2);
    }

    #[test]
    fn stamps_that_go_back_are_found() {
        let mut run = sound();
        let told = |asked, stamp: &str| Try {
            asked: Duration::from_secs(asked),
            told: Duration::from_secs(asked + 1),
            stamp: Some(stamp.into()),
            ..tried(1, Outcome::Stands)
        };
        let tries = &mut run.seen.posted.get_mut("t-1").unwrap().tries;
        *tries = vec![told(1, "1/1"), told(3, "1/3"), told(6, "1/6")];
        assert_eq!(broken(&run), [""; 0]);
        let tries = &mut run.seen.posted.get_mut("t-1").unwrap().tries;
        tries.push(told(9, "1/5"));
        assert_eq!(broken(&run), ["n1 stamped 1/6 at 7s, and then 1/5 at 9s"]);
    }

    #[test]
    fn a_transition_that_is_stamped_anew_is_found() {
        let mut run = sound();
        run.seen.posted.get_mut("t-1").unwrap().tries[0].stamp = Some("0/9".into());
        assert_eq!(broken(&run).len(), 2, "{:?}", broken(&run));
    }

    #[test]
    fn a_resolved_ref_that_is_pending_is_found() {
        let mut run = sound();
        run.seen.posted.get_mut("t-1").unwrap().resolves = Some("key".into());
        run.copies[0].artifacts.get_mut("a").unwrap().refs.insert("key".into(), true);
        run.copies[1].artifacts.get_mut("a").unwrap().refs.insert("key".into(), false);
        assert_eq!(broken(&run), ["n2 shows the ref key as pending, which t-1 resolved"]);
    }
}
