//! `plimsoll-sim`: runs clusters in simulated time, each from a seed.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use plimsoll_sim::plan::Plan;
use plimsoll_sim::scenario::Scenario;
use plimsoll_sim::trace::traced;
use plimsoll_sim::verdict::Verdict;
use plimsoll_sim::world::run;

/// The exit code of a run that broke a promise.
const BROKEN: u8 = 1;

/// The exit code where no run could be made.
const FAILED: u8 = 2;

#[derive(Parser)]
#[command(name = "plimsoll-sim", version, about = "Runs clusters of plimsoll in simulated time, each run from a seed.")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs clusters under faults, and judges what they show. Exits with 1 if a promise was broken.
    Run(Run),
}

#[derive(Args)]
struct Run {
    /// The seed of the first run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs, each of the next seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Nodes, in three regions.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=100))]
    nodes: u8,
    /// How long clients ask and things go wrong, in simulated seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Run each seed twice, and compare every line of the two.
    #[arg(long)]
    twice: bool,
    /// Write the lines of the last run to this file.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Line { command: Command::Run(arguments) } = Line::parse();
    match run_all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(BROKEN),
        Err(error) => {
            // There is nowhere else to say it.
            let _ = writeln!(io::stderr(), "plimsoll-sim: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run_all(arguments: &Run) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let (mut is_sound, mut simulated) = (true, Duration::ZERO);
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let mut scenario = Scenario::standard(arguments.nodes, Duration::from_secs(arguments.seconds));
        if let Ok(s) = std::env::var("HACK") {
            for kv in s.split(',') {
                let (k, v) = kv.split_once('=').unwrap();
                if k == "disk" {
                    scenario.settings.disk = plimsoll_sim::scenario::DiskKind::Redb;
                } else if k == "retires" {
                    scenario.workload.retires = v.parse().unwrap();
                } else {
                    scenario.settings.product.insert(k.to_owned(), v.to_owned());
                }
            }
        }
        let scenario = std::sync::Arc::new(scenario);
        let plan = Plan::drawn(seed, &scenario);
        let is_traced = arguments.twice || arguments.trace.is_some();
        let (verdict, lines) = if is_traced { traced(|| run(&plan)) } else { (run(&plan), Vec::new()) };
        if let Some(file) = &arguments.trace {
            std::fs::write(file, &lines).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let verdict = verdict.with_context(|| told(&plan, arguments))?;
        simulated += verdict.lasted;
        if arguments.twice {
            let (_, again) = traced(|| run(&plan));
            if let Some((line, one, other)) = first_difference(&lines, &again) {
                bail!("two runs of seed {seed} differ, first in line {line}:\n  {one}\n  {other}");
            }
        }
        say(seed, &verdict)?;
        if !verdict.broken.is_empty() {
            is_sound = false;
            writeln!(io::stdout(), "{}", told(&plan, arguments))?;
        }
    }
    let speed = simulated.as_secs_f64() / begun.elapsed().as_secs_f64();
    writeln!(io::stdout(), "{:.0} simulated seconds, {speed:.0} in each second", simulated.as_secs_f64())?;
    Ok(is_sound)
}

fn say(seed: u64, verdict: &Verdict) -> io::Result<()> {
    let Verdict { broken, reads, lasted, .. } = verdict;
    let plimsoll_sim::verdict::Posts { posted, acknowledged } = verdict.all_posts();
    let word = if broken.is_empty() { "sound" } else { "BROKEN" };
    let mut out = io::stdout();
    writeln!(
        out,
        "seed {seed}: {word}; {posted} posted, {acknowledged} acknowledged, {reads} reads, {:.1} s",
        lasted.as_secs_f64()
    )?;
    broken.iter().try_for_each(|what| writeln!(out, "  {what}"))
}

/// A run, so that it can be run again.
fn told(plan: &Plan, arguments: &Run) -> String {
    let mut told = format!(
        "seed {} of version {}: plimsoll-sim run --seed {} --nodes {} --seconds {}\nfaults:\n",
        plan.seed,
        env!("CARGO_PKG_VERSION"),
        plan.seed,
        arguments.nodes,
        arguments.seconds,
    );
    for event in &plan.faults {
        told.push_str(&format!("  {:>9.3} {}\n", event.at.as_secs_f64(), event.fault));
    }
    told
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
