//! What readers see.

use super::*;

#[tokio::test]
async fn a_page_of_history_goes_on_where_the_last_ended() {
    let store = Fixture::memory();
    for at in 0..5 {
        store.accept(draft("spec", &format!("t-{at}"), "x")).await;
    }
    store.accept(draft("spec2", "other", "x")).await;
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = store.projections.history(&store.tenant, &artifact("spec"), before, 2).await.unwrap().unwrap();
        seen.extend(page.items.iter().map(|past| past.transition.id.to_string()));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["t-4", "t-3", "t-2", "t-1", "t-0"]);
}

#[tokio::test]
async fn history_ends_at_the_tombstone() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "x")).await;
    store.projections.retire(&store.tenant, artifact("spec"), Expectation::Any).await.unwrap();
    assert_eq!(store.projections.history(&store.tenant, &artifact("spec"), None, 9).await.unwrap(), None);
    store.accept(draft("spec", "t-2", "x")).await;
    let page = store.projections.history(&store.tenant, &artifact("spec"), None, 9).await.unwrap().unwrap();
    assert_eq!(page.items.len(), 1);
}

#[tokio::test]
async fn a_list_is_ordered_filtered_and_paged() {
    let store = Fixture::memory();
    for (at, id) in ["c", "a", "b", "d"].into_iter().enumerate() {
        store.accept(draft(id, &format!("t-{id}"), if at % 2 == 0 { "even" } else { "odd" })).await;
    }
    let list = async |status: Option<&str>, after: Option<&str>, limit| {
        let status = status.map(|status| Status::parse(status).unwrap());
        let after = after.map(artifact);
        let page = store.projections.list(&store.tenant, status.as_ref(), after.as_ref(), limit).await.unwrap();
        let names: Vec<_> = page.items.iter().map(|summary| summary.artifact.to_string()).collect();
        (names.concat(), page.next.map(|next| next.to_string()))
    };
    assert_eq!(list(None, None, 2).await, ("ab".into(), Some("b".into())));
    assert_eq!(list(None, Some("b"), 2).await, ("cd".into(), None));
    assert_eq!(list(Some("odd"), None, 9).await, ("ad".into(), None));
}

#[tokio::test]
async fn the_feed_names_each_artifact_at_its_latest_change() {
    let store = Fixture::memory();
    let start = store.projections.position();
    for (id, at) in [("a", 1), ("b", 2), ("a", 3)] {
        store.accept(draft(id, &format!("t-{at}"), "x")).await;
    }
    let other = TenantId::parse("other").unwrap();
    store.projections.submit(&other, post(draft("secret", "t-1", "x"))).await.unwrap();
    let changes = store.projections.changes(&store.tenant, start).await.unwrap();
    let names: Vec<_> = changes.artifacts.iter().map(|(artifact, _)| artifact.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(changes.next, store.projections.position());
    let (_, after_b) = changes.artifacts[0];
    let rest = store.projections.changes(&store.tenant, after_b).await.unwrap();
    assert_eq!(rest.artifacts.len(), 1);
}

#[tokio::test]
async fn only_positions_of_this_feed_are_known() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "x")).await;
    let here = store.projections.position();
    assert!(store.projections.knows(here));
    for other in [
        Position { sequence: here.sequence + 1, ..here },
        Position { incarnation: here.incarnation + 1, ..here },
        Position { node: NodeId::new(1), ..here },
    ] {
        assert!(!store.projections.knows(other), "{other}");
    }
}

#[tokio::test]
async fn a_bell_rings_when_the_artifact_changes() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "x")).await;
    let spec = artifact("spec");
    let bell = store.projections.bell(&store.tenant, &spec).notified();
    let before = store.token("spec").await;
    store.accept(draft("spec", "t-2", "y")).await;
    bell.await;
    assert_ne!(store.token("spec").await, before);
}

#[tokio::test]
async fn a_cursor_is_the_same_from_memory_and_from_the_disk() {
    let engine = Arc::new(Memory::new());
    let store = Fixture::with(Arc::clone(&engine) as Arc<dyn Engine>, |options| options.cursor_cache_bytes = 4_096);
    for at in 0..200 {
        store.accept(draft(&format!("a-{at}"), &format!("t-{at}"), "x")).await;
    }
    for at in 0..200 {
        let id = format!("a-{at}");
        let whole = store.projections.projection(&store.tenant, &artifact(&id)).await.unwrap().unwrap();
        assert_eq!(store.token(&id).await, Some(whole.token));
    }
}

/// A whole projection is one exact state: its refs are always those of its token, however fast they change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_projection_is_never_torn() {
    let store = Arc::new(Fixture::memory());
    let writing = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for at in 0..300 {
                let opened =
                    with_refs(draft("spec", &format!("t-{at}"), &format!("s-{at}")), vec![pending(&at.to_string())]);
                store.accept(opened).await;
            }
        }
    });
    while !writing.is_finished() {
        match store.projections.projection(&store.tenant, &artifact("spec")).await {
            Ok(Some(whole)) => {
                let written: usize = whole.winner.status.as_str()[2..].parse().unwrap();
                assert_eq!(whole.refs.len(), written + 1);
            }
            Ok(None) => {}
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}
