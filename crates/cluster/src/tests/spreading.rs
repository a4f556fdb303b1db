//! What is posted at one node is soon at all.

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
