//! A client of several nodes: what it remembers of its writes, and what follows for its reads and the order of its posts.

use std::time::Duration;

use bytes::Bytes;
use plimsoll_wire::http::v1::PostTransition;
use plimsoll_wire::problem::{Kind, Problem};
use serde_json::json;
use tokio::time::Instant;

use super::node::{Reply, Seen};
use super::world::World;
use super::{TIME, TOKEN, accepted, cursor, transition};
use crate::roster::EndpointIndex;
use crate::{Builder, CursorQuery, CursorState, PageQuery, PostOptions};

const LATER_TOKEN: &str = "2026-04-22T18:04:12.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";

fn later() -> serde_json::Value {
    json!({"artifact_id": "spec/login", "transition_id": "t-2", "committed_version": LATER_TOKEN, "updated_at": TIME})
}

fn projection() -> serde_json::Value {
    json!({"artifact_id": "spec/login", "status": "s", "transition_id": "t-1", "produced_refs": [],
        "committed_version": TOKEN, "updated_at": TIME})
}

#[tokio::test(start_paused = true)]
async fn a_later_post_asks_to_be_stamped_after_the_earlier_one() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::problem(Kind::NotReady)]);
    world.b.expect([Reply::json(201, &later())]);
    world.post(&PostOptions::default()).await.unwrap();
    assert_eq!(world.client.last_written("spec/login").unwrap().committed_version, TOKEN);
    let second = PostTransition { transition_id: "t-2".to_owned(), ..transition() };
    world.client.post_transition(&second, &PostOptions::default()).await.unwrap();
    let [at_a, at_b, _] = world.finished();
    let sent = |seen: &Seen| serde_json::from_slice::<PostTransition>(&seen.body).unwrap();
    assert_eq!(sent(&at_a[0]).committed_version, None);
    assert_eq!(sent(&at_b[0]).committed_version.as_deref(), Some(TOKEN));
    assert_eq!(at_a[1].body, at_b[0].body);
    assert_eq!(world.client.last_written("spec/login").unwrap().transition_id, "t-2");
}

fn reads_its_writes(builder: Builder) -> Builder {
    builder.read_your_writes(Duration::from_secs(5))
}

#[tokio::test(start_paused = true)]
async fn a_read_on_another_node_demands_the_clients_own_last_write() {
    let world = World::at_a(reads_its_writes).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::Drop]);
    world.b.expect([
        Reply::json(200, &cursor()),
        Reply::json(200, &cursor()),
        Reply::json(200, &projection()),
        Reply::json(200, &cursor()),
        Reply::json(200, &json!({"items": [], "next": null})),
    ]);
    world.post(&PostOptions::default()).await.unwrap();
    world.read().await.unwrap();
    world.client.projection("spec/login").await.unwrap();
    world.client.history("spec/login", &PageQuery::default()).await.unwrap();
    let [_, at_b, _] = world.finished();
    let demanded = "/projections/spec%2Flogin/cursor?contains=t-1";
    let paths: Vec<&str> = at_b.iter().map(|seen| seen.path.as_str()).collect();
    let (whole, history) = ("/projections/spec%2Flogin", "/projections/spec%2Flogin/transitions");
    assert_eq!(paths, [demanded, demanded, whole, demanded, history]);
    let waits: Vec<_> = at_b.iter().map(|seen| seen.header("prefer")).collect();
    assert_eq!(waits, [Some("wait=5"), Some("wait=5"), None, Some("wait=5"), None]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_arrive_in_time_is_told_and_nothing_older_is_read() {
    let world = World::at_a(reads_its_writes).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::problem(Kind::NotReady)]);
    world.b.expect([Reply::problem(Kind::NotYetReplicated)]);
    world.post(&PostOptions::default()).await.unwrap();
    let error = world.client.projection("spec/login").await.unwrap_err();
    assert_eq!((error.kind(), error.url()), (Some(Kind::NotYetReplicated), Some("http://b.test")));
    assert!(error.is_transient());
    world.finished();
}

