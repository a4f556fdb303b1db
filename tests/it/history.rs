//! The judge of what clients saw finds what is planted.

use std::collections::BTreeMap;

use plimsoll_tests::history::{Artifact, Copy, History, Outcome, Record};
use plimsoll_tests::trace::{pending, resolved, transition};
use serde_json::{Value, json};

fn stamp(second: u8) -> String {
    format!("2026-04-22T18:04:{second:02}.000000000+00:00/00c0ffee00c0ffee")
}

fn accepted(second: u8) -> Outcome {
    Outcome::Accepted(stamp(second))
}

fn refused(status: u16, problem: &str) -> Outcome {
    Outcome::Refused { status, problem: problem.to_owned() }
}

/// Requests one after the other: the transitions of one artifact, by number, and what came of each.
fn history(requests: Vec<(Value, Outcome)>) -> History {
    let history = History::default();
    for (step, (transition, outcome)) in (0..).zip(requests) {
        history.record(Record { transition, outcome, begun: 2 * step, ended: 2 * step + 1 });
    }
    history
}

fn posted(number: u8) -> Value {
    transition("a", &format!("t-{number}"), &format!("s-{number}"), &[pending(&format!("k-{number}"))])
}

/// What a node holds that took these in these seconds.
fn copy(transitions: &[(u8, u8)]) -> Copy {
    let shown = |(number, second): &(u8, u8)| json!({"transition_id": format!("t-{number}"), "status": format!("s-{number}"), "stamp": stamp(*second)});
    let last = transitions.iter().max_by_key(|(_, second)| *second).unwrap();
    let refs: Vec<Value> = transitions.iter().map(|(number, _)| pending(&format!("k-{number}"))).collect();
    let projection = json!({
        "artifact_id": "a", "transition_id": format!("t-{}", last.0), "status": format!("s-{}", last.0),
        "produced_refs": refs,
    });
    let artifact = Artifact { projection, transitions: transitions.iter().map(shown).collect() };
    Copy {
        node: "node 1".to_owned(),
        digest: format!("{transitions:?}"),
        facts: transitions.len() as u64,
        artifacts: BTreeMap::from([("a".to_owned(), artifact)]),
    }
}

/// The one thing that is wrong.
#[track_caller]
fn only(history: &History, copy: Copy, wrong: &str) {
    let violations = history.violations(&[copy]);
    assert!(violations.len() == 1 && violations[0].contains(wrong), "{wrong:?} is wanted: {violations:?}");
}

fn two() -> History {
    history(vec![(posted(1), accepted(1)), (posted(2), accepted(2))])
}

#[test]
fn what_is_right_is_found_to_be_right() {
    assert_eq!(two().violations(&[copy(&[(1, 1), (2, 2)]), copy(&[(1, 1), (2, 2)])]), Vec::<String>::new());
}

/// It may be there, also last, or not.
#[test]
fn what_is_unknown_may_be_there_or_not() {
    let unknown = || history(vec![(posted(1), accepted(1)), (posted(2), Outcome::Unknown), (posted(3), accepted(3))]);
    assert_eq!(unknown().violations(&[copy(&[(1, 1), (3, 3)])]), Vec::<String>::new());
    assert_eq!(unknown().violations(&[copy(&[(1, 1), (2, 2), (3, 3)])]), Vec::<String>::new());
    assert_eq!(unknown().violations(&[copy(&[(1, 1), (2, 9), (3, 3)])]), Vec::<String>::new());
}

#[test]
fn what_was_acknowledged_and_is_lost_is_found() {
    let mut lacking = copy(&[(2, 2)]);
    lacking.artifacts.get_mut("a").unwrap().projection["produced_refs"] = json!([pending("k-1"), pending("k-2")]);
    only(&two(), lacking, "t-1 was acknowledged, and is not there");
    let stands = history(vec![(posted(1), Outcome::Stands), (posted(2), accepted(2))]);
    assert_eq!(stands.violations(&[copy(&[(2, 2)])]).len(), 2, "the transition, and its ref");
    assert!(!two().violations(&[Copy { digest: String::new(), ..Copy::default() }]).is_empty());
}

