//! The seams to the network: a simulation puts its own behind them.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::security::Security;

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// A connection that is being made.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// Where others connect.
pub trait Listener: Send + 'static {
    /// Its own address, with the port it was given.
    ///
    /// # Errors
    /// It cannot be told.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// The next connection. A future that is dropped before it is ready has taken none.
    fn accept(&mut self) -> Connecting<'_>;
}

/// The way to others.
pub trait Connector: Send + Sync + 'static {
    /// Connects to `<host>:<port>`.
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a>;
}

/// The way from a node to its peers, and from them to it.
pub struct Network {
    /// Where peers call.
    pub listener: Box<dyn Listener>,
    /// The way to them.
    pub connector: Arc<dyn Connector>,
    /// How connections are protected.
    pub security: Security,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").field("security", &self.security).finish_non_exhaustive()
    }
}

/// TCP, without Nagle's delay: an answer is one write, so there is nothing to wait for.
impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    fn accept(&mut self) -> Connecting<'_> {
        Box::pin(async {
            let (stream, _) = Self::accept(self).await?;
            Ok(without_delay(stream))
        })
    }
}

/// TCP, likewise.
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Connector for Tcp {
    fn connect<'a>(&'a self, address: &'a str) -> Connecting<'a> {
        Box::pin(async move { Ok(without_delay(TcpStream::connect(address).await?)) })
    }
}

fn without_delay(stream: TcpStream) -> Box<dyn Stream> {
    // It fails where the other is gone already, which the connection will tell.
    let _ = stream.set_nodelay(true);
    Box::new(stream)
}
