//! What a head holds and what is apart from it, what shares a row and what does not, must not be told apart by a reader.

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_domain::projection::{Fact, FactKey, Fingerprint, Projection};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::{v1, v2};
use proptest::prelude::*;

use super::*;
use crate::engine::{Batch, Direction, KeyRange, Table};
use crate::format::{Run, migrate};
use crate::layout;
use crate::staging::Staging;
use crate::writer::Series;

/// A step of one writer. Numbers are small, so that artifacts, ids and refs meet again.
#[derive(Debug, Clone)]
enum Step {
    /// A batch of transitions: artifact, id, and the refs it brings.
    Batch(Vec<(u8, u16, BTreeSet<u8>)>),
    Retire(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let refs = proptest::collection::btree_set(0..14_u8, 0..3);
    let batch = proptest::collection::vec((0..3_u8, 0..400_u16, refs), 1..40).prop_map(Step::Batch);
    proptest::collection::vec(prop_oneof![6 => batch, 1 => (0..3_u8).prop_map(Step::Retire)], 1..8)
}

async fn take(store: &Fixture, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Retire(at) => {
                let id = artifact(&format!("a-{at}"));
                let outcome = store.projections.retire(&store.tenant, id, Expectation::Any).await;
                assert!(matches!(outcome, Ok(_) | Err(WriteError::NotProjected)), "{outcome:?}");
            }
            Step::Batch(posts) => {
                let posts = posts.iter().map(|(at, id, refs)| {
                    let refs = refs.iter().map(|key| pending(&key.to_string())).collect();
                    post(with_refs(draft(&format!("a-{at}"), &format!("t-{id}"), "x"), refs))
                });
                let series = Series::default();
                let sent = store.projections.enqueue(&store.tenant, posts.collect(), &series).await.unwrap();
                for outcome in sent.outcomes().await {
                    assert!(matches!(outcome, Ok(_) | Err(WriteError::Refused(_))), "{outcome:?}");
                }
            }
        }
    }
}

/// Every fact of the log, with its sequence.
pub(super) fn log_of(store: &Fixture) -> Vec<(u64, Fact)> {
    let rows = store.projections.engine.scan(Table::Log, KeyRange::prefix(&[]), Direction::Forward);
    let mut facts = Vec::new();
    for row in rows {
        let (key, pack) = row.unwrap();
        for (sequence, fact) in crate::log::facts_of(&key, &pack).unwrap() {
            facts.push((sequence, v1::decode_fact(fact).unwrap().fact));
        }
    }
    facts
}

/// What readers are told is the fold of the log from scratch.
pub(super) async fn check(store: &Fixture, page: usize) {
    let mut artifacts: BTreeMap<ArtifactId, Vec<Fact>> = BTreeMap::new();
    let log = log_of(store);
    for (_, fact) in &log {
        artifacts.entry(fact.artifact().clone()).or_default().push(fact.clone());
    }
    for (id, mut facts) in artifacts {
        facts.sort_by_key(|fact| fact.first);
        let (projection, _) = Projection::fold(facts.iter());
        let token = projection.token(&id).filter(|_| projection.is_visible());
        assert_eq!(store.token(id.as_str()).await, token, "{id}");
        let whole = store.projections.projection(&store.tenant, &id).await.unwrap();
        assert_eq!(whole.as_ref().map(|whole| whole.refs.len() as u64), token.map(|_| projection.refs.count));
        let visible = facts.iter().filter(|fact| Some(fact.first) > projection.tombstone && projection.is_visible());
        let expected: Vec<_> = visible.rev().map(|fact| fact.transition().unwrap().id.to_string()).collect();
        assert_eq!(history(store, &id, page).await, expected, "{id}");
        let stamps: Vec<_> = facts.iter().map(|fact| fact.first).collect();
        assert_eq!(entries(store, &id).await, stamps, "each fact of {id} has an entry, and each entry a fact");
        for fact in facts.iter().filter_map(Fact::transition) {
            assert!(store.projections.contains(&store.tenant, &id, &fact.id).await.unwrap());
        }
    }
    for (sequence, fact) in log {
        let after = Position { sequence: sequence - 1, ..store.projections.position() };
        let changes = store.projections.changes(&store.tenant, after).await.unwrap();
        assert!(changes.artifacts.iter().any(|(artifact, _)| artifact == fact.artifact()), "{sequence}");
        assert_eq!(changes.next, store.projections.position());
    }
}

/// The effective stamps of the facts that the history of an artifact leads to, oldest first.
async fn entries(store: &Fixture, id: &ArtifactId) -> Vec<Timestamp> {
    let head = store.projections.head(&store.tenant, id).unwrap().unwrap();
    let staging = Staging::over(&*store.projections.engine);
    staging.facts_of(&store.tenant, id, &head.history).map(|fact| fact.unwrap().first).collect()
}

