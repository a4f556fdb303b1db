//! What is posted at one node is soon at all.

use plimsoll_domain::id::TransitionId;
use plimsoll_domain::projection::FactKey;

use super::*;
use crate::status::NodeState;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_posted_anywhere_is_everywhere() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us", "ap"]).await;
    for (at, member) in members.iter().enumerate() {
        for number in 0..20 {
            member.post(&format!("a-{number}"), &format!("t-{at}-{number}")).await;
        }
    }
    converged(&members, 60).await;
    until("all are ready", || members.iter().all(|member| member.cluster.state() == NodeState::Ready)).await;
    for member in &members {
        assert_eq!(member.cluster.size(), 3);
        assert_eq!(member.cluster.counts().facts_received, 40, "each fact comes once");
    }
    for member in members {
        member.stop().await;
    }
}

/// Of five nodes in two regions each fact crosses once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_crosses_into_a_region_once() {
    let net = Net::default();
    let members = net.start_all(&["eu", "eu", "eu", "us", "us"]).await;
    until("all are connected", || {
        members.iter().all(|member| {
            let others = member.cluster.members();
            others.len() == 4 && others.iter().all(|other| other.is_connected)
        })
    })
    .await;
    // The plan settles before anything is posted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for (at, member) in members.iter().enumerate() {
        for number in 0..10 {
            member.post(&format!("a-{number}"), &format!("t-{at}-{number}")).await;
        }
    }
    converged(&members, 50).await;
    let from_afar =
        |members: &[Member]| members.iter().map(|member| member.cluster.counts().facts_from_afar).sum::<u64>();
    assert_eq!((from_afar(&members[..3]), from_afar(&members[3..])), (20, 30), "each fact crosses once");
    for member in members {
        member.stop().await;
    }
}

/// What one of a region took from afar for all of it, another takes when that one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_relay_dies_another_takes_its_place() {
    let net = Net::default();
    let mut members = net.start_all(&["eu", "eu", "us"]).await;
    for number in 0..20 {
        members[2].post("a", &format!("t-{number}")).await;
    }
    converged(&members, 20).await;
    let relay = members[..2].iter().position(|member| member.cluster.counts().facts_from_afar > 0).unwrap();
    members.remove(relay).stop().await;
    for number in 20..40 {
        members[1].post("a", &format!("t-{number}")).await;
    }
    converged(&members, 40).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_on_both_sides_of_a_cut_is_everywhere_after_it() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us", "ap"]).await;
    until("all are connected", || {
        members.iter().all(|member| member.cluster.members().iter().filter(|other| other.is_connected).count() == 2)
    })
    .await;
    members[2].cluster.set_cut(true);
    until("it is cut off", || members[0].cluster.members().iter().filter(|other| other.is_connected).count() == 1)
        .await;
    for (at, member) in members.iter().enumerate() {
        member.post("a", &format!("t-{at}")).await;
    }
    until("the others are equal", || members[1].projections.fingerprint().unwrap().count == 2).await;
    assert_eq!(members[2].projections.fingerprint().unwrap().count, 1);
    members[2].cluster.set_cut(false);
    converged(&members, 3).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_waits_for_as_many_disks_as_are_asked_for() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us", "ap"]).await;
    members[0].post("a", "t").await;
    let replicated = members[0].cluster.replicated(3, Duration::from_secs(60)).await;
    assert_eq!(replicated, 3);
    assert!(members.iter().all(|member| member.projections.fingerprint().unwrap().count == 1));
    // A node that did not stamp it asks the others.
    let [known, unknown] = ["t", "t-9"].map(|id| FactKey::of_transition(&tenant(), &TransitionId::parse(id).unwrap()));
    let there = members[2].cluster.replicated_facts(&[known, unknown], 3, Duration::from_millis(200)).await;
    assert_eq!(there, [3, 1]);
    members[1].cluster.set_cut(true);
    members[0].post("a", "t-2").await;
    assert_eq!(members[0].cluster.replicated(2, Duration::from_secs(60)).await, 2);
    assert_eq!(members[0].cluster.replicated(3, Duration::from_millis(100)).await, 2);
    for member in members {
        member.stop().await;
    }
}

fn resolved(key: &str) -> RefDraft {
    let resolution = Some((7, "https://forge.example/7".into(), "2026-04-22T18:04:11Z".into()));
    RefDraft { target_repo: "acme/web".into(), idempotency_key: key.into(), resolution }
}

/// Whether a ref is known is asked of all; who cannot be asked is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_another_member_knows_is_found_by_asking() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us"]).await;
    until("all are connected", || {
        members.iter().all(|member| member.cluster.members().iter().filter(|other| other.is_connected).count() == 1)
    })
    .await;
    // It stays where it is posted: what is from too far ahead waits at its origin.
    members[0].ahead(10_000);
    let pending = RefDraft { resolution: None, ..resolved("k") };
    members[0].try_post_with("a", "t", vec![pending]).await.unwrap();
    let artifact = ArtifactId::parse("a").unwrap();
    let key = |name: &str| plimsoll_domain::projection::RefKey {
        target_repo: "acme/web".into(),
        idempotency_key: name.into(),
    };
    assert!(members[1].try_post_with("a", "t-2", vec![resolved("k")]).await.is_err());
    let asked = members[1].cluster.ask_refs(&tenant(), &artifact, [key("nobody's")]).await.unwrap();
    assert_eq!((asked.silent, members[1].cluster.counts().refs_repaired), (vec![], 0));
    let asked = members[1].cluster.ask_refs(&tenant(), &artifact, [key("k")]).await.unwrap();
    assert_eq!((asked.silent, members[1].cluster.counts().refs_repaired), (vec![], 1));
    members[0].ahead(0);
    members[1].ahead(10_000);
    members[1].cluster.ask_refs(&tenant(), &artifact, [key("k")]).await.unwrap();
    members[1].try_post_with("a", "t-2", vec![resolved("k")]).await.unwrap();
    members[0].cluster.set_cut(true);
    let silent = async {
        loop {
            let asked = members[1].cluster.ask_refs(&tenant(), &artifact, [key("other")]).await.unwrap();
            if !asked.silent.is_empty() {
                return asked.silent;
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), silent).await.unwrap(), [NodeId::new(1)]);
    for member in members {
        member.stop().await;
    }
}
