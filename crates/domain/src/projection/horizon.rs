//! Forgetting: which facts nobody needs any more, and when it is safe to let them go.
//!
//! A tombstone has to stay while some replica may hold what it hides: whoever has dropped the one and is brought the other
//! shows an old status again. So nothing is forgotten by age alone. The members agree on a [`Horizon`]: a moment, and the
//! fingerprint that all of them have of the facts stamped up to it. Each promises to forget by the tombstones it had among
//! those, and keeps a list of them: it may meet newer ones before it does. By [`forgotten`] all then forget the same, each
//! in its own time. And facts pass only between replicas of one horizon: none brings back what another let go.

use std::cmp::Reverse;

use super::fact::Fact;
use super::fingerprint::Fingerprint;
use crate::timestamp::{Timestamp, UnixNanos};

/// A moment up to which the replicas have forgotten what nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Horizon {
    /// The moment; 0 where nothing was ever forgotten.
    pub until: UnixNanos,
    /// What every member had of facts with an effective stamp up to then, before it forgot.
    pub facts: Fingerprint,
}

/// A horizon that others have come to, and a replica has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ahead {
    /// The one to come to: of most, the latest that most have come to or passed; of a few, the latest of all.
    pub horizon: Horizon,
    /// Whether most of the other members have come to it or passed it. Whoever cannot follow those is the one who was away;
    /// whoever cannot follow a few may be right.
    pub is_of_most: bool,
}

/// Who is ahead of a replica of a horizon, by what is known of each of the other members; `None` where nobody is.
///
/// Where most are ahead, and one of them by more than the others, it may be the one that is wrong.
pub fn ahead(own: Horizon, others: impl IntoIterator<Item = Option<Horizon>>) -> Option<Ahead> {
    let mut others: Vec<Horizon> = others.into_iter().map(Option::unwrap_or_default).collect();
    others.sort_by_key(|other| Reverse(other.until));
    let is_ahead = |other: &&Horizon| other.until > own.until;
    let of_most = others.get(others.len() / 2).filter(is_ahead);
    let horizon = of_most.or_else(|| others.first().filter(is_ahead));
    horizon.map(|horizon| Ahead { horizon: *horizon, is_of_most: of_most.is_some() })
}

