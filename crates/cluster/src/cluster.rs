//! A node's part in its cluster: started beside the store, asked by the node.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_domain::id::{ClusterName, Region};
use plimsoll_domain::skew;
use plimsoll_store::error::{ReadError, WriteError};
use plimsoll_store::notes::Fence;
use plimsoll_store::options::WallClock;
use plimsoll_store::projections::Projections;
use plimsoll_wire::peer::v1::{Kept, Member, RosterEntry, Versions, decode_kept};
use plimsoll_wire::peer::{FrameError, Frames};
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::counters::Counters;
use crate::membership::{self, INPUTS_MAX};
use crate::net::Network;
use crate::roster::{Peer, Roster};
use crate::{anti_entropy, certificates, departures, following, joining, keeper, leaving, server};

/// The note of what a node keeps of its cluster.
pub(crate) const KEPT: &str = "cluster";

/// How often a node compares its clock with its peers'.
const FENCE_INTERVAL: Duration = Duration::from_millis(500);

/// What a node is told of its cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// The cluster: nodes of another one are turned away.
    pub cluster: ClusterName,
    /// Where this node is.
    pub region: Region,
    /// Where peers reach it: `<host>:<port>`; `None` for the address it listens on.
    pub advertise: Option<String>,
    /// Where clients reach it: `<host>:<port>`.
    pub http: String,
    /// Whom to call first, each `<host>:<port>`.
    pub seeds: Vec<String>,
    /// The longest time between two signs of life, and so the age of what an idle node knows.
    pub pulse: Duration,
    /// How long other members may take to say whether they know a ref.
    pub repair_timeout: Duration,
    /// How long what was retired is kept.
    pub retention: Duration,
    /// How far clocks may be apart.
    pub drift_max: Duration,
    /// The versions of the peer protocol to speak; other than [`plimsoll_wire::peer::v1::SPOKEN`] only to try an upgrade.
    pub versions: Versions,
    /// The version of the software, for people.
    pub software: String,
    /// Whom the node knows that was here before, where it had to start afresh.
    pub legacy: Vec<RosterEntry>,
}

/// A node cannot be part of a cluster.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// Without certificates anybody who reaches the port could read and write everything.
    #[error(
        "the peer port listens on {address}, which others can reach, and has no certificates: give --tls DIR (see \
         `plimsoll tls`), or a loopback address"
    )]
    Unprotected {
        /// The address.
        address: SocketAddr,
    },
    /// Peers cannot be told where this node is.
    #[error("the peer port listens on all addresses: give --advertise HOST:PORT, by which peers reach it")]
    Nowhere,
    /// The listener does not know its address.
    #[error("cannot tell the address of the peer port: {0}")]
    Address(#[source] io::Error),
    /// The data directory is of another cluster.
    #[error("the data directory is of the cluster {kept:?}, and the node is told to be of {told:?}")]
    OtherCluster {
        /// The one it is of.
        kept: ClusterName,
        /// The one it is told.
        told: ClusterName,
    },
    /// What was kept of the cluster cannot be read.
    #[error("what the data directory keeps of its cluster cannot be read: {0}")]
    Kept(#[from] FrameError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) context: Arc<Context>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cluster").field("node", &self.context.node()).finish_non_exhaustive()
    }
}

/// A task of the cluster panicked. What was acknowledged is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a task of the cluster has panicked")]
pub struct Panicked;

/// The tasks of a cluster. Dropping it ends them.
#[derive(Debug)]
pub struct ClusterTasks {
    tasks: JoinSet<()>,
    cut: watch::Sender<bool>,
    has_panicked: bool,
}

