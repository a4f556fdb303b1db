//! Clusters in one process: real stores in memory, real frames over pipes, time that waits for them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

use plimsoll_domain::id::{ArtifactId, ClusterName, NodeId, Region, TenantId};
use plimsoll_domain::projection::{Draft, Expectation, RefDraft, Submission};
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::StoredIdentity;
use plimsoll_store::engine::memory::Memory;
use plimsoll_store::options::{Options, WallClock};
use plimsoll_store::projections::Projections;
use plimsoll_store::writer::{Outcome, Post};
use plimsoll_wire::peer::v1::{RosterEntry, SPOKEN, Versions};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};

use crate::cluster::{Cluster, ClusterOptions, ClusterTasks};
use crate::net::{Connecting, Connector, Listener, Network, Stream};
use crate::security::Security;

/// Pipes by address.
#[derive(Clone, Default)]
pub(crate) struct Net {
    listeners: Arc<Mutex<BTreeMap<String, mpsc::Sender<DuplexStream>>>>,
    /// Of each address, how often the pipes to it were made to hang.
    hung: Arc<Mutex<BTreeMap<String, watch::Sender<u64>>>>,
    /// How long it takes to reach an address, where it takes long.
    far: Arc<Mutex<BTreeMap<String, Duration>>>,
}

struct Handed(SocketAddr, mpsc::Receiver<DuplexStream>);

impl Listener for Handed {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.0)
    }

    fn accept(&mut self) -> Connecting<'_> {
        Box::pin(async {
            match self.1.recv().await {
                Some(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                None => std::future::pending().await,
            }
        })
    }
}

impl Connector for Net {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move {
            let distance = self.far.lock().unwrap().get(address).copied();
            tokio::time::sleep(distance.unwrap_or_default()).await;
            let listener = self.listeners.lock().unwrap().get(address).cloned();
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (near, mut outgoing) = tokio::io::duplex(64 << 10);
            let (mut incoming, far) = tokio::io::duplex(64 << 10);
            listener.ok_or_else(refused)?.send(far).await.map_err(|_| refused())?;
            let mut hung = self.hung.lock().unwrap().entry(address.to_owned()).or_default().subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    _ended = tokio::io::copy_bidirectional(&mut outgoing, &mut incoming) => return,
                    _hung = hung.changed() => {}
                }
                // Nothing comes through any more, and nobody is told.
                std::future::pending::<()>().await;
            });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// A node, and how its store ends.
pub(crate) struct Member {
    pub(crate) cluster: Cluster,
    pub(crate) projections: Projections,
    pub(crate) address: String,
    ahead_ms: Arc<AtomicI64>,
    tasks: ClusterTasks,
    writer: JoinHandle<()>,
}

/// What is told of a node that is started.
pub(crate) struct Spec {
    pub(crate) number: u8,
    /// The node id its data directory has, if that is new.
    pub(crate) identity: u64,
    /// What is drawn at its start.
    pub(crate) seed: u64,
    pub(crate) region: &'static str,
    pub(crate) seeds: Vec<String>,
    pub(crate) cluster: &'static str,
    pub(crate) versions: Versions,
    pub(crate) ahead_ms: i64,
    pub(crate) engine: Memory,
    pub(crate) retention: Duration,
    pub(crate) legacy: Vec<RosterEntry>,
}

impl Spec {
    pub(crate) fn new(number: u8, region: &'static str) -> Self {
        let seeds = (1..=number).filter(|other| *other != number).map(address).collect();
        Self {
            number,
            identity: number.into(),
            seed: number.into(),
            region,
            seeds,
            cluster: "test",
            versions: SPOKEN,
            ahead_ms: 0,
            engine: Memory::new(),
            retention: Duration::from_secs(7 * 86_400),
            legacy: Vec::new(),
        }
    }
}

pub(crate) fn address(number: u8) -> String {
    format!("127.0.0.{number}:1")
}

