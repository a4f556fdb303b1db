use super::*;

#[tokio::test]
async fn a_cursor_is_the_token() {
    let node = Node::new();
    node.send(get("/projections/a/cursor")).await.problem("not-projected");
    let token = node.accept("a \"b\"/ü", "t-1", "s").await;
    let uri = "/projections/a%20%22b%22%2F%C3%BC/cursor";
    let answer = node.send(get(uri)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"artifact_id": "a \"b\"/ü", "committed_version": token, "updated_at": &token[..35]}),
    );
    assert_eq!(answer.header("etag"), quoted(&token));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "private, no-cache");
    let _: plimsoll_wire::http::v1::Cursor = serde_json::from_slice(&answer.body).unwrap();

    for held in [quoted(&token), format!("W/{}", quoted(&token)), "*".to_owned()] {
        let answer = node.send(get(uri).header("if-none-match", &held)).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{held}");
        assert_eq!(answer.header("etag"), quoted(&token));
    }
    let later = node.accept("a \"b\"/ü", "t-2", "s").await;
    let answer = node.send(get(uri).header("if-none-match", &quoted(&token))).await;
    assert_eq!((answer.status.as_u16(), answer.text("committed_version")), (200, later));
    node.send(get(uri).header("if-none-match", &token)).await.problem("bad-request");
}

#[tokio::test]
async fn an_artifact_named_like_a_route_is_reached_encoded() {
    let node = Node::new();
    for name in ["changes", "cursors", "transitions"] {
        node.accept(name, name, "s").await;
        let encoded = format!("/projections/%{:02X}{}", name.as_bytes()[0], &name[1..]);
        for uri in [
            encoded.clone(),
            format!("{encoded}/cursor"),
            format!("{encoded}/transitions"),
            format!("/projections/{name}/cursor"),
            format!("/projections/{name}/transitions"),
        ] {
            assert_eq!(node.send(get(&uri)).await.status, 200, "{uri}");
        }
        assert_eq!(node.send(get(&encoded)).await.text("artifact_id"), name);
        assert_eq!(node.send(Call::new(Method::DELETE, &encoded)).await.status, 204);
    }
    let answer = node.send(get("/projections/transitions")).await;
    answer.problem("method-not-allowed");
    assert_eq!(answer.header("allow"), "POST");
}

#[tokio::test]
async fn a_path_or_query_that_cannot_be_read_is_refused() {
    let node = Node::new();
    node.accept("a", "t", "s").await;
    for (uri, status, problem, field) in [
        ("/projections/%/cursor", 400, "bad-request", Some("artifact_id")),
        ("/projections/%ff", 400, "bad-request", Some("artifact_id")),
        ("/projections/%ff/transitions", 400, "bad-request", Some("artifact_id")),
        ("/projections/%00/cursor", 422, "invalid-field", Some("artifact_id")),
        ("/projections/a?x=1", 400, "bad-request", Some("x")),
        ("/projections/a/cursor?x=1", 400, "bad-request", Some("x")),
        ("/projections/a/cursor?contains=%C3%A9", 400, "bad-request", Some("contains")),
        ("/projections/a/cursor?contains=", 400, "bad-request", Some("contains")),
        ("/projections/a/transitions?limit=0", 400, "bad-request", Some("limit")),
        ("/projections/a/transitions?page=p61", 400, "bad-request", Some("page")),
        ("/projections/a/transitions?status=s", 400, "bad-request", Some("status")),
        ("/projections?limit=1001", 400, "bad-request", Some("limit")),
        ("/projections?limit=ten", 400, "bad-request", Some("limit")),
        ("/projections?page=x", 400, "bad-request", Some("page")),
        ("/projections?status=", 400, "bad-request", Some("status")),
        ("/projections?status=s&status=s", 400, "bad-request", Some("status")),
        ("/projections?%ff=1", 400, "bad-request", None),
        ("/projections/changes?last_event_id=x", 400, "bad-request", Some("last_event_id")),
        ("/projections//cursor", 422, "invalid-field", Some("artifact_id")),
        ("/projections/", 404, "no-such-route", None),
        ("/projections/a/b", 404, "no-such-route", None),
    ] {
        let answer = node.send(get(uri)).await;
        assert_eq!(answer.status, status, "{uri}: {answer:?}");
        assert_eq!(answer.problem(problem).as_deref(), field, "{uri}");
    }
}

