//! What every engine does alike, as one suite: each behaviour here becomes one test for each engine.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tempfile::TempDir;

use super::fjall::Fjall;
use super::memory::Memory;
use super::redb::Redb;
use super::sled::Sled;
use super::*;

const OPTIONS: EngineOptions = EngineOptions { cache_bytes: 8 * 1024 * 1024 };

type Opened = Result<Box<dyn Engine>, EngineError>;

/// An engine under test: a name for messages, and a way to open it.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    open: fn(&Path) -> Opened,
}

const MEMORY: Kind = Kind { name: "memory", open: |_| Ok(Box::new(Memory::new())) };
const SLED: Kind = Kind { name: "sled", open: |path| Ok(Box::new(Sled::open(path, OPTIONS)?)) };
const REDB: Kind = Kind { name: "redb", open: |path| Ok(Box::new(Redb::open(path, OPTIONS)?)) };
const FJALL: Kind = Kind { name: "fjall", open: |path| Ok(Box::new(Fjall::open(path, OPTIONS)?)) };

/// A directory that lives as long as the test, and the engine's place in it.
struct Place {
    root: TempDir,
    kind: Kind,
}

impl Place {
    fn new(kind: Kind) -> Self {
        Self { root: TempDir::new().unwrap(), kind }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("store")
    }

    fn try_open(&self) -> Opened {
        (self.kind.open)(&self.path())
    }

    fn open(&self) -> Box<dyn Engine> {
        self.try_open().unwrap_or_else(|error| panic!("{}: {error}", self.kind.name))
    }
}

/// One test for each behaviour and engine.
macro_rules! conformance {
    ($engine:ident, $kind:expr, [$($behaviour:ident),* $(,)?]) => {
        mod $engine {
            $(
                #[test]
                fn $behaviour() {
                    super::$behaviour(&super::Place::new($kind));
                }
            )*
        }
    };
}

macro_rules! every_engine {
    ($($behaviour:ident),* $(,)?) => {
        conformance!(memory, super::MEMORY, [$($behaviour),*]);
        conformance!(sled, super::SLED, [$($behaviour),*]);
        conformance!(redb, super::REDB, [$($behaviour),*]);
        conformance!(fjall, super::FJALL, [$($behaviour),*]);
    };
}

macro_rules! every_disk {
    ($($behaviour:ident),* $(,)?) => {
        conformance!(sled_disk, super::SLED, [$($behaviour),*]);
        conformance!(redb_disk, super::REDB, [$($behaviour),*]);
        conformance!(fjall_disk, super::FJALL, [$($behaviour),*]);
    };
}

every_engine!(
    puts_gets_and_removes,
    the_last_write_of_a_batch_wins,
    an_empty_batch_is_nothing,
    tables_are_separate,
    scans_in_both_directions,
    honours_both_kinds_of_bounds,
    an_empty_prefix_is_the_whole_table,
    prefixes_of_all_ones_have_no_end,
    keys_hold_any_byte,
    ranges_that_have_crossed_are_empty,
    long_values_survive,
    readers_see_whole_batches,
    a_scan_outlives_commits,
    behaves_as_a_model,
);

every_disk!(
    keeps_what_was_synced,
    keeps_everything_over_many_openings,
    a_killed_process_leaves_whole_batches,
    occupies_more_as_it_fills,
    opening_twice_is_refused,
    a_missing_parent_is_an_error,
    a_file_in_the_way_is_an_error,
    garbage_is_damage,
    truncation_is_never_a_panic,
    flipped_bits_are_never_a_panic,
    missing_files_are_never_a_panic,
);

fn put(engine: &dyn Engine, table: Table, key: &[u8], value: &[u8]) {
    let mut batch = Batch::default();
    batch.put(table, key.to_vec(), value.to_vec());
    engine.commit(batch).unwrap();
}

fn get(engine: &dyn Engine, table: Table, key: &[u8]) -> Option<Vec<u8>> {
    engine.get(table, key).unwrap()
}

/// The keys of a range, in the order of the scan.
fn keys(engine: &dyn Engine, range: KeyRange, direction: Direction) -> Vec<Vec<u8>> {
    engine.scan(Table::Head, range, direction).map(|row| row.unwrap().0).collect()
}

