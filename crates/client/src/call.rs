//! The client, and the loop that sends a request again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use plimsoll_wire::problem::Kind;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::builder::Builder;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::retry::{Decision, Jitter, RetryPolicy};
use crate::transport::{Transport, empty_body, read_body, read_refusal, whole_body};

/// A client of one node. Cloning it is cheap and shares its connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) transport: Transport,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) jitter: Jitter,
}

/// Which failed attempts may be followed by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: after whatever may pass.
    Read,
    /// Applying it twice is applying it once: after whatever may pass.
    Idempotent,
    /// Applying it twice may undo what came in between: only when the attempt certainly did nothing.
    IfNotApplied,
}

/// A request that can be sent again.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the node is asked to wait, over all attempts.
    pub(crate) wait: Duration,
    pub(crate) answer_bytes_max: usize,
    pub(crate) repeat: Repeat,
    /// A status that is an answer here, although it is an error elsewhere.
    pub(crate) also_success: Option<StatusCode>,
}

/// Larger than any single projection: 256 refs of 2,816 bytes, with every byte escaped.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Call {
    pub(crate) fn get(path: String) -> Self {
        Self {
            method: Method::GET,
            path,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            wait: Duration::ZERO,
            answer_bytes_max: ANSWER_BYTES_MAX,
            repeat: Repeat::Read,
            also_success: None,
        }
    }

    pub(crate) fn post_json(path: &str, body: Vec<u8>, repeat: Repeat) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self { method: Method::POST, headers, body: body.into(), repeat, ..Self::get(path.to_owned()) }
    }
}

/// A successful answer, read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    /// Begins a client of the node at `url`, such as `http://127.0.0.1:7171`.
    pub fn builder(url: impl Into<String>) -> Builder {
        Builder::new(url.into())
    }

    pub(crate) fn new(transport: Transport, timeout: Duration, retry: RetryPolicy, jitter: Jitter) -> Self {
        Self { shared: Arc::new(Shared { transport, timeout, retry, jitter }) }
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sends a request until it succeeds, is refused, or the retry policy ends.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        let mut history = History::begin();
        loop {
            let left = call.wait.saturating_sub(history.elapsed());
            let failure = match self.attempt(call, left).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match history.note(&failure, call.repeat, &self.shared) {
                Decision::After(delay) => tokio::time::sleep(delay).await,
                Decision::GiveUp => return Err(history.error(failure, call.repeat)),
            }
        }
    }

    /// Sends a request once.
    pub(crate) async fn call_once(&self, call: &Call) -> Result<Answer, Error> {
        self.attempt(call, call.wait).await.map_err(|failure| {
            let outcome = if call.repeat == Repeat::Read { Outcome::NotApplied } else { failure.cause.outcome() };
            Error::new(failure, outcome, 1)
        })
    }

    async fn attempt(&self, call: &Call, wait: Duration) -> Result<Answer, Failure> {
        let after = self.shared.timeout.saturating_add(wait);
        let attempt = async {
            let mut headers = call.headers.clone();
            let body = if call.body.is_empty() { empty_body() } else { whole_body(call.body.clone()) };
            if !wait.is_zero() {
                // Whole seconds, rounded up: a wait of zero would be no wait.
                let seconds = wait.as_millis().div_ceil(1000);
                let prefer = HeaderValue::try_from(format!("wait={seconds}")).ok();
                headers.extend(prefer.map(|value| (HeaderName::from_static("prefer"), value)));
            }
            let answer = self.shared.transport.send(call.method.clone(), &call.path, headers, body).await?;
            let status = answer.status();
            let is_success =
                status.is_success() || status == StatusCode::NOT_MODIFIED || Some(status) == call.also_success;
            if !is_success {
                return Err(read_refusal(answer).await);
            }
            let body = read_body(answer.into_body(), call.answer_bytes_max).await?;
            Ok(Answer { status, body })
        };
        match tokio::time::timeout(after, attempt).await {
            Ok(result) => result,
            Err(_) => Err(Cause::Timeout { after }.into()),
        }
    }
}

/// What is known about the attempts so far.
pub(crate) struct History {
    began: Instant,
    failed: u32,
    outcome: Outcome,
}

impl History {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), failed: 0, outcome: Outcome::NotApplied }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes note of a failed attempt and decides what follows.
    pub(crate) fn note(&mut self, failure: &Failure, repeat: Repeat, shared: &Shared) -> Decision {
        self.failed += 1;
        let outcome = failure.cause.outcome();
        self.outcome = self.outcome.max(outcome);
        let may_repeat = failure.cause.is_transient()
            && !is_last_word(&failure.cause)
            && (repeat != Repeat::IfNotApplied || outcome == Outcome::NotApplied);
        if !may_repeat {
            return Decision::GiveUp;
        }
        shared.retry.decide(self.failed, self.elapsed(), failure.retry_after, shared.jitter.draw())
    }

    /// Takes note that something may have been applied.
    pub(crate) fn doubt(&mut self) {
        self.outcome = self.outcome.max(Outcome::Unknown);
    }

    pub(crate) fn error(&self, failure: Failure, repeat: Repeat) -> Error {
        let outcome = if repeat == Repeat::Read { Outcome::NotApplied } else { self.outcome };
        Error::new(failure, outcome, self.failed)
    }
}

/// The caller said how long to wait for a transition to arrive; waiting again would be longer than that. And a transition
/// that is on too few disks stands: it goes on replicating, whether it is posted again or not.
fn is_last_word(cause: &Cause) -> bool {
    let Cause::Problem(problem) = cause else { return false };
    matches!(problem.known_kind(), Some(Kind::NotYetReplicated | Kind::UnderReplicated))
}

/// Decodes a successful answer.
pub(crate) fn decode<T: DeserializeOwned>(answer: &Answer, repeat: Repeat) -> Result<T, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|_| unexpected(answer.status, "the JSON is not what was asked for", repeat))
}

/// A success that is not the one the request asks for.
pub(crate) fn unexpected(status: StatusCode, what: &'static str, repeat: Repeat) -> Error {
    let outcome = if repeat == Repeat::Read { Outcome::NotApplied } else { Outcome::Unknown };
    Error::new(Cause::UnexpectedAnswer { status, what }.into(), outcome, 1)
}
