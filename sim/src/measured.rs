//! What a run measured and cost, as it passes between processes.

use std::fs;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::assertions::ranked;
use crate::net::Traffic;
use crate::scenario::Measure;
use crate::verdict::Verdict;

/// What nodes of one region told those of another, or of the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The region it came from.
    pub from: String,
    /// The region it went to.
    pub to: String,
    /// While clients asked: see [`Verdict::traffic`].
    pub loaded: Traffic,
    /// Before: see [`Verdict::quiet`].
    pub quiet: Traffic,
}

impl Crossing {
    /// Whether it crosses a boundary between regions.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.from != self.to
    }
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// For each ordered pair of regions, and each region with itself.
    pub traffic: Vec<Crossing>,
    /// From the acknowledgement of a post until a node elsewhere shows it: half of the times, and 99 of 100, are no longer. None
    /// where nobody waited.
    pub lag: Option<(Duration, Duration)>,
    /// The most memory the process had, in KiB; 0 where the system does not tell.
    pub peak_kib: u64,
    /// For how long the thread of the run had a processor; zero where the system does not tell.
    pub processor: Duration,
}

impl Measured {
    /// Of a run that has just ended, in this process and thread.
    #[must_use]
    pub fn of(verdict: &Verdict) -> Self {
        let crossing = |(pair, loaded): (&(String, String), &Traffic)| Crossing {
            from: pair.0.clone(),
            to: pair.1.clone(),
            loaded: *loaded,
            quiet: verdict.quiet.get(pair).copied().unwrap_or_default(),
        };
        Self {
            traffic: verdict.traffic.iter().map(crossing).collect(),
            lag: lag(verdict),
            peak_kib: peak_kib().unwrap_or_default(),
            processor: processor().unwrap_or_default(),
        }
    }
}

fn lag(verdict: &Verdict) -> Option<(Duration, Duration)> {
    let samples = verdict.samples.iter().filter(|((measure, _), _)| *measure == Measure::CursorLag);
    let mut samples: Vec<Duration> = samples.flat_map(|(_, samples)| samples.iter().copied()).collect();
    samples.sort_unstable();
    ranked(&samples, 50.0).zip(ranked(&samples, 99.0))
}

fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn processor() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_a_run_cost() {
        assert!(peak_kib().is_some_and(|kib| kib > 1_000));
        assert!(processor().is_some());
    }
}
