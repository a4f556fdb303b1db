//! Nodes on hosts of their own, with mutual TLS between them, and what networks, processes, disks, clocks and those
//! who copy directories do to them.
//!
//! Every scenario ends alike: all nodes hold the same, everything that was acknowledged is everywhere, nothing is there that
//! nobody posted, no status has come back over a later one, and nobody was told that a ref is unknown which was known.

mod answers;
mod clocks;
mod cuts;
mod disks;
mod forgetting;
mod identities;
mod legion;
mod load;
mod phases;
mod processes;
mod strangers;

use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::machine::not_run;
use serde_json::Value;

/// The longest time between two signs of life: short, so that a cut is seen soon.
const PULSE: [&str; 2] = ["--pulse-ms", "400"];

/// A cluster on hosts of its own; says so where this machine cannot have one.
fn cluster(test: &str, regions: &[&'static str], arguments: &[&'static str]) -> Option<Cluster> {
    Cluster::new(regions, &[PULSE.as_slice(), arguments].concat()).map_err(|why| not_run(test, &why)).ok()
}

/// Posts a transition to a node, for the history.
fn post(cluster: &Cluster, history: &History, number: u8, transition: &Value) -> Outcome {
    let client = cluster.client(number, BOUND);
    cluster.network.as_client(|| history.post(&client, transition))
}

/// Retires an artifact at a node.
#[track_caller]
fn retire(cluster: &Cluster, number: u8, artifact: &str) {
    let client = cluster.client(number, BOUND);
    let path = format!("/projections/{artifact}");
    let answer = cluster.network.as_client(|| client.send("DELETE", &path, &[], &[])).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// Waits until every node that runs holds the transitions of the artifacts that are there, and no other facts.
#[track_caller]
fn all_retired_is_forgotten(cluster: &Cluster) {
    until("all that was retired is forgotten", || {
        let live: usize = cluster.copies()[0].artifacts.values().map(|artifact| artifact.transitions.len()).sum();
        cluster.running().all(|number| cluster.facts(number) == live as u64)
    });
}

fn refused(status: u16, problem: &str) -> Outcome {
    Outcome::Refused { status, problem: problem.to_owned() }
}

/// What every scenario ends with.
#[track_caller]
fn comes_to_rest(cluster: &Cluster, history: &History) {
    cluster.converged();
    let violations = history.violations(&cluster.copies());
    let first: Vec<_> = violations.iter().take(20).map(String::as_str).collect();
    assert!(violations.is_empty(), "{} violations, the first:\n{}", violations.len(), first.join("\n"));
}
