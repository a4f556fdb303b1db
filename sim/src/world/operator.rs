//! An operator, who lets nodes leave, and tells the others to forget who is gone.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Asking, ask};
use crate::faults::Fault;
use crate::host::Host;
use crate::net::{HTTP_PORT, Weather, address_of};
use crate::plan::Plan;

/// How long the operator waits for an answer: a node that leaves may take half a minute.
const PATIENCE: Duration = Duration::from_secs(40);

/// How soon the others are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Does what the plan has for an operator, each at its time.
pub(super) async fn run(plan: Arc<Plan>, hosts: Arc<Vec<Host>>, weather: Weather) {
    let mut tasks = JoinSet::new();
    for event in plan.faults.clone() {
        let (hosts, weather) = (Arc::clone(&hosts), weather.clone());
        match event.fault {
            Fault::Leave(host) => tasks.spawn(async move {
                sleep(event.at).await;
                leave(&hosts, &hosts[usize::from(host) - 1], &weather).await;
            }),
            Fault::Forget { host, member } => tasks.spawn(async move {
                sleep(event.at).await;
                forget(host, &hosts[usize::from(member) - 1], &weather).await;
            }),
            _ => continue,
        };
    }
    while tasks.join_next().await.is_some() {}
}

async fn leave(hosts: &[Host], host: &Host, weather: &Weather) {
    let node = host.node_id();
    // Whether it has left may not be known for a while, so nobody puts its disk back.
    host.set_gone(&node);
    let asking = Asking { patience: PATIENCE, ..Asking::of(host.number, Method::POST, "/cluster/leave") };
    let status = ask(weather, asking).await.ok().map(|answer| answer.status);
    tracing::info!(host = host.number, status, "was let leave");
    let has_left = match status {
        Some(204) => true,
        Some(status) if status < 500 => false,
        // It may have left, and not have been able to write that down or to say so.
        _ => is_gone(hosts, host.number, &node, weather).await,
    };
    match has_left {
        true if host.node_id() == node => host.set_left(true),
        true => {}
        false => host.set_member(&node),
    }
}

/// Whether the others say that a node has left which has not answered: asked until one of them does, or for as long as it would have had.
async fn is_gone(hosts: &[Host], host: u8, node: &str, weather: &Weather) -> bool {
    let asking = async {
        loop {
            for other in hosts.iter().map(|host| host.number).filter(|other| *other != host) {
                let members = members(other, weather).await;
                if members.iter().any(|member| member["node_id"] == node && member["state"] == "gone") {
                    return;
                }
            }
            sleep(ASK_AGAIN).await;
        }
    };
    timeout(PATIENCE, asking).await.is_ok()
}

/// The members a host knows; none where it does not answer.
async fn members(host: u8, weather: &Weather) -> Vec<Value> {
    let status = ask(weather, Asking::of(host, Method::GET, "/cluster")).await;
    status.ok().and_then(|status| status.body["members"].as_array().cloned()).unwrap_or_default()
}

/// Forgets those that were at the address of a host, and were replaced by the one that is there now.
async fn forget(host: u8, member: &Host, weather: &Weather) {
    let (address, current) = (address_of(member.number, HTTP_PORT).to_string(), member.node_id());
    let members = members(host, weather).await;
    for gone in members.iter().filter(|gone| gone["http"] == address && gone["node_id"] != current) {
        let id = gone["node_id"].as_str().unwrap_or_default();
        let path = format!("/cluster/members/{id}");
        let status = ask(weather, Asking::of(host, Method::DELETE, &path)).await.map_or(0, |answer| answer.status);
        tracing::info!(host, path, status, "was told to forget");
        if status == 204 {
            member.set_gone(id);
        }
    }
}