impl ClusterTasks {
    /// Waits until one of them has panicked: then the node is no whole member any more. May be asked again.
    pub async fn panicked(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the cluster has ended");
                self.has_panicked = true;
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Ends all of them. What they began on connections of peers ends with those, a moment later.
    ///
    /// # Errors
    /// [`Panicked`].
    pub async fn stop(mut self) -> Result<(), Panicked> {
        // What tells a feed is no task of these; it ends with its connection.
        self.cut.send_replace(true);
        self.tasks.shutdown().await;
        if self.has_panicked { Err(Panicked) } else { Ok(()) }
    }
}

impl Cluster {
    /// Makes a node part of its cluster: it listens for peers when this returns, and calls them from then on. `seed` is
    /// what is drawn from: another one at each start.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn start(
        options: ClusterOptions,
        projections: Projections,
        network: Network,
        wall_clock: WallClock,
        seed: u64,
    ) -> Result<(Self, ClusterTasks), ClusterError> {
        let Network { listener, connector, security } = network;
        let address = listener.local_addr().map_err(ClusterError::Address)?;
        if !security.allows(address) {
            return Err(ClusterError::Unprotected { address });
        }
        if options.advertise.is_none() && address.ip().is_unspecified() {
            return Err(ClusterError::Nowhere);
        }
        let kept = Self::kept(&projections, &options)?;
        // An older state of the data directory may have been put back: then the time is what makes it the later one.
        // And of two copies that are started together one is the later.
        let generation = (kept.generation + 1).max((wall_clock)().get() / 1_000_000);
        let here = here(&options, &projections, address, generation);
        let knows_others = !kept.roster.is_empty();
        let roster = Roster::new(here, kept.roster);
        let (membership, inputs) = mpsc::channel(INPUTS_MAX);
        let context = Arc::new(Context {
            cluster: options.cluster,
            instance: seed,
            began: Instant::now(),
            began_on_the_wall: (wall_clock)().get(),
            pulse: options.pulse,
            repair_timeout: options.repair_timeout,
            drift_max: options.drift_max,
            projections,
            roster,
            membership,
            wall_clock,
            connector,
            security,
            cut: watch::Sender::new(false),
            ready: watch::Sender::new(false),
            leaving: watch::Sender::new(false),
            behind: watch::Sender::new(false),
            retention: options.retention,
            horizons: watch::Sender::default(),
            word: Mutex::default(),
            has_joined: AtomicBool::new(kept.joined),
            has_left: AtomicBool::new(false),
            is_alone_so_far: AtomicBool::new(!options.seeds.is_empty() && !knows_others),
            unmet_seeds: AtomicUsize::new(options.seeds.len()),
            awaited: AtomicUsize::new(0),
            counters: Counters::default(),
        });
        context.keep_word()?;
        if kept.has_left {
            context.fence_gone();
        }
        leaving::keep(&context).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve(Arc::clone(&context), listener));
        tasks.spawn(membership::run(Arc::clone(&context), inputs, seed));
        tasks.spawn(keeper::keep(Arc::clone(&context), options.seeds.clone()));
        tasks.spawn(anti_entropy::run(Arc::clone(&context)));
        tasks.spawn(departures::run(Arc::clone(&context)));
        tasks.spawn(leaving::keep_roster(Arc::clone(&context)));
        tasks.spawn(following::run(Arc::clone(&context)));
        tasks.spawn(certificates::watch(Arc::clone(&context)));
        tasks.spawn(watch_clocks(Arc::clone(&context)));
        tasks.spawn(joining::run(Arc::clone(&context), !options.seeds.is_empty()));
        let cut = context.cut.clone();
        Ok((Self { context }, ClusterTasks { tasks, cut, has_panicked: false }))
    }

    fn kept(projections: &Projections, options: &ClusterOptions) -> Result<Kept, ClusterError> {
        let told = &options.cluster;
        let Some(note) = projections.note(KEPT)? else {
            return Ok(Kept {
                cluster: told.clone(),
                generation: 0,
                joined: false,
                roster: options.legacy.clone(),
                has_left: false,
            });
        };
        let kept = decode_kept(Frames::only(&note)?)?;
        if kept.cluster != *told {
            return Err(ClusterError::OtherCluster { kept: kept.cluster, told: told.clone() });
        }
        Ok(kept)
    }

    /// Whether a store is of a node that has other members, whatever it is told.
    ///
    /// # Errors
    /// [`ClusterError`]: what was kept cannot be read.
    pub fn has_members(projections: &Projections) -> Result<bool, ClusterError> {
        let Some(note) = projections.note(KEPT)? else { return Ok(false) };
        let kept = decode_kept(Frames::only(&note)?)?;
        Ok(!kept.has_left && kept.roster.iter().any(|entry| !entry.gone))
    }

    /// Cuts this node off from its peers, or ends that: what a test of one's own topology needs.
    pub fn set_cut(&self, is_cut: bool) {
        tracing::warn!(is_cut, "the node cuts itself off from its peers, or ends that");
        self.context.cut.send_replace(is_cut);
    }
}

fn here(options: &ClusterOptions, projections: &Projections, listens: SocketAddr, generation: u64) -> Member {
    let identity = projections.identity();
    Member {
        node: identity.node,
        incarnation: identity.incarnation,
        generation,
        region: options.region.clone(),
        peer: options.advertise.clone().unwrap_or_else(|| listens.to_string()),
        http: options.http.clone(),
        software: options.software.clone(),
        versions: options.versions,
    }
}

/// Fences the node while its clock is off, and lets it go on when it is right again.
async fn watch_clocks(context: Arc<Context>) {
    loop {
        sleep(FENCE_INTERVAL).await;
        let offsets = context.roster.view(|peers| {
            let ahead = context.wall_ahead();
            // What was compared before the wall clock was set, or the machine slept, judges nothing.
            let is_of_now =
                |peer: &&Peer| Duration::from_nanos(peer.compared_wall_ahead.abs_diff(ahead)) <= context.drift_max;
            let connected = peers.values().filter(|peer| peer.link.is_some()).filter(is_of_now);
            connected.filter_map(Peer::offset).map(|offset| offset.nanos.saturating_sub(ahead)).collect::<Vec<_>>()
        });
        // With too few to judge it stays as it was judged last.
        let Some(median) = skew::median(offsets) else { continue };
        match (context.projections.fence(), skew::is_off(median, context.drift_max)) {
            (None, true) => {
                let ahead_ms = median / -1_000_000;
                tracing::error!(ahead_ms, "this node's clock is off the median of its peers': it takes no writes");
                context.projections.set_fence(Some(Fence::Clock));
            }
            (Some(Fence::Clock), false) => {
                tracing::info!("this node's clock agrees with its peers' again: it takes writes");
                context.projections.set_fence(None);
            }
            _ => {}
        }
    }
}
