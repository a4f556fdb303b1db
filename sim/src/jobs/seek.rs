//! A child that seeks the smallest run, and says how far it is, line by line.

use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::{Children, last_words};
use crate::job::Job;
use crate::shrink::Progress;
use crate::smallest::{Smallest, Step, seek};

/// What came of seeking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// The smallest run.
    Found(Smallest),
    /// There is none, and why.
    NotFound(String),
    /// Somebody asked to stop.
    Interrupted,
}

impl Children {
    /// Seeks the smallest run that fails as this one does, in a child, and tells how far that is. The patience is that for one
    /// run.
    ///
    /// # Errors
    /// No child can be started, or signals cannot be listened to.
    pub fn seek(&self, job: &Job, runs_max: u32, tell: impl FnMut(Progress)) -> anyhow::Result<Sought> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut interrupt = signal(SignalKind::interrupt())?;
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                biased;
                _ = interrupt.recv() => Ok(Sought::Interrupted),
                _ = terminate.recv() => Ok(Sought::Interrupted),
                sought = self.sought(job, runs_max, tell) => sought,
            }
        })
    }

    async fn sought(&self, job: &Job, runs_max: u32, tell: impl FnMut(Progress)) -> anyhow::Result<Sought> {
        let (mut child, input) = self.start(&["--seek", &runs_max.to_string()], job).await?;
        let steps = child.stdout.take().context("a child has a standard output")?;
        let patience = self.patience.unwrap_or(Duration::MAX);
        let output = async { Ok(child.wait_with_output().await?) };
        let said = tokio::try_join!(last_step(steps, patience, tell), output);
        drop(input);
        Ok(match said {
            Ok((Some(Step::Found(smallest)), _)) => Sought::Found(smallest),
            Ok((Some(Step::NotFound(why)), _)) => Sought::NotFound(why),
            Ok((_, output)) => Sought::NotFound(format!("the process that sought it died: {}", last_words(&output))),
            Err(error) => Sought::NotFound(format!("{error:#}")),
        })
    }
}

/// The last that a child says, after all it says of its progress.
async fn last_step(
    steps: ChildStdout,
    patience: Duration,
    mut tell: impl FnMut(Progress),
) -> anyhow::Result<Option<Step>> {
    let (mut lines, mut last) = (BufReader::new(steps).lines(), None);
    loop {
        let Ok(line) = timeout(patience, lines.next_line()).await else {
            bail!("a run was ended after {} s by the wall", patience.as_secs());
        };
        let Some(line) = line? else { return Ok(last) };
        let step = serde_json::from_str(&line)?;
        if let Step::Progress(progress) = step {
            tell(progress);
        }
        last = Some(step);
    }
}

/// What such a child does.
///
/// # Errors
/// It cannot answer.
pub(super) fn be_seeker(job: &Job, runs_max: u32) -> anyhow::Result<()> {
    // A parent that is gone does not read, and ends the child by its input.
    let tell = |progress| drop(say(&Step::Progress(progress)));
    say(&match seek(job, runs_max, tell) {
        Ok(smallest) => Step::Found(smallest),
        Err(error) => Step::NotFound(format!("{error:#}")),
    })
}

fn say(step: &Step) -> anyhow::Result<()> {
    let mut out = io::stdout();
    serde_json::to_writer(&mut out, step)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
