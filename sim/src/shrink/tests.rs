use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::faults::Fault;
use crate::scenario::Measure;
use crate::verdict::Broken;

/// What breaks a promise in a world that is not run: all of these faults, by the host that crashes, and all of these posts, in
/// a run that is not too short.
#[derive(Debug, Clone)]
struct Cause {
    hosts: BTreeSet<u8>,
    posts: BTreeSet<String>,
    seconds: u64,
}

fn plan_of(faults: u8) -> Plan {
    let mut plan = Plan::drawn(1, &Arc::new(Scenario::standard(3, Duration::from_secs(20))));
    let crash =
        |host: u8| Event { at: Duration::from_millis(u64::from(host) * 10), fault: Fault::Crash { host, kept: 0 } };
    plan.faults = (0..faults).map(crash).collect();
    plan
}

fn post(number: u32) -> String {
    format!("e1-{number:03}")
}

/// Twelve posts, whichever are left out: what is not posted leaves time for the next ones.
fn posted(plan: &Plan) -> Vec<String> {
    let is_posted = |id: &String| !plan.unposted.contains(id);
    (0..12).chain(12..12 + 2 * u32::from(plan.unposted.len() < 6)).map(post).filter(is_posted).collect()
}

fn crashed(plan: &Plan) -> BTreeSet<u8> {
    let host = |event: &Event| match event.fault {
        Fault::Crash { host, .. } => host,
        ref other => panic!("{other} is not of this test"),
    };
    plan.faults.iter().map(host).collect()
}

impl Cause {
    fn verdict(&self, plan: &Plan) -> Verdict {
        let ids = posted(plan);
        let does_break = self.hosts.is_subset(&crashed(plan))
            && self.posts.iter().all(|id| ids.contains(id))
            && plan.scenario.lasting >= Duration::from_secs(self.seconds);
        let broken = |promise| Broken { promise, what: String::new() };
        let mut all = vec![broken("live")];
        all.extend(does_break.then(|| broken("keep")));
        Verdict { broken: all, ids, ..Verdict::default() }
    }
}

fn keep(runs_max: u32) -> Goal {
    Goal { promise: Some("keep".into()), runs_max }
}

fn causes() -> impl Strategy<Value = Cause> {
    let posts = proptest::collection::btree_set((0..12_u32).prop_map(post), 0..4);
    (proptest::collection::btree_set(0..16_u8, 0..5), posts, 1..20_u64).prop_map(|(hosts, posts, seconds)| Cause {
        hosts,
        posts,
        seconds,
    })
}

fn is_part_of(part: &[Event], all: &[Event]) -> bool {
    let mut all = all.iter();
    part.iter().all(|event| all.any(|other| other == event))
}

proptest! {
    #[test]
    fn just_the_cause_is_left(cause in causes()) {
        let shrunk = shrink(&plan_of(16), &keep(2_000), |plan| Ok(cause.verdict(plan)), |_| {}).unwrap();
        prop_assert!(shrunk.is_minimal);
        prop_assert_eq!(crashed(&shrunk.plan), cause.hosts);
        prop_assert_eq!(shrunk.verdict.ids.into_iter().collect::<BTreeSet<_>>(), cause.posts);
        prop_assert_eq!(shrunk.plan.scenario.lasting, Duration::from_secs(cause.seconds));
    }

    /// Of plans that break the promise by no rule at all: what comes out breaks it, is a part of what went in, and nothing
    /// more of it can go.
    #[test]
    fn what_is_minimal_is_so(salt: u64) {
        let whole = plan_of(10);
        let verdict = |plan: &Plan| {
            let ids = posted(plan);
            let whole = plan.faults.len() == 10 && plan.unposted.is_empty() && plan.scenario.lasting.as_secs() == 20;
            let mut hash = std::hash::DefaultHasher::new();
            std::hash::Hash::hash(&(salt, key_of(plan)), &mut hash);
            let does_break = whole || std::hash::Hasher::finish(&hash).is_multiple_of(3);
            let broken = does_break.then(|| Broken { promise: "keep", what: String::new() });
            Verdict { broken: broken.into_iter().collect(), ids, ..Verdict::default() }
        };
        let shrunk = shrink(&whole, &keep(5_000), |plan| Ok(verdict(plan)), |_| {}).unwrap();
        let plan = &shrunk.plan;
        prop_assert!(shrunk.is_minimal && !verdict(plan).broken.is_empty());
        prop_assert!(is_part_of(&plan.faults, &whole.faults));
        for at in 0..plan.faults.len() {
            let mut less = plan.clone();
            less.faults.remove(at);
            prop_assert!(verdict(&less).broken.is_empty());
        }
        for id in &shrunk.verdict.ids {
            let mut less = plan.clone();
            less.unposted.insert(id.clone());
            prop_assert!(verdict(&less).broken.is_empty());
        }
    }

    #[test]
    fn a_budget_is_kept_and_what_comes_out_still_breaks_the_promise(cause in causes(), runs_max in 1..60_u32) {
        let mut runs = 0;
        let counted = |plan: &Plan| {
            runs += 1;
            Ok(cause.verdict(plan))
        };
        let shrunk = shrink(&plan_of(16), &keep(runs_max), counted, |_| {}).unwrap();
        prop_assert!(runs <= runs_max && shrunk.runs == runs);
        prop_assert!(cause.hosts.is_subset(&crashed(&shrunk.plan)));
        prop_assert!(cause.posts.iter().all(|id| shrunk.verdict.ids.contains(id)));
    }
}

