//! One attempt: a request to the endpoint, and the head of its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use plimsoll_wire::problem::Problem;

use crate::connect::Connector;
use crate::endpoint::Endpoint;
use crate::error::{Cause, Failure, TransportError};

/// The body of a request.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Idle connections are dropped sooner than servers and middleboxes commonly do, which is after a minute: a request on
/// a connection that is closed under it has an unknown outcome.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// No problem document is larger; what is, is not read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

const AGENT: &str = concat!("plimsoll-client/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one endpoint over pooled connections.
pub(crate) struct Transport {
    url: Arc<str>,
    endpoint: Endpoint,
    pool: Pool<Connector, Body>,
    authorization: Option<HeaderValue>,
}

impl Transport {
    pub(crate) fn new(url: &str, endpoint: Endpoint, connector: Connector, authorization: Option<HeaderValue>) -> Self {
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .build(connector);
        Self { url: url.into(), endpoint, pool, authorization }
    }

    /// The endpoint's URL, as it was given.
    pub(crate) const fn url(&self) -> &Arc<str> {
        &self.url
    }

    /// Sends a request; gives the answer's head whatever its status.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, Cause> {
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        self.dispatch(method, path, headers, body).await
    }

    /// Sends a request without a body that does not tell who is asking.
    pub(crate) async fn send_anonymous(&self, method: Method, path: &str) -> Result<Response<Incoming>, Cause> {
        self.dispatch(method, path, HeaderMap::new(), empty_body()).await
    }

    async fn dispatch(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, Cause> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.endpoint.uri(path)?;
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("application/json"));
        self.pool.request(request).await.map_err(|error| {
            if error.is_connect() {
                Cause::Connect(TransportError::request(error))
            } else {
                Cause::Dropped(TransportError::request(error))
            }
        })
    }
}

pub(crate) fn empty_body() -> Body {
    Empty::new().boxed_unsync()
}

pub(crate) fn whole_body(bytes: Bytes) -> Body {
    Full::new(bytes).boxed_unsync()
}

/// Reads a whole body, up to a bound.
pub(crate) async fn read_body(body: Incoming, limit_bytes: usize) -> Result<Bytes, Cause> {
    match Limited::new(body, limit_bytes).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => Cause::Dropped(TransportError::body(*error)),
            Err(error) if error.is::<LengthLimitError>() => Cause::AnswerTooLarge { limit_bytes },
            Err(_) => Cause::Dropped(TransportError::ended()),
        }),
    }
}

/// Reads an answer that is not a success.
pub(crate) async fn read_refusal(answer: Response<Incoming>) -> Failure {
    let status = answer.status();
    let retry_after = retry_after(answer.headers());
    let unexpected = |what| Cause::UnexpectedAnswer { status, what };
    let cause = match read_body(answer.into_body(), PROBLEM_BYTES_MAX).await {
        Ok(_) if !(status.is_client_error() || status.is_server_error()) => unexpected("neither success nor problem"),
        Ok(bytes) => match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Cause::Problem(Box::new(Problem { status: status.as_u16(), ..problem })),
            Err(_) => unexpected("not a problem document"),
        },
        // The status stands although its explanation is lost.
        Err(_) => unexpected("the problem document cannot be read"),
    };
    Failure { cause, retry_after }
}

/// `Retry-After` in seconds. Its other form, a date, is ignored: it would need a wall clock that agrees with the node's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A header's value from an argument.
pub(crate) fn header_value(argument: &'static str, value: &str) -> Result<HeaderValue, Cause> {
    HeaderValue::from_str(value)
        .map_err(|_| Cause::InvalidArgument { argument, rule: "it holds a character that no header may" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_seconds_only() {
        let read = |value| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Wed, 21 Oct 2026 07:28:00 GMT"), None);
        assert_eq!(read("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
