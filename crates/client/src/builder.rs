//! What a client is made of.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::call::Client;
use crate::connect::{Connect, Connector, Tcp};
use crate::endpoint::Endpoint;
use crate::fleet::{Fleet, Observer, Switch};
use crate::retry::{Jitter, RetryPolicy};
use crate::roster::ENDPOINTS_MAX;
use crate::transport::Transport;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// Collects what a [`Client`] needs; only the URLs have no default.
pub struct Builder {
    urls: Vec<String>,
    token: Option<String>,
    timeout: Duration,
    connect_timeout: Duration,
    retry: RetryPolicy,
    seed: Option<u64>,
    connect: Arc<dyn Connect>,
    read_your_writes: Option<Duration>,
    observer: Option<Observer>,
}

impl Builder {
    pub(crate) fn new(urls: Vec<String>) -> Self {
        Self {
            urls,
            token: None,
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            seed: None,
            connect: Arc::new(Tcp),
            read_your_writes: None,
            observer: None,
        }
    }

    /// The secret that is sent as `Authorization: Bearer`. None by default.
    #[must_use]
    pub fn token(mut self, secret: impl Into<String>) -> Self {
        self.token = Some(secret.into());
        self
    }

    /// How long one attempt may take from its start to the end of its answer; 10 s by default. A request that asks the
    /// node to wait is given that time on top. For a stream it is the longest silence instead.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long one attempt to connect may take; 3 s by default. Keep it below `timeout`, so that a node that cannot
    /// be reached is told from one that does not answer: only the latter leaves the outcome of a write unknown.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Reads of one artifact see this client's own posts to it, on whichever node they are answered.
    ///
    /// [`Client::cursor`], [`Client::projection`] and [`Client::history`] demand to see the last transition that this
    /// client posted to the artifact, among the last 1,024 artifacts it posted to. The node may wait so long for it, in
    /// whole seconds, at most 60; if it has not come by then, the read fails with
    /// [`Kind::NotYetReplicated`](crate::wire::problem::Kind::NotYetReplicated). It costs the latter two one more round
    /// trip. A cursor that names a transition itself demands that one only. Lists and [`Client::cursors`] demand nothing.
    ///
    /// It holds where each URL is one node's. What spreads requests over several keeps it for cursors alone.
    #[must_use]
    pub const fn read_your_writes(mut self, wait: Duration) -> Self {
        self.read_your_writes = Some(wait);
        self
    }

    /// Who is told each time the client talks to another node than before. It is called where that is noticed, so it
    /// must not wait.
    #[must_use]
    pub fn on_switch(mut self, observer: impl Fn(&Switch) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// How often and how long requests are tried.
    #[must_use]
    pub const fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Where the jitter of delays begins: the same seed gives the same delays. Drawn anew in each process by default; a
    /// simulation must give it.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where connections come from; [`Tcp`] by default.
    #[must_use]
    pub fn connect(mut self, connect: impl Connect) -> Self {
        self.connect = Arc::new(connect);
        self
    }

    /// The client. It connects when it has something to send.
    ///
    /// # Errors
    /// What was given cannot work: see [`ConfigError`].
    pub fn build(self) -> Result<Client, ConfigError> {
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(ConfigError::ZeroTimeout);
        }
        let endpoints = endpoints(&self.urls)?;
        let authorization = self.token.as_deref().map(bearer).transpose()?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        let connector = Connector::new(self.connect, self.connect_timeout);
        let transport =
            |(url, endpoint)| Arc::new(Transport::new(url, endpoint, connector.clone(), authorization.clone()));
        let transports = endpoints.into_iter().map(transport).collect();
        let fleet = Fleet::new(transports, self.timeout, self.observer);
        Ok(Client::new(fleet, self.timeout, self.retry, Jitter::new(seed), self.read_your_writes))
    }
}

/// The endpoints with their URLs.
fn endpoints(urls: &[String]) -> Result<Vec<(&str, Endpoint)>, ConfigError> {
    if !(1..=ENDPOINTS_MAX).contains(&urls.len()) {
        return Err(ConfigError::UrlCount { given: urls.len() });
    }
    let mut endpoints: Vec<(&str, Endpoint)> = Vec::with_capacity(urls.len());
    for url in urls {
        let url = url.trim();
        let endpoint = Endpoint::parse(url)?;
        if endpoints.iter().any(|(_, other)| *other == endpoint) {
            return Err(ConfigError::RepeatedUrl { url: url.to_owned() });
        }
        endpoints.push((url, endpoint));
    }
    Ok(endpoints)
}

fn bearer(secret: &str) -> Result<HeaderValue, ConfigError> {
    // RFC 6750, section 2.1: a token is visible ASCII without spaces.
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ConfigError::InvalidToken);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| ConfigError::InvalidToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why a client cannot be built. Nothing was sent; retrying gives the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The URL is not the base of a node's routes.
    #[error("{url:?} is not the URL of a node; it looks like http://host:port, without user, query or fragment")]
    InvalidUrl {
        /// The URL.
        url: String,
    },
    /// The URL asks for TLS, which this client does not speak.
    #[error("{url:?} asks for TLS, which this client does not speak yet; use an http:// URL on a trusted network")]
    HttpsNotSupported {
        /// The URL.
        url: String,
    },
    /// There is no URL, or there are too many.
    #[error("a client takes 1 to {ENDPOINTS_MAX} URLs, and {given} are given")]
    UrlCount {
        /// How many there are.
        given: usize,
    },
    /// Two URLs are the same node's.
    #[error("{url:?} is given twice")]
    RepeatedUrl {
        /// The URL.
        url: String,
    },
    /// The token cannot be put in a header.
    #[error("the token is empty or holds a space or a character that is not visible ASCII")]
    InvalidToken,
    /// A timeout of zero would fail every request.
    #[error("a timeout must be greater than zero")]
    ZeroTimeout,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(builder: Builder) -> ConfigError {
        builder.build().err().expect("refused")
    }

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_sent() {
        let builder = || Client::builder("http://127.0.0.1:7171");
        assert_eq!(refusal(builder().token("two words")), ConfigError::InvalidToken);
        assert_eq!(refusal(builder().token("")), ConfigError::InvalidToken);
        assert_eq!(refusal(builder().timeout(Duration::ZERO)), ConfigError::ZeroTimeout);
        assert!(matches!(refusal(Client::builder("https://a")), ConfigError::HttpsNotSupported { .. }));
    }

    #[test]
    fn a_client_has_one_to_sixteen_different_endpoints() {
        let numbered = |count: usize| (0..count).map(|number| format!("http://node-{number}:7171"));
        assert_eq!(refusal(Client::builder_of(numbered(0))), ConfigError::UrlCount { given: 0 });
        assert_eq!(refusal(Client::builder_of(numbered(17))), ConfigError::UrlCount { given: 17 });
        assert_eq!(Client::builder_of(numbered(16)).build().unwrap().urls().count(), 16);
        let client = Client::builder_of(["http://a", " http://b/ "]).build().unwrap();
        assert_eq!(client.urls().collect::<Vec<_>>(), ["http://a", "http://b/"]);
        for (url, same) in [("http://a:1", "http://a:1/"), ("http://a/b", "http://A/b/")] {
            let refused = refusal(Client::builder_of([url, same]));
            assert_eq!(refused, ConfigError::RepeatedUrl { url: same.to_owned() });
        }
    }
}
