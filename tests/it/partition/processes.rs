//! What happens to processes: they are killed, and they stand still.

use plimsoll_tests::cluster::until;
use plimsoll_tests::history::History;

use super::load::under_load;
use super::{cluster, comes_to_rest};

#[test]
fn a_node_that_is_killed_under_load_comes_back() {
    let Some(cluster) = cluster("a node that is killed", &["eu", "eu", "us"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 20);
        for number in [2, 3] {
            cluster.kill(number);
            let others = || cluster.numbers().filter(|other| *other != number);
            until("its end is seen", || others().all(|other| !cluster.sees(other, number)));
            load.more(others(), 20);
            cluster.start(number);
            cluster.met();
            load.more([1, 2, 3], 10);
        }
    });
    comes_to_rest(&cluster, &history);
}

#[test]
fn a_node_that_stands_still_for_a_while_goes_on() {
    let Some(cluster) = cluster("a node that stands still", &["eu", "eu", "us"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 20);
        cluster.signal(2, "STOP");
        until("it is taken to be gone", || !cluster.sees(1, 2) && !cluster.sees(3, 2));
        load.more([1, 3], 20);
        cluster.signal(2, "CONT");
        cluster.met();
        load.more([1, 2, 3], 20);
    });
    comes_to_rest(&cluster, &history);
}
