//! The nodes of `plimsoll dev`: where they keep their data, where they listen, and how they find one another.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use plimsoll_client::Client;
use plimsoll_node::EngineKind;
use plimsoll_node::config::{Config, Sources};
use plimsoll_node::environment::Environment;
use plimsoll_node::node::{Node, NodeOptions, RunningNode};

use super::DevArguments;
use crate::failure::Failure;
use crate::serve::failure;

/// The token of every node.
pub(super) const SECRET: &str = "dev-token";

const TENANT: &str = "dev";

/// The data of this cluster is no other's.
const CLUSTER: &str = "dev";

/// Where the first node listens if nobody says otherwise, as `plimsoll serve` does.
const USUAL_ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7171);

/// A node hears of its peers on this machine only, at any port.
const PEER_ADDRESS: &str = "127.0.0.1:0";

/// A fraction of what is usual, so that nobody waits for what the nodes say of one another.
const PULSE_MS: &str = "500";

/// Nothing here takes longer, and who presses Ctrl-C wants to go.
const SHUTDOWN_GRACE_S: &str = "2";

/// The most nodes there may have been.
const NODES_MAX: usize = 9;

/// A node as its clients know it.
pub(super) struct Site {
    /// Where it is said to be.
    pub(super) region: String,
    /// Where it serves.
    pub(super) url: String,
    /// A client of this node alone.
    pub(super) client: Client,
}

/// Starts the nodes one after the other; each is told of those before. What runs is in `running`, also where a later one
/// does not start.
pub(super) async fn start(
    arguments: &DevArguments,
    data: &Path,
    running: &mut Vec<RunningNode>,
) -> Result<Vec<Site>, Failure> {
    let count = usize::from(arguments.nodes);
    check_count(data, count)?;
    let mut sites = Vec::with_capacity(count);
    for place in 0..count {
        let seeds: Vec<&str> = running.iter().filter_map(RunningNode::peer_address).collect();
        let region = region(place);
        let mut flags = vec![
            ("data_dir", folder(data, place).display().to_string()),
            ("listen", listen(arguments.listen, place).to_string()),
            ("tokens", format!("{TENANT}:{SECRET}:read+write+admin")),
            ("shutdown_grace_s", SHUTDOWN_GRACE_S.to_owned()),
        ];
        if count > 1 {
            flags.extend([
                ("peer_listen", PEER_ADDRESS.to_owned()),
                ("seed", seeds.join(",")),
                ("region", region.clone()),
                ("cluster", CLUSTER.to_owned()),
                ("pulse_ms", PULSE_MS.to_owned()),
            ]);
        }
        flags.extend(arguments.engine.map(|engine| ("engine", engine.to_string())));
        let node = start_one(flags).await?;
        let url = format!("http://{}", node.local_addr());
        running.push(node);
        sites.push(Site { region, client: Client::builder(&url).token(SECRET).build()?, url });
    }
    Ok(sites)
}

async fn start_one(flags: Vec<(&'static str, String)>) -> Result<RunningNode, Failure> {
    let config = Config::load(&Sources { flags, ..Sources::default() })
        .map_err(|error| Failure::Config { detail: error.to_string() })?;
    let options = NodeOptions { has_test_controls: true, ..config.node_options() };
    let started = async { Node::start(options, Environment::real(&config).await?).await };
    started.await.map_err(|error| failure(&error))
}

fn region(place: usize) -> String {
    ["eu", "us", "ap"].get(place).map_or_else(|| format!("r{}", place + 1), |name| (*name).to_owned())
}

/// The folder of a node's data. A folder that holds a store itself is of a version that started one node only: that
/// store goes on as the first node's.
fn folder(data: &Path, place: usize) -> PathBuf {
    match place {
        0 if holds_store(data) => data.to_path_buf(),
        _ => data.join(format!("node-{}", place + 1)),
    }
}

fn holds_store(folder: &Path) -> bool {
    EngineKind::ALL.iter().any(|kind| folder.join(kind.name()).is_dir())
}

/// The others would wait for a member whose data is there and which is not started.
fn check_count(data: &Path, count: usize) -> Result<(), Failure> {
    let held = (0..NODES_MAX).rev().find(|place| holds_store(&folder(data, *place))).map_or(0, |place| place + 1);
    if held <= count {
        return Ok(());
    }
    let detail =
        format!("{} holds the data of {held} nodes: give --nodes {held}, or another --data-dir", data.display());
    Err(Failure::Config { detail })
}

/// Where a node listens. Only an address that was asked for has to be free.
fn listen(wanted: Option<SocketAddr>, place: usize) -> SocketAddr {
    let first = wanted.unwrap_or(USUAL_ADDRESS);
    if first.port() == 0 || (place == 0 && wanted.is_some()) {
        return first;
    }
    let offset = u16::try_from(place).unwrap_or(u16::MAX);
    let address = SocketAddr::new(first.ip(), first.port().saturating_add(offset));
    if TcpListener::bind(address).is_ok() { address } else { SocketAddr::new(first.ip(), 0) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn each_node_has_a_region_of_its_own() {
        assert_eq!([0, 1, 2, 3, 8].map(region), ["eu", "us", "ap", "r4", "r9"]);
    }

    #[test]
    fn a_store_of_a_single_node_goes_on_as_the_first_ones() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(folder(data.path(), 0), data.path().join("node-1"));
        fs::create_dir(data.path().join("redb")).unwrap();
        assert_eq!(folder(data.path(), 0), data.path());
        assert_eq!(folder(data.path(), 1), data.path().join("node-2"));
    }

    #[test]
    fn no_node_that_has_data_is_left_out() {
        let data = tempfile::tempdir().unwrap();
        check_count(data.path(), 1).unwrap();
        fs::create_dir_all(data.path().join("node-3").join("fjall")).unwrap();
        check_count(data.path(), 3).unwrap();
        let refused = check_count(data.path(), 2).unwrap_err();
        assert!(matches!(refused, Failure::Config { detail } if detail.contains("--nodes 3")));
    }

    #[test]
    fn the_nodes_listen_on_ports_that_follow_as_far_as_they_are_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(listen(Some(address), 0), address, "what was asked for is not passed over in silence");
        let before = SocketAddr::new(address.ip(), address.port() - 1);
        assert_eq!(listen(Some(before), 1), "127.0.0.1:0".parse().unwrap());
        for place in 0..9 {
            assert_eq!(listen(Some("[::1]:0".parse().unwrap()), place), "[::1]:0".parse().unwrap());
        }
    }
}
