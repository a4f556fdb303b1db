//! The contract of `docs/api.md`, told to a real node over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use plimsoll_tests::node::{Node, OTHER_TOKEN, READ_TOKEN, Start, TOKEN};
use plimsoll_tests::trace::{self, pending, resolved, transition};
use serde_json::{Value, json};

fn node() -> (Node, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    (Start::on(data.path()).start().unwrap(), data)
}

#[test]
fn the_real_trace_goes_through_and_reads_back() {
    let (node, _data) = node();
    let lines: String = trace::real().iter().map(|line| format!("{line}\n")).collect();
    let answer = node.post_batch(&lines);
    let statuses: Vec<u64> = answer
        .text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["status"].as_u64().unwrap())
        .collect();
    assert_eq!(statuses, vec![201; 848]);
    let again = node.post_batch(&lines);
    assert!(again.text.lines().all(|line| line.starts_with(r#"{"status":200,"#)), "a retry changes nothing");
    let mut artifacts = 0;
    let mut page = String::new();
    loop {
        let list = node.get(&format!("/projections?limit=20{page}")).json();
        artifacts += list["items"].as_array().unwrap().len();
        let Some(next) = list["next"].as_str() else { break };
        page = format!("&page={next}");
    }
    assert_eq!(artifacts, 87);
    let whole = node.get("/projections/submitqueue%2Fmisc").json();
    assert_eq!(whole["status"], "merged");
    assert_eq!(whole["produced_refs"].as_array().unwrap().len(), 79);
    assert!(whole["produced_refs"].as_array().unwrap().iter().all(|produced| produced["kind"] == "resolved"));
    let cursor = node.get("/projections/submitqueue%2Fmisc/cursor");
    assert_eq!(cursor.json()["committed_version"], whole["committed_version"]);
    assert_eq!(cursor.header("etag"), format!("\"{}\"", whole["committed_version"].as_str().unwrap()));
}

#[test]
fn a_post_is_answered_with_the_four_fields() {
    let (node, _data) = node();
    let post = transition("spec", "t-1", "in_review", &[pending("k")]);
    let first = node.post(&post);
    assert_eq!(first.status, 201, "{first:?}");
    let body = first.json();
    assert_eq!((&body["artifact_id"], &body["transition_id"]), (&json!("spec"), &json!("t-1")));
    let token = body["committed_version"].as_str().unwrap();
    assert_eq!(token.len(), 69);
    assert_eq!(&token[..35], body["updated_at"].as_str().unwrap());
    let retry = node.post(&post);
    assert_eq!((retry.status, retry.json()), (200, body));
}

#[test]
fn each_refusal_has_its_type() {
    let (node, _data) = node();
    let token = node.post(&transition("spec", "t-1", "a", &[pending("k")])).json()["committed_version"].clone();
    let refused = |post: &Value, headers: &[(&str, &str)]| {
        let answer = node.post_with(post, headers);
        (answer.status, answer.problem())
    };
    let unknown = transition("spec", "t-2", "b", &[resolved("other", 1)]);
    assert_eq!(refused(&unknown, &[]), (409, "unknown-pending-ref".into()));
    assert_eq!(refused(&transition("spec", "t-1", "b", &[]), &[]), (409, "transition-conflict".into()));
    assert_eq!(node.post(&transition("spec", "t-3", "b", &[resolved("k", 1)])).status, 201);
    let other = transition("spec", "t-4", "b", &[resolved("k", 2)]);
    assert_eq!(refused(&other, &[]), (409, "resolved-ref-conflict".into()));
    let stale = format!("\"{}\"", token.as_str().unwrap());
    let new = transition("spec", "t-5", "c", &[]);
    assert_eq!(refused(&new, &[("if-match", &stale)]), (412, "projection-moved".into()));
    assert_eq!(refused(&new, &[("if-none-match", "*")]), (412, "projection-moved".into()));
    assert_eq!(refused(&new, &[("plimsoll-ack", "2")]), (504, "under-replicated".into()));
    assert_eq!(node.post(&transition("spec", "t-5", "c", &[])).status, 200, "the transition stands");
}

#[test]
fn bad_input_names_the_field_and_the_rule() {
    let (node, _data) = node();
    let field_of = |post: &Value| {
        let answer = node.post(post);
        assert_eq!((answer.status, answer.problem()), (422, "invalid-field".into()), "{answer:?}");
        answer.json()["field"].as_str().unwrap_or_default().to_owned()
    };
    let good = transition("spec", "t-1", "a", &[pending("k")]);
    let with = |name: &str, value: Value| {
        let mut post = good.clone();
        post[name] = value;
        post
    };
    assert_eq!(field_of(&with("artifact_id", json!(""))), "artifact_id");
    assert_eq!(field_of(&with("artifact_id", json!("a\u{7}"))), "artifact_id");
    assert_eq!(field_of(&with("transition_id", json!("é"))), "transition_id");
    assert_eq!(field_of(&with("status", json!("x".repeat(65)))), "status");
    assert_eq!(field_of(&with("status", json!(7))), "status");
    assert_eq!(field_of(&with("committed_version", json!("yesterday"))), "committed_version");
    let future = "2200-01-01T00:00:00.000000000+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
    assert_eq!(field_of(&with("committed_version", json!(future))), "committed_version");
    assert_eq!(field_of(&with("colour", json!("red"))), "colour");
    assert!(field_of(&with("produced_refs", json!([{ "kind": "lost" }]))).starts_with("produced_refs[0]"));
    let many: Vec<Value> = (0..257).map(|at| pending(&at.to_string())).collect();
    assert_eq!(field_of(&with("produced_refs", json!(many))), "produced_refs");
    assert_eq!(node.get("/projections/spec/cursor").status, 404, "nothing of all that was stored");
}

#[test]
fn every_error_is_a_problem_document() {
    let (node, _data) = node();
    let json = [("content-type", "application/json")];
    let path = "/projections/transitions";
    let large = vec![b' '; (1 << 20) + 1];
    for (answer, status, problem) in [
        (node.get("/nowhere"), 404, "no-such-route"),
        (node.send("PUT", path, &json, b"{}"), 405, "method-not-allowed"),
        (node.get("/projections/none/cursor"), 404, "not-projected"),
        (node.send("DELETE", "/projections/none", &[], &[]), 404, "not-projected"),
        (node.send("POST", path, &json, b"{"), 400, "not-json"),
        (node.send("POST", path, &[("content-type", "text/plain")], b"{}"), 415, "unsupported-media-type"),
        (node.send("POST", path, &json, &large), 413, "too-large"),
        (node.get("/projections?limit=0"), 400, "bad-request"),
        (node.get("/projections/x%ff/cursor"), 400, "bad-request"),
        (node.send("GET", "/projections", &[("authorization", "Bearer no")], &[]), 401, "unauthenticated"),
        (node.send("GET", "/projections", &[("authorization", "Basic eDp5")], &[]), 401, "unauthenticated"),
        (
            node.send("GET", "/projections/changes", &[("last-event-id", "0000000000000001-0000000000000001-1")], &[]),
            410,
            "position-gone",
        ),
    ] {
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem), "{answer:?}");
        assert_eq!(answer.json()["status"], status);
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[test]
fn a_token_allows_its_tenant_and_its_scopes_only() {
    let (node, _data) = node();
    node.post(&transition("spec", "t-1", "a", &[]));
    let bearer = |token: &str| format!("Bearer {token}");
    let (other, read) = (bearer(OTHER_TOKEN), bearer(READ_TOKEN));
    let cursor = |token: &str| node.send("GET", "/projections/spec/cursor", &[("authorization", token)], &[]).status;
    assert_eq!((cursor(&read), cursor(&other)), (200, 404));
    let headers = [("authorization", read.as_str()), ("content-type", "application/json")];
    let post = transition("spec", "t-2", "b", &[]).to_string();
    let refused = node.send("POST", "/projections/transitions", &headers, post.as_bytes());
    assert_eq!((refused.status, refused.problem()), (403, "forbidden".into()));
    for path in ["/healthz", "/readyz", "/openapi.json", "/docs", "/metrics"] {
        let anonymous = node.send("GET", path, &[("authorization", "")], &[]);
        assert!(matches!(anonymous.status, 200 | 308), "{path}: {anonymous:?}");
    }
}

#[test]
fn anonymous_reads_see_the_tenant_they_are_given() {
    let data = tempfile::tempdir().unwrap();
    let node = Start::on(data.path()).variable("PLIMSOLL_ANON_READ", "acme").start().unwrap();
    node.post(&transition("spec", "t-1", "a", &[]));
    let anonymous = [("authorization", "")];
    let answer = node.send("GET", "/projections/spec/cursor", &anonymous, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(node.send("DELETE", "/projections/spec", &anonymous, &[]).status, 401);
}

#[test]
fn a_poll_with_the_token_it_knows_waits_for_the_next() {
    let (node, _data) = node();
    let token = node.post(&transition("spec", "t-1", "a", &[])).json()["committed_version"].clone();
    let known = format!("\"{}\"", token.as_str().unwrap());
    let at_once = node.send("GET", "/projections/spec/cursor", &[("if-none-match", &known)], &[]);
    assert_eq!((at_once.status, at_once.text.as_str()), (304, ""));
    let begun = Instant::now();
    let in_time = node.send("GET", "/projections/spec/cursor", &[("if-none-match", &known), ("prefer", "wait=1")], &[]);
    assert_eq!(in_time.status, 304);
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waits as long as it was asked to");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            node.send("GET", "/projections/spec/cursor", &[("if-none-match", &known), ("prefer", "wait=60")], &[])
        });
        wait_for_waiter(&node);
        node.post(&transition("spec", "t-2", "b", &[]));
        let answer = waiting.join().unwrap();
        assert_eq!(answer.status, 200);
        assert_ne!(answer.json()["committed_version"], token);
    });
}

