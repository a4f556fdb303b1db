//! `plimsoll bench`: how fast is a node, and how fast could it be?
//!
//! The one idea: a latency counts from the moment a request was *due*, not from the moment the generator got round to
//! sending it. See [`schedule`] for the two loops, [`workload`] for what is asked, [`connection`] for why the client is
//! written by hand, [`floor`] for the servers to compare with, and [`compare`] for how the bars are measured.
//!
//! It measures a server from outside, over plain HTTP/1.1 without pipelining; it does not profile, and it knows nothing
//! of the node but its API.

mod arguments;
mod bars;
mod batch_answer;
mod compare;
mod connection;
mod drive;
mod floor;
mod generator;
mod group_commit;
mod prepare;
mod report;
mod response;
mod schedule;
mod tally;
mod target;
mod template;
mod timer;
mod workload;

use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail};
use plimsoll_client::wire::http::v1 as wire;
use serde_json::json;

pub(crate) use arguments::BenchArguments;
use arguments::{ArtifactArguments, BenchCommand, CompareArguments, FloorArguments, GeneratorArguments, LoadArguments};
use compare::{Case, Comparison, Side};
use floor::Floor;
use generator::Run;
use prepare::{Preparation, Prepared};
use report::Report;
use schedule::Load;
use target::Target;
use template::Names;
use workload::{Mix, Plan};

use crate::arguments::Global;
use crate::failure::Failure;
use crate::printer::Printer;

/// The connections of the cases that are about many.
const CONNECTIONS: u32 = 64;

/// Runs `plimsoll bench`; blocks until it is done. Whatever needs a runtime gets one on a thread of its own.
pub(crate) fn run(arguments: &BenchArguments, global: &Global, printer: &mut Printer) -> Result<(), Failure> {
    match &arguments.command {
        BenchCommand::Cursor(load) => run_load(load, Mix::Cursor, global, printer),
        BenchCommand::Post(load) => run_load(load, Mix::Post, global, printer),
        BenchCommand::Mixed(mixed) => run_load(&mixed.load, Mix::Mixed(mixed.reads), global, printer),
        BenchCommand::Batch(batch) => run_load(&batch.load, Mix::Batch(batch.lines), global, printer),
        BenchCommand::Floor(floor) => run_floor(floor, printer),
        BenchCommand::Compare(compare) => run_compare(compare, global, printer),
    }
}

fn run_load(arguments: &LoadArguments, mix: Mix, global: &Global, printer: &mut Printer) -> Result<(), Failure> {
    let target = node(global)?;
    if arguments.prepare_only || matches!(mix, Mix::Cursor | Mix::Mixed(_)) {
        prepare(&target, &arguments.artifacts, printer)?;
    }
    if arguments.prepare_only {
        return Ok(());
    }
    let recorded = Duration::from_secs_f64(arguments.seconds);
    let scope = Scope { artifacts: &arguments.artifacts, generator: &arguments.generator, recorded, global };
    let report = scope.measure(&target, mix, arguments.offered(), arguments.connections)?;
    printer.answer(&report, || report.to_string().trim_end().to_owned())?;
    match report.errors() {
        0 => Ok(()),
        errors => Err(anyhow!("{errors} requests or lines were refused or lost").into()),
    }
}

fn run_floor(arguments: &FloorArguments, printer: &mut Printer) -> Result<(), Failure> {
    let floor = match &arguments.data_dir {
        Some(directory) => Floor::durable(directory)?,
        None => Floor::ParseOnly,
    };
    let listener = TcpListener::bind(arguments.listen)
        .map_err(|error| Failure::Config { detail: format!("cannot listen on {}: {error}", arguments.listen) })?;
    listener.set_nonblocking(true).context("cannot listen")?;
    let url = format!("http://{}", listener.local_addr().context("cannot listen")?);
    printer.answer(&json!({"url": url}), || format!("serving at {url}"))?;
    printer.flush()?;
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(floor.serve(listener))
    };
    let served: Result<()> = thread::spawn(serve).join().map_err(|_| anyhow!("the floor panicked"))?;
    Ok(served?)
}

