//! A host: a node of the product, with a disk that outlives it, a clock that may be wrong, and nothing of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_node::afresh;
use plimsoll_node::config::{Config, SEEDS_MAX, SETTINGS, Sources};
use plimsoll_node::environment::{DateHeader, Environment, Network, Security, Writing};
use plimsoll_node::node::{Node, NodeOptions, RunningNode};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::HostClock;
use crate::disk::Disk;
use crate::history::Store;
use crate::net::{HTTP_PORT, PEER_PORT, Port, Weather, Wires, address_of};
use crate::scenario::Scenario;

/// The token clients use.
pub const TOKEN: &str = "simulated-secret-of-all-clients";

/// The token of another tenant, who is to see nothing of theirs.
pub const SPY: &str = "simulated-secret-of-somebody-else";

/// How long whatever starts nodes waits before it starts one again that did not start, or that has failed.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long a stalled sync waits before it looks again.
const STALL_LOOK: Duration = Duration::from_millis(5);

/// How long a sync of a disk takes of which nothing else is said, in milliseconds.
pub const SYNC_MS: u64 = 1;

/// What stays of a host while its node comes and goes. Cheap to clone: all clones are of the same host.
#[derive(Clone)]
pub struct Host {
    /// Its number, from 1.
    pub number: u8,
    /// Where it is.
    pub region: Arc<str>,
    seed: u64,
    scenario: Arc<Scenario>,
    /// What its node is told.
    options: Arc<NodeOptions>,
    weather: Weather,
    state: Arc<State>,
}

struct State {
    disk: Mutex<Disk>,
    /// A copy of a disk, and the node it is of.
    backup: Mutex<Option<(String, Disk)>>,
    clock: Mutex<HostClock>,
    sync_ms: AtomicU64,
    is_stalled: AtomicBool,
    is_low: AtomicBool,
    /// The newest version of the peer protocol to speak; 0 for all.
    newest: AtomicU64,
    starts: AtomicU64,
    stores: AtomicU64,
    has_left: AtomicBool,
    stop: watch::Sender<bool>,
    /// Where a node that starts afresh leaves what may be nowhere else.
    folder: TempDir,
    exported: Mutex<Vec<String>>,
    /// Stores whose nodes started afresh.
    parted: Mutex<Vec<u64>>,
    /// The id of the node that was started last.
    node: Mutex<String>,
    /// Ids of nodes that were here, and are no members any more.
    gone: Mutex<BTreeSet<String>>,
}

/// A lock that is never held across anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn true_time() -> Duration {
    turmoil::since_epoch().unwrap_or_default()
}