#[test]
fn it_goes_one_way() {
    let cause = Cause { hosts: [3, 9].into(), posts: [post(4)].into(), seconds: 7 };
    let told = || {
        let mut told = Vec::new();
        shrink(&plan_of(16), &keep(2_000), |plan| Ok(cause.verdict(plan)), |progress| told.push(progress)).unwrap();
        told
    };
    let first = told();
    assert_eq!(first, told());
    assert!(first.len() < 120, "{} runs", first.len());
}

#[test]
fn a_plan_that_cannot_be_run_is_not_smaller() {
    let cause = Cause { hosts: [3, 7].into(), posts: BTreeSet::new(), seconds: 1 };
    let run = |plan: &Plan| if plan.faults.len() < 4 { bail!("no") } else { Ok(cause.verdict(plan)) };
    let shrunk = shrink(&plan_of(8), &keep(2_000), run, |_| {}).unwrap();
    assert_eq!(shrunk.plan.faults.len(), 4);
}

#[test]
fn a_plan_that_breaks_nothing_is_refused() {
    let sound = |_: &Plan| Ok(Verdict::default());
    assert!(shrink(&plan_of(3), &Goal::default(), sound, |_| {}).is_err());
    let cause = Cause { hosts: [0].into(), posts: BTreeSet::new(), seconds: 1 };
    let other = Goal { promise: Some("once".into()), ..Goal::default() };
    assert!(shrink(&plan_of(3), &other, |plan| Ok(cause.verdict(plan)), |_| {}).is_err());
}

/// Of a run whose third post was slow: without it nothing is slow, and without any nothing was measured.
#[test]
fn an_assertion_fails_by_what_was_measured() {
    let mut plan = plan_of(4);
    let line = "post_latency p100 below 1s";
    Arc::make_mut(&mut plan.scenario).assertions = vec![assertions::parse(line).unwrap()];
    let run = |plan: &Plan| {
        let ids = posted(plan);
        let took = |id: &String| Duration::from_secs(if *id == post(2) { 2 } else { 0 });
        let key = (Measure::PostLatency, "eu".to_owned());
        let samples = BTreeMap::from([(key, ids.iter().map(took).collect())]);
        Ok(Verdict { ids, samples, ..Verdict::default() })
    };
    let shrunk = shrink(&plan, &Goal { promise: None, runs_max: 500 }, run, |_| {}).unwrap();
    assert_eq!((shrunk.wrong.to_string(), shrunk.plan.faults.len()), (format!("assertion {line}"), 0));
    assert_eq!(shrunk.posts(), [post(2)].into());
    assert!(shrunk.is_minimal);
}

/// The judge posts whatever is left out.
#[test]
fn what_is_posted_all_the_same_is_not_counted() {
    let cause = Cause { hosts: [3].into(), posts: [post(4)].into(), seconds: 7 };
    let run = |plan: &Plan| {
        let mut verdict = cause.verdict(plan);
        verdict.ids.push("j-1".to_owned());
        Ok(verdict)
    };
    let shrunk = shrink(&plan_of(4), &keep(500), run, |_| {}).unwrap();
    assert_eq!((shrunk.posts(), shrunk.is_minimal), ([post(4)].into(), true));
}
