//! Runs of fixed seeds.

use super::{simulate, text};

/// Under all kinds of faults.
#[test]
fn clusters_keep_their_promises() {
    let output = simulate(&["run", "--seed", "1", "--seeds", "12", "--seconds", "8"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).matches(": sound;").count(), 12, "{}", text(&output));
}

/// Byte for byte, messages between hosts included.
#[test]
fn a_seed_is_one_run() {
    let output = simulate(&["run", "--seed", "1", "--seeds", "4", "--seconds", "5", "--twice"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn two_seeds_are_two_runs() {
    let runs = ["1", "2"].map(|seed| text(&simulate(&["run", "--seed", seed, "--seconds", "2"])));
    assert_ne!(runs[0].lines().next(), runs[1].lines().next());
}

#[test]
fn what_cannot_be_run_is_said() {
    let output = simulate(&["run", "--nodes", "1"]);
    assert!(!output.status.success() && text(&output).contains("2..=100"), "{}", text(&output));
}
