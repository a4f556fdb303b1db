//! `plimsoll dev`.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::cli::{Background, Run, run, text};
use plimsoll_tests::node::binary;
use serde_json::{Value, json};

use super::NOWHERE;

/// A cluster of `plimsoll dev`, once it has shown all and waits.
pub(super) struct Dev {
    process: Background,
    printed: String,
}

impl Dev {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut command = std::process::Command::new(binary());
        command.args(["dev", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut process = Background::start(command);
        let mut printed = String::new();
        while !printed.contains("/projections/changes") {
            printed.push_str(&process.line().unwrap_or_else(|| panic!("it ended after: {printed}")));
        }
        Self { process, printed }
    }

    fn kept(data: &Path, nodes: &str) -> Self {
        Self::start(&["--output", "json", "--nodes", nodes, "--data-dir", text(data)])
    }

    /// What it has printed, as one value a line.
    fn lines(&self) -> Vec<Value> {
        self.printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The URLs of its nodes.
    pub(super) fn urls(&self) -> Vec<String> {
        serde_json::from_value(self.lines().last().unwrap()["urls"].clone()).unwrap()
    }

    /// Runs a command against one of its nodes.
    pub(super) fn run(&self, url: &str, arguments: &[&str]) -> Run {
        run(url, &[&["--token", "dev-token"], arguments].concat())
    }

    pub(super) fn status(&self, url: &str) -> Value {
        self.run(url, &["status"]).json()
    }

    /// Waits until something holds; far longer than it takes.
    pub(super) fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_mins(1), "{what}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it with a signal, which it does well.
    pub(super) fn ends_with(mut self, signal: &str) {
        self.process.signal(signal);
        assert_eq!(self.process.wait().code(), Some(0));
    }
}

/// Does what a line with `curl` asks for; gives the status.
fn follow(line: &str) -> u16 {
    let (_, bearer) = line.split_once("Bearer ").expect("it has a token");
    let bearer = bearer.split('\'').next().unwrap_or_default();
    let url = line.split_whitespace().last().expect("it ends with the URL").trim_matches('\'');
    // The body is not read: that of the changes has no end.
    let answer = ureq::get(url).header("authorization", format!("Bearer {bearer}")).call();
    answer.expect("it is answered").status().as_u16()
}

/// How many different tokens the nodes have, in each step that shows them.
fn tokens(lines: &[Value]) -> Vec<usize> {
    let steps = lines.iter().filter(|line| line["shows"].is_string() && line["nodes"].is_array());
    let tokens = |step: &Value| -> BTreeSet<String> {
        let nodes = step["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["committed_version"].as_str().unwrap().to_owned()).collect()
    };
    steps.map(|step| tokens(step).len()).collect()
}

fn answers(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["status"].as_u64()).collect()
}

#[test]
fn it_shows_the_main_job_and_what_it_prints_can_be_done() {
    let dev = Dev::start(&[]);
    let printed = &dev.printed;
    let answers: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix("  ")?.parse::<u16>().ok()).collect();
    assert_eq!(answers, [201, 200, 409, 200], "{printed}");
    assert!(printed.contains("848 transitions accepted") && printed.contains("unknown-pending-ref"), "{printed}");
    for step in 1..=7 {
        assert!(printed.contains(&format!("\n{step}. ")), "no step {step}: {printed}");
    }
    for side in ["eu  approved ", "us  approved ", "ap  changes_requested "] {
        assert!(printed.contains(side), "no {side}: {printed}");
    }
    let token = printed.lines().find_map(|line| line.trim().strip_prefix("token ")).expect("it tells the token").trim();
    let curls: Vec<_> = printed.lines().filter(|line| line.trim().starts_with("curl ")).collect();
    assert_eq!(curls.len(), 4, "{printed}");
    for curl in curls {
        assert!(curl.contains(token), "{curl}");
        assert_eq!(follow(curl), 200, "{curl}");
    }
    dev.ends_with("INT");
}

#[test]
fn a_program_reads_the_show_line_by_line() {
    let dev = Dev::start(&["--output", "json"]);
    let lines = dev.lines();
    assert_eq!(lines[0]["url"], lines.last().unwrap()["url"]);
    assert_eq!(lines[0]["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(lines[1]["imported"], json!({"accepted": 848, "repeated": 0}));
    assert_eq!(answers(&lines), [201, 200, 409, 200]);
    assert_eq!(tokens(&lines), [1, 2, 1], "one state, then two while a node is cut off, then one");
    let healed = lines.iter().rfind(|line| line["equal"].is_object()).expect("it tells that they are equal");
    assert_eq!(healed["equal"]["facts"], 848 + 3);
    for url in dev.urls() {
        assert_eq!(dev.status(&url)["digest"], healed["equal"]["digest"], "{url}");
    }
    dev.ends_with("TERM");
}

#[test]
fn one_node_shows_what_one_can() {
    let dev = Dev::start(&["--output", "json", "--nodes", "1"]);
    let lines = dev.lines();
    assert_eq!((answers(&lines), tokens(&lines), dev.urls().len()), (vec![201, 200, 409, 200], vec![], 1));
    assert_eq!(dev.status(&dev.urls()[0])["members"], json!([]));
    dev.ends_with("INT");
}

#[test]
fn what_is_kept_is_there_again_and_no_node_of_it_is_left_out() {
    let data = tempfile::tempdir().unwrap();
    Dev::kept(data.path(), "2").ends_with("INT");
    let again = Dev::kept(data.path(), "2");
    let lines = again.lines();
    assert_eq!(lines[1]["imported"], json!({"accepted": 0, "repeated": 848}));
    assert_eq!((answers(&lines), tokens(&lines)), (vec![201, 200, 409, 200], vec![1, 2, 1]));
    again.ends_with("INT");
    let refused = run(NOWHERE, &["dev", "--listen", "127.0.0.1:0", "--nodes", "1", "--data-dir", text(data.path())]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.remarks.contains("--nodes 2"), "{refused:?}");
}

#[test]
fn it_can_be_told_to_stop_in_the_middle() {
    let mut command = std::process::Command::new(binary());
    command.args(["dev", "--listen", "127.0.0.1:0"]);
    let mut dev = Background::start(command);
    assert!(dev.line().expect("it introduces itself").contains("3 nodes"));
    dev.signal("INT");
    assert_eq!(dev.wait().code(), Some(0));
}

#[test]
fn it_does_not_serve_other_machines_with_a_token_that_everybody_knows() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let refused = run(NOWHERE, &["dev", "--listen", address]);
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.remarks.contains("plimsoll serve"), "{refused:?}");
    }
}
