//! `plimsoll-sim run`.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plimsoll_sim::job::{Job, Source};
use plimsoll_sim::jobs::{Campaign, Children, Done, Ended};
use plimsoll_sim::junit::Suite;
use plimsoll_sim::report::{Runs, build};

use super::evidence::{Evidence, Wanted};
use super::scenarios;

/// Seeds that are drawn are below this, to be easily told to somebody else.
const RANDOM_BELOW: u64 = 1_000_000_000;

/// See the module.
#[derive(Args)]
pub(crate) struct Run {
    /// A scenario file, or the name of a scenario that comes with the program. Without it: three regions 40 ms apart, and up to
    /// twelve faults of any kind.
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
    /// The seed of the first run; `random` for one that is drawn, and told.
    #[arg(long, default_value = "1")]
    seed: Seed,
    /// How many runs, each of the next seed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    seeds: u64,
    /// How many runs beside each other, each in a process of its own; as many as there are processors if nothing is said.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Nodes, in three regions; 3 if nothing is said. Only without a scenario.
    #[arg(long, value_parser = clap::value_parser!(u8).range(2..=100), conflicts_with = "scenario")]
    nodes: Option<u8>,
    /// How long clients ask and things go wrong, in simulated seconds; 20 if nothing is said. Only without a scenario.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=3600), conflicts_with = "scenario")]
    seconds: Option<u64>,
    /// Run each seed twice, and compare every line of the two.
    #[arg(long)]
    twice: bool,
    /// Write the lines of the last run to this file.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Write what came of all runs to this file, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// End a run that takes longer than so many seconds by the wall, and take it for broken.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    patience: Option<u64>,
    #[command(flatten)]
    wanted: Wanted,
    /// Put an old bug back, to see that it is found.
    #[cfg(feature = "planted")]
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
}

/// The seed of the first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seed {
    Number(u64),
    Random,
}

impl FromStr for Seed {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "random" => Ok(Self::Random),
            _ => text.parse().map(Self::Number).map_err(|_| "must be a whole number, or random"),
        }
    }
}

impl Seed {
    fn number(self) -> u64 {
        match self {
            Self::Number(number) => number,
            // The keys of the library's hash maps are drawn by the system.
            Self::Random => RandomState::new().build_hasher().finish() % RANDOM_BELOW,
        }
    }
}

impl Run {
    fn source(&self) -> anyhow::Result<Source> {
        let standard = Source::Standard { nodes: self.nodes.unwrap_or(3), seconds: self.seconds.unwrap_or(20) };
        self.scenario.as_deref().map_or(Ok(standard), scenarios::source)
    }

    #[cfg(feature = "planted")]
    fn bug(&self) -> Option<String> {
        self.bug.clone()
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "it has a bug to tell of where there are any")]
    fn bug(&self) -> Option<String> {
        None
    }

    fn job(&self, source: &Source, seed: u64) -> Job {
        Job { source: source.clone(), seed, is_twice: self.twice, trace: None, page: None, bug: self.bug() }
    }

    /// The runs that are asked for.
    fn jobs(&self, source: &Source, first: u64) -> impl Iterator<Item = Job> + use<> {
        let last = first.saturating_add(self.seeds - 1);
        let job = self.job(source, first);
        let trace = self.trace.clone();
        (first..=last).map(move |seed| Job { seed, trace: trace.clone().filter(|_| seed == last), ..job.clone() })
    }

    /// What else stands on the command line of a run that is made again.
    fn options(&self) -> String {
        let twice = self.twice.then(|| "--twice".to_owned());
        let bug = self.bug().map(|bug| format!("--bug {bug}"));
        twice.into_iter().chain(bug).collect::<Vec<_>>().join(" ")
    }
}

/// What is counted over all runs.
struct Tally {
    runs: Runs,
    suite: Suite,
    bar: ProgressBar,
    begun: Instant,
    simulated: Duration,
    sound: u64,
    broken: u64,
    failed: u64,
    /// The first seed that broke a promise or an assertion.
    first_broken: Option<u64>,
    last: Option<u64>,
    /// Whether something that was to be kept could not be.
    is_lacking: bool,
}