fn run_compare(arguments: &CompareArguments, global: &Global, printer: &mut Printer) -> Result<(), Failure> {
    let node = node(global)?;
    let floor = target(&arguments.floor, None)?;
    prepare(&node, &arguments.artifacts, printer)?;
    let recorded = Duration::from_secs_f64(arguments.seconds);
    let scope = Scope { artifacts: &arguments.artifacts, generator: &arguments.generator, recorded, global };
    let measure = |case, side, load| {
        let target = if side == Side::Node { &node } else { &floor };
        let (mix, connections) = match case {
            Case::Cursor => (Mix::Cursor, CONNECTIONS),
            Case::Post | Case::PostPaced => (Mix::Post, CONNECTIONS),
            Case::PostAlone => (Mix::Post, 1),
            Case::Batch => (Mix::Batch(arguments.lines), arguments.batch_connections),
        };
        scope.measure(target, mix, load, connections)
    };
    let comparison = Comparison::measure(arguments, |progress| printer.remark(progress), measure)?;
    printer.answer(&comparison, || comparison.to_string().trim_end().to_owned())?;
    match (comparison.errors, comparison.missed()) {
        (0, 0) => Ok(()),
        (0, missed) => Err(anyhow!("the node misses {missed} bars").into()),
        (errors, _) => Err(anyhow!("{errors} requests or lines were refused or lost").into()),
    }
}

fn node(global: &Global) -> Result<Arc<Target>, Failure> {
    match &global.url[..] {
        [url] => target(url, global.token()),
        _ => Err(Failure::Config { detail: "bench measures one node: give one --url".to_owned() }),
    }
}

fn target(url: &str, token: Option<&str>) -> Result<Arc<Target>, Failure> {
    let parsed = Target::parse(url, token).map(Arc::new);
    parsed.map_err(|error| Failure::Config { detail: format!("{error:#}") })
}

/// What the runs of one command have in common.
struct Scope<'a> {
    artifacts: &'a ArtifactArguments,
    generator: &'a GeneratorArguments,
    recorded: Duration,
    global: &'a Global,
}

impl Scope<'_> {
    fn measure(&self, target: &Arc<Target>, mix: Mix, load: Load, connections: u32) -> Result<Report> {
        let ArtifactArguments { artifacts, namespace, .. } = self.artifacts;
        if connections > *artifacts {
            bail!("each connection needs an artifact of its own: --artifacts must be at least {connections}");
        }
        let run = Run {
            target: Arc::clone(target),
            plan: Arc::new(Plan::new(mix, *artifacts, target, &names_of_this_run(namespace, *artifacts))),
            load,
            connections,
            threads: self.generator.threads.min(connections),
            warmup: self.generator.warmup(),
            recorded: self.recorded,
            timeout: self.global.timeout,
            seed: self.generator.seed,
        };
        let measurement = run.measure()?;
        Ok(Report::new(&run, *artifacts, &measurement))
    }
}

fn prepare(target: &Arc<Target>, arguments: &ArtifactArguments, printer: &mut Printer) -> Result<()> {
    let ArtifactArguments { artifacts, transitions, namespace } = arguments;
    let names = Names::new(namespace, *artifacts, 0, 0);
    let preparation =
        Preparation { target: Arc::clone(target), names, artifacts: *artifacts, transitions: *transitions };
    match preparation.run()? {
        Prepared::AlreadyThere => {}
        Prepared::Imported(count) => printer.remark(&format!("imported {count} transitions into {}", target.url)),
    }
    Ok(())
}

/// Names that no run before has used.
fn names_of_this_run(namespace: &str, artifacts: u32) -> Names {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    // The standard library seeds it from the system, anew for each.
    let random = RandomState::new().hash_one(millis);
    Names::new(namespace, artifacts, u64::try_from(millis).unwrap_or(u64::MAX), random)
}