fn unix_nanos(since: Duration) -> UnixNanos {
    UnixNanos::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

impl Host {
    /// A host with an empty disk. `seed` is what its node draws from.
    ///
    /// # Errors
    /// There is no room for a folder of exports, or the product refuses its settings.
    pub fn new(number: u8, scenario: &Arc<Scenario>, seed: u64, weather: &Weather) -> anyhow::Result<Self> {
        let regions = scenario.region_of_each();
        let region = regions.get(usize::from(number) - 1).context("a host that is not in the scenario")?;
        Ok(Self {
            number,
            region: region.as_str().into(),
            seed,
            scenario: Arc::clone(scenario),
            options: Arc::new(options(number, region, scenario)?),
            weather: weather.clone(),
            state: Arc::new(State {
                disk: Mutex::new(Disk::new(scenario.settings.disk)),
                backup: Mutex::default(),
                clock: Mutex::default(),
                sync_ms: AtomicU64::new(SYNC_MS),
                is_stalled: AtomicBool::default(),
                is_low: AtomicBool::default(),
                newest: AtomicU64::default(),
                starts: AtomicU64::default(),
                stores: AtomicU64::default(),
                has_left: AtomicBool::default(),
                stop: watch::channel(false).0,
                folder: TempDir::new().context("a folder for exports")?,
                exported: Mutex::default(),
                parted: Mutex::default(),
                node: Mutex::default(),
                gone: Mutex::default(),
            }),
        })
    }

    /// Its clock.
    pub fn clock(&self) -> MutexGuard<'_, HostClock> {
        lock(&self.state.clock)
    }

    /// Its disk.
    #[must_use]
    pub fn disk(&self) -> Disk {
        lock(&self.state.disk).clone()
    }

    /// Which of its stores this is: another one since the disk was replaced, or the node started afresh.
    #[must_use]
    pub fn store(&self) -> u64 {
        self.state.stores.load(Ordering::Relaxed)
    }

    fn replace_disk(&self, disk: Disk) {
        *lock(&self.state.disk) = disk;
        self.state.stores.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts an empty disk in, of which no node is known yet.
    pub fn wipe(&self) {
        lock(&self.state.node).clear();
        self.replace_disk(Disk::new(self.scenario.settings.disk));
    }

    /// Copies what a power cut would leave on the disk.
    pub fn back_up(&self) {
        *lock(&self.state.backup) = Some((self.node_id(), self.disk().backup()));
    }

    /// Puts a disk in that is as the last backup; empty, where there is none of a node that is still a member.
    pub fn restore(&self) {
        let backup = lock(&self.state.backup).as_ref().map(|(node, disk)| (node.clone(), disk.backup()));
        match backup.filter(|(node, _)| !lock(&self.state.gone).contains(node)) {
            Some((node, disk)) => {
                *lock(&self.state.node) = node;
                self.replace_disk(disk);
            }
            None => self.wipe(),
        }
    }

    /// A node that was here is no member any more: nobody puts its disk back.
    pub fn set_gone(&self, node: &str) {
        lock(&self.state.gone).insert(node.to_owned());
    }

    /// A node that was to leave is a member still.
    pub fn set_member(&self, node: &str) {
        lock(&self.state.gone).remove(node);
    }

    /// How long its disk takes for a sync.
    pub fn set_sync_ms(&self, sync_ms: u64) {
        self.state.sync_ms.store(sync_ms, Ordering::Relaxed);
    }

    /// Whether no sync ends.
    pub fn set_stalled(&self, is_stalled: bool) {
        self.state.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// Whether there is less room on the disk than a node keeps in reserve.
    pub fn set_low(&self, is_low: bool) {
        self.state.is_low.store(is_low, Ordering::Relaxed);
    }

    /// The newest version of the peer protocol it speaks from its next start on.
    pub fn set_newest(&self, newest: Option<u16>) {
        self.state.newest.store(newest.unwrap_or_default().into(), Ordering::Relaxed);
    }

    /// Tells the node to stop, or lets the next one run.
    pub fn set_stopping(&self, is_stopping: bool) {
        self.state.stop.send_replace(is_stopping);
    }

    /// Whether its node has left the cluster, for good.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.state.has_left.load(Ordering::Relaxed)
    }

    /// Its node has left; or the next one over an empty disk is there to stay.
    pub fn set_left(&self, has_left: bool) {
        self.state.has_left.store(has_left, Ordering::Relaxed);
    }

    /// The id of the node that was started last; empty before the first.
    #[must_use]
    pub fn node_id(&self) -> String {
        lock(&self.state.node).clone()
    }

    /// Ids of the transitions that its nodes exported when they started afresh.
    #[must_use]
    pub fn exported(&self) -> Vec<String> {
        lock(&self.state.exported).clone()
    }

    /// Its stores whose nodes started afresh.
    #[must_use]
    pub fn parted(&self) -> Vec<Store> {
        lock(&self.state.parted).iter().map(|store| (self.number, *store)).collect()
    }

    /// How far ahead of its clock its node takes what a peer tells it.
    #[must_use]
    pub fn drift_max(&self) -> Duration {
        self.options.drift_max
    }

    /// How long its node keeps what was retired.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.options.retention
    }

    /// Runs its node until the host crashes, or the node is told to stop; and starts it again wherever a process manager would.
    ///
    /// # Errors
    /// The simulation is wrong in itself.
    pub async fn run(self) -> anyhow::Result<()> {
        loop {
            match self.start().await {
                Ok(node) => {
                    if self.run_until_it_ends(node).await? {
                        return Ok(());
                    }
                }
                Err(error) => tracing::warn!(host = self.number, %error, "the node does not start"),
            }
            sleep(RESTART_PAUSE).await;
        }
    }

    /// Whether the node was told to stop.
    async fn run_until_it_ends(&self, mut node: RunningNode) -> anyhow::Result<bool> {
        let mut stopping = self.state.stop.subscribe();
        let is_told = tokio::select! {
            biased;
            () = node.ended() => false,
            // The other end is the host's own.
            _told = stopping.wait_for(|is_stopping| *is_stopping) => true,
        };
        if is_told {
            node.stop().await?;
            return Ok(true);
        }
        if !node.is_behind() {
            node.stop().await?;
            anyhow::bail!("the node on host {} has ended by itself", self.number);
        }
        let parked = afresh::park(node, self.state.folder.path(), unix_nanos(true_time())).await?;
        tracing::warn!(host = self.number, exported = parked.exported, "starts afresh");
        lock(&self.state.exported).append(&mut ids_in(&parked.folder)?);
        lock(&self.state.parted).push(self.store());
        self.wipe();
        Ok(false)
    }

    async fn start(&self) -> anyhow::Result<RunningNode> {
        let legacy = afresh::members_left(self.state.folder.path())?;
        let mut options = NodeOptions { legacy, ..NodeOptions::clone(&self.options) };
        let newest = self.state.newest.load(Ordering::Relaxed);
        if let (Some(cluster), Ok(newest @ 1..)) = (&mut options.cluster, u16::try_from(newest)) {
            cluster.versions.newest = newest;
        }
        let node = Node::start(options, self.environment().await?).await?;
        afresh::take_members(self.state.folder.path());
        *lock(&self.state.node) = node.node_id().to_string();
        Ok(node)
    }

    async fn environment(&self) -> anyhow::Result<Environment> {
        let start = self.state.starts.fetch_add(1, Ordering::Relaxed);
        let (clock, low, disk) = (Arc::clone(&self.state), Arc::clone(&self.state), Arc::clone(&self.state));
        let wall_clock = move || unix_nanos(lock(&clock.clock).shows(true_time()));
        let sync = move || -> Pin<Box<dyn Future<Output = ()> + Send>> {
            let disk = Arc::clone(&disk);
            Box::pin(async move {
                sleep(Duration::from_millis(disk.sync_ms.load(Ordering::Relaxed))).await;
                while disk.is_stalled.load(Ordering::Relaxed) {
                    sleep(STALL_LOOK).await;
                }
            })
        };
        Ok(Environment {
            wall_clock: Arc::new(wall_clock),
            seed: self.seed ^ start.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            engine: self.disk().engine()?,
            free_bytes: Arc::new(move || low.is_low.load(Ordering::Relaxed).then_some(0)),
            writing: Writing::Tasks(Arc::new(sync)),
            listener: Box::new(Port::open(self.number, HTTP_PORT, &self.weather).await?),
            date_header: DateHeader::Absent,
            peers: Some(Network {
                listener: Box::new(Port::open(self.number, PEER_PORT, &self.weather).await?),
                connector: Arc::new(Wires::new(self.weather.clone())),
                security: Security::Plain,
            }),
            directory: None,
        })
    }
}

