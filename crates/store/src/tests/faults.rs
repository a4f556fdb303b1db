//! A read that fails while a write is decided refuses that write, and leaves nothing of it behind.

use std::sync::atomic::AtomicUsize;

use plimsoll_domain::projection::{Body, Fact};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::StoredFact;

use super::*;
use crate::engine::EngineError;
use crate::receiving::Delivery;

/// Reads until the one that fails; 0 when there is none to come.
pub(super) type Countdown = Arc<AtomicUsize>;

/// A disk that fails one read, once it is told which.
pub(super) fn flaky() -> (Arc<Hooked>, Countdown) {
    let countdown = Countdown::default();
    let left = Arc::clone(&countdown);
    let on_read = move || match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
        Ok(1) => Err(EngineError::Damaged { detail: "on purpose".to_owned() }),
        _ => Ok(()),
    };
    (Arc::new(Hooked { on_read: Box::new(on_read), ..Hooked::default() }), countdown)
}

/// An artifact that was retired and came back, with more refs than its head holds, in a store just opened.
async fn revived() -> (Countdown, Fixture) {
    let (engine, countdown) = flaky();
    let store = Fixture::on(Arc::clone(&engine) as Arc<dyn Engine>);
    store.accept(draft("a", "t-0", "x")).await;
    store.projections.retire(&store.tenant, artifact("a"), Expectation::Any).await.unwrap();
    let refs = (0..6).map(|key| pending(&key.to_string())).collect();
    store.accept(with_refs(draft("a", "t-1", "x"), refs)).await;
    store.close();
    let store = Fixture::on(engine);
    (countdown, store)
}

/// Fails each read of a write in turn, until there is none left to fail; tells how many there were.
async fn fail_each_read(write: impl AsyncFn(&Fixture) -> Outcome) -> usize {
    for nth in 1.. {
        let (countdown, store) = revived().await;
        let before = store.projections.fingerprint().unwrap();
        countdown.store(nth, Ordering::SeqCst);
        let outcome = write(&store).await;
        countdown.store(0, Ordering::SeqCst);
        if outcome.is_ok() {
            return nth - 1;
        }
        assert!(matches!(outcome, Err(WriteError::Read(_))), "{outcome:?}");
        assert_eq!(store.projections.fingerprint().unwrap(), before, "read {nth}");
        reconciling::check(&store);
        packs::check(&store, 3).await;
        let again = write(&store).await;
        assert!(again.is_ok(), "read {nth}: {again:?}");
        packs::check(&store, 3).await;
        reconciling::check(&store);
    }
    unreachable!("a write reads so and so often")
}

#[tokio::test]
async fn a_retirement_that_cannot_be_decided_leaves_nothing() {
    let reads =
        fail_each_read(async |store| store.projections.retire(&store.tenant, artifact("a"), Expectation::Any).await);
    assert!(reads.await >= 5, "head, tombstone, its pack, usage and refs are read");
}

#[tokio::test]
async fn a_transition_that_cannot_be_decided_leaves_nothing() {
    let reads = fail_each_read(async |store| {
        store.post(with_refs(draft("a", "t-2", "y"), vec![resolved("1", 7), pending("new")])).await
    });
    assert!(reads.await >= 5, "identity, head, two refs and usage are read");
}

/// A fact that is joined with a known one, and makes the past another one.
#[tokio::test]
async fn a_fact_of_a_peer_that_cannot_be_merged_leaves_nothing() {
    let reads = fail_each_read(async |store| {
        // The clock stands still: the tombstone has the second stamp, the transition the third.
        let earlier = Timestamp { time: UnixNanos::new(START + 1), node: NodeId::new(9) };
        let refs = (0..6).map(|key| pending(&key.to_string())).collect();
        let transition = post(with_refs(draft("a", "t-1", "x"), refs)).submission.transition;
        let fact = Fact::new(Body::Transition(transition), earlier);
        let facts = vec![(1, StoredFact { tenant: store.tenant.clone(), fact })];
        let delivery =
            Delivery { peer: NodeId::new(9), incarnation: 1, after: 0, horizon: Horizon::default(), facts, up_to: 1 };
        store.projections.receive(delivery).await.unwrap().remove(0)
    });
    assert!(reads.await >= 8, "identity, its fact, head, refs, history, usage and its pack are read");
}

/// The same fact, found to be missing.
#[tokio::test]
async fn a_missing_fact_that_cannot_be_merged_leaves_nothing() {
    let reads = fail_each_read(async |store| {
        let earlier = Timestamp { time: UnixNanos::new(START + 1), node: NodeId::new(9) };
        let transition = post(with_refs(draft("a", "t-1", "x"), vec![pending("1")])).submission.transition;
        let fact = Fact::new(Body::Transition(transition), earlier);
        store
            .projections
            .absorb(Horizon::default(), vec![StoredFact { tenant: store.tenant.clone(), fact }])
            .await
            .unwrap()
            .remove(0)
    });
    assert!(reads.await >= 8, "identity, its fact, head, refs, history, usage and its pack are read");
}

/// A fact that takes a transition id over from another artifact: both change, or neither.
#[tokio::test]
async fn a_namesake_that_cannot_be_merged_leaves_nothing() {
    let reads = fail_each_read(async |store| {
        let earlier = Timestamp { time: UnixNanos::new(START + 1), node: NodeId::new(9) };
        let transition = post(with_refs(draft("b", "t-1", "x"), vec![pending("k")])).submission.transition;
        let fact = Fact::new(Body::Transition(transition), earlier);
        let facts = vec![(1, StoredFact { tenant: store.tenant.clone(), fact })];
        let delivery =
            Delivery { peer: NodeId::new(9), incarnation: 1, after: 0, horizon: Horizon::default(), facts, up_to: 1 };
        store.projections.receive(delivery).await.unwrap().remove(0)
    });
    assert!(reads.await >= 8, "both heads, the identity, its fact and pack, history, refs and usage are read");
}
