//! What is asked and told of one node's cluster.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use http::Method;
use plimsoll_wire::problem::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::node::{Node, Reply};
use super::world::World;
use crate::{Cause, Outcome, RetryPolicy};

const NODE: &str = "00c0ffee00c0ffee";

fn status() -> Value {
    json!({"node_id": NODE, "region": "eu", "state": "ready", "facts": 1, "digest": "d", "cluster": null, "peer": null,
        "version": "0", "members": []})
}

#[tokio::test(start_paused = true)]
async fn each_request_is_the_one_of_the_contract() {
    let node = Node::new([Reply::json(200, &status())].into_iter().chain((0..4).map(|_| Reply::empty(204))));
    let client = node.client();
    assert_eq!(client.cluster().await.unwrap().node_id, NODE);
    client.leave().await.unwrap();
    client.forget(NODE).await.unwrap();
    client.set_cut(true).await.unwrap();
    client.set_cut(false).await.unwrap();
    let seen = node.finished();
    let requests: Vec<_> = seen.iter().map(|request| (&request.method, request.path.as_str())).collect();
    let member = format!("/cluster/members/{NODE}");
    let expected = [
        (&Method::GET, "/cluster"),
        (&Method::POST, "/cluster/leave"),
        (&Method::DELETE, member.as_str()),
        (&Method::PUT, "/cluster/cut"),
        (&Method::DELETE, "/cluster/cut"),
    ];
    assert_eq!(requests, expected);
    assert!(seen.iter().all(|request| request.header("authorization") == Some("Bearer secret")));
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again() {
    let node = Node::new([Reply::Drop, Reply::problem(Kind::Internal), Reply::json(200, &status())]);
    node.client().cluster().await.unwrap();
    assert_eq!(node.finished().len(), 3);
    node.expect([Reply::Drop, Reply::Refuse, Reply::empty(204)]);
    node.client().leave().await.unwrap();
    node.finished();
}

#[tokio::test(start_paused = true)]
async fn a_node_is_given_its_time_to_leave() {
    let began = Instant::now();
    let node = Node::new([Reply::Silence]);
    let client = node.client_of(|builder| builder.retry(RetryPolicy::never()));
    let error = client.leave().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::Timeout { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    assert!(began.elapsed() > Duration::from_secs(30), "it waits for the others so long: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_could_not_leave_has_not_and_is_not_asked_again() {
    let node = Node::new([Reply::problem(Kind::UnderReplicated)]);
    let error = node.client().leave().await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Some(Kind::UnderReplicated), Outcome::NotApplied));
    node.finished();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_node_id_is_not_sent() {
    let node = Node::new([]);
    for id in ["", "..", "00c0ffee00c0ffe", "00c0ffee00c0ffee0", "00c0ffee00c0/fee", "00c0ffee00c0ffeg"] {
        let error = node.client().forget(id).await.unwrap_err();
        assert!(matches!(error.cause(), Cause::InvalidArgument { .. }), "{id}");
        assert_eq!(error.attempts(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_not_theirs_is_no_success() {
    let node = Node::new([Reply::empty(200)]);
    let error = node.client().set_cut(true).await.unwrap_err();
    assert!(matches!(error.cause(), Cause::UnexpectedAnswer { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    node.finished();
}

#[tokio::test(start_paused = true)]
async fn of_several_nodes_only_the_one_that_is_talked_to_is_told() {
    let world = World::at_a(|builder| builder).await;
    world.a.expect([Reply::problem(Kind::NotReady), Reply::Drop, Reply::empty(204)]);
    world.client.leave().await.unwrap();
    assert_eq!(world.finished().map(|seen| seen.len()), [3, 0, 0]);
    world.a.is_down.store(true, SeqCst);
    assert!(matches!(world.client.leave().await.unwrap_err().cause(), Cause::Connect(_) | Cause::Dropped(_)));
    assert_eq!(world.finished().map(|seen| seen.len()), [0, 0, 0], "and no other one leaves in its place");
}
