//! Spans by OTLP.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

use crate::failure::Failure;

/// The standard variable that says where the collector is. Without it no span is sent.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A collector says hardly anything.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What one export may take, so that a collector that is silent does not hold up the end of a node.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The spans on their way.
pub(super) struct Spans {
    provider: SdkTracerProvider,
}

impl Spans {
    /// Begins to send spans, if there is somewhere to send them.
    pub(super) fn begin(runtime: &Handle) -> Result<Option<Self>, Failure> {
        if std::env::var_os(ENDPOINT).is_none_or(|endpoint| endpoint.is_empty()) {
            return Ok(None);
        }
        let carrier = Carrier { runtime: runtime.clone(), client: Client::builder(TokioExecutor::new()).build_http() };
        let exporter =
            SpanExporter::builder().with_http().with_http_client(carrier).build().map_err(|error| Failure::Config {
                detail: format!("{ENDPOINT}: spans cannot be sent there: {error}"),
            })?;
        Ok(Some(Self { provider: SdkTracerProvider::builder().with_batch_exporter(exporter).build() }))
    }

    /// What takes the spans of the process: only ours, for those of the libraries would be sent by being sent.
    pub(super) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = Targets::new().with_target("plimsoll", LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("plimsoll")).with_filter(ours).boxed()
    }

    /// Sends what is left.
    pub(super) fn end(self) {
        if let Err(error) = self.provider.shutdown() {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Carries exports on the process's runtime: the exporter has a thread of its own, without one.
#[derive(Debug)]
struct Carrier {
    runtime: Handle,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.request(request.map(Full::new)).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        // The clock, too, is the runtime's: it cannot be looked at from the exporter's thread.
        self.runtime.spawn(async { tokio::time::timeout(TIMEOUT, exchange).await }).await??
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use opentelemetry_otlp::WithExportConfig as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_span_reaches_the_collector_by_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
            while !seen.windows(7).any(|window| window == b"request") {
                let read = stream.read(&mut piece).unwrap();
                assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&piece[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&seen).into_owned()
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let carrier =
            Carrier { runtime: runtime.handle().clone(), client: Client::builder(TokioExecutor::new()).build_http() };
        let exporter =
            SpanExporter::builder().with_http().with_http_client(carrier).with_endpoint(endpoint).build().unwrap();
        let spans = Spans { provider: SdkTracerProvider::builder().with_batch_exporter(exporter).build() };
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug_span!(target: "plimsoll_node::http", "request").in_scope(|| {});
        });
        spans.end();
        let seen = collector.join().unwrap();
        assert!(seen.starts_with("POST /v1/traces HTTP/1.1") && seen.contains("application/x-protobuf"), "{seen}");
    }
}
