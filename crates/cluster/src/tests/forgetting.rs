//! What was retired is forgotten everywhere, or nowhere.

use plimsoll_domain::projection::{FactKey, Horizon};
use plimsoll_store::engine::{Batch, Direction, Engine as _, KeyRange, Table};
use plimsoll_store::feed::Position;
use plimsoll_wire::peer::v1::Versions;
use plimsoll_wire::record::v1::{StoredFact, decode_fact};

use super::*;
use crate::afresh::Legacy;
use crate::retention::promise;

const RETENTION: Duration = Duration::from_millis(1_500);

pub(super) fn spec(number: u8) -> Spec {
    Spec { retention: RETENTION, ..Spec::new(number, ["eu", "us", "ap"][usize::from(number - 1) % 3]) }
}

async fn three(net: &Net) -> Vec<Member> {
    let mut members = Vec::new();
    for number in 1..=3 {
        members.push(net.start(spec(number)).await);
    }
    members
}

pub(super) fn count(member: &Member) -> u64 {
    member.projections.fingerprint().unwrap().count
}

async fn forgotten(members: &[Member], left: u64) {
    until("all have forgotten", || {
        let horizon = members[0].projections.horizon();
        let is_so = |member: &Member| member.projections.horizon() == horizon && count(member) == left;
        horizon.is_some_and(|horizon| horizon.until.get() > 0) && members.iter().all(is_so)
    })
    .await;
}

