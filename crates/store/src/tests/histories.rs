//! Artifacts with long histories.

use super::*;
use crate::engine::{Batch, Direction, EngineError, KeyRange, Row, Table};

/// A disk that counts which rows of histories are read.
struct Counting {
    disk: Memory,
    rows: Arc<AtomicU64>,
}

impl Engine for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.disk.get(table, key)
    }

    fn scan<'a>(
        &'a self,
        table: Table,
        range: KeyRange,
        direction: Direction,
    ) -> Box<dyn Iterator<Item = Result<Row, EngineError>> + Send + 'a> {
        let count = move |_: &_| {
            self.rows.fetch_add(u64::from(table == Table::History), Ordering::SeqCst);
        };
        Box::new(self.disk.scan(table, range, direction).inspect(count))
    }

    fn commit(&self, batch: Batch) -> Result<(), EngineError> {
        self.disk.commit(batch)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.disk.sync()
    }

    fn disk_bytes(&self) -> Result<u64, EngineError> {
        self.disk.disk_bytes()
    }
}

/// It is read as a whole once, to see what of it goes, and then as much at a time as goes.
#[tokio::test]
async fn a_long_history_is_not_read_as_a_whole_for_each_part_that_is_forgotten() {
    let (disk, rows) = (Memory::new(), Arc::new(AtomicU64::new(0)));
    let store = Fixture::on(Arc::new(Counting { disk, rows: Arc::clone(&rows) }));
    for at in 0..5_000 {
        store.accept(draft("long", &format!("t-{at}"), "new")).await;
    }
    store.projections.retire(&store.tenant, artifact("long"), Expectation::Any).await.unwrap();
    store.now.fetch_add(1_000_000_000, Ordering::SeqCst);
    let until = UnixNanos::new(store.now.load(Ordering::SeqCst));
    let promise = store.projections.promise(until, Duration::ZERO).await.unwrap();
    rows.store(0, Ordering::SeqCst);
    store.projections.forget(promise.horizon).await.unwrap();
    let read = rows.load(Ordering::SeqCst);
    assert_eq!(store.projections.fingerprint().unwrap().count, 0);
    assert!(read < 2 * 5_000 + 1_000, "{read} rows were read");
    store.close();
}
