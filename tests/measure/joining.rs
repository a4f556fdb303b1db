//! A new node that fetches everything, and nodes that rest with all of it.

use std::fs;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use plimsoll_tests::cli;
use plimsoll_tests::cluster::{BOUND, Cluster, until, until_every};

use crate::table::{Table, digits};
use crate::{load, median, process};

const FACTS: u32 = 1_000_000;

/// What the peers do meanwhile, a second.
const RATE: u32 = 1_000;

/// How often it is looked whether a node is ready.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn measure(table: &mut Table) -> Result<(), String> {
    let cluster = Cluster::new(&["eu", "us", "ap"], &[])?;
    cluster.start(1);
    cluster.start(2);
    cluster.met();
    cluster.ready();
    let begun = Instant::now();
    load::import(&cluster, 1, "joining", FACTS);
    table.row("an import of a million, lines/s", digits(f64::from(FACTS) / begun.elapsed().as_secs_f64()));
    cluster.converged();
    sleep(Duration::from_secs(10));
    alone(&cluster, table);
    beside_posts(&cluster, table)?;
    idle(&cluster, table);
    Ok(())
}

/// How fast it is where nobody else wants anything.
fn alone(cluster: &Cluster, table: &mut Table) {
    let taken = join(cluster);
    let rate = f64::from(FACTS) / taken;
    table.at_least("a new node fetches a million facts until it is ready", 50_000.0, rate, "facts/s");
    table.row("most memory of it, MiB", digits(process::resident_max_mib(cluster.process_id(3))));
}

/// The third node and its disk are gone for good, and the others are told so.
fn lose(cluster: &Cluster) -> Result<(), String> {
    let node = cluster.status(3)["node_id"].as_str().expect("a node has an id").to_owned();
    cluster.kill(3);
    fs::remove_dir_all(cluster.data(3)).map_err(|error| error.to_string())?;
    let forget = || cluster.network.as_client(|| cli::run(&cluster.url(1), &["forget", &node]));
    until("the others know that it is down, and forget it", || forget().code == 0);
    Ok(())
}

/// Starts the third node. Returns the seconds until it is ready.
fn join(cluster: &Cluster) -> f64 {
    let begun = Instant::now();
    cluster.start(3);
    let client = cluster.client(3, BOUND);
    let is_ready = || cluster.network.as_client(|| client.get("/readyz")).is_ok_and(|answer| answer.status == 200);
    until_every(LOOK, "it is ready", is_ready);
    begun.elapsed().as_secs_f64()
}

/// What posts at a peer notice.
fn beside_posts(cluster: &Cluster, table: &mut Table) -> Result<(), String> {
    const TIME: Duration = Duration::from_secs(15);
    let mut ratios = Vec::new();
    for _ in 0..3 {
        lose(cluster)?;
        let before = load::posts(cluster, 1, Some(RATE), TIME);
        let (meanwhile, taken) = thread::scope(|scope| {
            let joined = scope.spawn(|| join(cluster));
            let meanwhile = load::posts(cluster, 1, Some(RATE), TIME);
            (meanwhile, joined.join().expect("it joins"))
        });
        let name = |what: &str| format!("posts at a peer, {RATE}/s, {what}, p50 and p99 in ms");
        table.row(&name("before"), format!("{:.1} and {:.1}", before.p50_ms, before.p99_ms));
        table.row(&name("while a node joins"), format!("{:.1} and {:.1}", meanwhile.p50_ms, meanwhile.p99_ms));
        table.row("it is ready after, s", digits(taken));
        ratios.push(meanwhile.p99_ms / before.p99_ms);
    }
    table.at_most("p99 while a node joins, against before: the median", 2.0, median(ratios), "");
    Ok(())
}

/// What nodes do that have nothing to do.
fn idle(cluster: &Cluster, table: &mut Table) {
    const TIME: Duration = Duration::from_secs(30);
    cluster.converged();
    // The engines have much to put in order after so many writes.
    sleep(Duration::from_secs(30));
    let host = cluster.network.host(3);
    let seconds = TIME.as_secs_f64();
    let (processor, traffic) = (process::processor(cluster.process_id(3)), host.traffic());
    sleep(TIME);
    let (processor_then, traffic_then) = (process::processor(cluster.process_id(3)), host.traffic());
    table.at_most("idle, a million facts: sent by a node", 200.0, (traffic_then.0 - traffic.0) as f64 / seconds, "B/s");
    table.row("received by it, B/s", digits((traffic_then.1 - traffic.1) as f64 / seconds));
    let share = (processor_then - processor).as_secs_f64() / seconds * 100.0;
    table.at_most("its processor", 0.3, share, "% of a core");
}
