//! What operators ask a node about its cluster, and tell it to do there.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::{Value, json};

use crate::exit::Exit;
use crate::fake_node::FakeNode;

#[tokio::test(start_paused = true)]
async fn a_status_is_a_table_and_a_summary_and_for_programs_the_body() {
    let node = FakeNode::new();
    let run = node.run(&["status"]).await;
    let lines: Vec<&str> = run.answers.lines().collect();
    assert_eq!((run.exit, lines.len()), (Exit::Done, 7), "{lines:?}");
    assert!(lines[1].starts_with("00c0ffee00c0ffee  eu      ready  this node"), "{lines:?}");
    assert!(lines[2].ends_with("equal") && lines[3].ends_with("unknown"), "{lines:?}");
    assert_eq!(lines[5], "3 members, and something is wrong:");
    assert_eq!(lines[6], "  00000000000000d0 in us is down; has not told yet what it has");
    let run = node.run(&["status", "--output", "json"]).await;
    let status: Value = serde_json::from_str(&run.answers).unwrap();
    assert_eq!((&status["digest"], &status["members"][1]["digest"]), (&json!("d"), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_watched_is_shown_until_it_is_refused() {
    for output in ["text", "json"] {
        let node = FakeNode::new();
        *node.requests_left.lock().unwrap() = Some(3);
        let began = tokio::time::Instant::now();
        let run = node.run(&["status", "--watch", "--output", output]).await;
        assert_eq!((run.exit, began.elapsed().as_secs()), (Exit::Config, 3), "once a second");
        let lines = run.answers.lines().filter(|line| line.contains("00c0ffee00c0ffee"));
        assert_eq!(lines.count(), 3, "{}", run.answers);
        assert!(!run.answers.contains('\u{1b}'), "this is no terminal");
        if output == "json" {
            assert!(run.answers.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_watched_outlasts_a_node_that_is_away() {
    let node = FakeNode::new();
    node.is_down.store(true, SeqCst);
    let back = {
        let node = node.clone();
        async move {
            tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
            *node.requests_left.lock().unwrap() = Some(1);
            node.is_down.store(false, SeqCst);
        }
    };
    let (run, ()) = tokio::join!(node.run(&["status", "--watch"]), back);
    assert_eq!((run.exit, run.answers.matches("3 members").count()), (Exit::Config, 1));
    assert_eq!(run.remarks.matches("still trying").count(), 3, "{}", run.remarks);
    assert_eq!(node.run(&["status"]).await.exit, Exit::Config);
}

#[tokio::test(start_paused = true)]
async fn members_are_listed_with_their_addresses() {
    let node = FakeNode::new();
    let run = node.run(&["members"]).await;
    assert_eq!(run.exit, Exit::Done);
    assert!(run.answers.contains("00000000000000b0  us      b:7172  b:7171     alive"), "{}", run.answers);
    let status: Value = serde_json::from_str(&node.run(&["members", "--output", "json"]).await.answers).unwrap();
    assert_eq!(status["members"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_says_so_and_one_that_cannot_says_that_it_stays() {
    let node = FakeNode::new();
    let run = node.run(&["leave"]).await;
    assert_eq!((run.exit, run.answers.as_str()), (Exit::Transient, ""));
    assert!(run.remarks.contains("plimsoll status"), "{}", run.remarks);
    assert!(!run.remarks.contains("--ack") && !run.remarks.contains("stands"), "{}", run.remarks);
    node.is_busy.store(false, SeqCst);
    let run = node.run(&["leave"]).await;
    assert_eq!(run.exit, Exit::Done);
    assert!(run.answers.starts_with("http://0 has left the cluster for good"), "{}", run.answers);
    let run = node.run(&["leave", "--output", "json"]).await;
    assert_eq!(run.answers, "{\"left\":true,\"url\":\"http://0\"}\n");
}

#[tokio::test(start_paused = true)]
async fn which_of_several_nodes_leaves_is_not_left_to_chance() {
    let [near, far] = [FakeNode::at_distance("a", 1), FakeNode::at_distance("b", 50)];
    let run = FakeNode::run_at(&[near.clone(), far.clone()], &["leave"]).await;
    assert_eq!(run.exit, Exit::Config);
    assert!(run.remarks.contains("--url"), "{}", run.remarks);
    for node in [near, far] {
        assert_eq!(node.requests.lock().unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_is_forgotten_unless_it_is_there_or_nobody_knows_it() {
    let node = FakeNode::new();
    let run = node.run(&["forget", "00000000000000d0"]).await;
    assert_eq!((run.exit, run.answers.as_str()), (Exit::Done, "forgot 00000000000000d0\n"));
    let run = node.run(&["forget", "00000000000000b0"]).await;
    assert_eq!(run.exit, Exit::Conflict);
    assert!(run.remarks.contains("plimsoll leave"), "{}", run.remarks);
    let run = node.run(&["forget", "00000000000000aa"]).await;
    assert_eq!(run.exit, Exit::Refused);
    assert!(run.remarks.contains("plimsoll members"), "{}", run.remarks);
    let asked = node.requests.lock().unwrap().len();
    assert_eq!(node.run(&["forget", "b"]).await.exit, Exit::Refused);
    assert_eq!(node.requests.lock().unwrap().len(), asked, "what is no node id is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_may_not_is_told_which_scope_it_lacks() {
    let node = FakeNode::new();
    node.is_forbidden.store(true, SeqCst);
    for line in [&["status"][..], &["status", "--watch"], &["members"], &["leave"], &["forget", "00000000000000d0"]] {
        let run = node.run(line).await;
        assert_eq!((run.exit, run.answers.as_str()), (Exit::Config, ""), "{line:?}");
        assert!(run.remarks.contains("the scope `admin`") && run.remarks.contains("PLIMSOLL_TOKEN"), "{}", run.remarks);
    }
}
