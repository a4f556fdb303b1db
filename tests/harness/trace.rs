//! Transitions to post: made up ones, and the real trace that comes with the product.

use std::fs;

use serde_json::{Value, json};

use crate::root;

/// The transitions of the trace that comes with the product, in order.
///
/// # Panics
/// Where the trace is not there.
#[must_use]
pub fn real() -> Vec<Value> {
    let path = root().join("crates/cli/data/submitqueue.ndjson");
    let text = fs::read_to_string(path).expect("the trace comes with the product");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a transition")).collect()
}

/// A transition of an artifact.
#[must_use]
pub fn transition(artifact: &str, id: &str, status: &str, refs: &[Value]) -> Value {
    json!({ "artifact_id": artifact, "transition_id": id, "status": status, "produced_refs": refs })
}

/// A pending ref in `acme/web`.
#[must_use]
pub fn pending(key: &str) -> Value {
    json!({ "kind": "pending", "target_repo": "acme/web", "idempotency_key": key })
}

/// A resolved ref in `acme/web`.
#[must_use]
pub fn resolved(key: &str, number: u64) -> Value {
    json!({
        "kind": "resolved", "target_repo": "acme/web", "idempotency_key": key, "number": number,
        "url": format!("https://forge.example/acme/web/pull/{number}"), "created_at": "2026-04-22T18:04:11Z",
    })
}
