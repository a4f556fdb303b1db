//! Who talks to whom.

use plimsoll_domain::projection::reconcile::{Question, Range};
use plimsoll_store::error::WriteError;
use plimsoll_store::notes::Fence;
use plimsoll_wire::peer::v1::encode_question;

use super::*;
use crate::leaving::LeaveError;
use crate::link::LinkError;
use crate::status::NodeState;

/// What is wrong with the only peer, or with the peer of a number.
pub(crate) fn is_connected(member: &Member, number: u64) -> bool {
    let members = member.cluster.members();
    members.iter().any(|other| other.member.node == NodeId::new(number) && other.is_connected)
}

pub(crate) async fn met(members: &[Member]) {
    until("all have met", || {
        members.iter().all(|member| {
            let others = member.cluster.members();
            others.len() == members.len() - 1 && others.iter().all(|other| other.is_connected && other.facts.is_some())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_clusters_part() {
    let net = Net::default();
    let one = net.start(Spec::new(1, "eu")).await;
    let other = net.start(Spec { cluster: "other", ..Spec::new(2, "eu") }).await;
    until("it was turned away", || one.cluster.counts().callers_refused > 0).await;
    assert!(one.cluster.members().is_empty() && other.cluster.members().is_empty());
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_adjacent_versions_replicate_both_ways() {
    let net = Net::default();
    let old = Versions { oldest: 1, newest: 1 };
    let members =
        vec![net.start(Spec { versions: old, ..Spec::new(1, "eu") }).await, net.start(Spec::new(2, "us")).await];
    for number in 0..50 {
        members[number % 2].post(&format!("a-{number}"), &format!("t-{number}")).await;
    }
    converged(&members, 50).await;
    let too_new = net.start(Spec { versions: Versions { oldest: 9, newest: 9 }, ..Spec::new(3, "eu") }).await;
    until("it was turned away", || members.iter().any(|member| member.cluster.counts().callers_refused > 0)).await;
    assert!(!is_connected(&members[0], 3));
    for member in members.into_iter().chain([too_new]) {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roster_outlives_a_restart_without_seeds() {
    let net = Net::default();
    let engine = Memory::new();
    let mut members = vec![
        net.start(Spec { engine: engine.clone(), ..Spec::new(1, "eu") }).await,
        net.start(Spec::new(2, "us")).await,
    ];
    met(&members).await;
    members.remove(0).stop().await;
    members.push(net.start(Spec { engine, seeds: Vec::new(), ..Spec::new(1, "eu") }).await);
    met(&members).await;
    members[1].post("a", "t").await;
    converged(&members, 1).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_left_is_no_member_and_comes_back_only_as_a_new_node() {
    let net = Net::default();
    let engine = Memory::new();
    let mut members = vec![
        net.start(Spec::new(1, "eu")).await,
        net.start(Spec::new(2, "us")).await,
        net.start(Spec { engine: engine.clone(), ..Spec::new(3, "ap") }).await,
    ];
    members[2].post("a", "t").await;
    met(&members).await;
    members[2].cluster.leave(Duration::from_secs(60)).await.unwrap();
    let refused = members[2].try_post("a", "t-2").await;
    assert!(matches!(refused, Err(WriteError::Fenced(Fence::NoMember))), "{refused:?}");
    until("the others know", || members[..2].iter().all(|member| member.cluster.size() == 2)).await;
    members.pop().unwrap().stop().await;
    assert!(members.iter().any(|member| member.projections.fingerprint().unwrap().count == 1), "nothing is lost");
    let again = net.start(Spec { engine, ..Spec::new(3, "ap") }).await;
    assert_eq!(again.projections.fence(), Some(Fence::NoMember), "it has not forgotten that it left");
    again.stop().await;
    let new = net.start(Spec { identity: 33, ..Spec::new(3, "ap") }).await;
    members.push(new);
    converged(&members, 1).await;
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_do_not_leave_to_each_other() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us"]).await;
    let ready = || members.iter().all(|member| member.cluster.is_ready());
    until("both are ready", ready).await;
    let patience = Duration::from_secs(1);
    let (one, other) = tokio::join!(members[0].cluster.leave(patience), members[1].cluster.leave(patience));
    assert!(one.is_err() || other.is_err(), "nobody has what the two had");
    for member in members {
        member.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_only_when_another_has_all_it_has() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us"]).await;
    met(&members).await;
    let [one, two] = <[Member; 2]>::try_from(members).map_err(|_| "two").unwrap();
    two.stop().await;
    until("it is seen to be gone", || !is_connected(&one, 2)).await;
    one.post("a", "t").await;
    let left = one.cluster.leave(Duration::from_millis(100)).await;
    assert!(matches!(left, Err(LeaveError::Unreplicated { .. })), "{left:?}");
    one.post("a", "t-2").await;
    // It was there a moment ago, and may be there for others.
    let forgotten = one.cluster.forget(NodeId::new(2)).await;
    assert!(matches!(forgotten, Err(LeaveError::Connected(_))), "{forgotten:?}");
    assert!(matches!(one.cluster.forget(NodeId::new(7)).await, Err(LeaveError::NoSuchMember(_))));
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_down_can_be_forgotten() {
    let net = Net::default();
    let engine = Memory::new();
    let members = vec![
        net.start(Spec { engine: engine.clone(), ..Spec::new(1, "eu") }).await,
        net.start(Spec::new(2, "us")).await,
    ];
    met(&members).await;
    for member in members {
        member.stop().await;
    }
    let one = net.start(Spec { engine, ..Spec::new(1, "eu") }).await;
    assert_eq!(one.cluster.size(), 2);
    one.cluster.forget(NodeId::new(2)).await.unwrap();
    assert_eq!(one.cluster.size(), 1);
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_clock_is_off_fences_itself_and_nobody_else() {
    let net = Net::default();
    let mut members = net.start_all(&["eu", "us"]).await;
    members.push(net.start(Spec { ahead_ms: 30_000, ..Spec::new(3, "ap") }).await);
    until("it is fenced", || members[2].projections.fence() == Some(Fence::Clock)).await;
    assert_eq!(members[2].cluster.state(), NodeState::ClockFenced);
    for member in &members[..2] {
        member.post("a", &format!("t-{}", member.address)).await;
    }
    converged(&members, 2).await;
    members[2].cluster.set_cut(true);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(members[2].projections.fence(), Some(Fence::Clock), "whoever is alone is not judged anew");
    members[2].ahead(0);
    members[2].cluster.set_cut(false);
    until("it is let go", || members[2].projections.fence().is_none()).await;
    for member in members {
        member.stop().await;
    }
}

/// Neither of two can tell whose clock is off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fact_from_the_future_is_told_as_one() {
    let net = Net::default();
    let one = net.start(Spec::new(1, "eu")).await;
    let ahead = net.start(Spec { ahead_ms: 30_000, ..Spec::new(2, "us") }).await;
    ahead.post("a", "t").await;
    let trouble = || one.cluster.members().first().and_then(|member| member.trouble.clone()).unwrap_or_default();
    until("it says why the fact is not taken over", || trouble().starts_with("the stamp lies ")).await;
    for member in [one, ahead] {
        member.stop().await;
    }
}

/// Whatever the others stamp lies in its future then, and none of it is taken over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_back_is_found_while_writes_do_not_rest() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us", "ap"]).await;
    met(&members).await;
    let posting = async {
        for turn in 0_u32.. {
            members[0].post("a", &format!("a-{turn}")).await;
            members[1].post("b", &format!("b-{turn}")).await;
            if turn == 50 {
                members[2].ahead(-30_000);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        biased;
        () = posting => {}
        () = until("it is fenced", || members[2].projections.fence() == Some(Fence::Clock)) => {}
    }
    for member in members {
        member.stop().await;
    }
}

/// A question for which there is much time is asked on a connection that hangs. The peer is silent on it, so it is made anew;
/// the question need not wait for its time.
#[tokio::test]
async fn a_question_does_not_outlive_its_connection() {
    let net = Net::default();
    let members = net.start_all(&["eu", "us"]).await;
    until("they have met", || members.iter().all(|member| *member.cluster.context.ready.borrow())).await;
    let link = members[0].cluster.context.roster.peer(NodeId::new(2), |peer| peer.link.clone()).flatten().unwrap();
    net.hang(&members[1].address);
    let question = encode_question(&Question::Compare(vec![Range::WHOLE]));
    let asked = link.ask("differ", question, Duration::from_secs(3_600)).await;
    assert!(matches!(asked, Err(LinkError::Ended)), "{asked:?}");
    for member in members {
        member.stop().await;
    }
}