fn fill(engine: &dyn Engine, keys: &[&[u8]]) {
    let mut batch = Batch::default();
    for key in keys {
        batch.put(Table::Head, key.to_vec(), [b"value of ", *key].concat());
    }
    engine.commit(batch).unwrap();
}

fn puts_gets_and_removes(place: &Place) {
    let engine = place.open();
    let engine = engine.as_ref();
    assert_eq!(get(engine, Table::Head, b"key"), None);
    put(engine, Table::Head, b"key", b"one");
    assert_eq!(get(engine, Table::Head, b"key").as_deref(), Some(b"one".as_slice()));
    put(engine, Table::Head, b"key", b"");
    assert_eq!(get(engine, Table::Head, b"key").as_deref(), Some(b"".as_slice()));
    let mut batch = Batch::default();
    batch.remove(Table::Head, b"key".to_vec());
    batch.remove(Table::Head, b"never there".to_vec());
    engine.commit(batch).unwrap();
    assert_eq!(get(engine, Table::Head, b"key"), None);
}

fn the_last_write_of_a_batch_wins(place: &Place) {
    let engine = place.open();
    let mut batch = Batch::default();
    batch.put(Table::Head, b"a".to_vec(), b"1".to_vec());
    batch.put(Table::Head, b"a".to_vec(), b"2".to_vec());
    batch.put(Table::Head, b"b".to_vec(), b"1".to_vec());
    batch.remove(Table::Head, b"b".to_vec());
    batch.remove(Table::Head, b"c".to_vec());
    batch.put(Table::Head, b"c".to_vec(), b"3".to_vec());
    engine.commit(batch).unwrap();
    assert_eq!(get(engine.as_ref(), Table::Head, b"a").as_deref(), Some(b"2".as_slice()));
    assert_eq!(get(engine.as_ref(), Table::Head, b"b"), None);
    assert_eq!(get(engine.as_ref(), Table::Head, b"c").as_deref(), Some(b"3".as_slice()));
}

fn an_empty_batch_is_nothing(place: &Place) {
    let engine = place.open();
    engine.commit(Batch::default()).unwrap();
    engine.sync().unwrap();
    engine.sync().unwrap();
    assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b""), Direction::Forward), Vec::<Vec<u8>>::new());
}

fn tables_are_separate(place: &Place) {
    let engine = place.open();
    let mut batch = Batch::default();
    for table in Table::ALL {
        batch.put(table, b"key".to_vec(), vec![table.number()]);
    }
    engine.commit(batch).unwrap();
    for table in Table::ALL {
        assert_eq!(get(engine.as_ref(), table, b"key"), Some(vec![table.number()]));
        for direction in [Direction::Forward, Direction::Backward] {
            let rows: Vec<Row> = engine.scan(table, KeyRange::prefix(b""), direction).map(Result::unwrap).collect();
            assert_eq!(rows, [(b"key".to_vec(), vec![table.number()])]);
        }
    }
}

fn scans_in_both_directions(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"b", b"a1", b"a", b"a2", b"c"]);
    let forward = keys(engine.as_ref(), KeyRange::prefix(b"a"), Direction::Forward);
    assert_eq!(forward, [b"a".to_vec(), b"a1".to_vec(), b"a2".to_vec()]);
    let backward = keys(engine.as_ref(), KeyRange::prefix(b"a"), Direction::Backward);
    assert_eq!(backward, [b"a2".to_vec(), b"a1".to_vec(), b"a".to_vec()]);
    let row = engine.scan(Table::Head, KeyRange::prefix(b"b"), Direction::Forward).next().unwrap().unwrap();
    assert_eq!(row.1, b"value of b");
}

