//! The client against a node that answers by a script, in paused time.

mod batches;
mod cluster;
mod feed;
mod fleet;
mod node;
mod session;
mod world;

use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use node::{Node, Reply};
use plimsoll_wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_wire::problem::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Cause, Client, CursorQuery, CursorState, Outcome, PageQuery, PostOptions, Posted, Precondition, RetryPolicy,
};

const TOKEN: &str = "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
const TIME: &str = "2026-04-22T18:04:11.000000001+00:00";

fn transition() -> PostTransition {
    PostTransition {
        artifact_id: "spec/login".to_owned(),
        transition_id: "t-1".to_owned(),
        status: "in_review".to_owned(),
        produced_refs: vec![ProducedRef::Pending {
            target_repo: "acme/web".to_owned(),
            idempotency_key: "k-1".to_owned(),
        }],
        committed_version: None,
    }
}

fn accepted() -> Value {
    json!({"artifact_id": "spec/login", "transition_id": "t-1", "committed_version": TOKEN, "updated_at": TIME})
}

fn cursor() -> Value {
    json!({"artifact_id": "spec/login", "committed_version": TOKEN, "updated_at": TIME})
}

fn if_match() -> PostOptions {
    PostOptions { precondition: Precondition::Token(TOKEN.to_owned()), ack: None }
}

async fn post(script: Vec<Reply>, options: &PostOptions) -> (Result<Posted, crate::Error>, Vec<node::Seen>) {
    let node = Node::new(script);
    let result = node.client().post_transition(&transition(), options).await;
    (result, node.finished())
}

