//! Artifacts with long histories.

use super::hooked::Hooked;
use super::*;
use crate::engine::Table;

/// It is read as a whole once, to see what of it goes, and then as much at a time as goes.
#[tokio::test]
async fn a_long_history_is_not_read_as_a_whole_for_each_part_that_is_forgotten() {
    let rows = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&rows);
    let on_row = move |table| {
        count.fetch_add(u64::from(table == Table::History), Ordering::SeqCst);
    };
    let store = Fixture::on(Arc::new(Hooked { on_row: Box::new(on_row), ..Hooked::default() }));
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
