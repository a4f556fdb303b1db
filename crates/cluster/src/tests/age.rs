//! How old what is read may be, and what is not known for sure: nobody is told otherwise.

use std::time::Instant;

use super::*;
use crate::status::NodeState;

/// Two nodes that have met, and are cut off from each other since.
async fn cut_off(net: &Net) -> (Vec<Member>, Instant) {
    let members = net.start_all(&["eu", "us"]).await;
    let known = || members.iter().all(|member| member.cluster.freshness().staleness.is_some());
    until("both have heard of each other", known).await;
    let ready = || members.iter().all(|member| member.cluster.state() == NodeState::Ready);
    until("both are ready", ready).await;
    members[0].cluster.set_cut(true);
    let cut = Instant::now();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    (members, cut)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_gets_older_however_the_clock_is_set() {
    let net = Net::default();
    let (members, cut) = cut_off(&net).await;
    let age = || members[1].cluster.freshness().staleness.unwrap();
    for ahead in [0, -1_400, -5_000] {
        members[1].ahead(ahead);
        let least = cut.elapsed();
        assert!(age() >= least, "{:?} with the clock {ahead} ms ahead, and nothing for {least:?}", age());
    }
    // A machine that slept finds its wall clock ahead of all other clocks.
    members[1].ahead(3_600_000);
    assert!(age() >= Duration::from_secs(3_600), "{:?}", age());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(members[1].projections.fence().is_none(), "what was compared before it slept judges nothing");
    for member in members {
        member.stop().await;
    }
}

/// One of two neighbours follows the node far away, and tells the other of it: by a clock that was set since it was started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_neighbour_tells_of_another_gets_older_though_its_clock_was_set() {
    let told_by = async |relay: usize| {
        let net = Net::default();
        let members = net.start_all(&["eu", "eu", "us"]).await;
        let known = || members.iter().all(|member| member.cluster.freshness().staleness.is_some());
        until("all have heard of each other", known).await;
        // By more than the time between two signs of life, which hides less.
        members[relay].ahead(-9_000);
        tokio::time::sleep(Duration::from_secs(5)).await;
        members[2].cluster.set_cut(true);
        let cut = Instant::now();
        while cut.elapsed() < Duration::from_secs(12) {
            let least = cut.elapsed();
            let age = members[1 - relay].cluster.freshness().staleness.unwrap();
            assert!(age >= least, "{age:?} old, and nothing from afar for {least:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for member in members {
            member.stop().await;
        }
    };
    tokio::join!(told_by(0), told_by(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_met_nobody_knows_nothing_for_sure() {
    let net = Net::default();
    let member = net.start(Spec { seeds: vec![address(1)], ..Spec::new(2, "us") }).await;
    let artifact = ArtifactId::parse("a").unwrap();
    let key = || plimsoll_domain::projection::RefKey { target_repo: "acme/web".into(), idempotency_key: "k".into() };
    let asked = async || member.cluster.ask_refs(&tenant(), &artifact, [key()]).await.unwrap();
    assert!(asked().await.is_catching_up);
    assert_eq!(member.cluster.freshness().staleness, None);
    until("it goes on alone", || member.cluster.state() == NodeState::Ready).await;
    assert!(asked().await.is_catching_up, "those it does not know may know the ref");
    member.stop().await;
}
