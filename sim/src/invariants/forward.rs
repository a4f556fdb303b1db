//! Nothing goes back: what a node shows of an artifact never gets older, in the end the latest transition stands, and a ref that was
//! resolved is resolved (`replication.md`, *Forward*).

use super::{Run, is_retired};

/// Tokens that went back, artifacts that do not show their latest transition, and resolved refs that are pending.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let mut broken = run.seen.regressions.clone();
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

#[cfg(test)]
mod tests {
    use super::super::Shown;
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn a_token_that_goes_back_and_an_older_winner_are_found() {
        let mut run = sound();
        run.seen.regressions.push("n1 showed a as of 2, and then as of 1".into());
        let later = Shown { id: "t-2".into(), status: "done".into(), stamp: "2/1".into() };
        run.copies[1].artifacts.get_mut("a").unwrap().transitions.push(later);
        assert_eq!(broken(&run).len(), 2);
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
