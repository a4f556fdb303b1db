//! Two replicas in memory ask each other, and liars answer.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::id::{ArtifactId, NodeId};
use crate::projection::{Body, FactHash, Transition};
use crate::timestamp::{Timestamp, UnixNanos};

#[derive(Debug, Clone, Default)]
struct Replica {
    facts: BTreeMap<FactKey, (TenantId, Fact)>,
    leaves: Leaves,
}

impl Replica {
    fn merge(&mut self, tenant: TenantId, fact: Fact) {
        let key = FactKey::of(&tenant, &fact);
        let merged = match self.facts.get(&key) {
            None => fact,
            Some((_, known)) => {
                self.leaves.remove(key, FactHash::of(&tenant, known));
                match &fact.body {
                    Body::Transition(_) => known.join(&fact).fact,
                    Body::Tombstone(_) if known.first < fact.first => fact,
                    Body::Tombstone(_) => known.clone(),
                }
            }
        };
        self.leaves.add(key, FactHash::of(&tenant, &merged));
        self.facts.insert(key, (tenant, merged));
    }

    fn root(&self) -> Fingerprint {
        self.leaves.fingerprint(Range::WHOLE)
    }

    /// Answers as a store does, with at most `page` facts.
    fn answer(&self, question: &Question, page: usize) -> Answer {
        question.check().unwrap();
        let (ranges, after, have) = match question {
            Question::Compare(ranges) => return compare(ranges, self).unwrap(),
            Question::Facts { ranges, after, have } => (ranges, *after, have.iter().copied().collect::<BTreeSet<_>>()),
        };
        let mut facts = Vec::new();
        for (key, (tenant, fact)) in
            ranges.iter().flat_map(|range| self.facts.range(range.first_key()..=range.last_key()))
        {
            if Some(*key) <= after || have.contains(&FactHash::of(tenant, fact).digest()) {
                continue;
            }
            facts.push((tenant.clone(), fact.clone()));
            if facts.len() == page {
                return Answer::Facts { facts, next: Some(*key) };
            }
        }
        Answer::Facts { facts, next: None }
    }
}

impl Summary for Replica {
    type Failure = Infallible;

    fn fingerprint(&self, range: Range) -> Fingerprint {
        self.leaves.fingerprint(range)
    }

    fn digests(&self, range: Range, after: Option<FactKey>, limit: usize) -> Result<Vec<u64>, Infallible> {
        let facts = self.facts.range(range.first_key()..=range.last_key()).filter(|(key, _)| Some(**key) > after);
        Ok(facts.map(|(_, (tenant, fact))| FactHash::of(tenant, fact).digest()).take(limit).collect())
    }
}

/// What a run cost.
#[derive(Debug, Default)]
struct Cost {
    questions: usize,
    /// Beside the facts: three bytes a range, sixteen a key, eight a digest, twenty-four a fingerprint.
    bytes: usize,
    facts: usize,
    pages: usize,
    ranges_held: usize,
}

fn pull(to: &mut Replica, from: &Replica, page: usize) -> Cost {
    let mut run = Reconciliation::start(to.root(), from.root());
    let mut cost = Cost::default();
    while let Ok(Some(question)) = run.next(to) {
        let answer = from.answer(&question, page);
        cost.questions += 1;
        cost.bytes += match &question {
            Question::Compare(ranges) => 3 * ranges.len(),
            Question::Facts { ranges, have, .. } => 3 * ranges.len() + 16 + 8 * have.len(),
        };
        cost.bytes += match &answer {
            Answer::Children(children) => 24 * Range::CHILDREN * children.len(),
            Answer::Facts { .. } => 16,
        };
        cost.pages += usize::from(matches!(&answer, Answer::Facts { next: Some(_), .. }));
        for (tenant, fact) in run.take(answer, to).unwrap() {
            cost.facts += 1;
            to.merge(tenant, fact);
        }
        cost.ranges_held = cost.ranges_held.max(run.differing.len() + run.wanted.len() + run.fetching.len());
    }
    cost
}

fn fact(id: u16, variant: u8, stamp: u64) -> (TenantId, Fact) {
    let stamp = Timestamp { time: UnixNanos::new(stamp), node: NodeId::new(1) };
    let body = match variant {
        0 => Body::Tombstone(ArtifactId::parse(format!("a-{id}")).unwrap()),
        _ => Body::Transition(Transition::parse("a".into(), format!("t-{id}"), "x".into(), Vec::new()).unwrap()),
    };
    (TenantId::parse(if id.is_multiple_of(7) { "other" } else { "acme" }).unwrap(), Fact::new(body, stamp))
}