#[tokio::test]
async fn what_was_retired_is_forgotten_everywhere_and_writes_go_on() {
    let net = Net::default();
    let members = three(&net).await;
    for (at, member) in members.iter().enumerate() {
        member.post("gone", &format!("g-{at}")).await;
        member.post("lives", &format!("l-{at}")).await;
    }
    converged(&members, 6).await;
    members[1].retire("gone").await;
    forgotten(&members, 3).await;
    members[2].post("gone", "g-9").await;
    members[0].post("lives", "l-9").await;
    converged(&members, 5).await;
    // And again, from the next horizon on.
    members[0].retire("gone").await;
    forgotten(&members, 4).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn a_node_leaves_a_cluster_that_has_forgotten_something() {
    let net = Net::default();
    let members = three(&net).await;
    members[0].post("gone", "g").await;
    members[0].post("lives", "l").await;
    converged(&members, 2).await;
    members[1].retire("gone").await;
    forgotten(&members, 1).await;
    members[0].cluster.leave(Duration::from_secs(60)).await.unwrap();
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn who_is_away_is_waited_for_and_forgets_when_it_is_back() {
    let net = Net::default();
    // What was retired gets old by the clocks, and the third is not away for so long.
    let retention = Duration::from_secs(20);
    let patient = |number| Spec { retention, ..spec(number) };
    let engine = Memory::new();
    let mut members = Vec::new();
    for number in 1..=2 {
        members.push(net.start(patient(number)).await);
    }
    members.push(net.start(Spec { engine: engine.clone(), ..patient(3) }).await);
    members[0].post("gone", "g-1").await;
    members[0].retire("gone").await;
    converged(&members, 2).await;
    members.pop().unwrap().stop().await;
    members.iter().for_each(|member| member.ahead(60_000));
    until("a round has failed", || members.iter().any(|member| member.cluster.counts().rounds_failed > 0)).await;
    assert!(members.iter().all(|member| count(member) == 2), "nothing is forgotten while a member may lack it");
    members.push(net.start(Spec { engine, ahead_ms: 60_000, ..patient(3) }).await);
    forgotten(&members, 0).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_was_away_for_too_long_has_to_start_afresh_and_says_what_only_it_has() {
    let net = Net::default();
    let engine = Memory::new();
    let mut members = Vec::new();
    for number in 1..=2 {
        members.push(net.start(spec(number)).await);
    }
    members.push(net.start(Spec { engine: engine.clone(), ..spec(3) }).await);
    members[0].post("gone", "g-1").await;
    members[2].post("lives", "l-1").await;
    converged(&members, 2).await;
    members.pop().unwrap().stop().await;
    members[0].retire("gone").await;
    members[1].post("lives", "l-2").await;
    forgotten(&members, 2).await;
    // It comes back, as it was, and has taken something meanwhile.
    let alone = Spec { engine: engine.clone(), seeds: Vec::new(), ..spec(3) };
    let stray = Net::default().start(alone).await;
    stray.post("stray", "s-1").await;
    stray.stop().await;
    let back = net.start(Spec { engine, ..spec(3) }).await;
    until("it has noticed", || back.cluster.is_behind()).await;
    assert!(back.try_post("stray", "s-2").await.is_err(), "it takes no writes any more");
    let legacy = back.cluster.legacy().await;
    assert_eq!(lost(&back, &legacy).await, ["s-1"], "what it took alone is nowhere else, and nothing but that");
    assert_eq!(legacy.roster.iter().filter(|entry| !entry.gone).count(), 2);
    assert!(members.iter().all(|member| count(member) == 2), "nothing of it has gone to the others");
    back.stop().await;
    // The new one has no seeds: it knows whom the old one knew.
    let fresh = Spec { identity: 9, seeds: Vec::new(), legacy: legacy.roster, ..spec(3) };
    members.push(net.start(fresh).await);
    converged(&members, 2).await;
    until("the old one is gone", || {
        let is_gone = |member: &Member| {
            let others = member.cluster.members();
            others.iter().any(|other| other.is_gone && other.member.node == NodeId::new(3))
        };
        members.iter().all(is_gone)
    })
    .await;
    members[2].post("lives", "l-3").await;
    converged(&members, 3).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test]
async fn one_of_an_older_version_keeps_all_from_forgetting() {
    let net = Net::default();
    let older = Spec { versions: Versions { oldest: 1, newest: 2 }, ..spec(2) };
    let members = vec![net.start(spec(1)).await, net.start(older).await];
    members[0].post("gone", "g-1").await;
    members[0].retire("gone").await;
    converged(&members, 2).await;
    until("a round has failed", || members.iter().any(|member| member.cluster.counts().rounds_failed > 0)).await;
    assert_eq!(count(&members[0]), 2);
    members[1].post("lives", "l-1").await;
    converged(&members, 3).await;
    for member in members {
        member.stop().await;
    }
}

/// The transitions of a node that are nowhere else.
async fn lost(member: &Member, legacy: &Legacy) -> Vec<String> {
    let begin = Position { sequence: 0, ..member.projections.position() };
    let page = member.projections.facts(begin, usize::MAX, |first, last| legacy.is_in_doubt(first, last));
    let facts = page.await.unwrap().unwrap().facts.into_iter();
    let facts: Vec<(u64, StoredFact)> = facts.map(|(at, record)| (at, decode_fact(&record).unwrap())).collect();
    let keys: Vec<FactKey> = facts.iter().map(|(_, stored)| FactKey::of(&stored.tenant, &stored.fact)).collect();
    let held = member.cluster.held(legacy, &keys).await;
    let lost = facts.iter().zip(held).filter(|((at, StoredFact { fact, .. }), is_held)| {
        !legacy.is_there(fact, *is_held) && !legacy.is_let_go(*at, fact)
    });
    lost.filter_map(|((_, stored), _)| Some(stored.fact.transition()?.id.to_string())).collect()
}

/// What only one has of those that have to start afresh does not count as being elsewhere.
#[tokio::test]
async fn what_is_only_at_two_that_were_away_is_handed_on_by_both() {
    let net = Net::default();
    let engines: Vec<Memory> = (1..=5).map(|_| Memory::new()).collect();
    let region = |number: u8| ["eu", "us", "ap"][usize::from(number % 3)];
    let spec = |number: u8| Spec {
        engine: engines[usize::from(number - 1)].clone(),
        retention: RETENTION,
        ..Spec::new(number, region(number))
    };
    let mut members = Vec::new();
    for number in 1..=5 {
        members.push(net.start(spec(number)).await);
    }
    members[0].post("gone", "g-1").await;
    converged(&members, 1).await;
    let (four, five) = (members.remove(3), members.remove(3));
    four.stop().await;
    five.stop().await;
    // Those two are together, and apart from the rest.
    let apart = Net::default();
    let away = [apart.start(spec(4)).await, apart.start(spec(5)).await];
    away[1].post("stray", "s-1").await;
    converged(&away, 2).await;
    for member in away {
        member.stop().await;
    }
    members[1].retire("gone").await;
    forgotten(&members, 0).await;
    let back = [net.start(spec(4)).await, net.start(spec(5)).await];
    until("both have noticed", || back.iter().all(|member| member.cluster.is_behind())).await;
    for member in &back {
        let legacy = member.cluster.legacy().await;
        assert_eq!(legacy.staying, [1, 2, 3].map(NodeId::new).into());
        assert_eq!(lost(member, &legacy).await, ["s-1"]);
    }
    assert!(members.iter().all(|member| count(member) == 0));
    for member in members.into_iter().chain(back) {
        member.stop().await;
    }
}

/// A new node takes writes before it has met anybody.
#[tokio::test]
async fn a_new_node_brings_what_it_has_taken_to_those_that_have_forgotten() {
    let net = Net::default();
    let mut members = vec![net.start(spec(1)).await, net.start(spec(2)).await];
    members[0].post("gone", "g-1").await;
    members[0].retire("gone").await;
    forgotten(&members, 0).await;
    let engine = Memory::new();
    let alone = Net::default().start(Spec { engine: engine.clone(), seeds: Vec::new(), ..spec(3) }).await;
    alone.post("early", "e-1").await;
    alone.stop().await;
    members.push(net.start(Spec { engine, ..spec(3) }).await);
    converged(&members, 1).await;
    assert!(!members[2].cluster.is_behind());
    for member in members {
        member.stop().await;
    }
}

/// Forgets what was retired by now, in stores of nodes that are stopped: as those would that have agreed on it.
async fn forget_in(stores: &[(u64, &Memory)], who_promises: usize) -> Horizon {
    let clock = wall_clock(&Arc::new(AtomicI64::new(0)));
    let until = clock();
    let mut horizon = None;
    for (identity, engine) in &stores[..who_promises] {
        let (projections, writer) = open((*engine).clone(), *identity, &clock);
        let promise = projections.promise(until, Duration::ZERO).await.unwrap();
        if horizon.replace(promise.horizon).is_none() {
            projections.forget(promise.horizon).await.unwrap();
        }
        assert_eq!(horizon, Some(promise.horizon));
        drop(projections);
        writer.join().unwrap();
    }
    horizon.unwrap()
}

/// Three that have the same, stopped; one artifact is retired.
async fn stopped() -> (Net, [Memory; 3]) {
    let net = Net::default();
    let engines = [Memory::new(), Memory::new(), Memory::new()];
    let mut members = Vec::new();
    for (number, engine) in (1..).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    members[0].post("gone", "g-1").await;
    members[1].post("lives", "l-1").await;
    converged(&members, 2).await;
    members[2].retire("gone").await;
    converged(&members, 3).await;
    for member in members {
        member.stop().await;
    }
    (net, engines)
}

/// One that forgets nothing by itself.
fn patient(number: u8, engine: &Memory) -> Spec {
    Spec { engine: engine.clone(), retention: Duration::from_secs(86_400), ..spec(number) }
}

/// Whoever asked is killed when it has decided, and before it has told anybody. One has promised, and one has not.
#[tokio::test]
async fn a_decision_that_nobody_was_told_is_followed() {
    let (net, engines) = stopped().await;
    let horizon = forget_in(&[(1, &engines[0]), (2, &engines[1])], 2).await;
    let mut members = Vec::new();
    for (number, engine) in (1..).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    until("all are of its horizon", || members.iter().all(|member| member.projections.horizon() == Some(horizon)))
        .await;
    converged(&members, 1).await;
    members[2].post("lives", "l-2").await;
    converged(&members, 2).await;
    for member in members {
        member.stop().await;
    }
}

/// One is at a horizon nobody else knows, and which the others cannot follow: they stay as they are.
#[tokio::test]
async fn one_that_is_ahead_by_itself_does_not_make_the_others_start_afresh() {
    let (net, engines) = stopped().await;
    // To a new one all of them are ahead.
    let all = [(1, &engines[0]), (2, &engines[1]), (3, &engines[2])];
    forget_in(&all, 3).await;
    let mut members = Vec::new();
    for (number, engine) in (1..=2).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    members[0].post("lives", "l-2").await;
    converged(&members, 2).await;
    let horizon = forget_in(&[(3, &engines[2])], 1).await;
    let odd = net.start(patient(3, &engines[2])).await;
    until("they have heard of it", || {
        let has_heard =
            |member: &Member| member.cluster.context.horizons.borrow().values().any(|heard| *heard == horizon);
        members.iter().all(has_heard)
    })
    .await;
    // Longer than it takes one that is behind to notice.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(members.iter().all(|member| !member.cluster.is_behind()) && !odd.cluster.is_behind());
    members[1].post("lives", "l-3").await;
    converged(&members, 3).await;
    let trouble = members[0].cluster.members().into_iter().find(|other| other.member.node == NodeId::new(3)).unwrap();
    assert!(trouble.trouble.as_deref().is_some_and(|trouble| trouble.contains("forgotten more")), "{trouble:?}");
    // A new one does not tip the scales.
    let fresh = net.start(Spec { seeds: vec![address(3)], ..patient(4, &Memory::new()) }).await;
    until("it has what the most have", || count(&fresh) == 3).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(members.iter().all(|member| !member.cluster.is_behind()) && !fresh.cluster.is_behind());
    members.extend([odd, fresh]);
    for member in members {
        member.stop().await;
    }
}

/// A new one that meets the odd one first is not of its horizon before it has met the others.
#[tokio::test]
async fn whom_a_new_node_meets_first_is_not_most_of_the_members() {
    let (net, engines) = stopped().await;
    let mut members = Vec::new();
    for (number, engine) in (1..=2).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    members[0].post("lives", "l-2").await;
    converged(&members, 4).await;
    forget_in(&[(3, &engines[2])], 1).await;
    members.push(net.start(patient(3, &engines[2])).await);
    until("they know each other", || members.iter().all(|member| member.cluster.members().len() == 2)).await;
    for number in [1, 2, 4] {
        net.part(address(number), Duration::from_secs(2));
    }
    let fresh = net.start(Spec { seeds: vec![address(3)], ..patient(4, &Memory::new()) }).await;
    until("it has what the most have", || count(&fresh) == 4).await;
    assert_eq!(fresh.projections.horizon(), Some(Horizon::default()));
    assert!(members.iter().all(|member| !member.cluster.is_behind()));
    members.push(fresh);
    for member in members {
        member.stop().await;
    }
}

/// Two new ones that meet only each other know nothing; and neither waits for the other to follow the first.
#[tokio::test]
async fn new_nodes_are_not_ready_without_the_first_that_has_forgotten_something() {
    let net = Net::default();
    let engine = Memory::new();
    let first = net.start(patient(1, &engine)).await;
    first.post("gone", "g-1").await;
    first.retire("gone").await;
    first.post("lives", "l-1").await;
    first.stop().await;
    let horizon = forget_in(&[(1, &engine)], 1).await;
    net.leave(1);
    let all = || vec![address(1), address(2), address(3)];
    let mut members = Vec::new();
    for number in 2..=3 {
        members.push(net.start(Spec { seeds: all(), ..patient(number, &Memory::new()) }).await);
    }
    let is_ready = |member: &Member| *member.cluster.context.ready.borrow();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!members.iter().any(is_ready), "they have met nobody who knows more");
    members.push(net.start(patient(1, &engine)).await);
    until("all are ready", || {
        assert!(members.iter().all(|member| !is_ready(member) || count(member) == 1), "it is ready and has nothing");
        members.iter().all(is_ready)
    })
    .await;
    converged(&members, 1).await;
    assert!(members.iter().all(|member| member.projections.horizon() == Some(horizon)));
    for member in members {
        member.stop().await;
    }
}

/// A backup may have all that the others had, and still has what it and they have let go since: nothing tells it from one
/// that they have not seen.
#[tokio::test]
async fn a_backup_from_before_they_forgot_has_to_start_afresh() {
    let (net, engines) = stopped().await;
    let backup = copy_of(&engines[2]);
    let all = [(1, &engines[0]), (2, &engines[1]), (3, &engines[2])];
    forget_in(&all, 3).await;
    let mut members = Vec::new();
    for (number, engine) in (1..).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    until("all have forgotten", || members.iter().all(|member| count(member) == 1)).await;
    members[0].post("gone", "g-2").await;
    members[0].retire("gone").await;
    converged(&members, 3).await;
    for member in members.drain(..) {
        member.stop().await;
    }
    forget_in(&all, 3).await;
    for (number, engine) in (1..=2).zip(&engines) {
        members.push(net.start(patient(number, engine)).await);
    }
    until("both have forgotten again", || members.iter().all(|member| count(member) == 1)).await;
    let back = net.start(patient(3, &backup)).await;
    until("it has noticed", || back.cluster.is_behind()).await;
    assert!(members.iter().all(|member| count(member) == 1), "it brings nothing back");
    members.push(back);
    for member in members {
        member.stop().await;
    }
}

/// Another disk with the same on it.
fn copy_of(engine: &Memory) -> Memory {
    let copy = Memory::new();
    for table in Table::ALL {
        let rows: Vec<_> = engine.scan(table, KeyRange::prefix(&[]), Direction::Forward).map(Result::unwrap).collect();
        let mut batch = Batch::default();
        rows.into_iter().for_each(|(key, value)| batch.put(table, key, value));
        copy.commit(batch).unwrap();
    }
    copy.sync().unwrap();
    copy
}

/// What one may decide by is not promised to another; and who does not come to a decision does not hold it for ever.
#[tokio::test]
async fn a_word_is_given_to_one_at_a_time() {
    let net = Net::default();
    let spec = |number| Spec { retention: Duration::from_secs(2), ..spec(number) };
    let members = vec![net.start(spec(1)).await, net.start(spec(2)).await];
    until("both are ready", || members.iter().all(|member| *member.cluster.context.ready.borrow())).await;
    let second = &members[1].cluster.context;
    let long_ago = UnixNanos::new(second.now() - 3_000_000_000);
    let promises = async |to| promise(second, NodeId::new(to), long_ago).await.is_some();
    assert!(promises(1).await && promises(1).await, "to the same it may be given again");
    assert!(!promises(3).await);
    assert!(promise(second, NodeId::new(1), UnixNanos::new(second.now())).await.is_none(), "that is not old enough");
    let another = async {
        while !promises(3).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), another).await.is_ok(), "it is given to another in the end");
    assert!(!promises(1).await);
    for member in members {
        member.stop().await;
    }
}
