//! What a cut and a peer that stands still cost.

use std::thread::sleep;
use std::time::{Duration, Instant};

use plimsoll_tests::cluster::{Cluster, until_every};

use crate::table::{Table, digits};
use crate::{load, process, started};

/// How often it is looked whether all hold the same.
const LOOK: Duration = Duration::from_millis(5);

pub(crate) fn measure(table: &mut Table) -> Result<(), String> {
    let cluster = started(&["eu", "us", "ap"])?;
    let mut slowest = 0.0_f64;
    for round in 0..2 {
        cluster.network.cut_off(&[3]);
        sleep(Duration::from_secs(15));
        load::import(&cluster, 1, &format!("cut-{round}"), 20_000);
        sleep(Duration::from_secs(15));
        cluster.network.mend();
        let begun = Instant::now();
        same(&cluster);
        slowest = slowest.max(begun.elapsed().as_secs_f64());
    }
    table.at_most("20,000 facts of a cut of 30 s: one digest after its end, the slower of two", 1.0, slowest, "s");
    stopped(&cluster, table);
    Ok(())
}

fn same(cluster: &Cluster) {
    let digest = |number| cluster.status(number)["digest"].clone();
    until_every(LOOK, "all hold the same", || digest(1) == digest(3) && digest(2) == digest(3));
}

/// Three times as many facts as an hour of steady work makes, while one stands still.
fn stopped(cluster: &Cluster, table: &mut Table) {
    const FACTS: u32 = 500_000;
    let rate = |name: &str| f64::from(FACTS) / load::import(cluster, 1, name, FACTS).as_secs_f64();
    let before = rate("all-well");
    same(cluster);
    let memory = process::resident_max_mib(cluster.process_id(1));
    cluster.signal(3, "STOP");
    let meanwhile = rate("one-stopped");
    let grown = process::resident_max_mib(cluster.process_id(1));
    cluster.signal(3, "CONT");
    let begun = Instant::now();
    same(cluster);
    table.row(
        "an import of 500,000 facts, lines/s: with all there, with one stopped",
        format!("{}, {}", digits(before), digits(meanwhile)),
    );
    table.row("most memory of the origin so far, MiB: before, after", format!("{memory:.0}, {grown:.0}"));
    table.row("the stopped one has all of it so many seconds after it goes on", digits(begun.elapsed().as_secs_f64()));
}
