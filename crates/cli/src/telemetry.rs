//! The log of a process, and, with the feature `otlp`, its spans on their way to an OpenTelemetry collector.
//!
//! Spans go by OTLP over HTTP with protobuf, to where the standard variable `OTEL_EXPORTER_OTLP_ENDPOINT` says, and
//! nowhere without it. The other standard variables (`OTEL_SERVICE_NAME`, `OTEL_EXPORTER_OTLP_HEADERS`, …) hold as
//! OpenTelemetry defines them. There is no TLS: a collector stands beside its node.

use std::io::{self, IsTerminal as _};

use anyhow::anyhow;
use plimsoll_node::config::LogFormat;
use tokio::runtime::Handle;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::failure::Failure;

#[cfg(feature = "otlp")]
mod otlp;

/// What has to be ended for all to be told.
pub(crate) struct Telemetry {
    #[cfg(feature = "otlp")]
    spans: Option<otlp::Spans>,
}

/// Begins the log on standard error; `runtime` carries the spans.
pub(crate) fn begin(filter: EnvFilter, format: LogFormat, runtime: &Handle) -> Result<Telemetry, Failure> {
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let log = match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![log.with_filter(filter).boxed()];
    let telemetry = Telemetry::begin(&mut layers, runtime)?;
    let installed = tracing_subscriber::registry().with(layers).try_init();
    installed.map_err(|error| Failure::Other(anyhow!("cannot write a log: {error}")))?;
    Ok(telemetry)
}

#[cfg(feature = "otlp")]
impl Telemetry {
    fn begin(layers: &mut Vec<Box<dyn Layer<Registry> + Send + Sync>>, runtime: &Handle) -> Result<Self, Failure> {
        let spans = otlp::Spans::begin(runtime)?;
        layers.extend(spans.as_ref().map(otlp::Spans::layer));
        Ok(Self { spans })
    }

    /// Sends what is left. The runtime must still be there.
    pub(crate) fn end(self) {
        if let Some(spans) = self.spans {
            spans.end();
        }
    }
}

#[cfg(not(feature = "otlp"))]
impl Telemetry {
    #[expect(clippy::unnecessary_wraps, reason = "it fails where spans are sent")]
    fn begin(_: &mut Vec<Box<dyn Layer<Registry> + Send + Sync>>, _: &Handle) -> Result<Self, Failure> {
        Ok(Self {})
    }

    /// Sends what is left: nothing, without the feature.
    pub(crate) fn end(self) {}
}
