//! What every request passes, whatever its route.
//!
//! All of it stands around the router, not in layers of it: each of those costs allocations and virtual calls, on a path
//! that has some microseconds in all. Here a request gets its id, an endless URI is refused, a panic becomes a problem,
//! the answer is counted and logged, and what is left of the body is read. CORS is a layer, there only where it is
//! configured; what is answered outside of it gets its headers here.
//!
//! A request that succeeds is logged at the level `debug` alone, so at the default level it costs no more than finding
//! that out.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;
use tower::Service;
use tower_http::cors::CorsLayer;
use tracing::Instrument;

use super::app::App;
use super::error::ApiError;
use super::freshness::Age;
use super::routes::cursor;
use super::{cors, leftover};
use crate::metrics::RequestMetrics;

/// Names a request, in its answer and in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What the paths begin with whose answers tell how old they may be.
const READS: &str = "/projections";

/// The longest id a client may give its request.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The longest path with its query: an artifact id of 256 bytes, each percent-encoded, twice over, and room for the
/// rest.
const URI_BYTES_MAX: usize = 8 * 1024;

/// A request that takes longer, without having asked to wait, is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);

/// What requests share.
pub(crate) struct Observer {
    app: App,
    /// The first digits of every id.
    prefix: [u8; 8],
    requests: AtomicU64,
    cors: Option<CorsLayer>,
}

impl Observer {
    pub(crate) fn new(app: App, seed: u64, cors: Option<CorsLayer>) -> Arc<Self> {
        let mut prefix = [0; 8];
        write_hex(seed >> 32, &mut prefix);
        Arc::new(Self { app, prefix, requests: AtomicU64::new(0), cors })
    }

    /// The id a client gave, if it is one; else one of this node's.
    fn request_id<B>(&self, request: &Request<B>) -> HeaderValue {
        let given = request.headers().get(&REQUEST_ID);
        if let Some(given) = given.filter(|given| is_request_id(given.as_bytes())) {
            return given.clone();
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; 24];
        text[..8].copy_from_slice(&self.prefix);
        write_hex(number, &mut text[8..]);
        HeaderValue::from_bytes(&text).expect("hex digits are allowed in a header")
    }
}

/// Nothing that a line of a log would have to quote.
fn is_request_id(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.iter().all(is_plain)
}

/// The last digits of a number.
fn write_hex(number: u64, digits: &mut [u8]) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[usize::from((rest & 0xf) as u8)];
        rest >>= 4;
    }
}

/// The whole API of a node: its routes, and what every request passes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    router: Router,
    observer: Arc<Observer>,
}

impl Api {
    pub(crate) const fn new(router: Router, observer: Arc<Observer>) -> Self {
        Self { router, observer }
    }

    /// Answers a request, whatever happens.
    pub(crate) fn call<B>(&self, request: Request<B>) -> impl Future<Output = Result<Response, Infallible>> + use<B>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let seen = Seen::of(&request, &self.observer);
        let (request, leftover) = leftover::watch(request);
        let answer = if is_too_long(&request) {
            Answer::UriTooLong
        } else if let Some(ready) = self.fast_path(&request) {
            Answer::Ready(ready)
        } else {
            Answer::OfTheRouter(self.router.clone().call(request).instrument(seen.span()))
        };
        async move {
            let answered = match answer {
                Answer::UriTooLong => Ok(Ok(seen.let_through(uri_too_long()).await)),
                Answer::Ready(ready) => ready.map(Ok),
                Answer::OfTheRouter(answer) => AssertUnwindSafe(answer).catch_unwind().await,
            };
            let response = match answered {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(panic) => seen.let_through(seen.panicked(panic.as_ref())).await,
            };
            let response = seen.answered(response);
            leftover.drain().await;
            Ok(response)
        }
    }

    /// The answer to what needs no router, or why there is none. CORS is a layer of the router, so where it is
    /// configured everything needs it.
    fn fast_path<B>(&self, request: &Request<B>) -> Option<std::thread::Result<Response>> {
        let app = self.observer.cors.is_none().then_some(&self.observer.app)?;
        std::panic::catch_unwind(AssertUnwindSafe(|| cursor::fast_path(app, request))).transpose()
    }
}

