//! What people are told of runs.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::job::Source;
use crate::jobs::{Done, Ended};
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::scenario::quantity::shown;

/// So many faults of a run are told; of more only how many they are.
const FAULTS_TOLD_MAX: usize = 200;

/// What runs are of, for whoever tells of them.
#[derive(Debug, Clone)]
pub struct Runs {
    /// Where the scenario comes from.
    pub source: Source,
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// What else stands on the command line of each run, as `--bug x`; may be empty.
    pub options: String,
    /// Which program it is: its version, and a digest of it.
    pub build: String,
}

impl Runs {
    /// The command that makes a run again.
    #[must_use]
    pub fn command(&self, seed: u64) -> String {
        let Self { source, options, .. } = self;
        let space = if options.is_empty() { "" } else { " " };
        format!("plimsoll-sim run {} --seed {seed}{space}{options}", source.arguments())
    }

    /// A run in one line.
    #[must_use]
    pub fn headline(&self, done: &Done) -> String {
        let word = if done.ended.is_sound() { "sound" } else { "BROKEN" };
        match &done.ended {
            Ended::Judged(outcome) => {
                let converged =
                    outcome.converged.map_or("never equal".to_owned(), |took| format!("equal after {}", shown(took)));
                format!(
                    "seed {}: {word}; {} posted, {} acknowledged, {} reads, {converged}, {:.1} s",
                    done.seed,
                    outcome.posted,
                    outcome.acknowledged,
                    outcome.reads,
                    outcome.lasted.as_secs_f64()
                )
            }
            Ended::Failed(_) => format!("seed {}: FAILED; the run could not be made or judged", done.seed),
            Ended::Died(_) => format!("seed {}: {word}; its process died", done.seed),
        }
    }

    /// What is wrong with a run: each a kind (`promise`, `assertion`, `died`, `failed`), and how. Nothing if it is sound.
    #[must_use]
    pub fn faults_found(done: &Done) -> Vec<(&'static str, &str)> {
        match &done.ended {
            Ended::Judged(outcome) => {
                let broken = outcome.broken.iter().map(|what| ("promise", what.as_str()));
                broken.chain(outcome.failed.iter().map(|what| ("assertion", what.as_str()))).collect()
            }
            Ended::Failed(why) => vec![("failed", why.as_str())],
            Ended::Died(how) => vec![("died", how.as_str())],
        }
    }

    /// All there is to tell of a run that is not sound: what is wrong, which program it was, what went wrong before by the
    /// scenario, and how to make the run again. Lines without an end of line after the last.
    #[must_use]
    pub fn account(&self, done: &Done) -> String {
        let mut told = String::new();
        for (kind, what) in Self::faults_found(done) {
            let what = what.replace('\n', "\n    ");
            // Writing to a text does not fail.
            let _ = writeln!(told, "  {kind}: {what}");
        }
        if let Ended::Judged(outcome) = &done.ended
            && !outcome.words.is_empty()
        {
            let _ = writeln!(told, "  said: {}", outcome.words.replace('\n', "\n    "));
        }
        let _ = writeln!(told, "  seed {}, scenario {}, {}", done.seed, self.scenario.name, self.build);
        let faults = Plan::drawn(done.seed, &self.scenario).faults;
        let _ = writeln!(told, "  faults:{}", if faults.is_empty() { " none" } else { "" });
        for event in faults.iter().take(FAULTS_TOLD_MAX) {
            let _ = writeln!(told, "    {:>9.3} {}", event.at.as_secs_f64(), event.fault);
        }
        if faults.len() > FAULTS_TOLD_MAX {
            let _ = writeln!(told, "    and {} more", faults.len() - FAULTS_TOLD_MAX);
        }
        let _ = write!(told, "  again: {}", self.command(done.seed));
        told
    }
}

/// Which program this is: its version, and for a release the beginning of the BLAKE3 digest of its file.
#[must_use]
pub fn build() -> String {
    let version = env!("CARGO_PKG_VERSION");
    if cfg!(debug_assertions) {
        return format!("version {version}, debug build");
    }
    let program = std::env::current_exe().and_then(std::fs::read);
    program.map_or(format!("version {version}"), |bytes| {
        format!("version {version}, build {}", &blake3::hash(&bytes).to_hex()[..12])
    })
}
