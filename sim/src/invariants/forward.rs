//! Nothing goes back: what a node shows of an artifact never gets older, and in the end the latest transition stands
//! (`replication.md`, *Forward*).

use super::Copy;
use crate::history::Seen;

/// Tokens that went back, and artifacts that do not show their latest transition.
#[must_use]
pub fn broken(seen: &Seen, copies: &[Copy]) -> Vec<String> {
    let mut broken = seen.regressions.clone();
    for copy in copies {
        for (id, artifact) in &copy.artifacts {
            let latest = artifact.transitions.iter().max_by(|one, other| one.stamp.cmp(&other.stamp));
            if latest.is_some_and(|latest| latest.status != artifact.status) {
                broken.push(format!("n{} shows {id} as {}, which is not its latest", copy.node, artifact.status));
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
        let (mut seen, mut copies) = sound();
        seen.regressions.push("n1 showed a as of 2, and then as of 1".into());
        let later = Shown { id: "t-2".into(), status: "done".into(), stamp: "2/1".into() };
        copies[1].artifacts.get_mut("a").unwrap().transitions.push(later);
        assert_eq!(broken(&seen, &copies).len(), 2);
    }
}
