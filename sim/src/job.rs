//! A run as it is asked for, and what came of it, as both pass between processes: a run needs a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::assertions;
use crate::measured::Measured;
use crate::plan::Plan;
use crate::record::recorded;
use crate::scenario::problem::Problems;
use crate::scenario::{Scenario, file, ready};
use crate::timeline::{self, Caption};
use crate::trace::traced;
use crate::verdict::Verdict;
use crate::world;

/// The promise of the simulation itself: a seed is one run. It is judged where each seed is run twice.
pub const SAME: &str = "same";

/// Where a scenario comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file.
    File {
        /// What it is called.
        path: String,
        /// What is in it.
        text: String,
    },
    /// One that comes with the program.
    Ready {
        /// Its name.
        name: String,
    },
    /// The standard one.
    Standard {
        /// 2 to 100.
        nodes: u8,
        /// How long, in simulated seconds: 1 to 3,600.
        seconds: u64,
    },
}

impl Source {
    /// The scenario.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub fn scenario(&self) -> Result<Scenario, Problems> {
        match self {
            Self::File { path, text } => file::read(path, text),
            Self::Ready { name } => file::read(name, ready::named(name).map_or("", |ready| ready.text)),
            Self::Standard { nodes, seconds } => Ok(Scenario::standard(*nodes, Duration::from_secs(*seconds))),
        }
    }

    /// What names it on a command line of `plimsoll-sim run`.
    #[must_use]
    pub fn arguments(&self) -> String {
        match self {
            Self::File { path, .. } => quoted(path),
            Self::Ready { name } => name.clone(),
            Self::Standard { nodes, seconds } => format!("--nodes {nodes} --seconds {seconds}"),
        }
    }
}

/// A word of a command line, in quotes if a shell would take it apart.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+:,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A run as a page, where to and with what above it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The file.
    pub file: PathBuf,
    /// What stands above the run.
    pub caption: Caption,
}

/// A run that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What it is a run of.
    pub source: Source,
    /// Its seed.
    pub seed: u64,
    /// Whether it is run a second time, and the two compared line by line.
    pub is_twice: bool,
    /// Where its lines are written to.
    pub trace: Option<PathBuf>,
    /// The page of the run that is written.
    pub page: Option<Page>,
    /// An old bug that is put back, by its name.
    pub bug: Option<String>,
}

impl Job {
    /// The plan of the run.
    ///
    /// # Errors
    /// All that is wrong with the scenario.
    pub fn plan(&self) -> Result<Plan, Problems> {
        Ok(Plan::drawn(self.seed, &Arc::new(self.source.scenario()?)))
    }

    /// The plan of the run, in a process that is ready for it.
    ///
    /// # Errors
    /// All that is wrong with the scenario, or there is no such bug.
    pub(crate) fn prepared(&self) -> anyhow::Result<Plan> {
        let plan = self.plan()?;
        plant(self.bug.as_deref())?;
        Ok(plan)
    }
}

/// What came of a run that could be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The promises that were broken, and how.
    pub broken: Vec<String>,
    /// The assertions that do not hold, with what was measured.
    pub failed: Vec<String>,
    /// The assertions that hold, with what was measured.
    pub held: Vec<String>,
    /// Transitions that were posted.
    pub posted: u64,
    /// Of how many somebody was told that they stand.
    pub acknowledged: u64,
    /// Cursors that were read.
    pub reads: u64,
    /// How long the run was, in simulated time.
    pub lasted: Duration,
    /// How long after the last fault and the last post all nodes were equal; `None` if they were not in time.
    pub converged: Option<Duration>,
    /// What was measured, and asked by no assertion.
    pub measured: Box<Measured>,
    /// What the process wrote to its standard error, as the account of a panic that was caught; told if the run is not sound.
    pub words: String,
}

impl Outcome {
    fn of(scenario: &Scenario, verdict: &Verdict) -> Self {
        let (held, failed): (Vec<_>, Vec<_>) =
            assertions::judge(scenario, verdict).into_iter().partition(|judged| judged.holds);
        let told = |judged: Vec<assertions::Judged>| judged.iter().map(ToString::to_string).collect();
        let posts = verdict.all_posts();
        Self {
            broken: verdict.broken.iter().map(ToString::to_string).collect(),
            failed: told(failed),
            held: told(held),
            posted: posts.posted,
            acknowledged: posts.acknowledged,
            reads: verdict.reads,
            lasted: verdict.lasted,
            converged: verdict.converged,
            measured: Box::new(Measured::of(verdict)),
            words: String::new(),
        }
    }
}

