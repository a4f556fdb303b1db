//! The count of facts, step by step: whatever comes between two slices, between two checkpoints, or before a restart.

use std::collections::BTreeMap;

use plimsoll_domain::projection::reconcile::{Leaves, Range};
use plimsoll_domain::projection::{Body, Fact, FactHash, FactKey, Fingerprint, Transition};
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_wire::record::v1::{self, StoredRemoval};
use plimsoll_wire::record::v2;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::engine::{Batch, Table};
use crate::layout;
use crate::tally::{Counted, Tally, When};

/// What happens to a store. Most facts go soon after they came.
#[derive(Debug, Clone)]
enum Step {
    /// A group with so many new facts, and some that are taken out, each for a new one.
    Group {
        new: u8,
        taken: Vec<Index>,
    },
    /// A slice is counted.
    Slice,
    Checkpoint,
    /// The power fails; some of what was not synced is there all the same.
    Fail {
        kept: usize,
    },
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let taken = proptest::collection::vec(any::<Index>(), 0..4);
    let step = prop_oneof![
        6 => (0..6_u8, taken).prop_map(|(new, taken)| Step::Group { new, taken }),
        4 => Just(Step::Slice),
        2 => Just(Step::Checkpoint),
        2 => (0..9_usize).prop_map(|kept| Step::Fail { kept }),
        2 => Just(Step::Sync),
    ];
    proptest::collection::vec(step, 1..60)
}

/// A store that is nothing but a log and its count.
struct Counter {
    engine: Memory,
    tenant: TenantId,
    tally: Tally,
    total: Fingerprint,
    sequence: u64,
    facts: BTreeMap<u64, Fact>,
}

impl Counter {
    fn open(engine: Memory) -> Self {
        let tenant = TenantId::parse("acme").unwrap();
        let (mut facts, mut total) = (BTreeMap::new(), Fingerprint::default());
        for row in engine.scan(Table::Log, crate::engine::KeyRange::prefix(&[]), crate::engine::Direction::Forward) {
            let (key, pack) = row.unwrap();
            for (sequence, fact) in crate::log::facts_of(&key, &pack).unwrap() {
                let stored = v1::decode_fact(fact).unwrap();
                total.add(&stored.tenant, &stored.fact);
                facts.insert(sequence, stored.fact);
            }
        }
        let sequence = engine.get(Table::Meta, layout::SEQUENCE).unwrap();
        let sequence = sequence.map_or(0, |value| v1::decode_number(&value).unwrap());
        let tally = Tally::open(&engine, sequence, total).unwrap();
        Self { engine, tenant, tally, total, sequence, facts }
    }

    fn add(&mut self, batch: &mut Batch, counted: &mut Vec<Counted>) {
        self.sequence += 1;
        let sequence = self.sequence;
        let transition = Transition::parse("a".into(), format!("t-{sequence}"), "x".into(), Vec::new()).unwrap();
        let stamp = Timestamp { time: UnixNanos::new(sequence), node: NodeId::new(1) };
        let fact = Fact::new(Body::Transition(transition), stamp);
        let (key, hash) = (FactKey::of(&self.tenant, &fact), FactHash::of(&self.tenant, &fact));
        let pack = v2::encode_pack(&[v1::encode_fact(&self.tenant, &fact)]);
        batch.put(Table::Log, layout::log(sequence), pack);
        self.total.add_hash(hash);
        counted.push(Counted::Added { sequence, key, hash });
        self.facts.insert(sequence, fact);
    }

    fn remove(&mut self, sequence: u64, batch: &mut Batch, counted: &mut Vec<Counted>) {
        let fact = self.facts.remove(&sequence).unwrap();
        let (key, hash) = (FactKey::of(&self.tenant, &fact), FactHash::of(&self.tenant, &fact));
        batch.remove(Table::Log, layout::log(sequence));
        if self.tally.has_noted(sequence) {
            batch.put(Table::Meta, layout::gone(sequence), v1::encode_removal(StoredRemoval { key, hash }));
        }
        self.total.remove_hash(hash);
        counted.push(Counted::Removed { sequence, key, hash });
    }

    fn take(mut self, step: Step) -> Self {
        match step {
            Step::Group { new, taken } => {
                let (mut batch, mut counted) = (Batch::default(), Vec::new());
                (0..new).for_each(|_| self.add(&mut batch, &mut counted));
                for index in taken {
                    let standing: Vec<u64> = self.facts.keys().copied().collect();
                    if !standing.is_empty() {
                        self.remove(*index.get(&standing), &mut batch, &mut counted);
                        self.add(&mut batch, &mut counted);
                    }
                }
                batch.put(Table::Meta, layout::SEQUENCE.to_vec(), v1::encode_number(self.sequence));
                self.engine.commit(batch).unwrap();
                self.tally.apply(counted);
            }
            Step::Slice => self.tally.catch_up(&self.engine, self.sequence, self.total),
            Step::Checkpoint => {
                if self.tally.is_due(self.sequence, When::Closing) {
                    self.engine.commit(self.tally.checkpoint(self.sequence)).unwrap();
                }
            }
            Step::Fail { kept } => {
                self.engine.crash_keeping(kept);
                return Self::open(self.engine);
            }
            Step::Sync => self.engine.sync().unwrap(),
        }
        self
    }

    /// All is counted, and once it is it is right.
    fn check(&self) {
        let shown = self.tally.shown();
        assert!(!shown.was_wrong());
        if !shown.is_whole() {
            return;
        }
        let mut leaves = Leaves::default();
        for fact in self.facts.values() {
            leaves.add(FactKey::of(&self.tenant, fact), FactHash::of(&self.tenant, fact));
        }
        for block in Range::WHOLE.children().into_iter().flatten().flat_map(|range| range.children()).flatten() {
            assert_eq!(shown.fingerprint(block), leaves.fingerprint(block), "{block:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_counted_is_what_there_is(steps in steps()) {
        let mut counter = Counter::open(Memory::new());
        for step in steps {
            counter = counter.take(step);
            counter.check();
        }
        while counter.tally.is_behind() {
            counter = counter.take(Step::Slice);
        }
        counter.check();
        assert!(counter.tally.shown().is_whole());
    }
}
