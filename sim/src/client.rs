//! Requests over the simulated network: one connection each, and a bound on the wait.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use turmoil::net::TcpStream;

use crate::host::TOKEN;
use crate::net::{HTTP_PORT, host_of};

/// What a node answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null where there is none.
    pub body: Value,
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
/// There is no whole answer within `patience`: whether the request took effect is unknown.
pub async fn ask(
    node: u8,
    method: Method,
    path: &str,
    body: Option<&Value>,
    patience: Duration,
) -> anyhow::Result<Answer> {
    let asking = async {
        let stream = TcpStream::connect((host_of(node), HTTP_PORT)).await?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the request.
        tokio::spawn(async move { drop(connection.await) });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "plimsoll")
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json");
        let text = body.map(Value::to_string).unwrap_or_default();
        let response = requests.send_request(request.body(Full::new(Bytes::from(text)))?).await?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).context("a body of JSON")? };
        Ok(Answer { status, body })
    };
    tokio::time::timeout(patience, asking).await.map_err(|_| anyhow!("no answer in time"))?
}
