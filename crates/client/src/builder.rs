//! What a client is made of.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::call::Client;
use crate::connect::{Connect, Connector, Tcp};
use crate::endpoint::Endpoint;
use crate::retry::{Jitter, RetryPolicy};
use crate::transport::Transport;

const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// Collects what a [`Client`] needs; only the URL has no default.
pub struct Builder {
    url: String,
    token: Option<String>,
    timeout: Duration,
    connect_timeout: Duration,
    retry: RetryPolicy,
    seed: Option<u64>,
    connect: Arc<dyn Connect>,
}

impl Builder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            url,
            token: None,
            timeout: TIMEOUT_DEFAULT,
            connect_timeout: CONNECT_TIMEOUT_DEFAULT,
            retry: RetryPolicy::default(),
            seed: None,
            connect: Arc::new(Tcp),
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
        let endpoint = Endpoint::parse(&self.url)?;
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(ConfigError::ZeroTimeout);
        }
        let authorization = self.token.as_deref().map(bearer).transpose()?;
        let seed = self.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        let transport = Transport::new(endpoint, Connector::new(self.connect, self.connect_timeout), authorization);
        Ok(Client::new(transport, self.timeout, self.retry, Jitter::new(seed)))
    }
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
}