async fn history(store: &Fixture, id: &ArtifactId, page: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut before: Option<Timestamp> = None;
    while let Some(part) = store.projections.history(&store.tenant, id, before, page).await.unwrap() {
        told.extend(part.items.iter().map(|past| past.transition.id.to_string()));
        before = part.next;
        if before.is_none() {
            break;
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn readers_are_told_the_fold_of_the_log(
        before in steps(),
        after in steps(),
        page in 1..12_usize,
        cache in prop_oneof![Just(1 << 10), Just(1 << 20)],
    ) {
        let engine = Memory::new();
        let open = || Fixture::with(Arc::new(engine.clone()), |options| {
            options.cursor_cache_bytes = cache;
            options.head_cache_bytes = cache;
        });
        let store = open();
        block_on(async { take(&store, &before).await; check(&store, page).await });
        store.close();
        let store = open();
        block_on(async { take(&store, &after).await; check(&store, page).await });
    }
}

#[tokio::test]
async fn facts_of_one_group_share_rows_and_heads_hold_what_is_small() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let posts = (0..130).map(|at| post(draft(&format!("a-{at}"), &format!("t-{at}"), "x")));
    let sent = store.projections.enqueue(&store.tenant, posts.collect(), &Series::default()).await.unwrap();
    assert!(sent.outcomes().await.iter().all(Result::is_ok));
    let rows = |table| engine.scan(table, KeyRange::prefix(&[]), Direction::Forward).count();
    assert_eq!([Table::Log, Table::Identity, Table::Head, Table::History, Table::Ref].map(rows), [3, 130, 130, 0, 0]);
    assert_eq!(log_of(&store).len(), 130);
    let long = "k".repeat(256);
    let refs = (0..20).map(|at| pending(&format!("{at}{}", &long[4..]))).collect::<Vec<_>>();
    let posts = (0..6).map(|at| post(with_refs(draft("b", &format!("b-{at}"), "x"), refs.clone())));
    let sent = store.projections.enqueue(&store.tenant, posts.collect(), &Series::default()).await.unwrap();
    assert!(sent.outcomes().await.iter().all(Result::is_ok));
    assert_eq!(rows(Table::Log), 3 + 2, "16 KiB hold three facts of 5 KiB, and not four");
}

/// A reader may hold a head that was read before its oldest entries went to the table.
#[tokio::test]
async fn an_entry_that_leaves_the_head_is_told_once() {
    let store = Fixture::memory();
    for at in 0..12 {
        store.accept(draft("a", &format!("t-{at}"), "x")).await;
    }
    let before = store.projections.head(&store.tenant, &artifact("a")).unwrap().unwrap().history;
    for at in 12..20 {
        store.accept(draft("a", &format!("t-{at}"), "x")).await;
    }
    let prefix = layout::of_artifact(&store.tenant, &artifact("a"));
    let told: Vec<_> = store.projections.entries(&prefix, &before, None).map(|entry| entry.unwrap().0).collect();
    assert_eq!(told.len(), 12);
    assert!(told.is_sorted_by(|newer, older| newer > older));
}

/// Where a head has room is decided by stamps, not by the order of arrival.
#[test]
fn an_entry_older_than_those_apart_goes_to_them() {
    let engine = Memory::new();
    let (tenant, id) = (TenantId::parse("acme").unwrap(), artifact("a"));
    let stamp = |time| Timestamp { time: UnixNanos::new(time), node: NodeId::new(1) };
    let mut staging = Staging::over(&engine);
    let mut history = v2::StoredHistory::default();
    let place = v2::Place { sequence: 1, offset: 0 };
    for time in (10..30).chain([5, 12, 29, 31]) {
        staging.put_history(&tenant, &id, &mut history, (stamp(time), place));
    }
    let (batch, prefix) = (staging.into_batch(), layout::of_artifact(&tenant, &id));
    let apart = batch.range(Table::History, KeyRange::prefix(&prefix));
    let apart: Vec<_> = apart.map(|(key, _)| layout::history_stamp(key).unwrap()).collect();
    assert_eq!(history.apart.as_ref(), apart.last());
    let all: Vec<_> = apart.into_iter().chain(history.recent.into_iter().map(|(stamp, _)| stamp)).collect();
    assert_eq!(all, [5].into_iter().chain(10..30).chain([31]).map(stamp).collect::<Vec<_>>());
}

/// Records of version 1 are found, added to, and told: nothing has to be rewritten when a store is migrated.
#[tokio::test]
async fn an_artifact_of_version_1_goes_on() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.accept(draft("a-0", "hidden", "x")).await;
    store.projections.retire(&store.tenant, artifact("a-0"), Expectation::Any).await.unwrap();
    for at in 0..3 {
        store.accept(with_refs(draft("a-0", &format!("t-{at}"), "x"), vec![pending(&at.to_string())])).await;
    }
    store.close();
    as_of_version_1(&engine, &TenantId::parse("acme").unwrap(), &artifact("a-0"));
    let migration = migrate(&engine, Run::Real).unwrap();
    assert_eq!((migration.from, migration.facts), (2, 5));
    let store = Fixture::on(Arc::new(engine.clone()));
    check(&store, 2).await;
    assert!(store.accept(with_refs(draft("a-0", "t-1", "x"), vec![pending("1")])).await.repeated);
    store.accept(with_refs(draft("a-0", "t-3", "y"), vec![resolved("1", 7), pending("9")])).await;
    for at in 4..16 {
        store.accept(draft("a-0", &format!("t-{at}"), "z")).await;
    }
    check(&store, 2).await;
    store.projections.retire(&store.tenant, artifact("a-0"), Expectation::Any).await.unwrap();
    assert_eq!(engine.scan(Table::Ref, KeyRange::prefix(&[]), Direction::Forward).count(), 0);
    store.accept(draft("a-0", "again", "x")).await;
    check(&store, 2).await;
    let mut counted = Fingerprint::default();
    log_of(&store).iter().for_each(|(_, fact)| counted.add(&store.tenant, fact));
    assert_eq!(store.projections.fingerprint().unwrap(), counted);
    let tombstones = log_of(&store).into_iter().filter(|(_, fact)| fact.transition().is_none());
    assert_eq!(tombstones.count(), 1);
}

