//! What a store says of its facts is what the log holds, and two stores that ask each other become equal.

use std::time::Instant;

use plimsoll_domain::projection::reconcile::{Answer, Leaves, Question, Range, Reconciliation, Summary, compare};
use plimsoll_domain::projection::{Body, Fact, FactHash, FactKey, Fingerprint};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::{self, StoredFact};

use super::*;
use crate::engine::{Batch, Direction, KeyRange, Table};
use crate::layout;
use crate::reconciling::Holdings;

/// What a store holds, once it has counted it.
pub(super) fn holdings(projections: &Projections) -> Holdings {
    let begun = Instant::now();
    loop {
        if let Some(holdings) = projections.summary() {
            return holdings;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the writer does not count");
        thread::yield_now();
    }
}

/// The fingerprints of ranges are those of the log.
pub(super) fn check(store: &Fixture) {
    let counted = holdings(&store.projections);
    let mut leaves = Leaves::default();
    let mut met = vec![Range::WHOLE];
    for (_, fact) in packs::log_of(store) {
        let key = FactKey::of(&store.tenant, &fact);
        leaves.add(key, FactHash::of(&store.tenant, &fact));
        met.push(Range::leaf_of(key));
    }
    for range in met {
        assert_eq!(counted.fingerprint(range), leaves.fingerprint(range), "{range:?}");
    }
    assert_eq!(counted.root(), store.projections.fingerprint().unwrap());
    assert!(!counted.was_wrong());
}

/// One fetches of another what it lacks, in pages of so many bytes. Returns how many facts that were.
pub(super) async fn reconcile(to: &Projections, from: &Projections, bytes_max: usize) -> usize {
    let (own, theirs) = (holdings(to), holdings(from));
    let mut run = Reconciliation::start(own.root(), theirs.root());
    let mut fetched = 0;
    while let Some(question) = run.next(&own).unwrap() {
        question.check().unwrap();
        let answer = match question {
            Question::Compare(ranges) => compare(&ranges, &theirs).unwrap(),
            Question::Facts { ranges, after, have } => {
                let page = from.facts_in(&ranges, after, &have, bytes_max).await.unwrap();
                let facts = page.items.into_iter().map(|stored| (stored.tenant, stored.fact)).collect();
                Answer::Facts { facts, next: page.next }
            }
        };
        let facts = run.take(answer, &own).unwrap();
        fetched += facts.len();
        let facts = facts.into_iter().map(|(tenant, fact)| StoredFact { tenant, fact }).collect();
        let outcomes = to.absorb(Horizon::default(), facts).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
    fetched
}

fn rows(engine: &dyn Engine, prefix: &[u8]) -> usize {
    engine.scan(Table::Meta, KeyRange::prefix(prefix), Direction::Forward).count()
}

fn at(id: &str, time: u64) -> StoredFact {
    let transition = post(draft("a", id, "x")).submission.transition;
    let stamp = Timestamp { time: UnixNanos::new(time), node: NodeId::new(9) };
    StoredFact { tenant: TenantId::parse("acme").unwrap(), fact: Fact::new(Body::Transition(transition), stamp) }
}

/// Only a fact that is in a checkpoint is noted when it is taken out, and only until the next checkpoint.
#[tokio::test]
async fn a_post_writes_no_row_for_the_count() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let noted = || (rows(&engine, layout::LEAVES_PREFIX), rows(&engine, layout::GONE_PREFIX));
    for id in 0..3 {
        store.accept(draft("a", &format!("t-{id}"), "x")).await;
    }
    store.projections.absorb(Horizon::default(), vec![at("t-0", START - 1)]).await.unwrap().remove(0).unwrap();
    assert_eq!(noted(), (0, 0));
    check(&store);
    store.close();
    assert_eq!(engine.unsynced_batches(), 0, "what is noted at the close is durable");
    assert_eq!(noted(), (3, 0), "one block for each fact, as their keys are");

    let store = Fixture::on(Arc::new(engine.clone()));
    assert!(store.projections.summary().is_some(), "nothing is left to count");
    store.projections.absorb(Horizon::default(), vec![at("t-1", START - 1)]).await.unwrap().remove(0).unwrap();
    assert_eq!(noted(), (3, 1));
    check(&store);
    store.close();
    assert_eq!(noted(), (3, 0));
}

/// A data directory of an older version, or one that failed before its first checkpoint.
#[tokio::test]
async fn without_a_checkpoint_the_log_is_counted() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    for id in 0..20 {
        store.accept(draft("a", &format!("t-{id}"), "x")).await;
    }
    store.close();
    let mut batch = Batch::default();
    batch.remove(Table::Meta, layout::LEAVES.to_vec());
    (0..=u8::MAX).for_each(|block| batch.remove(Table::Meta, layout::leaves(block)));
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.accept(draft("b", "meanwhile", "x")).await;
    store.projections.absorb(Horizon::default(), vec![at("t-1", START - 1)]).await.unwrap().remove(0).unwrap();
    check(&store);
    store.close();
    check(&Fixture::on(Arc::new(engine)));
}