/// Makes a run, in this process: once, as the next one would be another run than in a process of its own.
///
/// # Errors
/// It could not be made, or not be judged.
pub fn perform(job: &Job) -> anyhow::Result<Outcome> {
    let plan = job.prepared()?;
    let is_traced = job.is_twice || job.trace.is_some();
    let run = || shown(&plan, job.page.as_ref());
    let (verdict, lines) = if is_traced { traced(run) } else { (run(), Vec::new()) };
    if let Some(file) = &job.trace {
        write(file, &lines)?;
    }
    let mut outcome = Outcome::of(&plan.scenario, &verdict?);
    if job.is_twice {
        let (_, again) = traced(|| world::run(&plan));
        if let Some((line, one, other)) = first_difference(&lines, &again) {
            let (one, other) = around_difference(&one, &other);
            outcome.broken.push(format!("{SAME}: two runs differ, first in line {line}:\n  {one}\n  {other}"));
        }
    }
    Ok(outcome)
}

/// Runs a plan, and writes its page if there is to be one.
fn shown(plan: &Plan, page: Option<&Page>) -> anyhow::Result<Verdict> {
    let Some(Page { file, caption }) = page else { return world::run(plan) };
    let (verdict, recording) = recorded(|| world::run(plan));
    let verdict = verdict?;
    write(file, timeline::page(caption, plan, &verdict, &recording).as_bytes())?;
    Ok(verdict)
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

/// Puts an old bug back.
///
/// # Errors
/// There is no such bug.
#[cfg(feature = "planted")]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    plimsoll_domain::planted::plant(bug.map(str::parse).transpose()?);
    Ok(())
}

/// Puts no bug back: there are none in this program.
///
/// # Errors
/// One is asked for.
#[cfg(not(feature = "planted"))]
fn plant(bug: Option<&str>) -> anyhow::Result<()> {
    bug.map_or(Ok(()), |name| {
        Err(anyhow::anyhow!("there is no bug {name:?} to put back: build with --features planted"))
    })
}

/// The line in which two runs differ first, counted from 1, and how it reads in each.
fn first_difference(one: &[u8], other: &[u8]) -> Option<(usize, String, String)> {
    let (mut ones, mut others) = (one.split(|byte| *byte == b'\n'), other.split(|byte| *byte == b'\n'));
    let text = |line: Option<&[u8]>| String::from_utf8_lossy(line.unwrap_or_default()).into_owned();
    (1..).map(|line| (line, ones.next(), others.next())).find_map(|(line, one, other)| match (one, other) {
        (None, None) => Some(None),
        (one, other) => (one != other).then(|| Some((line, text(one), text(other)))),
    })?
}

/// So many characters are told before the first in which two lines differ, and from there on.
const AROUND: usize = 100;

/// Two lines, which may be long, from shortly before they differ.
fn around_difference(one: &str, other: &str) -> (String, String) {
    let alike = one.chars().zip(other.chars()).take_while(|(one, other)| one == other).count();
    let skipped = alike.saturating_sub(AROUND);
    let around = |line: &str| {
        let cut = if skipped > 0 { "…" } else { "" };
        format!("{cut}{}", line.chars().skip(skipped).take(2 * AROUND).collect::<String>())
    };
    (around(one), around(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_as_a_shell_takes_it() {
        let file = |path: &str| Source::File { path: path.to_owned(), text: String::new() }.arguments();
        assert_eq!(file("sim/a.toml"), "sim/a.toml");
        assert_eq!(file("it's a.toml"), r"'it'\''s a.toml'");
        assert_eq!(Source::Standard { nodes: 5, seconds: 8 }.arguments(), "--nodes 5 --seconds 8");
    }

    #[test]
    fn two_runs_are_compared_line_by_line() {
        assert_eq!(first_difference(b"a\nb\n", b"a\nb\n"), None);
        let differ = first_difference(b"a\nb\n", b"a\nc\n");
        assert_eq!(differ, Some((2, "b".to_owned(), "c".to_owned())));
        assert_eq!(first_difference(b"a", b"a\nb").map(|(line, _, _)| line), Some(2));
        let (one, other) = around_difference(&format!("{}1", "x".repeat(500)), &format!("{}2y", "x".repeat(500)));
        assert!(one.starts_with("…x") && one.ends_with("x1") && other.ends_with("x2y") && one.len() < 110, "{one}");
        assert_eq!(around_difference("a", "b"), ("a".to_owned(), "b".to_owned()));
    }
}
