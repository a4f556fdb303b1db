//! Posting batches.

use bytes::Bytes;
use plimsoll_wire::http::v1::BatchLine;
use plimsoll_wire::problem::{Kind, Problem};
use serde_json::json;

use super::node::{self, Node, Reply};
use super::{TIME, TOKEN};
use crate::{BatchFailure, Cause, Outcome};

const NDJSON: &str = "application/x-ndjson";

fn line(artifact_id: &str, transition_id: &str) -> Bytes {
    let line = json!({"artifact_id": artifact_id, "transition_id": transition_id, "status": "s", "produced_refs": []});
    Bytes::from(line.to_string())
}

fn ok(artifact_id: &str, transition_id: &str) -> String {
    let body = json!({"artifact_id": artifact_id, "transition_id": transition_id, "committed_version": TOKEN, "updated_at": TIME});
    format!("{}\n", json!({"status": 201, "body": body}))
}

fn refused(kind: Kind) -> String {
    format!("{}\n", json!({"status": kind.status(), "body": Problem::new(kind, "as scripted")}))
}

async fn post(script: Vec<Reply>, lines: &[Bytes]) -> (Result<Vec<BatchLine>, Box<BatchFailure>>, Vec<String>) {
    let node = Node::new(script);
    let result = node.client().post_batch(lines).await;
    let bodies = node.finished().iter().map(|request| String::from_utf8(request.body.to_vec()).unwrap()).collect();
    (result, bodies)
}