#[tokio::test]
async fn a_projection_is_whole() {
    let node = Node::new();
    let mut body = transition_of("a", "t-1", "draft");
    body["produced_refs"] = json!([pending("k-2"), pending("k-1")]);
    node.post(&body).await;
    let mut body = transition_of("a", "t-2", "done");
    body["produced_refs"] = json!([resolved("k-2", 5)]);
    let token = node.post(&body).await.text("committed_version");
    let answer = node.send(get("/projections/a")).await;
    assert_eq!(
        answer.json(),
        json!({"artifact_id": "a", "status": "done", "transition_id": "t-2", "committed_version": token,
            "produced_refs": [pending("k-1"), resolved("k-2", 5)], "updated_at": &token[..35]}),
    );
    assert_eq!(answer.header("etag"), quoted(&token));
    let held = node.send(get("/projections/a").header("if-none-match", &quoted(&token))).await;
    assert_eq!((held.status.as_u16(), held.header("etag")), (304, &*quoted(&token)));
    let head = node.send(Call::new(Method::HEAD, "/projections/a")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

/// Follows `next` to the end.
async fn all(node: &Node, uri: &str, field: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut page = String::new();
    loop {
        let answer = node.send(get(&format!("{uri}{page}"))).await.json();
        all.extend(answer["items"].as_array().unwrap().iter().map(|item| item[field].as_str().unwrap().to_owned()));
        match &answer["next"] {
            Value::Null => return all,
            next => page = format!("&page={}", next.as_str().unwrap()),
        }
    }
}

#[tokio::test]
async fn a_history_is_newest_first() {
    let node = Node::new();
    for number in 10..60 {
        node.accept("a", &format!("t-{number}"), "s").await;
    }
    let expected: Vec<String> = (10..60).rev().map(|number| format!("t-{number}")).collect();
    for limit in [1, 7, 16, 17, 50, 1000] {
        let found = all(&node, &format!("/projections/a/transitions?limit={limit}"), "transition_id").await;
        assert_eq!(found, expected, "{limit}");
    }
    let first = node.send(get("/projections/a/transitions?limit=20")).await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 20);
    assert_eq!(first["items"][0]["status"], "s");
    assert_eq!(first["items"][0]["stamp"].as_str().unwrap().len(), 52);
}

#[tokio::test]
async fn a_list_is_ordered_and_filtered() {
    let node = Node::new();
    for (artifact, status) in [("b", "x"), ("a/é", "y"), ("c", "x"), ("a", "y"), ("Z", "x")] {
        node.accept(artifact, artifact.trim_end_matches("é"), status).await;
    }
    for limit in [1, 2, 5, 6] {
        let found = all(&node, &format!("/projections?limit={limit}"), "artifact_id").await;
        assert_eq!(found, ["Z", "a", "a/é", "b", "c"], "{limit}");
        let found = all(&node, &format!("/projections?status=x&limit={limit}"), "artifact_id").await;
        assert_eq!(found, ["Z", "b", "c"], "{limit}");
    }
    let page = node.send(get("/projections?status=none")).await;
    assert_eq!(page.json(), json!({"items": [], "next": null}));
}

#[tokio::test]
async fn cursors_come_in_bulk() {
    let node = Node::new();
    let token = node.accept("a", "t", "s").await;
    let ask = |body: Value| {
        Call::new(Method::POST, "/projections/cursors")
            .header("content-type", "application/json")
            .body(body.to_string())
    };
    let answer = node.send(ask(json!({"artifact_ids": ["a", "b", "a"]}))).await;
    let expected = json!({"a": {"committed_version": token, "updated_at": &token[..35]}, "b": null});
    assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"cursors": expected})));
    let ids: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    assert_eq!(node.send(ask(json!({"artifact_ids": ids[1..]}))).await.status, 200);
    for (body, field) in [
        (json!({"artifact_ids": ids}), "artifact_ids"),
        (json!({"artifact_ids": ["a", ""]}), "artifact_ids[1]"),
        (json!({"artifact_ids": ["a", 1]}), "artifact_ids[1]"),
        (json!({}), "artifact_ids"),
        (json!({"artifact_ids": [], "more": 1}), "more"),
    ] {
        let answer = node.send(ask(body)).await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.problem("invalid-field").as_deref(), Some(field));
    }
}
