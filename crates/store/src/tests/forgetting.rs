//! What a store lets go, and what it keeps.

use plimsoll_domain::projection::{Body, Fact, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::StoredFact;
use tokio::sync::watch;

use super::*;
use crate::forgetting::{ForgetError, Ways};
use crate::horizons::Step;
use crate::writer::Work;

const SECOND: u64 = 1_000_000_000;

const ANY: Ways = Ways { by_having_nothing: true, by_a_new_promise: true };

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
        let promise = self.projections.promise(until, Duration::ZERO).await.unwrap();
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
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let until = furnish(&store).await;
    let tokens = (store.token("lives").await, store.token("back").await);
    assert_eq!(store.projections.promise(until, Duration::ZERO).await.unwrap().tombstones, 2);
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
    store.pass(5);
    store.forget(until).await;
    let left = store.projections.fingerprint().unwrap();
    drop(store);
    let store = Fixture::on(Arc::new(engine));
    until_counted(&store).await;
    assert_eq!(store.projections.summary().unwrap().root(), left);
    assert!(!store.projections.summary().unwrap().was_wrong());
    store.close();
}

/// Promises and forgets, on a disk of which one sync fails; then the power goes. Returns whether it was done, and the store
/// over what is left.
async fn cut_short(disk: &Memory, until: UnixNanos, fails_at: u64, kept: usize) -> (bool, Fixture) {
    let syncs = AtomicU64::new(0);
    let failing = disk.clone();
    let on_sync = move || {
        if syncs.fetch_add(1, Ordering::SeqCst) + 1 == fails_at {
            failing.fail_next_sync();
        }
    };
    let engine = Hooked { disk: disk.clone(), on_sync: Box::new(on_sync), ..Hooked::default() };
    let store = Fixture::on(Arc::new(engine));
    store.pass(5);
    let outcome = match store.projections.promise(until, Duration::ZERO).await {
        Ok(promise) => store.projections.forget(promise.horizon).await,
        Err(error) => Err(error),
    };
    store.close();
    disk.crash_keeping(kept);
    let store = Fixture::on(Arc::new(disk.clone()));
    store.pass(5);
    (outcome.is_ok(), store)
}

/// Whichever sync fails, and however much of what was not synced is there after the restart.
#[tokio::test]
async fn a_crash_in_between_is_made_good() {
    let (mut before, mut within) = (0, 0);
    for fails_at in 1.. {
        let mut is_over = true;
        for kept in [0, 1, 9] {
            let disk = Memory::new();
            let store = Fixture::on(Arc::new(disk.clone()));
            let until = furnish(&store).await;
            let tokens = (store.token("lives").await, store.token("back").await, store.token("late").await);
            store.close();
            let (was_done, store) = cut_short(&disk, until, fails_at, kept).await;
            is_over &= was_done;
            let found = store.projections.horizon();
            store.projections.go_on_forgetting().await.unwrap();
            let reached = store.projections.horizon().unwrap().until;
            let case = format!("at sync {fails_at}, {kept} kept: {found:?}");
            if found == Some(Horizon::default()) {
                before += 1;
                assert!(!was_done && store.facts_here() == 10, "{case}");
                store.forget(until).await;
            } else {
                within += usize::from(found.is_none());
                assert_eq!(reached, until, "{case}");
            }
            assert_eq!(store.facts_here(), 4, "{case}");
            assert_eq!((store.token("lives").await, store.token("back").await, store.token("late").await), tokens);
            until_counted(&store).await;
            assert_eq!(store.projections.summary().unwrap().root(), store.projections.fingerprint().unwrap());
            store.close();
        }
        if is_over {
            break;
        }
    }
    assert!(before > 3 && within > 3, "{before} had not begun, {within} were in between");
}

/// The bound of a group cuts a long history into pieces. Wherever the power goes, the artifact is not seen again.
#[tokio::test]
async fn a_long_history_goes_bit_by_bit_and_its_tombstone_last() {
    let mut in_between = 0;
    for fails_at in 1.. {
        let disk = Memory::new();
        let store = Fixture::on(Arc::new(disk.clone()));
        for at in 0..2_500 {
            store.accept(draft("long", &format!("t-{at}"), "new")).await;
        }
        store.accept(draft("next", "n-1", "new")).await;
        store.retire("long").await;
        store.retire("next").await;
        store.pass(1);
        let until = store.moment();
        store.close();
        let (was_done, store) = cut_short(&disk, until, fails_at, 0).await;
        assert_eq!(store.token("long").await, None, "at sync {fails_at}");
        in_between += usize::from((2..2_503).contains(&store.facts_here()) && store.projections.horizon().is_none());
        store.projections.go_on_forgetting().await.unwrap();
        assert!(!was_done || store.facts_here() == 0);
        store.close();
        if was_done {
            break;
        }
    }
    assert!(in_between >= 2, "it went in {in_between} pieces");
}

/// A tombstone that has come since the promise took the place of the one to forget by: what that one hid goes all the same,
/// as it does everywhere else.
#[tokio::test]
async fn a_promise_holds_though_the_artifact_came_back_and_went_again() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let promise = store.projections.promise(store.moment(), Duration::ZERO).await.unwrap();
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

