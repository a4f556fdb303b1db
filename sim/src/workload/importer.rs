//! An importer: many transitions in one request, each answered for itself, and what was not answered sent again.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Clients, now};
use crate::client::{Answer, Asking, ask};
use crate::history::{Outcome, Try};

/// Lines of a batch.
const LINES: u32 = 20;

/// How long the answers to a batch are waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it waits before it sends again what was not accepted, and how often.
const PAUSE: Duration = Duration::from_millis(500);
const TRIES_MAX: u32 = 5;

/// Sends its batches one after the other, from the beginning of the run.
pub(super) async fn import(clients: &Clients) {
    for batch in 0..clients.plan.scenario.workload.imports {
        let id = |line: u32| format!("i{}-{batch}-{line}", clients.nearest);
        let ids = (0..LINES).map(id).filter(|id| !clients.plan.unposted.contains(id));
        let mut left: Vec<Value> = ids.zip(0_u32..).map(|(id, at)| line(clients, &id, at)).collect();
        for line in &left {
            clients.history.begin(line, clients.region(), None);
        }
        let mut node = clients.nearest;
        for _ in 0..TRIES_MAX {
            if left.is_empty() {
                break;
            }
            left = send(clients, node, left).await;
            if !left.is_empty() {
                node = clients.after(node);
                sleep(PAUSE).await;
            }
        }
        if now() >= clients.plan.scenario.lasting {
            return;
        }
    }
}

fn line(clients: &Clients, id: &str, at: u32) -> Value {
    let artifact = format!("a-{}", (u32::from(clients.nearest) + at) % clients.plan.scenario.workload.artifacts);
    json!({"artifact_id": artifact, "transition_id": id, "status": format!("s-{id}"), "produced_refs": []})
}

/// Sends lines to a node. Returns those that nobody said stand.
async fn send(clients: &Clients, node: u8, lines: Vec<Value>) -> Vec<Value> {
    let (asked, store) = (now(), clients.store(node));
    let mut asking = Asking::of(node, Method::POST, "/projections/transitions/batch");
    asking.body = lines.iter().map(|line| format!("{line}\n")).collect();
    asking.patience = PATIENCE;
    asking.headers.push(("content-type", "application/x-ndjson".to_owned()));
    let answer = ask(&clients.weather, asking).await;
    let mut answers = answer.iter().filter(|answer| answer.status == 200).flat_map(|answer| answer.text.lines());
    let mut left = Vec::new();
    for line in lines {
        let outcome = answers.next().map_or(Outcome::Unknown, outcome_of);
        let id = line["transition_id"].as_str().unwrap_or_default();
        clients.history.end(
            id,
            Try { store, asked, told: now(), disks: 1, outcome: outcome.clone(), stamp: None },
            clients.store(node),
        );
        if !matches!(outcome, Outcome::Stands | Outcome::Refused { is_final: true, .. }) {
            left.push(line);
        }
    }
    left
}

/// What the answer to one line says.
fn outcome_of(line: &str) -> Outcome {
    let answer: Value = serde_json::from_str(line).unwrap_or_default();
    let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or_default();
    Outcome::of(&Answer { status, text: String::new(), body: answer["body"].clone(), staleness: None })
}
