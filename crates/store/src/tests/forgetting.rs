//! What a store lets go, and what it keeps.

use plimsoll_domain::projection::{Body, Fact, Fingerprint, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::StoredFact;

use super::*;
use crate::forgetting::ForgetError;

const SECOND: u64 = 1_000_000_000;

impl Fixture {
    fn pass(&self, seconds: u64) {
        self.now.fetch_add(seconds * SECOND, Ordering::SeqCst);
    }

    fn moment(&self) -> UnixNanos {
        UnixNanos::new(self.now.load(Ordering::SeqCst))
    }

    async fn retire(&self, id: &str) {
        self.projections.retire(&self.tenant, artifact(id), Expectation::Any).await.unwrap();
    }

    fn facts_here(&self) -> u64 {
        self.projections.fingerprint().unwrap().count
    }

    /// Forgets what was retired by now, as if all other members had the same.
    async fn forget(&self, until: UnixNanos) {
        let promise = self.projections.promise(until).await.unwrap();
        self.projections.forget(promise.horizon).await.unwrap();
        assert_eq!(self.projections.horizon(), Some(promise.horizon));
    }
}

/// One artifact that lives, one that was retired long ago, one that came back, one that was retired lately.
async fn furnish(store: &Fixture) -> UnixNanos {
    store.accept(with_refs(draft("lives", "l-1", "new"), vec![pending("k")])).await;
    for id in ["old", "back"] {
        store
            .accept(with_refs(
                draft(id, &format!("{id}-1"), "new"),
                (0..6).map(|at| pending(&at.to_string())).collect(),
            ))
            .await;
        store.accept(draft(id, &format!("{id}-2"), "done")).await;
        store.pass(1);
        store.retire(id).await;
    }
    store.pass(1);
    let until = store.moment();
    store.pass(1);
    store.accept(draft("back", "back-3", "again")).await;
    store.accept(draft("late", "late-1", "new")).await;
    store.retire("late").await;
    until
}

#[tokio::test]
async fn what_was_retired_by_then_is_forgotten_and_everything_else_reads_as_before() {
    for engine in [Memory::new(), Memory::new()] {
        let store = Fixture::on(Arc::new(engine.clone()));
        let until = furnish(&store).await;
        let tokens = (store.token("lives").await, store.token("back").await);
        assert_eq!(store.projections.promise(until).await.unwrap().tombstones, 2);
        assert_eq!(store.facts_here(), 10, "a promise changes nothing");
        store.forget(until).await;
        // What is left: two that live, and a transition and a tombstone of the one that went late.
        assert_eq!((store.facts_here(), store.projections.forgotten()), (4, 6));
        assert_eq!(store.projections.usage(&store.tenant).unwrap().facts, 4);
        assert_eq!((store.token("lives").await, store.token("back").await), tokens);
        assert_eq!(store.token("old").await, None);
        let history = store.projections.history(&store.tenant, &artifact("back"), None, 9).await.unwrap().unwrap();
        assert_eq!(history.items.len(), 1);
        assert_eq!(store.projections.summary().unwrap().root(), store.projections.fingerprint().unwrap());
        store.close();
        engine.crash();
        let store = Fixture::on(Arc::new(engine));
        until_counted(&store).await;
        let counted = store.projections.summary().unwrap();
        assert!(!counted.was_wrong() && counted.root() == store.projections.fingerprint().unwrap());
        drop(counted);
        assert_eq!(store.projections.horizon().unwrap().until, until);
        assert!(!store.accept(draft("old", "old-1", "new")).await.repeated, "its id is free again");
        store.close();
    }
}

async fn until_counted(store: &Fixture) {
    while store.projections.summary().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What was counted before, a checkpoint holds; what goes then leaves a row behind.
#[tokio::test]
async fn what_a_checkpoint_holds_is_forgotten_too() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let until = furnish(&store).await;
    store.close();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.forget(until).await;
    let left = store.projections.fingerprint().unwrap();
    drop(store);
    let store = Fixture::on(Arc::new(engine));
    until_counted(&store).await;
    assert_eq!(store.projections.summary().unwrap().root(), left);
    assert!(!store.projections.summary().unwrap().was_wrong());
    store.close();
}

/// Whichever sync fails, and however much of what was not synced is there after the restart.
#[tokio::test]
async fn a_crash_in_between_is_made_good() {
    for (fails_at, kept) in (1..20_u64).flat_map(|at| [(at, 0), (at, 1), (at, 9)]) {
        let disk = Memory::new();
        let store = Fixture::on(Arc::new(disk.clone()));
        let until = furnish(&store).await;
        let tokens = (store.token("lives").await, store.token("back").await, store.token("late").await);
        store.close();
        let syncs = AtomicU64::new(0);
        let failing = disk.clone();
        let on_sync = move || {
            if syncs.fetch_add(1, Ordering::SeqCst) + 1 == fails_at {
                failing.fail_next_sync();
            }
        };
        let engine = Hooked { disk: disk.clone(), on_read: Box::new(|| Ok(())), on_sync: Box::new(on_sync) };
        let store = Fixture::on(Arc::new(engine));
        let outcome = match store.projections.promise(until).await {
            Ok(promise) => store.projections.forget(promise.horizon).await,
            Err(error) => Err(error),
        };
        let is_over = outcome.is_ok();
        store.close();
        disk.crash_keeping(kept);
        let store = Fixture::on(Arc::new(disk));
        let is_within = store.projections.horizon().is_none();
        store.projections.go_on_forgetting().await.unwrap();
        let reached = store.projections.horizon().unwrap().until;
        assert!(reached == until || !(is_within || is_over), "at sync {fails_at}, {kept} kept");
        store.forget(UnixNanos::new(until.get() + u64::from(reached == until))).await;
        assert_eq!(store.facts_here(), 4, "at sync {fails_at}, {kept} kept");
        assert_eq!((store.token("lives").await, store.token("back").await, store.token("late").await), tokens);
        until_counted(&store).await;
        assert_eq!(store.projections.summary().unwrap().root(), store.projections.fingerprint().unwrap());
        store.close();
        if is_over && fails_at > 12 {
            break;
        }
    }
}

#[tokio::test]
async fn a_long_history_goes_bit_by_bit_and_its_tombstone_last() {
    let store = Fixture::memory();
    for at in 0..2_500 {
        store.accept(draft("long", &format!("t-{at}"), "new")).await;
    }
    store.retire("long").await;
    store.pass(1);
    store.forget(store.moment()).await;
    assert_eq!(store.facts_here(), 0);
    store.close();
}

/// A tombstone that has come since the promise took the place of the one to forget by: what that one hid goes all the same,
/// as it does everywhere else.
#[tokio::test]
async fn a_promise_holds_though_the_artifact_came_back_and_went_again() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let promise = store.projections.promise(store.moment()).await.unwrap();
    store.pass(1);
    store.accept(draft("a", "t-2", "new")).await;
    store.retire("a").await;
    store.projections.forget(promise.horizon).await.unwrap();
    assert_eq!(store.facts_here(), 2, "the new transition and the new tombstone");
    assert!(
        !store.projections.contains(&store.tenant, &artifact("a"), &TransitionId::parse("t-1").unwrap()).await.unwrap()
    );
    store.close();
}

