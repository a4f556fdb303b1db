//! Stores that take over each other's feeds become one store.

use std::collections::BTreeMap;

use plimsoll_domain::projection::{Body, Fact, Fingerprint, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::StoredFact;
use proptest::prelude::*;

use super::*;
use crate::projections::Whole;
use crate::receiving::Delivery;

const NODES: usize = 3;
const ARTIFACTS: u8 = 2;

/// Who asks whom.
const PAIRS: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];

/// What happens, a millisecond after what happened before. Numbers are small, so that ids, refs and artifacts meet.
#[derive(Debug, Clone)]
enum Step {
    Post {
        node: usize,
        artifact: u8,
        id: u8,
        variant: u8,
        refs: BTreeMap<u8, Option<u64>>,
    },
    Retire {
        node: usize,
        artifact: u8,
    },
    /// One takes over a page of the other's feed.
    Pull {
        node: usize,
        peer: usize,
    },
    /// The same page arrives again.
    Again {
        node: usize,
        peer: usize,
    },
    /// The store is closed in order, and then the power fails.
    Crash {
        node: usize,
    },
    /// The disk fails while it syncs; of what it had not synced some is there after the restart.
    Fail {
        node: usize,
        kept: usize,
    },
    /// One fetches of the other what it lacks.
    Reconcile {
        node: usize,
        peer: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let refs = proptest::collection::btree_map(0..6_u8, proptest::option::of(1..3_u64), 0..3);
    let (node, artifact) = (0..NODES, 0..ARTIFACTS);
    let step = prop_oneof![
        12 => (node.clone(), artifact.clone(), 0..12_u8, 0..2_u8, refs)
            .prop_map(|(node, artifact, id, variant, refs)| Step::Post { node, artifact, id, variant, refs }),
        2 => (node.clone(), artifact).prop_map(|(node, artifact)| Step::Retire { node, artifact }),
        5 => (node.clone(), node.clone()).prop_map(|(node, peer)| Step::Pull { node, peer }),
        1 => (node.clone(), node.clone()).prop_map(|(node, peer)| Step::Again { node, peer }),
        1 => node.clone().prop_map(|node| Step::Crash { node }),
        1 => (node.clone(), 0..3_usize).prop_map(|(node, kept)| Step::Fail { node, kept }),
        2 => (node.clone(), node).prop_map(|(node, peer)| Step::Reconcile { node, peer }),
    ];
    proptest::collection::vec(step, 1..80)
}

fn drafts(refs: &BTreeMap<u8, Option<u64>>) -> Vec<RefDraft> {
    let draft = |(key, number): (&u8, &Option<u64>)| match number {
        None => pending(&key.to_string()),
        Some(number) => resolved(&key.to_string(), *number),
    };
    refs.iter().map(draft).collect()
}

/// Nodes on disks that forget what was not synced.
struct Cluster {
    engines: Vec<Memory>,
    stores: Vec<Fixture>,
    failures: usize,
}

impl Cluster {
    fn new() -> Self {
        let engines: Vec<_> = (0..NODES).map(|_| Memory::new()).collect();
        let stores = (0..NODES).map(|node| open(&engines[node], node)).collect();
        Self { engines, stores, failures: 0 }
    }

