//! What survives, and what is never shown.

use std::sync::{Condvar, Mutex};

use super::*;
use crate::directory::{Directory, DirectoryError, EngineKind};
use crate::engine::Table;
use crate::layout;
use crate::writer::Series;

const ENGINE: EngineOptions = EngineOptions { cache_bytes: 4 << 20 };

#[tokio::test]
async fn what_was_acknowledged_survives_a_crash_token_and_all() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.accept(with_refs(draft("spec", "t-1", "in_review"), vec![pending("k")])).await;
    store.accept(with_refs(draft("spec", "t-2", "merged"), vec![resolved("k", 5)])).await;
    let before = store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap();
    store.close();
    engine.crash();
    let store = Fixture::on(Arc::new(engine));
    assert_eq!(store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap(), before);
    assert!(store.accept(with_refs(draft("spec", "t-2", "merged"), vec![resolved("k", 5)])).await.repeated);
}

#[tokio::test]
async fn stamps_go_on_after_a_restart_with_the_clock_set_back() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let before = store.accept(draft("spec", "t-1", "a")).await.token;
    store.close();
    engine.crash();
    let store = Fixture::on(Arc::new(engine));
    store.now.store(START - 3_600_000_000_000, Ordering::SeqCst);
    assert!(store.accept(draft("spec", "t-2", "b")).await.token.stamp > before.stamp);
    assert!(store.accept(draft("other", "t-3", "b")).await.token.stamp > before.stamp);
}

#[tokio::test]
async fn a_failed_sync_acknowledges_nothing_shows_nothing_and_ends_all_writing() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    let before = store.accept(draft("spec", "t-1", "a")).await.token;
    engine.fail_next_sync();
    let failed = store.post(draft("spec", "t-2", "b")).await;
    assert!(matches!(failed, Err(WriteError::Failed(StoreFailure::Disk))), "{failed:?}");
    assert_eq!(store.token("spec").await, Some(before), "the cursor in memory is the durable one");
    let unsettled = store.projections.projection(&store.tenant, &artifact("spec")).await;
    assert!(matches!(unsettled, Err(ReadError::Failed(StoreFailure::Disk))), "{unsettled:?}");
    let spec = artifact("spec");
    let unsettled = store.projections.history(&store.tenant, &spec, None, 9).await;
    assert!(matches!(unsettled, Err(ReadError::Failed(StoreFailure::Disk))), "{unsettled:?}");
    let unsettled = store.projections.list(&store.tenant, Some(&Status::parse("a").unwrap()), None, 9).await;
    assert!(matches!(unsettled, Err(ReadError::Failed(StoreFailure::Disk))), "{unsettled:?}");
    let lost = TransitionId::parse("t-2").unwrap();
    let unsettled = store.projections.contains(&store.tenant, &spec, &lost).await;
    assert!(matches!(unsettled, Err(ReadError::Failed(StoreFailure::Disk))), "{unsettled:?}");
    let shown = Position { sequence: 0, ..store.projections.position() };
    assert_eq!(store.projections.changes(&store.tenant, shown).await.unwrap().next.sequence, 1);
    let failed = store.post(draft("spec", "t-3", "c")).await;
    assert!(matches!(failed, Err(WriteError::Failed(StoreFailure::Disk))), "{failed:?}");
    store.close();
    engine.crash();
    let store = Fixture::on(Arc::new(engine));
    assert_eq!(store.token("spec").await, Some(before));
    assert!(!store.accept(draft("spec", "t-2", "b")).await.repeated);
}

/// What lets the syncs of a disk through, or holds them up.
#[derive(Default)]
pub(super) struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    pub(super) fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    pub(super) fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        drop(self.opened.wait_while(closed, |closed| *closed).unwrap());
    }
}

/// A disk whose syncs wait at a gate.
pub(super) fn gated() -> (Arc<Hooked>, Arc<Gate>) {
    let gate = Arc::<Gate>::default();
    let at = Arc::clone(&gate);
    (Arc::new(Hooked { on_sync: Box::new(move || at.pass()), ..Hooked::default() }), gate)
}

/// While the disk syncs one group, the next is decided by what that one changed, and nobody is shown either.
#[tokio::test]
async fn a_group_sees_the_one_the_disk_is_still_busy_with() {
    let (engine, gate) = gated();
    let store = Fixture::on(Arc::clone(&engine) as Arc<dyn Engine>);
    store.accept(draft("spec", "t-1", "draft")).await;
    gate.close();
    let committed = async |sequence| {
        while engine.get(Table::Log, &layout::log(sequence)).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let opened = store.post(with_refs(draft("spec", "t-2", "in_review"), vec![pending("k")]));
    let resolving = store.post(with_refs(draft("spec", "t-3", "merged"), vec![resolved("k", 1)]));
    let watching = async {
        committed(2).await;
        committed(3).await;
        let shown = store.projections.cursor(&store.tenant, &artifact("spec")).await.unwrap().unwrap();
        assert_eq!(shown.sequence, 1, "what is not durable is not shown");
        gate.open();
    };
    let second = async {
        committed(2).await;
        resolving.await
    };
    let all = async { tokio::join!(opened, second, watching) };
    let (opened, resolved, ()) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("both are committed");
    assert!(opened.is_ok() && resolved.is_ok(), "{opened:?} {resolved:?}");
    let whole = store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap().unwrap();
    assert_eq!((whole.winner.status.as_str(), whole.refs.len()), ("merged", 1));
    assert!(whole.refs[0].resolution.is_some());
}

#[tokio::test]
async fn every_engine_keeps_what_it_acknowledged_over_a_restart() {
    for kind in EngineKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (directory, engine) = Directory::open(folder.path(), Some(kind), ENGINE).unwrap();
        let store = Fixture::on(engine);
        for at in 0..50 {
            store.accept(with_refs(draft("spec", &format!("t-{at}"), "x"), vec![pending(&at.to_string())])).await;
        }
        let before = store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap();
        let identity = store.projections.identity();
        store.close();
        drop(directory);
        let (_directory, engine) = Directory::open(folder.path(), None, ENGINE).unwrap();
        let store = Fixture::on(engine);
        assert_eq!(store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap(), before, "{kind}");
        assert_eq!(store.projections.identity(), identity);
        store.close();
    }
}

