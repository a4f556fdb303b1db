//! Waiting until the nodes are one cluster, and until they hold the same.

use std::time::Duration;

use anyhow::anyhow;
use futures_util::future::join_all;
use plimsoll_client::wire::http::v1::ClusterStatus;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::super::nodes::Site;
use crate::failure::Failure;

/// How long the nodes may take; they need about a second.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often they are asked.
const PAUSE: Duration = Duration::from_millis(20);

/// All nodes hold the same.
pub(super) struct Equal {
    facts: u64,
    digest: String,
    /// How long it took.
    pub(super) after: Duration,
}

impl Equal {
    pub(super) fn value(&self) -> Value {
        let after = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
        json!({"facts": self.facts, "digest": self.digest, "after_ms": after})
    }

    pub(super) fn text(&self) -> String {
        format!("{} facts, digest {}", self.facts, self.digest)
    }
}

/// Waits until every node is connected to all others and ready.
pub(super) async fn joined(sites: &[Site]) -> Result<(), Failure> {
    let is_joined = |status: &ClusterStatus| status.state == "ready" && connected(status) + 1 >= sites.len();
    let is_settled = |statuses: &[ClusterStatus]| is_one_gone(statuses) || statuses.iter().all(is_joined);
    let statuses = until(sites, "become one cluster", is_settled).await?;
    if is_one_gone(&statuses) {
        let detail = "a node of this folder has left the cluster or was forgotten: give another --data-dir";
        return Err(Failure::Config { detail: detail.to_owned() });
    }
    Ok(())
}

/// Whether one of these nodes is a member no more, which is for good.
fn is_one_gone(statuses: &[ClusterStatus]) -> bool {
    let is_here = |node_id: &str| statuses.iter().any(|status| status.node_id == node_id);
    let members = || statuses.iter().flat_map(|status| &status.members);
    members().any(|member| member.state == "gone" && is_here(&member.node_id))
}

/// Waits until the last node is connected to none of the others.
pub(super) async fn parted(sites: &[Site]) -> Result<(), Failure> {
    let is_parted = |statuses: &[ClusterStatus]| match statuses {
        [others @ .., last] => {
            let sees_it = |status: &ClusterStatus| {
                status.members.iter().any(|member| member.node_id == last.node_id && member.connected)
            };
            connected(last) == 0 && !others.iter().any(sees_it)
        }
        [] => true,
    };
    until(sites, "lose the one that is cut off", is_parted).await.map(drop)
}

/// Waits until all nodes hold the same.
pub(super) async fn equal(sites: &[Site]) -> Result<Equal, Failure> {
    let began = Instant::now();
    let are_equal = |statuses: &[ClusterStatus]| statuses.windows(2).all(|two| two[0].digest == two[1].digest);
    let statuses = until(sites, "become equal", are_equal).await?;
    let after = began.elapsed();
    let first = statuses.into_iter().next().ok_or_else(|| anyhow!("there is no node"))?;
    Ok(Equal { facts: first.facts, digest: first.digest, after })
}

fn connected(status: &ClusterStatus) -> usize {
    status.members.iter().filter(|member| member.connected).count()
}

/// Asks all nodes until what they say is as it should be.
async fn until(
    sites: &[Site],
    what: &str,
    is_so: impl Fn(&[ClusterStatus]) -> bool,
) -> Result<Vec<ClusterStatus>, Failure> {
    let asking = async {
        loop {
            let statuses = join_all(sites.iter().map(|site| site.client.cluster())).await;
            let statuses: Result<Vec<ClusterStatus>, _> = statuses.into_iter().collect();
            let statuses = statuses.map_err(Failure::request("look at the cluster"))?;
            if is_so(&statuses) {
                return Ok(statuses);
            }
            sleep(PAUSE).await;
        }
    };
    match timeout(PATIENCE, asking).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Other(anyhow!("the nodes did not {what} within {} s", PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_gone_matters_only_where_its_node_is_started() {
        let status = |node_id: &str| {
            let member = json!({"node_id": "b", "region": "us", "state": "gone", "http": "", "peer": "", "version": "",
                "connected": false, "lag_facts": null, "lag_ms": null, "clock_offset_ms": null, "last_seen": null,
                "facts": null, "digest": null, "trouble": null});
            let status = json!({"node_id": node_id, "region": "eu", "state": "ready", "facts": 0, "digest": "",
                "cluster": "dev", "peer": "", "version": "", "members": [member]});
            serde_json::from_value::<ClusterStatus>(status).unwrap()
        };
        assert!(!is_one_gone(&[status("a"), status("c")]));
        assert!(is_one_gone(&[status("a"), status("b")]));
    }
}