#[tokio::test(start_paused = true)]
async fn a_post_carries_what_the_contract_asks() {
    let options = PostOptions { ack: NonZeroU32::new(2), ..if_match() };
    let (result, seen) = post(vec![Reply::json(201, &accepted())], &options).await;
    assert!(matches!(result.unwrap(), Posted::Accepted(body) if body.committed_version == TOKEN));
    let [request] = &seen[..] else { panic!("one request") };
    assert_eq!((&request.method, request.path.as_str()), (&Method::POST, "/projections/transitions"));
    assert_eq!(request.header("authorization"), Some("Bearer secret"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("if-match"), Some(format!("\"{TOKEN}\"").as_str()));
    assert_eq!(request.header("plimsoll-ack"), Some("2"));
    assert_eq!(serde_json::from_slice::<PostTransition>(&request.body).unwrap(), transition());
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_out_as_asked() {
    let began = Instant::now();
    let script = vec![Reply::retry_after(Kind::RateLimited, 7), Reply::json(201, &accepted())];
    let (result, seen) = post(script, &PostOptions::default()).await;
    assert!(matches!(result.unwrap(), Posted::Accepted(_)));
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= Duration::from_secs(7) && waited <= Duration::from_millis(7_110), "{waited:?}");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_budget_is_handed_to_the_caller() {
    let began = Instant::now();
    let (result, _) = post(vec![Reply::retry_after(Kind::RateLimited, 3600)], &PostOptions::default()).await;
    let error = result.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert!(error.is_transient());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_post_survives_refused_and_broken_connections_silence_and_failures() {
    let script = vec![
        Reply::Refuse,
        Reply::Drop,
        Reply::Silence,
        Reply::problem(Kind::Internal),
        Reply::empty(502),
        Reply::json(200, &accepted()),
    ];
    let (result, seen) = post(script, &PostOptions::default()).await;
    assert!(matches!(result.unwrap(), Posted::Repeated(_)));
    assert!(seen.iter().all(|request| request.body == seen[0].body), "each attempt posts the same");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_not_repeated() {
    for kind in [
        Kind::InvalidField,
        Kind::TransitionConflict,
        Kind::Unauthenticated,
        Kind::ProjectionMoved,
        Kind::QuotaExceeded,
        Kind::DiskFull,
    ] {
        let (result, _) = post(vec![Reply::problem(kind)], &PostOptions::default()).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.is_transient()), (Some(kind), 1, false));
    }
    let (result, _) = post(vec![Reply::empty(501)], &PostOptions::default()).await;
    assert!(matches!(result.unwrap_err().cause(), Cause::UnexpectedAnswer { .. }));
}

#[tokio::test(start_paused = true)]
async fn retries_end_and_tell_that_the_outcome_is_unknown() {
    let began = Instant::now();
    let script = std::iter::once(Reply::Drop).chain((0..9).map(|_| Reply::Refuse));
    let (result, _) = post(script.collect(), &PostOptions::default()).await;
    let error = result.unwrap_err();
    assert_eq!((error.attempts(), error.outcome()), (10, Outcome::Unknown));
    assert!(matches!(error.cause(), Cause::Connect(_)), "the last attempt ended so, the first may have been applied");
    assert!(began.elapsed() <= RetryPolicy::default().budget);
}

#[tokio::test(start_paused = true)]
async fn never_reaching_the_node_leaves_nothing_behind() {
    let (result, _) = post((0..10).map(|_| Reply::Refuse).collect(), &PostOptions::default()).await;
    assert_eq!(result.unwrap_err().outcome(), Outcome::NotApplied);
}

#[tokio::test(start_paused = true)]
async fn under_replicated_says_that_the_transition_stands() {
    let options = PostOptions { ack: NonZeroU32::new(2), ..PostOptions::default() };
    let (result, _) = post(vec![Reply::problem(Kind::UnderReplicated)], &options).await;
    let error = result.unwrap_err();
    assert_eq!((error.outcome(), error.attempts(), error.is_transient()), (Outcome::Applied, 1, true));
}

#[tokio::test(start_paused = true)]
async fn a_lost_201_under_a_precondition_is_repeated_under_it() {
    let (result, seen) = post(vec![Reply::Drop, Reply::json(200, &accepted())], &if_match()).await;
    assert!(matches!(result.unwrap(), Posted::Repeated(_)));
    assert!(seen.iter().all(|request| request.header("if-match").is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_412_says_that_the_transition_is_not_there() {
    let moved = || Reply::problem(Kind::ProjectionMoved);
    for script in [
        vec![moved()],
        vec![Reply::Refuse, moved()],
        vec![Reply::problem(Kind::RateLimited), moved()],
        vec![Reply::problem(Kind::Overloaded), moved()],
        vec![Reply::Drop, moved()],
    ] {
        let (result, _) = post(script, &if_match()).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Some(Kind::ProjectionMoved), Outcome::NotApplied));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reused_transition_id_is_a_conflict_also_after_a_lost_answer() {
    let (result, _) = post(vec![Reply::Drop, Reply::problem(Kind::TransitionConflict)], &if_match()).await;
    assert_eq!(result.unwrap_err().kind(), Some(Kind::TransitionConflict));
}

async fn delete(script: Vec<Reply>) -> Result<(), crate::Error> {
    let node = Node::new(script);
    let result = node.client().delete("spec/login", None).await;
    let seen = node.finished();
    assert!(seen.iter().all(|request| request.method == Method::DELETE && request.path == "/projections/spec%2Flogin"));
    result
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_repeated_only_while_it_certainly_did_nothing() {
    let script =
        vec![Reply::Refuse, Reply::problem(Kind::RateLimited), Reply::problem(Kind::NotReady), Reply::empty(204)];
    delete(script).await.unwrap();
    for reply in [Reply::Drop, Reply::Silence, Reply::problem(Kind::Internal), Reply::empty(503)] {
        let error = delete(vec![reply]).await.unwrap_err();
        assert_eq!((error.attempts(), error.outcome(), error.is_transient()), (1, Outcome::Unknown, true));
    }
    assert_eq!(delete(vec![Reply::problem(Kind::NotProjected)]).await.unwrap_err().kind(), Some(Kind::NotProjected));
}

#[tokio::test(start_paused = true)]
async fn a_delete_under_a_token_is_repeated_and_finds_its_own_work() {
    let moved = || Reply::problem(Kind::ProjectionMoved);
    let gone = || Reply::problem(Kind::NotProjected);
    for (script, expected) in [
        (vec![Reply::Drop, Reply::empty(204)], None),
        (vec![Reply::Drop, moved(), gone()], None),
        (vec![Reply::Drop, gone(), gone()], None),
        (vec![Reply::Drop, moved(), Reply::json(200, &cursor())], Some(Outcome::Unknown)),
        (vec![moved()], Some(Outcome::NotApplied)),
    ] {
        let node = Node::new(script);
        let result = node.client().delete("a", Some(TOKEN)).await;
        assert_eq!(result.err().map(|error| error.outcome()), expected);
        assert!(node.finished()[0].header("if-match").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_waits_for_what_is_left_of_the_wait() {
    let node = Node::new([Reply::Silence, Reply::empty(304)]);
    let client = Client::builder("http://node.test/base/")
        .timeout(Duration::from_secs(2))
        .seed(1)
        .connect({
            let node = std::sync::Arc::clone(&node);
            move |_: &str, _: u16| node.accept()
        })
        .build()
        .unwrap();
    let query = CursorQuery {
        wait: Duration::from_secs(20),
        if_none_match: Some(TOKEN.to_owned()),
        contains: Some("a b".to_owned()),
    };
    assert_eq!(client.cursor("größe", &query).await.unwrap(), CursorState::Unchanged);
    let seen = node.finished();
    assert_eq!(seen[0].path, "/base/projections/gr%C3%B6%C3%9Fe/cursor?contains=a%20b");
    assert_eq!(seen[0].header("if-none-match"), Some(format!("\"{TOKEN}\"").as_str()));
    assert_eq!(seen[0].header("prefer"), Some("wait=20"));
    assert_eq!(seen[1].header("prefer"), None, "the wait is over after the first attempt's 22 s");
}

#[tokio::test(start_paused = true)]
async fn not_yet_replicated_ends_the_wait_at_once() {
    let node = Node::new([Reply::problem(Kind::NotYetReplicated)]);
    let query = CursorQuery { contains: Some("t-1".to_owned()), ..CursorQuery::default() };
    let error = node.client().cursor("a", &query).await.unwrap_err();
    assert_eq!((error.attempts(), error.is_transient()), (1, true));
}

#[tokio::test(start_paused = true)]
async fn lists_histories_and_bulk_cursors_are_read() {
    let node = Node::new([
        Reply::json(200, &json!({"items": [], "next": "p/2"})),
        Reply::json(200, &json!({"items": [], "next": null})),
        Reply::json(200, &json!({"cursors": {"a": {"committed_version": TOKEN, "updated_at": TIME}, "b": null}})),
        Reply::json(503, &json!({"ready": false, "reason": "urn:plimsoll:problem:not-ready"})),
        Reply::json(200, &json!({"status": "ok", "version": "0.1.0", "node_id": "00c0ffee00c0ffee"})),
    ]);
    let client = node.client();
    let first = client.list(Some("in review"), &PageQuery { limit: Some(5), page: None }).await.unwrap();
    let next = PageQuery { limit: None, page: first.next };
    assert_eq!(client.history("a", &next).await.unwrap().next, None);
    let cursors = client.cursors(vec!["a".to_owned(), "b".to_owned()]).await.unwrap().cursors;
    assert_eq!((cursors["a"].is_some(), cursors["b"].is_some()), (true, false));
    assert!(!client.readiness().await.unwrap().ready);
    assert_eq!(client.health().await.unwrap().node_id, "00c0ffee00c0ffee");
    let paths: Vec<String> = node.finished().into_iter().map(|request| request.path).collect();
    assert_eq!(
        paths,
        [
            "/projections?status=in%20review&limit=5",
            "/projections/a/transitions?page=p%2F2",
            "/projections/cursors",
            "/readyz",
            "/healthz"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_beyond_the_bound_is_not_read() {
    let large = "x".repeat(1024 * 1024);
    let parts = vec![large.as_str(); 9];
    let node = Node::new([Reply::stream("application/json", &parts)]);
    let error = node.client().projection("a").await.unwrap_err();
    assert!(matches!(error.cause(), Cause::AnswerTooLarge { .. }));
    assert!(!error.is_transient());
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_another_program_is_told_apart() {
    let node = Node::new([Reply::stream("text/html", &["<html>"]), Reply::empty(302), Reply::empty(404)]);
    let client = node.client();
    for _ in 0..3 {
        let error = client.projection("a").await.unwrap_err();
        assert!(matches!(error.cause(), Cause::UnexpectedAnswer { .. }), "{error:?}");
    }
    node.finished();
}

#[tokio::test]
async fn nobody_listening_is_a_connect_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::builder(url).retry(RetryPolicy::never()).build().unwrap();
    assert!(matches!(client.health().await.unwrap_err().cause(), Cause::Connect(_)));
}