    async fn take(&mut self, step: &Step) {
        for store in &self.stores {
            store.now.fetch_add(1_000_000, Ordering::SeqCst);
        }
        match step {
            Step::Post { node, artifact, id, variant, refs } => {
                let posted = draft(&format!("a-{artifact}"), &format!("{artifact}-{id}"), &format!("s-{variant}"));
                let outcome = self.stores[*node].post(with_refs(posted, drafts(refs))).await;
                assert!(matches!(outcome, Ok(_) | Err(WriteError::Refused(_))), "{outcome:?}");
            }
            Step::Retire { node, artifact: at } => {
                let store = &self.stores[*node];
                let id = artifact(&format!("a-{at}"));
                let outcome = store.projections.retire(&store.tenant, id, Expectation::Any).await;
                assert!(matches!(outcome, Ok(_) | Err(WriteError::NotProjected)), "{outcome:?}");
            }
            Step::Pull { node, peer } => drop(self.pull(*node, *peer).await),
            Step::Again { node, peer } => {
                let delivery = self.pull(*node, *peer).await;
                let before = self.stores[*node].projections.fingerprint().unwrap();
                let outcomes = self.stores[*node].projections.receive(delivery).await.unwrap();
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Accepted { repeated: true, .. }))));
                assert_eq!(self.stores[*node].projections.fingerprint().unwrap(), before);
            }
            Step::Crash { node } => self.restart(*node, 0),
            Step::Fail { node, kept } => {
                let (engine, store) = (&self.engines[*node], &self.stores[*node]);
                engine.fail_next_sync();
                self.failures += 1;
                let outcome = store.post(draft("unsure", &format!("unsure-{}", self.failures), "x")).await;
                assert!(matches!(outcome, Err(WriteError::Failed(StoreFailure::Disk))), "{outcome:?}");
                self.restart(*node, *kept);
            }
            Step::Reconcile { node, peer } => {
                let (to, from) = (&self.stores[*node].projections, &self.stores[*peer].projections);
                reconciling::reconcile(to, from, 300).await;
            }
        }
    }

    fn restart(&mut self, node: usize, kept: usize) {
        let engine = &self.engines[node];
        std::mem::replace(&mut self.stores[node], Fixture::memory()).close();
        engine.crash_keeping(kept);
        std::mem::replace(&mut self.stores[node], open(engine, node)).close();
    }

    async fn pull(&self, node: usize, peer: usize) -> Delivery {
        let (to, from) = (&self.stores[node].projections, &self.stores[peer].projections);
        let watermark = to.watermark(from.identity().node).unwrap();
        let start = Position { sequence: watermark.map_or(0, |watermark| watermark.sequence), ..from.position() };
        let page = self.stores[peer].facts(start).await.expect("it is a position of that feed");
        let delivery = Delivery::read(start, Horizon::default(), &page.facts, page.up_to).unwrap();
        let outcomes = to.receive(delivery.clone()).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(to.watermark(delivery.peer).unwrap().map_or(0, |watermark| watermark.sequence), delivery.up_to);
        delivery
    }

    /// Until each has all there is: what is merged goes on in the feed of who merged it.
    async fn heal(&self) -> Fingerprint {
        for _ in 0..4 {
            for node in 0..NODES {
                for peer in 0..NODES {
                    self.pull(node, peer).await;
                }
            }
        }
        let all: Vec<_> = self.stores.iter().map(|store| store.projections.fingerprint().unwrap()).collect();
        assert!(all.iter().all(|fingerprint| *fingerprint == all[0]), "{all:?}");
        all[0]
    }

    async fn whole(&self, node: usize, id: &str) -> Option<Whole> {
        let store = &self.stores[node];
        store.projections.projection(&store.tenant, &artifact(id)).await.unwrap()
    }
}

/// Whoever follows a node for its own facts would miss one that it does not know of.
fn knows_where_its_own_facts_are(store: &Fixture) {
    let node = store.projections.identity().node;
    for (sequence, fact) in packs::log_of(store) {
        let is_own = [fact.first.node, fact.last.node].contains(&node);
        assert!(!is_own || store.projections.may_have_own_after(sequence - 1), "{fact:?} at {sequence}");
    }
}