/// One store that has retired something, and what all would have to have; the others begin with nothing.
async fn ahead() -> (Fixture, Horizon) {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let horizon = store.projections.promise(store.moment(), Duration::ZERO).await.unwrap().horizon;
    store.projections.forget(horizon).await.unwrap();
    (store, horizon)
}

/// What came back before the horizon is kept, whatever its tombstone.
#[tokio::test]
async fn a_promise_that_would_forget_nothing_says_so() {
    let store = Fixture::memory();
    store.accept(draft("back", "t-1", "new")).await;
    store.retire("back").await;
    store.accept(draft("back", "t-2", "again")).await;
    store.pass(1);
    let until = store.moment();
    assert_eq!(store.projections.promise(until, Duration::ZERO).await.unwrap().tombstones, 1);
    assert!(!store.projections.would_forget(until).await.unwrap());
    store.retire("back").await;
    store.pass(1);
    let until = store.moment();
    store.projections.promise(until, Duration::ZERO).await.unwrap();
    assert!(store.projections.would_forget(until).await.unwrap());
    store.close();
}

#[tokio::test]
async fn a_store_that_lacks_something_does_not_forget() {
    let (store, horizon) = ahead().await;
    let behind = Fixture::named(Arc::new(Memory::new()), 9, |_| {});
    behind.pass(1);
    behind.accept(draft("a", "t-1", "old")).await;
    behind.pass(1);
    let refused = behind.projections.reach(horizon, ANY).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    assert_eq!((behind.facts_here(), behind.projections.horizon()), (1, Some(Horizon::default())));
    [store, behind].into_iter().for_each(Fixture::close);
}

/// What a new node took before it met anybody is from after the horizon. It stays.
#[tokio::test]
async fn a_new_store_is_of_the_others_horizon_with_all_it_has_taken() {
    let (store, horizon) = ahead().await;
    let fresh = Fixture::named(Arc::new(Memory::new()), 8, |_| {});
    fresh.pass(2);
    fresh.accept(draft("a", "t-9", "new")).await;
    let refused = fresh.projections.reach(horizon, Ways { by_having_nothing: false, ..ANY }).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    fresh.projections.reach(horizon, ANY).await.unwrap();
    assert_eq!((fresh.facts_here(), fresh.projections.horizon()), (1, Some(horizon)));
    let earlier = Horizon { until: UnixNanos::new(horizon.until.get() - 1), ..Horizon::default() };
    let refused = fresh.projections.reach(earlier, ANY).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    assert_eq!(fresh.projections.horizon(), Some(horizon), "it does not go back");
    [store, fresh].into_iter().for_each(Fixture::close);
}

/// A clock that is behind, though by less than clocks may be, must not stamp what is older than the horizon.
#[tokio::test]
async fn whatever_comes_later_is_stamped_later() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    let until = UnixNanos::new(store.moment().get() + SECOND / 4);
    let promise = store.projections.promise(until, Duration::ZERO).await.unwrap();
    let token = store.accept(draft("b", "t-2", "new")).await.token;
    assert!(token.stamp.time > until);
    store.projections.forget(promise.horizon).await.unwrap();
    let far = UnixNanos::new(store.moment().get() + 2 * SECOND);
    let refused = store.projections.promise(far, Duration::ZERO).await;
    assert!(matches!(refused, Err(ForgetError::Write(WriteError::FromTheFuture(_)))), "{refused:?}");
    store.close();
}

/// Nor may it after a restart, though nothing was stamped since.
#[tokio::test]
async fn whatever_comes_after_a_restart_is_stamped_later() {
    let engine = Memory::new();
    let fresh = Fixture::on(Arc::new(engine.clone()));
    fresh.pass(3);
    let until = UnixNanos::new(START + 3 * SECOND);
    fresh.projections.reach(Horizon { until, ..Horizon::default() }, ANY).await.unwrap();
    fresh.close();
    let fresh = Fixture::on(Arc::new(engine));
    assert!(fresh.accept(draft("a", "t-1", "new")).await.token.stamp.time > until);
    fresh.close();
}

