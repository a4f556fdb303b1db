//! What was retired is forgotten everywhere, or nowhere.

use plimsoll_domain::timestamp::Timestamp;
use plimsoll_store::feed::Position;
use plimsoll_wire::peer::v1::Versions;

use super::*;

const RETENTION: Duration = Duration::from_millis(1_500);

fn spec(number: u8) -> Spec {
    Spec { retention: RETENTION, ..Spec::new(number, ["eu", "us", "ap"][usize::from(number - 1)]) }
}

async fn three(net: &Net) -> Vec<Member> {
    let mut members = Vec::new();
    for number in 1..=3 {
        members.push(net.start(spec(number)).await);
    }
    members
}

fn count(member: &Member) -> u64 {
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
    let after = Position { sequence: legacy.replicated, ..back.projections.position() };
    let is_own = |first: Timestamp, _| first.node == NodeId::new(3);
    let page = back.projections.facts(after, usize::MAX, is_own).await.unwrap().unwrap();
    assert_eq!(page.facts.len(), 1, "what it took alone is nowhere else, and nothing but that");
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