fn statuses(answers: &[BatchLine]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

fn body(lines: &[Bytes]) -> String {
    lines.iter().map(|line| format!("{}\n", std::str::from_utf8(line).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn each_line_has_its_answer_and_a_refused_one_fails_alone() {
    let lines = [line("a", "1"), line("b", "2"), line("c", "3")];
    let answer = [ok("a", "1"), refused(Kind::InvalidField), ok("c", "3")].concat();
    let (first, rest) = answer.split_at(answer.len() / 2);
    let (result, bodies) = post(vec![Reply::stream(NDJSON, &[first, rest])], &lines).await;
    assert_eq!(statuses(&result.unwrap()), [201, 422, 201]);
    assert_eq!(bodies, [body(&lines)]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_answer_is_taken_up_at_the_first_line_without_one() {
    let lines = [line("a", "1"), line("b", "2"), line("c", "3")];
    let cut = [ok("a", "1"), ok("b", "2")[..20].to_owned()].concat();
    let script = vec![
        Reply::broken_stream(NDJSON, &[&cut]),
        Reply::stream(NDJSON, &[&ok("b", "2")]),
        Reply::Drop,
        Reply::stream(NDJSON, &[]),
        Reply::stream(NDJSON, &[&ok("c", "3")]),
    ];
    let (result, bodies) = post(script, &lines).await;
    assert_eq!(statuses(&result.unwrap()), [201, 201, 201]);
    assert_eq!(bodies, [body(&lines), body(&lines[1..]), body(&lines[2..]), String::new(), body(&lines[2..])]);
}

#[tokio::test(start_paused = true)]
async fn lines_that_may_pass_later_are_posted_again_in_order() {
    let lines = [line("a", "1"), line("b", "2"), line("c", "3"), line("b", "4")];
    let script = vec![
        Reply::stream(NDJSON, &[&ok("a", "1"), &refused(Kind::Overloaded), &ok("c", "3"), &refused(Kind::RateLimited)]),
        Reply::stream(NDJSON, &[&ok("b", "2"), &ok("b", "4")]),
    ];
    let (result, bodies) = post(script, &lines).await;
    assert_eq!(statuses(&result.unwrap()), [201, 201, 201, 201]);
    assert_eq!(bodies[1], body(&[line("b", "2"), line("b", "4")]));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_a_later_transition_has_overtaken_is_not_posted_again() {
    let lines = [line("a", "1"), line("a", "2")];
    let (result, bodies) =
        post(vec![Reply::stream(NDJSON, &[&refused(Kind::RateLimited), &ok("a", "2")])], &lines).await;
    assert_eq!(statuses(&result.unwrap()), [429, 201]);
    assert_eq!(bodies.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_comes_with_the_failure() {
    let lines = [line("a", "1"), line("b", "2")];
    let script = vec![Reply::broken_stream(NDJSON, &[&ok("a", "1")]), Reply::problem(Kind::Unauthenticated)];
    let (result, _) = post(script, &lines).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.answers.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    assert_eq!((failure.error.kind(), failure.error.outcome()), (Some(Kind::Unauthenticated), Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_batch_refused_before_it_is_read_tells_why() {
    let lines: Vec<Bytes> = (0..5_000).map(|index| line(&"x".repeat(200), &index.to_string())).collect();
    let script = (0..2).map(|_| Reply::Early(node::problem(Kind::Unauthenticated))).collect();
    let (result, _) = post(script, &lines).await;
    assert_eq!(result.unwrap_err().error.kind(), Some(Kind::Unauthenticated));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_says_so_in_a_line_of_its_own() {
    let lines = [line("a", "1"), line("a", "2"), line("a", "3")];
    let script = vec![
        Reply::stream(NDJSON, &[&ok("a", "1"), &refused(Kind::NotReady)]),
        Reply::stream(NDJSON, &[&ok("a", "2"), &ok("a", "3"), &refused(Kind::NotReady)]),
    ];
    let (result, bodies) = post(script, &lines).await;
    assert_eq!(statuses(&result.unwrap()), [201, 201, 201]);
    assert_eq!(bodies, [body(&lines), body(&lines[1..])]);
}

#[tokio::test(start_paused = true)]
async fn answers_that_do_not_fit_the_lines_are_refused() {
    for parts in [[ok("a", "1"), ok("b", "2")], ["{}\n".to_owned(), String::new()]] {
        let (result, _) = post(vec![Reply::stream(NDJSON, &[&parts[0], &parts[1]])], &[line("a", "1")]).await;
        assert!(matches!(result.unwrap_err().error.cause(), Cause::UnexpectedAnswer { .. }));
    }
}

#[tokio::test(start_paused = true)]
async fn lines_that_would_shift_the_others_are_not_sent() {
    for lines in [vec![Bytes::from_static(b"{}\n{}")], vec![Bytes::from_static(b" ")]] {
        let (result, _) = post(vec![], &lines).await;
        assert!(matches!(result.unwrap_err().error.cause(), Cause::InvalidArgument { .. }));
    }
    let (result, bodies) = post(vec![], &[]).await;
    assert_eq!((result.unwrap().len(), bodies.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_the_node_ends_is_taken_up_at_the_line_it_ended_at() {
    let lines = [line("a", "1"), line("a", "2"), line("a", "3")];
    let script = vec![
        Reply::stream(NDJSON, &[&ok("a", "1"), &refused(Kind::RateLimited)]),
        Reply::stream(NDJSON, &[&refused(Kind::Overloaded)]),
        Reply::stream(NDJSON, &[&refused(Kind::InvalidField), &ok("a", "3")]),
    ];
    let (result, bodies) = post(script, &lines).await;
    assert_eq!(statuses(&result.unwrap()), [201, 422, 201]);
    assert_eq!(bodies, [body(&lines), body(&lines[1..]), body(&lines[1..])]);
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_ends_the_batch_at_its_line_and_is_not_waited_for() {
    let lines = [line("a", "1"), line("a", "2"), line("a", "3")];
    let script = vec![Reply::stream(NDJSON, &[&refused(Kind::QuotaExceeded), &refused(Kind::DiskFull)])];
    let (result, _) = post(script, &lines).await;
    let failure = result.unwrap_err();
    assert_eq!(failure.answers.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(failure.error.kind(), Some(Kind::DiskFull));
}
