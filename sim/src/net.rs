//! The network of a simulated host, behind the product's seams.
//!
//! Inside, hosts have names, `n1` and so on, and turmoil carries what they say. Outside, in what nodes tell each other, node
//! `n` is at `127.0.0.n`: without certificates a peer port must be a loopback address.

mod shaped;
mod weather;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use plimsoll_node::environment::{Connecting, Connector, Listener, Stream};
use turmoil::net::{TcpListener, TcpStream};

pub use shaped::Shaped;
pub use weather::{Traffic, Weather};

/// Where clients connect.
pub const HTTP_PORT: u16 = 7171;

/// Where peers connect.
pub const PEER_PORT: u16 = 7172;

/// The name of a node's host.
#[must_use]
pub fn host_of(node: u8) -> String {
    format!("n{node}")
}

/// The address a node tells of itself.
#[must_use]
pub fn address_of(node: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, node), port).into()
}

/// A port of a node.
pub(crate) struct Port {
    listener: TcpListener,
    address: SocketAddr,
    weather: Weather,
}

impl Port {
    /// Listens on a port of this host, which is a node's.
    pub(crate) async fn open(node: u8, port: u16, weather: &Weather) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
        Ok(Self { listener, address: address_of(node, port), weather: weather.clone() })
    }
}

impl Listener for Port {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn accept(&mut self) -> Connecting<'_> {
        Box::pin(async {
            let (stream, _) = self.listener.accept().await?;
            Ok(Box::new(Shaped::new(stream, &self.weather)?) as Box<dyn Stream>)
        })
    }
}

/// Connects to a port of a node.
///
/// # Errors
/// It is refused.
pub async fn connect(node: u8, port: u16, weather: &Weather) -> io::Result<Shaped> {
    Shaped::new(TcpStream::connect((host_of(node), port)).await?, weather)
}

/// The way to the other nodes.
pub(crate) struct Wires {
    weather: Weather,
}

impl Wires {
    pub(crate) const fn new(weather: Weather) -> Self {
        Self { weather }
    }
}

impl Connector for Wires {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async {
            let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "no address of a simulated node");
            let address: SocketAddr = address.parse().map_err(|_| unknown())?;
            let SocketAddr::V4(address) = address else { return Err(unknown()) };
            let stream = connect(address.ip().octets()[3], address.port(), &self.weather).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}