/// Only who was left out can bring such a fact. A store that has it cannot say it forgets the same as the others.
#[tokio::test]
async fn an_older_fact_that_was_not_counted_makes_a_promise_void() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let until = store.moment();
    let horizon = store.projections.promise(until, Duration::ZERO).await.unwrap().horizon;
    let absorb = |fact| store.projections.absorb(Horizon::default(), vec![fact]);
    absorb(fact_at("newer", until.get() + 1)).await.unwrap().remove(0).unwrap();
    absorb(fact_at("older", until.get())).await.unwrap().remove(0).unwrap();
    let refused = store.projections.forget(horizon).await;
    assert!(matches!(refused, Err(ForgetError::Unpromised(_))), "{refused:?}");
    let refused = store.projections.reach(horizon, ANY).await;
    assert!(matches!(refused, Err(ForgetError::Behind(_))), "{refused:?}");
    // While somebody may decide by it, it is not broken.
    let second = Duration::from_secs(1);
    let horizon = store.projections.promise(until, second).await.unwrap().horizon;
    let outcomes = absorb(fact_at("old", until.get())).await.unwrap();
    assert!(matches!(outcomes[..], [Err(WriteError::OtherHorizon)]), "{outcomes:?}");
    absorb(fact_at("older", until.get())).await.unwrap().remove(0).unwrap();
    // A retry of what is known, that another accepted later, would join it.
    let outcomes = absorb(fact_at("older", until.get() + 5)).await.unwrap();
    assert!(matches!(outcomes[..], [Err(WriteError::OtherHorizon)]), "{outcomes:?}");
    store.projections.unbind().await.unwrap();
    absorb(fact_at("old", until.get())).await.unwrap().remove(0).unwrap();
    let refused = store.projections.forget(horizon).await;
    assert!(matches!(refused, Err(ForgetError::Unpromised(_))), "{refused:?}");
    // Nor is it for ever.
    let horizon = store.projections.promise(until, second).await.unwrap().horizon;
    store.pass(1);
    absorb(fact_at("last", until.get())).await.unwrap().remove(0).unwrap();
    let refused = store.projections.forget(horizon).await;
    assert!(matches!(refused, Err(ForgetError::Unpromised(_))), "{refused:?}");
    // The same while it is being made.
    let step = |step| store.projections.ask_to(Work::Horizon(step));
    step(Step::Promise(until)).await.unwrap();
    absorb(fact_at("oldest", START)).await.unwrap().remove(0).unwrap();
    let made = step(Step::Promised(Horizon { until, ..Horizon::default() }, Duration::ZERO)).await;
    assert!(matches!(made, Err(WriteError::OtherHorizon)), "{made:?}");
    assert!(step(Step::End).await.is_err(), "nothing is being forgotten");
    store.close();
}

/// Nor by a restart.
#[tokio::test]
async fn a_promise_binds_after_a_restart_for_as_long_as_somebody_may_decide_by_it() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let until = store.moment();
    let horizon = store.projections.promise(until, Duration::from_secs(5)).await.unwrap().horizon;
    store.close();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.pass(5);
    assert_eq!(store.projections.bound_until().unwrap(), UnixNanos::new(START + 6 * SECOND));
    let absorb = |id| store.projections.absorb(Horizon::default(), vec![fact_at(id, START)]);
    let outcomes = absorb("older").await.unwrap();
    assert!(matches!(outcomes[..], [Err(WriteError::OtherHorizon)]), "{outcomes:?}");
    store.pass(1);
    let refused = store.projections.decide(horizon).await;
    assert!(matches!(refused, Err(ForgetError::Unpromised(_))), "others are not bound any more: {refused:?}");
    absorb("older").await.unwrap().remove(0).unwrap();
    let horizon = store.projections.promise(until, Duration::from_secs(5)).await.unwrap().horizon;
    store.projections.decide(horizon).await.unwrap();
    assert_eq!((store.projections.horizon(), store.facts_here()), (None, 3));
    store.projections.go_on_forgetting().await.unwrap();
    assert_eq!(store.projections.horizon(), Some(horizon));
    store.close();
}

#[tokio::test]
async fn nothing_is_promised_while_another_promise_is_made() {
    let slow = || thread::sleep(Duration::from_millis(20));
    let engine = Hooked { on_sync: Box::new(slow), ..Hooked::default() };
    let store = Fixture::on(Arc::new(engine));
    let (until, none) = (store.moment(), Duration::ZERO);
    let (one, other) = tokio::join!(store.projections.promise(until, none), store.projections.promise(until, none));
    assert!(one.is_ok() && matches!(other, Err(ForgetError::Busy)), "{other:?}");
    store.close();
}

/// Whoever waits for another horizon is not woken by one that it could have seen, nor by a step that leads to none.
#[tokio::test]
async fn a_horizon_is_told_once() {
    let store = Fixture::memory();
    store.accept(draft("a", "t-1", "old")).await;
    store.retire("a").await;
    store.pass(1);
    let is_pending = async |mut watch: watch::Receiver<Option<Horizon>>| {
        tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.is_err()
    };
    let early = store.projections.watch_horizon();
    let horizon = store.projections.promise(store.moment(), Duration::ZERO).await.unwrap().horizon;
    assert!(is_pending(early).await && is_pending(store.projections.watch_horizon()).await);
    let waiting = store.projections.watch_horizon();
    store.projections.forget(horizon).await.unwrap();
    assert!(!is_pending(waiting).await && is_pending(store.projections.watch_horizon()).await);
    store.close();
}

#[tokio::test]
async fn a_full_disk_does_not_forget_and_goes_on() {
    let store = Fixture::memory();
    let until = furnish(&store).await;
    let promise = store.projections.promise(until, Duration::ZERO).await.unwrap();
    store.free.store(0, Ordering::SeqCst);
    store.pass(1);
    let refused = store.projections.forget(promise.horizon).await;
    assert!(matches!(refused, Err(ForgetError::Write(WriteError::DiskFull { .. }))), "{refused:?}");
    let refused = store.projections.promise(until, Duration::ZERO).await;
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
