//! kill -9 under load: what was acknowledged is there, token and all; what was not is there wholly or not at all.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::machine::rounds;
use plimsoll_tests::node::{Node, Start};
use plimsoll_tests::trace::{pending, resolved, transition};
use serde_json::Value;

/// Emitters that post at the same time.
const EMITTERS: u64 = 8;

/// What is known of each artifact: how many of its transitions were acknowledged, and the last token given for it.
pub(crate) type Acknowledged = BTreeMap<String, (u64, String)>;

/// The transition number `at` of an artifact: each opens a ref, and resolves the one before it.
fn nth(artifact: &str, at: u64) -> Value {
    let open = pending(&format!("k-{at}"));
    let mut refs = vec![open];
    if at > 0 {
        refs.push(resolved(&format!("k-{}", at - 1), at));
    }
    transition(artifact, &format!("{artifact}-{at}"), &format!("s-{at}"), &refs)
}

/// Posts from several emitters, each to artifacts of its own, until the node is gone. `stop` is called once there was
/// something acknowledged, while posts go on.
pub(crate) fn load(node: Node, known: &Mutex<Acknowledged>, stop: impl FnOnce(Node)) {
    let posted = AtomicU64::new(0);
    let (url, node) = (node.url.clone(), node);
    thread::scope(|scope| {
        for emitter in 0..EMITTERS {
            let (url, posted) = (&url, &posted);
            scope.spawn(move || emit(url, emitter, known, posted));
        }
        let begun = Instant::now();
        while posted.load(Ordering::SeqCst) < 200 {
            assert!(begun.elapsed() < Duration::from_secs(120), "only {posted:?} transitions were acknowledged");
            thread::sleep(Duration::from_millis(1));
        }
        stop(node);
    });
}

fn emit(url: &str, emitter: u64, known: &Mutex<Acknowledged>, posted: &AtomicU64) {
    for turn in 0.. {
        let artifact = format!("artifact-{emitter}-{}", turn % 5);
        let at = known.lock().unwrap().get(&artifact).map_or(0, |(count, _)| *count);
        match Node::post_to(url, &nth(&artifact, at)) {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let token = answer.json()["committed_version"].as_str().unwrap().to_owned();
                known.lock().unwrap().insert(artifact, (at + 1, token));
                posted.fetch_add(1, Ordering::SeqCst);
            }
            // The node is gone, or its disk is: what becomes of this transition is unknown.
            _ => return,
        }
    }
}

/// Looks for all that was acknowledged before the crash. What was posted while it happened may be there or not, wholly;
/// `known` is told what is.
pub(crate) fn check(node: &Node, before: &Acknowledged, known: &mut Acknowledged) {
    for (artifact, (posted, token)) in known {
        let whole = node.get(&format!("/projections/{artifact}"));
        let acknowledged = before.get(artifact).map_or(0, |(count, _)| *count);
        if whole.status == 404 && acknowledged == 0 {
            *posted = 0;
            continue;
        }
        assert_eq!(whole.status, 200, "{artifact} was acknowledged {acknowledged} times, and is not there");
        let whole = whole.json();
        let status = whole["status"].as_str().unwrap();
        let there = status[2..].parse::<u64>().unwrap() + 1;
        assert!(there >= acknowledged, "{artifact}: {acknowledged} were acknowledged, the last there is {status}");
        assert!(there <= *posted + 1, "{artifact}: nobody posted {status}");
        let version = whole["committed_version"].as_str().unwrap();
        if there == *posted {
            assert_eq!(version, token, "{artifact}: the token is the one that was given");
        }
        let refs = whole["produced_refs"].as_array().unwrap();
        assert_eq!(refs.len() as u64, there, "{artifact} is torn: {whole}");
        let open = refs.iter().filter(|produced| produced["kind"] == "pending").count();
        assert_eq!(open, 1, "{artifact} is torn: {whole}");
        (*posted, *token) = (there, version.to_owned());
    }
}

fn kill_and_come_back(engine: &str) {
    let data = tempfile::tempdir().unwrap();
    let known = Mutex::new(Acknowledged::new());
    let start = |data: &Path| Start::on(data).arguments(&["--engine", engine]).start().unwrap();
    for round in 0..rounds() {
        load(start(data.path()), &known, Node::kill);
        let node = start(data.path());
        let mut known = known.lock().unwrap();
        assert!(known.values().map(|(count, _)| count).sum::<u64>() >= 200 * u64::from(round + 1));
        // A process that is killed answers nothing after: all that was acknowledged was acknowledged before.
        let before = known.clone();
        check(&node, &before, &mut known);
    }
}

#[test]
fn fjall_keeps_what_was_acknowledged_when_it_is_killed() {
    kill_and_come_back("fjall");
}

#[test]
fn redb_keeps_what_was_acknowledged_when_it_is_killed() {
    kill_and_come_back("redb");
}

#[test]
fn sled_keeps_what_was_acknowledged_when_it_is_killed() {
    kill_and_come_back("sled");
}
