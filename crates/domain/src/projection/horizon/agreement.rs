//! A model of who agrees, who is left out, and who follows, step by step, with restarts, members that are away, one that was
//! run alone, and new ones.
//!
//! Facts are their times here, and the even ones are retired: what is forgotten of an artifact is for `laws`.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: usize = 4;

/// How long a word holds.
const WORD: u64 = 1_000;

/// How long a member is waited for.
const RETENTION: u64 = 10_000;

#[derive(Debug, Clone)]
enum Step {
    Post(usize),
    Tell {
        from: usize,
        to: usize,
    },
    /// One begins to ask those that it sees.
    Ask {
        node: usize,
        ago: u64,
    },
    Promise {
        to: usize,
        node: usize,
    },
    /// Who has asked decides, and tells those it asked.
    Decide(usize),
    /// All of that at once.
    Agree(usize),
    /// The same, but before it decides another is started again, time passes, and one that was away tells that one all it has.
    Disturb {
        node: usize,
        other: usize,
        time: u64,
    },
    /// Who has decided has forgotten all.
    Finish(usize),
    Follow(usize),
    Restart(usize),
    /// One is away from now on.
    LeaveOut(usize),
    /// It is there again; one of the others does not see that at once.
    Return {
        node: usize,
        hidden_from: Option<usize>,
    },
    /// A new one takes the place of one that is away.
    Join(usize),
    /// One that is away is run alone, and forgets.
    Alone(usize),
    /// So much time passes.
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let step = prop_oneof![
        4 => node().prop_map(Step::Post),
        6 => (node(), node()).prop_map(|(from, to)| Step::Tell { from, to }),
        4 => (node(), 0..60_u64).prop_map(|(node, ago)| Step::Ask { node, ago }),
        10 => (node(), node()).prop_map(|(to, node)| Step::Promise { to, node }),
        4 => node().prop_map(Step::Decide),
        3 => node().prop_map(Step::Agree),
        3 => (node(), node(), 0..=WORD).prop_map(|(node, other, time)| Step::Disturb { node, other, time }),
        3 => node().prop_map(Step::Finish),
        5 => node().prop_map(Step::Follow),
        3 => node().prop_map(Step::Restart),
        3 => node().prop_map(Step::LeaveOut),
        3 => (node(), prop::option::of(node())).prop_map(|(node, hidden_from)| Step::Return { node, hidden_from }),
        1 => node().prop_map(Step::Join),
        1 => node().prop_map(Step::Alone),
        2 => prop_oneof![Just(WORD), Just(RETENTION)].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..150)
}

#[derive(Debug, Clone, Default)]
struct Replica {
    facts: BTreeSet<u64>,
    horizon: Horizon,
    is_forgetting: bool,
    promised: Option<Horizon>,
    binds_until: u64,
    /// To whom it gave its word, if that is known, and until when.
    word: Option<(Option<usize>, u64)>,
    is_away: bool,
    /// Who does not see yet that it is there again.
    hidden_from: Option<usize>,
    absent_since: Option<u64>,
    /// Whether it was away, or alone, since it last came to a horizon: then it may have to start afresh.
    was_away: bool,
    /// Whether it has come later: one that is behind may have told it something.
    is_new: bool,
}

impl Replica {
    fn up_to(&self, until: u64) -> Horizon {
        let facts: Vec<u128> = self.facts.range(..=until).map(|time| u128::from(*time).pow(3)).collect();
        let facts = Fingerprint { sum: facts.iter().sum(), count: facts.len() as u64 };
        Horizon { until: UnixNanos::new(until), facts }
    }

    fn would_forget(&self, until: u64) -> bool {
        self.facts.range(..=until).any(|time| time % 2 == 0)
    }

    fn promise(&mut self, until: u64, now: u64) -> Horizon {
        let horizon = self.up_to(until);
        (self.promised, self.binds_until) = (Some(horizon), now + WORD);
        horizon
    }

    fn gives_word_to(&mut self, node: usize, now: u64) -> bool {
        let is_kept = self.word.is_some_and(|(to, until)| to != Some(node) && now < until);
        if !is_kept {
            self.word = Some((Some(node), now + WORD));
        }
        !is_kept
    }

    fn begin(&mut self, horizon: Horizon) {
        let until = horizon.until.get();
        self.facts.retain(|time| *time > until || time % 2 == 1);
        (self.horizon, self.promised, self.was_away) = (horizon, None, false);
    }

    fn take(&mut self, fact: u64, now: u64) {
        let is_promised = self.promised.is_some_and(|promised| fact <= promised.until.get());
        if self.facts.contains(&fact) || is_promised && now < self.binds_until {
            return;
        }
        self.promised = self.promised.filter(|_| !is_promised);
        self.facts.insert(fact);
    }
}