/// What the node of a host is told.
fn options(number: u8, region: &str, scenario: &Scenario) -> anyhow::Result<NodeOptions> {
    let others = (1..=scenario.nodes()).filter(|other| *other != number);
    let seeds: Vec<String> = others.map(|other| address_of(other, PEER_PORT).to_string()).take(SEEDS_MAX).collect();
    let mut flags = vec![
        ("peer_listen", address_of(number, PEER_PORT).to_string()),
        ("seed", seeds.join(",")),
        ("region", region.to_owned()),
        // What it is without being said depends on the data directory of this machine.
        ("cache_mib", CACHE_MIB.to_owned()),
    ];
    for setting in SETTINGS {
        if let Some(value) = scenario.settings.product.get(setting.key) {
            flags.push((setting.key, value.clone()));
        }
    }
    let tokens = format!("acme:{TOKEN}:read+write+admin,spy:{SPY}:read+write");
    let variables = vec![("PLIMSOLL_TOKENS".to_owned(), tokens)];
    Ok(Config::load(&Sources { file: None, variables, flags })?.node_options())
}

/// What a node has for caches, if the scenario does not say.
const CACHE_MIB: &str = "96";

/// The ids of the transitions in an export.
fn ids_in(parked: &Path) -> anyhow::Result<Vec<String>> {
    let file = parked.join("unreplicated").join("acme.ndjson");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let id = |line: &str| -> anyhow::Result<String> {
        let transition: serde_json::Value = serde_json::from_str(line)?;
        Ok(transition["transition_id"].as_str().unwrap_or_default().to_owned())
    };
    fs::read_to_string(file)?.lines().map(id).collect()
}
