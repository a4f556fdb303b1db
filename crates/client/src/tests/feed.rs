//! Following the change feed.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use super::node::{Node, Reply};
use super::world::World;
use crate::{Cause, Changes, Error};

const EVENTS: &str = "text/event-stream";

fn event(position: &str, artifact_id: &str) -> String {
    format!("id: {position}\nevent: change\ndata: {{\"artifact_id\":\"{artifact_id}\",\"committed_version\":null}}\n\n")
}

#[tokio::test(start_paused = true)]
async fn it_resumes_after_the_last_event_it_handed_out() {
    let first = [event("p-1", "a"), event("p-2", "b"), "id: p-3\nevent: change\ndata: {\"arti".to_owned()].concat();
    let node = Node::new([
        Reply::broken_stream(EVENTS, &[": hello\n\n", &first]),
        Reply::Refuse,
        Reply::problem(Kind::NotReady),
        Reply::open_stream(EVENTS, &[&event("p-3", "c")]),
    ]);
    let mut changes = node.client().changes(None);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let event = changes.next().await.unwrap();
        seen.push((event.position, event.change.artifact_id));
    }
    let expected = [("p-1", "a"), ("p-2", "b"), ("p-3", "c")].map(|(at, id)| (at.to_owned(), id.to_owned()));
    assert_eq!(seen, expected);
    let requests = node.finished();
    assert_eq!(requests[0].header("last-event-id"), None);
    assert_eq!(requests[0].header("accept"), Some(EVENTS));
    assert_eq!(requests[1].header("last-event-id"), Some("p-2"));
    assert_eq!(requests[2].header("last-event-id"), Some("p-2"));
}

