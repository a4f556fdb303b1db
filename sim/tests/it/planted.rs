//! Bugs that are put back are found: each with a seed that finds it (`docs/simulation-bugs.md`). Another seed may be needed once
//! clients or faults are drawn otherwise.

use plimsoll_domain::planted::Bug;

use super::{simulate, text};

/// A bug, what finds it, and a promise that is broken then.
const FOUND: [(&str, &[&str], &str); 17] = [
    ("greater-stamp-kept", &["--seed", "1"], "forward"),
    ("ack-before-sync", &["--seed", "16"], "keep"),
    ("conflict-without-asking", &["--seed", "1"], "honest"),
    ("pending-over-resolved", &["--seed", "1"], "converge"),
    ("digest-left-out", &["--seed", "115"], "honest"),
    ("high-water-not-persisted", &["--seed", "83"], "forward"),
    ("drift-bound-off", &["--seed", "27"], "fenced"),
    ("tombstone-collected-early", &["--seed", "62"], "gone"),
    ("bucket-skipped", &["--seed", "1"], "live"),
    ("batch-half-applied", &["--seed", "102"], "converge"),
    ("relay-loses", &["--seed", "2"], "honest"),
    ("contains-too-early", &["--seed", "7"], "honest"),
    ("watermark-before-facts", &["wrong-clock", "--seed", "1"], "honest"),
    ("retired-comes-back", &["--seed", "13"], "converge"),
    ("fence-off", &["wrong-clock", "--seed", "1"], "fenced"),
    ("tenant-left-out", &["--seed", "2"], "private"),
    ("departed-uncounted", &["leaves", "--seed", "3"], "honest"),
];

#[test]
fn a_bug_that_is_put_back_is_found() {
    assert_eq!(FOUND.map(|(name, ..)| name.to_owned()), Bug::ALL.map(|bug| bug.to_string()));
    for (name, arguments, promise) in FOUND {
        let seconds: &[&str] = if arguments[0] == "--seed" { &["--seconds", "10"] } else { &[] };
        let run = |bug: &[&str]| simulate(&[&["run"], arguments, seconds, bug].concat());
        let found = run(&["--bug", name]);
        assert_eq!(found.status.code(), Some(1), "{name}: {}", text(&found));
        assert!(text(&found).contains(&format!("promise: {promise}: ")), "{name}: {}", text(&found));
        assert!(run(&[]).status.success(), "{name} is what breaks it");
    }
}

/// What is kept in `sim/regressions` still runs into what it was kept for.
#[test]
fn a_regression_breaks_with_its_bug() {
    for (file, seed) in [("left-behind-a-cut", "6"), ("left-while-stalled", "81")] {
        let file = format!("{}/regressions/{file}-{seed}.toml", env!("CARGO_MANIFEST_DIR"));
        let found = simulate(&["run", &file, "--seed", seed, "--bug", "departed-uncounted"]);
        assert!(text(&found).contains("promise: honest: "), "{file}: {}", text(&found));
    }
}

#[test]
fn a_bug_that_does_not_exist_is_not_put_back() {
    let output = simulate(&["run", "--seconds", "1", "--bug", "none-such"]);
    assert!(!output.status.success() && text(&output).contains("none-such"), "{}", text(&output));
}
