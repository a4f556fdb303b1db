//! What a run has measured, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::generator::{Measurement, Run};
use super::schedule::Load;
use super::tally::Lane;
use super::workload::Operation;

/// The share of its threads' time above which the generator itself is what requests wait for.
const GENERATOR_BUSY: f64 = 0.9;

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// The server.
    pub(crate) url: String,
    /// How requests were offered.
    #[serde(rename = "loop")]
    pub(crate) offered: Offered,
    /// Connections.
    pub(crate) connections: u32,
    /// Threads of the generator.
    pub(crate) threads: u32,
    /// Artifacts chosen from.
    pub(crate) artifacts: u32,
    /// Seconds before the recorded part.
    pub(crate) warmup_seconds: f64,
    /// Seconds recorded, until the last answer.
    pub(crate) elapsed_seconds: f64,
    /// Processor seconds the generator itself used in that time.
    pub(crate) generator_cpu_seconds: Option<f64>,
    /// Each operation that was asked for.
    pub(crate) operations: Vec<OperationReport>,
}

/// How requests were offered, and so what latency means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Offered {
    /// At a fixed rate; latency counts from the scheduled time.
    Open {
        /// Requests a second.
        rate: u64,
    },
    /// As fast as answers come; latency is service time.
    Closed,
}

/// The result for one operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct OperationReport {
    /// Its name.
    pub(crate) operation: &'static str,
    /// Requests answered with a 2xx status.
    pub(crate) answered: u64,
    /// Cursors read, or transitions accepted.
    pub(crate) items: u64,
    /// The same a second.
    pub(crate) items_per_second: f64,
    /// How long requests took.
    pub(crate) latency_us: Latency,
    /// Bytes of requests.
    pub(crate) sent_bytes: u64,
    /// Bytes of answers.
    pub(crate) received_bytes: u64,
    /// Answers with other statuses.
    pub(crate) refused: Vec<RefusedReport>,
    /// Requests without an answer, by reason.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Requests that never got their turn.
    pub(crate) unsent: u64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Half are faster.
    pub(crate) p50: f64,
    /// Nine in ten are faster.
    pub(crate) p90: f64,
    /// 99 in 100 are faster.
    pub(crate) p99: f64,
    /// 999 in 1,000 are faster.
    pub(crate) p999: f64,
    /// The slowest.
    pub(crate) max: f64,
}

/// Answers with one status other than 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RefusedReport {
    /// The status.
    pub(crate) status: u16,
    /// How many.
    pub(crate) count: u64,
    /// The beginning of one body.
    pub(crate) sample: String,
}

impl Report {
    /// The report of a measured run over so many artifacts.
    pub(crate) fn new(run: &Run, artifacts: u32, measurement: &Measurement) -> Self {
        let operations = Operation::ALL.into_iter().filter_map(|operation| {
            let lane = measurement.tally.lane(operation);
            (!lane.is_empty()).then(|| OperationReport::new(operation, lane, measurement.elapsed))
        });
        Self {
            url: run.target.url.clone(),
            offered: match run.load {
                Load::Open(rate) => Offered::Open { rate: rate.get() },
                Load::Closed => Offered::Closed,
            },
            connections: run.connections,
            threads: run.threads,
            artifacts,
            warmup_seconds: run.warmup.as_secs_f64(),
            elapsed_seconds: measurement.elapsed.as_secs_f64(),
            generator_cpu_seconds: measurement.processor.map(|processor| processor.as_secs_f64()),
            operations: operations.collect(),
        }
    }

    /// Requests and lines that were not accepted.
    pub(crate) fn errors(&self) -> u64 {
        self.operations.iter().map(OperationReport::errors).sum()
    }
}

impl OperationReport {
    fn new(operation: Operation, lane: &Lane, elapsed: Duration) -> Self {
        let refused = lane.refused.iter();
        let refused = refused.map(|(status, refused)| RefusedReport {
            status: *status,
            count: refused.count,
            sample: refused.sample.clone(),
        });
        Self {
            operation: operation.name(),
            answered: lane.answered,
            items: lane.items,
            items_per_second: lane.items as f64 / elapsed.as_secs_f64(),
            latency_us: Latency::new(&lane.latency),
            sent_bytes: lane.sent_bytes,
            received_bytes: lane.received_bytes,
            refused: refused.collect(),
            failed: lane.failed.clone(),
            unsent: lane.unsent,
        }
    }

    /// Requests and lines that were not accepted.
    pub(crate) fn errors(&self) -> u64 {
        self.refused.iter().map(|refused| refused.count).sum::<u64>() + self.failed.values().sum::<u64>() + self.unsent
    }
}

