//! What crosses the boundary of a region, counted by the hosts on its other side, from Ethernet up.

use std::thread::sleep;
use std::time::{Duration, Instant};

use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::projection::{Body, Fact, Submission};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_tests::cluster::{BOUND, Cluster};
use plimsoll_tests::trace;
use plimsoll_wire::http::v1::PostTransition;
use plimsoll_wire::record::v1::encode_fact;
use serde_json::{Value, from_value};

use crate::load;
use crate::started;
use crate::table::{Table, digits};

/// The most, in encoded facts.
const BAR: f64 = 1.3;

const EU: [u8; 2] = [1, 2];
const US: [u8; 2] = [3, 4];

/// The trace is posted so fast.
const PACE: Duration = Duration::from_millis(10);

pub(crate) fn measure(table: &mut Table) -> Result<(), String> {
    let cluster = started(&["eu", "eu", "us", "us"])?;
    let boundary = Boundary::watch(&cluster)?;
    sleep(Duration::from_secs(30));
    let idle = boundary.during(|| sleep(Duration::from_secs(20)));
    table.row(
        "two idle regions of two nodes: to each other, B/s",
        format!("{} and {}", digits(idle.there / 20.0), digits(idle.back / 20.0)),
    );
    let size = trace_bytes();
    let crossed = boundary.during(|| post_trace(&cluster));
    table.told("the trace's own transitions, 100/s", &crossed, 848.0 * size);
    for rate in [Some(100), Some(1_000), None] {
        let mut found = None;
        let crossed = boundary.during(|| found = Some(load::posts(&cluster, 1, rate, Duration::from_secs(10))));
        let items = found.expect("it was loaded").items;
        let name = rate.map_or_else(|| "posts on 64 connections".to_owned(), |rate| format!("{rate} posts/s"));
        table.told(&name, &crossed, items * bench_bytes(&cluster));
    }
    let crossed = boundary.during(|| {
        load::import(&cluster, 1, "bytes", 50_000);
    });
    table.told("an import of 50,000", &crossed, 50_000.0 * import_bytes());
    Ok(())
}

impl Table {
    fn told(&mut self, what: &str, crossed: &Crossed, encoded: f64) {
        self.at_most(
            &format!("{what}: bytes to the other region a byte of encoded facts"),
            BAR,
            crossed.there / encoded,
            "",
        );
        self.row(&format!("{what}: both ways"), digits((crossed.there + crossed.back) / encoded));
    }
}

/// What is counted between two regions.
struct Boundary<'a>(&'a Cluster);

/// Bytes one way and the other.
struct Crossed {
    there: f64,
    back: f64,
}

impl<'a> Boundary<'a> {
    fn watch(cluster: &'a Cluster) -> Result<Self, String> {
        for (one, other) in EU.iter().flat_map(|one| US.iter().map(move |other| (*one, *other))) {
            let (one, other) = (cluster.network.host(one), cluster.network.host(other));
            one.count_from(other)?;
            other.count_from(one)?;
        }
        Ok(Self(cluster))
    }

    fn so_far(&self) -> (u64, u64) {
        let counted = |numbers: &[u8]| numbers.iter().map(|number| self.0.network.host(*number).counted_bytes()).sum();
        (counted(&US), counted(&EU))
    }

    /// What crosses during something, and until all hold the same after it.
    fn during(&self, work: impl FnOnce()) -> Crossed {
        let before = self.so_far();
        work();
        self.0.converged();
        let after = self.so_far();
        Crossed { there: (after.0 - before.0) as f64, back: (after.1 - before.1) as f64 }
    }
}

/// Posts the trace at the first node, as the emitters of a busy repository would.
fn post_trace(cluster: &Cluster) {
    let client = cluster.client(1, BOUND);
    cluster.network.as_client(|| {
        let begun = Instant::now();
        for (place, transition) in (0_u32..).zip(trace::real()) {
            sleep((begun + place * PACE).saturating_duration_since(Instant::now()));
            let answer = client.post(&transition).expect("the node answers");
            assert!(answer.status < 300, "{answer:?}");
        }
    });
}

/// The bytes of a transition of the trace, encoded; the mean.
fn trace_bytes() -> f64 {
    mean(trace::real())
}

/// Those of one of the generator's, as the node has them.
fn bench_bytes(cluster: &Cluster) -> f64 {
    let listed = cluster.get(1, "/projections?limit=1000");
    let artifacts = listed["items"].as_array().expect("a list has items");
    let ids = artifacts.iter().filter_map(|artifact| artifact["artifact_id"].as_str());
    mean(ids.filter(|id| id.starts_with("bench/")).take(100).flat_map(|id| {
        let transitions =
            cluster.get(1, &format!("/projections/{}/transitions", id.replace('/', "%2F")))["items"].take();
        let transitions = transitions.as_array().expect("a list has items").clone();
        transitions.into_iter().map(move |mut transition| {
            // A history says of what artifact it is once, and when each of its transitions was stamped.
            transition["artifact_id"] = Value::from(id);
            transition.as_object_mut().expect("a transition is an object").remove("stamp");
            transition
        })
    }))
}

/// Those of one that was imported.
fn import_bytes() -> f64 {
    mean((0..1).map(|_| trace::transition("bytes/4999", "bytes-49999", "in_review", &[trace::pending("bytes-49999")])))
}

fn mean(transitions: impl IntoIterator<Item = Value>) -> f64 {
    let sizes: Vec<f64> = transitions.into_iter().map(|transition| encoded(transition) as f64).collect();
    sizes.iter().sum::<f64>() / sizes.len() as f64
}

/// The bytes of a transition as a fact, as it is stored and told.
fn encoded(transition: Value) -> usize {
    let post: PostTransition = from_value(transition).expect("it was posted");
    let submission = Submission::parse(post.into()).expect("it was accepted");
    let stamp = Timestamp { time: UnixNanos::new(1_776_881_051_000_000_000), node: NodeId::new(u64::MAX / 3) };
    encode_fact(&TenantId::parse("acme").expect("a name"), &Fact::new(Body::Transition(submission.transition), stamp))
        .len()
}