/// The largest transition the rules allow fits every engine.
#[tokio::test]
async fn every_engine_takes_the_largest_transition() {
    for kind in EngineKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        let (_directory, engine) = Directory::open(folder.path(), Some(kind), ENGINE).unwrap();
        let store = Fixture::on(engine);
        let large = |at: usize| RefDraft {
            target_repo: "r".repeat(256),
            idempotency_key: format!("{at:0>256}"),
            resolution: None,
        };
        store.accept(with_refs(draft("spec", "t-1", "x"), (0..256).map(large).collect())).await;
        let whole = store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap().unwrap();
        assert_eq!(whole.refs.len(), 256, "{kind}");
        store.close();
    }
}

#[test]
fn a_directory_is_opened_once_and_with_its_own_engine() {
    let folder = tempfile::tempdir().unwrap();
    let open = |kind| Directory::open(folder.path(), kind, ENGINE);
    let held = open(Some(EngineKind::Redb)).unwrap();
    assert!(matches!(open(Some(EngineKind::Redb)), Err(DirectoryError::InUse { .. })));
    drop(held);
    let other = open(Some(EngineKind::Sled)).map(drop);
    assert!(matches!(other, Err(DirectoryError::OtherEngine { found: EngineKind::Redb, .. })), "{other:?}");
    assert_eq!(open(None).unwrap().0.kind(), EngineKind::Redb);
}

#[tokio::test]
async fn a_directory_that_lost_its_data_is_not_taken_for_a_new_one() {
    for kind in EngineKind::ALL {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let (_directory, engine) = Directory::open(folder.path(), Some(kind), ENGINE).unwrap();
            Fixture::on(engine).close();
        }
        std::fs::remove_dir_all(folder.path().join(kind.name())).unwrap();
        let lost = Directory::open(folder.path(), Some(kind), ENGINE).map(drop);
        assert!(matches!(lost, Err(DirectoryError::Lost { .. })), "{kind}: {lost:?}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Directory::open(&file, None, ENGINE).map(drop).unwrap_err();
    assert!(matches!(error, DirectoryError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file"), "{error}");
}

/// A retirement takes the older tombstone out of the log. Until it is durable a crash may bring that one back, so no page
/// may say that there was nothing at its place.
#[tokio::test]
async fn a_page_of_the_feed_waits_for_what_took_a_fact_away() {
    let (engine, gate) = gated();
    let store = Fixture::on(Arc::clone(&engine) as Arc<dyn Engine>);
    let retire = || store.projections.retire(&store.tenant, artifact("spec"), Expectation::Any);
    store.accept(draft("spec", "t-1", "draft")).await;
    retire().await.unwrap();
    store.accept(draft("spec", "t-2", "draft")).await;
    let start = Position { sequence: 0, ..store.projections.position() };
    gate.close();
    let reading = async {
        while engine.get(Table::Log, &layout::log(4)).unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let page = store.facts(start);
        let early = tokio::time::timeout(Duration::from_millis(50), page).await;
        gate.open();
        assert!(early.is_err(), "{early:?}");
    };
    let all = async { tokio::join!(retire(), reading) };
    let (retired, ()) = tokio::time::timeout(Duration::from_secs(60), all).await.expect("the gate was opened");
    assert!(retired.is_ok());
    let page = store.facts(start).await.unwrap();
    assert_eq!(page.facts.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(page.up_to, 4);
}

/// As where time is simulated: what waits shares a sync, and what was acknowledged is on the disk.
#[tokio::test]
async fn the_writer_runs_as_tasks_too() {
    let (disk, syncs) = (Memory::new(), Arc::new(AtomicU64::new(0)));
    let now = Arc::new(AtomicU64::new(START));
    let fresh = StoredIdentity { node: NodeId::new(7), incarnation: 9 };
    let options = options(&now, &Arc::new(AtomicU64::new(u64::MAX)));
    let (projections, writer) = Projections::open(Arc::new(disk.clone()), fresh, &options).unwrap();
    let counted = Arc::clone(&syncs);
    let writing = tokio::spawn(writer.run_as_tasks(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20))
    }));
    let tenant = TenantId::parse("acme").unwrap();
    let mut enqueued = Vec::new();
    for at in 0..64 {
        let posts = vec![post(draft("a", &format!("t-{at}"), "new"))];
        enqueued.push(projections.enqueue(&tenant, posts, &Series::default()).await.unwrap());
    }
    for enqueued in enqueued {
        assert!(enqueued.outcomes().await.iter().all(Result::is_ok));
    }
    assert!((1..=3).contains(&syncs.load(Ordering::SeqCst)), "{syncs:?}");
    disk.crash();
    assert_eq!(projections.fingerprint().unwrap().count, 64);
    drop(projections);
    writing.await.unwrap();
}