fn replica(facts: impl IntoIterator<Item = (u16, u8, u64)>) -> Replica {
    let mut replica = Replica::default();
    for (id, variant, stamp) in facts {
        let (tenant, fact) = fact(id, variant, stamp);
        replica.merge(tenant, fact);
    }
    replica
}

/// In how many keys two replicas differ, and in how many of them `from` has something.
fn differences(to: &Replica, from: &Replica) -> (usize, usize) {
    let keys: BTreeSet<_> = to.facts.keys().chain(from.facts.keys()).collect();
    let differing: Vec<_> = keys.into_iter().filter(|key| to.facts.get(key) != from.facts.get(key)).collect();
    (differing.len(), differing.iter().filter(|key| from.facts.contains_key(key)).count())
}

fn some() -> impl Strategy<Value = Vec<(u16, u8, u64)>> {
    prop_oneof![3 => 0..40_usize, 1 => 0..600_usize]
        .prop_flat_map(|count| proptest::collection::vec((0..5_000_u16, 0..4_u8, 1..9_u64), count))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replicas_that_ask_each_other_become_equal(
        common in prop_oneof![Just(0), Just(50), Just(4_000_u16)],
        left in some(),
        right in some(),
        page in 1..40_usize,
    ) {
        let common = || (0..common).map(|id| (id, 1, 5));
        let mut left = replica(common().chain(left));
        let mut right = replica(common().chain(right));
        let mut expected = left.clone();
        right.facts.values().cloned().for_each(|(tenant, fact)| expected.merge(tenant, fact));

        for _ in 0..2 {
            let (differ, there) = differences(&left, &right);
            let cost = pull(&mut left, &right, page);
            prop_assert_eq!(cost.facts, there, "what differs is sent, and nothing else");
            prop_assert!(cost.questions <= 5 * (differ + 1) + cost.pages, "{:?} for {}", cost, differ);
            let bytes = DIFFERENCE_BYTES * (differ + 1) + (32 + 3 * RANGES_MAX + 8 * DIGESTS_MAX) * cost.pages;
            prop_assert!(cost.bytes <= bytes, "{:?} for {}", cost, differ);
            prop_assert!(cost.ranges_held <= 3_000);
            std::mem::swap(&mut left, &mut right);
        }
        prop_assert_eq!(&left.facts, &expected.facts);
        prop_assert_eq!(&right.facts, &expected.facts);
        prop_assert_eq!(left.root(), right.root());
        prop_assert_eq!(Reconciliation::start(left.root(), right.root()).next(&left), Ok(None));
    }

    #[test]
    fn the_fingerprint_of_a_range_is_that_of_its_facts(facts in some(), depth in 0..=4_u8, index in any::<u16>()) {
        let replica = replica(facts);
        let range = Range::new(depth, if depth == 0 { 0 } else { index >> (4 * (4 - depth)) }).unwrap();
        let mut expected = Fingerprint::default();
        for (key, (tenant, fact)) in &replica.facts {
            if range.contains(*key) {
                expected.add(tenant, fact);
            }
        }
        prop_assert_eq!(replica.fingerprint(range), expected);
    }

    /// Whatever is answered: a run ends, and nothing that was not asked for gets through.
    #[test]
    fn a_liar_is_found_out_or_runs_out_of_breath(lies in proptest::collection::vec(lie(), 1..20), own in some()) {
        let own = replica(own);
        let mut run = Reconciliation::start(own.root(), Fingerprint { sum: 1, count: u64::MAX });
        let mut lies = lies.iter().cycle();
        for _ in 0..QUESTIONS_MAX {
            let Some(question) = run.next(&own).unwrap() else { return Ok(()) };
            prop_assert_eq!(question.check(), Ok(()));
            let answer = lies.next().unwrap().to(&question);
            match run.take(answer, &own) {
                Ok(facts) => for (tenant, fact) in facts {
                    let Question::Facts { ranges, after, .. } = &question else { panic!("no facts were asked for") };
                    let key = FactKey::of(&tenant, &fact);
                    prop_assert!(ranges.iter().any(|range| range.contains(key)) && Some(key) > *after);
                },
                Err(_) => prop_assert_eq!(run.next(&own), Ok(None)),
            }
        }
        prop_assert_eq!(run.next(&own), Ok(None));
    }
}

