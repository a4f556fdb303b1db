//! What is asked of a run beyond the promises: read from a line, judged over what came of the run.
//!
//! A line is words with spaces between them; a word may stand in quotes. `docs/scenarios.md` has all forms.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::scenario::quantity::{self, DURATION, percent, shown};
use crate::scenario::{Assertion, Measure, Scenario};
use crate::verdict::{Posts, Verdict};

/// What measures are called.
pub const MEASURES: [(&str, Measure); 3] = [
    ("cursor_lag", Measure::CursorLag),
    ("post_latency", Measure::PostLatency),
    ("read_latency", Measure::ReadLatency),
];

const FORMS: &str = "must begin with converges, no_lost_acks, acknowledged, cursor_lag, post_latency or read_latency";

/// A line that is no assertion, or one that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The bytes of the line that are wrong.
    pub at: Range<usize>,
    /// The rule they break.
    pub rule: String,
}

/// An assertion, and what was found of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What was asked.
    pub assertion: Assertion,
    /// Whether it is so.
    pub holds: bool,
    /// Whether there was anything to measure. Where there was not, it does not hold.
    pub is_measured: bool,
    /// What was measured, as a sentence without its subject: `is 3.2s, of 120 measured`.
    pub measured: String,
}

impl fmt::Display for Judged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.assertion, self.measured)
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let region = match self {
            Self::Converges { within } => return write!(formatter, "converges within {}", shown(*within)),
            Self::NoLostAcks => return formatter.write_str("no_lost_acks"),
            Self::Percentile { measure, percentile, below, region } => {
                write!(formatter, "{} p{percentile} below {}", name_of(*measure), shown(*below))?;
                region
            }
            Self::Acknowledged { at_least, region } => {
                write!(formatter, "acknowledged at least {}%", (at_least * 1e6).round() / 1e4)?;
                region
            }
        };
        region.as_ref().map_or(Ok(()), |region| write!(formatter, " in {region}"))
    }
}

fn name_of(measure: Measure) -> &'static str {
    MEASURES.iter().find(|(_, other)| *other == measure).map_or("", |(name, _)| name)
}

/// The words of a line that were not looked at yet.
struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// The next word, without its quotes, and where it stands. At the end an empty one.
    fn next(&mut self) -> Result<(&'a str, Range<usize>), Wrong> {
        let rest = &self.line[self.at..];
        let begin = self.at + rest.len() - rest.trim_start().len();
        let rest = &self.line[begin..];
        let (word, length) = match rest.strip_prefix('"') {
            None => {
                let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (&rest[..length], length)
            }
            Some(quoted) => match quoted.find('"') {
                Some(end) => (&quoted[..end], end + 2),
                None => return Err(Wrong { at: begin..self.line.len(), rule: "the quote is not closed".to_owned() }),
            },
        };
        self.at = begin + length;
        Ok((word, begin..self.at))
    }

    /// The next word, which has to be this one.
    fn expect(&mut self, expected: &str) -> Result<(), Wrong> {
        match self.next()? {
            (word, _) if word == expected => Ok(()),
            (_, at) => Err(Wrong { at, rule: format!("`{expected}` is expected here") }),
        }
    }

    /// The next word, made into something.
    fn read<T>(&mut self, rule: &str, make: impl FnOnce(&str) -> Option<T>) -> Result<T, Wrong> {
        let (word, at) = self.next()?;
        make(word).ok_or_else(|| Wrong { at, rule: format!("{rule} is expected here") })
    }

    /// `in` and a region, or the end.
    fn region(&mut self) -> Result<Option<String>, Wrong> {
        match self.next()? {
            ("", _) => Ok(None),
            ("in", _) => self.read("a region", |word| (!word.is_empty()).then(|| word.to_owned())).map(Some),
            (_, at) => Err(Wrong { at, rule: "`in` and a region, or nothing more, is expected here".to_owned() }),
        }
    }
}

/// Reads a line.
///
/// # Errors
/// The first that is wrong with it.
pub fn parse(line: &str) -> Result<Assertion, Wrong> {
    let mut words = Words { line, at: 0 };
    let (first, at) = words.next()?;
    let assertion = match (first, MEASURES.iter().find(|(name, _)| *name == first)) {
        (_, Some((_, measure))) => percentile(&mut words, *measure)?,
        ("converges", _) => {
            words.expect("within")?;
            Assertion::Converges { within: words.read(DURATION, positive)? }
        }
        ("no_lost_acks", _) => Assertion::NoLostAcks,
        ("acknowledged", _) => {
            words.expect("at")?;
            words.expect("least")?;
            let at_least = words.read("a part, as \"99%\" or 0.99,", quantity::part)?;
            Assertion::Acknowledged { at_least, region: words.region()? }
        }
        _ => return Err(Wrong { at, rule: FORMS.to_owned() }),
    };
    match words.next()? {
        ("", _) => Ok(assertion),
        (_, at) => Err(Wrong { at, rule: "nothing more is expected here".to_owned() }),
    }
}

