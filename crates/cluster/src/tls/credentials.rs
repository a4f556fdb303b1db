//! What a node shows to its peers, and what it asks of them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::options::WallClock;
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, InconsistentKeys, RootCertStore, ServerConfig};

use super::files::{self, CA_FILE, Files, NODE_FILE, NODE_KEY_FILE};
use super::{ALPN, Certificate, TlsError};

/// The certificates and the key of one TLS directory, checked against one another. They do not change.
pub struct Credentials {
    files: Files,
    node: Certificate,
    authorities: Vec<Certificate>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl fmt::Debug for Credentials {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("node", &self.node)
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a directory, and checks what peers would check: that the key belongs to the certificate, that one of the
    /// CAs has signed it, that it is within its dates, names a host, and is for servers and clients alike.
    ///
    /// `wall_clock` is asked for the time now, and at each handshake. Reads three small files, and waits for the disk
    /// while it does.
    ///
    /// # Errors
    /// [`TlsError`] for the first thing that is wrong.
    pub fn load(directory: &Path, wall_clock: WallClock) -> Result<Self, TlsError> {
        Self::of(Files::read(directory)?, directory, wall_clock)
    }

    /// The same of files that are read already; `directory` is where they were.
    pub(super) fn of(files: Files, directory: &Path, wall_clock: WallClock) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let (roots, authorities) = authorities(&files.ca, &directory.join(CA_FILE))?;
        let roots = Arc::new(roots);
        let node_path = directory.join(NODE_FILE);
        let chain = files::certificates(&files.node, &node_path)?;
        let node = Certificate::parse(&chain[0])
            .ok_or_else(|| TlsError::NotACertificate { path: node_path.clone(), number: 1 })?;
        let identity = identity(chain, &files.node_key, directory, &provider)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .expect("there is a CA, or `authorities` had failed, and there are no revocation lists");
        let check = Check { node: &node, directory, provider: &provider, roots: &roots, verifier: &*verifier };
        check.run(&identity.cert, wall_clock())?;

        let resolver = Arc::new(SingleCertAndKey::from(identity));
        let clock: Arc<dyn TimeProvider> = Arc::new(Clock(wall_clock));
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::clone(&clock))
            .with_protocol_versions(&[&TLS13])
            .expect("ring has suites of TLS 1.3")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(&resolver) as _);
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_details(provider, clock)
            .with_protocol_versions(&[&TLS13])
            .expect("ring has suites of TLS 1.3")
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { files, node, authorities, server: Arc::new(server), client: Arc::new(client) })
    }

    /// What the node's own certificate says: the hosts it is valid for, and until when.
    #[must_use]
    pub const fn node(&self) -> &Certificate {
        &self.node
    }

    /// What the certificates of the CAs say that are believed; one at least, in the order of their file.
    #[must_use]
    pub fn authorities(&self) -> &[Certificate] {
        &self.authorities
    }

    /// All of them, each with the name of its file, the node's first: for a warning before one expires.
    pub fn certificates(&self) -> impl Iterator<Item = (&'static str, &Certificate)> {
        let authorities = self.authorities.iter().map(|authority| (CA_FILE, authority));
        std::iter::once((NODE_FILE, &self.node)).chain(authorities)
    }

    pub(super) const fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    pub(super) const fn client(&self) -> &Arc<ClientConfig> {
        &self.client
    }

    /// Whether these are the credentials of exactly these files.
    pub(super) fn is_of(&self, files: &Files) -> bool {
        self.files == *files
    }
}

fn authorities(pem: &[u8], path: &Path) -> Result<(RootCertStore, Vec<Certificate>), TlsError> {
    let mut roots = RootCertStore::empty();
    let mut authorities = Vec::new();
    for (index, der) in files::certificates(pem, path)?.into_iter().enumerate() {
        let number = index + 1;
        let unreadable = || TlsError::NotACertificate { path: path.to_path_buf(), number };
        let certificate = Certificate::parse(&der).ok_or_else(unreadable)?;
        if !certificate.is_ca {
            return Err(TlsError::NotACa { path: path.to_path_buf(), number, subject: certificate.subject });
        }
        roots.add(der).map_err(|_| unreadable())?;
        authorities.push(certificate);
    }
    Ok((roots, authorities))
}

fn identity(
    chain: Vec<CertificateDer<'static>>,
    key_pem: &[u8],
    directory: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = (directory.join(NODE_FILE), directory.join(NODE_KEY_FILE));
    let Ok(private_key) = PrivateKeyDer::from_pem_slice(key_pem) else { return Err(TlsError::NoKey { path: key }) };
    CertifiedKey::from_der(chain, private_key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch { certificate, key },
        rustls::Error::InvalidCertificate(_) => TlsError::NotACertificate { path: certificate, number: 1 },
        _ => TlsError::NoKey { path: key },
    })
}

/// What peers will check of the node's certificate, and where to look for it.
struct Check<'a> {
    node: &'a Certificate,
    directory: &'a Path,
    provider: &'a CryptoProvider,
    roots: &'a RootCertStore,
    verifier: &'a dyn ClientCertVerifier,
}

impl Check<'_> {
    fn run(&self, chain: &[CertificateDer<'static>], now: UnixNanos) -> Result<(), TlsError> {
        let path = self.directory.join(NODE_FILE);
        let &Certificate { not_before, not_after, .. } = self.node;
        if now < not_before {
            return Err(TlsError::NotYetValid { path, not_before });
        }
        // Dates are whole seconds, and the last one counts.
        if unix_time(now) > unix_time(not_after) {
            return Err(TlsError::Expired { path, not_after });
        }
        if self.node.names.is_empty() {
            return Err(TlsError::NoNames { path });
        }
        self.as_peers_do(chain, unix_time(now)).map_err(|source| match source {
            // A CA of the same name with another key is how a bad signature comes about.
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                TlsError::ForeignCa { certificate: path, authorities: self.directory.join(CA_FILE) }
            }
            source => TlsError::Unfit { path, source },
        })
    }

    fn as_peers_do(&self, chain: &[CertificateDer<'static>], now: UnixTime) -> Result<(), rustls::Error> {
        let (end, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(end, between, now)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end)?,
            self.roots,
            between,
            now,
            algorithms,
        )
    }
}

/// The wall clock, as the TLS library reads it.
pub(super) struct Clock(pub(super) WallClock);

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Clock")
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time((self.0)()))
    }
}

fn unix_time(at: UnixNanos) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_nanos(at.get()))
}
