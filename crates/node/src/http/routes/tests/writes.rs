use super::*;

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[tokio::test]
async fn a_transition_is_accepted_once() {
    let node = Node::new();
    let body = with(transition_of("a/b", "t-1", "draft"), "produced_refs", json!([pending("k-1"), pending("k-0")]));
    let first = node.post(&body).await;
    assert_eq!(first.status, 201);
    assert_eq!(first.header("content-type"), "application/json");
    let token = first.text("committed_version");
    assert_eq!(first.header("etag"), quoted(&token));
    let expected = json!({"artifact_id": "a/b", "transition_id": "t-1", "committed_version": token,
        "updated_at": &token[..35]});
    assert_eq!(first.json(), expected);

    let reordered = with(body.clone(), "produced_refs", json!([pending("k-0"), pending("k-1")]));
    let again = node.post(&with(reordered, "committed_version", json!(token))).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, expected));

    let later = node.accept("a/b", "t-2", "done").await;
    let stale = node.post(&body).await;
    assert_eq!((stale.status.as_u16(), stale.text("committed_version")), (200, later), "as the artifact stands now");
}

#[tokio::test]
async fn what_contradicts_what_is_known_is_refused() {
    let node = Node::new();
    let of = |id: &str, refs: Value| with(transition_of("a", id, "draft"), "produced_refs", refs);
    assert_eq!(node.post(&of("t-1", json!([pending("k")]))).await.status, 201);
    assert_eq!(node.post(&of("t-2", json!([resolved("k", 1)]))).await.status, 201);
    assert_eq!(node.post(&of("t-3", json!([resolved("k", 1)]))).await.status, 201, "the same again is no conflict");
    assert_eq!(node.post(&of("t-4", json!([pending("n"), resolved("n", 4)]))).await.status, 201);
    for (id, refs, problem) in [
        ("t-1", json!([pending("other")]), "transition-conflict"),
        ("t-5", json!([resolved("k", 2)]), "resolved-ref-conflict"),
        ("t-5", json!([pending("x"), resolved("unknown", 1)]), "unknown-pending-ref"),
    ] {
        let answer = node.post(&of(id, refs)).await;
        assert_eq!(answer.status, 409);
        answer.problem(problem);
    }
    let other_artifact = with(transition_of("b", "t-6", "draft"), "produced_refs", json!([resolved("k", 1)]));
    node.post(&other_artifact).await.problem("unknown-pending-ref");
    let whole = node.send(get("/projections/a")).await.json();
    assert_eq!(
        whole["produced_refs"],
        json!([resolved("k", 1), resolved("n", 4)]),
        "nothing of a refused one is there"
    );
}

#[tokio::test]
async fn conditions_are_looked_at() {
    let node = Node::new();
    let call = |id: &str, name: &str, value: &str| post(&transition_of("a", id, "s")).header(name, value);
    node.send(call("t-1", "if-match", "*")).await.problem("projection-moved");
    assert_eq!(node.send(call("t-1", "if-none-match", "*")).await.status, 201);
    let moved = node.send(call("t-2", "if-none-match", "*")).await;
    assert_eq!(moved.status, 412);
    moved.problem("projection-moved");
    let token = node.accept("a", "t-3", "s").await;
    node.send(call("t-4", "if-match", &quoted(FUTURE))).await.problem("projection-moved");
    node.send(call("t-4", "if-match", &format!("W/{}", quoted(&token)))).await.problem("projection-moved");
    let matched = format!("{}, {}", quoted(FUTURE), quoted(&token));
    assert_eq!(node.send(call("t-4", "if-match", &matched)).await.status, 201);
    assert_eq!(node.send(call("t-4", "if-match", &matched)).await.status, 200, "a retry is no one else's change");
    for (name, value) in [("if-match", &*token), ("if-none-match", &quoted(&token)), ("plimsoll-ack", "many")] {
        let answer = node.send(call("t-5", name, value)).await;
        assert_eq!(answer.status, 400, "{name}");
        assert_eq!(answer.problem("bad-request").as_deref(), Some(name));
    }
}

#[tokio::test]
async fn more_disks_than_there_are_cannot_be_had() {
    let node = Node::new();
    for count in ["0", "1"] {
        let call = post(&transition_of("a", &format!("t-{count}"), "s")).header("plimsoll-ack", count);
        assert_eq!(node.send(call).await.status, 201);
    }
    for _ in 0..2 {
        let answer = node.send(post(&transition_of("a", "t-2", "s")).header("plimsoll-ack", "2")).await;
        assert_eq!(answer.status, 504);
        answer.problem("under-replicated");
    }
    assert_eq!(node.send(get("/projections/a")).await.text("transition_id"), "t-2", "it stands");
    assert_eq!(node.post(&transition_of("a", "t-2", "s")).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let node = Node::new();
    let good = transition_of("a", "t", "s");
    let typed = |content_type: &str| {
        Call::new(Method::POST, "/projections/transitions").header("content-type", content_type).body(good.to_string())
    };
    let long = with(good.clone(), "status", json!("x".repeat(1 << 20)));
    let announced = || Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    for (call, status, problem, field) in [
        (post_text("{"), 400, "not-json", None),
        (post_text(""), 400, "not-json", None),
        (post_text("[]"), 422, "invalid-field", Some("")),
        (post(&long), 413, "too-large", None),
        (post_text(announced()).header("content-length", "1048577"), 413, "too-large", None),
        (typed("text/plain"), 415, "unsupported-media-type", None),
        (typed("application/json; charset=utf-16"), 415, "unsupported-media-type", None),
        (post(&with(good.clone(), "artifact_id", json!("a\n"))), 422, "invalid-field", Some("artifact_id")),
        (post(&with(good.clone(), "transition_id", json!("é"))), 422, "invalid-field", Some("transition_id")),
        (post(&with(good.clone(), "status", json!(3))), 422, "invalid-field", Some("status")),
        (post(&with(good.clone(), "state", json!("s"))), 422, "invalid-field", Some("state")),
        (
            post(&with(good.clone(), "produced_refs", json!([pending("")]))),
            422,
            "invalid-field",
            Some("produced_refs[0].idempotency_key"),
        ),
        (
            post(&with(good.clone(), "produced_refs", json!([pending("k"), resolved("k", 0)]))),
            422,
            "invalid-field",
            Some("produced_refs[1].number"),
        ),
        (post(&with(good.clone(), "committed_version", json!("v1"))), 422, "invalid-field", Some("committed_version")),
        (
            post(&with(good.clone(), "committed_version", json!(FUTURE))),
            422,
            "invalid-field",
            Some("committed_version"),
        ),
    ] {
        let answer = node.send(call).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.problem(problem).as_deref(), field.filter(|field| !field.is_empty()));
    }
    let uri = Call::new(Method::POST, "/projections/transitions?dry=1").header("content-type", "application/json");
    assert_eq!(node.send(uri.body(good.to_string())).await.problem("bad-request").as_deref(), Some("dry"));
    assert_eq!(node.send(typed("application/json; charset=UTF-8")).await.status, 201);
}