fn honours_both_kinds_of_bounds(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"a", b"b", b"c", b"d"]);
    let included = |key: &[u8]| Bound::Included(key.to_vec());
    let excluded = |key: &[u8]| Bound::Excluded(key.to_vec());
    let cases: [(_, _, &[u8]); 8] = [
        (included(b"b"), included(b"c"), b"bc"),
        (included(b"b"), excluded(b"c"), b"b"),
        (excluded(b"b"), included(b"c"), b"c"),
        (excluded(b"a"), excluded(b"d"), b"bc"),
        (Bound::Unbounded, excluded(b"c"), b"ab"),
        (excluded(b"b"), Bound::Unbounded, b"cd"),
        (included(b"b"), included(b"b"), b"b"),
        (included(b"bb"), included(b"cc"), b"c"),
    ];
    for (start, end, expected) in cases {
        let range = KeyRange { start, end };
        let expected: Vec<Vec<u8>> = expected.iter().map(|key| vec![*key]).collect();
        assert_eq!(keys(engine.as_ref(), range.clone(), Direction::Forward), expected, "{range:?}");
        let reversed: Vec<Vec<u8>> = expected.into_iter().rev().collect();
        assert_eq!(keys(engine.as_ref(), range.clone(), Direction::Backward), reversed, "{range:?}");
    }
    assert_eq!(keys(engine.as_ref(), KeyRange::prefix_after(b"", b"c".to_vec()), Direction::Forward), [b"d".to_vec()]);
    assert_eq!(
        keys(engine.as_ref(), KeyRange::prefix_before(b"", b"b".to_vec()), Direction::Backward),
        [b"a".to_vec()]
    );
}

fn an_empty_prefix_is_the_whole_table(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"\0", b"a", b"\xff\xff"]);
    put(engine.as_ref(), Table::Log, b"other", b"");
    put(engine.as_ref(), Table::History, b"other", b"");
    let all = [b"\0".to_vec(), b"a".to_vec(), b"\xff\xff".to_vec()];
    assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b""), Direction::Forward), all);
    let unbounded = KeyRange { start: Bound::Unbounded, end: Bound::Unbounded };
    assert_eq!(keys(engine.as_ref(), unbounded.clone(), Direction::Forward), all);
    assert_eq!(keys(engine.as_ref(), unbounded, Direction::Backward).len(), all.len());
    assert_eq!(get(engine.as_ref(), Table::Head, b""), None);
}

fn prefixes_of_all_ones_have_no_end(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"\xfe", b"\xff", b"\xff\0", b"\xff\xff", b"\xff\xff\xff\xff"]);
    put(engine.as_ref(), Table::History, b"\0", b"");
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b"\xff"), direction).len(), 4);
        assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b"\xff\xff"), direction).len(), 2);
        assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b"\xff\xff\xff"), direction), [b"\xff\xff\xff\xff".to_vec()]);
        assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b"\xfe"), direction), [b"\xfe".to_vec()]);
    }
}

fn keys_hold_any_byte(place: &Place) {
    let engine = place.open();
    let mut written: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![b'k', byte]).collect();
    written.extend([b"k".to_vec(), b"k\0\0".to_vec(), b"k\0a".to_vec(), vec![0; 40], vec![u8::MAX; 40]]);
    let borrowed: Vec<&[u8]> = written.iter().map(Vec::as_slice).collect();
    fill(engine.as_ref(), &borrowed);
    written.sort();
    assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b""), Direction::Forward), written);
    for key in &written {
        assert_eq!(get(engine.as_ref(), Table::Head, key), Some([b"value of ", key.as_slice()].concat()));
    }
}

fn ranges_that_have_crossed_are_empty(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"a", b"b", b"c"]);
    let crossed = [
        (Bound::Included(b"c".to_vec()), Bound::Included(b"a".to_vec())),
        (Bound::Excluded(b"b".to_vec()), Bound::Excluded(b"b".to_vec())),
        (Bound::Included(b"b".to_vec()), Bound::Excluded(b"b".to_vec())),
        (Bound::Excluded(b"z".to_vec()), Bound::Excluded(b"b".to_vec())),
    ];
    for (start, end) in crossed {
        for direction in [Direction::Forward, Direction::Backward] {
            let range = KeyRange { start: start.clone(), end: end.clone() };
            assert_eq!(keys(engine.as_ref(), range, direction), Vec::<Vec<u8>>::new());
        }
    }
}

