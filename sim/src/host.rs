//! A host: a node of the product, with a disk that outlives it, a clock that may be wrong, and nothing of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::anyhow;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_node::config::{Config, Sources};
use plimsoll_node::environment::{DateHeader, Environment, Memory, Network, Security, Writing};
use plimsoll_node::node::Node;

use crate::net::{HTTP_PORT, PEER_PORT, Port, Wires, address_of};

/// The token all clients use.
pub const TOKEN: &str = "simulated-secret-of-all-clients";

/// What stays of a host while its node comes and goes. Cheap to clone: all clones are of the same host.
#[derive(Clone)]
pub struct Host {
    /// Its number, from 1.
    pub number: u8,
    region: Arc<str>,
    members: u8,
    seed: u64,
    /// What is on it was synced, or may be lost.
    pub disk: Memory,
    clock_off_ms: Arc<AtomicI64>,
    sync_ms: Arc<AtomicU64>,
    starts: Arc<AtomicU64>,
}

impl Host {
    /// A host with an empty disk, of a node among so many. `seed` is what its node draws from.
    #[must_use]
    pub fn new(number: u8, region: &str, members: u8, seed: u64) -> Self {
        Self {
            number,
            region: region.into(),
            members,
            seed,
            disk: Memory::new(),
            clock_off_ms: Arc::default(),
            sync_ms: Arc::new(AtomicU64::new(1)),
            starts: Arc::default(),
        }
    }

    /// How far its clock is ahead, in milliseconds.
    pub fn set_clock(&self, ahead_ms: i64) {
        self.clock_off_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// How long its disk takes for a sync.
    pub fn set_sync_ms(&self, sync_ms: u64) {
        self.sync_ms.store(sync_ms, Ordering::Relaxed);
    }

    /// Runs its node until the host crashes.
    ///
    /// # Errors
    /// The node did not start, or ended by itself.
    pub async fn run(self) -> anyhow::Result<()> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        let clock_off_ms = Arc::clone(&self.clock_off_ms);
        let wall_clock = move || {
            let now = turmoil::since_epoch().unwrap_or_default();
            let off = clock_off_ms.load(Ordering::Relaxed).saturating_mul(1_000_000);
            UnixNanos::new(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).saturating_add_signed(off))
        };
        let sync_ms = Arc::clone(&self.sync_ms);
        let disk = move || -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(tokio::time::sleep(Duration::from_millis(sync_ms.load(Ordering::Relaxed))))
        };
        let environment = Environment {
            wall_clock: Arc::new(wall_clock),
            seed: self.seed ^ start.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            engine: Arc::new(self.disk.clone()),
            free_bytes: Arc::new(|| None),
            writing: Writing::Tasks(Arc::new(disk)),
            listener: Box::new(Port::open(self.number, HTTP_PORT).await?),
            date_header: DateHeader::Absent,
            peers: Some(Network {
                listener: Box::new(Port::open(self.number, PEER_PORT).await?),
                connector: Arc::new(Wires),
                security: Security::Plain,
            }),
            directory: None,
        };
        let mut node = Node::start(self.config()?.node_options(), environment).await?;
        node.ended().await;
        Err(anyhow!("the node on host {} has ended by itself", self.number))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let seeds: Vec<String> = (1..=self.members)
            .filter(|other| *other != self.number)
            .map(|other| address_of(other, PEER_PORT).to_string())
            .collect();
        let flags = vec![
            ("peer_listen", address_of(self.number, PEER_PORT).to_string()),
            ("seed", seeds.join(",")),
            ("region", self.region.to_string()),
            ("pulse_ms", "1000".to_owned()),
        ];
        let tokens = ("PLIMSOLL_TOKENS".to_owned(), format!("acme:{TOKEN}:read+write+admin"));
        Ok(Config::load(&Sources { file: None, variables: vec![tokens], flags })?)
    }
}