#[tokio::test]
async fn a_refused_token_from_the_future_moves_no_clock() {
    let node = Node::new();
    let before = node.accept("a", "t-1", "s").await;
    node.post(&with(transition_of("a", "t-2", "s"), "committed_version", json!(FUTURE))).await.problem("invalid-field");
    let after = node.accept("a", "t-3", "s").await;
    assert_eq!(before[..19], after[..19]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_up() {
    let (node, _writer) = Node::without_writer(None);
    let never = Body::from_stream(futures_util::stream::pending::<std::io::Result<Bytes>>());
    let answer = node.send(post_text(never)).await;
    assert_eq!(answer.status, 408);
    answer.problem("slow-body");
}

#[tokio::test]
async fn each_route_needs_its_scope() {
    let node = Node::new();
    type Make = Box<dyn Fn() -> Call>;
    let calls: [(&str, Make, &str); 8] = [
        ("post", Box::new(|| post(&transition_of("a", "t", "s"))), WRITE),
        (
            "batch",
            Box::new(|| {
                Call::new(Method::POST, "/projections/transitions/batch").header("content-type", "application/x-ndjson")
            }),
            WRITE,
        ),
        ("cursor", Box::new(|| get("/projections/a/cursor")), READ),
        ("projection", Box::new(|| get("/projections/a")), READ),
        ("history", Box::new(|| get("/projections/a/transitions")), READ),
        ("list", Box::new(|| get("/projections")), READ),
        (
            "cursors",
            Box::new(|| {
                Call::new(Method::POST, "/projections/cursors")
                    .header("content-type", "application/json")
                    .body(r#"{"artifact_ids":[]}"#)
            }),
            READ,
        ),
        ("delete", Box::new(|| Call::new(Method::DELETE, "/projections/a")), WRITE),
    ];
    for (name, call, scope) in calls {
        let wrong = if scope == READ { WRITE } else { READ };
        assert!(node.send(call().token(scope)).await.status.is_success(), "{name}");
        node.send(call().token(wrong)).await.problem("forbidden");
        let unknown = node.send(call().token("Bearer unknown")).await;
        unknown.problem("unauthenticated");
        assert!(unknown.headers.contains_key("www-authenticate"), "{name}");
    }
    node.send(get("/projections/changes").token(WRITE)).await.problem("forbidden");
}

#[tokio::test]
async fn a_tenant_sees_its_own_only() {
    let node = Node::new();
    node.accept("a", "t", "mine").await;
    node.send(get("/projections/a/cursor").token(OTHER)).await.problem("not-projected");
    let theirs = node.send(post(&transition_of("a", "t", "theirs")).token(OTHER)).await;
    assert_eq!(theirs.status, 201, "ids are a tenant's own");
    assert_eq!(node.send(get("/projections/a")).await.text("status"), "mine");
}

#[tokio::test(start_paused = true)]
async fn a_tenant_has_a_rate() {
    let (node, _writer) = Node::without_writer(rate(1, 1));
    node.send(get("/projections/a/cursor")).await.problem("not-projected");
    let answer = node.send(get("/projections/a/cursor")).await;
    assert_eq!(answer.status, 429);
    answer.problem("rate-limited");
}

#[tokio::test]
async fn a_store_that_has_ended_says_so() {
    let (node, writer) = Node::without_writer(None);
    drop(writer);
    let answer = node.post(&transition_of("a", "t", "s")).await;
    assert_eq!(answer.status, 503);
    answer.problem("storage-failed");
}

#[tokio::test]
async fn an_artifact_is_retired_and_comes_back() {
    let node = Node::new();
    let delete = || Call::new(Method::DELETE, "/projections/a%2Fb");
    node.send(delete()).await.problem("not-projected");
    let first = node.accept("a/b", "t-1", "s").await;
    node.send(delete().header("if-match", &quoted(FUTURE))).await.problem("projection-moved");
    node.send(delete().header("if-match", "x")).await.problem("bad-request");
    let answer = node.send(delete().header("if-match", &quoted(&first))).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    for uri in ["/projections/a%2Fb", "/projections/a%2Fb/cursor", "/projections/a%2Fb/transitions"] {
        node.send(get(uri)).await.problem("not-projected");
    }
    assert_eq!(node.send(get("/projections")).await.json()["items"], json!([]));
    assert!(node.accept("a/b", "t-2", "s").await > first);
    assert_eq!(node.send(get("/projections/a%2Fb")).await.status, 200);
}
