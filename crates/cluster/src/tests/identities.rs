//! Two nodes with one node id, and one that only looks like two.

use plimsoll_store::error::WriteError;
use plimsoll_store::notes::Fence;

use super::meeting::{is_connected, met};
use super::*;
use crate::leaving::LeaveError;
use crate::status::NodeState;

fn is_fenced(member: &Member) -> bool {
    member.projections.fence() == Some(Fence::Identity)
}

/// A copy of a data directory stamps as its original does: both stop taking writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_identity_take_no_writes() {
    let net = Net::default();
    let one = net.start(Spec::new(1, "eu")).await;
    let copy = Spec { number: 2, identity: 1, ..Spec::new(2, "eu") };
    let copy = net.start(copy).await;
    until("both are fenced", || [&one, &copy].iter().all(|member| member.projections.fence() == Some(Fence::Identity)))
        .await;
    let refused = one.try_post("a", "t").await;
    assert!(matches!(refused, Err(WriteError::Fenced(Fence::Identity))), "{refused:?}");
    assert_eq!(one.cluster.state(), NodeState::ReadOnly);
    one.stop().await;
    copy.stop().await;
}

/// A node, a second one that knows it, and the specification of a copy of the second, which it neither reaches nor knows.
async fn with_copy(net: &Net) -> (Member, Member, Spec) {
    let one = net.start(Spec::new(1, "eu")).await;
    let original = net.start(Spec::new(2, "us")).await;
    until("they have met", || is_connected(&one, 2) && is_connected(&original, 1)).await;
    let known = RosterEntry { member: one.cluster.here().clone(), gone: false };
    let copy = Spec { identity: 2, seeds: vec![address(1)], legacy: vec![known], ..Spec::new(3, "us") };
    (one, original, copy)
}

/// Nobody would follow the copy or ask it as long as the original is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_does_not_meet_its_original_is_turned_away() {
    let net = Net::default();
    let (one, original, copy) = with_copy(&net).await;
    let copy = net.start(copy).await;
    until("both are fenced", || is_fenced(&original) && is_fenced(&copy)).await;
    assert!(!is_connected(&copy, 1), "who is connected to the original does not follow the copy too");
    let trouble = "it refuses to talk: another node has this node's id: one data directory is a copy of the other";
    until("it says why", || copy.cluster.members()[0].trouble.as_deref() == Some(trouble)).await;
    let members = one.cluster.members();
    assert_eq!(members[0].member.peer, original.address, "the others stay with the original");
    for member in [one, original, copy] {
        member.stop().await;
    }
}

/// The other would be gone with it, and could never come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shares_its_id_does_not_leave() {
    let net = Net::default();
    let (one, original, copy) = with_copy(&net).await;
    let copy = net.start(copy).await;
    until("both are fenced", || is_fenced(&original) && is_fenced(&copy)).await;
    for member in [&original, &copy] {
        let left = member.cluster.leave(Duration::from_millis(100)).await;
        assert!(matches!(left, Err(LeaveError::SharedId)), "{left:?}");
        assert!(is_fenced(member));
    }
    assert_eq!(one.cluster.size(), 2);
    for member in [one, original, copy] {
        member.stop().await;
    }
}

/// It is seen only while the node waits until the other members have everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shares_its_id_stops_leaving() {
    let net = Net::default();
    let (one, original, copy) = with_copy(&net).await;
    one.stop().await;
    until("it is seen to be gone", || !is_connected(&original, 1)).await;
    let leaving = original.cluster.leave(Duration::from_secs(60));
    let coming = async {
        until("it leaves", || original.cluster.state() == NodeState::Leaving).await;
        net.start(Spec { seeds: vec![address(2)], ..copy }).await
    };
    let (left, copy) = tokio::join!(leaving, coming);
    assert!(matches!(left, Err(LeaveError::SharedId)), "{left:?}");
    assert!(is_fenced(&original));
    for member in [original, copy] {
        member.stop().await;
    }
}

/// Whoever is connected to the copy calls it, and does not hear of it that the original is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_original_that_a_copy_took_the_place_of_is_turned_away() {
    let net = Net::default();
    let (one, original, copy) = with_copy(&net).await;
    net.hang(&original.address);
    let copy = net.start(copy).await;
    until("the original is fenced", || is_fenced(&original)).await;
    until("the copy is the member", || one.cluster.members()[0].member.peer == copy.address).await;
    let members = [one, copy];
    met(&members).await;
    members[1].post("a", "t").await;
    converged(&members, 1).await;
    for member in members.into_iter().chain([original]) {
        member.stop().await;
    }
}

/// The one before it answers nobody any more, though its peer is still connected to it for all that peer knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_started_again_is_no_copy_of_itself() {
    let net = Net::default();
    let engine = Memory::new();
    let one = net.start(Spec::new(1, "eu")).await;
    let other = net.start(Spec { engine: engine.clone(), ..Spec::new(2, "us") }).await;
    until("they have met", || is_connected(&one, 2) && is_connected(&other, 1)).await;
    net.hang(&other.address);
    other.stop().await;
    assert!(is_connected(&one, 2));
    let began = tokio::time::Instant::now();
    let again = net.start(Spec { engine, seed: 22, ..Spec::new(2, "us") }).await;
    again.post("a", "t").await;
    let members = [one, again];
    converged(&members, 1).await;
    assert!(began.elapsed() < Duration::from_secs(8), "nobody waits until the old connection is given up");
    assert_eq!(members[1].projections.fence(), None);
    for member in members {
        member.stop().await;
    }
}
