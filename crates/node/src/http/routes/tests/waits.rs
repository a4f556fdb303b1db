use super::*;

#[tokio::test]
async fn a_wait_ends_when_the_token_changes() {
    let node = Arc::new(Node::new());
    let token = node.accept("a", "t-1", "s").await;
    let waiting = tokio::spawn({
        let node = Arc::clone(&node);
        let call = get("/projections/a/cursor").header("prefer", "wait=500").header("if-none-match", &quoted(&token));
        async move { node.send(call).await }
    });
    node.accept("b", "t-2", "s").await;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let later = node.accept("a", "t-3", "s").await;
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.text("committed_version")), (200, later));
    assert_eq!(answer.header("preference-applied"), "wait=60");
}

#[tokio::test]
async fn a_wait_ends_when_the_artifact_is_retired() {
    let node = Arc::new(Node::new());
    node.accept("a", "t-1", "s").await;
    let waiting = tokio::spawn({
        let node = Arc::clone(&node);
        let call = get("/projections/a/cursor").header("prefer", "wait=60").header("if-none-match", "*");
        async move { node.send(call).await }
    });
    node.send(Call::new(Method::DELETE, "/projections/a")).await;
    waiting.await.unwrap().problem("not-projected");
}

#[tokio::test]
async fn a_wait_ends_in_time() {
    let node = Node::new();
    let token = node.accept("a", "t-1", "s").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let call = get("/projections/a/cursor").header("prefer", "wait=7").header("if-none-match", &quoted(&token));
    let answer = node.send(call).await;
    assert_eq!((answer.status.as_u16(), began.elapsed().as_secs()), (304, 7));
    assert_eq!((answer.header("etag"), answer.header("preference-applied")), (&*quoted(&token), "wait=7"));

    let answer = node.send(get("/projections/a/cursor?contains=t-2").header("prefer", "wait=3")).await;
    assert_eq!((answer.status.as_u16(), began.elapsed().as_secs()), (504, 10));
    answer.problem("not-yet-replicated");
    assert_eq!(answer.header("preference-applied"), "wait=3");
    let unknown = node.send(get("/projections/unknown/cursor?contains=t-1").header("prefer", "wait=3")).await;
    unknown.problem("not-yet-replicated");
}

#[tokio::test]
async fn nothing_is_waited_for_that_is_there() {
    let node = Node::new();
    let token = node.accept("a", "t-1", "s").await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let waiting = |uri: &str| get(uri).header("prefer", "wait=9");
    assert_eq!(node.send(waiting("/projections/a/cursor")).await.status, 200);
    assert_eq!(node.send(waiting("/projections/a/cursor?contains=t-1")).await.status, 200);
    let held = waiting("/projections/a/cursor?contains=t-1").header("if-none-match", &quoted(&token));
    assert_eq!(node.send(held).await.status, 304);
    node.send(waiting("/projections/b/cursor").header("if-none-match", "\"x\"")).await.problem("not-projected");
    node.send(get("/projections/a/cursor?contains=t-2")).await.problem("not-yet-replicated");
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_write_of_another_region_is_awaited() {
    let node = Arc::new(Node::new());
    let waiting = tokio::spawn({
        let node = Arc::clone(&node);
        let call = get("/projections/a/cursor?contains=t-2").header("prefer", "wait=60");
        async move { node.send(call).await }
    });
    node.accept("a", "t-1", "s").await;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    let token = node.accept("a", "t-2", "s").await;
    assert_eq!(waiting.await.unwrap().text("committed_version"), token);
    node.send(Call::new(Method::DELETE, "/projections/a")).await;
    node.send(get("/projections/a/cursor?contains=t-2")).await.problem("not-projected");
}

#[tokio::test]
async fn a_node_that_stops_ends_waits() {
    let node = Node::new();
    let token = node.accept("a", "t-1", "s").await;
    let held = get("/projections/a/cursor").header("prefer", "wait=60").header("if-none-match", &quoted(&token));
    let missing = get("/projections/a/cursor?contains=t-2").header("prefer", "wait=60");
    let stop = async {
        tokio::task::yield_now().await;
        node.stop.send(true).unwrap();
    };
    let (held, missing, ()) = tokio::join!(node.send(held), node.send(missing), stop);
    assert_eq!(held.status, 304);
    missing.problem("not-ready");
}

#[tokio::test]
async fn waits_have_a_bound() {
    let node = Node::new();
    let places: Vec<_> = std::iter::from_fn(|| node.app.bounds().waits.enter().ok()).collect();
    assert_eq!(places.len(), 10_000);
    let call = || get("/projections/a/cursor?contains=t").header("prefer", "wait=1");
    let answer = node.send(call()).await;
    assert_eq!(answer.status, 503);
    answer.problem("overloaded");
    drop(places);
    node.send(call().header("prefer", "wait=0")).await.problem("not-yet-replicated");
}
