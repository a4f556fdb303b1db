//! What happens to disks: they are lost, an old copy is put back, and they fill up.

use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::disk::Disk;
use plimsoll_tests::history::History;
use plimsoll_tests::machine::{command, not_run};
use plimsoll_tests::trace::{resolved, transition};
use serde_json::Value;

use super::load::under_load;
use super::{cluster, comes_to_rest, post, refused};

/// The node id of a node.
fn id(cluster: &Cluster, number: u8) -> String {
    cluster.status(number)["node_id"].as_str().unwrap().to_owned()
}

/// A new node at the address of one whose disk is lost gets everything, also what the lost one had stamped: no feed is that
/// node's any more, so it has to be found by comparison.
#[test]
fn a_node_whose_disk_is_lost_comes_back_as_a_new_one() {
    let Some(cluster) = cluster("a disk that is lost", &["eu", "us", "ap"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "before", |load| load.more([1, 2, 3], 30));
    // What was only there is lost with it.
    cluster.converged();
    let lost = id(&cluster, 2);
    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data(2)).unwrap();
    under_load(&cluster, &history, "after", |load| {
        load.more([1, 3], 20);
        cluster.start(2);
        cluster.met();
        load.more([1, 2, 3], 20);
    });
    assert_ne!(id(&cluster, 2), lost);
    comes_to_rest(&cluster, &history);
    // Nobody can say what the lost node knew of a ref, until somebody says that it will not come back.
    let unknown = transition("artifact-0", "late", "late", &[resolved("nobody-opened-this", 1)]);
    let answers = |problem: &str| cluster.numbers().all(|number| cluster.post(number, &unknown).problem() == problem);
    assert!(answers("unverifiable-ref"));
    let forget = format!("/cluster/members/{lost}");
    // Who was there a moment ago is not forgotten before somebody has seen that another node has its place.
    until("it can be forgotten", || {
        let client = cluster.client(1, BOUND);
        let answer = cluster.network.as_client(|| client.send("DELETE", &forget, &[], &[]).unwrap());
        assert!(answer.status == 204 || answer.problem() == "member-connected", "{answer:?}");
        answer.status == 204
    });
    until("all have forgotten it", || answers("unknown-pending-ref"));
}

/// The copy lacks what its node had stamped since, and others have it; and the node goes on in its log from where it was, so
/// that others have come further with it than it is.
#[test]
fn a_node_may_come_back_with_an_old_copy_of_its_disk() {
    let Some(cluster) = cluster("an old copy of a disk", &["eu", "us", "ap"], &[]) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "before", |load| load.more([1, 2, 3], 30));
    cluster.stop(2);
    let copy = cluster.folder().join("copy");
    let (data, copy) = (cluster.data(2), copy.as_path());
    command("cp", &["-a", data.to_str().unwrap(), copy.to_str().unwrap()]).unwrap();
    cluster.start(2);
    cluster.met();
    under_load(&cluster, &history, "between", |load| load.more([1, 2, 3], 40));
    // What was only there is lost with it.
    cluster.converged();
    cluster.stop(2);
    std::fs::remove_dir_all(&data).unwrap();
    command("cp", &["-a", copy.to_str().unwrap(), data.to_str().unwrap()]).unwrap();
    under_load(&cluster, &history, "after", |load| {
        load.more([1, 3], 10);
        // Nobody reaches it yet, and it stamps anew where the others have been already.
        cluster.network.cut_off(&[2]);
        cluster.start(2);
        load.more([2], 20);
        cluster.network.mend();
        cluster.met();
        load.more([1, 2, 3], 40);
    });
    comes_to_rest(&cluster, &history);
}

/// The MiB of a disk on which a node lays its ballast and has room to work.
const DISK_MEBIBYTES: u64 = 512;

/// Less than a node wants to leave free, and more than it needs for what is under way when it sees that.
const SHORT_MEBIBYTES: u64 = 32;

/// A cluster of three, and a disk for the third; says so where this machine cannot have one.
fn with_a_disk(test: &str) -> Option<(Cluster, Disk)> {
    let disk = Disk::new(DISK_MEBIBYTES).map_err(|why| not_run(test, &why)).ok()?;
    Some((cluster(test, &["eu", "eu", "us"], &[])?, disk))
}

/// What a node says of whether requests are to be sent to it.
fn readiness(cluster: &Cluster, number: u8) -> (u16, Value) {
    let answer = cluster.network.as_client(|| cluster.client(number, BOUND).get("/readyz")).unwrap();
    (answer.status, answer.json()["reason"].clone())
}

/// Waits until a node refuses posts because its disk is full, and sees that it serves what it has.
#[track_caller]
fn serves_reads_only(cluster: &Cluster, history: &History, number: u8) {
    let mut ids = history.len()..;
    until("it refuses posts", || {
        let post_at = |id| post(cluster, history, number, &transition("full", &format!("full-{id}"), "full", &[]));
        let outcome = ids.next().map(post_at).unwrap();
        assert!(outcome.is_acknowledged() || outcome == refused(507, "disk-full"), "{outcome:?}");
        !outcome.is_acknowledged()
    });
    for path in ["/projections/artifact-0", "/projections/artifact-0/cursor", "/projections/artifact-0/transitions"] {
        assert!(cluster.get(number, path).is_object());
    }
}

/// It has seen its disk fill up in time, and has not failed.
#[track_caller]
fn says_that_its_disk_is_full(cluster: &Cluster, number: u8) {
    assert_eq!(readiness(cluster, number), (200, "urn:plimsoll:problem:disk-full".into()));
}

/// The others do not wait for it, and it catches up by itself once there is room.
#[test]
fn a_node_whose_disk_is_full_serves_reads_and_goes_on_once_there_is_room() {
    let Some((cluster, disk)) = with_a_disk("a disk that is full") else { return };
    let disk = cluster.put_on(3, disk);
    let history = History::default();
    cluster.start_all();
    // Until it was ready once, a node has to catch up first of all.
    until("it is ready", || readiness(&cluster, 3) == (200, Value::Null));
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 20);
        for _ in 0..2 {
            disk.fill_but(SHORT_MEBIBYTES);
            serves_reads_only(&cluster, &history, 3);
            load.more([1, 2], 40);
            serves_reads_only(&cluster, &history, 3);
            says_that_its_disk_is_full(&cluster, 3);
            assert!(cluster.sees(1, 3) && cluster.sees(3, 1));
            disk.make_room();
            load.more([1, 2, 3], 20);
        }
    });
    comes_to_rest(&cluster, &history);
}

/// Not a byte is left, and its process is gone: it comes back to serve what it has, takes nothing of its peers, and catches
/// up once there is room.
#[test]
fn a_node_may_be_started_on_a_full_disk() {
    let Some((cluster, disk)) = with_a_disk("a start on a full disk") else { return };
    let disk = cluster.put_on(3, disk);
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "load", |load| {
        load.more([1, 2, 3], 20);
        disk.fill_but(SHORT_MEBIBYTES);
        serves_reads_only(&cluster, &history, 3);
        disk.fill();
        load.more([1, 2], 20);
        serves_reads_only(&cluster, &history, 3);
        cluster.kill(3);
        load.more([1, 2], 20);
        cluster.start(3);
        cluster.met();
        serves_reads_only(&cluster, &history, 3);
        load.more([1, 2], 20);
        assert_eq!(readiness(&cluster, 3), (503, "urn:plimsoll:problem:not-ready".into()), "it has not caught up");
        disk.make_room();
        load.more([1, 2, 3], 20);
    });
    comes_to_rest(&cluster, &history);
}
