//! Tests of what every request passes, and of connections, over streams in memory and simulated time.

mod leftovers;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use plimsoll_wire::problem::{Kind, Problem};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time;

use super::app::Inner;
use super::*;
use crate::environment::DateHeader;
use crate::environment::fixture::Handed;
use crate::http::server::{Server, serve};

/// The API of a node in memory, with two routes for tests: one panics, one waits until it is let go.
fn test_api(cors_origins: CorsOrigins, held: Arc<Notify>) -> (Api, App, watch::Sender<bool>) {
    let (app, _) = App::in_memory();
    let (stop, stopping) = watch::channel(false);
    let app = App::new(Inner { stopping, ..app.into_inner() });
    let (routes, description) = routes();
    let routes = routes.route("/panic", axum::routing::get(async || -> &'static str { panic!("on purpose") })).route(
        "/held",
        axum::routing::get(async move || {
            held.notified().await;
            "let go"
        }),
    );
    let api = api(routes, &description, app.clone(), &Surroundings { cors_origins, request_ids: 0 });
    (api, app, stop)
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    async fn of(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn kind(&self) -> Option<Kind> {
        assert_eq!(self.header("content-type"), "application/problem+json");
        serde_json::from_str::<Problem>(&self.body).unwrap().known_kind()
    }
}

async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let (api, ..) = test_api(CorsOrigins::None, Arc::default());
    ask_of(&api, method, path, headers).await
}

async fn ask_of(api: &Api, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(path), |request, (name, value)| request.header(*name, *value));
    Answer::of(api.call(request.body(Body::empty()).unwrap()).await.unwrap()).await
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let answer = ask("GET", "/nowhere", &[]).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::NOT_FOUND, Some(Kind::NoSuchRoute)));
    let answer = ask("DELETE", "/healthz", &[]).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::METHOD_NOT_ALLOWED, Some(Kind::MethodNotAllowed)));
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

/// A node alone is never behind; one of a cluster is tried with others, in processes of their own.
#[tokio::test]
async fn reads_tell_how_old_they_may_be() {
    for (method, path, expected) in [
        ("GET", "/projections/a/cursor", "0"),
        ("GET", "/projections", "0"),
        ("POST", "/projections/transitions", ""),
        ("GET", "/healthz", ""),
    ] {
        assert_eq!(ask(method, path, &[]).await.header("plimsoll-staleness-ms"), expected, "{method} {path}");
    }
}

