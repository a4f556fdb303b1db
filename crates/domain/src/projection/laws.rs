//! The laws of the merge, as properties.
//!
//! A small universe on purpose: six transition ids with two contents each, three refs, three nodes. Almost every run
//! then holds retries from other nodes, content conflicts, resolutions that disagree and tombstones.

use std::collections::BTreeMap;
use std::convert::Infallible;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::id::{ArtifactId, NodeId, TransitionId};
use crate::timestamp::{Timestamp, UnixNanos};

/// What happens at one stamp.
#[derive(Debug, Clone)]
enum Act {
    Transition { id: u8, variant: u8, refs: Vec<(u8, Option<u64>)> },
    Tombstone,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let refs = prop::collection::btree_map(0..3_u8, prop::option::of(1..3_u64), 0..3)
        .prop_map(|refs| refs.into_iter().collect());
    let act = prop_oneof![
        8 => (0..6_u8, 0..2_u8, refs).prop_map(|(id, variant, refs)| Act::Transition { id, variant, refs }),
        1 => Just(Act::Tombstone),
    ];
    prop::collection::vec(act, 1..16)
}

fn artifact() -> ArtifactId {
    ArtifactId::parse("spec").unwrap()
}

/// The fact of the act at place `at`: each place has a stamp of its own.
fn fact(at: usize, act: &Act) -> Fact {
    let at = at as u64;
    let stamp = Timestamp { time: UnixNanos::new(1_000 + at / 2), node: NodeId::new(at % 3) };
    let body = match act {
        Act::Tombstone => Body::Tombstone(artifact()),
        Act::Transition { id, variant, refs } => {
            let refs = refs.iter().map(|(key, number)| RefDraft {
                target_repo: "acme/web".into(),
                idempotency_key: format!("k-{key}"),
                resolution: number.map(|number| (number, "u".into(), "2026-04-22T18:04:11Z".into())),
            });
            let transition =
                Transition::parse("spec".into(), format!("t-{id}"), format!("s-{id}-{variant}"), refs.collect());
            Body::Transition(transition.unwrap())
        }
    };
    Fact::new(body, stamp)
}

fn facts(acts: &[Act]) -> Vec<Fact> {
    acts.iter().enumerate().map(|(at, act)| fact(at, act)).collect()
}

/// The facts in another order, some of them several times.
fn arrivals(facts: &[Fact], picks: &[Index]) -> Vec<Fact> {
    let mut arrivals: Vec<Fact> = picks.iter().map(|pick| pick.get(facts).clone()).collect();
    let missing: Vec<Fact> = facts.iter().filter(|fact| !arrivals.contains(fact)).cloned().collect();
    arrivals.extend(missing);
    arrivals
}

fn picks() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..24)
}

/// A replica as a store keeps it: facts, state, rows of refs.
#[derive(Debug, Clone, Default, PartialEq)]
struct Replica {
    transitions: BTreeMap<TransitionId, Fact>,
    tombstone: Option<Fact>,
    projection: Projection,
    refs: BTreeMap<RefKey, RefState>,
}

impl Replica {
    fn of(arrivals: &[Fact]) -> Self {
        let mut replica = Self::default();
        for fact in arrivals {
            replica.receive(fact);
        }
        replica
    }

    fn facts(&self) -> impl Iterator<Item = &Fact> + Clone {
        self.transitions.values().chain(self.tombstone.iter())
    }

    fn receive(&mut self, fact: &Fact) -> Merge {
        let known = fact.transition().and_then(|transition| self.transitions.get(&transition.id)).cloned();
        let others: Vec<Fact> = self.facts().filter(|other| Some(*other) != known.as_ref()).cloned().collect();
        let mut rows = RefRows::default();
        for produced in fact.transition().map(Transition::refs).unwrap_or_default() {
            if let Some(state) = self.refs.get(&produced.key) {
                rows.load(produced.key.clone(), state.clone());
            }
        }
        let history = || others.into_iter().map(Ok::<_, Infallible>);
        let Ok(merged) = self.projection.merge(&mut rows, known.as_ref(), fact, history);
        if rows.is_replaced() {
            self.refs.clear();
        }
        self.refs.extend(rows.changed().map(|(key, state)| (key.clone(), state.clone())));
        if merged.merge != Merge::Duplicate {
            match merged.fact.transition() {
                Some(transition) => drop(self.transitions.insert(transition.id.clone(), merged.fact.clone())),
                None => self.tombstone = Some(merged.fact.clone()),
            }
        }
        merged.merge
    }

