//! What networks do: they part, in one direction or both, come and go, and lose packets.

use std::thread;
use std::time::Duration;

use plimsoll_tests::cluster::{Cluster, until};
use plimsoll_tests::history::History;
use plimsoll_tests::hosts::Host;
use plimsoll_tests::machine::not_run;

use super::load::under_load;
use super::{cluster, comes_to_rest};

/// Waits until a node and all others have seen that they are cut off.
#[track_caller]
fn cut_is_seen(cluster: &Cluster, number: u8) {
    let others = || cluster.numbers().filter(|other| *other != number);
    until("the cut is seen", || others().all(|other| !cluster.sees(other, number) && !cluster.sees(number, other)));
}

fn cut_and_mend(test: &str, regions: &[&'static str]) {
    let Some(cluster) = cluster(test, regions, &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 10);
        cluster.network.cut_off(&[3]);
        cut_is_seen(&cluster, 3);
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
    cut_and_mend("a region that is cut off", &["eu", "eu", "us"]);
}

#[test]
fn a_node_that_is_cut_off_from_its_region_goes_on_and_comes_back() {
    cut_and_mend("a node that is cut off from its region", &["us", "eu", "eu"]);
}

/// What one sends does not arrive at the other; the other way all is well.
#[test]
fn a_link_that_carries_one_way_only_is_no_link() {
    let Some(cluster) = cluster("a link that carries one way only", &["eu", "us", "ap"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 10);
        let network = &cluster.network;
        network.host(1).refuse(network.host(2));
        until("the cut is seen", || !cluster.sees(1, 2) && !cluster.sees(2, 1));
        assert!(cluster.sees(1, 3) && cluster.sees(3, 1) && cluster.sees(2, 3) && cluster.sees(3, 2));
        load.more([1, 2, 3], 20);
        network.mend();
        cluster.met();
        // And now what all others send one.
        network.host(3).refuse(network.host(1));
        network.host(3).refuse(network.host(2));
        cut_is_seen(&cluster, 3);
        load.more([1, 2, 3], 20);
        network.mend();
        cluster.met();
    });
    comes_to_rest(&cluster, &history);
}

#[test]
fn a_link_may_flap() {
    let Some(cluster) = cluster("a link that flaps", &["eu", "eu", "us"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 10);
        // Shorter and longer than it takes to see it, and so short that nobody does.
        for (turn, millis) in [50, 400, 1_000, 100, 2_500, 200, 700, 10].into_iter().enumerate() {
            let host = cluster.network.host(if turn % 2 == 0 { 3 } else { 1 });
            host.unplug();
            thread::sleep(Duration::from_millis(millis));
            host.plug_in();
            thread::sleep(Duration::from_millis(millis / 2));
        }
        cluster.met();
        load.more([1, 2, 3], 10);
    });
    comes_to_rest(&cluster, &history);
}

#[test]
fn a_tenth_of_all_packets_may_be_lost() {
    let test = "packets that are lost";
    let Some(cluster) = cluster(test, &["eu", "eu", "us"], &[]) else { return };
    let history = History::default();
    if let Err(why) = cluster.network.hosts().iter().try_for_each(|host| host.lose(10)) {
        return not_run(test, &why);
    }
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| load.more([1, 2, 3], 150));
    let losses: u64 = cluster.network.hosts().iter().map(Host::lost).sum();
    assert!(losses > 0, "no packet was lost");
    // It comes to rest while they still are.
    comes_to_rest(&cluster, &history);
}