#[tokio::test]
async fn an_endless_uri_is_a_problem() {
    let answer = ask("GET", &format!("/healthz?{}", "x".repeat(9_000)), &[]).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::URI_TOO_LONG, Some(Kind::UriTooLong)));
    assert_eq!(ask("GET", &format!("/healthz?{}", "x".repeat(8_000)), &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_panic_is_a_problem_and_has_an_id() {
    let answer = ask("GET", "/panic", &[("x-request-id", "mine")]).await;
    assert_eq!((answer.status, answer.kind()), (StatusCode::INTERNAL_SERVER_ERROR, Some(Kind::Internal)));
    assert_eq!(answer.header("x-request-id"), "mine");
    assert!(!answer.body.contains("on purpose"));
}

#[tokio::test]
async fn a_request_keeps_its_id_or_is_given_one() {
    let (api, ..) = test_api(CorsOrigins::None, Arc::default());
    let long = "x".repeat(129);
    let mut given = Vec::new();
    for id in ["mine", "a.B_1:x-2", "a b", "a\"", "a=b", "", &long] {
        let answer = ask_of(&api, "GET", "/nowhere", &[("x-request-id", id)]).await;
        given.push(answer.header("x-request-id").to_owned());
    }
    assert_eq!(given[..2], ["mine", "a.B_1:x-2"]);
    let made: Vec<String> = (0..5).map(|number| format!("{number:024x}")).collect();
    assert_eq!(given[2..], made);
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_where_configured() {
    let preflight = [
        ("origin", "https://a.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,if-match,plimsoll-ack"),
    ];
    let origins = vec!["https://a.example".parse().unwrap()];
    let (api, ..) = test_api(CorsOrigins::Listed(origins), Arc::default());
    let answer = ask_of(&api, "OPTIONS", "/projections/transitions", &preflight).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
    assert!(answer.header("access-control-allow-headers").contains("if-match,"));
    assert!(answer.header("access-control-allow-headers").contains("plimsoll-ack"));
    let answer = ask_of(&api, "GET", "/nowhere", &preflight[..1]).await;
    let exposed = "allow,etag,location,preference-applied,plimsoll-regions-missing,plimsoll-staleness-ms,retry-after,\
                   www-authenticate,x-request-id";
    assert_eq!(answer.header("access-control-expose-headers"), exposed);
    for path in ["/panic", &format!("/healthz?{}", "x".repeat(9_000))] {
        let answer = ask_of(&api, "GET", path, &preflight[..1]).await;
        assert!(answer.kind().is_some() && answer.status != StatusCode::NOT_FOUND);
        assert_eq!(answer.header("access-control-allow-origin"), "https://a.example");
        assert_eq!(answer.header("access-control-expose-headers"), exposed);
        let answer = ask_of(&api, "GET", path, &[("origin", "https://b.example")]).await;
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    let answer = ask_of(&api, "GET", "/nowhere", &[("origin", "https://b.example")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
    let answer = ask("OPTIONS", "/projections/transitions", &preflight).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn probes_need_no_token() {
    let health = ask("GET", "/healthz", &[]).await;
    assert_eq!(health.status, StatusCode::OK);
    assert!(health.body.contains(r#""status":"ok""#) && health.body.contains(r#""node_id":"0000000000000001""#));
    let metrics = ask("GET", "/metrics", &[]).await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(metrics.body.contains("\nplimsoll_durable_sequence 0\n"), "{}", metrics.body);
}

#[tokio::test]
async fn waits_are_counted_apart() {
    let (api, ..) = test_api(CorsOrigins::None, Arc::default());
    let headers = [("authorization", "Bearer secret"), ("prefer", "wait=0")];
    for (headers, count, timed) in [(&headers[..], 1, 0), (&headers[..1], 2, 2)] {
        let answer = ask_of(&api, "GET", "/projections/a/cursor?contains=t", headers).await;
        assert_eq!(answer.kind(), Some(Kind::NotYetReplicated));
        let metrics = ask_of(&api, "GET", "/metrics", &[]).await.body;
        // This node's metrics know no routes; the first look at them is the second thing that is timed.
        let value = |name: &str, status: &str| {
            let series = format!("plimsoll_http_{name}{{method=\"any\",route=\"none\"{status}}} ");
            metrics.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
        };
        assert_eq!(value("requests_total", ",status=\"504\""), count, "{metrics}");
        assert_eq!(value("requests_total", ",status=\"5xx\""), 0, "{metrics}");
        assert_eq!(value("waits_total", ""), 1, "{metrics}");
        assert_eq!(value("request_duration_seconds_count", ""), timed, "{metrics}");
    }
}

#[tokio::test]
async fn writes_that_are_refused_unread_are_counted() {
    let (api, ..) = test_api(CorsOrigins::None, Arc::default());
    let length = (2 << 20).to_string();
    let [secret, json] = [("authorization", "Bearer secret"), ("content-type", "application/json")];
    ask_of(&api, "POST", "/projections/transitions", &[]).await;
    ask_of(&api, "DELETE", "/projections/a", &[]).await;
    ask_of(&api, "POST", "/projections/transitions", &[secret, json, ("content-length", &length)]).await;
    let metrics = ask_of(&api, "GET", "/metrics", &[]).await.body;
    for line in [r#"{problem="unauthenticated"} 2"#, r#"{problem="too-large"} 1"#] {
        assert!(metrics.contains(&format!("plimsoll_writes_refused_total{line}\n")), "{metrics}");
    }
}

#[tokio::test]
async fn a_node_is_ready_until_it_cannot_take_writes() {
    let ready = |inner: Inner| async {
        let app = App::new(inner);
        let (routes, description) = routes();
        let surroundings = Surroundings { cors_origins: CorsOrigins::None, request_ids: 0 };
        let answer = ask_of(&api(routes, &description, app, &surroundings), "GET", "/readyz", &[]).await;
        (answer.status.as_u16(), answer.body)
    };
    let inner = || {
        let (app, writer) = App::in_memory();
        (app.into_inner(), writer)
    };
    let (fine, _writer) = inner();
    assert_eq!(ready(fine).await, (200, r#"{"ready":true,"reason":null}"#.to_owned()));
    let (full, _writer) = inner();
    let full = Inner { reserve_bytes: u64::MAX, ..full };
    let reason = r#"{"ready":false,"reason":"urn:plimsoll:problem:disk-full"}"#;
    assert_eq!(ready(full).await, (200, reason.to_owned()));
    let (stopping, _writer) = inner();
    let stopping = Inner { stopping: watch::channel(true).1, ..stopping };
    let reason = r#"{"ready":false,"reason":"urn:plimsoll:problem:not-ready"}"#;
    assert_eq!(ready(stopping).await, (503, reason.to_owned()));
    let (closed, writer) = inner();
    drop(writer);
    assert_eq!(ready(closed).await, (503, reason.to_owned()));
}

struct Running {
    connect: mpsc::Sender<DuplexStream>,
    held: Arc<Notify>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn run(connections_max: usize) -> Running {
    let held = Arc::new(Notify::new());
    let (api, app, stop) = test_api(CorsOrigins::None, Arc::clone(&held));
    let (connect, handed) = Handed::new();
    let server = Server { api, app, date_header: DateHeader::Absent, grace: Duration::from_secs(30) };
    let task = tokio::spawn(serve(Box::new(handed), server, connections_max));
    Running { connect, held, stop, task }
}

impl Running {
    async fn connection(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(64 * 1024);
        self.connect.send(server).await.unwrap();
        client
    }
}

async fn send(connection: &mut DuplexStream, text: &str) {
    connection.write_all(text.as_bytes()).await.unwrap();
}

/// What comes until the other side closes.
async fn rest(mut connection: DuplexStream) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    text
}

const HELD: &str = "GET /held HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test(start_paused = true)]
async fn a_stop_lets_requests_finish_and_idle_connections_go() {
    let running = run(8);
    let idle = running.connection().await;
    let mut busy = running.connection().await;
    send(&mut busy, HELD).await;
    time::sleep(Duration::from_secs(1)).await;
    running.stop.send_replace(true);
    assert_eq!(rest(idle).await, "");
    assert!(!running.task.is_finished());
    running.held.notify_one();
    let answer = rest(busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("let go"), "{answer}");
    assert!(!answer.contains("date:"), "{answer}");
    running.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_outlasts_the_grace_is_cut_off() {
    let running = run(8);
    let mut busy = running.connection().await;
    send(&mut busy, HELD).await;
    time::sleep(Duration::from_secs(1)).await;
    let stopped = time::Instant::now();
    running.stop.send_replace(true);
    running.task.await.unwrap();
    assert_eq!(stopped.elapsed(), Duration::from_secs(30));
    assert_eq!(rest(busy).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends_the_connection() {
    let running = run(8);
    let began = time::Instant::now();
    let mut slow = running.connection().await;
    send(&mut slow, "GET /healthz HT").await;
    rest(slow).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    let began = time::Instant::now();
    let mut idle = running.connection().await;
    send(&mut idle, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(rest(idle).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(began.elapsed().as_secs(), 145);
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_a_connection_that_was_idle_is_answered() {
    let running = run(8);
    let mut connection = running.connection().await;
    send(&mut connection, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = [0; 1024];
    assert!(connection.read(&mut answer).await.unwrap() > 0);
    for idle in [50, 55, 59] {
        time::sleep(Duration::from_secs(idle)).await;
        send(&mut connection, HELD).await;
        time::sleep(Duration::from_secs(95)).await;
        running.held.notify_one();
        let length = connection.read(&mut answer).await.unwrap();
        assert!(answer[..length].ends_with(b"let go"), "{idle}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_connections_wait() {
    let running = run(1);
    let first = running.connection().await;
    let mut second = running.connection().await;
    send(&mut second, "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut byte = [0];
    assert!(time::timeout(Duration::from_secs(5), second.read(&mut byte)).await.is_err());
    drop(first);
    assert!(rest(second).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_head_without_end_is_refused() {
    let running = run(8);
    let mut connection = running.connection().await;
    let head = format!("GET /healthz HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(48 * 1024));
    send(&mut connection, &head).await;
    assert!(rest(connection).await.starts_with("HTTP/1.1 431 "));
}
