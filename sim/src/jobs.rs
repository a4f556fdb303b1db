//! Runs beside each other, each in a process of its own, told in their order.
//!
//! A child is this program again, with [`CHILD`] as its only argument. It reads a [`Job`] from its standard input, makes the
//! run, and writes an [`Outcome`] to its standard output, each a line of JSON. Its input stays open as long as anybody wants
//! to know: a child whose parent is gone ends by itself. With `--seek` it seeks the smallest run instead.

mod seek;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::job::{Job, Outcome, perform};
pub use seek::Sought;

/// The argument that makes a child of this program.
pub const CHILD: &str = "child";

/// So many runs may be done before one of an earlier seed is.
const AHEAD_MAX: usize = 4_096;

/// So much of what a child wrote to its standard error is kept: the end of it.
const LAST_WORDS_BYTES: usize = 4_096;

/// The exit code of a child in which something panicked.
const PANICKED: i32 = 101;

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Ended {
    /// The run was made and judged.
    Judged(Outcome),
    /// The run could not be made, or not be judged.
    Failed(String),
    /// The child ended without a word on the run: something in it panicked, or it was ended.
    Died(String),
}

impl Ended {
    /// Whether all promises were kept, and all assertions hold.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Judged(outcome) if outcome.broken.is_empty() && outcome.failed.is_empty())
    }

    /// Whether no run could be made at all.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

/// A run that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Its seed.
    pub seed: u64,
    /// How its child ended.
    pub ended: Ended,
    /// How long that took, by the wall.
    pub took: Duration,
}

/// How children are run.
#[derive(Debug, Clone)]
pub struct Children {
    /// The program.
    pub program: PathBuf,
    /// So many at once.
    pub at_once: NonZeroUsize,
    /// How long one may take, by the wall, before it is ended; `None` for as long as it likes.
    pub patience: Option<Duration>,
}

/// Whether all was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Campaign {
    /// All that was asked for.
    Whole,
    /// Somebody asked to stop: Ctrl-C, or SIGTERM. All children are ended.
    Interrupted,
}

impl Children {
    /// Makes runs, and tells of each as soon as all before it are told.
    ///
    /// # Errors
    /// No child can be started, signals cannot be listened to, or `tell` fails. All children are ended.
    pub fn run(
        &self,
        jobs: impl IntoIterator<Item = Job>,
        tell: impl FnMut(Done) -> anyhow::Result<()>,
    ) -> anyhow::Result<Campaign> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.run_all(jobs.into_iter(), tell))
    }

    async fn run_all(
        &self,
        mut jobs: impl Iterator<Item = Job>,
        mut tell: impl FnMut(Done) -> anyhow::Result<()>,
    ) -> anyhow::Result<Campaign> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let (mut begun, mut told, mut waiting) = (0, 0, BTreeMap::new());
        let mut running = JoinSet::new();
        loop {
            while running.len() < self.at_once.get() && begun - told < AHEAD_MAX {
                let Some(job) = jobs.next() else { break };
                let (place, children) = (begun, self.clone());
                running.spawn(async move { (place, children.one(&job).await) });
                begun += 1;
            }
            // Who wants to stop does not want to hear of one more.
            let ended = tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(Campaign::Interrupted),
                _ = terminate.recv() => return Ok(Campaign::Interrupted),
                ended = running.join_next() => ended,
            };
            let Some(ended) = ended else { return Ok(Campaign::Whole) };
            let (place, done) = ended.context("a child was lost sight of")?;
            waiting.insert(place, done?);
            while let Some(done) = waiting.remove(&told) {
                tell(done)?;
                told += 1;
            }
        }
    }

    /// One run, in a child, which is ended if nobody waits for it any more.
    async fn one(&self, job: &Job) -> anyhow::Result<Done> {
        let begun = Instant::now();
        let (child, input) = self.start(&[], job).await?;
        let patience = self.patience.unwrap_or(Duration::MAX);
        let ended = match tokio::time::timeout(patience, child.wait_with_output()).await {
            Ok(output) => ended(&output?),
            Err(_) => Ended::Died(format!("it was ended after {} s by the wall", patience.as_secs())),
        };
        drop(input);
        Ok(Done { seed: job.seed, ended, took: begun.elapsed() })
    }

    /// A child that was told a job. It ends with its input, and with whoever waits for it.
    async fn start(&self, options: &[&str], job: &Job) -> anyhow::Result<(Child, ChildStdin)> {
        let mut command = Command::new(&self.program);
        command.arg(CHILD).args(options).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this process to hear, which ends the children.
        let mut child = command.process_group(0).kill_on_drop(true).spawn().with_context(|| cannot(&self.program))?;
        let mut input = child.stdin.take().context("a child has a standard input")?;
        let mut line = serde_json::to_vec(job)?;
        line.push(b'\n');
        // A child that is dead already is told of by its status.
        let _ = input.write_all(&line).await;
        Ok((child, input))
    }
}

fn cannot(program: &Path) -> String {
    format!("cannot start {}", program.display())
}

fn ended(output: &std::process::Output) -> Ended {
    let answer = output.stdout.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty());
    let words = last_words(output);
    match answer.and_then(|line| serde_json::from_slice(line).ok()) {
        Some(Ended::Judged(outcome)) if output.status.success() => Ended::Judged(Outcome { words, ..outcome }),
        Some(ended) if output.status.success() => ended,
        _ => {
            let how = if output.status.code() == Some(PANICKED) {
                "it panicked".to_owned()
            } else {
                output.status.to_string()
            };
            Ended::Died(if words.is_empty() { how } else { format!("{how}\n{words}") })
        }
    }
}

/// What a child wrote to its standard error last.
fn last_words(output: &std::process::Output) -> String {
    let words = &output.stderr[output.stderr.len().saturating_sub(LAST_WORDS_BYTES)..];
    String::from_utf8_lossy(words).trim().to_owned()
}

/// What a child does: a run, or with a number, to seek the smallest run that fails as it does, with at most so many.
///
/// # Errors
/// It was told nothing it understands, or cannot answer.
pub fn be_child(runs_max: Option<u32>) -> anyhow::Result<()> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line).context("a child is told a job by its parent")?;
    end_with_parent();
    if let Some(runs_max) = runs_max {
        return seek::be_seeker(&job, runs_max);
    }
    let ended = match perform(&job) {
        Ok(outcome) => Ended::Judged(outcome),
        Err(error) => Ended::Failed(format!("{error:#}")),
    };
    let mut out = io::stdout();
    serde_json::to_writer(&mut out, &ended)?;
    writeln!(out)?;
    Ok(out.flush()?)
}

/// The thread takes no part in the run: it waits for the end of what it reads.
fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(PANICKED);
    });
}
