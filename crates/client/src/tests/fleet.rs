//! A client of several nodes: where its requests go.

use std::num::NonZeroU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use plimsoll_wire::http::v1::PostTransition;
use plimsoll_wire::problem::Kind;
use tokio::time::{Instant, advance};

use super::node::Reply;
use super::world::World;
use super::{TOKEN, accepted, cursor, if_match, transition};
use crate::{Cause, CursorQuery, Outcome, PostOptions, Posted, RetryPolicy, Switch, SwitchReason};

#[tokio::test(start_paused = true)]
async fn the_first_request_goes_to_the_nearest_and_waits_for_no_other() {
    let world = World::new();
    world.a.expect([Reply::json(200, &cursor())]);
    let began = Instant::now();
    world.read().await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(50), "three ways to the nearest: {:?}", began.elapsed());
    assert_eq!(world.finished().map(|seen| seen.len()), [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_or_unready_at_first_is_not_chosen() {
    let world = World::new();
    world.a.is_down.store(true, SeqCst);
    world.b.is_unready.store(true, SeqCst);
    world.c.expect([Reply::json(200, &cursor())]);
    world.read().await.unwrap();
    assert_eq!(world.finished().map(|seen| seen.len()), [0, 0, 1]);
    assert_eq!(world.switches(), Vec::<String>::new(), "it is the first choice");
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_moves_a_post_to_the_next_nearest() {
    let world = World::at_a(|builder| builder).await;
    // The pool has closed what it did not use.
    advance(Duration::from_secs(21)).await;
    world.a.is_down.store(true, SeqCst);
    world.b.expect([Reply::json(201, &accepted())]);
    let began = Instant::now();
    assert!(matches!(world.post(&PostOptions::default()).await.unwrap(), Posted::Accepted(_)));
    assert!(began.elapsed() <= Duration::from_millis(60), "at once: {:?}", began.elapsed());
    let [_, at_b, _] = world.finished();
    assert_eq!(serde_json::from_slice::<PostTransition>(&at_b[0].body).unwrap(), transition());
    let switches = world.switches_told();
    let [Switch { from, to, reason: SwitchReason::Failed { detail } }] = &switches[..] else { panic!("{switches:?}") };
    assert_eq!((from.as_str(), to.as_str()), ("http://a.test", "http://b.test"));
    assert!(detail.contains("cannot connect"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_cannot_do_now_goes_to_the_others_with_the_same_body() {
    for failure in [
        || Reply::problem(Kind::NotReady),
        || Reply::retry_after(Kind::RateLimited, 3600),
        || Reply::problem(Kind::Internal),
        || Reply::problem(Kind::StorageFailed),
        || Reply::empty(502),
        || Reply::Drop,
        || Reply::Silence,
    ] {
        let world = World::at_a(|builder| builder).await;
        world.a.expect([failure()]);
        world.b.expect([Reply::problem(Kind::Overloaded)]);
        world.c.expect([Reply::json(200, &accepted())]);
        assert!(matches!(world.post(&PostOptions::default()).await.unwrap(), Posted::Repeated(_)));
        let seen = world.finished().map(|mut seen| seen.pop().unwrap());
        assert!(seen.iter().all(|request| request.body == seen[0].body && request.path == seen[0].path));
        assert_eq!(serde_json::from_slice::<PostTransition>(&seen[0].body).unwrap().transition_id, "t-1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_goes_nowhere_else() {
    for kind in [Kind::TransitionConflict, Kind::InvalidField, Kind::Unauthenticated, Kind::QuotaExceeded] {
        let world = World::at_a(|builder| builder).await;
        world.a.expect([Reply::problem(kind)]);
        let error = world.post(&PostOptions::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.attempts(), error.url()), (Some(kind), 1, Some("http://a.test")));
        assert_eq!((world.finished().map(|seen| seen.len()), world.switches()), ([1, 0, 0], Vec::<String>::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_sends_writes_elsewhere_and_leaves_reads() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::problem(Kind::DiskFull), Reply::json(200, &cursor())]);
    world.b.expect([Reply::json(201, &accepted())]);
    world.post(&PostOptions::default()).await.unwrap();
    world.read().await.unwrap();
    assert_eq!((world.finished().map(|seen| seen.len()), world.switches()), ([2, 1, 0], Vec::<String>::new()));
    for node in world.nodes() {
        node.expect([Reply::problem(Kind::DiskFull)]);
    }
    let error = world.post(&PostOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Some(Kind::DiskFull), 3), "it is asked for once everywhere");
    world.finished();
}

#[tokio::test(start_paused = true)]
async fn it_stays_where_it_went_and_returns_once_the_nearest_is_ready() {
    let world = World::at_a(|builder| builder).await;
    world.a.is_down.store(true, SeqCst);
    assert_eq!(world.reader_after(Duration::ZERO).await, ["b", "b"]);
    assert_eq!(world.reader_after(Duration::from_secs(60)).await, ["b", "b"], "a does not answer");
    world.a.is_down.store(false, SeqCst);
    world.a.is_unready.store(true, SeqCst);
    assert_eq!(world.reader_after(Duration::from_secs(60)).await, ["b", "b"], "a answers, but is not ready");
    assert_eq!(world.switches(), ["a to b"]);
    world.a.is_unready.store(false, SeqCst);
    assert_eq!(world.reader_after(Duration::from_secs(60)).await, ["b", "a"], "that call has found it ready");
    assert_eq!(world.switches(), ["b to a"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_asked_to_be_left_alone_is_left_alone() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::retry_after(Kind::RateLimited, 40)]);
    world.b.expect([Reply::json(201, &accepted())]);
    world.post(&PostOptions::default()).await.unwrap();
    world.finished();
    assert_eq!(world.reader_after(Duration::from_secs(20)).await, ["b", "b"], "a is ready, and wants to rest");
    assert_eq!(world.reader_after(Duration::from_secs(20)).await, ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn it_moves_to_one_that_has_become_clearly_nearer() {
    let world = World::at_a(|builder| builder).await;
    world.a.moves_to_distance(400);
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.extend(world.reader_after(Duration::from_secs(60)).await);
    }
    assert_eq!(readers, ["a", "b", "b", "b", "b", "b", "b", "b"], "10 ms become 107 ms, and 50 ms are b's");
    assert_eq!(world.switches(), ["a to b"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_not_used_asks_nothing() {
    let world = World::at_a(|builder| builder).await;
    world.a.is_down.store(true, SeqCst);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(world.switches(), Vec::<String>::new(), "nobody has looked");
}

#[tokio::test(start_paused = true)]
async fn attempts_go_round_and_end_at_each_endpoint() {
    let attempts_max = NonZeroU32::new(2).unwrap();
    let world = World::at_a(|builder| builder.retry(RetryPolicy { attempts_max, ..RetryPolicy::default() })).await;
    for node in world.nodes() {
        node.expect([Reply::problem(Kind::NotReady), Reply::problem(Kind::NotReady)]);
    }
    let error = world.post(&PostOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (Some(Kind::NotReady), 6));
    let [a, b, c] = world.finished();
    assert!(a[0].at < b[0].at && b[0].at < c[0].at && c[0].at < a[1].at, "a round at each, and then the next");
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_answer_is_lost_never_moves() {
    for token in [None, Some(TOKEN)] {
        let world = World::at_a(|builder| builder).await;
        world.a.expect([Reply::Drop]);
        if token.is_some() {
            world.a.expect([Reply::Drop, Reply::empty(204)]);
        }
        let result = world.client.delete("spec/login", token).await;
        let unknown = (token.is_none()).then_some(Outcome::Unknown);
        assert_eq!(result.err().map(|error| error.outcome()), unknown);
        assert_eq!(world.finished().map(|seen| seen.len()), [if token.is_some() { 3 } else { 1 }, 0, 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_certainly_did_nothing_moves() {
    for token in [None, Some(TOKEN)] {
        let world = World::at_a(|builder| builder).await;
        world.a.expect([Reply::problem(Kind::Overloaded)]);
        world.b.expect([Reply::empty(204)]);
        world.client.delete("spec/login", token).await.unwrap();
        world.finished();
    }
}

#[tokio::test(start_paused = true)]
async fn whether_a_delete_was_applied_is_looked_up_where_it_was_sent() {
    let world = World::at_a(|builder| builder).await;
    let replies = [Reply::Drop, Reply::problem(Kind::ProjectionMoved), Reply::problem(Kind::NotReady)];
    world.a.expect(replies.into_iter().chain([Reply::problem(Kind::NotProjected)]));
    world.client.delete("spec/login", Some(TOKEN)).await.unwrap();
    assert_eq!(world.finished().map(|seen| seen.len()), [4, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_post_under_a_precondition_moves_only_while_it_certainly_was_not_applied() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::Drop, Reply::problem(Kind::NotReady), Reply::problem(Kind::ProjectionMoved)]);
    let error = world.post(&if_match()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Some(Kind::ProjectionMoved), Outcome::NotApplied));
    assert_eq!(world.finished().map(|seen| seen.len()), [3, 0, 0]);

    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::problem(Kind::NotReady)]);
    world.b.expect([Reply::problem(Kind::ProjectionMoved), Reply::json(200, &cursor())]);
    let error = world.post(&if_match()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Some(Kind::ProjectionMoved), Outcome::NotApplied));
    world.read().await.unwrap();
    let [_, at_b, _] = world.finished();
    assert_eq!(at_b[0].header("if-match"), Some(format!("\"{TOKEN}\"").as_str()));
    assert_eq!(at_b.len(), 2, "whoever looks again looks at the node that refused");
}

#[tokio::test(start_paused = true)]
async fn each_endpoint_tells_which_node_it_is_or_why_not() {
    let world = World::new();
    world.b.is_down.store(true, SeqCst);
    let nodes = world.client.nodes().await;
    let told: Vec<_> = nodes.iter().map(|(url, _)| url.as_str()).collect();
    assert_eq!(told, ["http://c.test", "http://b.test", "http://a.test"]);
    assert!(matches!(nodes[1].1.as_ref().unwrap_err().cause(), Cause::Connect(_)));
}

#[tokio::test(start_paused = true)]
async fn a_narrowed_client_goes_nowhere_else() {
    let world = World::at_a(|builder| builder).await;
    assert!(world.client.narrowed(|_| false).is_none());
    let narrowed = world.client.narrowed(|url| url == "http://b.test").unwrap();
    assert_eq!(narrowed.urls().collect::<Vec<_>>(), ["http://b.test"]);
    world.b.expect([Reply::problem(Kind::NotReady), Reply::json(200, &cursor())]);
    narrowed.cursor("spec/login", &CursorQuery::default()).await.unwrap();
    world.finished();
}
