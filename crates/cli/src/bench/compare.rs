//! A node against a floor, side by side.
//!
//! Machines differ and drift, so a number by itself says little. Each round measures every case on both servers, one
//! right after the other, and the next round in the other order; medians over rounds are compared. All cases but one are
//! closed loops: the bars are about capacity, and about service time at capacity with so many connections. A server of half the
//! capacity is measured at half the rate there. So in one case both are offered the same, half of what the node can take.

use std::fmt;
use std::num::NonZeroU64;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::arguments::CompareArguments;
use super::bars::{BARS, Bar, Reference};
use super::report::Report;
use super::schedule::Load;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Case {
    /// Cursors on 64 connections.
    Cursor,
    /// Posts on 64 connections.
    Post,
    /// Posts on 64 connections, as many a second for both servers: half of what the node took in this round.
    PostPaced,
    /// Posts on one connection.
    PostAlone,
    /// Batches.
    Batch,
}

impl Case {
    /// Every case, in the order of measurement.
    pub(crate) const ALL: [Self; 5] = [Self::Cursor, Self::Post, Self::PostPaced, Self::PostAlone, Self::Batch];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cursor => "cursor, 64 connections",
            Self::Post => "post, 64 connections",
            Self::PostPaced => "post, half of that a second",
            Self::PostAlone => "post, 1 connection",
            Self::Batch => "batch",
        }
    }
}

/// A number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Cursors read or transitions accepted, a second.
    ItemsPerSecond,
    /// Median latency, in microseconds.
    P50,
    /// 99th percentile of latency, in microseconds.
    P99,
}

impl Metric {
    fn name(self) -> &'static str {
        match self {
            Self::ItemsPerSecond => "items/s",
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
        }
    }
}

/// What one run of a case has measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sample {
    items_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    errors: u64,
}

/// One round of one case.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Round {
    /// What was measured.
    pub(crate) case: Case,
    /// On the node.
    pub(crate) node: Sample,
    /// On the floor.
    pub(crate) floor: Sample,
}

/// A comparison: all rounds, and a row for each bar.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Comparison {
    /// How it was made.
    pub(crate) setting: String,
    /// A row for each bar.
    pub(crate) rows: Vec<Row>,
    /// Requests and lines that were not accepted, on either server.
    pub(crate) errors: u64,
    /// All that was measured, in order.
    pub(crate) rounds: Vec<Round>,
}

/// One bar, and where the node stands.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// The bar.
    #[serde(flatten)]
    pub(crate) bar: Bar,
    /// The node's median.
    pub(crate) measured: f64,
    /// The median it is held against.
    pub(crate) reference: f64,
    /// The first over the second.
    pub(crate) ratio: f64,
    /// The smallest ratio of a round.
    pub(crate) ratio_min: f64,
    /// The largest ratio of a round.
    pub(crate) ratio_max: f64,
    /// Whether the ratio of the medians meets the bar; a row without a bar always does.
    pub(crate) met: bool,
}

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The node.
    Node,
    /// The floor.
    Floor,
}

impl Sample {
    /// The numbers of a run of one operation.
    pub(crate) fn new(report: &Report) -> Result<Self> {
        let [operation] = &report.operations[..] else { bail!("{} answered nothing", report.url) };
        Ok(Self {
            items_per_second: operation.items_per_second,
            p50_us: operation.latency_us.p50,
            p99_us: operation.latency_us.p99,
            errors: report.errors(),
        })
    }

    fn get(&self, metric: Metric) -> f64 {
        match metric {
            Metric::ItemsPerSecond => self.items_per_second,
            Metric::P50 => self.p50_us,
            Metric::P99 => self.p99_us,
        }
    }
}

impl Comparison {
    /// Measures all rounds with `measure`, and tells `progress` how far it is.
    pub(crate) fn measure(
        arguments: &CompareArguments,
        mut progress: impl FnMut(&str),
        mut measure: impl FnMut(Case, Side, Load) -> Result<Report>,
    ) -> Result<Self> {
        let mut rounds = Vec::new();
        for round in 0..arguments.rounds {
            let mut pace = NonZeroU64::MIN;
            for case in Case::ALL {
                let load = if case == Case::PostPaced { Load::Open(pace) } else { Load::Closed };
                let mut sample = |side| Sample::new(&measure(case, side, load)?);
                let (node, floor) = if round.is_multiple_of(2) {
                    let floor = sample(Side::Floor)?;
                    (sample(Side::Node)?, floor)
                } else {
                    (sample(Side::Node)?, sample(Side::Floor)?)
                };
                rounds.push(Round { case, node, floor });
                if case == Case::Post {
                    pace = half(node.items_per_second);
                }
                let (node, floor) = (node.items_per_second, floor.items_per_second);
                let (name, number) = (case.name(), round + 1);
                progress(&format!("round {number}: {name}: {node:.0} items/s, floor {floor:.0} items/s"));
            }
        }
        Self::new(setting(arguments), rounds)
    }

    /// The comparison of rounds that have been measured.
    pub(crate) fn new(setting: String, rounds: Vec<Round>) -> Result<Self> {
        let rows = BARS.iter().map(|bar| Row::new(*bar, &rounds)).collect::<Result<_>>()?;
        let errors = rounds.iter().map(|round| round.node.errors + round.floor.errors).sum();
        Ok(Self { setting, rows, errors, rounds })
    }

    /// How many bars are missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| !row.met).count()
    }
}

