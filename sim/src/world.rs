//! A run: hosts, clients and faults in one simulated time, then calm, then judgement.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::Value;
use turmoil::{Builder, Sim};

use crate::client::ask;
use crate::faults::{Event, Fault};
use crate::history::{History, Seen};
use crate::host::Host;
use crate::invariants::{Artifact, Copy, Shown, broken};
use crate::net::host_of;
use crate::plan::Plan;
use crate::trace::set_now;
use crate::workload;

/// When simulated time begins.
const EPOCH: Duration = Duration::from_secs(1_776_000_000);

/// One turn of the world. Nothing is finer than this.
const TICK: Duration = Duration::from_millis(1);

/// How long messages take: within a region, and from one to another.
const NEAR: Duration = Duration::from_millis(1);
const FAR: Duration = Duration::from_millis(40);

/// How long the nodes may take, once nothing goes wrong any more, to show the same.
const CALM_MAX: Duration = Duration::from_secs(120);

/// How long a judge waits for an answer, and before it asks again.
const JUDGE_PATIENCE: Duration = Duration::from_secs(10);
const JUDGE_PAUSE: Duration = Duration::from_millis(500);

/// What the nodes show in the end, once they have come to rest.
type Shows = Arc<Mutex<Option<Vec<Copy>>>>;

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The promises it broke.
    pub broken: Vec<String>,
    /// Transitions that were posted, and how many of them were acknowledged.
    pub posted: usize,
    /// See there.
    pub acknowledged: usize,
    /// Cursors that were read.
    pub reads: u64,
    /// How long the run was, in simulated time.
    pub lasted: Duration,
}

/// Runs a plan.
///
/// # Errors
/// The run could not be judged: a node ended by itself, or the world came to an end some other way.
pub fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    set_now(Duration::ZERO);
    align_task_ids()?;
    let nodes = u8::try_from(plan.regions.len()).context("at most 255 nodes")?;
    let mut sim = Builder::new()
        .epoch(UNIX_EPOCH + EPOCH)
        .rng_seed(plan.seed)
        .tick_duration(TICK)
        .min_message_latency(NEAR)
        .max_message_latency(NEAR)
        .simulation_duration(plan.lasting + CALM_MAX + Duration::from_secs(60))
        .tcp_capacity(4_096)
        .build();
    let hosts: Vec<Host> = (1..=nodes)
        .zip(&plan.regions)
        .map(|(number, region)| {
            Host::new(number, region, nodes, plan.seed.rotate_left(u32::from(number) * 7) ^ u64::from(number))
        })
        .collect();
    for host in &hosts {
        let started = host.clone();
        sim.host(host_of(host.number), move || {
            let host = started.clone();
            async move { host.run().await.map_err(Into::into) }
        });
    }
    let history = Arc::new(History::default());
    let names = clients(&mut sim, plan, nodes, &history);
    set_distances(&sim, &plan.regions, &names);
    let shows = Shows::default();
    judge(&mut sim, plan.lasting, nodes, (&history, &shows));
    let mut faults = plan.faults.iter().peekable();
    let mut down = vec![false; plan.regions.len()];
    loop {
        set_now(sim.elapsed());
        while let Some(Event { fault, .. }) = faults.next_if(|event| event.at <= sim.elapsed()) {
            bring_about(&mut sim, &hosts, &mut down, fault);
        }
        let is_over = sim.step().map_err(|error| anyhow::anyhow!("at {:?}: {error}", sim.elapsed()))?;
        if is_over {
            break;
        }
    }
    let seen = history.all();
    let copies = shows.lock().unwrap_or_else(PoisonError::into_inner).take();
    Ok(judged(&seen, copies, sim.elapsed()))
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

fn judged(seen: &Seen, copies: Option<Vec<Copy>>, lasted: Duration) -> Verdict {
    let broken = match copies {
        Some(copies) => broken(seen, &copies),
        None => vec![format!("live: the nodes do not show the same {} s after the last fault", CALM_MAX.as_secs())],
    };
    let acknowledged = seen.posted.values().filter(|posted| posted.is_acknowledged()).count();
    Verdict { broken, posted: seen.posted.len(), acknowledged, reads: seen.reads, lasted }
}

