//! A run: hosts, clients and faults in one simulated time, then calm, then judgement.

mod judge;
mod meter;
mod operator;
mod ordeal;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use futures_util::future::join_all;
use turmoil::{Builder, Sim};

use crate::faults::{Event, Fault};
use crate::history::History;
use crate::host::Host;
use crate::invariants::{Loss, Run, broken, is_retired};
use crate::net::{Weather, host_of};
use crate::plan::Plan;
use crate::scenario::{Link, Scenario};
use crate::trace::set_now;
use crate::verdict::{Broken, Verdict};
use crate::workload::Clients;
use judge::Judge;
use meter::Meter;
use ordeal::Ordeal;

/// When simulated time begins.
const EPOCH: Duration = Duration::from_secs(1_776_000_000);

/// One turn of the world: when a message arrives is no finer than this. Timers are.
const TICK: Duration = Duration::from_millis(2);

/// The least time a message takes.
const LATENCY_MIN: Duration = Duration::from_millis(1);

/// Segments that may wait on a connection.
const TCP_CAPACITY: usize = 4_096;

/// What the judge may take beyond the calm, before the world is ended.
const JUDGEMENT_MAX: Duration = Duration::from_secs(300);

/// Runs a plan.
///
/// # Errors
/// No run could be made of it.
pub fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    set_now(Duration::ZERO);
    align_task_ids()?;
    let plan = Arc::new(plan.clone());
    let mut sim = Builder::new()
        .epoch(UNIX_EPOCH + EPOCH)
        .rng_seed(plan.seed)
        .tick_duration(TICK)
        .min_message_latency(LATENCY_MIN)
        .max_message_latency(LATENCY_MIN)
        .simulation_duration(plan.scenario.lasting + plan.scenario.calm + JUDGEMENT_MAX)
        .tcp_capacity(TCP_CAPACITY)
        .build();
    let weather = Weather::fair(plan.seed);
    let hosts = hosts(&mut sim, &plan, &weather)?;
    let history = Arc::new(History::default());
    let clients = |nearest| {
        let (plan, hosts, history) = (Arc::clone(&plan), Arc::clone(&hosts), Arc::clone(&history));
        Clients { nearest, plan, hosts, weather: weather.clone(), history }
    };
    let mut names: Vec<(String, u8)> = hosts.iter().map(|host| (host_of(host.number), host.number)).collect();
    for region in &plan.scenario.regions {
        let name = format!("clients-{}", region.name);
        let near: Vec<Clients> =
            hosts.iter().filter(|host| *host.region == *region.name).map(|host| clients(host.number)).collect();
        names.extend(near.first().map(|first| (name.clone(), first.nearest)));
        sim.client(name.as_str(), async move {
            join_all(near.into_iter().map(Clients::run)).await;
            Ok(())
        });
    }
    let judge = Judge::new(&plan, &hosts, &weather, &history);
    let (judging, operating) =
        (judge.clone().run(), operator::run(Arc::clone(&plan), Arc::clone(&hosts), weather.clone()));
    sim.client("operator", async {
        tokio::join!(judging, operating);
        Ok(())
    });
    let distances = Distances { names, regions: plan.scenario.region_of_each(), weather };
    distances.set_all(&sim, &plan.scenario);
    let mut meter = Meter::new(&sim, &plan.scenario, &distances);
    let mut ordeal = Ordeal::new(&plan, Arc::clone(&hosts), distances);
    // Whatever a run shows that ends in a panic is of no more use.
    let ended = catch_unwind(AssertUnwindSafe(|| live_through(&mut sim, &mut ordeal, &mut meter)));
    let ended = ended.unwrap_or_else(|panic| Err(format!("the product panicked: {}", text_of(panic.as_ref()))));
    let lasted = sim.elapsed();
    // What is left of the nodes is not to be asked any more.
    drop(catch_unwind(AssertUnwindSafe(|| drop(sim))));
    let verdict = judged(&plan, &hosts, &history, &judge, ordeal.losses, ended, lasted)?;
    let (quiet, traffic) = meter.told();
    Ok(Verdict { quiet, traffic, ..verdict })
}

