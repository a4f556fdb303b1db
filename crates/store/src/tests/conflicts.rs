//! What was lost to another content under the same id can be seen.

use plimsoll_domain::projection::{Body, Fact, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::StoredFact;

use super::*;
use crate::conflicts::REUSES_MAX;

fn fact(artifact: &str, id: &str, status: &str, time: u64) -> Fact {
    let transition = Transition::parse(artifact.into(), id.into(), status.into(), Vec::new()).unwrap();
    let stamp = Timestamp { time: UnixNanos::new(START + time), node: NodeId::new(time % 3) };
    Fact::new(Body::Transition(transition), stamp)
}

async fn absorb(store: &Fixture, fact: &Fact) {
    let stored = StoredFact { tenant: store.tenant.clone(), fact: fact.clone() };
    store.projections.absorb(Horizon::default(), vec![stored]).await.unwrap().remove(0).unwrap();
}

async fn reused(store: &Fixture, id: &str) -> Vec<Body> {
    let facts = store.projections.reused(&store.tenant, &artifact(id)).await.unwrap();
    facts.into_iter().map(|fact| fact.body).collect()
}

#[tokio::test]
async fn whichever_content_comes_first_the_later_stamp_is_what_is_lost() {
    for (first, second) in [(1, 2), (2, 1)] {
        let store = Fixture::memory();
        let content = |time: u64| fact("a", "t", &format!("s-{time}"), time);
        absorb(&store, &content(first)).await;
        absorb(&store, &content(second)).await;
        absorb(&store, &content(second)).await;
        assert_eq!(reused(&store, "a").await, [content(2).body]);
        assert_eq!(store.projections.conflict_counts().reuses(), 1);
        store.close();
    }
}

#[tokio::test]
async fn an_id_on_two_artifacts_is_seen_at_both() {
    for (first, second) in [(1, 2), (2, 1)] {
        let store = Fixture::memory();
        let content = |time: u64| fact(&format!("a-{time}"), "t", "s", time);
        absorb(&store, &content(first)).await;
        absorb(&store, &content(second)).await;
        for id in ["a-1", "a-2"] {
            assert_eq!(reused(&store, id).await, [content(2).body], "{id}");
        }
        store.close();
    }
}

#[tokio::test]
async fn an_artifact_keeps_so_many_and_no_more() {
    let store = Fixture::memory();
    for at in 0..REUSES_MAX as u64 + 4 {
        let id = format!("t-{at}");
        absorb(&store, &fact("a", &id, "x", 2 * at)).await;
        absorb(&store, &fact("a", &id, "y", 2 * at + 1)).await;
    }
    assert_eq!(reused(&store, "a").await.len(), REUSES_MAX);
    assert_eq!(store.projections.conflict_counts().reuses(), REUSES_MAX as u64 + 4);
    store.close();
}
