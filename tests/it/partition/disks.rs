//! What happens to disks: they are lost, and an old copy is put back.

use plimsoll_tests::cluster::{Cluster, until};
use plimsoll_tests::history::History;
use plimsoll_tests::machine::command;
use plimsoll_tests::trace::{resolved, transition};

use super::load::under_load;
use super::{cluster, comes_to_rest};

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
        let client = cluster.client(1, plimsoll_tests::cluster::BOUND);
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
