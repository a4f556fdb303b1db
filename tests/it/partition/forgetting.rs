//! What was retired is forgotten, and nobody brings it back.

use std::fs;
use std::path::{Path, PathBuf};

use plimsoll_tests::cli;
use plimsoll_tests::cluster::{BOUND, Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::trace::transition;

use super::load::under_load;
use super::{all_retired_is_forgotten, cluster, comes_to_rest, post, retire};

/// Short, so that it is forgotten all the time.
const RETENTION: [&str; 2] = ["--retention-s", "2"];

fn finds(cluster: &Cluster, number: u8, artifact: &str) -> bool {
    let client = cluster.client(number, BOUND);
    cluster.network.as_client(|| client.get(&format!("/projections/{artifact}"))).unwrap().status == 200
}

/// Artifacts that are retired at one node, while others are posted to everywhere, and a node is killed.
#[test]
fn what_was_retired_is_forgotten_everywhere_under_load() {
    let Some(cluster) = cluster("forgetting under load", &["eu", "us", "ap"], &RETENTION) else { return };
    let history = History::default();
    cluster.start_all();
    let old = |at: u8| format!("old-{at}");
    under_load(&cluster, &history, "load", |load| {
        for at in 0..24 {
            let answer = cluster.post(1 + at % 3, &transition(&old(at), &format!("{}-1", old(at)), "new", &[]));
            assert_eq!(answer.status, 201, "{answer:?}");
            retire(&cluster, 1 + at % 3, &old(at));
            load.more([1, 2, 3], 2);
            if at == 12 {
                cluster.kill(2);
                cluster.start(2);
                cluster.met();
            }
        }
    });
    cluster.converged();
    all_retired_is_forgotten(&cluster);
    comes_to_rest(&cluster, &history);
    // An id of a forgotten artifact is a new one's.
    assert_eq!(cluster.post(3, &transition(&old(0), "old-0-1", "new", &[])).status, 201);
    cluster.converged();
    assert!(cluster.numbers().all(|number| finds(&cluster, number, &old(0))));
}

/// The one folder in which a node has set its data aside, once all that belongs there is in it: until then it has another name.
fn parked(data: &Path) -> Option<PathBuf> {
    let folder = fs::read_dir(data.join("parked")).ok()?.next()?.unwrap().path();
    (!folder.ends_with("unfinished")).then_some(folder)
}

/// A node that is cut off goes on taking writes. The others wait for it, until it has been away for longer than the retention.
#[test]
fn a_node_that_is_away_for_too_long_starts_afresh_and_exports_what_only_it_has() {
    let Some(cluster) = cluster("a node that is away for too long", &["eu", "us", "ap"], &RETENTION) else { return };
    let history = History::default();
    cluster.start_all();
    under_load(&cluster, &history, "before", |load| load.more([1, 2, 3], 10));
    assert_eq!(cluster.post(3, &transition("old", "old-1", "new", &[])).status, 201);
    cluster.converged();
    let before = cluster.status(3)["node_id"].clone();
    cluster.network.cut_off(&[3]);
    let alone = |at: u32| transition(&format!("alone-{}", at % 3), &format!("alone-{at}"), &format!("s-{at}"), &[]);
    for at in 0..9 {
        assert_eq!(cluster.post(3, &alone(at)).status, 201);
    }
    retire(&cluster, 1, "old");
    let held = cluster.facts(2);
    until("the others have forgotten without it", || cluster.facts(1) < held && cluster.facts(2) < held);
    assert!(finds(&cluster, 3, "old"), "it was not told");
    cluster.network.mend();
    until("its data is set aside", || parked(&cluster.data(3)).is_some());
    let parked = parked(&cluster.data(3)).unwrap();
    until("a new node is in its place", || {
        let client = cluster.client(3, BOUND);
        let answer = cluster.network.as_client(|| client.get("/cluster"));
        answer.is_ok_and(|answer| answer.status == 200 && answer.json()["node_id"] != before)
    });
    cluster.met();
    cluster.converged();
    assert!(cluster.numbers().all(|number| !finds(&cluster, number, "old")), "it brings nothing back");
    assert!(cluster.numbers().all(|number| !finds(&cluster, number, "alone-0")), "nor in silence");
    assert!(parked.join("fjall").is_dir());
    let export = parked.join("unreplicated").join("acme.ndjson");
    assert_eq!(fs::read_to_string(&export).unwrap().lines().count(), 9);
    let imported = cluster.network.as_client(|| cli::run(&cluster.url(1), &["import", export.to_str().unwrap()]));
    assert_eq!(imported.code, 0, "{imported:?}");
    // They were accepted anew.
    assert!((0..9).all(|at| post(&cluster, &history, 2, &alone(at)) == Outcome::Stands));
    comes_to_rest(&cluster, &history);
    assert!(cluster.log(3).contains("starting afresh"));
}