/// The machine's time, and so many milliseconds more.
fn wall_clock(ahead_ms: &Arc<AtomicI64>) -> WallClock {
    let ahead_ms = Arc::clone(ahead_ms);
    Arc::new(move || {
        let nanos = u64::try_from(UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
        UnixNanos::new(nanos.checked_add_signed(ahead_ms.load(Ordering::SeqCst) * 1_000_000).unwrap())
    })
}

/// Opens a store, that of a new node with this id where there is none.
pub(crate) fn open(engine: Memory, identity: u64, clock: &WallClock) -> (Projections, JoinHandle<()>) {
    let options = Options {
        drift_max: Duration::from_millis(500),
        cursor_cache_bytes: 1 << 20,
        head_cache_bytes: 1 << 20,
        tenant_facts_max: u64::MAX,
        tenant_bytes_max: u64::MAX,
        reserve_bytes: 0,
        wall_clock: Arc::clone(clock),
        free_bytes: Arc::new(|| None),
    };
    let fresh = StoredIdentity { node: NodeId::new(identity), incarnation: identity };
    let (projections, writer) = Projections::open(Arc::new(engine), fresh, &options).unwrap();
    (projections, thread::spawn(|| writer.run()))
}

impl Net {
    pub(crate) async fn start(&self, spec: Spec) -> Member {
        let (connect, handed) = mpsc::channel(8);
        let address = address(spec.number);
        self.listeners.lock().unwrap().insert(address.clone(), connect);
        let ahead_ms = Arc::new(AtomicI64::new(spec.ahead_ms));
        let clock = wall_clock(&ahead_ms);
        let (projections, writer) = open(spec.engine, spec.identity, &clock);
        let options = ClusterOptions {
            cluster: ClusterName::parse(spec.cluster).unwrap(),
            region: Region::parse(spec.region).unwrap(),
            advertise: None,
            http: "127.0.0.1:7171".to_owned(),
            seeds: spec.seeds,
            pulse: Duration::from_secs(4),
            repair_timeout: Duration::from_millis(500),
            retention: spec.retention,
            drift_max: Duration::from_millis(500),
            versions: spec.versions,
            software: "0.1.0".to_owned(),
            legacy: spec.legacy,
        };
        let network = Network {
            listener: Box::new(Handed(address.parse().unwrap(), handed)),
            connector: Arc::new(self.clone()),
            security: Security::Plain,
        };
        let started = Cluster::start(options, projections.clone(), network, clock, spec.seed);
        let (cluster, tasks) = started.await.unwrap();
        Member { cluster, projections, address, ahead_ms, tasks, writer }
    }

    /// Makes the connections that were made to an address hang, as they do to a machine that has lost its power.
    pub(crate) fn hang(&self, address: &str) {
        self.hung.lock().unwrap()[address].send_modify(|times| *times += 1);
    }

    /// Takes a node that was stopped off the network: nothing listens there any more.
    pub(crate) fn leave(&self, number: u8) {
        self.listeners.lock().unwrap().remove(&address(number));
    }

    /// Makes it take long from now on to reach an address.
    pub(crate) fn part(&self, address: String, distance: Duration) {
        self.far.lock().unwrap().insert(address, distance);
    }

    /// Starts nodes in these regions, numbered from 1, each with those before it as seeds.
    pub(crate) async fn start_all(&self, regions: &[&'static str]) -> Vec<Member> {
        let mut members = Vec::new();
        for (number, region) in (1..).zip(regions) {
            members.push(self.start(Spec::new(number, region)).await);
        }
        members
    }
}

impl Member {
    pub(crate) async fn post(&self, artifact: &str, id: &str) {
        self.try_post(artifact, id).await.unwrap();
    }

    pub(crate) async fn try_post(&self, artifact: &str, id: &str) -> Outcome {
        self.try_post_with(artifact, id, Vec::new()).await
    }

    pub(crate) async fn try_post_with(&self, artifact: &str, id: &str, produced_refs: Vec<RefDraft>) -> Outcome {
        let draft = Draft {
            artifact_id: artifact.into(),
            transition_id: id.into(),
            status: "draft".into(),
            produced_refs,
            committed_version: None,
        };
        let submission = Submission::parse(draft).unwrap();
        let post = Post { submission, expectation: Expectation::Any };
        self.projections.submit(&tenant(), post).await
    }

    pub(crate) async fn retire(&self, artifact: &str) {
        let artifact = ArtifactId::parse(artifact).unwrap();
        self.projections.retire(&tenant(), artifact, Expectation::Any).await.unwrap();
    }

    /// Sets its clock so far ahead.
    pub(crate) fn ahead(&self, millis: i64) {
        self.ahead_ms.store(millis, Ordering::SeqCst);
    }

    /// Stops the node as a kill would, and waits until its store is closed.
    pub(crate) async fn stop(self) {
        let Self { cluster, projections, tasks, writer, .. } = self;
        tasks.stop().await.unwrap();
        drop((cluster, projections));
        tokio::task::spawn_blocking(move || writer.join().unwrap()).await.unwrap();
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

/// Waits for something to become so, up to two minutes: a peer that is gone is down after most of one.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(120), waiting).await.is_ok(), "not in time: {what}");
}

/// Waits until all have the same facts, and as many as are expected.
pub(crate) async fn converged(members: &[Member], facts: u64) {
    until("all are equal", || {
        let all: Vec<_> = members.iter().map(|member| member.projections.fingerprint().unwrap()).collect();
        all.iter().all(|fingerprint| *fingerprint == all[0] && fingerprint.count == facts)
    })
    .await;
}

mod age;
mod agreeing;
mod forgetting;
mod identities;
mod meeting;
mod spreading;