struct Round {
    asked: BTreeSet<usize>,
    wanted: Horizon,
    promised: BTreeMap<usize, Horizon>,
}

struct World {
    replicas: Vec<Replica>,
    rounds: BTreeMap<usize, Round>,
    now: u64,
    /// Whether one was run alone: then it may stay apart from the others.
    has_odd: bool,
}

impl World {
    fn new() -> Self {
        Self { replicas: vec![Replica::default(); NODES], rounds: BTreeMap::new(), now: RETENTION, has_odd: false }
    }

    fn sees(&self, one: usize, other: usize) -> bool {
        let [a, b] = [one, other].map(|node| &self.replicas[node]);
        !a.is_away && !b.is_away && a.hidden_from != Some(other) && b.hidden_from != Some(one)
    }

    fn take(&mut self, step: &Step) {
        self.now += 1;
        let now = self.now;
        match *step {
            Step::Post(node) => drop(self.replicas[node].facts.insert(now)),
            Step::Tell { from, to } => self.tell(from, to),
            Step::Ask { node, ago } => self.ask(node, now - ago),
            Step::Promise { to, node } => self.promise(to, node),
            Step::Decide(node) => self.decide(node),
            Step::Agree(node) => {
                self.agree(node);
                self.decide(node);
            }
            Step::Disturb { node, other, time } => {
                self.agree(node);
                self.take(&Step::Restart(other));
                self.now += time;
                for away in 0..NODES {
                    self.take(&Step::Return { node: away, hidden_from: Some(node) });
                    self.tell(away, other);
                }
                self.decide(node);
            }
            Step::Finish(node) => self.replicas[node].is_forgetting = false,
            Step::Follow(node) => self.follow(node),
            Step::Restart(node) => {
                self.rounds.remove(&node);
                let replica = &mut self.replicas[node];
                replica.word = Some((None, replica.binds_until));
            }
            Step::LeaveOut(node) => {
                if self.replicas.iter().all(|replica| replica.absent_since.is_none()) {
                    self.rounds.remove(&node);
                    let replica = &mut self.replicas[node];
                    (replica.is_away, replica.was_away, replica.absent_since) = (true, true, Some(now));
                }
            }
            Step::Return { node, hidden_from } if self.replicas[node].absent_since.is_some() => {
                let replica = &mut self.replicas[node];
                replica.hidden_from = hidden_from.filter(|from| replica.is_away && *from != node);
                (replica.is_away, replica.was_away) = (false, true);
                replica.absent_since = replica.absent_since.filter(|_| replica.hidden_from.is_some());
            }
            Step::Join(node) if self.replicas[node].is_away => {
                self.replicas[node] = Replica { is_new: true, ..Replica::default() };
            }
            Step::Alone(node) => self.alone(node),
            Step::Pass(time) => self.now += time,
            Step::Return { .. } | Step::Join(_) => {}
        }
    }

    fn agree(&mut self, node: usize) {
        self.meet();
        self.ask(node, self.now - 1);
        (0..NODES).for_each(|other| self.promise(node, other));
    }

    fn tell(&mut self, from: usize, to: usize) {
        let [one, other] = [from, to].map(|node| &self.replicas[node]);
        let is_one = one.horizon == other.horizon && !one.is_forgetting && !other.is_forgetting;
        if from != to && is_one && self.sees(from, to) {
            let facts = one.facts.clone();
            facts.into_iter().for_each(|fact| self.replicas[to].take(fact, self.now));
        }
    }

    /// Those that see each other tell each other everything, and have forgotten all they were to forget.
    fn meet(&mut self) {
        let is_there = |replica: &&mut Replica| !replica.is_away;
        self.replicas.iter_mut().filter(is_there).for_each(|replica| replica.is_forgetting = false);
        for (from, to) in (0..2 * NODES).flat_map(|from| (0..NODES).map(move |to| (from % NODES, to))) {
            self.tell(from, to);
        }
    }

    /// Whom one has to ask; `None` where it has to wait for somebody.
    fn members(&self, node: usize) -> Option<BTreeSet<usize>> {
        let is_given_up = |other: usize| self.replicas[other].absent_since.is_some_and(|at| self.now - at >= RETENTION);
        let asked: BTreeSet<usize> = (0..NODES).filter(|other| *other != node && self.sees(node, *other)).collect();
        let mut others = (0..NODES).filter(|other| *other != node && !asked.contains(other));
        (others.all(is_given_up) && (asked.len() + 1) * 2 > NODES).then_some(asked)
    }

    fn ask(&mut self, node: usize, until: u64) {
        let own = self.replicas[node].clone();
        let Some(asked) = self.members(node).filter(|_| !own.is_away && !own.is_forgetting) else { return };
        let is_one = asked.iter().all(|other| self.replicas[*other].horizon == own.horizon);
        let is_due = until > own.horizon.until.get() && own.would_forget(until);
        if !is_one || !is_due || !self.replicas[node].gives_word_to(node, self.now) {
            return;
        }
        let wanted = self.replicas[node].promise(until, self.now);
        self.rounds.insert(node, Round { asked, wanted, promised: BTreeMap::new() });
    }

