//! A running node: store, writer, HTTP API, put together and taken apart again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_cluster::cluster::{Cluster, ClusterError, ClusterOptions, ClusterTasks};
use plimsoll_cluster::tls::TlsError;
use plimsoll_domain::id::{ClusterName, NodeId, Region, TenantId};
use plimsoll_store::StoredIdentity;
use plimsoll_store::directory::{Directory, DirectoryError};
use plimsoll_store::format::{Format, FormatError};
use plimsoll_store::options::Options;
use plimsoll_store::projections::Projections;
use plimsoll_wire::peer::v1::{RosterEntry, Versions};
use thiserror::Error;
use tokio::sync::watch;

use crate::access::{Access, Token};
use crate::afresh::UnreadableMembers;
use crate::config::CorsOrigins;
use crate::environment::{Draws, Environment};
use crate::http::app::{App, Inner};
use crate::http::server::{self, Server};
use crate::http::{self, Surroundings};
use crate::metrics::Metrics;
use crate::rate::{Rate, RateLimits};
use crate::tasks::forgetting::ForgettingTask;
use crate::tasks::server::ServerTask;
use crate::tasks::writer::WriterTask;

/// What a node is told by its owner. [`crate::config::Config`] makes one and documents each setting.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// What it is told of its cluster; `None` for a node alone.
    pub cluster: Option<ClusterSettings>,
    /// How long a write waits for other members' disks.
    pub ack_timeout: Duration,
    /// Whether an admin may cut the node off from its peers, for a test.
    pub has_test_controls: bool,
    /// How far ahead of this node's clock a token may lie.
    pub drift_max: Duration,
    /// Bytes of memory for cursors.
    pub cursor_cache_bytes: u64,
    /// Bytes of memory for what the next write of an artifact must know.
    pub head_cache_bytes: u64,
    /// Transitions and tombstones one tenant may keep.
    pub tenant_transitions_max: u64,
    /// Bytes of them one tenant may keep.
    pub tenant_bytes_max: u64,
    /// Below this many free bytes on the data disk no write is taken.
    pub reserve_bytes: u64,
    /// How long what was retired is kept.
    pub retention: Duration,
    /// Whom the node knew that had to start afresh as this one.
    pub legacy: Vec<RosterEntry>,
    /// The tokens the node knows, at most [`crate::access::TOKENS_MAX`].
    pub tokens: Vec<Token>,
    /// The tenant that reads without a token see.
    pub anonymous: Option<TenantId>,
    /// How much each tenant may ask; `None` for no limit.
    pub rate: Option<Rate>,
    /// Which origins' pages may call the API.
    pub cors_origins: CorsOrigins,
    /// Connections that are served at once.
    pub connections_max: usize,
    /// How long requests may take to finish once the node stops.
    pub shutdown_grace: Duration,
}

/// What a node is told of its cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The cluster.
    pub cluster: ClusterName,
    /// Where the node is.
    pub region: Region,
    /// Where peers reach it; `None` for the address it listens on.
    pub advertise: Option<String>,
    /// Where clients reach it; `None` for the address it listens on.
    pub advertise_http: Option<String>,
    /// Peers to call first.
    pub seeds: Vec<String>,
    /// The longest time between two signs of life.
    pub pulse: Duration,
    /// How long other members may take to say whether they know a ref.
    pub repair_timeout: Duration,
    /// The versions of the peer protocol to speak.
    pub versions: Versions,
}

