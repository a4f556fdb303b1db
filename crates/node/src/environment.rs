//! Everything of the world outside that a node sees.
//!
//! The one idea: time, chance, disk and network enter a node here and nowhere else, so a simulation starts the same
//! node as `plimsoll serve`, over an [`Environment`] of its own making. The runtime's timers are not here: a simulated
//! runtime simulates them.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_cluster::cluster::ClusterError;
pub use plimsoll_cluster::net::{Connecting, Connector, Listener, Network, Stream, Tcp};
pub use plimsoll_cluster::security::Security;
use plimsoll_cluster::tls::Tls;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::directory::{self, Directory};
/// A disk in memory that forgets what was not synced when it crashes: for simulations.
pub use plimsoll_store::engine::memory::Memory;
/// redb over pages of the simulation's own.
pub use plimsoll_store::engine::redb::{Redb, StorageBackend};
pub use plimsoll_store::engine::{Engine, EngineError, EngineOptions};
use plimsoll_store::options::{FreeBytes, WallClock};
use tokio::net::TcpListener;

use crate::config::Config;
use crate::node::StartError;
pub use crate::tasks::writer::{SimulatedSync, Writing};

/// Whether answers carry a `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateHeader {
    /// They do; the HTTP library reads it from the operating system's clock itself.
    OfTheSystem,
    /// They do not: what simulated time needs.
    Absent,
}

/// See the module.
pub struct Environment {
    /// The wall clock.
    pub wall_clock: WallClock,
    /// What the node draws from: its name and incarnation, if its store is new, and the names of requests. Another one
    /// at each start.
    pub seed: u64,
    /// The disk.
    pub engine: Arc<dyn Engine>,
    /// The room on the data disk.
    pub free_bytes: FreeBytes,
    /// On what the writer of the store runs.
    pub writing: Writing,
    /// Where clients connect.
    pub listener: Box<dyn Listener>,
    /// Whether answers carry a `date`.
    pub date_header: DateHeader,
    /// The way to peers; `None` for a node alone.
    pub peers: Option<Network>,
    /// The directory of the engine, kept locked as long as the node runs; `None` for an engine without one.
    pub directory: Option<Directory>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Environment")
            .field("date_header", &self.date_header)
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The machine's own: its clock, its entropy, the data directory and the address of the configuration.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn real(config: &Config) -> Result<Self, StartError> {
        let options = EngineOptions { cache_bytes: config.engine_cache_bytes() };
        let (directory, engine) = Directory::open(&config.data_dir, config.engine, options)?;
        let in_use = |source| StartError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(in_use)?;
        let seed = getrandom::u64().map_err(|_| StartError::Entropy)?;
        let path = directory.path().to_path_buf();
        let peers = network(config).await?;
        Ok(Self {
            wall_clock: Arc::new(system_time),
            seed,
            engine,
            free_bytes: Arc::new(move || directory::free_bytes(&path)),
            writing: Writing::Threads,
            listener: Box::new(listener),
            date_header: DateHeader::OfTheSystem,
            peers,
            directory: Some(directory),
        })
    }
}

/// TCP, at the address of the configuration; `None` where it has none.
async fn network(config: &Config) -> Result<Option<Network>, StartError> {
    let Some(address) = config.peer_listen else { return Ok(None) };
    let security = match &config.tls {
        Some(folder) => Security::Tls(Tls::open(folder, Arc::new(system_time))?),
        None => Security::Plain,
    };
    if !security.allows(address) {
        return Err(ClusterError::Unprotected { address }.into());
    }
    let in_use = |source| StartError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(in_use)?;
    Ok(Some(Network { listener: Box::new(listener), connector: Arc::new(Tcp), security }))
}

/// The system's clock; what lies before 1970 or after 2554 is taken to the nearest of the two.
#[must_use]
pub fn system_time() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Numbers drawn from a seed, by `SplitMix64`: another seed gives another first number, always.
#[derive(Debug)]
pub(crate) struct Draws {
    state: u64,
}

impl Draws {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    use std::io;
    use std::net::SocketAddr;

    use plimsoll_cluster::net::Connecting;
    use tokio::io::DuplexStream;
    use tokio::sync::mpsc;

    use super::*;

    /// Connections a test hands over.
    pub(crate) struct Handed(mpsc::Receiver<DuplexStream>);

    impl Handed {
        pub(crate) fn new() -> (mpsc::Sender<DuplexStream>, Self) {
            let (connect, handed) = mpsc::channel(8);
            (connect, Self(handed))
        }
    }

    impl Listener for Handed {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(SocketAddr::from(([127, 0, 0, 1], 1)))
        }

        fn accept(&mut self) -> Connecting<'_> {
            Box::pin(async {
                match self.0.recv().await {
                    Some(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                    None => std::future::pending().await,
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference values of Vigna's `splitmix64.c` for the seed 1234567.
    #[test]
    fn draws_are_splitmix64() {
        let mut draws = Draws::new(1_234_567);
        assert_eq!(
            [draws.next(), draws.next(), draws.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn the_system_knows_that_2020_is_over() {
        assert!(system_time() > UnixNanos::new(1_600_000_000_000_000_000));
    }
}
