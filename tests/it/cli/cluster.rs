//! `plimsoll status`, `members`, `leave` and `forget`.

use plimsoll_tests::cli::{command, finish, run};
use plimsoll_tests::node::READ_TOKEN;
use serde_json::{Value, json};

use super::dev::Dev;
use super::node;

#[test]
fn a_node_alone_has_a_status_and_no_cluster() {
    let (node, _data) = node();
    let status = run(&node.url, &["status"]).json();
    assert_eq!((&status["state"], &status["cluster"], &status["members"]), (&json!("ready"), &Value::Null, &json!([])));
    assert_eq!(run(&node.url, &["members"]).json()["node_id"], status["node_id"]);
    let refused = run(&node.url, &["leave"]);
    assert_eq!((refused.code, &refused.problem()["status"]), (5, &json!(404)));
}

#[test]
fn it_takes_a_token_of_an_operator() {
    let (node, _data) = node();
    for line in [&["status"][..], &["status", "--watch"], &["members"], &["leave"], &["forget", "00c0ffee00c0ffee"]] {
        let mut command = command(&node.url, line);
        command.env("PLIMSOLL_TOKEN", READ_TOKEN);
        let refused = finish(command, "");
        assert_eq!((refused.code, &refused.problem()["status"]), (2, &json!(403)), "{line:?}");
        assert!(refused.remarks.contains("admin"), "{refused:?}");
    }
}

#[test]
fn a_node_leaves_its_cluster_and_the_others_know() {
    let dev = Dev::start(&["--output", "json"]);
    let urls = dev.urls();
    let status = dev.status(&urls[0]);
    let members = status["members"].as_array().unwrap();
    assert_eq!(members.len(), 2);
    let there = members[0]["node_id"].as_str().unwrap();
    let refused = dev.run(&urls[0], &["forget", there]);
    assert_eq!((refused.code, &refused.problem()["status"]), (4, &json!(409)), "it is connected");
    let leaving = dev.status(&urls[1])["node_id"].clone();
    assert_eq!(dev.run(&urls[1], &["leave"]).json()["left"], true);
    let members = || dev.status(&urls[0])["members"].as_array().unwrap().clone();
    let is_gone = |member: &Value| member["node_id"] == leaving && member["state"] == "gone";
    // The others are told before it answers, but whoever does not hear it then hears it from another one.
    dev.until("it is gone", || members().iter().any(is_gone));
    dev.ends_with("INT");
}
