//! What a node answers that depends on what others have.

use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::node::Answer;
use plimsoll_tests::trace::{resolved, transition};
use serde_json::Value;

use super::cluster;

fn send(cluster: &Cluster, number: u8, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let send = || cluster.client(number, BOUND).send("POST", path, headers, body.as_bytes());
    cluster.network.as_client(send).expect("the node answers")
}

/// The statuses of the lines of a batch.
fn batch(cluster: &Cluster, number: u8, lines: &[Value]) -> Vec<u64> {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = send(cluster, number, "/projections/transitions/batch", &headers, &lines);
    let statuses = answer.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].clone());
    statuses.map(|status| status.as_u64().unwrap()).collect()
}

/// A line that waits for what members know must not come after those behind it.
#[test]
fn the_lines_of_a_batch_keep_their_order_whatever_members_know() {
    let patient = ["--repair-timeout-ms", "30000"];
    let Some(cluster) = cluster("lines of a batch that rest on other members", &["eu", "us"], &patient) else { return };
    cluster.start_all();
    // Before they have caught up they know nothing for sure.
    cluster.ready();
    let lines = |artifact: &str, key: &str| {
        [
            transition(artifact, &format!("{key}-1"), "first", &[resolved(key, 7)]),
            transition(artifact, &format!("{key}-2"), "second", &[]),
        ]
    };
    assert_eq!(batch(&cluster, 1, &lines("spec-a", "nobody's")), [409, 201]);
    assert_eq!(cluster.get(1, "/projections/spec-a")["status"], "second");
    cluster.network.cut_off(&[2]);
    until("the cut is seen", || !cluster.sees(1, 2));
    assert_eq!(batch(&cluster, 1, &lines("spec-b", "perhaps-somebody's")), [503, 201]);
    assert_eq!(cluster.get(1, "/projections/spec-b")["status"], "second");
}

/// Disks are counted that have it, also where its own node is not what brings it there.
#[test]
fn as_many_disks_as_are_asked_for_are_waited_for_and_no_more_are_claimed() {
    let patient = ["--ack-timeout-ms", "30000"];
    let Some(cluster) = cluster("acknowledgement by several members", &["eu", "eu", "us"], &patient) else { return };
    cluster.start_all();
    let post = |number: u8, id: &str, disks: &str| {
        let headers = [("content-type", "application/json"), ("plimsoll-ack", disks)];
        let body = transition("spec", id, "open", &[]).to_string();
        send(&cluster, number, "/projections/transitions", &headers, &body).status
    };
    for number in 1..=3 {
        assert_eq!(post(number, &format!("t-{number}"), "3"), 201, "one of another region has a neighbour's help");
        assert_eq!(post(number % 3 + 1, &format!("t-{number}"), "3"), 200, "what another node stamped");
        let counts: Vec<_> = (1..=3).map(|node| cluster.facts(node)).collect();
        assert!(counts.iter().all(|count| *count == u64::from(number)), "{counts:?}");
    }
    assert_eq!(post(1, "t-4", "4"), 504, "there are not so many");
    cluster.network.cut_off(&[3]);
    until("the cut is seen", || !cluster.sees(1, 3) && !cluster.sees(2, 3));
    assert_eq!(post(1, "t-5", "2"), 201);
    assert_eq!(post(2, "t-5", "2"), 200);
}

/// A read says how old it may be, and which regions are missing from it.
#[test]
fn reads_say_how_old_they_may_be_and_what_is_missing() {
    let Some(cluster) = cluster("how old reads are", &["eu", "us"], &[]) else { return };
    cluster.start_all();
    let read = || cluster.network.as_client(|| cluster.client(1, BOUND).get("/projections/spec/cursor").unwrap());
    let staleness = || read().header("plimsoll-staleness-ms").parse::<u64>();
    until("all has been heard of", || staleness().is_ok());
    assert_eq!(read().header("plimsoll-regions-missing"), "");
    cluster.network.cut_off(&[2]);
    until("the region is missing", || read().header("plimsoll-regions-missing") == "us");
    let before = staleness().unwrap();
    until("what is read grows older", || staleness().unwrap() > before + 1_000);
    cluster.network.mend();
    until("nothing is missing", || {
        read().header("plimsoll-regions-missing").is_empty() && staleness().unwrap() < before
    });
}