impl Row {
    fn new(bar: Bar, rounds: &[Round]) -> Result<Self> {
        let of = |case, side| {
            let rounds = rounds.iter().filter(move |round: &&Round| round.case == case);
            rounds.map(move |round| if side == Side::Node { round.node } else { round.floor }.get(bar.metric))
        };
        let measured: Vec<f64> = of(bar.case, Side::Node).collect();
        let reference: Vec<f64> = match bar.reference {
            Reference::Floor => of(bar.case, Side::Floor).collect(),
            Reference::NodePost => of(Case::Post, Side::Node).collect(),
        };
        let ratios: Vec<f64> =
            measured.iter().zip(&reference).map(|(measured, reference)| measured / reference).collect();
        let ratio_min = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let ratio_max = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (measured, reference) = (median(measured)?, median(reference)?);
        let ratio = measured / reference;
        let met = bar.bound.is_none_or(|bound| bound.is_met_by(ratio));
        Ok(Self { bar, measured, reference, ratio, ratio_min, ratio_max, met })
    }
}

/// Half of a rate, in whole requests a second: one at least.
fn half(rate: f64) -> NonZeroU64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small, and not below 0")]
    NonZeroU64::new((rate / 2.0) as u64).unwrap_or(NonZeroU64::MIN)
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2).context("nothing was measured")?;
    let lower = values.get((values.len() - 1) / 2).context("nothing was measured")?;
    Ok(f64::midpoint(*lower, *upper))
}

fn setting(arguments: &CompareArguments) -> String {
    let CompareArguments { rounds, seconds, lines, batch_connections, .. } = arguments;
    let (artifacts, warmup) = (arguments.artifacts.artifacts, arguments.generator.warmup);
    format!(
        "medians of {rounds} interleaved rounds, {seconds} s each after {warmup} s of warm-up; {artifacts} artifacts; \
         batches of {lines} lines on {batch_connections} connection(s); closed loop, but where posts come at half the node's rate"
    )
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setting)?;
        let headings = ["case", "metric", "node", "against", "", "ratio", "rounds", "bar", ""].map(str::to_owned);
        let rows: Vec<[String; 9]> = std::iter::once(headings).chain(self.rows.iter().map(Row::cells)).collect();
        let widths: [usize; 9] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(3)
        });
        for (number, row) in rows.iter().enumerate() {
            write_row(f, row, &widths)?;
            if number == 0 {
                write_row(f, &std::array::from_fn(|column| "-".repeat(widths[column])), &widths)?;
            }
        }
        if self.errors > 0 {
            writeln!(f, "\n{} requests or lines were refused or lost: the numbers count for nothing", self.errors)?;
        }
        Ok(())
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, cells: &[String; 9], widths: &[usize; 9]) -> fmt::Result {
    for (cell, width) in cells.iter().zip(widths) {
        write!(f, "| {cell:<width$} ")?;
    }
    writeln!(f, "|")
}

impl Row {
    fn cells(&self) -> [String; 9] {
        let bar = self.bar;
        [
            bar.case.name().to_owned(),
            bar.metric.name().to_owned(),
            format!("{:.0}", self.measured),
            bar.reference.name().to_owned(),
            format!("{:.0}", self.reference),
            format!("{:.2}", self.ratio),
            format!("{:.2} to {:.2}", self.ratio_min, self.ratio_max),
            bar.bound.map_or_else(String::new, |bound| bound.to_string()),
            match (bar.bound, self.met) {
                (None, _) => String::new(),
                (Some(_), true) => "met".to_owned(),
                (Some(_), false) => "missed".to_owned(),
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(items_per_second: f64, p50_us: f64, p99_us: f64) -> Sample {
        Sample { items_per_second, p50_us, p99_us, errors: 0 }
    }

    /// Three rounds in which the node has `share` of the floor's throughput, but for one outlier.
    fn rounds(share: f64) -> Vec<Round> {
        let mut rounds = Vec::new();
        for (number, drift) in [1.0, 0.5, 1.1].into_iter().enumerate() {
            for case in Case::ALL {
                let node = if number == 1 { 0.01 } else { share } * if case == Case::Batch { 4.0 } else { 1.0 };
                let floor = sample(1_000.0 * drift, 100.0, 200.0);
                rounds.push(Round { case, node: sample(1_000.0 * drift * node, 110.0, 250.0), floor });
            }
        }
        rounds
    }

    #[test]
    fn medians_decide_and_one_bad_round_does_not() {
        assert_eq!(Comparison::new(String::new(), rounds(0.95)).unwrap().missed(), 0);
        let comparison = Comparison::new(String::new(), rounds(0.7)).unwrap();
        let missed: Vec<_> = comparison.rows.iter().filter(|row| !row.met).collect();
        assert_eq!(missed.len(), 1, "{comparison}");
        assert_eq!((missed[0].bar.case, missed[0].bar.metric), (Case::Cursor, Metric::ItemsPerSecond));
        assert!(missed[0].ratio_min < 0.02 && missed[0].ratio_max > 0.69);
    }

    #[test]
    fn a_refused_request_spoils_the_comparison() {
        let mut rounds = rounds(0.95);
        rounds[0].node.errors = 1;
        let comparison = Comparison::new(String::new(), rounds).unwrap();
        assert_eq!(comparison.errors, 1);
        assert!(comparison.to_string().contains("count for nothing"));
    }

    #[test]
    fn the_table_is_markdown() {
        let table = Comparison::new("setting".to_owned(), rounds(0.7)).unwrap().to_string();
        assert!(table.contains("| missed |") && table.contains("≥ 0.85"), "{table}");
        let pipes: Vec<usize> = table.lines().skip(2).map(|line| line.matches('|').count()).collect();
        assert!(pipes.iter().all(|count| *count == 10), "{table}");
    }

    #[test]
    fn a_median_of_an_even_number_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]).unwrap(), 2.5);
        assert!(median(Vec::new()).is_err());
    }
}