/// How many facts of an artifact are forgotten as of `until`, by its tombstone from up to then. They are given by effective
/// stamp, and the forgotten ones are the first.
///
/// Those are what the tombstone hides, and itself: what has come after the horizon stands without them. All are kept where
/// the artifact came back before it, or a retry of one of them was stamped after it: a retry gives the artifact's token its
/// stamp (rule 5), and a replica that never had it would tell another token of the same state.
pub fn forgotten<'a>(facts: impl IntoIterator<Item = &'a Fact>, tombstone: Timestamp, until: UnixNanos) -> usize {
    let mut count = 0;
    for fact in facts.into_iter().take_while(|fact| fact.first.time <= until) {
        if fact.first > tombstone || fact.last.time > until {
            return 0;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod agreement;

#[cfg(test)]
mod laws {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::id::{ArtifactId, NodeId, TenantId};
    use crate::projection::{Body, FactKey, Projection, Transition};
    use crate::timestamp::Timestamp;

    const NODES: usize = 3;

    #[derive(Debug, Clone)]
    enum Step {
        /// One posts a transition, or again one that another has and it has not.
        Post {
            node: usize,
            id: u8,
        },
        Retire {
            node: usize,
        },
        /// One brings another some of what that one lacks, in any order.
        Tell {
            from: usize,
            to: usize,
            picks: Vec<Index>,
        },
        /// One begins to ask whether all have the same up to some time ago.
        Ask {
            node: usize,
            ago: u64,
        },
        /// Another promises that, unless it holds a promise to somebody else.
        Promise {
            to: usize,
            node: usize,
        },
        /// Who has asked decides. If all have promised the same there is a new horizon.
        Decide {
            node: usize,
        },
        /// All of that at once.
        Agree {
            node: usize,
            ago: u64,
        },
        /// One takes over the latest horizon.
        Forget {
            node: usize,
        },
        /// Those of one horizon tell each other everything.
        Meet,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let node = || 0..NODES;
        let step = prop_oneof![
            6 => (node(), 0..40_u8).prop_map(|(node, id)| Step::Post { node, id }),
            3 => node().prop_map(|node| Step::Retire { node }),
            8 => (node(), node(), prop::collection::vec(any::<Index>(), 1..12))
                .prop_map(|(from, to, picks)| Step::Tell { from, to, picks }),
            4 => (node(), 0..30_u64).prop_map(|(node, ago)| Step::Ask { node, ago }),
            8 => (node(), node()).prop_map(|(to, node)| Step::Promise { to, node }),
            4 => node().prop_map(|node| Step::Decide { node }),
            4 => (node(), 0..30_u64).prop_map(|(node, ago)| Step::Agree { node, ago }),
            4 => node().prop_map(|node| Step::Forget { node }),
            2 => Just(Step::Meet),
        ];
        prop::collection::vec(step, 1..200)
    }

    fn artifact() -> ArtifactId {
        ArtifactId::parse("spec").unwrap()
    }

    fn tenant() -> TenantId {
        TenantId::parse("acme").unwrap()
    }

    fn stamp(time: u64, node: usize) -> Timestamp {
        Timestamp { time: UnixNanos::new(time), node: NodeId::new(node as u64) }
    }

    #[derive(Debug, Clone, Default, PartialEq)]
    struct Replica {
        facts: BTreeMap<FactKey, Fact>,
        horizon: Horizon,
        /// What it was asked for last, and its tombstone from up to then.
        promise: (Horizon, Option<Timestamp>),
        /// Who has asked.
        held_by: Option<usize>,
        /// The greatest tombstone it ever had.
        buried: Option<Timestamp>,
    }

    impl Replica {
        fn sorted(&self) -> Vec<&Fact> {
            let mut facts: Vec<&Fact> = self.facts.values().collect();
            facts.sort_by_key(|fact| fact.first);
            facts
        }

        fn take(&mut self, fact: &Fact) {
            let key = FactKey::of(&tenant(), fact);
            let known = self.facts.get(&key);
            let fact = match (known, fact.transition()) {
                (Some(known), Some(_)) => known.join(fact).fact,
                (Some(known), None) if known.first >= fact.first => known.clone(),
                _ => fact.clone(),
            };
            if fact.transition().is_none() {
                self.buried = self.buried.max(Some(fact.first));
            }
            self.facts.insert(key, fact);
        }

        fn up_to(&self, until: UnixNanos) -> Fingerprint {
            let mut fingerprint = Fingerprint::default();
            let facts = self.facts.values().filter(|fact| fact.first.time <= until);
            facts.for_each(|fact| fingerprint.add(&tenant(), fact));
            fingerprint
        }

        fn promise(&mut self, until: UnixNanos) -> Horizon {
            let tombstones = self.facts.values().filter(|fact| fact.transition().is_none() && fact.first.time <= until);
            let tombstone = tombstones.map(|fact| fact.first).next();
            let horizon = Horizon { until, facts: self.up_to(until) };
            self.promise = (horizon, tombstone);
            horizon
        }

        fn forget(&mut self, horizon: Horizon) {
            if self.horizon == horizon {
                return;
            }
            self.held_by = None;
            let (promised, tombstone) = std::mem::take(&mut self.promise);
            assert_eq!(promised, horizon);
            if let Some(tombstone) = tombstone {
                let sorted = self.sorted();
                let count = forgotten(sorted.iter().copied(), tombstone, horizon.until);
                let keys: Vec<FactKey> = sorted[..count].iter().map(|fact| FactKey::of(&tenant(), fact)).collect();
                keys.iter().for_each(|key| drop(self.facts.remove(key)));
            }
            self.horizon = horizon;
        }

        fn state(&self) -> Projection {
            Projection::fold(self.sorted().into_iter()).0
        }

        /// Nothing is shown that a tombstone it once had hides.
        fn check(&self) {
            let winner = self.state().winner.map(|winner| winner.stamp);
            assert!(winner.is_none() || winner > self.buried, "an old status has come back: {self:?}");
        }
    }

    /// What one has asked, and who has promised what.
    #[derive(Debug, Clone)]
    struct Round {
        until: UnixNanos,
        promised: BTreeMap<usize, Horizon>,
    }

    /// Replicas, and beside each one that never forgets.
    struct World {
        replicas: Vec<Replica>,
        remembering: Vec<Replica>,
        rounds: BTreeMap<usize, Round>,
        latest: Horizon,
        /// Ids from before what may be a horizon: nobody promises to know them again.
        spent: BTreeSet<u8>,
        now: u64,
    }

    impl World {
        fn new() -> Self {
            let none = || vec![Replica::default(); NODES];
            Self {
                replicas: none(),
                remembering: none(),
                rounds: BTreeMap::new(),
                latest: Horizon::default(),
                spent: BTreeSet::new(),
                now: 1,
            }
        }

        fn take(&mut self, step: &Step) {
            self.now += 1;
            match step {
                Step::Post { node, id } => self.post(*node, *id),
                Step::Retire { node } => {
                    if self.replicas[*node].state().is_visible() {
                        let tombstone = Fact::new(Body::Tombstone(artifact()), stamp(self.now, *node));
                        self.replicas[*node].take(&tombstone);
                        self.remembering[*node].take(&tombstone);
                    }
                }
                Step::Tell { from, to, picks } => {
                    if self.replicas[*from].horizon == self.replicas[*to].horizon {
                        for pick in picks {
                            self.tell(*from, *to, pick);
                        }
                    }
                }
                Step::Ask { node, ago } => self.ask(*node, UnixNanos::new(self.now.saturating_sub(*ago))),
                Step::Promise { to, node } => self.promise(*to, *node),
                Step::Decide { node } => self.decide(*node),
                Step::Agree { node, ago } => {
                    self.ask(*node, UnixNanos::new(self.now.saturating_sub(*ago)));
                    (0..NODES).for_each(|other| self.promise(*node, other));
                    self.decide(*node);
                }
                Step::Forget { node } => self.replicas[*node].forget(self.latest),
                Step::Meet => self.meet(),
            }
        }

        fn meet(&mut self) {
            for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))) {
                if self.replicas[from].horizon == self.replicas[to].horizon {
                    for fact in self.replicas[from].clone().facts.values() {
                        self.replicas[to].take(fact);
                        self.remembering[to].take(fact);
                    }
                }
            }
        }

        fn post(&mut self, node: usize, id: u8) {
            let name = format!("t-{id}");
            let transition = Transition::parse("spec".into(), name, format!("s-{id}"), Vec::new()).unwrap();
            let key = FactKey::of_transition(&tenant(), &transition.id);
            if self.spent.contains(&id) || self.replicas[node].facts.contains_key(&key) {
                return;
            }
            let fact = Fact::new(Body::Transition(transition), stamp(self.now, node));
            self.replicas[node].take(&fact);
            self.remembering[node].take(&fact);
        }

        fn tell(&mut self, from: usize, to: usize, pick: &Index) {
            let facts: Vec<Fact> = self.replicas[from].facts.values().cloned().collect();
            if !facts.is_empty() {
                let fact = pick.get(&facts);
                self.replicas[to].take(fact);
                self.remembering[to].take(fact);
                self.replicas[to].check();
            }
        }

        /// Who asks has come to one horizon with all others.
        fn ask(&mut self, node: usize, until: UnixNanos) {
            let own = self.replicas[node].horizon;
            let is_one = self.replicas.iter().all(|replica| replica.horizon == own);
            if is_one && until > own.until && !self.rounds.contains_key(&node) {
                self.rounds.insert(node, Round { until, promised: BTreeMap::new() });
                self.promise(node, node);
            }
        }

        fn promise(&mut self, to: usize, node: usize) {
            let is_one = self.replicas[to].horizon == self.replicas[node].horizon;
            let is_free = self.replicas[node].held_by.is_none_or(|holder| holder == to);
            let Some(round) = self.rounds.get_mut(&to).filter(|_| is_one && is_free) else { return };
            let replica = &mut self.replicas[node];
            let ids = replica.facts.values().filter(|fact| fact.first.time <= round.until).filter_map(Fact::transition);
            self.spent.extend(ids.map(|transition| transition.id.as_str()[2..].parse::<u8>().unwrap()));
            replica.held_by = Some(to);
            round.promised.insert(node, replica.promise(round.until));
        }

        fn decide(&mut self, node: usize) {
            let Some(Round { promised, .. }) = self.rounds.remove(&node) else { return };
            let own = promised.get(&node).copied();
            let stands = own == Some(self.replicas[node].promise.0);
            match own.filter(|own| stands && promised.len() == NODES && promised.values().all(|other| other == own)) {
                Some(horizon) => {
                    self.latest = horizon;
                    self.replicas[node].forget(horizon);
                }
                None => {
                    let held = self.replicas.iter_mut().filter(|replica| replica.held_by == Some(node));
                    held.for_each(|replica| replica.held_by = None);
                }
            }
        }

        /// All take over the latest horizon, and then everybody tells everybody everything.
        fn settle(&mut self) {
            let latest = self.latest;
            self.replicas.iter_mut().for_each(|replica| replica.forget(latest));
            for replicas in [&mut self.replicas, &mut self.remembering] {
                let all: Vec<Fact> = replicas.iter().flat_map(|replica| replica.facts.values().cloned()).collect();
                // What hides comes last, which is the worst order.
                let (hiding, hidden): (Vec<_>, Vec<_>) = all.into_iter().partition(|fact| fact.transition().is_none());
                for replica in replicas.iter_mut() {
                    hidden.iter().chain(&hiding).for_each(|fact| replica.take(fact));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

        #[test]
        fn replicas_that_forget_converge_show_nothing_old_and_show_what_those_do_that_never_forget(steps in steps()) {
            let mut world = World::new();
            for step in &steps {
                world.take(step);
                world.replicas.iter().for_each(Replica::check);
            }
            world.settle();
            for (replica, remembering) in world.replicas.iter().zip(&world.remembering) {
                prop_assert_eq!(&replica.facts, &world.replicas[0].facts);
                let (state, expected) = (replica.state(), remembering.state());
                prop_assert_eq!(&state.winner, &expected.winner);
                prop_assert_eq!(state.refs, expected.refs);
                if state.is_visible() {
                    prop_assert_eq!(state.token(&artifact()), expected.token(&artifact()));
                }
            }
        }
    }

    #[test]
    fn the_most_of_the_others_are_ahead_or_only_a_few() {
        let at = |until| Horizon { until: UnixNanos::new(until), facts: Fingerprint::default() };
        let ahead_of_5 = |others: &[Option<u64>]| {
            let ahead = ahead(at(5), others.iter().map(|until| until.map(at)));
            ahead.map(|ahead| (ahead.horizon.until.get(), ahead.is_of_most))
        };
        assert_eq!(ahead_of_5(&[]), None);
        assert_eq!(ahead_of_5(&[None, Some(5), Some(3)]), None);
        assert_eq!(ahead_of_5(&[Some(6)]), Some((6, true)));
        assert_eq!(ahead_of_5(&[Some(6), Some(5)]), Some((6, false)), "one of two is not most");
        assert_eq!(ahead_of_5(&[Some(6), None]), Some((6, false)), "who has not said is not ahead");
        assert_eq!(ahead_of_5(&[Some(7), Some(6), Some(8), None]), Some((6, true)), "three of four have come to it");
        assert_eq!(
            ahead_of_5(&[Some(9), Some(7), Some(7)]),
            Some((7, true)),
            "one is further than the others by itself"
        );
        assert_eq!(ahead_of_5(&[Some(9), Some(7), Some(5), None]), Some((9, false)));
    }

    #[test]
    fn only_what_a_tombstone_from_before_the_horizon_hides_is_forgotten() {
        let transition = |time, last| {
            let transition = Transition::parse("spec".into(), format!("t-{time}"), "s".into(), Vec::new()).unwrap();
            Fact { body: Body::Transition(transition), first: stamp(time, 1), last: stamp(last, 1) }
        };
        let tombstone = |time| Fact::new(Body::Tombstone(artifact()), stamp(time, 1));
        let count = |facts: &[Fact], until| forgotten(facts, stamp(5, 1), UnixNanos::new(until));
        assert_eq!(count(&[transition(1, 1), tombstone(5)], 5), 2);
        assert_eq!(
            count(&[transition(1, 1), tombstone(5), transition(8, 8)], 6),
            2,
            "what came since stands by itself"
        );
        assert_eq!(count(&[transition(1, 1), transition(8, 8), tombstone(9)], 6), 1, "another tombstone has come");
        assert_eq!(count(&[transition(1, 1), tombstone(5), transition(8, 8)], 8), 0, "it came back by then");
        assert_eq!(count(&[transition(1, 7), tombstone(5)], 6), 0, "a retry gives the token its stamp");
    }
}
