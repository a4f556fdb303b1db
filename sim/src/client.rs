//! Requests over the simulated network: one connection each, and a bound on the wait.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::host::TOKEN;
use crate::net::{HTTP_PORT, Weather, connect};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of a node.
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    /// The node.
    pub node: u8,
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// The secret; `None` to send none.
    pub token: Option<&'a str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body: nothing, where it is empty.
    pub body: String,
    /// How long the answer is waited for.
    pub patience: Duration,
}

impl<'a> Asking<'a> {
    /// What a client of the tenant asks.
    #[must_use]
    pub const fn of(node: u8, method: Method, path: &'a str) -> Self {
        Self { node, method, path, token: Some(TOKEN), headers: Vec::new(), body: String::new(), patience: PATIENCE }
    }
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body as it came.
    pub text: String,
    /// The body; null where it is none of JSON.
    pub body: Value,
    /// How old what it says may be; `None` where that is not known.
    pub staleness: Option<Duration>,
}

impl Answer {
    /// The name of the problem; empty where there is none.
    #[must_use]
    pub fn problem(&self) -> &str {
        let kind = self.body["type"].as_str().unwrap_or_default();
        kind.rsplit(':').next().unwrap_or_default()
    }
}

/// Asks a node once.
///
/// # Errors
/// There is no whole answer in time: whether the request took effect is unknown.
pub async fn ask(weather: &Weather, asking: Asking<'_>) -> anyhow::Result<Answer> {
    let Asking { node, method, path, token, headers, body, patience } = asking;
    let asking = async {
        let stream = connect(node, HTTP_PORT, weather).await?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the request.
        tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri(path).header("host", "plimsoll");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let response = requests.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status().as_u16();
        let millis =
            response.headers().get("plimsoll-staleness-ms").and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8(bytes.into()).context("a body of text")?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status, text, body, staleness: millis.map(Duration::from_millis) })
    };
    tokio::time::timeout(patience, asking).await.map_err(|_| anyhow!("no answer in time"))?
}
