//! Whether peers show who they are.

use std::io;
use std::net::SocketAddr;

use crate::net::Stream;
use crate::tls::Tls;

/// How connections between nodes are protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// Not at all: then the peer port binds loopback only.
    Plain,
    /// Mutual TLS.
    Tls(Tls),
}

impl Security {
    /// Whether a peer port may listen there.
    #[must_use]
    pub fn allows(&self, address: SocketAddr) -> bool {
        match self {
            Self::Plain => address.ip().to_canonical().is_loopback(),
            Self::Tls(_) => true,
        }
    }

    pub(crate) async fn connect(&self, host: &str, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Plain => Ok(stream),
            Self::Tls(tls) => Ok(Box::new(tls.connect(host, stream).await?)),
        }
    }

    pub(crate) async fn accept(&self, stream: Box<dyn Stream>) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Plain => Ok(stream),
            Self::Tls(tls) => Ok(Box::new(tls.accept(stream).await?)),
        }
    }
}