fn long_values_survive(place: &Place) {
    let engine = place.open();
    let value = |seed: u8| -> Vec<u8> { (0..Sled::VALUE_BYTES_MAX).map(|at| (at % 251) as u8 ^ seed).collect() };
    let mut batch = Batch::default();
    for seed in 0..20 {
        batch.put(Table::Head, vec![seed], value(seed));
    }
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
    for seed in 0..20 {
        assert!(get(engine.as_ref(), Table::Head, &[seed]) == Some(value(seed)));
    }
    drop(engine);
    if place.kind.name != MEMORY.name {
        let engine = place.open();
        for seed in 0..20 {
            assert!(get(engine.as_ref(), Table::Head, &[seed]) == Some(value(seed)));
        }
    }
}

/// Both keys of a pair are written by each batch, in tables far apart. What is read second can be newer, never older.
fn readers_see_whole_batches(place: &Place) {
    const ROUNDS: u32 = 2_000;
    let engine = place.open();
    let engine = engine.as_ref();
    let pair = [(Table::Meta, b"first".as_slice()), (Table::Ref, b"second".as_slice())];
    let done = AtomicBool::new(false);
    let read = |(table, key): (Table, &[u8])| get(engine, table, key).map_or(0, |value| number(&value));
    thread::scope(|scope| {
        for (earlier, later) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            let (done, read) = (&done, &read);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let before = read(earlier);
                    let after = read(later);
                    assert!(before <= after, "{before} was visible and half of {after} was not");
                }
            });
        }
        for round in 1..=ROUNDS {
            let mut batch = Batch::default();
            for (table, key) in pair {
                batch.put(table, key.to_vec(), round.to_be_bytes().to_vec());
            }
            for filler in 0..20_u32 {
                batch.put(Table::Head, filler.to_be_bytes().to_vec(), round.to_be_bytes().to_vec());
            }
            engine.commit(batch).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!((read(pair[0]), read(pair[1])), (ROUNDS, ROUNDS));
}

fn number(value: &[u8]) -> u32 {
    u32::from_be_bytes(value.try_into().unwrap())
}

fn a_scan_outlives_commits(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"a", b"b", b"c", b"d"]);
    let mut rows = engine.scan(Table::Head, KeyRange::prefix(b""), Direction::Forward);
    assert_eq!(rows.next().unwrap().unwrap().0, b"a");
    fill(engine.as_ref(), &[b"0", b"bb"]);
    engine.sync().unwrap();
    let rest: Vec<Vec<u8>> = rows.map(|row| row.unwrap().0).filter(|key| key != b"bb").collect();
    assert_eq!(rest, [b"b".to_vec(), b"c".to_vec(), b"d".to_vec()]);
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(usize, Vec<u8>, Option<Vec<u8>>)>),
    Sync,
    Scan(usize, KeyRange, Direction),
    Get(usize, Vec<u8>),
    Reopen,
}

/// Keys of few bytes, so that they meet.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 0xfe, 0xff]), 1..4)
}

fn any_prefix() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => Just(Vec::new()), 3 => any_key()]
}

fn any_bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![Just(Bound::Unbounded), any_prefix().prop_map(Bound::Included), any_prefix().prop_map(Bound::Excluded),]
}

fn any_step() -> impl Strategy<Value = Step> {
    let table = 0..Table::ALL.len();
    let value = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Some),
        1 => Just(None),
        1 => (any::<u8>(), 0_usize..20_000).prop_map(|(byte, length)| Some(vec![byte; length])),
    ];
    let range = prop_oneof![
        any_prefix().prop_map(|prefix| KeyRange::prefix(&prefix)),
        (any_prefix(), any_key()).prop_map(|(prefix, key)| KeyRange::prefix_after(&prefix, key)),
        (any_prefix(), any_key()).prop_map(|(prefix, key)| KeyRange::prefix_before(&prefix, key)),
        (any_bound(), any_bound()).prop_map(|(start, end)| KeyRange { start, end }),
    ];
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    prop_oneof![
        6 => prop::collection::vec((table.clone(), any_key(), value), 0..12).prop_map(Step::Commit),
        1 => Just(Step::Sync),
        4 => (table.clone(), range, direction).prop_map(|(table, range, direction)| Step::Scan(table, range, direction)),
        4 => (table, any_key()).prop_map(|(table, key)| Step::Get(table, key)),
        1 => Just(Step::Reopen),
    ]
}

