//! What a post, a retry and a retirement come to.

use super::*;
use crate::writer::Series;

#[tokio::test]
async fn a_retry_changes_nothing() {
    let store = Fixture::memory();
    let first = store.accept(draft("spec", "t-1", "draft")).await;
    store.accept(draft("spec", "t-2", "in_review")).await;
    let before = store.token("spec").await;
    let retry = store.accept(draft("spec", "t-1", "draft")).await;
    assert!(!first.repeated && retry.repeated);
    assert_eq!(Some(retry.token), before);
    assert_eq!(store.token("spec").await, before);
}

#[tokio::test]
async fn a_retry_with_other_content_is_refused_also_under_another_artifact() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "draft")).await;
    for other in [draft("spec", "t-1", "merged"), draft("other", "t-1", "draft")] {
        let refused = store.post(other).await;
        assert!(matches!(refused, Err(WriteError::Refused(Refusal::TransitionConflict))), "{refused:?}");
    }
    assert_eq!(store.token("other").await, None);
}

#[tokio::test]
async fn a_resolved_ref_needs_its_pending_one() {
    let store = Fixture::memory();
    let resolve = |id: &str, number| with_refs(draft("spec", id, "merged"), vec![resolved("k", number)]);
    let refused = store.post(resolve("t-1", 1)).await;
    assert!(matches!(refused, Err(WriteError::Refused(Refusal::UnknownPendingRef { .. }))), "{refused:?}");
    assert_eq!(store.token("spec").await, None);
    store.accept(with_refs(draft("spec", "t-2", "in_review"), vec![pending("k")])).await;
    store.accept(resolve("t-3", 1)).await;
    store.accept(resolve("t-4", 1)).await;
    let refused = store.post(resolve("t-5", 2)).await;
    assert!(matches!(refused, Err(WriteError::Refused(Refusal::ResolvedRefConflict { .. }))), "{refused:?}");
    store.accept(with_refs(draft("one", "t-6", "merged"), vec![pending("k"), resolved("k", 3)])).await;
}

#[tokio::test]
async fn posts_of_one_batch_see_the_ones_before_them() {
    let store = Fixture::memory();
    let posts = vec![
        post(with_refs(draft("spec", "t-1", "in_review"), vec![pending("k")])),
        post(with_refs(draft("spec", "t-2", "merged"), vec![resolved("k", 1)])),
        post(draft("spec", "t-1", "other")),
        post(with_refs(draft("spec", "t-2", "merged"), vec![resolved("k", 1)])),
    ];
    let enqueued = store.projections.enqueue(&store.tenant, posts, &Series::default()).await.unwrap();
    let outcomes = enqueued.outcomes().await;
    assert!(matches!(outcomes[0], Ok(Accepted { repeated: false, .. })));
    assert!(matches!(outcomes[1], Ok(Accepted { repeated: false, .. })));
    assert!(matches!(outcomes[2], Err(WriteError::Refused(Refusal::TransitionConflict))));
    assert!(matches!(outcomes[3], Ok(Accepted { repeated: true, .. })));
}

#[tokio::test]
async fn the_new_stamp_is_greater_than_the_one_the_emitter_saw() {
    let store = Fixture::memory();
    let seen = "2026-04-22T18:04:11.400000000+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
    let after = Draft { committed_version: Some(seen.into()), ..draft("spec", "t-1", "draft") };
    let accepted = store.accept(after).await;
    assert!(accepted.token.stamp > Token::parse(seen).unwrap().stamp);
}

#[tokio::test]
async fn a_token_from_the_future_is_refused_and_moves_no_clock() {
    let store = Fixture::memory();
    let future = "2026-04-22T18:04:11.500000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
    let from_the_future = Draft { committed_version: Some(future.into()), ..draft("spec", "t-1", "draft") };
    let refused = store.post(from_the_future).await;
    assert!(matches!(refused, Err(WriteError::FromTheFuture(_))), "{refused:?}");
    let accepted = store.accept(draft("spec", "t-1", "draft")).await;
    assert_eq!(accepted.token.stamp.time.get(), START);
}

#[tokio::test]
async fn an_expectation_that_does_not_hold_is_refused() {
    let store = Fixture::memory();
    let first = store.accept(draft("spec", "t-1", "draft")).await;
    let expecting = |id: &str, expectation| {
        let submission = Submission::parse(draft("spec", id, "in_review")).unwrap();
        store.projections.submit(&store.tenant, Post { submission, expectation })
    };
    let second = expecting("t-2", Expectation::OneOf(vec![first.token])).await.unwrap();
    let stale = expecting("t-3", Expectation::OneOf(vec![first.token])).await;
    assert!(matches!(stale, Err(WriteError::Refused(Refusal::Moved { token })) if token == Some(second.token)));
    assert!(expecting("t-3", Expectation::Absent).await.is_err());
    assert!(expecting("t-2", Expectation::OneOf(vec![first.token])).await.unwrap().repeated);
    expecting("t-3", Expectation::Present).await.unwrap();
}