    fn promise(&mut self, to: usize, node: usize) {
        let is_seen = self.sees(to, node);
        let horizon = self.replicas[to].horizon;
        let Some(round) = self.rounds.get_mut(&to).filter(|round| is_seen && round.asked.contains(&node)) else {
            return;
        };
        let replica = &mut self.replicas[node];
        if replica.horizon == horizon && !replica.is_forgetting && replica.gives_word_to(to, self.now) {
            round.promised.insert(node, replica.promise(round.wanted.until.get(), self.now));
        }
    }

    fn decide(&mut self, node: usize) {
        let Some(Round { asked, wanted, promised }) = self.rounds.remove(&node) else { return };
        let is_agreed = asked.iter().all(|other| promised.get(other) == Some(&wanted));
        let own = &self.replicas[node];
        let stands = own.promised == Some(wanted) && self.now < own.binds_until;
        if !is_agreed || !stands || self.members(node).as_ref() != Some(&asked) {
            let own = &mut self.replicas[node];
            if own.word.take_if(|(to, _)| *to == Some(node)).is_some() {
                own.binds_until = 0;
            }
            return;
        }
        self.replicas[node].begin(wanted);
        self.replicas[node].is_forgetting = true;
        for other in asked {
            let other = &mut self.replicas[other];
            if other.promised == Some(wanted) {
                other.begin(wanted);
            }
        }
    }

    fn follow(&mut self, node: usize) {
        let replica = &self.replicas[node];
        if replica.is_away || replica.is_forgetting {
            return;
        }
        let own = replica.horizon;
        let others = (0..NODES).filter(|other| *other != node);
        let heard = |other: usize| {
            let theirs = &self.replicas[other];
            (self.sees(node, other) && !theirs.is_forgetting).then_some(theirs.horizon)
        };
        let Some(all) = ahead(own, others.clone().map(heard)) else { return };
        let is_alike = |other: usize| heard(other) == Some(own) && self.replicas[other].facts == replica.facts;
        let there = others.filter(|other| !self.replicas[*other].is_away && !is_alike(*other));
        let there = ahead(own, there.map(heard));
        let has_facts_up_to = |horizon: Horizon| replica.facts.range(..=horizon.until.get()).next().is_some();
        let adopted = there.filter(|there| there.is_of_most && !has_facts_up_to(there.horizon));
        let replica = &mut self.replicas[node];
        let may_promise = |replica: &mut Replica| all.is_of_most || replica.gives_word_to(node, self.now);
        if let Some(there) = adopted {
            replica.begin(there.horizon);
        } else if replica.promised == Some(all.horizon)
            || replica.up_to(all.horizon.until.get()) == all.horizon && may_promise(replica)
        {
            replica.begin(all.horizon);
        } else if all.is_of_most {
            let was_away = replica.was_away || replica.is_new || replica.absent_since.is_some();
            assert!(was_away, "{node} was there all the time, and has to start afresh: {replica:?}, {all:?}");
            *replica = Replica { hidden_from: replica.hidden_from, is_new: true, ..Replica::default() };
        }
    }

    /// By then the others have followed and told each other for as long as that.
    fn alone(&mut self, node: usize) {
        self.rest();
        let replica = &mut self.replicas[node];
        let until = self.now - 1;
        let is_due = replica.absent_since.is_some_and(|at| self.now - at >= RETENTION) && replica.would_forget(until);
        if replica.is_away && is_due && !self.has_odd {
            let horizon = replica.up_to(until);
            replica.begin(horizon);
            replica.was_away = true;
            self.has_odd = true;
        }
    }

    /// All are there, and follow each other.
    fn settle(&mut self) {
        self.rounds.clear();
        for replica in &mut self.replicas {
            replica.was_away |= replica.absent_since.is_some();
            (replica.is_away, replica.is_forgetting) = (false, false);
            (replica.hidden_from, replica.absent_since) = (None, None);
        }
        self.rest();
    }

    fn rest(&mut self) {
        self.now += WORD;
        for _ in 0..2 * NODES {
            (0..NODES).for_each(|node| self.follow(node));
            self.meet();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn all_come_to_one_horizon_and_only_who_was_away_starts_afresh(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.settle();
        for replica in world.replicas.iter().filter(|_| !world.has_odd) {
            prop_assert_eq!(replica.horizon, world.replicas[0].horizon, "some stay apart: {:?}", world.replicas);
            prop_assert_eq!(&replica.facts, &world.replicas[0].facts);
        }
    }
}
