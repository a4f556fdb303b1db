//! Clients as in life, each in a region: emitters that post and retry, and readers that remember what they saw.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Answer, ask};
use crate::history::{History, Outcome};

/// How long a client waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(5);

/// Artifacts clients post about.
const ARTIFACTS: u32 = 12;

/// How often a post is tried, at one node after another.
const TRIES_MAX: u32 = 6;

/// A ref that was opened: of which artifact, and by which key.
struct Opened {
    artifact: String,
    key: String,
}

/// Posts transitions to its own node, and, where that one does not answer, with the same id to the others.
pub async fn emit(name: String, nearest: u8, nodes: u8, seed: u64, history: &History, lasting: Duration) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut opened: Vec<Opened> = Vec::new();
    let mut at = 0_u32;
    while turmoil::sim_elapsed().unwrap_or_default() < lasting {
        sleep(Duration::from_millis(rng.random_range(5..400))).await;
        at += 1;
        let id = format!("{name}-{at}");
        let any = format!("a-{}", rng.random_range(0..ARTIFACTS));
        let (artifact, refs) = match rng.random_range(0..4_u32) {
            0 => (any, json!([{"kind": "pending", "target_repo": "acme/web", "idempotency_key": id}])),
            1 if !opened.is_empty() => {
                // The forge has answered, and the next one to work on it is at another node.
                let Opened { artifact, key } = opened.swap_remove(rng.random_range(0..opened.len()));
                let url = format!("https://forge.example/acme/web/pull/{at}");
                let created_at = "2026-04-22T18:04:11Z";
                let resolved = json!({
                    "kind": "resolved", "target_repo": "acme/web", "idempotency_key": key, "number": at, "url": url,
                    "created_at": created_at,
                });
                (artifact, json!([resolved]))
            }
            _ => (any, json!([])),
        };
        let opens = refs[0]["kind"] == "pending";
        let transition = json!({
            "artifact_id": artifact, "transition_id": id, "status": format!("s-{id}"), "produced_refs": refs,
        });
        let first = 1 + (nearest - 1 + u8::try_from(at % 5 / 4).unwrap_or_default()) % nodes;
        let outcome = post(&transition, first, nodes, &mut rng, history).await;
        if outcome == Outcome::Stands && opens {
            opened.push(Opened { artifact, key: id });
        }
    }
}

async fn post(transition: &Value, nearest: u8, nodes: u8, rng: &mut StdRng, history: &History) -> Outcome {
    let id = transition["transition_id"].as_str().unwrap_or_default();
    history.begin(transition);
    let mut node = nearest;
    let mut last = Outcome::Unknown;
    for turn in 0..TRIES_MAX {
        let answer = ask(node, Method::POST, "/projections/transitions", Some(transition), PATIENCE).await;
        let outcome = match answer {
            Ok(answer) => Outcome::of(&answer),
            Err(_) => Outcome::Unknown,
        };
        history.end(id, node, &outcome);
        match outcome {
            Outcome::Stands => return outcome,
            Outcome::Refused { is_final: true, .. } => return outcome,
            _ => last = outcome,
        }
        node = 1 + node % nodes;
        sleep(Duration::from_millis(rng.random_range(20..200) << turn)).await;
    }
    last
}

/// Reads cursors at one node, again and again.
pub async fn read(node: u8, seed: u64, history: Arc<History>, lasting: Duration) {
    let mut rng = StdRng::seed_from_u64(seed);
    while turmoil::sim_elapsed().unwrap_or_default() < lasting {
        sleep(Duration::from_millis(rng.random_range(20..200))).await;
        let artifact = format!("a-{}", rng.random_range(0..ARTIFACTS));
        let path = format!("/projections/{artifact}/cursor");
        if let Ok(Answer { status: 200, body }) = ask(node, Method::GET, &path, None, PATIENCE).await {
            history.saw(node, &artifact, body["committed_version"].as_str().unwrap_or_default());
        }
    }
}
