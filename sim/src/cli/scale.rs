//! `plimsoll-sim scale`.

use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use plimsoll_sim::job::{Job, Source};
use plimsoll_sim::jobs::{Campaign, Children, Done, Ended};
use plimsoll_sim::scale::{Row, SMALLEST, Size, plot, tables};

/// See the module.
#[derive(Args)]
pub(crate) struct Scale {
    /// How many nodes, one size after the other.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,30,100",
          value_parser = clap::value_parser!(u8).range(2..=100))]
    nodes: Vec<u8>,
    /// In how many regions.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "3,5,10",
          value_parser = clap::value_parser!(u8).range(1..=100))]
    regions: Vec<u8>,
    /// For how many simulated seconds clients post.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The seed of all runs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on without a size that takes longer than so many seconds by the wall.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    /// Write the plots to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

impl Scale {
    fn posting(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn job(&self, size: Size) -> Job {
        let path = format!("{} nodes in {} regions", size.nodes, size.regions);
        let source = Source::File { path, text: size.scenario(self.posting()) };
        Job { source, seed: self.seed, is_twice: false, trace: None, page: None, bug: None }
    }
}

/// Runs each size, and tells of all.
pub(crate) fn scale(arguments: &Scale) -> anyhow::Result<ExitCode> {
    let sizes = Size::all(&arguments.nodes, &arguments.regions);
    if sizes.is_empty() {
        bail!("there is no size with a node in each region");
    }
    // Beside each other they would be slower, and their speed would tell nothing.
    let children = Children {
        program: std::env::current_exe().context("this program does not find itself")?,
        at_once: NonZeroUsize::MIN,
        patience: arguments.patience.map(Duration::from_secs),
    };
    let all: Vec<Size> = [SMALLEST].into_iter().chain(sizes).collect();
    let mut tally = Tally { posting: arguments.posting(), smallest_kib: 0, rows: Vec::new(), is_whole: true };
    let mut left = all.iter();
    let campaign = children.run(all.iter().map(|size| arguments.job(*size)), |done| {
        left.next().map_or(Ok(()), |size| tally.take(*size, done))
    })?;
    write!(io::stdout(), "{}", tables(&tally.rows))?;
    if let Some(file) = &arguments.svg {
        std::fs::write(file, plot(&tally.rows)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let is_whole = tally.is_whole && campaign == Campaign::Whole;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::from(crate::BROKEN) })
}

/// What was measured so far.
struct Tally {
    posting: Duration,
    smallest_kib: u64,
    rows: Vec<Row>,
    is_whole: bool,
}

impl Tally {
    fn take(&mut self, size: Size, done: Done) -> anyhow::Result<()> {
        let is_sound = done.ended.is_sound();
        self.is_whole &= is_sound;
        let why = match &done.ended {
            Ended::Judged(outcome) => outcome.broken.join("; "),
            Ended::Failed(why) | Ended::Died(why) => why.clone(),
        };
        let word = if is_sound { "sound" } else { "NOT SOUND: " };
        let took = done.took.as_secs_f64();
        writeln!(io::stderr(), "{} nodes in {} regions: {word}{why}; {took:.0} s", size.nodes, size.regions)?;
        if let Ended::Judged(outcome) = done.ended {
            if self.smallest_kib == 0 {
                self.smallest_kib = outcome.measured.peak_kib;
                return Ok(());
            }
            let (posting, smallest_kib) = (self.posting, self.smallest_kib);
            self.rows.push(Row { size, outcome, posting, took: done.took, smallest_kib });
        }
        Ok(())
    }
}