fn behaves_as_a_model(place: &Place) {
    let cases = if place.kind.name == MEMORY.name { 200 } else { 12 };
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    let kind = place.kind;
    TestRunner::new(config)
        .run(&prop::collection::vec(any_step(), 1..60), |steps| {
            follow(&Place::new(kind), steps);
            Ok(())
        })
        .unwrap();
}

/// Takes the steps on an engine and on ordered maps, and compares what they answer.
fn follow(place: &Place, steps: Vec<Step>) {
    let mut model: BTreeMap<Table, BTreeMap<Vec<u8>, Vec<u8>>> =
        Table::ALL.into_iter().map(|table| (table, BTreeMap::new())).collect();
    let mut engine = place.open();
    for step in steps {
        match step {
            Step::Commit(writes) => {
                let mut batch = Batch::default();
                for (table, key, value) in writes {
                    let table = Table::ALL[table];
                    let map = model.get_mut(&table).unwrap();
                    match value {
                        Some(value) => {
                            map.insert(key.clone(), value.clone());
                            batch.put(table, key, value);
                        }
                        None => {
                            map.remove(&key);
                            batch.remove(table, key);
                        }
                    }
                }
                engine.commit(batch).unwrap();
            }
            Step::Sync => engine.sync().unwrap(),
            Step::Get(table, key) => {
                let table = Table::ALL[table];
                assert_eq!(get(engine.as_ref(), table, &key), model[&table].get(&key).cloned());
            }
            Step::Scan(table, range, direction) => {
                let table = Table::ALL[table];
                let rows: Vec<Row> = engine.scan(table, range.clone(), direction).map(Result::unwrap).collect();
                assert_eq!(rows, expected(&model[&table], &range, direction), "{range:?} {direction:?}");
            }
            Step::Reopen if place.kind.name == MEMORY.name => {}
            Step::Reopen => {
                engine.sync().unwrap();
                drop(engine);
                engine = place.open();
            }
        }
    }
}

