//! Formats of the data directory.

use plimsoll_wire::record::v1;

use super::*;
use crate::engine::{Batch, Table};
use crate::format::{CURRENT, FormatError, Run, migrate};
use crate::layout;

fn set_format(engine: &Memory, number: u64) {
    let mut batch = Batch::default();
    batch.put(Table::Meta, layout::FORMAT.to_vec(), v1::encode_number(number));
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let engine = Memory::new();
    Fixture::on(Arc::new(engine.clone())).close();
    set_format(&engine, CURRENT + 1);
    let fresh = StoredIdentity { node: NodeId::new(1), incarnation: 1 };
    let (now, free) = (Arc::default(), Arc::default());
    let opened = Projections::open(Arc::new(engine.clone()), fresh, &options(&now, &free)).map(drop);
    assert!(matches!(opened, Err(FormatError::Newer { found }) if found == CURRENT + 1), "{opened:?}");
    assert!(migrate(&engine, Run::Real).is_err());
}

#[tokio::test]
async fn an_older_format_is_read_and_not_written_until_it_is_migrated() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    store.accept(draft("spec", "t-1", "a")).await;
    let usage = store.projections.usage(&store.tenant).unwrap();
    let tenant = store.tenant.clone();
    store.close();
    packs::as_of_version_1(&engine, &tenant, &artifact("spec"));
    let mut batch = Batch::default();
    batch.remove(Table::Meta, layout::usage(&tenant));
    engine.commit(batch).unwrap();
    set_format(&engine, 1);

    let store = Fixture::on(Arc::new(engine.clone()));
    assert!(store.projections.format().is_old());
    assert!(store.projections.summary().is_none(), "what is not written is not compared");
    assert!(store.token("spec").await.is_some());
    let refused = store.post(draft("spec", "t-2", "b")).await;
    assert!(matches!(refused, Err(WriteError::MigrationPending { found: 1, current: CURRENT })), "{refused:?}");
    store.close();

    let dry = migrate(&engine, Run::Dry).unwrap();
    assert_eq!((dry.from, dry.to, dry.facts, dry.rows), (1, CURRENT, 1, 5));
    assert_eq!(migrate(&engine, Run::Dry).unwrap(), dry, "a dry run writes nothing");
    assert_eq!(migrate(&engine, Run::Real).unwrap(), dry);
    assert_eq!(migrate(&engine, Run::Real).unwrap().rows, 0, "there is nothing left to do");
    let store = Fixture::on(Arc::new(engine));
    assert_eq!(store.projections.usage(&store.tenant).unwrap(), usage);
    reconciling::check(&store);
    store.accept(draft("spec", "t-2", "b")).await;
}

#[tokio::test]
async fn data_without_a_label_is_damaged() {
    let engine = Memory::new();
    let mut batch = Batch::default();
    batch.put(Table::Log, layout::log(1), vec![1]);
    engine.commit(batch).unwrap();
    engine.sync().unwrap();
    let fresh = StoredIdentity { node: NodeId::new(1), incarnation: 1 };
    let (now, free) = (Arc::default(), Arc::default());
    let opened = Projections::open(Arc::new(engine), fresh, &options(&now, &free)).map(drop);
    assert!(matches!(opened, Err(FormatError::Unlabelled)), "{opened:?}");
}