#[tokio::test]
async fn a_wrong_checkpoint_is_found_out_and_mended() {
    mend_checkpoint_with(v1::encode_leaves(&[(0, Fingerprint { sum: 1, count: 1 })])).await;
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_read_is_mended() {
    mend_checkpoint_with(vec![0]).await;
}

async fn mend_checkpoint_with(block: Vec<u8>) {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    for id in 0..20 {
        store.accept(draft("a", &format!("t-{id}"), "x")).await;
    }
    let root = holdings(&store.projections).root();
    store.close();
    let mut batch = Batch::default();
    let key = FactKey::of(&TenantId::parse("acme").unwrap(), &at("t-0", START).fact);
    batch.put(Table::Meta, layout::leaves(key.bytes()[0]), block);
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
    let store = Fixture::on(Arc::new(engine.clone()));
    assert!(holdings(&store.projections).was_wrong());
    assert_eq!(holdings(&store.projections).root(), root);
    store.accept(draft("a", "one-more", "x")).await;
    store.close();
    let store = Fixture::on(Arc::new(engine));
    assert!(store.projections.summary().is_some(), "the next checkpoint is right");
    check(&store);
    assert_eq!(holdings(&store.projections).root().count, root.count + 1);
}

/// The store is written and read all the same, and counts when it can.
#[tokio::test]
async fn a_log_that_cannot_be_read_is_counted_later() {
    let (engine, countdown) = faults::flaky();
    let store = Fixture::on(Arc::clone(&engine) as Arc<dyn Engine>);
    store.accept(draft("a", "t-0", "x")).await;
    store.close();
    let mut batch = Batch::default();
    batch.remove(Table::Meta, layout::LEAVES.to_vec());
    engine.disk.commit(batch).unwrap();
    let reads_of_opening = 8;
    countdown.store(reads_of_opening + 1, Ordering::SeqCst);
    let store = Fixture::on(engine);
    while countdown.load(Ordering::SeqCst) > 0 {
        thread::yield_now();
    }
    assert!(store.projections.summary().is_none());
    store.accept(draft("a", "t-1", "x")).await;
    check(&store);
}

/// Facts are told once they are durable, and fingerprints may be ahead.
#[tokio::test]
async fn facts_are_not_told_before_they_are_durable() {
    let (engine, gate) = durability::gated();
    let store = Fixture::on(Arc::clone(&engine) as Arc<dyn Engine>);
    store.accept(draft("a", "t-0", "x")).await;
    gate.close();
    let posting = store.post(draft("a", "t-1", "x"));
    let asking = async {
        while holdings(&store.projections).root().count < 2 {
            tokio::task::yield_now().await;
        }
        let mut asked = Box::pin(store.projections.facts_in(&[Range::WHOLE], None, &[], 1 << 20));
        let early = tokio::time::timeout(Duration::from_millis(20), &mut asked).await;
        assert!(early.is_err(), "{early:?}");
        gate.open();
        assert_eq!(asked.await.unwrap().items.len(), 2);
    };
    let (posted, ()) = tokio::join!(posting, asking);
    posted.unwrap();
}

#[tokio::test]
async fn pages_are_of_their_ranges_and_within_their_bytes() {
    let store = Fixture::memory();
    for id in 0..200 {
        store.accept(draft("a", &format!("t-{id}"), "x")).await;
    }
    let mut facts: Vec<_> = packs::log_of(&store).into_iter().map(|(_, fact)| fact).collect();
    facts.sort_by_key(|fact| FactKey::of(&store.tenant, fact));
    let key = |fact: &Fact| FactKey::of(&store.tenant, fact);
    let digest = |fact: &Fact| FactHash::of(&store.tenant, fact).digest();
    let bytes = v1::encode_fact(&store.tenant, &facts[0]).len();
    let ranges = [Range::new(1, 2).unwrap(), Range::new(2, 0x7a).unwrap(), Range::new(1, 12).unwrap()];
    let asked = |fact: &&Fact| ranges.iter().any(|range| range.contains(key(fact)));
    let known: Vec<u64> = facts.iter().step_by(3).map(digest).collect();
    let expected: Vec<&Fact> = facts.iter().filter(asked).filter(|fact| !known.contains(&digest(fact))).collect();
    assert!(expected.len() > 4);
    for facts_a_page in [1, 3, 100] {
        let (mut told, mut after) = (Vec::new(), None);
        loop {
            let page = store.projections.facts_in(&ranges, after, &known, facts_a_page * (bytes + 2)).await.unwrap();
            assert!(page.items.len() <= facts_a_page);
            told.extend(page.items.into_iter().map(|stored| stored.fact));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(told.iter().collect::<Vec<_>>(), expected);
    }
    let tiny = store.projections.facts_in(&[Range::WHOLE], None, &[], 0).await.unwrap();
    assert_eq!((tiny.items.len(), tiny.next), (1, Some(key(&facts[0]))), "one at least");
    let digests = store.projections.digests_in(Range::WHOLE, Some(key(&facts[9])), 20).unwrap();
    assert_eq!(digests, facts[10..30].iter().map(digest).collect::<Vec<_>>());
}

#[tokio::test]
async fn facts_that_are_missing_and_too_far_ahead_wait_alone() {
    let store = Fixture::memory();
    let facts = vec![at("t-1", START), at("t-2", START + 60_000_000_000), at("t-3", START + 1)];
    let outcomes = store.projections.absorb(Horizon::default(), facts).await.unwrap();
    assert!(matches!(outcomes.as_slice(), [Ok(_), Err(WriteError::FromTheFuture(_)), Ok(_)]), "{outcomes:?}");
    assert_eq!(holdings(&store.projections).root().count, 2);
    assert!(store.projections.absorb(Horizon::default(), Vec::new()).await.unwrap().is_empty());
}

/// Joined facts move to the end of the log under the eyes of who asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn facts_that_move_are_told() {
    let store = Arc::new(Fixture::memory());
    for id in 0..4 {
        store.accept(draft("a", &format!("t-{id}"), "x")).await;
    }
    let moving = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 1..400 {
                let facts = (0..4).map(|id| at(&format!("t-{id}"), START + round)).collect();
                assert!(store.projections.absorb(Horizon::default(), facts).await.unwrap().iter().all(Result::is_ok));
            }
        }
    });
    while !moving.is_finished() {
        assert_eq!(store.projections.facts_in(&[Range::WHOLE], None, &[], 1 << 20).await.unwrap().items.len(), 4);
        assert_eq!(store.projections.digests_in(Range::WHOLE, None, 9).unwrap().len(), 4);
        assert_eq!(holdings(&store.projections).root().count, 4);
    }
    moving.await.unwrap();
    check(&store);
}