#[tokio::test(start_paused = true)]
async fn an_id_without_data_moves_the_position() {
    let node = Node::new([
        Reply::stream(EVENTS, &["id: p-9\n\n", "event: later\ndata: {}\n\n"]),
        Reply::open_stream(EVENTS, &[&event("p-10", "a")]),
    ]);
    let mut changes = node.client().changes(None);
    assert_eq!(changes.next().await.unwrap().position, "p-10");
    assert_eq!(node.finished()[1].header("last-event-id"), Some("p-9"));
    assert_eq!(changes.position(), Some("p-10"));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_position_a_new_connection_begins_at_the_present() {
    let node = Node::new([
        Reply::broken_stream(EVENTS, &[": hello\n\n"]),
        Reply::broken_stream(EVENTS, &["id: p-1\n\n"]),
        Reply::open_stream(EVENTS, &[&event("p-2", "a")]),
    ]);
    let mut changes = node.client().changes(None);
    assert_eq!(changes.position(), None);
    assert_eq!(changes.next().await.unwrap().position, "p-2");
    let resumed_from: Vec<_> =
        node.finished().iter().map(|request| request.header("last-event-id").map(str::to_owned)).collect();
    assert_eq!(resumed_from, [None, None, Some("p-1".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn silence_beyond_three_heartbeats_is_a_dead_connection() {
    let began = Instant::now();
    let node =
        Node::new([Reply::open_stream(EVENTS, &[": hello\n\n"]), Reply::open_stream(EVENTS, &[&event("p-1", "a")])]);
    node.client().changes(Some("p-0".to_owned())).next().await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(45) && began.elapsed() < Duration::from_secs(60));
    assert!(node.finished().iter().all(|request| request.header("last-event-id") == Some("p-0")));
}

#[tokio::test(start_paused = true)]
async fn a_position_that_is_gone_is_the_callers_to_solve() {
    let node = Node::new([Reply::problem(Kind::PositionGone)]);
    let error = node.client().changes(Some("p-0".to_owned())).next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (Some(Kind::PositionGone), false));
    node.finished();
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_policy_is_reported_and_can_be_sat_out() {
    let script = (0..10).map(|_| Reply::Refuse).chain([Reply::open_stream(EVENTS, &[&event("p-1", "a")])]);
    let node = Node::new(script);
    let mut changes = node.client().changes(None);
    let error = changes.next().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Connect(_)));
    assert_eq!(error.attempts(), 10);
    assert_eq!(changes.next().await.unwrap().position, "p-1");
}

#[tokio::test(start_paused = true)]
async fn cancelling_loses_no_event() {
    let node = Node::new([Reply::open_stream(EVENTS, &[&event("p-1", "a"), &event("p-2", "b")])]);
    let mut changes = node.client().changes(None);
    let mut positions = vec![changes.next().await.unwrap().position];
    for _ in 0..100 {
        if let Ok(event) = tokio::time::timeout(Duration::ZERO, changes.next()).await {
            positions.push(event.unwrap().position);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(positions, ["p-1", "p-2"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_an_event_stream_is_refused() {
    let huge = format!("data: {}", "x".repeat(crate::sse::LINE_BYTES_MAX));
    for reply in [
        Reply::stream("text/html", &["<html>"]),
        Reply::stream(EVENTS, &["id: 1\nevent: change\ndata: {}\n\n"]),
        Reply::stream(EVENTS, &["event: change\ndata: {\"artifact_id\":\"a\",\"committed_version\":null}\n\n"]),
        Reply::stream(EVENTS, &[&huge]),
    ] {
        let node = Node::new([reply]);
        let error = node.client().changes(None).next().await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
    }
}

/// A follower of node a that was told `a-1`.
async fn followed(world: &World) -> Changes {
    world.a.expect([Reply::broken_stream(EVENTS, &[&event("a-1", "x")])]);
    let mut changes = world.client.changes(None);
    assert_eq!(changes.next().await.unwrap().position, "a-1");
    changes
}

fn resumed_from(node: &Node) -> Vec<Option<String>> {
    node.finished().iter().map(|request| request.header("last-event-id").map(str::to_owned)).collect()
}

fn moved(error: &Error) -> (Option<&str>, &str) {
    let Cause::FeedMoved { from, to } = error.cause() else { panic!("{error:?}") };
    (from.as_deref(), to)
}

#[tokio::test(start_paused = true)]
async fn it_connects_to_the_same_node_again_although_others_are_there() {
    let world = World::at_a(|builder| builder).await;
    let mut changes = followed(&world).await;
    // The connection that broke was the first of ten attempts.
    world.a.expect((0..8).map(|_| Reply::problem(Kind::NotReady)));
    world.a.expect([Reply::open_stream(EVENTS, &[&event("a-2", "y")])]);
    assert_eq!(changes.next().await.unwrap().position, "a-2");
    assert_eq!(resumed_from(&world.a).last().unwrap().as_deref(), Some("a-1"));
    assert_eq!(world.switches(), ["a to b", "b to a"], "other requests go elsewhere meanwhile");
}

#[tokio::test(start_paused = true)]
async fn once_its_node_is_given_up_another_is_followed_from_its_present_and_that_is_told() {
    let world = World::at_a(|builder| builder).await;
    let mut changes = followed(&world).await;
    world.a.is_down.store(true, SeqCst);
    world.b.expect([Reply::open_stream(EVENTS, &[&event("b-7", "y"), &event("b-8", "z")])]);
    let error = changes.next().await.unwrap_err();
    assert_eq!((moved(&error), error.is_transient()), ((Some("http://a.test"), "http://b.test"), false));
    assert_eq!(changes.position(), Some("b-7"), "it is connected before it is told");
    world.a.is_down.store(false, SeqCst);
    assert_eq!(changes.next().await.unwrap().position, "b-7");
    assert_eq!(changes.next().await.unwrap().position, "b-8");
    assert_eq!(resumed_from(&world.b), [None]);
}

#[tokio::test(start_paused = true)]
async fn its_node_is_taken_up_where_it_stood_if_it_comes_back_before_another_is_followed() {
    let world = World::at_a(|builder| builder).await;
    let mut changes = followed(&world).await;
    world.a.expect((0..9).map(|_| Reply::problem(Kind::NotReady)));
    world.b.expect([Reply::broken_stream(EVENTS, &[": hello\n\n"])]);
    world.c.expect([Reply::problem(Kind::NotReady)]);
    world.a.expect([Reply::open_stream(EVENTS, &[&event("a-2", "y")])]);
    assert_eq!(changes.next().await.unwrap().position, "a-2", "nothing was missed, so nothing is told");
    assert_eq!(resumed_from(&world.a).last().unwrap().as_deref(), Some("a-1"));
    assert_eq!((resumed_from(&world.b), resumed_from(&world.c)), (vec![None], vec![None]));
}

#[tokio::test(start_paused = true)]
async fn a_position_is_offered_to_each_node_until_its_own_is_found() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::problem(Kind::PositionGone)]);
    world.b.expect([Reply::problem(Kind::PositionGone)]);
    world.c.expect([Reply::open_stream(EVENTS, &[&event("c-2", "x")])]);
    let mut changes = world.client.changes(Some("c-1".to_owned()));
    assert_eq!(changes.next().await.unwrap().position, "c-2");
    for node in world.nodes() {
        assert_eq!(resumed_from(node), [Some("c-1".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_position_that_no_node_knows_is_gone() {
    let world = World::at_a(|builder| builder).await;
    for node in world.nodes() {
        node.expect([Reply::problem(Kind::PositionGone)]);
    }
    let error = world.client.changes(Some("d-1".to_owned())).next().await.unwrap_err();
    assert_eq!(error.kind(), Some(Kind::PositionGone));
    world.finished();
}

#[tokio::test(start_paused = true)]
async fn a_position_whose_node_stays_away_ends_at_anothers_present() {
    let world = World::at_a(|builder| builder).await;
    world.c.is_down.store(true, SeqCst);
    for node in [&world.a, &world.b] {
        node.expect((0..10).map(|_| Reply::problem(Kind::PositionGone)));
    }
    world.a.expect([Reply::open_stream(EVENTS, &["id: a-5\n\n", &event("a-6", "x")])]);
    let mut changes = world.client.changes(Some("c-1".to_owned()));
    let error = changes.next().await.unwrap_err();
    assert_eq!(moved(&error), (None, "http://a.test"));
    assert_eq!(changes.next().await.unwrap().position, "a-6");
    assert_eq!(resumed_from(&world.a).last().unwrap(), &None);
}

#[tokio::test(start_paused = true)]
async fn where_no_node_answers_it_is_told_and_can_be_sat_out() {
    let world = World::at_a(|builder| builder).await;
    let mut changes = followed(&world).await;
    world.nodes().iter().for_each(|node| node.is_down.store(true, SeqCst));
    for _ in 0..2 {
        assert!(matches!(changes.next().await.unwrap_err().cause(), Cause::Connect(_)));
    }
    world.a.is_down.store(false, SeqCst);
    world.a.expect([Reply::open_stream(EVENTS, &[&event("a-2", "y")])]);
    assert_eq!(changes.next().await.unwrap().position, "a-2");
    assert_eq!(resumed_from(&world.a).last().unwrap().as_deref(), Some("a-1"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_does_not_send_other_requests_away() {
    let world = World::at_a(|builder| builder).await;
    let mut changes = followed(&world).await;
    world.a.expect([Reply::open_stream(EVENTS, &[&event("a-2", "y")])]);
    changes.next().await.unwrap();
    assert_eq!(world.switches(), Vec::<String>::new());
}
