//! The members agree on what to forget, whatever happens to one of them meanwhile.

use plimsoll_domain::id::TransitionId;
use plimsoll_domain::projection::FactKey;
use plimsoll_store::engine::{Batch, Engine as _, Table};

use crate::retention::{agree, promise};

use super::forgetting::{count, spec};
use super::*;

/// Whoever has decided may never come to its end. The others have heard of it.
#[tokio::test]
async fn a_decision_is_told_before_it_is_carried_out() {
    let net = Net::default();
    let engine = Memory::new();
    let mut members = vec![net.start(Spec { engine: engine.clone(), ..spec(1) }).await];
    for number in 2..=3 {
        members.push(net.start(spec(number)).await);
    }
    members[0].post("gone", "g-1").await;
    members[0].retire("gone").await;
    converged(&members, 2).await;
    // A row that is missed when the fact goes, and not before.
    let mut batch = Batch::default();
    let key = FactKey::of_transition(&tenant(), &TransitionId::parse("g-1").unwrap());
    batch.remove(Table::Identity, key.bytes().to_vec());
    engine.commit(batch).unwrap();
    until("the others have forgotten", || members[1..].iter().all(|member| count(member) == 0)).await;
    assert_eq!((members[0].projections.horizon(), count(&members[0])), (None, 2));
    for member in members {
        member.stop().await;
    }
}

/// A tombstone may take the place of another while the members are asked: not all have it at once.
#[tokio::test]
async fn members_that_differ_for_a_moment_are_asked_again() {
    let net = Net::default();
    // One that asks for nothing by itself, and one that promises what is of this moment.
    let spec = |number, retention| Spec { retention, ..spec(number) };
    let first = net.start(spec(1, Duration::from_secs(86_400))).await;
    let members = vec![first, net.start(spec(2, Duration::from_millis(100))).await];
    until("both are ready", || members.iter().all(|member| *member.cluster.context.ready.borrow())).await;
    members[0].post("gone", "g-1").await;
    members[0].retire("gone").await;
    let now = UnixNanos::new(members[0].cluster.context.now());
    let first = &members[0].cluster.context;
    let own = first.projections.promise(now, Duration::ZERO).await.unwrap().horizon;
    assert_eq!(own.facts.count, 2);
    // The tombstone that was counted is superseded.
    members[0].post("gone", "g-2").await;
    members[0].retire("gone").await;
    converged(&members, 3).await;
    let links =
        || first.roster.view(|peers| peers.iter().map(|(node, peer)| Some((*node, peer.link.clone()?))).collect());
    let links: Option<Vec<_>> = links();
    let agreed = agree(first, &links.unwrap(), own).await.unwrap();
    assert_eq!((agreed.until, agreed.facts.count), (now, 1));
    for member in members {
        member.stop().await;
    }
}

/// To whom a word was given is not known any more after a restart; that it was given is.
#[tokio::test]
async fn a_word_holds_though_the_node_is_started_again() {
    let net = Net::default();
    let engine = Memory::new();
    let spec = |number| Spec { retention: Duration::from_secs(4), ..spec(number) };
    let first = net.start(spec(1)).await;
    let second = net.start(Spec { engine: engine.clone(), ..spec(2) }).await;
    let is_ready = |member: &Member| *member.cluster.context.ready.borrow();
    until("both are ready", || is_ready(&first) && is_ready(&second)).await;
    let long_ago = UnixNanos::new(second.cluster.context.now() - 5_000_000_000);
    let promises = async |member: &Member| promise(&member.cluster.context, NodeId::new(1), long_ago).await.is_some();
    assert!(promises(&second).await);
    second.stop().await;
    let second = net.start(Spec { engine, ..spec(2) }).await;
    until("it is ready", || is_ready(&second)).await;
    assert!(!promises(&second).await, "perhaps it was another");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(promises(&second).await);
    for member in [first, second] {
        member.stop().await;
    }
}