fn open(engine: &Memory, node: usize) -> Fixture {
    Fixture::named(Arc::new(engine.clone()), node as u64 + 1, |options| {
        options.cursor_cache_bytes = 4 << 10;
        options.head_cache_bytes = 4 << 10;
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// *converge*, *once* and *forward* of `replication.md`, on the store alone.
    #[test]
    fn replicas_converge_to_the_fold_of_all_facts(steps in steps()) {
        block_on(async {
            let mut cluster = Cluster::new();
            let mut seen: BTreeMap<(usize, u8), Timestamp> = BTreeMap::new();
            for step in &steps {
                cluster.take(step).await;
                cluster.stores.iter().for_each(reconciling::check);
                cluster.stores.iter().for_each(knows_where_its_own_facts_are);
                for node in 0..NODES {
                    for at in 0..ARTIFACTS {
                        let Some(token) = cluster.stores[node].token(&format!("a-{at}")).await else { continue };
                        let before = seen.insert((node, at), token.stamp);
                        assert!(before <= Some(token.stamp), "a stamp went back");
                    }
                }
            }
            let fingerprint = cluster.heal().await;
            for store in &cluster.stores {
                packs::check(store, 3).await;
                let log = packs::log_of(store);
                let mut counted = Fingerprint::default();
                log.iter().for_each(|(_, fact)| counted.add(&store.tenant, fact));
                assert_eq!(counted, fingerprint, "the fingerprint is that of the log");
                let usage = store.projections.usage(&store.tenant).unwrap();
                assert_eq!(usage.facts, fingerprint.count);
            }
            for at in 0..ARTIFACTS {
                let id = format!("a-{at}");
                for node in 1..NODES {
                    assert_eq!(cluster.whole(node, &id).await, cluster.whole(0, &id).await, "{id}");
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// *converge* by anti-entropy alone, whatever came before: two rounds reach every node by way of every other.
    #[test]
    fn replicas_that_fetch_what_they_lack_become_equal(steps in steps(), bytes_max in 1..2_000_usize) {
        block_on(async {
            let mut cluster = Cluster::new();
            for step in &steps {
                cluster.take(step).await;
            }
            for (node, peer) in PAIRS.into_iter().chain(PAIRS) {
                let (to, from) = (&cluster.stores[node].projections, &cluster.stores[peer].projections);
                reconciling::reconcile(to, from, bytes_max).await;
            }
            for (node, peer) in PAIRS {
                let (to, from) = (&cluster.stores[node], &cluster.stores[peer]);
                assert_eq!(to.projections.fingerprint().unwrap(), from.projections.fingerprint().unwrap());
                reconciling::check(to);
                assert_eq!(reconciling::reconcile(&to.projections, &from.projections, 1).await, 0);
            }
            for at in 0..ARTIFACTS {
                let id = format!("a-{at}");
                for node in 1..NODES {
                    assert_eq!(cluster.whole(node, &id).await, cluster.whole(0, &id).await, "{id}");
                }
            }
        });
    }
}

/// A node that only takes over has nothing to look through for those who want what it stamps.
#[tokio::test]
async fn what_is_taken_over_is_not_a_nodes_own() {
    let cluster = Cluster::new();
    for id in ["t-1", "t-2"] {
        cluster.stores[1].accept(draft("a", id, "x")).await;
    }
    cluster.pull(0, 1).await;
    let [taker, stamper] = [0, 1].map(|node| &cluster.stores[node].projections);
    assert_eq!([taker, stamper].map(|projections| projections.may_have_own_after(0)), [false, true]);
    assert!(!stamper.may_have_own_after(stamper.position().sequence));
    cluster.stores[0].now.fetch_add(1_000_000, Ordering::SeqCst);
    cluster.stores[0].accept(draft("a", "t-3", "x")).await;
    assert!(taker.may_have_own_after(2));
}

/// Rule 6 where the two contents are of two artifacts: the earlier stands, whichever way they meet.
#[tokio::test]
async fn a_transition_id_of_two_artifacts_stands_for_the_earlier() {
    let cluster = Cluster::new();
    for (node, id) in [(0, "early"), (1, "late")] {
        cluster.stores[node].now.fetch_add(node as u64 * 1_000_000, Ordering::SeqCst);
        cluster.stores[node].accept(with_refs(draft(id, "t", "x"), vec![pending("k")])).await;
    }
    cluster.stores[1].accept(draft("late", "t-2", "y")).await;
    let shown = cluster.stores[1].token("late").await.unwrap();
    for (node, id) in [(0, "first"), (1, "only")] {
        cluster.stores[node].accept(draft(id, "u", "x")).await;
    }
    let only = cluster.stores[1].token("only").await.unwrap();
    cluster.heal().await;
    let head = cluster.stores[1].projections.head(&cluster.stores[1].tenant, &artifact("only")).unwrap().unwrap();
    assert!(!head.projection.is_visible());
    assert_eq!(head.projection.seen, Some(only.stamp), "no stamp goes back, not even that of what is gone");
    for node in 0..NODES {
        assert_eq!(cluster.whole(node, "early").await.unwrap().winner.transition.as_str(), "t");
        let late = cluster.whole(node, "late").await.unwrap();
        assert_eq!((late.winner.transition.as_str(), late.refs.len()), ("t-2", 0));
        assert_eq!(late.token.stamp, shown.stamp);
        let store = &cluster.stores[node];
        let transition = TransitionId::parse("t").unwrap();
        assert!(store.projections.contains(&store.tenant, &artifact("early"), &transition).await.unwrap());
        assert!(!store.projections.contains(&store.tenant, &artifact("late"), &transition).await.unwrap());
    }
}

/// What one delivery brings: an artifact for each id, so that what is joined is of one artifact; or its tombstone.
#[derive(Debug, Clone)]
enum Arrival {
    Transition { id: u8, variant: u8, refs: BTreeMap<u8, Option<u64>> },
    Tombstone { artifact: u8 },
}

fn arrivals() -> impl Strategy<Value = Vec<Vec<Arrival>>> {
    let refs = proptest::collection::btree_map(0..6_u8, proptest::option::of(1..3_u64), 0..3);
    let arrival = prop_oneof![
        8 => (0..8_u8, 0..2_u8, refs).prop_map(|(id, variant, refs)| Arrival::Transition { id, variant, refs }),
        1 => (0..ARTIFACTS).prop_map(|artifact| Arrival::Tombstone { artifact }),
    ];
    proptest::collection::vec(proptest::collection::vec(arrival, 1..20), 1..5)
}

fn fact_of(arrival: &Arrival, stamp: Timestamp) -> Fact {
    let body = match arrival {
        Arrival::Tombstone { artifact: at } => Body::Tombstone(artifact(&format!("a-{at}"))),
        Arrival::Transition { id, variant, refs } => {
            let (artifact, status) = (format!("a-{}", id % ARTIFACTS), format!("s-{variant}"));
            Body::Transition(Transition::parse(artifact, format!("t-{id}"), status, drafts(refs)).unwrap())
        }
    };
    Fact::new(body, stamp)
}

/// What is kept of facts: one a transition id, joined, and the greatest tombstone of each artifact.
fn kept(facts: &[Fact]) -> Vec<Fact> {
    let mut kept: BTreeMap<String, Fact> = BTreeMap::new();
    for fact in facts {
        let name =
            fact.transition().map_or_else(|| fact.artifact().to_string(), |transition| transition.id.to_string());
        kept.entry(name)
            .and_modify(|standing| match fact.body {
                Body::Transition(_) => *standing = standing.join(fact).fact,
                Body::Tombstone(_) if standing.first < fact.first => *standing = fact.clone(),
                Body::Tombstone(_) => {}
            })
            .or_insert_with(|| fact.clone());
    }
    kept.into_values().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Facts that meet in one group, in one pack even, are merged like those that come one by one.
    #[test]
    fn what_a_group_makes_of_facts_is_their_fold(
        groups in arrivals(),
        order in Just((0..100_u64).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        block_on(async {
            let store = Fixture::memory();
            let mut times = order.into_iter();
            let mut all = Vec::new();
            for group in groups {
                let facts = group.iter().map(|arrival| {
                    let time = times.next().expect("there are fewer arrivals");
                    let (time, node) = (UnixNanos::new(START - 1_000 + time), NodeId::new(time % 3));
                    (time.get(), StoredFact { tenant: store.tenant.clone(), fact: fact_of(arrival, Timestamp { time, node }) })
                });
                let facts: Vec<_> = facts.collect();
                all.extend(facts.iter().map(|(_, stored)| stored.fact.clone()));
                let delivery = Delivery { peer: NodeId::new(9), incarnation: 1, after: 0, horizon: Horizon::default(), facts, up_to: 1 };
                assert!(store.projections.receive(delivery).await.unwrap().iter().all(Result::is_ok));
            }
            let mut expected = Fingerprint::default();
            kept(&all).iter().for_each(|fact| expected.add(&store.tenant, fact));
            assert_eq!(store.projections.fingerprint().unwrap(), expected);
            packs::check(&store, 2).await;
        });
    }
}

fn fact_at(id: &str, millis_ahead: u64) -> StoredFact {
    let transition = post(draft("a", id, "x")).submission.transition;
    let stamp = Timestamp { time: UnixNanos::new(START + millis_ahead * 1_000_000), node: NodeId::new(9) };
    StoredFact { tenant: TenantId::parse("acme").unwrap(), fact: Fact::new(Body::Transition(transition), stamp) }
}

/// A fact from too far ahead stays where it is, with what follows it, and drags nobody's clock along.
#[tokio::test]
async fn a_fact_from_too_far_ahead_waits_at_its_origin() {
    let store = Fixture::memory();
    let facts = vec![(1, fact_at("t-1", 0)), (2, fact_at("t-2", 60_000)), (3, fact_at("t-3", 1))];
    let delivery =
        Delivery { peer: NodeId::new(9), incarnation: 1, after: 0, horizon: Horizon::default(), facts, up_to: 3 };
    let outcomes = store.projections.receive(delivery.clone()).await.unwrap();
    assert!(matches!(outcomes.as_slice(), [Ok(_), Err(WriteError::FromTheFuture(_))]), "{outcomes:?}");
    assert_eq!(store.projections.watermark(NodeId::new(9)).unwrap().unwrap().sequence, 1);
    let posted = store.accept(draft("b", "own", "x")).await;
    assert!(posted.token.stamp.time.get() < START + 1_000_000_000, "the clock was not dragged along");
    store.now.fetch_add(60_000_000_000, Ordering::SeqCst);
    let outcomes = store.projections.receive(delivery).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(store.projections.watermark(NodeId::new(9)).unwrap().unwrap().sequence, 3);
}

#[tokio::test]
async fn a_full_disk_takes_nothing_of_a_peer_and_says_so() {
    let store = Fixture::memory();
    store.free.store(0, Ordering::SeqCst);
    let delivery = Delivery {
        peer: NodeId::new(9),
        incarnation: 1,
        after: 0,
        horizon: Horizon::default(),
        facts: vec![(1, fact_at("t-1", 0))],
        up_to: 1,
    };
    let outcomes = store.projections.receive(delivery.clone()).await.unwrap();
    assert!(matches!(outcomes.as_slice(), [Err(WriteError::DiskFull { .. })]), "{outcomes:?}");
    assert_eq!(store.projections.watermark(NodeId::new(9)).unwrap(), None);
    store.free.store(u64::MAX, Ordering::SeqCst);
    assert!(store.projections.receive(delivery).await.unwrap()[0].is_ok());
}

/// A page that begins after a gap is merged, and does not say that the gap was filled.
#[tokio::test]
async fn a_watermark_does_not_jump_over_what_was_left_out() {
    let store = Fixture::memory();
    let page = |incarnation, after, ids: std::ops::Range<u64>| {
        let facts = ids.clone().map(|at| (at, fact_at(&format!("t-{at}"), at))).collect();
        Delivery { peer: NodeId::new(9), incarnation, after, horizon: Horizon::default(), facts, up_to: ids.end - 1 }
    };
    let watermark =
        || store.projections.watermark(NodeId::new(9)).unwrap().map(|mark| (mark.incarnation, mark.sequence));
    for (delivery, expected) in [
        (page(1, 0, 1..4), (1, 3)),
        (page(1, 5, 6..8), (1, 3)),
        (page(1, 3, 4..8), (1, 7)),
        (page(1, 0, 1..4), (1, 7)),
        (page(2, 4, 5..6), (1, 7)),
        (page(2, 0, 1..3), (2, 2)),
    ] {
        assert!(store.projections.receive(delivery).await.unwrap().iter().all(Result::is_ok));
        assert_eq!(watermark(), Some(expected));
    }
}

#[tokio::test]
async fn a_position_of_another_feed_gets_no_facts() {
    let store = Fixture::memory();
    store.accept(draft("a", "t", "x")).await;
    let here = store.projections.position();
    for other in [
        Position { incarnation: here.incarnation + 1, ..here },
        Position { sequence: here.sequence + 1, ..here },
        Position { node: NodeId::new(1), ..here },
    ] {
        assert_eq!(store.facts(other).await, None, "{other}");
    }
}

/// Joined facts move to the end of the log under the eyes of readers, who never see them missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_follow_facts_that_move() {
    let store = Arc::new(Fixture::memory());
    for at in 0..4 {
        store.accept(draft("a", &format!("t-{at}"), "x")).await;
    }
    let moving = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for round in 1..400 {
                let facts = (0..4).map(|at| (1, fact_at(&format!("t-{at}"), round))).collect();
                let delivery = Delivery {
                    peer: NodeId::new(9),
                    incarnation: 1,
                    after: 0,
                    horizon: Horizon::default(),
                    facts,
                    up_to: 1,
                };
                assert!(store.projections.receive(delivery).await.unwrap().iter().all(Result::is_ok));
            }
        }
    });
    let first = TransitionId::parse("t-0").unwrap();
    while !moving.is_finished() {
        let page = store.projections.history(&store.tenant, &artifact("a"), None, 9).await.unwrap().unwrap();
        assert_eq!(page.items.len(), 4);
        assert!(store.projections.contains(&store.tenant, &artifact("a"), &first).await.unwrap());
    }
    moving.await.unwrap();
}
