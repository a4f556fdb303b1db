//! Forgetting what was retired.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::cluster::{BOUND, Cluster, until_every};

use crate::load;
use crate::table::{Table, digits};

/// What stays.
const LIVE: u32 = 1_000_000;

/// What is retired: ten an artifact.
const RETIRED: u32 = 100_000;

/// The retention, in seconds: enough for all retirements to come before any of them is forgotten.
const RETENTION: [&str; 2] = ["--retention-s", "40"];

/// Cursors a second, meanwhile.
const RATE: u32 = 1_000;

/// How often it is looked whether all is forgotten.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn measure(table: &mut Table) -> Result<(), String> {
    let cluster = Cluster::new(&["eu", "us"], &RETENTION)?;
    cluster.start_all();
    cluster.ready();
    load::import(&cluster, 1, "old", RETIRED);
    load::import(&cluster, 1, "live", LIVE);
    let before = load::cursors(&cluster, 1, RATE, Duration::from_secs(10));
    let with_all = size(&cluster.data(1));
    retire(&cluster);
    cluster.converged();
    let expected = u64::from(LIVE) + 20_000 * 2;
    let begun = Instant::now();
    let meanwhile = thread::scope(|scope| {
        let cursors = scope.spawn(|| load::cursors(&cluster, 1, RATE, Duration::from_secs(60)));
        until_every(LOOK, "it is forgotten", || cluster.numbers().all(|number| cluster.facts(number) <= expected));
        let taken = begun.elapsed().as_secs_f64();
        table.row(
            "110,000 facts are forgotten so long after the last was retired, with a retention of 40 s, s",
            digits(taken),
        );
        cursors.join().expect("cursors are read")
    });
    table.row(
        "p99 of cursors, 1,000/s: before, and while all that happens, in ms",
        format!("{}, {}", digits(before.p99_ms), digits(meanwhile.p99_ms)),
    );
    let mib = |bytes: u64| (bytes >> 20).to_string();
    table
        .row("the data directory before and after, MiB", format!("{}, {}", mib(with_all), mib(size(&cluster.data(1)))));
    Ok(())
}

fn retire(cluster: &Cluster) {
    let client = cluster.client(1, BOUND);
    cluster.network.as_client(|| {
        for artifact in 0..RETIRED / 10 {
            let answer =
                client.send("DELETE", &format!("/projections/old%2F{artifact}"), &[], &[]).expect("it answers");
            assert_eq!(answer.status, 204, "{answer:?}");
        }
    });
}

/// The bytes of all files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        // It has gone in between.
        Err(_) => 0,
    });
    sizes.sum()
}