/// A feed that is longer than a page, of packs that are cut by its ends.
#[tokio::test]
async fn a_long_feed_is_told_whole_whichever_way_it_is_cut() {
    let store = Fixture::memory();
    for group in 0..6 {
        let posts = (0..350).map(|at| post(draft(&format!("a-{at}"), &format!("t-{group}-{at}"), "x")));
        let sent = store.projections.enqueue(&store.tenant, posts.collect(), &Series::default()).await.unwrap();
        assert!(sent.outcomes().await.iter().all(Result::is_ok));
    }
    for start in [0, 1, 63, 64, 65, 777] {
        let (mut after, mut told) = (start, Vec::new());
        loop {
            let position = Position { sequence: after, ..store.projections.position() };
            let delivery = store.facts(position).await.unwrap();
            if delivery.facts.is_empty() {
                break;
            }
            told.extend(delivery.facts.iter().map(|(sequence, _)| *sequence));
            after = delivery.up_to;
        }
        assert_eq!(told, (start + 1..=2_100).collect::<Vec<_>>());
    }
}

/// Writes the rows of an artifact anew, as version 1 did: one a fact, one an entry of the history, one a ref, and none
/// for where the tombstone is.
pub(super) fn as_of_version_1(engine: &Memory, tenant: &TenantId, id: &ArtifactId) {
    let (key, prefix) = (layout::head(tenant, id), layout::of_artifact(tenant, id));
    let head = v2::decode_head(&engine.get(Table::Head, &key).unwrap().unwrap()).unwrap();
    let v2::StoredRefs::Here(refs) = head.refs else { panic!("the refs are few") };
    let mut batch = Batch::default();
    batch.put(Table::Head, key, v1::encode_head(&head.projection, head.sequence));
    for (stamp, place) in head.history.recent {
        assert_eq!(place.offset, 0, "each is in a group of its own");
        batch.put(Table::History, layout::history(&prefix, stamp), v1::encode_number(place.sequence));
        let row = layout::log(place.sequence);
        let pack = engine.get(Table::Log, &row).unwrap().unwrap();
        let fact = v2::decode_pack(&pack).unwrap()[0].unwrap().to_vec();
        match v1::decode_fact(&fact).unwrap().fact.transition() {
            Some(transition) => {
                let identity = FactKey::of_transition(tenant, &transition.id).bytes().to_vec();
                batch.put(Table::Identity, identity, v1::encode_number(place.sequence));
            }
            None => batch.remove(Table::Identity, FactKey::of_tombstone(tenant, id).bytes().to_vec()),
        }
        batch.put(Table::Log, row, fact);
    }
    for (key, state) in refs {
        batch.put(Table::Ref, layout::produced_ref(&prefix, &key), v1::encode_ref(&key, &state));
    }
    batch.put(Table::Meta, layout::FORMAT.to_vec(), v1::encode_number(2));
    batch.remove(Table::Meta, layout::FINGERPRINT.to_vec());
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
}

/// Who follows a feed may leave out what it has from elsewhere, and is told how far it is all the same.
#[tokio::test]
async fn a_page_holds_what_is_wanted_up_to_its_bytes() {
    let store = Fixture::memory();
    for at in 0..6 {
        store.accept(draft("a", &format!("t-{at}"), "s")).await;
    }
    let start = Position { sequence: 0, ..store.projections.position() };
    let all = store.facts(start).await.unwrap();
    let half = v1::decode_fact_stamps(&all.facts[3].1).unwrap().0;
    let later = store.projections.facts(start, usize::MAX, |first, _| first >= half).await.unwrap().unwrap();
    assert_eq!((&later.facts[..], later.up_to), (&all.facts[3..], 6));
    let none = store.projections.facts(start, usize::MAX, |_, _| false).await.unwrap().unwrap();
    assert_eq!((none.facts.len(), none.up_to), (0, 6));
    let bytes = all.facts[0].1.len() + 1;
    let short = store.projections.facts(start, bytes, |_, _| true).await.unwrap().unwrap();
    assert_eq!((&short.facts[..], short.up_to), (&all.facts[..2], 2));
    store.close();
}