/// Waits until a poll is held open.
fn wait_for_waiter(node: &Node) {
    while metric(node, "plimsoll_waiters") < 1.0 {
        thread::sleep(Duration::from_millis(5));
    }
}

/// The sum of a metric over all its labels.
fn metric(node: &Node, name: &str) -> f64 {
    let text = node.get("/metrics").text;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[test]
fn a_reader_can_wait_for_its_own_write() {
    let (node, _data) = node();
    let early = node.get("/projections/spec/cursor?contains=t-1");
    assert_eq!((early.status, early.problem()), (504, "not-yet-replicated".into()));
    thread::scope(|scope| {
        let path = "/projections/spec/cursor?contains=t-1";
        let waiting = scope.spawn(|| node.send("GET", path, &[("prefer", "wait=60")], &[]));
        wait_for_waiter(&node);
        node.post(&transition("spec", "t-1", "a", &[]));
        assert_eq!(waiting.join().unwrap().status, 200);
    });
}

#[test]
fn history_is_newest_first_and_retiring_hides_it() {
    let (node, _data) = node();
    for at in 1..=3 {
        node.post(&transition("a/b c", &format!("t-{at}"), &format!("s-{at}"), &[]));
    }
    let ids = |path: &str| {
        let page = node.get(path).json();
        let items = page["items"].as_array().unwrap().iter();
        (items.map(|item| item["transition_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), page["next"].clone())
    };
    let (newest, next) = ids("/projections/a%2Fb%20c/transitions?limit=2");
    assert_eq!(newest, ["t-3", "t-2"]);
    let (oldest, end) = ids(&format!("/projections/a%2Fb%20c/transitions?limit=2&page={}", next.as_str().unwrap()));
    assert_eq!((oldest, end), (vec!["t-1".to_owned()], Value::Null));
    assert_eq!(node.send("DELETE", "/projections/a%2Fb%20c", &[], &[]).status, 204);
    assert_eq!(node.get("/projections/a%2Fb%20c").problem(), "not-projected");
    assert_eq!(node.get("/projections/a%2Fb%20c/transitions").status, 404);
}

#[test]
fn cursors_in_bulk_tell_what_is_not_here() {
    let (node, _data) = node();
    node.post(&transition("spec", "t-1", "a", &[]));
    let ask = |ids: &Value| {
        let body = json!({ "artifact_ids": ids }).to_string();
        node.send("POST", "/projections/cursors", &[("content-type", "application/json")], body.as_bytes())
    };
    let answer = ask(&json!(["spec", "none"])).json();
    assert_eq!(
        answer["cursors"]["spec"]["committed_version"],
        node.get("/projections/spec").json()["committed_version"]
    );
    assert_eq!(answer["cursors"]["none"], Value::Null);
    let many: Vec<String> = (0..1_001).map(|at| at.to_string()).collect();
    assert_eq!(ask(&json!(many)).problem(), "invalid-field");
}

#[test]
fn one_bad_line_of_a_batch_fails_alone() {
    let (node, _data) = node();
    let lines = format!(
        "{}\nnot json\n\n{}\n{}",
        transition("spec", "t-1", "a", &[pending("k")]),
        transition("spec", "", "a", &[]),
        transition("spec", "t-2", "b", &[resolved("k", 1)]),
    );
    let answer = node.post_batch(&lines);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let answers: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<_> = answers.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 422, 201]);
    assert_eq!(answers[2]["body"]["field"], "transition_id");
    assert_eq!(node.get("/projections/spec").json()["status"], "b");
}

/// Reads the events of a stream until there are as many as wanted.
fn events(node: &Node, last: Option<&str>, wanted: usize, between: impl FnOnce()) -> Vec<(String, Value)> {
    let address = node.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let last = last.map(|last| format!("Last-Event-ID: {last}\r\n")).unwrap_or_default();
    write!(stream, "GET /projections/changes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{last}\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.find(|line| line.starts_with("id:")).expect("the stream begins with its position");
    between();
    let mut id = String::new();
    let mut found = Vec::new();
    while found.len() < wanted {
        let line = lines.next().expect("the stream goes on");
        if let Some(text) = line.strip_prefix("id:") {
            id = text.trim().to_owned();
        } else if let Some(data) = line.strip_prefix("data:").filter(|data| !data.trim().is_empty()) {
            found.push((id.clone(), serde_json::from_str(data).unwrap()));
        }
    }
    found
}

#[test]
fn the_change_feed_goes_on_where_it_was_left_also_after_a_restart() {
    let (node, data) = node();
    let first = events(&node, None, 1, || drop(node.post(&transition("spec", "t-1", "a", &[]))));
    assert_eq!(first[0].1["artifact_id"], "spec");
    let other = [("authorization", &*format!("Bearer {OTHER_TOKEN}"))];
    node.post_with(&transition("secret", "t-1", "a", &[]), &other);
    node.post(&transition("two", "t-2", "a", &[]));
    node.post(&transition("three", "t-3", "a", &[]));
    node.send("DELETE", "/projections/two", &[], &[]);
    assert!(node.stop().success());
    let node = Start::on(data.path()).start().unwrap();
    let rest = events(&node, Some(&first[0].0), 2, || {});
    let names: Vec<_> = rest.iter().map(|(_, change)| change["artifact_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["three", "two"]);
    assert_eq!(rest[1].1["committed_version"], Value::Null);
    assert_eq!(rest[0].1["committed_version"], node.get("/projections/three/cursor").json()["committed_version"]);
}

#[test]
fn a_body_that_does_not_arrive_is_given_up() {
    let (node, _data) = node();
    let mut stream = TcpStream::connect(node.url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /projections/transitions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    )
    .unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let begun = Instant::now();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer} after {:?}", begun.elapsed());
}

#[test]
fn a_stop_finishes_what_is_in_flight() {
    let (node, data) = node();
    let address = node.url.strip_prefix("http://").unwrap().to_owned();
    let body = transition("spec", "t-1", "a", &[]).to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "POST /projections/transitions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    )
    .unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "the node has the request in hand");
    let answered = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(node.stop().success());
    let answer = answered.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let node = Start::on(data.path()).start().unwrap();
    assert_eq!(node.get("/projections/spec").json()["status"], "a");
}

#[test]
fn a_tenant_that_asks_too_much_is_told_when_to_come_back() {
    let data = tempfile::tempdir().unwrap();
    let limits = Start::on(data.path()).variable("PLIMSOLL_RATE_PER_SECOND", "1").variable("PLIMSOLL_RATE_BURST", "2");
    let node = limits.start().unwrap();
    let answers: Vec<_> = (0..4).map(|_| node.get("/projections/none/cursor")).collect();
    let refused = answers.iter().find(|answer| answer.status == 429).expect("the fourth in a second is too much");
    assert_eq!(refused.problem(), "rate-limited");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(node.get("/healthz").status, 200);
}

#[test]
fn metrics_count_what_happened() {
    let (node, _data) = node();
    node.post(&transition("spec", "t-1", "a", &[]));
    node.post(&transition("spec", "t-1", "a", &[]));
    node.get("/projections/spec/cursor");
    node.post(&transition("spec", "t-1", "b", &[]));
    assert_eq!(metric(&node, "plimsoll_writes_total"), 2.0, "one accepted, one repeated");
    assert_eq!(metric(&node, "plimsoll_writes_refused_total"), 1.0);
    assert_eq!(metric(&node, "plimsoll_durable_sequence"), 1.0);
    assert_eq!(metric(&node, "plimsoll_tenant_transitions"), 1.0);
    assert!(metric(&node, "plimsoll_http_requests_total") >= 4.0);
    assert_eq!(metric(&node, "plimsoll_store_facts"), 1.0);
    assert!(metric(&node, "plimsoll_store_disk_bytes") > 0.0);
}
