//! Measures a cluster: real processes on hosts of their own, mutual TLS between them, and this machine's processors for all of them.
//!
//! ```console
//! $ cargo run --release -p plimsoll-tests --bin measure -- bytes joining
//! ```
//!
//! Each measure prints rows of a Markdown table as it goes. It needs root, iproute2 and iptables, and fails where a bar is missed.

#![expect(clippy::print_stdout, reason = "this is a program for a terminal")]
#![expect(clippy::cast_precision_loss, reason = "what is measured is told in a few digits")]

mod bytes;
mod forgetting;
mod healing;
mod joining;
mod load;
mod process;
mod table;
mod visible;

use std::process::ExitCode;

use plimsoll_tests::cluster::Cluster;

use crate::table::Table;

/// A name, what it measures, and the measure.
type Measure = (&'static str, &'static str, fn(&mut Table) -> Result<(), String>);

const MEASURES: [Measure; 6] = [
    ("visible", "how long a write takes to be read elsewhere", visible::measure),
    ("posts", "posts at one node of three, and at one alone", visible::posts),
    ("bytes", "what crosses the boundary of a region", bytes::measure),
    ("healing", "20,000 facts after a cut, and a peer that stands still", healing::measure),
    ("joining", "a new node with a million facts to fetch, and idle nodes that have them", joining::measure),
    ("forgetting", "forgetting what was retired, in a store of a million facts", forgetting::measure),
];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| MEASURES.iter().any(|(known, ..)| known == name);
    if wanted.is_empty() || !wanted.iter().all(known) {
        println!("Usage: measure <MEASURE>...\n");
        MEASURES.iter().for_each(|(name, what, _)| println!("  {name:<12}{what}"));
        return ExitCode::from(2);
    }
    let mut table = Table::begin();
    for (name, _, measure) in MEASURES.iter().filter(|(name, ..)| wanted.iter().any(|wanted| wanted == name)) {
        if let Err(why) = measure(&mut table) {
            println!("\n{name} cannot be measured here: {why}");
            return ExitCode::FAILURE;
        }
    }
    if table.is_met() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Nodes in these regions, all started, with the settings a node has by itself.
fn started(regions: &[&'static str]) -> Result<Cluster, String> {
    let cluster = Cluster::new(regions, &[])?;
    cluster.start_all();
    cluster.ready();
    Ok(cluster)
}

/// The one in the middle, of an odd number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