/// An emitter and a reader at each node. Returns the names of their hosts, with the node each is near.
fn clients(sim: &mut Sim<'_>, plan: &Plan, nodes: u8, history: &Arc<History>) -> Vec<(String, u8)> {
    let mut names = Vec::new();
    for node in 1..=nodes {
        let seed = plan.seed.wrapping_add(u64::from(node)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (emitter, reader) = (format!("emitter{node}"), format!("reader{node}"));
        let (name, kept, lasting) = (format!("e{node}"), Arc::clone(history), plan.lasting);
        sim.client(emitter.as_str(), async move {
            workload::emit(name, node, nodes, seed, &kept, lasting).await;
            kept.emitter_ended();
            Ok(())
        });
        let kept = Arc::clone(history);
        sim.client(reader.as_str(), async move {
            workload::read(node, !seed, kept, lasting).await;
            Ok(())
        });
        names.extend([(emitter, node), (reader, node)]);
    }
    names
}

fn set_distances(sim: &Sim<'_>, regions: &[String], clients: &[(String, u8)]) {
    let nodes = (1..).zip(regions).map(|(number, region)| (host_of(number), region));
    let near = clients.iter().map(|(name, node)| (name.clone(), &regions[usize::from(*node) - 1]));
    let all: Vec<(String, &String)> = nodes.chain(near).collect();
    for (at, (one, here)) in all.iter().enumerate() {
        for (other, there) in all[at + 1..].iter().filter(|(_, there)| there != here) {
            tracing::debug!(one, other, here, there, "far apart");
            sim.set_link_latency(one.as_str(), other.as_str(), FAR);
        }
    }
}

fn bring_about(sim: &mut Sim<'_>, hosts: &[Host], down: &mut [bool], fault: &Fault) {
    tracing::info!(%fault, "fault");
    let index = |host: u8| usize::from(host) - 1;
    match *fault {
        Fault::Cut(one, other) => sim.partition(host_of(one), host_of(other)),
        Fault::CutOneWay(from, to) => sim.partition_oneway(host_of(from), host_of(to)),
        Fault::Mend(one, other) => sim.repair(host_of(one), host_of(other)),
        Fault::Crash { host, kept } if !down[index(host)] => {
            down[index(host)] = true;
            sim.crash(host_of(host));
            hosts[index(host)].disk.crash_keeping(kept);
        }
        Fault::Restart(host) if down[index(host)] => {
            down[index(host)] = false;
            sim.bounce(host_of(host));
        }
        Fault::Crash { .. } | Fault::Restart(_) => {}
        Fault::Clock { host, ahead_ms } => hosts[index(host)].set_clock(ahead_ms),
        Fault::Disk { host, sync_ms } => hosts[index(host)].set_sync_ms(sync_ms),
    }
}

/// A client of all nodes that waits until nothing is posted any more and they show the same, and writes down what.
fn judge(sim: &mut Sim<'_>, lasting: Duration, nodes: u8, (history, shows): (&Arc<History>, &Shows)) {
    let (history, shows) = (Arc::clone(history), Arc::clone(shows));
    sim.client("judge", async move {
        tokio::time::sleep(lasting).await;
        let agreeing = async {
            while history.emitters_ended() < usize::from(nodes) || !agree(nodes).await {
                tokio::time::sleep(JUDGE_PAUSE).await;
            }
            let mut copies = Vec::new();
            for node in 1..=nodes {
                copies.push(copy_of(node).await?);
            }
            anyhow::Ok(copies)
        };
        if let Ok(copies) = tokio::time::timeout(CALM_MAX, agreeing).await {
            *shows.lock().unwrap_or_else(PoisonError::into_inner) = Some(copies?);
        }
        Ok(())
    });
}

/// Whether all nodes are ready, and have one digest.
async fn agree(nodes: u8) -> bool {
    let mut digests = Vec::new();
    for node in 1..=nodes {
        match ask(node, Method::GET, "/cluster", None, JUDGE_PATIENCE).await {
            Ok(answer) if answer.body["state"] == "ready" => digests.push(answer.body["digest"].clone()),
            _ => return false,
        }
    }
    digests.windows(2).all(|pair| pair[0] == pair[1])
}

/// All that a node shows.
async fn copy_of(node: u8) -> anyhow::Result<Copy> {
    let status = got(node, "/cluster").await?;
    let mut copy = Copy { node, digest: text(&status, "digest"), ..Copy::default() };
    for projection in listed(node, "/projections").await? {
        let id = text(&projection, "artifact_id");
        let transitions = listed(node, &format!("/projections/{id}/transitions")).await?;
        let shown = |item: &Value| Shown {
            id: text(item, "transition_id"),
            status: text(item, "status"),
            stamp: text(item, "stamp"),
        };
        let transitions = transitions.iter().map(shown).collect();
        let (token, status) = (text(&projection, "committed_version"), text(&projection, "status"));
        copy.artifacts.insert(id, Artifact { token, status, transitions });
    }
    Ok(copy)
}

async fn listed(node: u8, path: &str) -> anyhow::Result<Vec<Value>> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let mut page = got(node, &format!("{path}?limit=1000{next}")).await?;
        items.append(page["items"].as_array_mut().context("a list has items")?);
        match page["next"].as_str() {
            Some(position) => next = format!("&page={position}"),
            None => return Ok(items),
        }
    }
}

async fn got(node: u8, path: &str) -> anyhow::Result<Value> {
    let answer = ask(node, Method::GET, path, None, JUDGE_PATIENCE).await?;
    if answer.status != 200 {
        bail!("n{node} answered {path} with {} {}", answer.status, answer.body);
    }
    Ok(answer.body)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