/// Lets time pass until the judge and all clients have ended.
fn live_through(sim: &mut Sim<'_>, ordeal: &mut Ordeal, meter: &mut Meter) -> Result<(), String> {
    loop {
        set_now(sim.elapsed());
        ordeal.happen(sim);
        meter.read(sim.elapsed());
        match sim.step() {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// The runtime counts its tasks in one counter of the process, and drops those of a host that crashes in an order that depends
/// on the lowest bits of it. So each run begins at a multiple of this. Runs beside each other need processes of their own.
const TASK_IDS_ALIGNED: u64 = 1_024;

fn align_task_ids() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let next = || runtime.block_on(async { tokio::spawn(async {}).id().to_string().parse::<u64>() });
    while next()? % TASK_IDS_ALIGNED != 0 {}
    Ok(())
}

fn hosts(sim: &mut Sim<'_>, plan: &Plan, weather: &Weather) -> anyhow::Result<Arc<Vec<Host>>> {
    let mut hosts = Vec::new();
    for number in 1..=plan.scenario.nodes() {
        let seed = plan.seed.rotate_left(u32::from(number) * 7) ^ u64::from(number);
        let host = Host::new(number, &plan.scenario, seed, weather)?;
        let started = host.clone();
        sim.host(host_of(number), move || {
            let host = started.clone();
            async move { host.run().await.map_err(Into::into) }
        });
        let address = sim.lookup(host_of(number));
        tracing::info!(name = host_of(number), %address, region = &*host.region, "host");
        hosts.push(host);
    }
    Ok(Arc::new(hosts))
}

/// Who is how far from whom.
struct Distances {
    /// Names of hosts, and the node each is near.
    names: Vec<(String, u8)>,
    regions: Vec<String>,
    weather: Weather,
}

impl Distances {
    fn region(&self, node: u8) -> &str {
        &self.regions[usize::from(node) - 1]
    }

    fn set_all(&self, sim: &Sim<'_>, scenario: &Scenario) {
        for (at, (one, near_one)) in self.names.iter().enumerate() {
            for (other, near_other) in &self.names[at + 1..] {
                let link = scenario.links.of(self.region(*near_one), self.region(*near_other));
                self.set(sim, one, other, link);
            }
        }
    }

    /// Messages between two hosts travel so from now on.
    fn set(&self, sim: &Sim<'_>, one: &str, other: &str, link: Link) {
        let latency = link.latency.max(LATENCY_MIN);
        sim.set_link_latency(one, other, latency);
        sim.set_link_max_message_latency(one, other, latency + link.jitter);
        let address = |name: &str| -> IpAddr { sim.lookup(name) };
        self.weather.set(address(one), address(other), link);
    }
}

fn judged(
    plan: &Plan,
    hosts: &[Host],
    history: &History,
    judge: &Judge,
    losses: Vec<Loss>,
    ended: Result<(), String>,
    lasted: Duration,
) -> anyhow::Result<Verdict> {
    let found = judge.found();
    let drift_max = hosts.first().context("a scenario has nodes")?.drift_max();
    let seen = std::mem::take(&mut *history.seen());
    let run = Run {
        losses,
        exported: hosts.iter().flat_map(Host::exported).collect(),
        parted: hosts.iter().flat_map(Host::parted).collect(),
        right_clocks: right_clocks(plan),
        far_off: far_off(plan, drift_max),
        drift_max,
        copies: found.copies,
        seen,
    };
    let live = |what: String| Broken { promise: "live", what };
    let mut verdict = Verdict { reads: run.seen.reads, converged: found.converged, lasted, ..Verdict::default() };
    verdict.broken = ended.err().into_iter().chain(found.troubles).map(live).collect();
    verdict.broken.append(&mut broken(&run));
    for (id, posted) in &run.seen.posted {
        let posts = verdict.posts.entry(posted.region.clone()).or_default();
        posts.posted += 1;
        posts.acknowledged += u64::from(posted.is_acknowledged());
        let is_lost = posted.is_acknowledged() && !is_retired(posted.artifact()) && !run.is_everywhere(id, posted);
        verdict.lost.extend(is_lost.then(|| id.clone()));
    }
    verdict.ids = run.seen.posted.keys().cloned().collect();
    verdict.samples = run.seen.samples;
    Ok(verdict)
}

/// Nodes whose clocks nothing happens to.
fn right_clocks(plan: &Plan) -> BTreeSet<u8> {
    let is_touched = |node: &u8| plan.faults.iter().any(|event| event.fault.touches_clock_of(*node));
    (1..=plan.scenario.nodes()).filter(|node| !is_touched(node)).collect()
}

/// Nodes whose clocks are off by more than twice the bound, from when to when, if nothing but that happens in the run, and to one of
/// three nodes or more: then the others can tell.
fn far_off(plan: &Plan, drift_max: Duration) -> Vec<(u8, Duration, Duration)> {
    let set = |event: &Event| match event.fault {
        Fault::Clock { host, ahead_ms } => Some((host, event.at, Duration::from_millis(ahead_ms.unsigned_abs()))),
        _ => None,
    };
    let Some(sets) = plan.faults.iter().map(set).collect::<Option<Vec<_>>>() else { return Vec::new() };
    if plan.scenario.nodes() < 3 || sets.windows(2).any(|pair| pair[0].0 != pair[1].0) {
        return Vec::new();
    }
    let ends = sets.iter().skip(1).map(|(_, at, _)| *at).chain([plan.scenario.lasting]);
    let far = sets.iter().zip(ends).filter(|((.., off), _)| *off > 2 * drift_max);
    far.map(|((host, from, _), until)| (*host, *from, until)).collect()
}
