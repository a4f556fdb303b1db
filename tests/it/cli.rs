//! The commands, as a shell or a script runs them.

mod cluster;
mod dev;
mod import;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::cli::{Background, command, finish, run, run_with, text};
use plimsoll_tests::node::{Node, READ_TOKEN, Start, binary};
use plimsoll_tests::trace::{pending, resolved, transition};
use serde_json::{Value, json};

/// Where nobody listens: port 1 is reserved.
const NOWHERE: &str = "http://127.0.0.1:1";

fn node() -> (Node, tempfile::TempDir) {
    let data = tempfile::tempdir().expect("there is room");
    (Start::on(data.path()).start().expect("it starts"), data)
}

fn post(node: &Node, transition: &Value) -> Value {
    run_with(&node.url, &["post", "-"], &transition.to_string()).json()
}

#[test]
fn what_is_posted_is_read_by_each_command() {
    let (node, _data) = node();
    let first = post(&node, &transition("spec/1", "t-1", "in_review", &[pending("k")]));
    let last = post(&node, &transition("spec/1", "t-2", "merged", &[resolved("k", 7)]));
    assert!(last["committed_version"].as_str() > first["committed_version"].as_str());
    let whole = run(&node.url, &["get", "spec/1"]).json();
    assert_eq!((&whole["status"], &whole["produced_refs"][0]["number"]), (&json!("merged"), &json!(7)));
    let cursor = run(&node.url, &["cursor", "spec/1"]).json();
    assert_eq!(cursor["committed_version"], last["committed_version"]);
    let token = last["committed_version"].as_str().unwrap();
    let unchanged = run(&node.url, &["cursor", "spec/1", "--if-none-match", token]).json();
    assert_eq!(unchanged["unchanged"], true);
    let history = run(&node.url, &["history", "spec/1", "--all"]).lines();
    let ids: Vec<_> = history.iter().map(|entry| entry["transition_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["t-2", "t-1"]);
    let page = run(&node.url, &["history", "spec/1", "--limit", "1"]).json();
    assert_eq!((page["items"].as_array().unwrap().len(), page["next"].is_string()), (1, true));
}

#[test]
fn a_list_is_read_to_its_end() {
    let (node, _data) = node();
    let lines: String =
        (0..25).map(|n| format!("{}\n", transition(&format!("a-{n:02}"), &format!("t-{n}"), "open", &[]))).collect();
    node.post_batch(&lines);
    post(&node, &transition("z", "t-z", "done", &[]));
    let all = run(&node.url, &["list", "--all", "--limit", "10", "--status", "open"]).lines();
    let expected: Vec<_> = (0..25).map(|n| format!("a-{n:02}")).collect();
    assert_eq!(all.iter().map(|item| item["artifact_id"].as_str().unwrap()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_cursor_waits_for_a_transition_that_is_posted_elsewhere() {
    let (node, _data) = node();
    let wait = ["cursor", "spec", "--contains", "t-1", "--wait", "30"];
    let waiting = thread::spawn({
        let command = command(&node.url, &wait);
        move || finish(command, "")
    });
    // Whichever comes first, the wait ends with the transition.
    thread::sleep(Duration::from_millis(200));
    let posted = post(&node, &transition("spec", "t-1", "s", &[]));
    assert_eq!(waiting.join().unwrap().json()["committed_version"], posted["committed_version"]);
    let missing = run(&node.url, &["cursor", "spec", "--contains", "t-2", "--wait", "1"]);
    assert_eq!((missing.code, &missing.problem()["status"]), (3, &json!(504)));
}

#[test]
fn a_watch_sees_what_a_post_changes() {
    let (node, _data) = node();
    let mut watch = Background::start(command(&node.url, &["watch"]));
    let (sender, seen) = mpsc::channel();
    let reader = thread::spawn(move || {
        let line = watch.line().expect("a watch goes on");
        sender.send(serde_json::from_str::<Value>(&line).unwrap()).unwrap();
        watch.signal("INT");
    });
    // It begins at the moment it is connected, which it does not tell: so there is a change until it has seen one.
    let change = (0..60).find_map(|turn| {
        post(&node, &transition("spec", &format!("t-{turn}"), "s", &[]));
        seen.recv_timeout(Duration::from_millis(500)).ok()
    });
    reader.join().unwrap();
    let change = change.expect("it sees a change");
    assert_eq!(change["artifact_id"], "spec");
    assert_eq!(change["committed_version"].as_str().unwrap().len(), 69);
    let from = change["position"].as_str().unwrap();
    post(&node, &transition("another", "t-another", "s", &[]));
    let mut resumed = Background::start(command(&node.url, &["watch", "--from", from]));
    let lines = std::iter::from_fn(|| resumed.line());
    assert!(lines.take(100).any(|line| line.contains("another")), "it goes on where the other stopped");
}

#[test]
fn a_delete_under_a_token_retires_that_state_only() {
    let (node, _data) = node();
    let stale = post(&node, &transition("spec", "t-1", "s", &[]))["committed_version"].as_str().unwrap().to_owned();
    let token = post(&node, &transition("spec", "t-2", "s", &[]))["committed_version"].as_str().unwrap().to_owned();
    let refused = run(&node.url, &["delete", "spec", "--if-match", &stale]);
    assert_eq!((refused.code, &refused.problem()["status"]), (4, &json!(412)));
    assert_eq!(run(&node.url, &["delete", "spec", "--if-match", &token]).json()["retired"], true);
    assert_eq!(run(&node.url, &["get", "spec"]).code, 5);
}

#[test]
fn a_post_under_a_precondition_may_be_repeated() {
    let (node, _data) = node();
    let transition = transition("spec", "t-1", "s", &[]).to_string();
    let posts = [0, 1].map(|_| run_with(&node.url, &["post", "-", "--if-not-projected"], &transition).json());
    assert_eq!(posts[0], posts[1]);
    let other = transition.replace("t-1", "t-2");
    assert_eq!(run_with(&node.url, &["post", "-", "--if-not-projected"], &other).code, 4);
}

#[test]
fn each_failure_has_its_exit_code() {
    let (node, _data) = node();
    let as_whom = |secret: &str, arguments: &[&str]| {
        let mut command = command(&node.url, arguments);
        command.env("PLIMSOLL_TOKEN", secret);
        finish(command, "")
    };
    post(&node, &transition("spec", "t-1", "s", &[]));
    assert_eq!(run(&node.url, &["list"]).code, 0);
    for url in ["https://node.example", "node.example", "http://user@node.example"] {
        assert_eq!(run(url, &["list"]).code, 2, "{url}");
    }
    let unknown = as_whom("nobody", &["list"]);
    assert_eq!((unknown.code, &unknown.problem()["status"]), (2, &json!(401)));
    assert_eq!(as_whom(READ_TOKEN, &["delete", "spec"]).code, 2);
    assert_eq!(as_whom("two words", &["list"]).code, 2);
    let nobody = run(NOWHERE, &["list"]);
    assert_eq!((nobody.code, &nobody.problem()["type"]), (3, &json!("urn:plimsoll:client:unreachable")));
    let taken = transition("spec", "t-1", "another", &[]).to_string();
    let conflict = run_with(&node.url, &["post", "-"], &taken);
    let expected = json!("urn:plimsoll:problem:transition-conflict");
    assert_eq!((conflict.code, &conflict.problem()["type"]), (4, &expected));
    let missing = run(&node.url, &["get", "nobody"]);
    assert_eq!((missing.code, &missing.problem()["status"]), (5, &json!(404)));
    assert_eq!(run_with(&node.url, &["post", "-"], "{").code, 5);
}

#[test]
fn what_one_node_can_never_acknowledge_is_not_asked_for_again() {
    let (node, _data) = node();
    let transition = transition("spec", "t-1", "s", &[]).to_string();
    let began = Instant::now();
    let short = run_with(&node.url, &["post", "-", "--ack", "2"], &transition);
    assert_eq!((short.code, &short.problem()["status"]), (3, &json!(504)));
    assert!(began.elapsed() < Duration::from_secs(3), "it is told at once");
    assert_eq!(node.post(&serde_json::from_str(&transition).unwrap()).status, 200, "the transition stands");
}

#[test]
fn a_variable_that_is_not_unicode_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let data = text(parent.path());
    let not_unicode = || OsString::from_vec(b"\xff".to_vec());
    for (variable, arguments) in [
        ("PLIMSOLL_TOKENS", &["serve", "--listen", "127.0.0.1:0", "--data-dir", data][..]),
        ("PLIMSOLL_TOKEN", &["list"][..]),
        ("PLIMSOLL_URL", &["list"][..]),
    ] {
        let mut command = Command::new(binary());
        command.args(arguments).env(variable, not_unicode());
        assert_eq!(finish(command, "").code, 2, "{variable}");
    }
}

#[test]
fn a_current_data_directory_needs_no_migration() {
    let (node, data) = node();
    post(&node, &transition("spec", "t-1", "s", &[]));
    let held = run(NOWHERE, &["migrate", "--data-dir", text(data.path())]);
    assert_eq!(held.code, 2, "a node uses it: {held:?}");
    assert!(node.stop().success());
    let done = run(NOWHERE, &["migrate", "--data-dir", text(data.path())]).json();
    assert_eq!((&done["from"], &done["rows"]), (&done["to"], &json!(0)));
}

#[test]
fn completions_are_a_script() {
    let script = run(NOWHERE, &["completions", "bash"]);
    assert_eq!(script.code, 0);
    assert!(script.answers.contains("complete -F _plimsoll"));
    for name in ["serve", "post", "import", "watch", "status", "leave", "migrate"] {
        assert!(script.answers.contains(name), "{name}");
    }
}

#[test]
fn a_measurement_needs_a_server_and_a_floor_says_where_it_is() {
    let nobody = run(NOWHERE, &["bench", "cursor", "--max"]);
    assert_eq!((nobody.code, &nobody.problem()["type"]), (3, &json!("urn:plimsoll:client:unreachable")));
    let mut floor = Background::start(command(NOWHERE, &["bench", "floor", "--parse-only", "--listen", "127.0.0.1:0"]));
    let said: Value = serde_json::from_str(&floor.line().unwrap()).unwrap();
    let posted = Node::post_to(said["url"].as_str().unwrap(), &transition("spec", "t-1", "s", &[])).unwrap();
    assert_eq!(posted.status, 201);
}
