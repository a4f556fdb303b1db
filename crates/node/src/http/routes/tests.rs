//! The contract of the routes, over a store in memory.

mod batches;
mod documents;
mod events;
mod reads;
mod waits;
mod writes;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::StoredIdentity;
use plimsoll_store::engine::memory::Memory;
use plimsoll_store::options::{FreeBytes, Options, WallClock};
use plimsoll_store::projections::Projections;
use plimsoll_store::writer::Writer;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::access::{Access, Token};
use crate::config::CorsOrigins;
use crate::http::Surroundings;
use crate::http::app::{App, Inner};
use crate::metrics::Metrics;
use crate::rate::{Rate, RateLimits};

const ALL: &str = "Bearer all-of-it";
const READ: &str = "Bearer read-only";
const WRITE: &str = "Bearer write-only";
const OTHER: &str = "Bearer of-another-tenant";

/// Later than all stamps of these tests.
const FUTURE: &str = "2027-01-01T00:00:00.000000000+00:00/0000000000000001/0000000000000001";

/// A node without sockets. It ends with the test.
struct Node {
    app: App,
    router: Router,
    stop: watch::Sender<bool>,
}

impl Node {
    fn new() -> Self {
        let (node, writer) = Self::without_writer(None);
        std::thread::spawn(move || writer.run());
        node
    }

    fn without_writer(rate: Option<Rate>) -> (Self, Writer) {
        Self::on_disk(rate, Arc::new(|| None), Arc::new(|| UnixNanos::new(1_776_881_051_000_000_000)))
    }

    /// On a disk that is full once less than a byte is free.
    fn on_disk(rate: Option<Rate>, free_bytes: FreeBytes, wall_clock: WallClock) -> (Self, Writer) {
        let options = Options {
            drift_max: Duration::from_millis(500),
            cursor_cache_bytes: 1 << 20,
            head_cache_bytes: 1 << 20,
            tenant_facts_max: 1_000_000,
            tenant_bytes_max: 1 << 30,
            reserve_bytes: 1,
            wall_clock,
            free_bytes: Arc::clone(&free_bytes),
        };
        let identity = StoredIdentity { node: NodeId::new(7), incarnation: 9 };
        let (projections, writer) = Projections::open(Arc::new(Memory::new()), identity, &options).unwrap();
        let tokens = [
            "one:all-of-it:read+write",
            "one:read-only:read",
            "one:write-only:write",
            "two:of-another-tenant:read+write",
        ];
        let tokens: Vec<Token> = tokens.iter().map(|text| text.parse().unwrap()).collect();
        let tenants: Vec<TenantId> = tokens.iter().map(|token| token.tenant().clone()).collect();
        let (stop, stopping) = watch::channel(false);
        let app = App::new(Inner {
            cluster: None,
            ack_timeout: Duration::from_secs(1),
            has_test_controls: false,
            projections,
            access: Access::new(tokens, None),
            rate_limits: RateLimits::new(tenants.clone(), rate),
            metrics: Metrics::new(identity.node, [], tenants),
            stopping,
            free_bytes,
            reserve_bytes: 1,
        });
        let (routes, description) = crate::http::routes();
        let surroundings = Surroundings { cors_origins: CorsOrigins::None, request_ids: 0 };
        let router = crate::http::router(routes, &description, app.clone(), &surroundings);
        (Self { app, router, stop }, writer)
    }

    async fn send(&self, request: impl Into<Request<Body>>) -> Answer {
        let (head, body) = self.begin(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// The answer, with its body still to come. Where the router can be passed by, both ways must agree.
    async fn begin(&self, request: impl Into<Request<Body>>) -> axum::response::Response {
        let request = request.into();
        let Some(mut fast) = super::cursor::fast_path(&self.app, &request) else {
            return self.router.clone().oneshot(request).await.unwrap();
        };
        let routed = self.router.clone().oneshot(request).await.unwrap();
        // The router adds what the connection would.
        let length = fast.body().size_hint().exact().unwrap();
        fast.headers_mut().insert("content-length", length.into());
        assert_eq!((fast.status(), fast.headers()), (routed.status(), routed.headers()));
        let body = fast.into_body().collect().await.unwrap().to_bytes();
        let (head, of_router) = routed.into_parts();
        assert_eq!(body, of_router.collect().await.unwrap().to_bytes());
        http::Response::from_parts(head, Body::from(body))
    }

    async fn post(&self, body: &Value) -> Answer {
        self.send(post(body)).await
    }

    /// Posts a transition, and gives the artifact's token.
    async fn accept(&self, artifact: &str, transition: &str, status: &str) -> String {
        let answer = self.post(&transition_of(artifact, transition, status)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("committed_version")
    }
}

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate { per_second: NonZeroU32::new(per_second)?, burst: NonZeroU32::new(burst)? })
}

fn transition_of(artifact: &str, transition: &str, status: &str) -> Value {
    json!({"artifact_id": artifact, "transition_id": transition, "status": status, "produced_refs": []})
}

fn pending(key: &str) -> Value {
    json!({"kind": "pending", "target_repo": "acme/web", "idempotency_key": key})
}

fn resolved(key: &str, number: u64) -> Value {
    json!({"kind": "resolved", "target_repo": "acme/web", "idempotency_key": key, "number": number,
        "url": format!("https://forge.example/{number}"), "created_at": "2026-04-22T18:04:11Z"})
}

/// A request in the making.
struct Call(http::request::Builder, Body);

impl Call {
    fn new(method: Method, uri: &str) -> Self {
        Self(Request::builder().method(method).uri(uri).header("authorization", ALL), Body::empty())
    }

    fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value), self.1)
    }

    fn token(mut self, token: &str) -> Self {
        self.0.headers_mut().unwrap().insert("authorization", token.parse().unwrap());
        self
    }

    fn body(self, body: impl Into<Body>) -> Self {
        Self(self.0, body.into())
    }
}

impl From<Call> for Request<Body> {
    fn from(call: Call) -> Self {
        call.0.body(call.1).unwrap()
    }
}

fn get(uri: &str) -> Call {
    Call::new(Method::GET, uri)
}

fn post(body: &Value) -> Call {
    post_text(body.to_string())
}

fn post_text(body: impl Into<Body>) -> Call {
    Call::new(Method::POST, "/projections/transitions").header("content-type", "application/json").body(body)
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}")).to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem document of this kind, and gives the field it names.
    fn problem(&self, name: &str) -> Option<String> {
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:plimsoll:problem:{name}"), "{self:?}");
        assert_eq!(problem["status"], self.status.as_u16(), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let retries = self.status == 503 || self.status == 429;
        assert_eq!(retries, self.headers.contains_key("retry-after"), "{self:?}");
        problem["field"].as_str().map(str::to_owned)
    }
}

fn quoted(token: &str) -> String {
    format!("\"{token}\"")
}
