//! The client, and the loop that sends a request again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::de::DeserializeOwned;

use crate::builder::Builder;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::fleet::Fleet;
use crate::history::{History, Repeat};
use crate::memory::{Memory, Written};
use crate::retry::{Jitter, RetryPolicy};
use crate::roster::EndpointIndex;
use crate::tour::Next;
use crate::transport::{empty_body, read_body, read_refusal, whole_body};

/// A client of one store, at one or several of its nodes. Cloning it is cheap and shares its connections, what it knows
/// of the nodes, and what it remembers of its writes.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) fleet: Fleet,
    pub(crate) timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) jitter: Jitter,
    pub(crate) read_your_writes: Option<Duration>,
    memory: Mutex<Memory>,
}

impl Shared {
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that can be sent again.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the node is asked to wait, over all attempts.
    pub(crate) wait: Duration,
    /// How long the node may take for it without being asked to wait, on top of the timeout.
    pub(crate) takes: Duration,
    pub(crate) answer_bytes_max: usize,
    pub(crate) repeat: Repeat,
    /// A status that is an answer here, although it is an error elsewhere.
    pub(crate) also_success: Option<StatusCode>,
    /// The only endpoint it is for.
    pub(crate) only: Option<EndpointIndex>,
    /// What has to succeed first, at the endpoint this is then sent to.
    pub(crate) demand: Option<Box<Self>>,
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
            takes: Duration::ZERO,
            answer_bytes_max: ANSWER_BYTES_MAX,
            repeat: Repeat::Read,
            also_success: None,
            only: None,
            demand: None,
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
        Builder::new(vec![url.into()])
    }

    /// Begins a client of several nodes of one store: 1 to 16 different URLs, in any order.
    pub fn builder_of(urls: impl IntoIterator<Item = impl Into<String>>) -> Builder {
        Builder::new(urls.into_iter().map(Into::into).collect())
    }

    pub(crate) fn new(
        fleet: Fleet,
        timeout: Duration,
        retry: RetryPolicy,
        jitter: Jitter,
        read_your_writes: Option<Duration>,
    ) -> Self {
        let memory = Mutex::default();
        Self { shared: Arc::new(Shared { fleet, timeout, retry, jitter, read_your_writes, memory }) }
    }

    /// A client of those endpoints whose URLs `keep` keeps, with the same settings and connections. It has a memory of
    /// its own, which is empty. `None` where no endpoint is kept.
    #[must_use]
    pub fn narrowed(&self, keep: impl Fn(&str) -> bool) -> Option<Self> {
        let Shared { fleet, timeout, retry, jitter, read_your_writes, .. } = self.shared();
        let fleet = fleet.narrowed(*timeout, keep)?;
        Some(Self::new(fleet, *timeout, *retry, Jitter::new(jitter.draw()), *read_your_writes))
    }

    /// The URLs of its endpoints, as they were given.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        let fleet = &self.shared().fleet;
        fleet.endpoints().map(|endpoint| fleet.url(endpoint).as_ref())
    }

    /// What this client posted to an artifact last, if that was among the last 1,024 artifacts it posted to and it has
    /// not retired it since. Answers to batches count, transitions whose outcome is unknown do not.
    #[must_use]
    pub fn last_written(&self, artifact_id: &str) -> Option<Written> {
        self.shared().memory().written(artifact_id).cloned()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sends a request until it succeeds, is refused, or the retry policy ends.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer, Error> {
        self.call_somewhere(call).await.1
    }

    /// The same, at the endpoint the client talks to now and at no other.
    pub(crate) async fn call_here(&self, call: Call) -> Result<Answer, Error> {
        let at = self.shared().fleet.pick().await;
        self.call(&Call { only: Some(at), ..call }).await
    }

    /// The same as [`Self::call`]; tells also which endpoint had the last word.
    pub(crate) async fn call_somewhere(&self, call: &Call) -> (EndpointIndex, Result<Answer, Error>) {
        let shared = self.shared();
        let (mut at, mut history) = match call.only {
            Some(only) => (only, History::begin_held()),
            None => (shared.fleet.pick().await, History::begin()),
        };
        loop {
            let failure = match self.attempt(at, call, &history).await {
                Ok(answer) => {
                    shared.fleet.succeeded(at);
                    return (at, Ok(answer));
                }
                Err(failure) => failure,
            };
            match history.note(at, &failure, call.repeat, shared) {
                Next::Attempt { at: next, after } => {
                    pause(after).await;
                    at = next;
                }
                Next::GiveUp => return (at, Err(history.error(at, failure, call.repeat, shared))),
            }
        }
    }

    /// Sends a request once, to one endpoint.
    pub(crate) async fn call_once(&self, at: EndpointIndex, call: &Call) -> Result<Answer, Error> {
        self.exchange(at, call, call.wait).await.map_err(|failure| {
            let outcome = if call.repeat == Repeat::Read { Outcome::NotApplied } else { failure.cause.outcome() };
            Error::new(failure, outcome, 1).at(self.shared().fleet.url(at))
        })
    }

    async fn attempt(&self, at: EndpointIndex, call: &Call, history: &History) -> Result<Answer, Failure> {
        let left = |wait: Duration| wait.saturating_sub(history.elapsed());
        if let Some(demand) = &call.demand {
            self.exchange(at, demand, left(demand.wait)).await?;
        }
        self.exchange(at, call, left(call.wait)).await
    }

    /// A request and its answer.
    async fn exchange(&self, at: EndpointIndex, call: &Call, wait: Duration) -> Result<Answer, Failure> {
        let after = self.shared.timeout.saturating_add(wait).saturating_add(call.takes);
        let exchange = async {
            let mut headers = call.headers.clone();
            let body = if call.body.is_empty() { empty_body() } else { whole_body(call.body.clone()) };
            if !wait.is_zero() {
                // Whole seconds, rounded up: a wait of zero would be no wait.
                let seconds = wait.as_millis().div_ceil(1000);
                let prefer = HeaderValue::try_from(format!("wait={seconds}")).ok();
                headers.extend(prefer.map(|value| (HeaderName::from_static("prefer"), value)));
            }
            let transport = self.shared.fleet.transport(at);
            let answer = transport.send(call.method.clone(), &call.path, headers, body).await?;
            let status = answer.status();
            let is_success =
                status.is_success() || status == StatusCode::NOT_MODIFIED || Some(status) == call.also_success;
            if !is_success {
                return Err(read_refusal(answer).await);
            }
            let body = read_body(answer.into_body(), call.answer_bytes_max).await?;
            Ok(Answer { status, body })
        };
        match tokio::time::timeout(after, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Cause::Timeout { after }.into()),
        }
    }
}

/// Waits, where there is something to wait for: a timer takes a moment even for nothing.
pub(crate) async fn pause(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
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
