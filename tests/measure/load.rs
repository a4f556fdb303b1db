//! Load from outside: the product's own generator and importer, at the network's hub.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use plimsoll_tests::cli;
use plimsoll_tests::cluster::Cluster;
use serde_json::Value;

/// What the generator found.
pub(crate) struct Found {
    /// Transitions that were accepted.
    pub(crate) items: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Offers so many posts a second to a node, or as many as it takes.
pub(crate) fn posts(cluster: &Cluster, number: u8, rate: Option<u32>, time: Duration) -> Found {
    bench(cluster, number, "post", rate, time)
}

/// Reads so many cursors a second.
pub(crate) fn cursors(cluster: &Cluster, number: u8, rate: u32, time: Duration) -> Found {
    bench(cluster, number, "cursor", Some(rate), time)
}

fn bench(cluster: &Cluster, number: u8, operation: &str, rate: Option<u32>, time: Duration) -> Found {
    let rate = rate.map_or_else(|| vec!["--max".to_owned()], |rate| vec!["--rate".to_owned(), rate.to_string()]);
    let seconds = time.as_secs_f64().to_string();
    let mut arguments = vec!["bench", operation, "--seconds", &seconds, "--warmup", "0", "--artifacts", "20000"];
    arguments.extend(rate.iter().map(String::as_str));
    let run = cluster.network.as_client(|| cli::run(&cluster.url(number), &arguments));
    let report = run.json();
    let operations = report["operations"].as_array().expect("a report has operations");
    let of = operations.iter().find(|found| found["operation"] == operation).expect("what was asked for was done");
    let figure = |value: &Value| value.as_f64().expect("a number");
    Found {
        items: figure(&of["items"]),
        per_second: figure(&of["items_per_second"]),
        p50_ms: figure(&of["latency_us"]["p50"]) / 1_000.0,
        p99_ms: figure(&of["latency_us"]["p99"]) / 1_000.0,
    }
}

/// Imports so many new transitions at a node, ten an artifact, each with a ref. Returns how long that took.
pub(crate) fn import(cluster: &Cluster, number: u8, name: &str, count: u32) -> Duration {
    let mut lines = String::new();
    for transition in 0..count {
        let artifact = transition / 10;
        writeln!(
            lines,
            r#"{{"artifact_id":"{name}/{artifact}","transition_id":"{name}-{transition}","status":"in_review","produced_refs":[{{"kind":"pending","target_repo":"acme/web","idempotency_key":"{name}-{transition}"}}]}}"#
        )
        .expect("a text takes all");
    }
    let begun = Instant::now();
    let run = cluster.network.as_client(|| cli::run_with(&cluster.url(number), &["import", "-"], &lines));
    assert_eq!(run.code, 0, "{}", run.remarks);
    begun.elapsed()
}