#[tokio::test(start_paused = true)]
async fn a_read_that_moves_after_its_demand_demands_again() {
    let world = World::at_a(reads_its_writes).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::json(200, &cursor()), Reply::Drop]);
    world.b.expect([Reply::json(200, &cursor()), Reply::json(200, &projection())]);
    world.post(&PostOptions::default()).await.unwrap();
    world.client.projection("spec/login").await.unwrap();
    let [_, at_b, _] = world.finished();
    assert!(at_b[0].path.ends_with("?contains=t-1"));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_change_comes_after_the_demand() {
    let world = World::at_a(reads_its_writes).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::json(200, &cursor()), Reply::empty(304)]);
    world.post(&PostOptions::default()).await.unwrap();
    let wait = Duration::from_secs(20);
    let query = CursorQuery { wait, if_none_match: Some(TOKEN.to_owned()), contains: None };
    assert_eq!(world.client.cursor("spec/login", &query).await.unwrap(), CursorState::Unchanged);
    let [at_a, ..] = world.finished();
    assert_eq!((at_a[1].header("prefer"), at_a[1].header("if-none-match")), (Some("wait=5"), None));
    assert_eq!(
        (at_a[2].path.as_str(), at_a[2].header("prefer")),
        ("/projections/spec%2Flogin/cursor", Some("wait=20"))
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_demanded_unasked_nor_of_what_is_retired() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::json(200, &cursor())]);
    world.post(&PostOptions::default()).await.unwrap();
    world.read().await.unwrap();
    assert_eq!(world.finished()[0][1].path, "/projections/spec%2Flogin/cursor");

    let world = World::at_a(reads_its_writes).await;
    world.a.expect([Reply::json(201, &accepted()), Reply::empty(204), Reply::problem(Kind::NotProjected)]);
    world.post(&PostOptions::default()).await.unwrap();
    world.client.delete("spec/login", None).await.unwrap();
    assert_eq!(world.read().await.unwrap_err().kind(), Some(Kind::NotProjected));
    assert_eq!(world.finished()[0][2].path, "/projections/spec%2Flogin/cursor");
}

const NDJSON: &str = "application/x-ndjson";

fn line(transition_id: &str) -> Bytes {
    let line = json!({"artifact_id": "a", "transition_id": transition_id, "status": "s", "produced_refs": []});
    Bytes::from(line.to_string())
}

fn ok(transition_id: &str) -> String {
    let body =
        json!({"artifact_id": "a", "transition_id": transition_id, "committed_version": TOKEN, "updated_at": TIME});
    format!("{}\n", json!({"status": 201, "body": body}))
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_on_at_another_node_once_no_clock_can_be_behind() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::broken_stream(NDJSON, &[&ok("1")])]);
    world.b.expect([Reply::stream(NDJSON, &[&ok("2"), &ok("3")])]);
    let answers = world.client.post_batch(&[line("1"), line("2"), line("3")]).await.unwrap();
    assert_eq!(answers.len(), 3);
    let [at_a, at_b, _] = world.finished();
    assert_eq!(at_b[0].body, [&line("2")[..], b"\n", &line("3"), b"\n"].concat());
    assert!(at_b[0].at - at_a[0].at >= Duration::from_secs(2), "line 2 must not be stamped before line 1");
    assert_eq!(world.client.last_written("a").unwrap().transition_id, "3");
    // Nor may it be when the nearest takes over again.
    let [back, from] = [EndpointIndex::new(2), EndpointIndex::new(1)];
    let pause = world.client.shared().memory().pause_before(back, Instant::now());
    assert!(!pause.is_zero() && world.client.shared().memory().pause_before(from, Instant::now()).is_zero());
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_nothing_was_taken_of_moves_at_once() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::problem(Kind::NotReady)]);
    let full = json!({"status": 507, "body": Problem::new(Kind::DiskFull, "as scripted")});
    world.b.expect([Reply::stream(NDJSON, &[&format!("{full}\n")])]);
    world.c.expect([Reply::stream(NDJSON, &[&ok("1")])]);
    let began = Instant::now();
    assert_eq!(world.client.post_batch(&[line("1")]).await.unwrap().len(), 1);
    assert!(began.elapsed() < Duration::from_secs(1));
    world.finished();
}
