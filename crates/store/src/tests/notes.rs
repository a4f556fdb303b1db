//! Notes and the fence.

use super::*;
use crate::notes::Fence;

#[tokio::test]
async fn a_note_outlives_a_crash() {
    let engine = Memory::new();
    let store = Fixture::on(Arc::new(engine.clone()));
    assert_eq!(store.projections.note("roster").unwrap(), None);
    store.projections.set_note("roster", b"one".to_vec()).await.unwrap();
    store.projections.set_note("roster", b"two".to_vec()).await.unwrap();
    store.close();
    engine.crash();
    let store = Fixture::on(Arc::new(engine));
    assert_eq!(store.projections.note("roster").unwrap().as_deref(), Some(&b"two"[..]));
    store.close();
}

#[tokio::test]
async fn a_fence_keeps_clients_out_and_lets_them_in_again() {
    let store = Fixture::memory();
    store.projections.set_fence(Some(Fence::Clock));
    let refused = store.post(draft("a", "t", "s")).await;
    assert!(matches!(refused, Err(WriteError::Fenced(Fence::Clock))), "{refused:?}");
    store.projections.set_fence(None);
    store.post(draft("a", "t", "s")).await.unwrap();
    store.close();
}
