//! `plimsoll-sim`: runs clusters in simulated time, each from a seed.

mod cli;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code of runs of which one broke a promise, or an assertion.
const BROKEN: u8 = 1;

/// The exit code where something could not be done: a scenario that is wrong, a run that could not be made.
const FAILED: u8 = 2;

#[derive(Parser)]
#[command(name = "plimsoll-sim", version, about = "Runs clusters of plimsoll in simulated time, each run from a seed.")]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs clusters under faults, and judges what they show. Exits with 1 if a promise or an assertion was broken.
    Run(cli::run::Run),
    /// Lists the scenarios that come with the program.
    Scenarios,
    /// Prints one of them, for a start of your own.
    Show(cli::scenarios::Show),
    /// Reads a scenario file, and tells all that is wrong with it.
    Check(cli::scenarios::Check),
    /// Prints a scenario with all that was drawn for a seed written out, to be changed: with the same seed it is the same run.
    Plan(cli::scenarios::Plan),
    /// Makes a scenario file of a deployment, from the configuration files of its nodes.
    #[command(visible_alias = "from-config")]
    Model(cli::model::Model),
    /// Measures what a cluster costs by its nodes and regions: time, traffic, memory.
    Scale(cli::scale::Scale),
    /// One run, for the parent of this process.
    #[command(hide = true, name = plimsoll_sim::jobs::CHILD)]
    Child {
        /// Seek the smallest run that fails as it does, with at most so many runs.
        #[arg(long)]
        seek: Option<u32>,
    },
}

fn is_closed_pipe(error: &(dyn std::error::Error + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn main() -> ExitCode {
    let Line { command } = Line::parse();
    let done = match &command {
        Command::Run(arguments) => cli::run::run(arguments),
        Command::Scenarios => cli::scenarios::list(),
        Command::Show(arguments) => cli::scenarios::show(arguments),
        Command::Check(arguments) => cli::scenarios::check(arguments),
        Command::Plan(arguments) => cli::scenarios::plan(arguments),
        Command::Model(arguments) => cli::model::model(arguments),
        Command::Scale(arguments) => cli::scale::scale(arguments),
        Command::Child { seek } => plimsoll_sim::jobs::be_child(*seek).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // Whoever read what is told has seen enough of it, as `head` has.
        if error.chain().any(is_closed_pipe) {
            return ExitCode::from(FAILED);
        }
        // There is nowhere else to say it.
        let _ = writeln!(io::stderr(), "plimsoll-sim: {error:#}");
        ExitCode::from(FAILED)
    })
}