/// What a scan of a model yields, without a range query that could share an engine's mistake.
fn expected(map: &BTreeMap<Vec<u8>, Vec<u8>>, range: &KeyRange, direction: Direction) -> Vec<Row> {
    let within = |key: &Vec<u8>| {
        let after_start = match &range.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start,
            Bound::Excluded(start) => key > start,
        };
        let before_end = match &range.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end,
            Bound::Excluded(end) => key < end,
        };
        after_start && before_end
    };
    let mut rows: Vec<Row> =
        map.iter().filter(|(key, _)| within(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    if direction == Direction::Backward {
        rows.reverse();
    }
    rows
}

fn keeps_what_was_synced(place: &Place) {
    let engine = place.open();
    fill(engine.as_ref(), &[b"a", b"b"]);
    put(engine.as_ref(), Table::Log, b"a", b"log");
    engine.sync().unwrap();
    drop(engine);
    let engine = place.open();
    assert_eq!(keys(engine.as_ref(), KeyRange::prefix(b""), Direction::Forward), [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(get(engine.as_ref(), Table::Log, b"a").as_deref(), Some(b"log".as_slice()));
}

fn keeps_everything_over_many_openings(place: &Place) {
    const OPENINGS: u32 = 5;
    const KEYS: u32 = 1_000;
    for opening in 0..OPENINGS {
        let engine = place.open();
        let mut batch = Batch::default();
        for key in 0..KEYS {
            if key % OPENINGS == opening {
                batch.put(Table::Log, key.to_be_bytes().to_vec(), vec![opening as u8; 300]);
            }
        }
        batch.put(Table::Meta, b"opening".to_vec(), opening.to_be_bytes().to_vec());
        engine.commit(batch).unwrap();
        engine.sync().unwrap();
    }
    let engine = place.open();
    for key in 0..KEYS {
        let value = get(engine.as_ref(), Table::Log, &key.to_be_bytes());
        assert_eq!(value, Some(vec![(key % OPENINGS) as u8; 300]));
    }
    assert_eq!(get(engine.as_ref(), Table::Meta, b"opening").map(|value| number(&value)), Some(OPENINGS - 1));
}

/// The files of an engine that was never closed are what a killed process leaves.
fn a_killed_process_leaves_whole_batches(place: &Place) {
    const ROUNDS: u32 = 30;
    let pair = [(Table::Meta, b"first".as_slice()), (Table::Ref, b"second".as_slice())];
    let engine = place.open();
    for round in 1..=ROUNDS {
        let mut batch = Batch::default();
        for (table, key) in pair {
            batch.put(table, key.to_vec(), round.to_be_bytes().to_vec());
        }
        for row in 0..20_u32 {
            batch.put(Table::Log, [round.to_be_bytes(), row.to_be_bytes()].concat(), vec![round as u8; 3_000]);
        }
        engine.commit(batch).unwrap();
        if round % 3 == 0 {
            engine.sync().unwrap();
        }
        if round % 5 == 0 {
            let copy = Place::new(place.kind);
            copy_tree(&place.path(), &copy.path());
            let left = copy.open();
            let [first, second] =
                pair.map(|(table, key)| get(left.as_ref(), table, key).map_or(0, |value| number(&value)));
            assert_eq!(first, second);
            assert!((round - round % 3..=round).contains(&first), "{first} is left of {round}");
            for table in [Table::Log, Table::Head] {
                let rows = left.scan(table, KeyRange::prefix(b""), Direction::Forward).map(Result::unwrap).count();
                assert_eq!(rows, if table == Table::Log { 20 * first as usize } else { 0 });
            }
        }
    }
}

fn occupies_more_as_it_fills(place: &Place) {
    let engine = place.open();
    let before = engine.disk_bytes().unwrap();
    for round in 0..20_u32 {
        let mut batch = Batch::default();
        for key in 0..100_u32 {
            let noise = (0..2_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) ^ key.wrapping_mul(round)) as u8);
            batch.put(Table::Log, [round.to_be_bytes(), key.to_be_bytes()].concat(), noise.collect());
        }
        engine.commit(batch).unwrap();
        engine.sync().unwrap();
    }
    let after = engine.disk_bytes().unwrap();
    assert!(after > before + 2_000_000, "{before} {after}");
}

fn opening_twice_is_refused(place: &Place) {
    let engine = place.open();
    put(engine.as_ref(), Table::Head, b"a", b"1");
    engine.sync().unwrap();
    assert!(matches!(place.try_open(), Err(EngineError::InUse)));
    put(engine.as_ref(), Table::Head, b"a", b"2");
    engine.sync().unwrap();
    drop(engine);
    assert_eq!(get(place.open().as_ref(), Table::Head, b"a").as_deref(), Some(b"2".as_slice()));
}

fn a_missing_parent_is_an_error(place: &Place) {
    let opened = (place.kind.open)(&place.root.path().join("missing").join("store"));
    let Err(EngineError::Io(error)) = opened else { panic!("opened below a missing directory") };
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(!place.root.path().join("missing").exists());
}

fn a_file_in_the_way_is_an_error(place: &Place) {
    fs::write(place.path(), b"a file").unwrap();
    assert!(matches!(place.try_open(), Err(EngineError::Io(_))));
    assert!(matches!((place.kind.open)(&place.path().join("below")), Err(EngineError::Io(_))));
    assert_eq!(fs::read(place.path()).unwrap(), b"a file");
}

/// Rows of one synced batch after another, each value telling its key.
const DAMAGE_ROWS: u32 = 400;

fn damage_value(row: u32) -> Vec<u8> {
    row.to_be_bytes().repeat(100)
}

fn fill_for_damage(place: &Place) {
    let engine = place.open();
    for group in 0..8 {
        let mut batch = Batch::default();
        for row in (0..DAMAGE_ROWS).filter(|row| row % 8 == group) {
            batch.put(Table::Log, row.to_be_bytes().to_vec(), damage_value(row));
        }
        engine.commit(batch).unwrap();
        engine.sync().unwrap();
    }
}

/// Opens what was damaged and reads all of it. Whatever comes back is an error, nothing, or what was written, but for
/// redb, which does not verify values once it was closed cleanly.
fn survey(place: &Place, damage: &str) {
    let engine = match place.try_open() {
        Ok(engine) => engine,
        Err(EngineError::InUse) => panic!("{damage}: told as in use"),
        Err(_) => return,
    };
    for row in 0..DAMAGE_ROWS {
        if let Ok(Some(value)) = engine.get(Table::Log, &row.to_be_bytes()) {
            assert!(value == damage_value(row) || place.kind.name == REDB.name, "{damage}: garbled row {row}");
        }
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let rows = engine.scan(Table::Log, KeyRange::prefix(b""), direction);
        assert!(rows.take(2 * DAMAGE_ROWS as usize).count() <= DAMAGE_ROWS as usize + 1, "{damage}");
    }
    let mut batch = Batch::default();
    batch.put(Table::Log, b"after".to_vec(), b"damage".to_vec());
    let _ = engine.commit(batch).and_then(|()| engine.sync());
}

/// Every file of an engine, with its bytes.
fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            match entry.metadata().unwrap() {
                metadata if metadata.is_dir() => pending.push(entry.path()),
                metadata => files.push((entry.path(), metadata.len())),
            }
        }
    }
    files.sort();
    files
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Damages a file of the given length.
type Damage = fn(&Path, u64);