#[test]
fn a_zombie_is_found() {
    // Both are there, and the earlier shows, for its stamp is the greater: what the answer did not say.
    let zombie = history(vec![(posted(1), Outcome::Stands), (posted(2), accepted(2))]);
    only(&zombie, copy(&[(1, 3), (2, 2)]), "a zombie");
    // The last of the history does not show.
    let mut stale = copy(&[(1, 1), (2, 2)]);
    let projection = &mut stale.artifacts.get_mut("a").unwrap().projection;
    (projection["status"], projection["transition_id"]) = (json!("s-1"), json!("t-1"));
    let violations = two().violations(&[stale]);
    assert!(violations.iter().any(|violation| violation.contains("it shows \"s-1\"")), "{violations:?}");
    assert!(violations.iter().any(|violation| violation.contains("a zombie")), "{violations:?}");
}

#[test]
fn what_nobody_posted_is_found() {
    only(&two(), copy(&[(1, 1), (2, 2), (3, 0)]), "nobody posted t-3");
    let refused = history(vec![(posted(1), accepted(1)), (posted(2), refused(503, "unverifiable-ref"))]);
    only(&refused, copy(&[(1, 1), (2, 0)]), "nobody posted t-2, or it was refused");
    let mut strange = copy(&[(1, 1), (2, 2)]);
    strange.artifacts.insert("b".to_owned(), Artifact::default());
    only(&two(), strange, "nobody posted to b");
    let mut other = copy(&[(1, 1), (2, 2)]);
    other.artifacts.get_mut("a").unwrap().transitions[0]["status"] = json!("s-7");
    only(&two(), other, "another status");
}

#[test]
fn another_stamp_than_was_told_is_found() {
    only(&two(), copy(&[(1, 0), (2, 2)]), "t-1 was told to have the stamp");
}

#[test]
fn copies_that_differ_are_found() {
    let other = Copy { digest: "another".to_owned(), ..copy(&[(1, 1), (2, 2)]) };
    let violations = two().violations(&[copy(&[(1, 1), (2, 2)]), other]);
    assert!(violations.len() == 1 && violations[0].contains("different facts"), "{violations:?}");
    let fewer = Copy { facts: 1, ..copy(&[(1, 1), (2, 2)]) };
    only(&two(), fewer, "it has 1 facts, and shows 2");
}

#[test]
fn a_ref_that_is_lost_or_open_again_is_found() {
    let closing = transition("a", "t-3", "s-3", &[resolved("k-1", 5)]);
    let history = history(vec![(posted(1), accepted(1)), (closing, accepted(3))]);
    let mut held = copy(&[(1, 1), (3, 3)]);
    let refs = |held: &mut Copy, refs: Value| held.artifacts.get_mut("a").unwrap().projection["produced_refs"] = refs;
    refs(&mut held, json!([resolved("k-1", 5)]));
    assert_eq!(history.violations(&[held.clone()]), Vec::<String>::new());
    refs(&mut held, json!([pending("k-1")]));
    only(&history, held, "was acknowledged, and is not there");
}

#[test]
fn a_409_for_what_was_open_is_found() {
    let closing = || transition("a", "t-3", "s-3", &[resolved("k-1", 5)]);
    let unknown = || refused(409, "unknown-pending-ref");
    only(&history(vec![(posted(1), accepted(1)), (closing(), unknown())]), copy(&[(1, 1)]), "t-3 was refused");
    // It came before, or nobody knew that it was open.
    let before = history(vec![(closing(), unknown()), (posted(1), accepted(1))]);
    assert_eq!(before.violations(&[copy(&[(1, 1)])]), Vec::<String>::new());
    let lost = history(vec![(posted(1), Outcome::Unknown), (closing(), unknown()), (posted(2), accepted(2))]);
    assert_eq!(lost.violations(&[copy(&[(1, 1), (2, 2)])]), Vec::<String>::new());
    // A node may say that it cannot tell.
    let silent = history(vec![(posted(1), accepted(1)), (closing(), refused(503, "unverifiable-ref"))]);
    assert_eq!(silent.violations(&[copy(&[(1, 1)])]), Vec::<String>::new());
    only(&history(vec![(posted(1), accepted(1)), (posted(2), refused(422, "x"))]), copy(&[(1, 1)]), "422 x");
}
