//! What happens to identities: a data directory is copied, and both are started.

use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::machine::command;
use plimsoll_tests::node::Answer;
use plimsoll_tests::trace::transition;

use super::load::under_load_at;
use super::{cluster, comes_to_rest, post};

/// Four hosts: a cluster on three of them, and the last with a copy of the second one's data directory, and a certificate
/// of its own. The first and the third run.
fn copied(test: &str, history: &History) -> Option<Cluster> {
    let cluster = cluster(test, &["eu", "us", "ap", "us"], &[])?;
    (1..=3).for_each(|number| cluster.start(number));
    cluster.met();
    under_load_at(&cluster, [1, 2, 3], history, "before", |load| load.more([1, 2, 3], 20));
    cluster.converged();
    cluster.stop(2);
    command("cp", &["-a", cluster.data(2).to_str().unwrap(), cluster.data(4).to_str().unwrap()]).unwrap();
    Some(cluster)
}

fn get(cluster: &Cluster, number: u8, path: &str) -> Answer {
    cluster.network.as_client(|| cluster.client(number, BOUND).get(path)).unwrap()
}

/// Waits until a node has seen that it is not the only one of its identity, and sees that it says so, refuses posts, and
/// serves reads.
#[track_caller]
fn is_fenced(cluster: &Cluster, number: u8) {
    until("it is fenced", || cluster.state(number) == "read_only");
    until("it says why", || cluster.log(number).contains("another node has this node's id"));
    let refused = cluster.post(number, &transition("fenced", &format!("fenced-{number}"), "fenced", &[]));
    assert_eq!((refused.status, refused.problem()), (503, "not-ready".into()));
    let readiness = get(cluster, number, "/readyz");
    assert_eq!((readiness.status, &readiness.json()["ready"]), (503, &false.into()));
    for path in ["/projections/artifact-1", "/projections/artifact-1/cursor", "/projections/artifact-1/transitions"] {
        assert_eq!(get(cluster, number, path).status, 200);
    }
}

/// What the first node accepts is read at these.
#[track_caller]
fn are_told(cluster: &Cluster, numbers: &[u8], history: &History) {
    let told = post(cluster, history, 1, &transition("told", "told", "told", &[]));
    assert!(matches!(told, Outcome::Accepted(_)), "{told:?}");
    let path = "/projections/told/cursor?contains=told";
    until("it is read there", || numbers.iter().all(|number| get(cluster, *number, path).status == 200));
}

#[track_caller]
fn goes_on(cluster: &Cluster, history: &History) {
    cluster.met();
    under_load_at(cluster, [1, 2, 3], history, "after", |load| load.more([1, 2, 3], 20));
    comes_to_rest(cluster, history);
}

/// Nobody posts to the copy before it has seen what it is: what it accepted alone would be lost with it.
#[test]
fn two_nodes_with_one_identity_see_it_and_take_no_writes() {
    let history = History::default();
    let Some(cluster) = copied("two nodes with one identity", &history) else { return };
    under_load_at(&cluster, [1, 2, 3], &history, "both", |load| {
        load.more([1, 3], 10);
        cluster.start(2);
        load.more([2], 10);
        cluster.start(4);
        is_fenced(&cluster, 2);
        is_fenced(&cluster, 4);
        load.more([1, 3], 20);
        are_told(&cluster, &[2], &history);
        cluster.stop(4);
        assert_eq!(cluster.state(2), "read_only", "only a restart tells which of the two goes on");
        cluster.stop(2);
        load.more([1, 3], 10);
        cluster.start(2);
    });
    goes_on(&cluster, &history);
}

/// The copy reaches nobody at first, so both stamp: other things, at the same places of what is one feed to the others. These
/// go over to the copy once the first is stopped, so that way round nothing is lost of what either has accepted.
#[test]
fn what_two_nodes_with_one_identity_have_accepted_is_merged() {
    let history = History::default();
    let Some(cluster) = copied("two nodes with one identity that do not meet", &history) else { return };
    cluster.network.cut_off(&[4]);
    under_load_at(&cluster, [1, 2, 3], &history, "apart", |load| {
        cluster.start(2);
        load.more([1, 2, 3], 20);
        cluster.start(4);
        for turn in 0..60 {
            let (artifact, id) = (format!("artifact-{}", turn % 6), format!("copy-{turn}"));
            // Nobody can ask the copy for a ref, and nobody knows that it is there, so it opens none.
            let accepted = post(&cluster, &history, 4, &transition(&artifact, &id, &format!("s-{id}"), &[]));
            assert!(matches!(accepted, Outcome::Accepted(_)), "{accepted:?}");
        }
        load.more([1, 2, 3], 20);
        cluster.network.mend();
        is_fenced(&cluster, 2);
        is_fenced(&cluster, 4);
    });
    cluster.stop(2);
    cluster.converged();
    cluster.stop(4);
    cluster.start(2);
    goes_on(&cluster, &history);
}

/// As long as the first is there nobody would follow the copy, or ask it for a ref.
#[test]
fn a_copy_that_takes_writes_is_a_member_or_none() {
    let history = History::default();
    let Some(cluster) = copied("a copy that only the others reach", &history) else { return };
    let (one, copy) = (cluster.network.host(2), cluster.network.host(4));
    one.refuse(copy);
    copy.refuse(one);
    under_load_at(&cluster, [1, 2, 3], &history, "apart", |load| {
        cluster.start(2);
        load.more([1, 2, 3], 20);
        cluster.start(4);
        is_fenced(&cluster, 2);
        is_fenced(&cluster, 4);
        for number in [2, 4] {
            let leave = || cluster.client(number, BOUND).send("POST", "/cluster/leave", &[], &[]).unwrap();
            let left = cluster.network.as_client(leave);
            assert_eq!((left.status, left.problem()), (409, "member-connected".into()), "the other would be gone too");
        }
        load.more([1, 3], 20);
        are_told(&cluster, &[2], &history);
    });
    let trouble = "it refuses to talk: another node has this node's id: one data directory is a copy of the other";
    until("the copy says so", || {
        let status = cluster.status(4);
        status["members"].as_array().is_some_and(|members| members.iter().all(|member| member["trouble"] == trouble))
    });
    cluster.stop(4);
    cluster.stop(2);
    cluster.start(2);
    goes_on(&cluster, &history);
}
