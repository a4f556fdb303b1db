//! A node is killed, or made to stand still, whatever it is doing: serving, cut off, repairing, forgetting, leaving,
//! starting, catching up.

use std::fs;
use std::thread;
use std::time::Duration;

use plimsoll_tests::cli::{self, Run};
use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::History;
use plimsoll_tests::trace::transition;

use super::load::{Load, under_load};
use super::{all_retired_is_forgotten, cluster, comes_to_rest, retire};

/// Whom it happens to.
const VICTIM: u8 = 3;

/// Those who see it.
const OTHERS: [u8; 2] = [1, 2];

/// Short, so that something is forgotten while it happens; and longer than a node is away.
const RETENTION: [&str; 2] = ["--retention-s", "10"];

/// What happens to the node. Afterwards it runs.
type Disturbance = fn(&Cluster);

fn is_killed(cluster: &Cluster) {
    cluster.kill(VICTIM);
    cluster.start(VICTIM);
}

fn stands_still(cluster: &Cluster) {
    cluster.signal(VICTIM, "STOP");
    thread::sleep(Duration::from_millis(700));
    cluster.signal(VICTIM, "CONT");
}

#[test]
fn a_node_may_be_killed_whatever_it_does() {
    whatever_it_does("a node that is killed at every phase", is_killed);
}

#[test]
fn a_node_may_stand_still_whatever_it_does() {
    whatever_it_does("a node that stands still at every phase", stands_still);
}

fn whatever_it_does(test: &str, disturb: Disturbance) {
    let Some(cluster) = cluster(test, &["eu", "eu", "us"], &RETENTION) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 10);
        disturb(&cluster);
        serves_again(&cluster, load);
        while_it_is_cut_off_and_repairs(&cluster, load, disturb);
        while_it_forgets(&cluster, load, disturb);
        while_it_leaves(&cluster, load, disturb);
        while_it_starts_and_catches_up(&cluster, load, disturb);
    });
    all_retired_is_forgotten(&cluster);
    comes_to_rest(&cluster, &history);
}

fn serves_again(cluster: &Cluster, load: &Load<'_>) {
    cluster.met();
    load.more([1, 2, 3], 5);
}

fn while_it_is_cut_off_and_repairs(cluster: &Cluster, load: &Load<'_>, disturb: Disturbance) {
    cluster.network.cut_off(&[VICTIM]);
    until("the cut is seen", || OTHERS.iter().all(|other| !cluster.sees(*other, VICTIM)));
    load.more([1, 2], 20);
    disturb(cluster);
    load.more([1, 2], 20);
    cluster.network.mend();
    until("it hears of the others again", || cluster.sees(VICTIM, 1) || cluster.sees(VICTIM, 2));
    disturb(cluster);
    serves_again(cluster, load);
}

fn while_it_forgets(cluster: &Cluster, load: &Load<'_>, disturb: Disturbance) {
    let forgotten = |number| {
        let text = cluster.network.as_client(|| cluster.client(number, BOUND).get("/metrics")).unwrap().text;
        let line = text.lines().find_map(|line| line.strip_prefix("plimsoll_horizon_timestamp_seconds "));
        // Between two horizons it names none.
        line.map_or(0, |seconds| seconds.parse::<u64>().unwrap())
    };
    let before = forgotten(VICTIM);
    for at in 0..8 {
        let id = format!("old-{at}");
        assert_eq!(cluster.post(1, &transition(&id, &format!("{id}-1"), "new", &[])).status, 201);
        retire(cluster, 1, &id);
        load.more([1, 2], 2);
        disturb(cluster);
    }
    serves_again(cluster, load);
    until("it forgets again", || cluster.numbers().all(|number| forgotten(number) > before));
}

/// It leaves, and that is asked for again until it has.
fn while_it_leaves(cluster: &Cluster, load: &Load<'_>, disturb: Disturbance) {
    let leave = || cluster.network.as_client(|| cli::run(&cluster.url(VICTIM), &["leave"]));
    thread::scope(|scope| {
        scope.spawn(leave);
        thread::sleep(Duration::from_millis(100));
        disturb(cluster);
    });
    // Where it was killed after the others had been told, it is no member, and says so.
    let is_over = |run: &Run| run.code == 0 || run.problem()["type"] == "urn:plimsoll:problem:no-such-member";
    until("it has left", || cluster.state(VICTIM) == "leaving" || is_over(&leave()));
    load.more(OTHERS, 5);
    cluster.stop(VICTIM);
}

/// It comes as a new one, and it happens before the node has all that the others have.
fn while_it_starts_and_catches_up(cluster: &Cluster, load: &Load<'_>, disturb: Disturbance) {
    fs::remove_dir_all(cluster.data(VICTIM)).unwrap();
    cluster.start(VICTIM);
    disturb(cluster);
    until("it hears of the others", || cluster.sees(VICTIM, 1) || cluster.sees(VICTIM, 2));
    disturb(cluster);
    until("it is ready", || cluster.state(VICTIM) == "ready");
    serves_again(cluster, load);
}