    fn token(&self) -> Option<Token> {
        self.projection.token(&artifact())
    }

    /// What a client sees of the state.
    fn visible(&self) -> Visible {
        let content = |state: &RefState| match state {
            RefState::Pending => None,
            RefState::Resolved { resolution, .. } => Some(resolution.clone()),
        };
        Visible {
            seen: self.projection.seen,
            winner: self
                .projection
                .winner
                .as_ref()
                .map(|winner| (winner.transition.clone(), winner.status.as_str().to_owned())),
            refs: self.refs.iter().map(|(key, state)| (key.clone(), content(state))).collect(),
        }
    }
}

#[derive(Debug, PartialEq)]
struct Visible {
    seen: Option<Timestamp>,
    winner: Option<(TransitionId, String)>,
    refs: Vec<(RefKey, Option<Resolution>)>,
}

/// Legion's rule, as it is written there: insert if absent, else replace if and only if the effective timestamp, the
/// string maximum of created, updated and deleted, is strictly greater.
#[derive(Debug, Clone, Default, PartialEq)]
struct LegionRow {
    created_at: String,
    updated_at: String,
    deleted_at: String,
    status: String,
}

impl LegionRow {
    fn effective(&self) -> &str {
        [&self.created_at, &self.updated_at, &self.deleted_at].into_iter().max().unwrap()
    }

    fn is_deleted(&self) -> bool {
        !self.deleted_at.is_empty()
    }

    fn from_fact(fact: &Fact) -> Self {
        let at = fact.first.time.to_text();
        match fact.transition() {
            Some(transition) => {
                let (created_at, status) = (at.clone(), transition.status.as_str().to_owned());
                Self { created_at, updated_at: at, status, ..Self::default() }
            }
            None => Self { deleted_at: at, ..Self::default() },
        }
    }
}