impl Latency {
    fn new(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: micros(histogram.max()) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offered {
            Offered::Open { rate } => {
                write!(f, "open loop: {rate} requests/s offered; latency counts from the scheduled time")?;
            }
            Offered::Closed => write!(f, "closed loop: as fast as answers come; latency is service time")?,
        }
        write!(f, "\n{}, {} connections, {} threads, ", self.url, self.connections, self.threads)?;
        writeln!(
            f,
            "{} artifacts, {:.1} s after {:.1} s of warm-up",
            self.artifacts, self.elapsed_seconds, self.warmup_seconds
        )?;
        if let Some(seconds) = self.generator_cpu_seconds {
            let requests: u64 = self.operations.iter().map(|operation| operation.answered).sum();
            let each = seconds * 1e6 / requests.max(1) as f64;
            writeln!(f, "the generator used {seconds:.2} s of processor time, {each:.1} µs a request")?;
            if seconds > GENERATOR_BUSY * self.elapsed_seconds * f64::from(self.threads) {
                writeln!(
                    f,
                    "the generator was as busy as it can be: latencies include waiting for it; try more --threads"
                )?;
            }
        }
        writeln!(
            f,
            "\n{:<10}{:>12}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}{:>9}{:>10}{:>10}",
            "operation",
            "items",
            "items/s",
            "p50 µs",
            "p90 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "errors",
            "MB out",
            "MB in"
        )?;
        for operation in &self.operations {
            let Latency { p50, p90, p99, p999, max } = operation.latency_us;
            write!(f, "{:<10}{:>12}{:>12.0}", operation.operation, operation.items, operation.items_per_second)?;
            write!(f, "{p50:>11.1}{p90:>11.1}{p99:>11.1}{p999:>11.1}{max:>11.1}{:>9}", operation.errors())?;
            let (sent, received) = (operation.sent_bytes as f64 / 1e6, operation.received_bytes as f64 / 1e6);
            writeln!(f, "{sent:>10.1}{received:>10.1}")?;
        }
        self.operations.iter().try_for_each(|operation| write_errors(f, operation))
    }
}

fn write_errors(f: &mut fmt::Formatter<'_>, operation: &OperationReport) -> fmt::Result {
    let name = operation.operation;
    for refused in &operation.refused {
        writeln!(f, "{name}: {} times status {}, for example: {}", refused.count, refused.status, refused.sample)?;
    }
    for (reason, count) in &operation.failed {
        writeln!(f, "{name}: {count} times {reason}")?;
    }
    if operation.unsent > 0 {
        writeln!(f, "{name}: {} requests were due but never got their turn", operation.unsent)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;

    fn report(offered: Offered) -> Report {
        let mut tally = Tally::new().unwrap();
        let lane = tally.lane_mut(Operation::Post);
        for micros in 1..=1_000 {
            lane.took(Duration::from_micros(micros));
        }
        (lane.answered, lane.items, lane.sent_bytes, lane.received_bytes) = (1_000, 1_000, 300_000, 400_000);
        lane.refuse(503, br#"{"type":"urn:plimsoll:problem:overloaded"}"#);
        lane.fail("timed out".to_owned());
        lane.unsent = 3;
        Report {
            url: "http://h".to_owned(),
            offered,
            connections: 64,
            threads: 1,
            artifacts: 10,
            warmup_seconds: 2.0,
            elapsed_seconds: 0.5,
            generator_cpu_seconds: Some(0.01),
            operations: vec![OperationReport::new(
                Operation::Post,
                tally.lane(Operation::Post),
                Duration::from_millis(500),
            )],
        }
    }

    #[test]
    fn percentiles_and_rates_are_what_was_recorded() {
        let report = report(Offered::Closed);
        let post = &report.operations[0];
        let Latency { p50, p90, p99, p999, max } = post.latency_us;
        for (measured, expected) in [(p50, 500.0), (p90, 900.0), (p99, 990.0), (p999, 999.0), (max, 1_000.0)] {
            let off: f64 = measured / expected - 1.0;
            assert!(off.abs() < 0.001, "{measured} is not {expected}");
        }
        assert_eq!(post.items_per_second.round() as u64, 2_000);
        assert_eq!(report.errors(), 5);
    }

    #[test]
    fn the_text_says_which_loop_it_was_and_what_went_wrong() {
        let text = report(Offered::Open { rate: 500 }).to_string();
        for part in [
            "open loop: 500 requests/s",
            "10.0 µs a request",
            "503, for example: {\"type\"",
            "1 times timed out",
            "3 requests were due",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(report(Offered::Closed).to_string().starts_with("closed loop"));
        assert!(!text.contains("as busy as it can be"));
        let busy = Report { generator_cpu_seconds: Some(0.49), ..report(Offered::Closed) };
        assert!(busy.to_string().contains("as busy as it can be"));
    }

    #[test]
    fn the_json_has_the_same_numbers() {
        let json = serde_json::to_value(report(Offered::Open { rate: 500 })).unwrap();
        assert_eq!(json["loop"]["kind"], "open");
        assert_eq!(json["loop"]["rate"], 500);
        assert_eq!(json["operations"][0]["refused"][0]["status"], 503);
        assert_eq!(json["operations"][0]["unsent"], 3);
    }
}