fn fact_at(id: &str, time: u64) -> StoredFact {
    let transition = Transition::parse("far".into(), id.into(), "s".into(), Vec::new()).unwrap();
    let stamp = Timestamp { time: UnixNanos::new(time), node: NodeId::new(3) };
    StoredFact { tenant: TenantId::parse("acme").unwrap(), fact: Fact::new(Body::Transition(transition), stamp) }
}

#[tokio::test]
async fn facts_of_another_horizon_are_not_merged() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let before = store.projections.horizon().unwrap();
    store.forget(store.moment()).await;
    let far = || vec![fact_at("t-9", START)];
    let outcomes = store.projections.absorb(before, far()).await.unwrap();
    assert!(matches!(outcomes[..], [Err(WriteError::OtherHorizon)]), "{outcomes:?}");
    let (peer, facts) = (NodeId::new(3), vec![(1, fact_at("t-9", START))]);
    let delivery = crate::receiving::Delivery { peer, incarnation: 1, after: 0, horizon: before, facts, up_to: 1 };
    let outcomes = store.projections.receive(delivery.clone()).await.unwrap();
    assert!(matches!(outcomes[..], [Err(WriteError::OtherHorizon)]), "{outcomes:?}");
    assert_eq!(store.projections.watermark(peer).unwrap(), None);
    let horizon = store.projections.horizon().unwrap();
    assert!(store.projections.absorb(horizon, far()).await.unwrap().remove(0).is_ok());
    store.close();
}

#[tokio::test]
async fn a_store_that_lacks_something_does_not_forget_and_an_empty_one_need_not() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let promise = store.projections.promise(store.moment()).await.unwrap();
    let lacking = Fixture::named(Arc::new(Memory::new()), 8, |_| {});
    lacking.projections.adopt(promise.horizon).await.unwrap();
    assert_eq!(lacking.projections.horizon(), Some(promise.horizon));
    assert_eq!(lacking.projections.fingerprint().unwrap(), Fingerprint::default());
    let behind = Fixture::named(Arc::new(Memory::new()), 9, |_| {});
    behind.accept(draft("a", "t-1", "old")).await;
    let refused = behind.projections.forget(promise.horizon).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    let refused = behind.projections.adopt(promise.horizon).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    assert_eq!(behind.facts_here(), 1);
    [store, lacking, behind].into_iter().for_each(Fixture::close);
}

#[tokio::test]
async fn a_full_disk_does_not_forget_and_goes_on() {
    let store = Fixture::memory();
    let until = furnish(&store).await;
    store.free.store(0, Ordering::SeqCst);
    store.pass(1);
    let promise = store.projections.promise(until).await.unwrap();
    let refused = store.projections.forget(promise.horizon).await;
    assert!(matches!(refused, Err(ForgetError::Write(WriteError::DiskFull { .. }))), "{refused:?}");
    assert_eq!(store.projections.horizon(), Some(Horizon::default()), "it is not left half-way");
    store.free.store(u64::MAX, Ordering::SeqCst);
    store.projections.forget(promise.horizon).await.unwrap();
    assert_eq!(store.facts_here(), 4);
    store.close();
}

/// What stood at the end of the log is gone: whoever follows the feed has come to its end all the same.
#[tokio::test]
async fn a_feed_ends_though_its_last_facts_are_forgotten() {
    let store = Fixture::memory();
    store.accept(draft("lives", "l-1", "new")).await;
    store.accept(draft("old", "o-1", "new")).await;
    store.retire("old").await;
    store.pass(1);
    store.forget(store.moment()).await;
    let end = store.projections.position();
    let begin = Position { sequence: 0, ..end };
    let page = store.facts(begin).await.unwrap();
    assert_eq!((page.facts.len(), page.up_to), (1, end.sequence));
    assert_eq!(store.projections.changes(&store.tenant, begin).await.unwrap().next, end);
    store.close();
}