/// A node did not start. Nothing of it is left running.
#[derive(Debug, Error)]
pub enum StartError {
    /// The data directory cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// What the data directory holds cannot be used.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It cannot be part of its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Whom it is to know cannot be read.
    #[error(transparent)]
    Members(#[from] UnreadableMembers),
    /// Its certificates cannot be used.
    #[error("the certificates of the peer port cannot be used: {0}")]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The listener does not know its address.
    #[error("cannot tell the address of the listener: {0}")]
    Address(#[source] io::Error),
    /// No thread could be started.
    #[error("cannot start the writer's thread: {0}")]
    Thread(#[source] io::Error),
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Entropy,
}

/// A node did not stop as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StopError {
    /// The writer panicked. What was acknowledged is on the disk.
    #[error("the writer has panicked; what was acknowledged is on the disk")]
    Writer,
    /// A task of the cluster panicked.
    #[error("a task of the cluster has panicked; what was acknowledged is on the disk")]
    Cluster,
    /// The server panicked.
    #[error("the server has panicked")]
    Server,
}

/// Starts nodes.
#[derive(Debug, Clone, Copy)]
pub struct Node;

impl Node {
    /// Starts a node on the current runtime, which must drive timers and, for real sockets, I/O. It serves when this
    /// returns.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(options: NodeOptions, environment: Environment) -> Result<RunningNode, StartError> {
        let local_addr = environment.listener.local_addr().map_err(StartError::Address)?;
        let mut draws = Draws::new(environment.seed);
        let fresh = StoredIdentity { node: NodeId::new(draws.next()), incarnation: draws.next() };
        let (projections, writer) =
            Projections::open(Arc::clone(&environment.engine), fresh, &store_options(&options, &environment))?;
        let identity = projections.identity();
        let format = projections.format();
        let (stop, stopping) = watch::channel(false);
        let writer = WriterTask::spawn(writer, environment.writing).map_err(StartError::Thread)?;
        let (cluster, cluster_tasks) = match (options.cluster.clone(), environment.peers) {
            (Some(_), Some(_)) if format.is_old() => {
                tracing::warn!("the node stays away from its peers until the data directory is migrated");
                (None, None)
            }
            (Some(settings), Some(network)) => {
                let told = settings.options(local_addr, &options);
                let clock = Arc::clone(&environment.wall_clock);
                let started = Cluster::start(told, projections.clone(), network, clock, draws.next());
                let (cluster, tasks) = started.await?;
                (Some(cluster), Some(tasks))
            }
            _ => (None, None),
        };
        let forgetting = if cluster.is_some() || format.is_old() {
            ForgettingTask::none()
        } else if Cluster::has_members(&projections)? {
            tracing::warn!(
                "the data directory is of a cluster: what was retired is kept until this node is among its members"
            );
            ForgettingTask::none()
        } else {
            ForgettingTask::spawn(projections.clone(), environment.wall_clock.clone(), options.retention)
        };
        let (routes, description) = http::routes();
        let tenants = tenants(&options);
        let app = App::new(Inner {
            projections: projections.clone(),
            cluster: cluster.clone(),
            ack_timeout: options.ack_timeout,
            has_test_controls: options.has_test_controls,
            access: Access::new(options.tokens, options.anonymous),
            rate_limits: RateLimits::new(tenants.iter().cloned(), options.rate),
            metrics: Metrics::new(identity.node, http::described(&description), tenants),
            stopping,
            free_bytes: environment.free_bytes,
            reserve_bytes: options.reserve_bytes,
        });
        let surroundings = Surroundings { cors_origins: options.cors_origins, request_ids: draws.next() };
        let server = Server {
            api: http::api(routes, &description, app.clone(), &surroundings),
            app,
            date_header: environment.date_header,
            grace: options.shutdown_grace,
        };
        let serving = server::serve(environment.listener, server, options.connections_max);
        Ok(RunningNode {
            local_addr,
            identity,
            format,
            stop,
            server: ServerTask::spawn(serving),
            cluster,
            cluster_tasks,
            forgetting,
            projections,
            writer,
            _directory: environment.directory,
        })
    }
}

/// Where clients reach a node that says nothing of it: where it listens, and if that is everywhere, where peers reach it.
fn http_address(listens: SocketAddr, advertised: Option<&str>) -> String {
    let host = advertised.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
    match host.filter(|_| listens.ip().is_unspecified()) {
        Some(host) => format!("{host}:{}", listens.port()),
        None => listens.to_string(),
    }
}

impl ClusterSettings {
    fn options(self, local_addr: SocketAddr, node: &NodeOptions) -> ClusterOptions {
        ClusterOptions {
            cluster: self.cluster,
            region: self.region,
            http: self.advertise_http.unwrap_or_else(|| http_address(local_addr, self.advertise.as_deref())),
            advertise: self.advertise,
            seeds: self.seeds,
            pulse: self.pulse,
            repair_timeout: self.repair_timeout,
            retention: node.retention,
            drift_max: node.drift_max,
            legacy: node.legacy.clone(),
            versions: self.versions,
            software: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

fn store_options(options: &NodeOptions, environment: &Environment) -> Options {
    Options {
        drift_max: options.drift_max,
        cursor_cache_bytes: options.cursor_cache_bytes,
        head_cache_bytes: options.head_cache_bytes,
        tenant_facts_max: options.tenant_transitions_max,
        tenant_bytes_max: options.tenant_bytes_max,
        reserve_bytes: options.reserve_bytes,
        wall_clock: Arc::clone(&environment.wall_clock),
        free_bytes: Arc::clone(&environment.free_bytes),
    }
}

/// Every tenant a request can speak for, once.
fn tenants(options: &NodeOptions) -> Vec<TenantId> {
    let of_tokens = options.tokens.iter().map(Token::tenant);
    let mut tenants: Vec<TenantId> = of_tokens.chain(&options.anonymous).cloned().collect();
    tenants.sort_unstable();
    tenants.dedup();
    tenants
}

/// Waits until a task of the cluster has panicked; for ever, where there is no cluster.
async fn panicked(tasks: Option<&mut ClusterTasks>) {
    match tasks {
        Some(tasks) => tasks.panicked().await,
        None => std::future::pending().await,
    }
}

/// Waits until the node has fallen behind; for ever, where there is no cluster.
async fn behind(cluster: Option<&Cluster>) {
    match cluster {
        Some(cluster) => cluster.behind().await,
        None => std::future::pending().await,
    }
}

/// A node that serves. Dropping it stops it without waiting; [`RunningNode::stop`] waits.
#[derive(Debug)]
pub struct RunningNode {
    local_addr: SocketAddr,
    identity: StoredIdentity,
    format: Format,
    stop: watch::Sender<bool>,
    server: ServerTask,
    cluster: Option<Cluster>,
    cluster_tasks: Option<ClusterTasks>,
    forgetting: ForgettingTask,
    projections: Projections,
    writer: WriterTask,
    /// Declared last: unlocked when nothing uses the engine any more.
    _directory: Option<Directory>,
}

impl RunningNode {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The node.
    #[must_use]
    pub const fn node_id(&self) -> NodeId {
        self.identity.node
    }

    /// Where peers reach it, if it is no node alone.
    #[must_use]
    pub fn peer_address(&self) -> Option<&str> {
        self.cluster.as_ref().map(|cluster| cluster.here().peer.as_str())
    }

    /// The format of its store.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Whether the node was away for longer than the retention: see [`crate::afresh`].
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.cluster.as_ref().is_some_and(Cluster::is_behind)
    }

    /// Waits until the node has ended by itself, which it does only where something panicked, or where it is behind.
    pub async fn ended(&mut self) {
        // What it ended with is told when the node is stopped; so which of the two is seen first does not matter.
        tokio::select! {
            biased;
            _ = self.server.ended() => {}
            _ = self.writer.ended() => {}
            () = panicked(self.cluster_tasks.as_mut()) => {}
            () = behind(self.cluster.as_ref()) => {}
        }
    }

    /// Stops taking connections, lets requests finish within the grace, writes and syncs what is queued, and closes
    /// the store.
    ///
    /// # Errors
    /// [`StopError`]; the node has stopped all the same.
    pub async fn stop(self) -> Result<(), StopError> {
        let (behind, served) = self.stop_serving().await;
        behind.stop().await.and(served)
    }

    /// Stops taking connections of clients, and lets requests finish within the grace.
    pub(crate) async fn stop_serving(self) -> (Unserving, Result<(), StopError>) {
        let Self { stop, mut server, cluster, cluster_tasks, forgetting, projections, writer, _directory, .. } = self;
        stop.send_replace(true);
        let served = server.ended().await;
        forgetting.stop().await;
        (Unserving { cluster, cluster_tasks, projections, writer, _directory }, served)
    }
}

/// A node that serves no clients any more. Its peers are there yet.
#[derive(Debug)]
pub(crate) struct Unserving {
    pub(crate) cluster: Option<Cluster>,
    cluster_tasks: Option<ClusterTasks>,
    pub(crate) projections: Projections,
    writer: WriterTask,
    /// Declared last: unlocked when nothing uses the engine any more.
    _directory: Option<Directory>,
}

impl Unserving {
    /// Parts from its peers, writes and syncs what is queued, and closes the store.
    pub(crate) async fn stop(self) -> Result<(), StopError> {
        let Self { cluster, cluster_tasks, projections, writer, _directory } = self;
        drop((cluster, projections));
        let clustered = match cluster_tasks {
            Some(tasks) => tasks.stop().await.map_err(|_| StopError::Cluster),
            None => Ok(()),
        };
        // With the cluster went the last handle to the store, so the writer ends once its queue is empty.
        writer.join().await.and(clustered)
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_domain::timestamp::UnixNanos;
    use plimsoll_store::engine::memory::Memory;
    use plimsoll_store::options::FreeBytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;

    use super::*;
    use crate::environment::fixture::Handed;
    use crate::environment::{DateHeader, Writing};

    async fn start(engine: Memory, seed: u64) -> (RunningNode, mpsc::Sender<DuplexStream>) {
        start_on(engine, seed, Arc::new(|| None)).await
    }

    async fn start_on(engine: Memory, seed: u64, free_bytes: FreeBytes) -> (RunningNode, mpsc::Sender<DuplexStream>) {
        let (connect, handed) = Handed::new();
        let environment = Environment {
            wall_clock: Arc::new(|| UnixNanos::new(1_776_000_000_000_000_000)),
            seed,
            engine: Arc::new(engine),
            free_bytes,
            listener: Box::new(handed),
            date_header: DateHeader::Absent,
            writing: Writing::Threads,
            peers: None,
            directory: None,
        };
        let options = NodeOptions {
            cluster: None,
            ack_timeout: Duration::from_secs(1),
            has_test_controls: false,
            drift_max: Duration::from_millis(500),
            cursor_cache_bytes: 1 << 20,
            head_cache_bytes: 1 << 20,
            tenant_transitions_max: u64::MAX,
            tenant_bytes_max: u64::MAX,
            reserve_bytes: 0,
            retention: Duration::from_secs(7 * 86_400),
            legacy: Vec::new(),
            tokens: vec!["default:secret".parse().unwrap()],
            anonymous: None,
            rate: None,
            cors_origins: CorsOrigins::None,
            connections_max: 8,
            shutdown_grace: Duration::from_secs(1),
        };
        (Node::start(options, environment).await.unwrap(), connect)
    }

    async fn ask(connect: &mpsc::Sender<DuplexStream>, head: &str, body: &str) -> String {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        connect.send(server).await.unwrap();
        let length = body.len();
        let request = format!(
            "{head} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer secret\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    }

    const POST: &str = r#"{"artifact_id": "a", "transition_id": "t", "status": "new", "produced_refs": []}"#;

    #[tokio::test]
    async fn what_a_node_accepted_the_next_one_over_its_disk_has() {
        let engine = Memory::new();
        let (node, connect) = start(engine.clone(), 1).await;
        let name = node.node_id();
        let answer = ask(&connect, "POST /projections/transitions", POST).await;
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        node.stop().await.unwrap();
        engine.crash();
        let (node, connect) = start(engine, 2).await;
        assert_eq!(node.node_id(), name);
        let answer = ask(&connect, "GET /projections/a/cursor", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        node.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_node_whose_writer_panicked_has_ended() {
        let (mut node, connect) = start_on(Memory::new(), 1, Arc::new(|| panic!("on purpose"))).await;
        let answer = ask(&connect, "POST /projections/transitions", POST).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(":storage-failed\""), "{answer}");
        node.ended().await;
        node.ended().await;
        assert_eq!(node.stop().await, Err(StopError::Writer));
    }

    #[tokio::test]
    async fn nodes_of_one_process_are_apart() {
        let (one, to_one) = start(Memory::new(), 1).await;
        let (other, to_other) = start(Memory::new(), 2).await;
        assert_ne!(one.node_id(), other.node_id());
        ask(&to_one, "POST /projections/transitions", POST).await;
        let answer = ask(&to_other, "GET /projections/a/cursor", "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        one.stop().await.unwrap();
        let answer = ask(&to_other, "GET /healthz", "").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        other.stop().await.unwrap();
    }
}
