//! Legion's case: what one emitter opens at one node another resolves at another, at once.

use plimsoll_tests::cluster::{Cluster, until};
use plimsoll_tests::history::{History, Outcome};
use plimsoll_tests::trace::{pending, resolved, transition};
use serde_json::Value;

use super::{cluster, comes_to_rest, post, refused};

/// Posts to an artifact from one turn to the next.
struct Emitters<'a> {
    cluster: &'a Cluster,
    history: &'a History,
}

impl Emitters<'_> {
    fn post(&self, number: u8, transition: &Value) -> Outcome {
        post(self.cluster, self.history, number, transition)
    }

    fn open(&self, number: u8, key: &str) {
        let opened = self.post(number, &transition("spec", &format!("{key}-opened"), "open", &[pending(key)]));
        assert!(matches!(opened, Outcome::Accepted(_)), "{opened:?}");
    }

    fn resolve(&self, number: u8, key: &str) -> Outcome {
        self.post(number, &transition("spec", &format!("{key}-resolved"), "done", &[resolved(key, 7)]))
    }
}

#[test]
fn what_is_open_anywhere_can_be_resolved_anywhere() {
    // A busy machine must not make a member seem silent.
    let patient = ["--repair-timeout-ms", "30000"];
    let Some(cluster) = cluster("refs opened at one node and resolved at another", &["eu", "us", "ap"], &patient)
    else {
        return;
    };
    let history = History::default();
    let emitters = Emitters { cluster: &cluster, history: &history };
    cluster.start_all();
    // Before they have caught up they know nothing for sure.
    cluster.ready();
    for turn in 0..60_u8 {
        let (one, other) = (turn % 3 + 1, (turn + 1 + turn / 3 % 2) % 3 + 1);
        assert_ne!(one, other);
        let key = format!("k-{turn}");
        emitters.open(one, &key);
        let resolved = emitters.resolve(other, &key);
        assert!(matches!(resolved, Outcome::Accepted(_)), "{key}: {resolved:?}");
    }
    assert_eq!(emitters.resolve(2, "nobody-opened-this"), refused(409, "unknown-pending-ref"));
    cluster.network.cut_off(&[1]);
    until("the cut is seen", || [2, 3].iter().all(|other| !cluster.sees(1, *other) && !cluster.sees(*other, 1)));
    emitters.open(1, "cut");
    for number in [2, 3] {
        assert_eq!(emitters.resolve(number, "cut"), refused(503, "unverifiable-ref"));
    }
    emitters.open(2, "uncut");
    assert!(emitters.resolve(3, "uncut").is_acknowledged(), "it is known to whom can be asked");
    assert_eq!(emitters.resolve(1, "uncut"), refused(503, "unverifiable-ref"));
    cluster.network.mend();
    cluster.met();
    for number in [2, 3] {
        let resolved = emitters.resolve(number, "cut");
        assert!(resolved.is_acknowledged(), "{resolved:?}");
    }
    assert!(emitters.resolve(1, "uncut").is_acknowledged());
    assert_eq!(emitters.resolve(3, "nobody-opened-this"), refused(409, "unknown-pending-ref"));
    comes_to_rest(&cluster, &history);
}
