//! `plimsoll import`, across refusals and interruptions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::cli::{Background, Run, command, finish, run, text};
use plimsoll_tests::node::{Node, OTHER_TOKEN, Start};
use plimsoll_tests::root;
use plimsoll_tests::trace::{resolved, transition};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::node;

/// Enough for several requests.
const LINES: u64 = 12_000;

/// A file to import, and what an import leaves.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(input: &str) -> Self {
        let files = Self { directory: tempfile::tempdir().expect("there is room") };
        fs::write(files.input(), input).expect("there is room");
        files
    }

    fn input(&self) -> PathBuf {
        self.directory.path().join("input.ndjson")
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn refused(&self) -> PathBuf {
        self.directory.path().join("refused.ndjson")
    }

    fn command(&self, url: &str) -> Command {
        let (input, state, refused) = (self.input(), self.state(), self.refused());
        command(url, &["import", text(&input), "--resume", text(&state), "--refused", text(&refused)])
    }

    fn import(&self, node: &Node) -> Run {
        finish(self.command(&node.url), "")
    }

    /// Starts an import, and waits until it has come some way.
    fn begin(&self, node: &Node) -> Background {
        let import = Background::start(self.command(&node.url));
        let began = Instant::now();
        while !self.state().exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "nothing is imported");
            thread::sleep(Duration::from_millis(1));
        }
        import
    }
}

fn many() -> String {
    let line = |n| transition(&format!("a-{}", n % 100), &format!("t-{n}"), &format!("s-{n}"), &[]);
    (0..LINES).map(|n| format!("{}\n", line(n))).collect()
}

fn sum(run: &Run) -> Value {
    serde_json::from_str(&run.answers).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// Each artifact has the status of its last line.
fn check_order(node: &Node) {
    let items = run(&node.url, &["list", "--all"]).lines();
    assert_eq!(items.len(), 100);
    for item in items {
        let artifact = item["artifact_id"].as_str().and_then(|id| id[2..].parse::<u64>().ok()).expect("ours");
        assert_eq!(item["status"], format!("s-{}", LINES - 100 + artifact), "{item}");
    }
}

#[test]
fn the_real_trace_is_imported_and_importing_it_again_changes_nothing() {
    let (node, _data) = node();
    let trace = root().join("crates/cli/data/submitqueue.ndjson");
    let counts = |run: &Run| {
        let sum = run.json();
        ["accepted", "repeated", "refused"].map(|name| sum[name].as_u64().unwrap())
    };
    assert_eq!(counts(&run(&node.url, &["import", text(&trace)])), [848, 0, 0]);
    let before = run(&node.url, &["list", "--all"]).answers;
    assert_eq!(counts(&run(&node.url, &["import", text(&trace)])), [0, 848, 0]);
    assert_eq!(run(&node.url, &["list", "--all"]).answers, before);
}

#[test]
fn an_import_that_is_killed_goes_on_where_it_stopped() {
    let (node, _data) = node();
    let files = Files::new(&many());
    let mut import = files.begin(&node);
    import.signal("KILL");
    import.wait();
    let run = files.import(&node);
    assert_eq!((run.code, &sum(&run)["lines"]), (0, &json!(LINES)));
    let (accepted, repeated) = (sum(&run)["accepted"].as_u64().unwrap(), sum(&run)["repeated"].as_u64().unwrap());
    assert_eq!(accepted + repeated, LINES);
    assert!(repeated <= 2_000, "at most a request is posted again, not {repeated} lines");
    check_order(&node);
}

#[test]
fn an_import_sits_out_that_its_node_is_killed() {
    let (node, data) = node();
    let files = Files::new(&many());
    let mut import = files.begin(&node);
    let address = node.url.strip_prefix("http://").unwrap().to_owned();
    node.kill();
    let node = Start::on(data.path()).at(&address).start().unwrap();
    let answer = import.line().expect("it ends with its sum");
    assert_eq!(import.wait().code(), Some(0));
    assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["lines"], LINES);
    check_order(&node);
}

#[test]
fn a_state_holds_for_one_node_and_one_token_wherever_the_node_listens() {
    let (node, data) = node();
    let files = Files::new(&format!("{}\n", transition("a", "t-1", "s", &[])));
    assert_eq!(files.import(&node).code, 0);
    let mut as_other = files.command(&node.url);
    as_other.env("PLIMSOLL_TOKEN", OTHER_TOKEN);
    let refused = finish(as_other, "");
    assert_eq!(refused.code, 2);
    assert!(refused.remarks.contains("another token"), "{refused:?}");
    assert!(node.stop().success());
    let moved = Start::on(data.path()).start().unwrap();
    assert_eq!(sum(&files.import(&moved))["accepted"], 1);
    let (stranger, _other_data) = super::node();
    let refused = files.import(&stranger);
    assert_eq!(refused.code, 2);
    assert!(refused.remarks.contains("another node"), "{refused:?}");
}

#[test]
fn refused_lines_are_reported_and_the_others_imported() {
    let (node, _data) = node();
    let good = transition("a", "t-1", "s", &[]);
    let conflict = transition("a", "t-2", "s", &[resolved("nobody", 1)]);
    let files = Files::new(&format!("{good}\n{conflict}\n"));
    let run = files.import(&node);
    assert_eq!((run.code, &sum(&run)["accepted"], &sum(&run)["conflicts"]), (4, &json!(1), &json!(1)));
    let told: Value = serde_json::from_str(run.remarks.lines().next().unwrap()).unwrap();
    assert_eq!((&told["line"], &told["type"]), (&json!(2), &json!("urn:plimsoll:problem:unknown-pending-ref")));
    let bad = transition("a", "", "s", &[]);
    append(&files.input(), &format!("{bad}\n{}\n", transition("a", "t-3", "s", &[])));
    let run = files.import(&node);
    assert_eq!((run.code, &sum(&run)["accepted"], &sum(&run)["refused"]), (5, &json!(2), &json!(2)));
    assert_eq!(fs::read_to_string(files.refused()).unwrap(), format!("{conflict}\n{bad}\n"));
}

#[test]
fn a_file_that_is_still_written_is_taken_up_at_its_last_whole_line() {
    let (node, _data) = node();
    let [first, second] = ["t-1", "t-2"].map(|id| transition("a", id, id, &[]).to_string());
    let (begun, rest) = second.split_at(30);
    let files = Files::new(&format!("{first}\n{begun}"));
    assert_eq!(files.import(&node).code, 5, "a cut line is no transition");
    append(&files.input(), &format!("{rest}\n"));
    let run = files.import(&node);
    assert_eq!((run.code, &sum(&run)["accepted"], &sum(&run)["refused"]), (0, &json!(2), &json!(0)));
    assert_eq!(fs::read_to_string(files.refused()).unwrap(), "");
}

fn append(file: &Path, more: &str) {
    let before = fs::read_to_string(file).expect("it is there");
    fs::write(file, before + more).expect("there is room");
}