#[tokio::test]
async fn a_retired_artifact_is_gone_until_a_new_transition_brings_it_back() {
    let store = Fixture::memory();
    let nothing = store.projections.retire(&store.tenant, artifact("spec"), Expectation::Any).await;
    assert!(matches!(nothing, Err(WriteError::NotProjected)));
    let opened = with_refs(draft("spec", "t-1", "in_review"), vec![pending("k")]);
    store.accept(opened.clone()).await;
    store.projections.retire(&store.tenant, artifact("spec"), Expectation::Any).await.unwrap();
    assert_eq!(store.token("spec").await, None);
    assert!(store.accept(opened).await.repeated);
    assert_eq!(store.token("spec").await, None, "a retry brings nothing back");
    let refused = store.post(with_refs(draft("spec", "t-2", "merged"), vec![resolved("k", 1)])).await;
    assert!(matches!(refused, Err(WriteError::Refused(Refusal::UnknownPendingRef { .. }))), "{refused:?}");
    store.accept(draft("spec", "t-3", "draft")).await;
    let whole = store.projections.projection(&store.tenant, &artifact("spec")).await.unwrap().unwrap();
    assert_eq!((whole.winner.status.as_str(), whole.refs.len()), ("draft", 0));
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "draft")).await;
    let other = TenantId::parse("acm").unwrap();
    assert_eq!(store.projections.cursor(&other, &artifact("spec")).await.unwrap(), None);
    assert!(
        !store.projections.contains(&other, &artifact("spec"), &TransitionId::parse("t-1").unwrap()).await.unwrap()
    );
    let accepted = store.projections.submit(&other, post(draft("spec", "t-1", "other"))).await.unwrap();
    assert!(!accepted.repeated, "a transition id belongs to its tenant");
    assert_eq!(store.projections.list(&other, None, None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_tenant_stops_at_its_quota_and_no_other_does() {
    let store = Fixture::with(Arc::new(Memory::new()), |options| options.tenant_facts_max = 2);
    store.accept(draft("spec", "t-1", "a")).await;
    store.accept(draft("spec", "t-2", "b")).await;
    let refused = store.post(draft("spec", "t-3", "c")).await;
    assert!(matches!(refused, Err(WriteError::QuotaExceeded { limit: 2, .. })), "{refused:?}");
    assert!(store.accept(draft("spec", "t-2", "b")).await.repeated, "a retry needs no room");
    let other = TenantId::parse("other").unwrap();
    store.projections.submit(&other, post(draft("spec", "t-3", "c"))).await.unwrap();
    assert_eq!(store.projections.usage(&store.tenant).unwrap().facts, 2);
}

#[tokio::test]
async fn an_artifact_at_its_bound_of_refs_still_resolves_them() {
    let store = Fixture::memory();
    let keys: Vec<String> = (0..crate::ARTIFACT_REFS_MAX).map(|at| format!("k-{at}")).collect();
    let mut posts = keys.chunks(250).enumerate().map(|(at, keys)| {
        post(with_refs(draft("spec", &format!("t-{at}"), "a"), keys.iter().map(|key| pending(key)).collect()))
    });
    let series = Series::default();
    let enqueued = store.projections.enqueue(&store.tenant, posts.by_ref().collect(), &series).await.unwrap();
    assert!(enqueued.outcomes().await.iter().all(Result::is_ok));
    let refused = store.post(with_refs(draft("spec", "more", "a"), vec![pending("more")])).await;
    assert!(matches!(refused, Err(WriteError::QuotaExceeded { .. })), "{refused:?}");
    store.accept(with_refs(draft("spec", "done", "b"), vec![pending("k-7"), resolved("k-7", 7)])).await;
}

#[tokio::test]
async fn a_full_disk_breaks_a_series_off() {
    let store = Fixture::memory();
    let series = Series::default();
    let send = async |id: &str| {
        let posts = vec![post(draft("spec", id, "a")), post(draft("spec", &format!("{id}+"), "a"))];
        store.projections.enqueue(&store.tenant, posts, &series).await.unwrap().outcomes().await
    };
    assert!(send("t-1").await.iter().all(Result::is_ok));
    store.free.store(0, Ordering::SeqCst);
    store.now.fetch_add(1_000_000_000, Ordering::SeqCst);
    let refused = send("t-2").await;
    assert!(matches!(refused[0], Err(WriteError::DiskFull { .. })), "{refused:?}");
    assert!(matches!(refused[1], Err(WriteError::Overloaded { .. })), "{refused:?}");
    store.free.store(u64::MAX, Ordering::SeqCst);
    let later = send("t-3").await;
    assert!(later.iter().all(|outcome| matches!(outcome, Err(WriteError::Overloaded { .. }))), "{later:?}");
    store.accept(draft("spec", "t-2", "a")).await;
}

#[tokio::test]
async fn tombstones_do_not_pile_up() {
    let store = Fixture::memory();
    for at in 0..3 {
        store.accept(draft("spec", &format!("t-{at}"), "a")).await;
        store.projections.retire(&store.tenant, artifact("spec"), Expectation::Any).await.unwrap();
    }
    let log = packs::log_of(&store);
    assert_eq!(log.last().map(|(sequence, _)| *sequence), Some(6));
    let tombstones = log.iter().filter(|(_, fact)| fact.transition().is_none());
    assert_eq!(tombstones.count(), 1);
}

#[tokio::test]
async fn a_full_disk_refuses_writes_until_there_is_room() {
    let store = Fixture::memory();
    store.accept(draft("spec", "t-1", "a")).await;
    store.free.store(0, Ordering::SeqCst);
    store.now.fetch_add(1_000_000_000, Ordering::SeqCst);
    let refused = store.post(draft("spec", "t-2", "b")).await;
    assert!(matches!(refused, Err(WriteError::DiskFull { .. })), "{refused:?}");
    assert!(store.token("spec").await.is_some(), "reads go on");
    assert!(store.accept(draft("spec", "t-1", "a")).await.repeated, "a retry needs no room");
    store.free.store(u64::MAX, Ordering::SeqCst);
    store.accept(draft("spec", "t-2", "b")).await;
}
