//! What a run has seen, counted as it goes.
//!
//! Latency counts answers with a 2xx status, and requests without an answer in time, which are at least as slow as they
//! have waited; leaving those out would make a stalled server look fast. Refusals (other statuses) are quick and prove
//! nothing about speed, so they are counted beside, never among the latencies.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::workload::Operation;

/// Three significant digits: percentiles within 0.1 %.
const SIGNIFICANT_DIGITS: u8 = 3;
/// What longer latencies are recorded as: a day, longer than any run.
const LATENCY_MAX: Duration = Duration::from_secs(86_400);
/// The most bytes of a refusal's body that are kept as a sample.
const SAMPLE_BYTES_MAX: usize = 400;

/// The counts of a run, or of one thread of it.
#[derive(Debug)]
pub(crate) struct Tally {
    lanes: [Lane; Operation::ALL.len()],
    /// When the last recorded answer came.
    pub(crate) last_answer: Option<Instant>,
}

/// The counts of one operation.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Requests answered with a 2xx status.
    pub(crate) answered: u64,
    /// Cursors read or transitions accepted: for a batch, lines with a 2xx status.
    pub(crate) items: u64,
    /// Bytes of requests.
    pub(crate) sent_bytes: u64,
    /// Bytes of answers.
    pub(crate) received_bytes: u64,
    /// Other statuses, of whole answers and of lines of a batch.
    pub(crate) refused: BTreeMap<u16, Refused>,
    /// Requests without an answer, by reason.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Requests that were due but never sent, for their connection was still waiting when the run was given up.
    pub(crate) unsent: u64,
}

/// Answers with one status other than 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// How many.
    pub(crate) count: u64,
    /// The beginning of the first one's body.
    pub(crate) sample: String,
}

impl Tally {
    /// Nothing seen yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { lanes: [Lane::new()?, Lane::new()?, Lane::new()?], last_answer: None })
    }

    /// The counts of an operation.
    pub(crate) fn lane(&self, operation: Operation) -> &Lane {
        &self.lanes[operation as usize]
    }

    /// The counts of an operation, to add to.
    pub(crate) fn lane_mut(&mut self, operation: Operation) -> &mut Lane {
        &mut self.lanes[operation as usize]
    }

    /// Adds what another thread has seen.
    pub(crate) fn add(&mut self, other: &Self) -> Result<()> {
        self.last_answer = self.last_answer.max(other.last_answer);
        for (lane, other) in self.lanes.iter_mut().zip(&other.lanes) {
            lane.add(other)?;
        }
        Ok(())
    }
}

impl Lane {
    fn new() -> Result<Self> {
        Ok(Self {
            latency: Histogram::new_with_max(LATENCY_MAX.as_nanos() as u64, SIGNIFICANT_DIGITS)
                .context("a day of nanoseconds in three digits is supported")?,
            answered: 0,
            items: 0,
            sent_bytes: 0,
            received_bytes: 0,
            refused: BTreeMap::new(),
            failed: BTreeMap::new(),
            unsent: 0,
        })
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.answered == 0 && self.unsent == 0 && self.refused.is_empty() && self.failed.is_empty()
    }

    /// Records how long a request took, or has waited so far.
    pub(crate) fn took(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts an answer, or a line of one, with a status other than 2xx.
    pub(crate) fn refuse(&mut self, status: u16, body: &[u8]) {
        let first = || {
            let sample = &body[..body.len().min(SAMPLE_BYTES_MAX)];
            Refused { count: 0, sample: String::from_utf8_lossy(sample).trim_end().to_owned() }
        };
        self.refused.entry(status).or_insert_with(first).count += 1;
    }

    /// Counts a request without an answer.
    pub(crate) fn fail(&mut self, reason: String) {
        *self.failed.entry(reason).or_default() += 1;
    }

    fn add(&mut self, other: &Self) -> Result<()> {
        self.latency.add(&other.latency).context("histograms of like precision add up")?;
        self.answered += other.answered;
        self.items += other.items;
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
        self.unsent += other.unsent;
        for (status, refused) in &other.refused {
            let first = Refused { count: 0, sample: refused.sample.clone() };
            self.refused.entry(*status).or_insert(first).count += refused.count;
        }
        for (reason, count) in &other.failed {
            *self.failed.entry(reason.clone()).or_default() += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut total = Tally::new().unwrap();
        for millis in [1, 1_000] {
            let mut tally = Tally::new().unwrap();
            let lane = tally.lane_mut(Operation::Post);
            lane.took(Duration::from_millis(millis));
            lane.answered += 1;
            lane.refuse(503, b"busy");
            lane.fail("timed out".to_owned());
            total.add(&tally).unwrap();
        }
        let lane = total.lane(Operation::Post);
        assert_eq!((lane.latency.len(), lane.answered, lane.failed["timed out"]), (2, 2, 2));
        assert_eq!(lane.refused[&503], Refused { count: 2, sample: "busy".to_owned() });
        assert!((999_000_000..1_001_000_000).contains(&lane.latency.max()));
        assert!(total.lane(Operation::Cursor).is_empty());
    }
}
