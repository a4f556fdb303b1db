//! The seam to the network: where connections come from.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection as PooledConnection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection: bytes both ways.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for S {}

/// A connection on its way.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>>;

/// Opens connections to a host and a port. Functions of that shape are connectors too, so a simulation passes its own.
///
/// A connector is given [`connect_timeout`](crate::Builder::connect_timeout); it need not have a timeout of its own.
pub trait Connect: Send + Sync + 'static {
    /// Opens a connection. `host` is a name or an address, an IPv6 address without brackets.
    fn connect(&self, host: &str, port: u16) -> Connecting;
}

impl<F: Fn(&str, u16) -> Connecting + Send + Sync + 'static> Connect for F {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        self(host, port)
    }
}

/// Connects by TCP, trying the addresses of a name in turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Connect for Tcp {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((host, port)).await?;
            // Requests are small and are written whole: waiting for more of them only adds latency.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

/// A [`Connect`] as the service the connection pool asks for.
#[derive(Clone)]
pub(crate) struct Connector {
    connect: Arc<dyn Connect>,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(connect: Arc<dyn Connect>, timeout: Duration) -> Self {
        Self { connect, timeout }
    }
}

/// The port of a URL that names none.
const HTTP_PORT: u16 = 80;

impl tower::Service<Uri> for Connector {
    type Response = Pooled;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Pooled>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let connecting = self.connect.connect(host, uri.port_u16().unwrap_or(HTTP_PORT));
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(connection) => Ok(Pooled(TokioIo::new(connection?))),
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("not connected within {timeout:?}"))),
            }
        })
    }
}

/// A connection as the pool keeps it.
pub(crate) struct Pooled(TokioIo<Box<dyn Connection>>);

impl PooledConnection for Pooled {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Pooled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Pooled {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }
}
