//! An operator, who lets nodes leave, and tells the others to forget who is gone.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::{Asking, ask};
use crate::faults::Fault;
use crate::host::Host;
use crate::net::{HTTP_PORT, Weather, address_of};
use crate::plan::Plan;

/// How long the operator waits for an answer: a node that leaves may take half a minute.
const PATIENCE: Duration = Duration::from_secs(40);

/// Does what the plan has for an operator, each at its time.
pub(super) async fn run(plan: Arc<Plan>, hosts: Arc<Vec<Host>>, weather: Weather) {
    let mut tasks = JoinSet::new();
    for event in plan.faults.clone() {
        let (hosts, weather) = (Arc::clone(&hosts), weather.clone());
        match event.fault {
            Fault::Leave(host) => tasks.spawn(async move {
                sleep(event.at).await;
                leave(&hosts[usize::from(host) - 1], &weather).await;
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

async fn leave(host: &Host, weather: &Weather) {
    let asking = Asking { patience: PATIENCE, ..Asking::of(host.number, Method::POST, "/cluster/leave") };
    let status = ask(weather, asking).await.map_or(0, |answer| answer.status);
    tracing::info!(host = host.number, status, "was let leave");
    if status == 204 {
        host.set_left(true);
        host.set_gone(&host.node_id());
    }
}

/// Forgets those that were at the address of a host, and were replaced by the one that is there now.
async fn forget(host: u8, member: &Host, weather: &Weather) {
    let Ok(status) = ask(weather, Asking::of(host, Method::GET, "/cluster")).await else { return };
    let (address, current) = (address_of(member.number, HTTP_PORT).to_string(), member.node_id());
    let members = status.body["members"].as_array().cloned().unwrap_or_default();
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