/// Where the answer to a request comes from.
enum Answer<F> {
    UriTooLong,
    Ready(std::thread::Result<Response>),
    OfTheRouter(F),
}

/// What is remembered of a request until it is answered.
struct Seen {
    observer: Arc<Observer>,
    id: HeaderValue,
    method: Method,
    requests: usize,
    started: Instant,
    may_wait: bool,
    /// How old what is read may be.
    age: Option<Age>,
    /// Where a page asks, and CORS is configured.
    origin: Option<HeaderValue>,
}

impl Seen {
    fn of<B>(request: &Request<B>, observer: &Arc<Observer>) -> Self {
        Self {
            observer: Arc::clone(observer),
            id: observer.request_id(request),
            method: request.method().clone(),
            requests: observer.app.metrics.place(request.method(), request.uri().path()),
            started: Instant::now(),
            may_wait: request.headers().contains_key(PREFER),
            age: is_read(request).then(|| Age::now(&observer.app)),
            origin: observer.cors.as_ref().and_then(|_| request.headers().get(header::ORIGIN).cloned()),
        }
    }

    fn requests(&self) -> &RequestMetrics {
        self.observer.app.metrics.at(self.requests)
    }

    fn route(&self) -> &str {
        self.requests().route()
    }

    fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    fn span(&self) -> tracing::Span {
        tracing::debug_span!("request", method = %self.method, route = self.route(), request_id = self.id())
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Response {
        let message = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let route = self.route();
        tracing::error!(method = %self.method, route, request_id = self.id(), message, "a handler panicked");
        ApiError::new(Kind::Internal, "the node failed; its log has the request's id").into_response()
    }

    /// An answer that was not made by the router, as pages of other origins get to read it.
    async fn let_through(&self, response: Response) -> Response {
        match &self.observer.cors {
            Some(cors) => cors::let_through(cors, self.origin.clone(), response).await,
            None => response,
        }
    }

    fn answered(self, mut response: Response) -> Response {
        let took = self.started.elapsed();
        let has_waited = self.may_wait && response.headers().contains_key(PREFERENCE_APPLIED);
        self.requests().answered(response.status(), if has_waited { None } else { Some(took) });
        self.log(response.status(), took);
        if let Some(age) = self.age {
            age.tell(took, response.headers_mut());
        }
        response.headers_mut().insert(REQUEST_ID, self.id);
        response
    }

    fn log(&self, status: StatusCode, took: Duration) {
        let (method, route, status_code) = (&self.method, self.route(), status.as_u16());
        // A wait that ended without what was waited for is an answer like any other.
        if status.is_server_error() && status != StatusCode::GATEWAY_TIMEOUT {
            tracing::warn!(%method, route, request_id = self.id(), status = status_code, ?took, "failed");
        } else if took > SLOW && !self.may_wait {
            tracing::warn!(%method, route, request_id = self.id(), status = status_code, ?took, "slow");
        } else {
            tracing::debug!(%method, route, request_id = self.id(), status = status_code, ?took, "answered");
        }
    }
}

fn is_read<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET && request.uri().path().starts_with(READS)
}

fn is_too_long<B>(request: &Request<B>) -> bool {
    request.uri().path_and_query().is_some_and(|path| path.as_str().len() > URI_BYTES_MAX)
}

fn uri_too_long() -> Response {
    ApiError::new(Kind::UriTooLong, format!("the path and the query exceed {URI_BYTES_MAX} bytes")).into_response()
}

/// Answers where no route is.
pub(crate) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(Kind::NoSuchRoute, format!("there is no {} here", uri.path()))
}

/// Answers where a route takes other methods; the router adds which.
pub(crate) async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::new(Kind::MethodNotAllowed, format!("the route does not take {method}; see the header allow"))
}
