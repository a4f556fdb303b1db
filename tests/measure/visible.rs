//! How long a write takes to be read elsewhere, and what a node takes beside its peers.

use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use plimsoll_tests::cluster::{BOUND, Cluster};
use plimsoll_tests::trace::transition;

use crate::table::Table;
use crate::{load, median, process, started};

const SECONDS: Duration = Duration::from_secs(10);

/// Between two writes that are looked for.
const PAUSE: Duration = Duration::from_millis(2);

pub(crate) fn measure(table: &mut Table) -> Result<(), String> {
    let cluster = started(&["eu", "us", "ap"])?;
    let (p50, p99) = visible(&cluster, "idle");
    table.at_most("a write at one node is read at another, idle: p50", 2.0, p50, "ms");
    table.at_most("the same: p99", 5.0, p99, "ms");
    let half = load::posts(&cluster, 1, None, SECONDS).per_second / 2.0;
    cluster.converged();
    let rate = (half / 100.0).round() as u32 * 100;
    let p99 = thread::scope(|scope| {
        scope.spawn(|| load::posts(&cluster, 1, Some(rate), SECONDS));
        sleep(Duration::from_secs(1));
        visible(&cluster, "busy").1
    });
    table.at_most(&format!("the same beside {rate} posts/s, half of what the three take: p99"), 20.0, p99, "ms");
    Ok(())
}

/// Posts at the first node and asks the second one for it: milliseconds from before the post.
fn visible(cluster: &Cluster, name: &str) -> (f64, f64) {
    let [here, there] = [1, 2].map(|number| cluster.client(number, BOUND));
    let once = |turn: usize| {
        let (artifact, id) = (format!("{name}-{}", turn % 50), format!("{name}-{turn}"));
        let begun = Instant::now();
        let posted = here.post(&transition(&artifact, &id, "s", &[])).expect("the node answers");
        assert_eq!(posted.status, 201, "{posted:?}");
        let path = format!("/projections/{artifact}/cursor?contains={id}");
        let read = there.send("GET", &path, &[("prefer", "wait=5")], &[]).expect("the node answers");
        assert_eq!(read.status, 200, "{read:?}");
        let taken = begun.elapsed().as_secs_f64() * 1_000.0;
        sleep(PAUSE);
        taken
    };
    let mut taken: Vec<f64> = cluster.network.as_client(|| (0..1_000).map(once).collect());
    taken.sort_by(f64::total_cmp);
    (taken[500], taken[990])
}

pub(crate) fn posts(table: &mut Table) -> Result<(), String> {
    let cluster = started(&["eu", "us", "ap"])?;
    let alone = started(&["eu"])?;
    let mut shares = Vec::new();
    for _ in 0..3 {
        let processor = || [1, 2].map(|number| process::processor(cluster.process_id(number)).as_secs_f64());
        let before = processor();
        let three = load::posts(&cluster, 1, None, SECONDS);
        cluster.converged();
        let after = processor();
        let per_thousand = |place: usize| (after[place] - before[place]) * 1_000_000.0 / three.items;
        table.row(
            "processor milliseconds of 1,000 facts: origin with its HTTP, replica",
            format!("{:.0}, {:.0}", per_thousand(0), per_thousand(1)),
        );
        shares.push(three.per_second / load::posts(&alone, 1, None, SECONDS).per_second);
    }
    table.at_least("posts on 64 connections at one of three, against one alone", 0.45, median(shares), "");
    Ok(())
}
