//! A histogram of durations, in fixed buckets.
//!
//! The recorder's own histograms keep every sample, with the time it was taken at, until somebody asks for the metrics:
//! memory without a bound on a node that nobody scrapes, and a clock read for each. This one is two additions.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, and how Prometheus is told of them in seconds. A cursor from memory takes about 100 µs
/// under load, a write one sync, a wait up to a minute.
const BOUNDS: [(Duration, &str); 15] = [
    (Duration::from_micros(100), "0.0001"),
    (Duration::from_micros(250), "0.00025"),
    (Duration::from_micros(500), "0.0005"),
    (Duration::from_millis(1), "0.001"),
    (Duration::from_micros(2_500), "0.0025"),
    (Duration::from_millis(5), "0.005"),
    (Duration::from_millis(10), "0.01"),
    (Duration::from_millis(25), "0.025"),
    (Duration::from_millis(50), "0.05"),
    (Duration::from_millis(100), "0.1"),
    (Duration::from_millis(250), "0.25"),
    (Duration::from_millis(500), "0.5"),
    (Duration::from_secs(1), "1"),
    (Duration::from_secs(10), "10"),
    (Duration::from_secs(60), "60"),
];

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// How many fell into each bucket; the last is for what exceeds every bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let bucket = BOUNDS.iter().position(|(bound, _)| duration <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Writes the series of this histogram; nothing where nothing was recorded. `labels` are as in the text format,
    /// without braces.
    pub(crate) fn render(&self, name: &str, labels: &str, text: &mut String) {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return;
        }
        let mut below = 0;
        for ((_, bound), count) in BOUNDS.iter().zip(&counts) {
            below += count;
            write_line(text, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {below}"));
        }
        let seconds = Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64();
        write_line(text, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {total}"));
        write_line(text, format_args!("{name}_sum{{{labels}}} {seconds}"));
        write_line(text, format_args!("{name}_count{{{labels}}} {total}"));
    }
}

pub(super) fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let histogram = Histogram::default();
        for millis in [0, 1, 2, 70_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut text = String::new();
        histogram.render("x", "a=\"b\"", &mut text);
        for line in [
            "x_bucket{a=\"b\",le=\"0.0001\"} 1",
            "x_bucket{a=\"b\",le=\"0.001\"} 2",
            "x_bucket{a=\"b\",le=\"0.0025\"} 3",
            "x_bucket{a=\"b\",le=\"60\"} 3",
            "x_bucket{a=\"b\",le=\"+Inf\"} 4",
            "x_sum{a=\"b\"} 70.003",
            "x_count{a=\"b\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn bounds_ascend_and_are_told_in_seconds() {
        assert!(BOUNDS.is_sorted_by(|(a, _), (b, _)| a < b));
        for (bound, text) in BOUNDS {
            assert_eq!(text.parse(), Ok(bound.as_secs_f64()));
        }
    }
}
