//! What is kept of a run that fails: the smallest one, and its page.

use std::path::Path;
use std::process::Output;

use plimsoll_sim::scenario::file::read;
use tempfile::TempDir;

use super::{simulator, text};

/// No post travels to another region in less than a millisecond. The faults break no promise.
const HASTY: &str = r#"
name = "hasty"
lasting = "2s"
assert = ['cursor_lag p50 below "1ms"']

[[region]]
name = "eu"

[[region]]
name = "us"

[workload]
watches = 5

[[fault]]
at = "500ms"
until = "700ms"
cut = ["eu", "us"]

[swarm]
at_most = 4
kinds = ["slow_disk"]
"#;

const SLOW_ENOUGH: &str = "below \"1h\"";

fn folder(scenario: &str) -> TempDir {
    let folder = TempDir::new().expect("a folder can be made");
    std::fs::write(folder.path().join("mine.toml"), scenario).expect("the folder can be written to");
    folder
}

fn simulate_in(folder: &TempDir, arguments: &[&str]) -> Output {
    simulator(arguments).current_dir(folder.path()).output().expect("the binary can be run")
}

fn file(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_failing_run_is_shrunk_shown_and_told() {
    let folder = folder(HASTY);
    let arguments = ["--shrink", "--timeline", "run.html", "--junit", "junit.xml", "--trace", "lines"];
    let output = simulate_in(&folder, &[&["run", "mine.toml", "--seed", "3", "--seeds", "2"], &arguments[..]].concat());
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    let again = "again: plimsoll-sim run hasty-3-smallest.toml --seed 3\n";
    let expected = ["breaks assertion cursor_lag p50 below 1ms: hasty-3-smallest.toml\n", again, "seed 3: run.html\n"];
    for part in expected {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let junit = file(folder.path(), "junit.xml");
    let (first, second) = junit.split_once("</testcase>").unwrap();
    for name in ["hasty-3-smallest.toml", "run.html"] {
        assert!(first.contains(name) && !second.contains(name), "{junit}");
    }
    let page = file(folder.path(), "run.html");
    assert!(page.contains("cursor_lag p50 below 1ms: is ") && page.contains("hasty-3-smallest.toml --seed 3"));
    assert!(!file(folder.path(), "lines").is_empty());
}

#[test]
fn the_smallest_run_fails_again() {
    let folder = folder(HASTY);
    let output = simulate_in(&folder, &["run", "mine.toml", "--seed", "3", "--shrink", "--shrunk", "small.toml"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let small = read("small.toml", &file(folder.path(), "small.toml")).unwrap();
    assert!(small.swarm.is_none() && small.schedule.is_empty(), "no fault is needed for it");
    assert_eq!((small.name.as_str(), small.lasting.as_secs(), small.workload.reads), ("hasty", 1, 0.0));
    let runs = [(), ()].map(|()| text(&simulate_in(&folder, &["run", "small.toml", "--seed", "3", "--twice"])));
    let is_told = |line: &&str| line.starts_with("seed ") || line.starts_with("  assertion: ");
    let [one, other] = runs.each_ref().map(|told| told.lines().filter(is_told).collect::<Vec<_>>());
    assert_eq!((one.len(), &one), (2, &other), "{runs:?}");
    // As it was told when it was found.
    assert!(text(&output).contains(one[1]), "{}\n{runs:?}", text(&output));
}

#[test]
fn seeking_ends_with_its_runs() {
    let folder = folder(HASTY);
    let output = simulate_in(&folder, &["run", "mine.toml", "--seed", "3", "--shrink", "--shrink-runs", "1"]);
    assert!(text(&output).contains("; 1 runs, more than --shrink-runs would be needed"), "{}", text(&output));
    let small = read("small.toml", &file(folder.path(), "hasty-3-smallest.toml")).unwrap();
    assert!(small.unposted.is_empty() && small.lasting.as_secs() == 2, "as it was, with its faults written out");
}

#[test]
fn of_sound_runs_the_last_is_shown_and_none_shrunk() {
    let folder = folder(&HASTY.replace("below \"1ms\"", SLOW_ENOUGH));
    let arguments = ["run", "mine.toml", "--seed", "1", "--seeds", "2", "--shrink", "--timeline", "run.html"];
    let output = simulate_in(&folder, &arguments);
    assert!(output.status.success(), "{}", text(&output));
    assert!(file(folder.path(), "run.html").contains("<title>hasty, seed 2</title>"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the scenario and the page");
}

#[test]
fn what_cannot_be_written_is_told_and_the_rest_is_done() {
    let folder = folder(&HASTY.replace("below \"1ms\"", SLOW_ENOUGH));
    let arguments = ["run", "mine.toml", "--timeline", "no/such/run.html", "--junit", "junit.xml"];
    let output = simulate_in(&folder, &arguments);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("cannot write no/such/run.html"), "{}", text(&output));
    assert!(file(folder.path(), "junit.xml").contains("failures=\"0\""));
}