fn positive(text: &str) -> Option<Duration> {
    quantity::duration(text).filter(|duration| !duration.is_zero())
}

fn percentile(words: &mut Words<'_>, measure: Measure) -> Result<Assertion, Wrong> {
    let in_bounds = |number: &f64| (0.0..=100.0).contains(number);
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let read = |word: &str| word.strip_prefix('p').filter(is_number)?.parse().ok().filter(in_bounds);
    let percentile = words.read("a percentile from p0 to p100, as p99 or p99.9,", read)?;
    words.expect("below")?;
    let below = words.read(DURATION, positive)?;
    Ok(Assertion::Percentile { measure, percentile, below, region: words.region()? })
}

/// Whether an assertion can be asked of runs in these regions, with so much calm.
///
/// # Errors
/// What it asks cannot be, or would never be judged.
pub fn check(line: &str, assertion: &Assertion, regions: &[&str], calm: Duration) -> Result<(), Wrong> {
    match assertion {
        Assertion::Percentile { region: Some(region), .. } | Assertion::Acknowledged { region: Some(region), .. }
            if !regions.is_empty() && !regions.contains(&region.as_str()) =>
        {
            let begin = line.rfind(region.as_str()).unwrap_or(0);
            let rule = format!("there is no region `{region}`; there are {}", regions.join(", "));
            Err(Wrong { at: begin..begin + region.len(), rule })
        }
        Assertion::Converges { within } if *within > calm => {
            let rule = format!("must be at most `calm`, which is {}: no run is watched for longer", shown(calm));
            Err(Wrong { at: 0..line.len(), rule })
        }
        _ => Ok(()),
    }
}

/// All assertions of a scenario, judged over what came of a run of it.
#[must_use]
pub fn judge(scenario: &Scenario, verdict: &Verdict) -> Vec<Judged> {
    let judged = |assertion: &Assertion| {
        let (holds, measured) = measured(assertion, scenario, verdict);
        let (holds, is_measured) = (holds == Some(true), holds.is_some());
        Judged { assertion: assertion.clone(), holds, is_measured, measured }
    };
    scenario.assertions.iter().map(judged).collect()
}

/// Whether an assertion holds, if there is anything to measure, and what was measured.
fn measured(assertion: &Assertion, scenario: &Scenario, verdict: &Verdict) -> (Option<bool>, String) {
    match assertion {
        Assertion::Converges { within } => match verdict.converged {
            Some(took) => (Some(took <= *within), format!("took {}", shown(took))),
            None => (Some(false), format!("did not within the calm of {}", shown(scenario.calm))),
        },
        Assertion::NoLostAcks => match verdict.lost.as_slice() {
            [] => (Some(true), "none is lost".to_owned()),
            lost => (Some(false), lost_of(lost)),
        },
        Assertion::Percentile { measure, percentile, below, region } => {
            let is_asked = |key: &(Measure, String)| key.0 == *measure && region.as_ref().is_none_or(|of| key.1 == *of);
            let samples = verdict.samples.iter().filter(|(key, _)| is_asked(key));
            let mut samples: Vec<Duration> = samples.flat_map(|(_, samples)| samples.iter().copied()).collect();
            samples.sort_unstable();
            match ranked(&samples, *percentile) {
                Some(at) => (Some(at < *below), format!("is {}, of {} measured", shown(at), samples.len())),
                None => (None, "nothing was measured".to_owned()),
            }
        }
        Assertion::Acknowledged { at_least, region } => {
            let posts = match region {
                Some(region) => verdict.posts.get(region).copied().unwrap_or_default(),
                None => verdict.all_posts(),
            };
            acknowledged(posts, *at_least)
        }
    }
}

fn acknowledged(Posts { posted, acknowledged }: Posts, at_least: f64) -> (Option<bool>, String) {
    if posted == 0 {
        return (None, "nothing was posted".to_owned());
    }
    let part = acknowledged as f64 / posted as f64;
    (Some(part >= at_least), format!("{acknowledged} of {posted} are, {}", percent(part)))
}

/// So many lost transitions are named.
const NAMED_MAX: usize = 5;

fn lost_of(lost: &[String]) -> String {
    let named = lost.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if lost.len() > NAMED_MAX { ", …" } else { "" };
    format!("{} acknowledged are not at every node: {named}{more}", lost.len())
}

/// The least of sorted samples that so many percent do not exceed.
pub(crate) fn ranked(samples: &[Duration], percentile: f64) -> Option<Duration> {
    // 99.9 has no exact double: without the margin the rank of 1,000 samples would be 1,000 and not 999.
    let rank = (percentile / 100.0 * samples.len() as f64 - 1e-9).ceil().max(1.0);
    samples.get((rank as usize).min(samples.len()).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
