//! `plimsoll-sim scenarios`, `show`, `check` and `plan`; and how a scenario is named on a command line.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use plimsoll_sim::job::Source;
use plimsoll_sim::scenario::quantity::shown;
use plimsoll_sim::scenario::ready::{READY, named};
use plimsoll_sim::scenario::{Scenario, file};

/// See the module.
#[derive(Args)]
pub(crate) struct Show {
    /// Its name.
    name: String,
}

/// See the module.
#[derive(Args)]
pub(crate) struct Check {
    /// The file, or the name of a scenario that comes with the program.
    scenario: String,
}

/// See the module.
#[derive(Args)]
pub(crate) struct Plan {
    /// The file, or the name of a scenario that comes with the program; the standard one where nothing is said.
    scenario: Option<String>,
    /// The seed.
    #[arg(long)]
    seed: u64,
}

/// Where the scenario of this name comes from: the program, or else a file.
pub(crate) fn source(name: &str) -> anyhow::Result<Source> {
    if named(name).is_some() {
        return Ok(Source::Ready { name: name.to_owned() });
    }
    let is_name = !name.contains(['/', '.']) && !Path::new(name).exists();
    if is_name {
        bail!(
            "there is neither a scenario nor a file {name}; scenarios are {}",
            READY.map(|ready| ready.name).join(", ")
        );
    }
    let text = std::fs::read_to_string(name).with_context(|| format!("cannot read {name}"))?;
    Ok(Source::File { path: name.to_owned(), text })
}

/// Names and meanings.
pub(crate) fn list() -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    for ready in READY {
        writeln!(out, "{:<16} {}", ready.name, ready.meaning())?;
    }
    writeln!(out, "{:<16} That of your own nodes: plimsoll-sim model --node FILE --node FILE …", "(from-config)")?;
    Ok(ExitCode::SUCCESS)
}

/// A ready one, as it is.
pub(crate) fn show(arguments: &Show) -> anyhow::Result<ExitCode> {
    let name = &arguments.name;
    let names = || format!("there is no scenario {name}; there are {}", READY.map(|ready| ready.name).join(", "));
    let ready = named(name).with_context(names)?;
    io::stdout().write_all(ready.text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads one, and says in a line what it is of.
pub(crate) fn check(arguments: &Check) -> anyhow::Result<ExitCode> {
    let Scenario { name, lasting, regions, schedule, swarm, assertions, .. } =
        &source(&arguments.scenario)?.scenario()?;
    let nodes: u32 = regions.iter().map(|region| u32::from(region.nodes)).sum();
    let regions: Vec<String> = regions.iter().map(|region| format!("{} in {}", region.nodes, region.name)).collect();
    let by_chance = swarm.as_ref().map_or("none".to_owned(), |swarm| format!("up to {}", swarm.at_most));
    writeln!(
        io::stdout(),
        "{name}: {nodes} nodes, {}; {}; {} events at their times, {by_chance} by chance; {} assertions",
        regions.join(", "),
        shown(*lasting),
        schedule.len(),
        assertions.len()
    )?;
    Ok(ExitCode::SUCCESS)
}

/// What is drawn for a seed, written out.
pub(crate) fn plan(arguments: &Plan) -> anyhow::Result<ExitCode> {
    let Plan { scenario, seed, .. } = arguments;
    let standard = Source::Standard { nodes: 3, seconds: 20 };
    let source = scenario.as_deref().map_or(Ok(standard), source)?;
    let plan = plimsoll_sim::plan::Plan::drawn(*seed, &Arc::new(source.scenario()?));
    let text = file::write(&plan.scenario, &plan.faults);
    write!(io::stdout(), "# What is drawn for seed {seed}, written out. Run it with that seed.\n\n{text}")?;
    Ok(ExitCode::SUCCESS)
}
