//! Requests over the simulated network: one connection each, and a bound on the wait.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
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

    fn request(&self) -> http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(self.method.clone()).uri(self.path).header("host", "plimsoll");
        if let Some(token) = self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !self.headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        request = self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        request.body(Full::new(Bytes::from(self.body.clone())))
    }
}

/// Listens to a stream of events for so long, and returns what came of it.
///
/// # Errors
/// No answer began.
pub async fn listen(weather: &Weather, asking: Asking<'_>) -> anyhow::Result<Answer> {
    let until = tokio::time::Instant::now() + asking.patience;
    let mut requests = connected(weather, asking.node).await?;
    let response = tokio::time::timeout_at(until, requests.send_request(asking.request()?)).await??;
    let (status, mut body, mut text) = (response.status().as_u16(), response.into_body(), String::new());
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(until, body.frame()).await {
        text.extend(frame.data_ref().map(|bytes| String::from_utf8_lossy(bytes)));
    }
    Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or_default(), text, staleness: None })
}

async fn connected(weather: &Weather, node: u8) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = connect(node, HTTP_PORT, weather).await?;
    let (requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the request.
    tokio::spawn(async move { drop(connection.await) });
    Ok(requests)
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
    let patience = asking.patience;
    let answering = async {
        let mut requests = connected(weather, asking.node).await?;
        let response = requests.send_request(asking.request()?).await?;
        let status = response.status().as_u16();
        let millis =
            response.headers().get("plimsoll-staleness-ms").and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8(bytes.into()).context("a body of text")?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status, text, body, staleness: millis.map(Duration::from_millis) })
    };
    tokio::time::timeout(patience, answering).await.map_err(|_| anyhow!("no answer in time"))?
}