/// Applies each kind of damage to each file of a fresh copy of a filled database, and surveys the outcome.
fn damage_each_file(place: &Place, kinds: &[(&str, Damage)]) {
    fill_for_damage(place);
    drop(place.open()); // so that what opening writes is there as well
    for (file, length) in files(&place.path()) {
        let relative = file.strip_prefix(place.path()).unwrap();
        for (damage, apply) in kinds {
            let copy = Place::new(place.kind);
            copy_tree(&place.path(), &copy.path());
            apply(&copy.path().join(relative), length);
            survey(&copy, &format!("{}: {damage} {}", place.kind.name, relative.display()));
        }
    }
}

fn flip(file: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    if file.read(&mut byte).unwrap() == 1 {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[byte[0] ^ 0x10]).unwrap();
    }
}

fn truncate(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
}

fn garbage_is_damage(place: &Place) {
    damage_each_file(
        place,
        &[
            ("garbage in", |file, length| {
                let length = usize::try_from(length.clamp(64, 1 << 20)).unwrap();
                fs::write(file, b"not a database, ".repeat(length / 16)).unwrap();
            }),
            ("zeroes in", |file, length| fs::write(file, vec![0; length.min(1 << 20) as usize]).unwrap()),
        ],
    );
}

fn truncation_is_never_a_panic(place: &Place) {
    damage_each_file(
        place,
        &[
            ("nothing left of", |file, _| truncate(file, 0)),
            ("one byte left of", |file, _| truncate(file, 1)),
            ("half left of", |file, length| truncate(file, length / 2)),
            ("all but a byte left of", |file, length| truncate(file, length.saturating_sub(1))),
        ],
    );
}

fn flipped_bits_are_never_a_panic(place: &Place) {
    damage_each_file(
        place,
        &[
            ("flipped first byte of", |file, _| flip(file, 0)),
            ("flipped byte 21 of", |file, _| flip(file, 21)),
            ("flipped byte 150 of", |file, _| flip(file, 150)),
            ("flipped byte 4100 of", |file, _| flip(file, 4_100)),
            ("flipped byte 30000 of", |file, _| flip(file, 30_000)),
            ("flipped byte 90001 of", |file, _| flip(file, 90_001)),
            ("flipped middle of", |file, length| flip(file, length / 2)),
            ("flipped last byte of", |file, length| flip(file, length.saturating_sub(1))),
        ],
    );
}

fn missing_files_are_never_a_panic(place: &Place) {
    damage_each_file(place, &[("removed", |file, _| fs::remove_file(file).unwrap())]);
}