/// Makes the runs.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<ExitCode> {
    let source = arguments.source()?;
    let scenario = Arc::new(source.scenario()?);
    let first = arguments.seed.number();
    if arguments.seed == Seed::Random {
        writeln!(io::stdout(), "the first seed is {first}")?;
    }
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let children = Children {
        program: std::env::current_exe().context("this program does not find itself")?,
        at_once: arguments.jobs.unwrap_or(processors),
        patience: arguments.patience.map(Duration::from_secs),
    };
    let jobs = arguments.jobs(&source, first);
    let one = arguments.job(&source, first);
    let runs = Runs { source, scenario, options: arguments.options(), build: build() };
    let mut tally = Tally::new(runs, arguments.seeds);
    let campaign = children.run(jobs, |done| tally.take(&done));
    tally.bar.finish_and_clear();
    let campaign = campaign.map(|campaign| match campaign {
        Campaign::Whole => tally.gather(&arguments.wanted, &children, &one),
        Campaign::Interrupted => campaign,
    });
    if let Some(file) = &arguments.junit {
        let document = tally.suite.document(&tally.runs);
        std::fs::write(file, document).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let campaign = campaign?;
    tally.say_sum(campaign)?;
    Ok(tally.code(campaign))
}

impl Tally {
    fn new(runs: Runs, seeds: u64) -> Self {
        Self {
            runs,
            suite: Suite::default(),
            bar: progress_bar(seeds),
            begun: Instant::now(),
            simulated: Duration::ZERO,
            sound: 0,
            broken: 0,
            failed: 0,
            first_broken: None,
            last: None,
            is_lacking: false,
        }
    }

    /// Counts a run, and tells of it.
    fn take(&mut self, done: &Done) -> anyhow::Result<()> {
        if let Ended::Judged(outcome) = &done.ended {
            self.simulated += outcome.lasted;
            if !done.ended.is_sound() {
                self.first_broken.get_or_insert(done.seed);
            }
        }
        self.last = Some(done.seed);
        self.suite.push(&self.runs, done);
        self.bar.suspend(|| writeln!(io::stdout(), "{}", self.runs.headline(done)))?;
        match (done.ended.is_sound(), done.ended.is_failure()) {
            (true, _) => self.sound += 1,
            (false, true) => self.failed += 1,
            (false, false) => self.broken += 1,
        }
        if !done.ended.is_sound() {
            self.account_for(done)?;
        }
        self.bar.inc(1);
        Ok(())
    }

    /// All there is to tell of a run that is not sound.
    fn account_for(&self, done: &Done) -> anyhow::Result<()> {
        self.bar.set_message(format!("{} not sound", self.broken + self.failed));
        self.bar.suspend(|| writeln!(io::stdout(), "{}", self.runs.account(done)))?;
        Ok(())
    }

    /// Keeps what is wanted of the first run that broke something, or of the last one, and tells of it.
    fn gather(&mut self, wanted: &Wanted, children: &Children, one: &Job) -> Campaign {
        let Some(seed) = self.first_broken.or(self.last) else { return Campaign::Whole };
        let (evidence, mut told) = (Evidence { wanted, runs: &self.runs, children }, String::new());
        let gathered = evidence.gather(Job { seed, ..one.clone() }, self.first_broken.is_some(), &mut told);
        self.suite.note(seed, &told);
        let said = write!(io::stdout(), "{told}").map_err(anyhow::Error::from);
        said.and(gathered).unwrap_or_else(|error| {
            // There is nowhere else to say it.
            let _ = writeln!(io::stderr(), "plimsoll-sim: {error:#}");
            self.is_lacking = true;
            Campaign::Whole
        })
    }

    fn say_sum(&self, campaign: Campaign) -> io::Result<()> {
        let Self { sound, broken, failed, .. } = self;
        let simulated = self.simulated.as_secs_f64();
        let speed = simulated / self.begun.elapsed().as_secs_f64();
        let word = if campaign == Campaign::Interrupted { "interrupted; " } else { "" };
        writeln!(
            io::stdout(),
            "{word}{sound} sound, {broken} broken, {failed} failed; {simulated:.0} simulated seconds, {speed:.0} in each second"
        )
    }

    fn code(&self, campaign: Campaign) -> ExitCode {
        match (self.broken, self.failed, campaign) {
            (0, 0, Campaign::Whole) if !self.is_lacking => ExitCode::SUCCESS,
            (0, _, _) => ExitCode::from(crate::FAILED),
            _ => ExitCode::from(crate::BROKEN),
        }
    }
}

/// A bar on standard error, if that is a terminal.
fn progress_bar(runs: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(runs), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {per_sec}  {eta} left  {msg}") {
        bar.set_style(style);
    }
    bar
}
