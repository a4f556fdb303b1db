//! Certificates of the peer port: whom a node believes, and how it shows who it is.
//!
//! The one idea: the cluster's CA *is* the list of members. Each node has a certificate signed by it, both ends of a
//! connection show theirs, and a certificate of any other CA is refused, whatever it says. Which member it is that
//! connects is said, and checked, above: here a peer is in or out; only the server's name is compared with the one that
//! was dialled.
//!
//! What a node needs lies in one directory:
//!
//! - `ca.pem`: the CA's certificate. While a CA is replaced it holds two, and both are believed.
//! - `node.pem`: the node's certificate, and behind it those between it and the CA, if any.
//! - `node.key`: its key.
//!
//! [`Tls`] holds what was read there, and takes up new files when it is told to look: connections that stand stay as
//! they are, the next one uses the new files. [`issue`] makes CA and certificates, [`describe`] tells what is in a
//! directory.
//!
//! What is decided here, once: TLS 1.3 only; HTTP/2 by ALPN; no resumption, so that every connection is checked against
//! the certificates and the time of its own beginning. A CA's own dates are not looked at in a handshake, as RFC 5280
//! has it for whom one trusts already; instead [`issue`] gives out no certificate that outlives its CA.
//!
//! What it does not do: revocation lists. To lock out a node before its certificate ends, replace the CA.

mod certificate;
mod credentials;
mod description;
mod error;
mod files;
pub mod issue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_store::options::WallClock;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

pub use certificate::{Certificate, Severity, warning_of};
pub use credentials::Credentials;
pub use description::{Described, Description, describe};
pub use error::TlsError;
pub use files::{CA_FILE, CA_KEY_FILE, FILE_BYTES_MAX, NODE_FILE, NODE_KEY_FILE};

use files::Files;

/// The one protocol that is spoken inside: HTTP/2.
const ALPN: &[u8] = b"h2";

/// The credentials in use, and the way to newer ones. Cheap to clone; all clones share what they hold.
///
/// It starts no task and sets no timer: its owner calls [`Tls::reload`].
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    directory: PathBuf,
    wall_clock: WallClock,
    current: Mutex<Arc<Credentials>>,
}

/// What [`Tls::reload`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reloaded {
    /// The files are, byte for byte, those in use.
    Unchanged,
    /// They differ, are good, and are in use for every connection from now on.
    Changed,
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tls")
            .field("directory", &self.shared.directory)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a directory. `wall_clock` is asked for the time whenever a certificate is checked, now and later.
    ///
    /// Reads three small files, and waits for the disk while it does.
    ///
    /// # Errors
    /// [`TlsError`], as [`Credentials::load`] gives it.
    pub fn open(directory: &Path, wall_clock: WallClock) -> Result<Self, TlsError> {
        let credentials = Credentials::load(directory, Arc::clone(&wall_clock))?;
        let current = Mutex::new(Arc::new(credentials));
        Ok(Self { shared: Arc::new(Shared { directory: directory.to_path_buf(), wall_clock, current }) })
    }

    /// The credentials that the next connection will use.
    #[must_use]
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.lock())
    }

    /// Looks at the files again, and takes them up if they have changed. Connections that stand are not touched.
    ///
    /// Three files cannot be replaced in one step. A look in between finds a key that does not match, and the next look
    /// finds all in order: an error here is worth a word in the log, not an end.
    ///
    /// # Errors
    /// [`TlsError`], as [`Credentials::load`] gives it. What was in use stays in use.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        let files = Files::read(&self.shared.directory)?;
        if self.current().is_of(&files) {
            return Ok(Reloaded::Unchanged);
        }
        let credentials = Credentials::of(files, &self.shared.directory, Arc::clone(&self.shared.wall_clock))?;
        *self.lock() = Arc::new(credentials);
        Ok(Reloaded::Changed)
    }

    /// The server's side of a handshake. It ends when the peer has shown a certificate of the cluster's CA.
    ///
    /// A peer may take for ever: whoever calls this bounds the time. Dropping the future closes `io`.
    ///
    /// # Errors
    /// The connection broke, or the peer was refused: then the kind is [`io::ErrorKind::InvalidData`], and the text says
    /// what is wrong with its certificate.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<server::TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(Arc::clone(self.current().server()));
        let stream = acceptor.accept(io).await?;
        speaks_http2(stream.get_ref().1.alpn_protocol())?;
        Ok(stream)
    }

    /// The client's side of a handshake with the peer that was dialled as `name`: an IP address, without brackets, or a
    /// DNS name.
    ///
    /// It ends when the *server* has proved to be `name`. What the server thinks of this node's certificate is not known
    /// yet: TLS 1.3 tells a client that it is refused with the first bytes it reads, as an error of that read.
    ///
    /// A peer may take for ever: whoever calls this bounds the time. Dropping the future closes `io`.
    ///
    /// # Errors
    /// The connection broke; `name` is neither of the two ([`io::ErrorKind::InvalidInput`]); or the peer was refused:
    /// then the kind is [`io::ErrorKind::InvalidData`], and the text says what is wrong with its certificate.
    pub async fn connect<IO>(&self, name: &str, io: IO) -> io::Result<client::TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let server_name = ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is neither an IP address nor a DNS name"))
        })?;
        let connector = TlsConnector::from(Arc::clone(self.current().client()));
        let stream = connector.connect(server_name, io).await?;
        speaks_http2(stream.get_ref().1.alpn_protocol())?;
        Ok(stream)
    }

    /// Nothing that holds the lock can fail half-way, so what a thread that panicked has left is whole.
    fn lock(&self) -> MutexGuard<'_, Arc<Credentials>> {
        self.shared.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TLS refuses a peer that offers other protocols only; one that offers none at all gets through to here.
fn speaks_http2(agreed: Option<&[u8]>) -> io::Result<()> {
    if agreed == Some(ALPN) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not offer HTTP/2: no plimsoll node"))
}
