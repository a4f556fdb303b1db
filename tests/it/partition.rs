//! Nodes on hosts of their own, with mutual TLS between them, and what networks, processes and disks do to them.
//!
//! Every scenario ends alike: all nodes hold the same, everything that was acknowledged is everywhere, nothing is there that
//! nobody posted, no status has come back over a later one, and nobody was told that a ref is unknown which was known.

mod load;

use plimsoll_tests::cluster::Cluster;
use plimsoll_tests::history::History;
use plimsoll_tests::machine::not_run;

use self::load::under_load;

/// A cluster on hosts of its own; says so where this machine cannot have one.
fn cluster(test: &str, regions: &[&'static str], arguments: &[&'static str]) -> Option<Cluster> {
    Cluster::new(regions, arguments).map_err(|why| not_run(test, &why)).ok()
}

/// What every scenario ends with.
#[track_caller]
fn comes_to_rest(cluster: &Cluster, history: &History) {
    cluster.converged();
    let violations = history.violations(&cluster.copies());
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// Three nodes, one in a region of its own or all in one, of which one is cut off from the others.
fn cut_and_mend(regions: &[&'static str]) {
    let Some(cluster) = cluster("a cut of the network", regions, &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 10);
        cluster.network.cut_off(&[3]);
        plimsoll_tests::cluster::until("the cut is seen", || {
            !cluster.sees(1, 3) && !cluster.sees(2, 3) && !cluster.sees(3, 1) && !cluster.sees(3, 2)
        });
        load.more([1, 2, 3], 20);
        assert!(cluster.sees(1, 2) && cluster.sees(2, 1));
        cluster.network.mend();
        cluster.met();
        load.more([1, 2, 3], 10);
    });
    comes_to_rest(&cluster, &history);
}

#[test]
fn a_region_that_is_cut_off_goes_on_and_comes_back() {
    cut_and_mend(&["eu", "eu", "us"]);
}