/// How to answer wrongly.
#[derive(Debug, Clone)]
enum Lie {
    /// With other fingerprints, however often it is asked.
    Children {
        sum: u128,
        count: u64,
    },
    /// With facts that were asked for, and always more to come.
    Facts {
        ids: Vec<u16>,
        next: Option<u16>,
    },
    TooFew,
    Other,
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        20 => (any::<u128>(), any::<u64>()).prop_map(|(sum, count)| Lie::Children { sum, count }),
        5 => (proptest::collection::vec(any::<u16>(), 0..9), proptest::option::of(any::<u16>()))
            .prop_map(|(ids, next)| Lie::Facts { ids, next }),
        1 => Just(Lie::TooFew),
        1 => Just(Lie::Other),
    ]
}

impl Lie {
    fn to(&self, question: &Question) -> Answer {
        match (self, question) {
            (Self::Children { sum, count }, Question::Compare(ranges)) => {
                Answer::Children(vec![[Fingerprint { sum: *sum, count: *count }; 16]; ranges.len()])
            }
            (Self::Facts { ids, next }, Question::Facts { ranges, .. }) => {
                let facts = ids.iter().map(|id| fact(*id, 1, 1)).collect();
                Answer::Facts { facts, next: next.map(|next| ranges[usize::from(next) % ranges.len()].last_key()) }
            }
            (Self::Children { .. } | Self::TooFew, Question::Facts { .. }) => {
                Answer::Facts { facts: Vec::new(), next: None }
            }
            (Self::Facts { .. } | Self::TooFew, Question::Compare(ranges)) => {
                Answer::Children(vec![[Fingerprint::default(); 16]; ranges.len() - 1])
            }
            (Self::Other, Question::Compare(_)) => Answer::Facts { facts: Vec::new(), next: None },
            (Self::Other, Question::Facts { .. }) => Answer::Children(Vec::new()),
        }
    }
}

/// A peer that has ever more to send is left after so many pages.
#[test]
fn pages_without_end_end() {
    let own = Replica::default();
    let endless = replica((0..2_000).map(|id| (id, 1, 1)));
    let mut run = Reconciliation::start(own.root(), endless.root());
    run.questions = QUESTIONS_MAX - 5;
    let mut pages = 0;
    while let Ok(Some(question)) = run.next(&own) {
        run.take(endless.answer(&question, 1), &own).unwrap();
        pages += 1;
    }
    assert_eq!(pages, 5);
}

/// Who lacks everything asks once for all of it, and then page by page.
#[test]
fn an_empty_replica_fetches_everything_in_pages() {
    let from = replica((0..1_000).map(|id| (id, 1, 1)));
    let mut to = Replica::default();
    let cost = pull(&mut to, &from, 100);
    assert_eq!((cost.questions, cost.facts), (11, 1_000));
    assert_eq!(to.root(), from.root());
    let cost = pull(&mut Replica::default(), &Replica::default(), 1);
    assert_eq!(cost.questions, 0);
    let cost = pull(&mut to, &Replica::default(), 1);
    assert_eq!(cost.questions, 0, "there is nothing to fetch where nothing is");
}

#[test]
fn a_question_that_was_not_answered_is_asked_again() {
    let (own, from) = (replica((0..200).map(|id| (id, 1, 1))), replica((0..201).map(|id| (id, 1, 1))));
    let mut run = Reconciliation::start(own.root(), from.root());
    while let Ok(Some(question)) = run.next(&own) {
        assert_eq!(run.next(&own), Ok(Some(question.clone())));
        run.take(from.answer(&question, 9), &own).unwrap();
    }
    assert!(run.take(Answer::Children(Vec::new()), &own).is_err(), "nothing was asked");
}

#[test]
fn questions_without_bounds_are_refused() {
    let leaf = Range::new(4, 3).unwrap();
    let facts = |ranges: Vec<Range>, have| Question::Facts { ranges, after: None, have: vec![0; have] };
    for (question, expected) in [
        (Question::Compare(Vec::new()), Malformed::Size),
        (Question::Compare(vec![Range::WHOLE; RANGES_MAX + 1]), Malformed::Size),
        (facts(vec![leaf], DIGESTS_MAX + 1), Malformed::Size),
        (Question::Compare(vec![leaf]), Malformed::Leaf),
        (facts(vec![leaf, leaf], 0), Malformed::Order),
        (facts(vec![Range::WHOLE, leaf], 0), Malformed::Order),
    ] {
        assert_eq!(question.check(), Err(expected), "{question:?}");
    }
}
