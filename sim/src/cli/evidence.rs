//! What is kept of a run for whoever looks into it: the smallest run that fails as it does, and its page.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_sim::job::{Job, Page, Source};
use plimsoll_sim::jobs::{Campaign, Children, Done, Ended, Sought};
use plimsoll_sim::report::Runs;
use plimsoll_sim::scenario::quantity::shown;
use plimsoll_sim::smallest::Smallest;
use plimsoll_sim::timeline::Caption;

/// What is to be kept.
#[derive(Args)]
pub(crate) struct Wanted {
    /// Of the first run that breaks a promise or an assertion, seek the smallest that still does, and write it as a scenario file.
    #[arg(long)]
    shrink: bool,
    /// How many runs that may take.
    #[arg(long, value_name = "N", default_value_t = 200, requires = "shrink", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shrink_runs: u32,
    /// Where the smallest run is written to; `SCENARIO-SEED-smallest.toml` if nothing is said.
    #[arg(long, value_name = "FILE", requires = "shrink")]
    shrunk: Option<PathBuf>,
    /// Write the first run that breaks a promise or an assertion, or if none does the last one, to this file, as a page to look at;
    /// with `--shrink` the smallest run.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
}

/// How it is kept.
pub(crate) struct Evidence<'a> {
    /// What is to be kept.
    pub(crate) wanted: &'a Wanted,
    /// What the runs were of.
    pub(crate) runs: &'a Runs,
    /// How runs are made.
    pub(crate) children: &'a Children,
}

impl Evidence<'_> {
    /// Writes all that is wanted of a run, and tells of it in lines, as far as it comes.
    pub(crate) fn gather(&self, job: Job, is_failing: bool, told: &mut String) -> anyhow::Result<Campaign> {
        let (mut job, mut runs) = (Job { is_twice: false, trace: None, ..job }, self.runs.clone());
        let mut is_shrunk = false;
        if self.wanted.shrink && is_failing {
            match self.seek(&job)? {
                Sought::Interrupted => return Ok(Campaign::Interrupted),
                Sought::NotFound(why) => writeln!(told, "seed {} could not be shrunk: {why}", job.seed)?,
                Sought::Found(smallest) => {
                    runs = self.written(job.seed, &smallest)?;
                    tell_smallest(told, &smallest, job.seed, &runs)?;
                    job.source = runs.source.clone();
                    is_shrunk = true;
                }
            }
        }
        let caption = Caption { build: runs.build.clone(), replay: runs.command(job.seed) };
        job.page = self.wanted.timeline.clone().map(|file| Page { file, caption });
        if !is_shrunk && job.page.is_none() {
            return Ok(Campaign::Whole);
        }
        let Some(done) = self.once_more(job)? else { return Ok(Campaign::Interrupted) };
        if is_shrunk {
            writeln!(told, "{}", runs.account(&done))?;
        }
        if let Some(file) = &self.wanted.timeline {
            writeln!(told, "timeline of seed {}: {}", done.seed, file.display())?;
        }
        if is_failing && done.ended.is_sound() {
            bail!("seed {} did not fail when it was run once more: {}", done.seed, runs.command(done.seed));
        }
        Ok(Campaign::Whole)
    }

    fn seek(&self, job: &Job) -> anyhow::Result<Sought> {
        let bar = ProgressBar::with_draw_target(Some(self.wanted.shrink_runs.into()), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("shrinking {bar:20} {pos} of at most {len} runs  {msg}")?);
        let sought = self.children.seek(job, self.wanted.shrink_runs, |progress| {
            bar.set_position(progress.runs.into());
            bar.set_message(format!(
                "{} faults, {} posts, {}",
                progress.faults,
                progress.posts,
                shown(progress.lasting)
            ));
        });
        bar.finish_and_clear();
        sought
    }

    /// Writes the smallest run, and says what runs of its file are of.
    fn written(&self, seed: u64, smallest: &Smallest) -> anyhow::Result<Runs> {
        let otherwise = || PathBuf::from(format!("{}-{seed}-smallest.toml", self.runs.scenario.name));
        let file = self.wanted.shrunk.clone().unwrap_or_else(otherwise);
        std::fs::write(&file, &smallest.text).with_context(|| cannot_write(&file))?;
        let source = Source::File { path: file.display().to_string(), text: smallest.text.clone() };
        let scenario = Arc::new(source.scenario()?);
        Ok(Runs { source, scenario, ..self.runs.clone() })
    }

    /// Makes one run more, in a process of its own as any other.
    fn once_more(&self, job: Job) -> anyhow::Result<Option<Done>> {
        let mut last = None;
        let seed = job.seed;
        let campaign = self.children.run([job], |done| {
            last = Some(done);
            Ok(())
        })?;
        match (campaign, last) {
            (Campaign::Interrupted, _) | (_, None) => Ok(None),
            (_, Some(Done { ended: Ended::Failed(why) | Ended::Died(why), .. })) => {
                bail!("seed {seed} could not be run once more: {why}")
            }
            (_, done) => Ok(done),
        }
    }
}

fn cannot_write(file: &Path) -> String {
    format!("cannot write {}", file.display())
}

fn tell_smallest(told: &mut String, smallest: &Smallest, seed: u64, runs: &Runs) -> std::fmt::Result {
    let Smallest { wrong, faults, posts, lasting, runs: made, is_minimal, .. } = smallest;
    let end = if *is_minimal { "nothing more can be taken away" } else { "more than --shrink-runs would be needed" };
    let (lasting, file) = (shown(*lasting), runs.source.arguments());
    writeln!(told, "smallest run of seed {seed} that breaks {wrong}: {file}")?;
    writeln!(told, "  {faults} faults, {} posts, {lasting}; {made} runs, {end}", posts.len())?;
    if !posts.is_empty() {
        writeln!(told, "  posts: {}", smallest.posts_named())?;
    }
    Ok(())
}
