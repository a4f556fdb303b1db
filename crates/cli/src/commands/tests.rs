//! Commands against a node in memory.

mod cluster;

use std::fs;
use std::sync::atomic::Ordering::SeqCst;

use serde_json::Value;

use crate::exit::Exit;
use crate::fake_node::FakeNode;

const TRANSITION: &str = r#"{"artifact_id": "a", "transition_id": "t-1", "status": "s", "produced_refs": []}"#;

#[tokio::test(start_paused = true)]
async fn a_post_tells_whether_it_was_new() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transition.json");
    fs::write(&file, TRANSITION).unwrap();
    let file = file.to_str().unwrap();
    let node = FakeNode::new();
    assert_eq!(node.run(&["post", file]).await.answers, "accepted v\n");
    assert_eq!(node.run(&["post", file]).await.answers, "repeated v\n");
    let run = node.run(&["post", file, "--output", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&run.answers).unwrap()["transition_id"], "t-1");
}

#[tokio::test(start_paused = true)]
async fn a_conflict_has_its_exit_code_and_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transition.json");
    fs::write(&file, TRANSITION.replace("\"s\"", "\"taken\"")).unwrap();
    let run = FakeNode::new().run(&["post", file.to_str().unwrap()]).await;
    assert_eq!((run.exit, run.answers.as_str()), (Exit::Conflict, ""));
    assert!(run.remarks.starts_with("plimsoll: cannot post \"t-1\": refused\n"));
    assert!(run.remarks.contains("\n  node: http://0\n"));
    assert!(run.remarks.contains("transition-conflict (409)") && run.remarks.contains("new transition_id"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_not_there_is_a_matter_of_configuration() {
    let run = FakeNode::new().run(&["post", "no-such-file"]).await;
    assert_eq!(run.exit, Exit::Config);
    assert!(run.remarks.contains("no-such-file"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_found_is_told_in_text_without_escapes_and_as_a_problem_document() {
    let node = FakeNode::new();
    let run = node.run(&["get", "nobody"]).await;
    assert_eq!(run.exit, Exit::Refused);
    assert!(run.remarks.contains("nothing here\\u{1b}[2J") && run.remarks.contains("plimsoll list"));
    let run = node.run(&["get", "nobody", "--output", "json"]).await;
    let problem: Value = serde_json::from_str(&run.remarks).unwrap();
    assert_eq!((&problem["type"], &problem["status"]), (&"urn:plimsoll:problem:not-projected".into(), &404.into()));
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_a_page_or_all_of_them() {
    let node = FakeNode::new();
    let run = node.run(&["list"]).await;
    assert_eq!(run.answers, "u  s                 a\n");
    assert!(run.remarks.contains("--page p2"));
    let run = node.run(&["list", "--all"]).await;
    assert_eq!((run.answers.lines().count(), run.remarks.as_str()), (1, ""));
    let page: Value = serde_json::from_str(&node.run(&["list", "--output", "json"]).await.answers).unwrap();
    assert_eq!(page["next"], "p2");
    let item: Value = serde_json::from_str(&node.run(&["list", "--output", "json", "--all"]).await.answers).unwrap();
    assert_eq!(item["artifact_id"], "a");
}

#[tokio::test(start_paused = true)]
async fn a_delete_says_so() {
    let run = FakeNode::new().run(&["delete", "a"]).await;
    assert_eq!((run.exit, run.answers.as_str()), (Exit::Done, "retired a\n"));
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_nothing_is_refused() {
    let node = FakeNode::new();
    assert_eq!(node.run(&["cursor", "a", "--wait", "5"]).await.exit, Exit::Config);
    assert_eq!(node.requests.lock().unwrap().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn completions_are_written_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(FakeNode::new().run(&["completions", shell]).await.answers.contains("plimsoll"), "{shell}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_goes_on_at_another_node_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("transition.json");
    fs::write(&file, TRANSITION.replace("\"s\"", "\"overloaded\"")).unwrap();
    let line = ["post", file.to_str().unwrap()];
    for output in ["text", "json"] {
        let [near, far] = [FakeNode::at_distance("a", 1), FakeNode::at_distance("b", 50)];
        far.is_busy.store(false, SeqCst);
        let run = FakeNode::run_at(&[far.clone(), near], &[&line[..], &["--output", output]].concat()).await;
        assert_eq!((run.exit, far.transitions_held()), (Exit::Done, 1));
        let told = if output == "text" { "plimsoll: http://1: refused; going on at http://0\n" } else { "" };
        assert_eq!(run.remarks, told);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_follows_another_node_prints_that_among_the_changes() {
    for output in ["text", "json"] {
        let [near, far] = [FakeNode::at_distance("a", 1), FakeNode::at_distance("b", 50)];
        for node in [&near, &far] {
            *node.requests_left.lock().unwrap() = Some(1);
        }
        let run = FakeNode::run_at(&[near, far], &["watch", "--output", output]).await;
        assert_eq!(run.exit, Exit::Config, "then the token is refused");
        let lines: Vec<&str> = run.answers.lines().collect();
        if output == "text" {
            assert_eq!((lines[0], lines[2]), ("a-1  a  v", "b-1  a  v"));
            assert!(lines[1].starts_with("moved to http://1: "), "{lines:?}");
        } else {
            let moved: Value = serde_json::from_str(lines[1]).unwrap();
            assert_eq!(moved["moved"], serde_json::json!({"from": "http://0", "to": "http://1"}));
        }
    }
}