fn legion_apply(row: &mut Option<LegionRow>, arriving: LegionRow) {
    if row.as_ref().is_none_or(|row| arriving.effective() > row.effective()) {
        *row = Some(arriving);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn joining_is_commutative_associative_and_idempotent(acts in prop::collection::vec((0..3_usize, 0..2_u8), 3)) {
        // One transition id, two contents, three stamps: one stamp with two contents is among them.
        let of = |(at, variant): (usize, u8)| fact(at, &Act::Transition { id: 0, variant, refs: vec![] });
        let facts: Vec<Fact> = acts.into_iter().map(of).collect();
        let join = |left: &Fact, right: &Fact| left.join(right).fact;
        let (a, b, c) = (&facts[0], &facts[1], &facts[2]);
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(join(&join(a, b), c), join(a, &join(b, c)));
        prop_assert_eq!(join(a, a), a.clone());
        prop_assert_eq!(join(&join(a, b), b), join(a, b));
    }

    #[test]
    fn the_order_and_number_of_arrivals_do_not_matter(acts in acts(), left in picks(), right in picks()) {
        let facts = facts(&acts);
        let left = Replica::of(&arrivals(&facts, &left));
        let right = Replica::of(&arrivals(&facts, &right));
        prop_assert_eq!(left.token(), right.token());
        prop_assert_eq!(left, right);
    }

    /// What is explained is what is folded, and who disagrees is named.
    #[test]
    fn the_explanation_is_of_what_stands(acts in acts(), picks in picks()) {
        let replica = Replica::of(&arrivals(&facts(&acts), &picks));
        let visible = replica.facts().filter(|fact| Some(fact.first) > replica.projection.tombstone);
        let explanation = explain(visible.clone());
        let winner = explanation.status.map(|(status, by)| Winner { stamp: by.stamp, transition: by.transition, status });
        prop_assert_eq!(winner, replica.projection.winner.clone());
        let explained: BTreeMap<_, _> =
            explanation.refs.iter().map(|decided| (decided.key.clone(), decided.state())).collect();
        let content = |refs: &BTreeMap<RefKey, RefState>| {
            refs.iter().map(|(key, state)| match state {
                RefState::Pending => (key.clone(), None),
                RefState::Resolved { resolution, stamp } => (key.clone(), Some((resolution.clone(), *stamp))),
            }).collect::<Vec<_>>()
        };
        prop_assert_eq!(content(&explained), content(&replica.refs));
        for decided in explanation.refs {
            let said = |resolution: &Resolution| visible.clone().any(|fact| {
                let refs = fact.transition().map(Transition::refs).unwrap_or_default();
                refs.iter().any(|produced| produced.key == decided.key && produced.resolution.as_ref() == Some(resolution))
            });
            let standing = decided.resolution.as_ref();
            for (by, resolution) in &decided.disputed {
                prop_assert!(said(resolution) && by.stamp < decided.by.stamp);
                prop_assert!(!resolution.agrees_with(standing.unwrap()));
            }
            let numbers = [1, 2].map(|number| said(&Resolution { number, url: "u".into(), created_at: "2026-04-22T18:04:11Z".into() }));
            prop_assert_eq!(numbers == [true, true], !decided.disputed.is_empty());
        }
    }

    #[test]
    fn merging_one_by_one_equals_folding_from_scratch(acts in acts(), picks in picks()) {
        let mut replica = Replica::default();
        for fact in arrivals(&facts(&acts), &picks) {
            replica.receive(&fact);
            let (projection, rows) = Projection::fold(replica.facts());
            let refs: BTreeMap<_, _> = rows.changed().map(|(key, state)| (key.clone(), state.clone())).collect();
            prop_assert_eq!(&projection, &replica.projection);
            prop_assert_eq!(&refs, &replica.refs);
        }
    }

    #[test]
    fn tokens_are_equal_if_and_only_if_states_are(acts in acts(), left in picks(), right in picks()) {
        let facts = facts(&acts);
        let some = |picks: &[Index]| -> Vec<Fact> { picks.iter().map(|pick| pick.get(&facts).clone()).collect() };
        let (left, right) = (Replica::of(&some(&left)), Replica::of(&some(&right)));
        prop_assert_eq!(left.token() == right.token(), left.visible() == right.visible());
    }

    #[test]
    fn a_merge_says_what_it_did(acts in acts(), picks in picks()) {
        let mut replica = Replica::default();
        for fact in arrivals(&facts(&acts), &picks) {
            let before = replica.clone();
            match replica.receive(&fact) {
                Merge::Advanced => prop_assert_ne!(before.token(), replica.token()),
                Merge::Absorbed => {
                    prop_assert_eq!(before.token(), replica.token());
                    prop_assert!(before != replica);
                }
                Merge::Duplicate => prop_assert_eq!(&before, &replica),
            }
        }
    }

    #[test]
    fn the_stamp_of_the_token_never_goes_back(acts in acts(), picks in picks()) {
        let mut replica = Replica::default();
        for fact in arrivals(&facts(&acts), &picks) {
            let before = replica.token().map(|token| token.stamp);
            replica.receive(&fact);
            prop_assert!(replica.token().map(|token| token.stamp) >= before);
            prop_assert!(replica.token().is_some_and(|token| token.stamp >= fact.last));
        }
    }

    #[test]
    fn a_late_retry_never_wins(acts in acts(), retried in any::<Index>()) {
        let facts = facts(&acts);
        let mut replica = Replica::of(&facts);
        let mut retry = retried.get(&facts).clone();
        let late = Timestamp { time: UnixNanos::new(1_000_000), node: NodeId::new(2) };
        (retry.first, retry.last) = (late, late);
        let Some(transition) = retry.transition() else { return Ok(()) };
        let stands = replica.transitions[&transition.id].body.clone();
        let before = replica.visible();
        replica.receive(&retry);
        let after = replica.visible();
        prop_assert_eq!(before.winner, after.winner);
        prop_assert_eq!(before.refs, after.refs);
        prop_assert_eq!(after.seen, Some(late));
        prop_assert_eq!(&replica.transitions[&transition.id].body, &stands);
    }

    #[test]
    fn a_resolved_ref_never_becomes_pending(acts in acts(), picks in picks()) {
        // Each id once: a content conflict may rightly take back the resolution that lost.
        let once = |acts: Vec<Act>| -> Vec<Act> {
            let no_tombstone = acts.into_iter().filter(|act| matches!(act, Act::Transition { .. }));
            let renumber = |(at, act)| match act {
                Act::Transition { variant, refs, .. } => Act::Transition { id: u8::try_from(at).unwrap(), variant, refs },
                Act::Tombstone => Act::Tombstone,
            };
            no_tombstone.enumerate().map(renumber).collect()
        };
        let facts = facts(&once(acts));
        prop_assume!(!facts.is_empty());
        let mut replica = Replica::default();
        for fact in arrivals(&facts, &picks) {
            let before = replica.refs.clone();
            replica.receive(&fact);
            for (key, state) in before {
                if let RefState::Resolved { stamp, .. } = state {
                    let Some(RefState::Resolved { stamp: after, .. }) = replica.refs.get(&key) else {
                        return Err(TestCaseError::fail(format!("{key:?} went back to pending")));
                    };
                    prop_assert!(*after >= stamp);
                }
            }
        }
    }

    #[test]
    fn a_tombstone_hides_what_is_older_and_nothing_else(acts in acts(), picks in picks()) {
        let replica = Replica::of(&arrivals(&facts(&acts), &picks));
        let tombstone = replica.projection.tombstone;
        let newest = replica.transitions.values().max_by_key(|fact| fact.first);
        let expected = newest.filter(|fact| Some(fact.first) > tombstone);
        prop_assert_eq!(
            replica.projection.winner.as_ref().map(|winner| &winner.transition),
            expected.and_then(Fact::transition).map(|transition| &transition.id),
        );
    }

    /// Where legion's rule is defined: no exact ties of `updated_at`, and each transition stamped once.
    #[test]
    fn the_outcome_is_legions(kinds in prop::collection::vec(any::<bool>(), 1..12), picks in picks()) {
        let facts: Vec<Fact> = kinds
            .iter()
            .enumerate()
            .map(|(at, retire)| {
                let id = u8::try_from(at).unwrap();
                let act = if *retire { Act::Tombstone } else { Act::Transition { id, variant: 0, refs: vec![] } };
                fact(at * 2, &act)
            })
            .collect();
        let arrivals = arrivals(&facts, &picks);
        let mut legion = None;
        arrivals.iter().for_each(|fact| legion_apply(&mut legion, LegionRow::from_fact(fact)));
        let ours = Replica::of(&arrivals);
        let legion = legion.unwrap();
        let status = ours.projection.winner.as_ref().map(|winner| winner.status.as_str().to_owned());
        prop_assert_eq!((!legion.is_deleted()).then(|| legion.status.clone()), status);
        prop_assert_eq!(ours.token().unwrap().updated_at().to_text(), legion.effective());
    }
}

#[test]
fn two_regions_with_the_same_state_hand_out_the_same_token() {
    let act = |id, refs| Act::Transition { id, variant: 0, refs };
    let facts = facts(&[act(0, vec![(0, None)]), act(1, vec![(0, Some(7))])]);
    let here = Replica::of(&facts);
    let there = Replica::of(&[facts[1].clone(), facts[0].clone()]);
    assert_eq!(here.token().unwrap().to_text(), there.token().unwrap().to_text());
}

#[test]
fn a_late_older_fact_changes_the_token_and_not_its_stamp() {
    let act = |id, refs| Act::Transition { id, variant: 0, refs };
    let facts = facts(&[act(0, vec![(0, None)]), act(1, vec![])]);
    let mut replica = Replica::of(&facts[1..]);
    let before = replica.token().unwrap();
    assert_eq!(replica.receive(&facts[0]), Merge::Advanced);
    let after = replica.token().unwrap();
    assert_eq!(before.stamp, after.stamp);
    assert_ne!(before.digest, after.digest);
}

/// The bytes that go into a digest are part of the contract: two versions in one cluster have to agree on them.
#[test]
fn the_digest_of_a_known_state_stays_what_it_is() {
    let act = |id, refs| Act::Transition { id, variant: 0, refs };
    let replica = Replica::of(&facts(&[act(0, vec![(0, None), (1, None)]), act(1, vec![(1, Some(2))])]));
    assert_eq!(
        replica.token().unwrap().to_text(),
        "1970-01-01T00:00:00.000001000+00:00/0000000000000001/6949767353ae8536",
    );
}