/// A flip that sled or fjall serves as a value was not found by a checksum; in redb it can be. This pins down which.
#[test]
fn only_redb_serves_a_flipped_value_after_a_clean_close() {
    let place = Place::new(REDB);
    fill_for_damage(&place);
    let file = place.path().join("store.redb");
    let bytes = fs::read(&file).unwrap();
    let needle = damage_value(123);
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    for start in (at..bytes.len() - needle.len()).filter(|start| bytes[*start..].starts_with(&needle)) {
        flip(&file, start as u64 + 50);
    }
    let value = get(place.open().as_ref(), Table::Log, &123_u32.to_be_bytes()).unwrap();
    assert_ne!(value, needle);
}

#[test]
fn sled_refuses_a_value_it_cannot_keep_and_goes_on() {
    let place = Place::new(SLED);
    let engine = place.open();
    let mut batch = Batch::default();
    batch.put(Table::Head, b"small".to_vec(), b"1".to_vec());
    batch.put(Table::Head, b"too long".to_vec(), vec![0; Sled::VALUE_BYTES_MAX + 1]);
    assert!(matches!(engine.commit(batch), Err(EngineError::Io(_))));
    assert_eq!(get(engine.as_ref(), Table::Head, b"small"), None);
    put(engine.as_ref(), Table::Head, b"small", b"2");
}

#[test]
fn fjall_refuses_a_key_it_would_cut_and_goes_on() {
    let place = Place::new(FJALL);
    let engine = place.open();
    let mut batch = Batch::default();
    batch.put(Table::Head, b"short".to_vec(), b"1".to_vec());
    batch.put(Table::Head, vec![b'k'; Fjall::KEY_BYTES_MAX + 1], b"1".to_vec());
    assert!(matches!(engine.commit(batch), Err(EngineError::Io(_))));
    assert_eq!(get(engine.as_ref(), Table::Head, b"short"), None);
    put(engine.as_ref(), Table::Head, &vec![b'k'; Fjall::KEY_BYTES_MAX], b"2");
}

#[test]
fn a_creation_cut_short_is_begun_again() {
    for (kind, unfinished) in [(REDB, "store.redb.new"), (FJALL, "database.new")] {
        let place = Place::new(kind);
        drop(place.open());
        let whole = files(&place.path());
        let (name, _) = &whole[0];
        let finished = place.path().join(name.strip_prefix(place.path()).unwrap().components().next().unwrap());
        fs::rename(finished, place.path().join(unfinished)).unwrap();
        fill_for_damage(&place);
        drop(place.open());
        assert!(!place.path().join(unfinished).exists());
    }
}

/// More than the memtables of a keyspace hold, so that commits meet flushes and compactions.
#[test]
fn fjall_keeps_up_with_a_writer_that_does_not_wait() {
    const BATCHES: u32 = 120;
    let place = Place::new(FJALL);
    let engine = place.open();
    for batch_number in 0..BATCHES {
        let mut batch = Batch::default();
        for key in 0..100_u32 {
            let key = key.wrapping_mul(40_503) ^ batch_number;
            batch.put(Table::Log, key.to_be_bytes().to_vec(), vec![batch_number as u8; 4_000]);
            batch.put(Table::Head, key.to_be_bytes().to_vec(), vec![batch_number as u8; 100]);
        }
        engine.commit(batch).unwrap();
    }
    engine.sync().unwrap();
    let rows = |engine: &dyn Engine| engine.scan(Table::Log, KeyRange::prefix(b""), Direction::Forward).count();
    let before = rows(engine.as_ref());
    drop(engine);
    assert_eq!(rows(place.open().as_ref()), before);
}

#[test]
fn a_void_range_is_told_from_a_narrow_one() {
    let range = |start, end| KeyRange { start, end };
    let key = || b"k".to_vec();
    assert!(!range(Bound::Included(key()), Bound::Included(key())).is_void());
    assert!(range(Bound::Excluded(key()), Bound::Included(key())).is_void());
    assert!(!range(Bound::Excluded(key()), Bound::Unbounded).is_void());
    assert!(!KeyRange::prefix(b"").is_void());
    assert!(!KeyRange::prefix(b"\xff").is_void());
}
