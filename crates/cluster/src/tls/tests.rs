//! Handshakes over memory, and what a directory must hold for them.

mod directory;
mod rotation;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::options::WallClock;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsConnector;

use super::credentials::Clock;
use super::issue::{self, Issued};
use super::*;

const START: u64 = 1_776_000_000_000_000_000;
const DAY: u64 = 86_400_000_000_000;

/// A clock that tests move.
#[derive(Clone)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    fn pass(&self, nanos: u64) {
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    fn now(&self) -> UnixNanos {
        UnixNanos::new(self.0.load(Ordering::Relaxed))
    }

    fn wall_clock(&self) -> WallClock {
        let time = self.clone();
        Arc::new(move || time.now())
    }
}

fn ca(name: &str) -> Issued {
    issue::ca(name, 1000, UnixNanos::new(START)).unwrap()
}

fn node_of(ca: &Issued, host: &str, days: u32, now: UnixNanos) -> Issued {
    issue::node(&ca.certificate_pem, &ca.key_pem, &[host.to_owned()], days, now).unwrap()
}

/// Puts the files of a node into a directory.
fn write(directory: &Path, authorities: &[&Issued], node: &Issued) {
    let pem: String = authorities.iter().map(|ca| ca.certificate_pem.as_str()).collect();
    fs::write(directory.join(CA_FILE), pem).unwrap();
    fs::write(directory.join(NODE_FILE), &node.certificate_pem).unwrap();
    fs::write(directory.join(NODE_KEY_FILE), &node.key_pem).unwrap();
}

/// A node with its directory.
struct Peer {
    directory: TempDir,
    tls: Tls,
}

impl Peer {
    /// A peer that believes `authorities`, and has a certificate of the first for 100 days.
    fn new(authorities: &[&Issued], host: &str, time: &Time) -> Self {
        Self::with(authorities, &node_of(authorities[0], host, 100, time.now()), time)
    }

    fn with(authorities: &[&Issued], node: &Issued, time: &Time) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), authorities, node);
        let tls = Tls::open(directory.path(), time.wall_clock()).unwrap();
        Self { directory, tls }
    }
}

/// What the two ends of a connection saw: a handshake, and a byte each way.
struct Outcome {
    server: io::Result<()>,
    client: io::Result<()>,
}

impl Outcome {
    fn is_connection(&self) -> bool {
        assert_eq!(self.server.is_ok(), self.client.is_ok(), "one end only: {:?} {:?}", self.server, self.client);
        self.server.is_ok()
    }

    /// Why the server refused the client.
    fn refused_by_server(self) -> String {
        self.client.expect_err("the client is not told");
        refusal(self.server)
    }

    /// Why the client refused the server.
    fn refused_by_client(self) -> String {
        self.server.expect_err("the server is not told");
        refusal(self.client)
    }
}

fn refusal(result: io::Result<()>) -> String {
    let error = result.expect_err("nothing was refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    error.to_string()
}

async fn serve(tls: &Tls, io: DuplexStream) -> io::Result<()> {
    let mut stream = tls.accept(io).await?;
    let connection = stream.get_ref().1;
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(connection.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
    greet(&mut stream).await
}

async fn greet(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    stream.write_all(b"x").await?;
    stream.flush().await?;
    assert_eq!(stream.read_u8().await?, b'x');
    Ok(())
}

/// `client` dials `server` as `name`.
async fn dial(client: &Peer, server: &Peer, name: &str) -> Outcome {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let client = async move { greet(&mut client.tls.connect(name, ours).await?).await };
    let (server, client) = tokio::join!(serve(&server.tls, theirs), client);
    Outcome { server, client }
}

/// A client that is not of our making dials `server` as `name`.
async fn dial_as(config: ClientConfig, server: &Peer, name: &'static str) -> Outcome {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name).unwrap();
    let client = async move { greet(&mut connector.connect(name, ours).await?).await };
    let (server, client) = tokio::join!(serve(&server.tls, theirs), client);
    Outcome { server, client }
}

/// A client's configuration that believes `ca`, with the certificate of `node` or without.
fn foreign_client(ca: &Issued, node: Option<&Issued>, time: &Time) -> ClientConfig {
    let certificate = |issued: &Issued| CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca)).unwrap();
    let clock = Arc::new(Clock(time.wall_clock()));
    let builder = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), clock)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots);
    match node {
        None => builder.with_no_client_auth(),
        Some(node) => {
            let key = PrivateKeyDer::from_pem_slice(node.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate(node)], key).unwrap()
        }
    }
}

fn with_http2(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

#[tokio::test]
async fn nodes_of_one_ca_talk_whoever_dials() {
    let (time, ca) = (Time::new(), ca("ca"));
    let a = Peer::new(&[&ca], "a.example", &time);
    let b = Peer::new(&[&ca], "10.0.0.2", &time);
    let c = Peer::new(&[&ca], "2001:db8::3", &time);
    assert!(dial(&a, &b, "10.0.0.2").await.is_connection());
    assert!(dial(&b, &a, "a.example").await.is_connection());
    assert!(dial(&b, &a, "A.Example").await.is_connection());
    assert!(dial(&a, &c, "2001:db8:0::3").await.is_connection());
}

#[tokio::test]
async fn every_connection_is_checked_anew() {
    let (time, ca) = (Time::new(), ca("ca"));
    let a = Peer::new(&[&ca], "a", &time);
    let b = Peer::new(&[&ca], "b", &time);
    // `serve` asserts that each handshake is a full one.
    for _ in 0..3 {
        assert!(dial(&a, &b, "b").await.is_connection());
    }
    // Nor does a client that would resume get the chance to.
    let node = node_of(&ca, "c", 1, time.now());
    let config = with_http2(foreign_client(&ca, Some(&node), &time));
    for _ in 0..3 {
        assert!(dial_as(config.clone(), &b, "b").await.is_connection());
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let (time, ca) = (Time::new(), ca("ca"));
    let server = Peer::new(&[&ca], "s", &time);
    let outcome = dial_as(with_http2(foreign_client(&ca, None, &time)), &server, "s").await;
    assert_eq!(outcome.refused_by_server(), "peer sent no certificates");
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused() {
    for (name, reason) in [("another", "UnknownIssuer"), ("ca", "BadSignature")] {
        let (time, ours, theirs) = (Time::new(), ca("ca"), ca(name));
        let server = Peer::new(&[&ours], "s", &time);
        let client = Peer::new(&[&theirs, &ours], "c", &time);
        let refusal = dial(&client, &server, "s").await.refused_by_server();
        assert!(refusal.contains(reason), "{refusal}");
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let (time, ours, theirs) = (Time::new(), ca("ours"), ca("theirs"));
    let server = Peer::new(&[&theirs, &ours], "s", &time);
    let client = Peer::new(&[&ours], "c", &time);
    let refusal = dial(&client, &server, "s").await.refused_by_client();
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_the_other_end() {
    let (time, ca) = (Time::new(), ca("ca"));
    let brief = Peer::with(&[&ca], &node_of(&ca, "brief", 1, time.now()), &time);
    let lasting = Peer::new(&[&ca], "lasting", &time);
    time.pass(DAY);
    assert!(dial(&brief, &lasting, "lasting").await.is_connection(), "its last second counts");
    time.pass(DAY / 86_400);
    let refusal = dial(&brief, &lasting, "lasting").await.refused_by_server();
    assert!(refusal.contains("expired"), "{refusal}");
    let refusal = dial(&lasting, &brief, "brief").await.refused_by_client();
    assert!(refusal.contains("expired"), "{refusal}");
}

#[tokio::test]
async fn a_certificate_of_the_future_is_refused() {
    let (time, ca) = (Time::new(), ca("ca"));
    let later = UnixNanos::new(START + 10 * DAY);
    let server = Peer::new(&[&ca], "s", &time);
    let config = foreign_client(&ca, Some(&node_of(&ca, "c", 1, later)), &time);
    let refusal = dial_as(with_http2(config), &server, "s").await.refused_by_server();
    assert!(refusal.contains("not valid yet"), "{refusal}");
}

#[tokio::test]
async fn a_server_under_another_name_is_refused() {
    let (time, ca) = (Time::new(), ca("ca"));
    let server = Peer::new(&[&ca], "a.example", &time);
    let client = Peer::new(&[&ca], "c", &time);
    for name in ["b.example", "x.a.example", "example", "10.0.0.1"] {
        let refusal = dial(&client, &server, name).await.refused_by_client();
        assert!(refusal.contains("not valid for name"), "{refusal}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_host_is_not_dialled() {
    let (time, ca) = (Time::new(), ca("ca"));
    let client = Peer::new(&[&ca], "c", &time);
    for name in ["", "a b", "[::1]", "a:1"] {
        let (ours, _theirs) = tokio::io::duplex(64);
        let error = client.tls.connect(name, ours).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_speak_http2_is_refused() {
    let (time, ca) = (Time::new(), ca("ca"));
    let server = Peer::new(&[&ca], "s", &time);
    let node = node_of(&ca, "c", 1, time.now());
    let silent = foreign_client(&ca, Some(&node), &time);
    let refusal = dial_as(silent, &server, "s").await.refused_by_server();
    assert!(refusal.contains("HTTP/2"), "{refusal}");
    let mut older = foreign_client(&ca, Some(&node), &time);
    older.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(!dial_as(older, &server, "s").await.is_connection());
}

#[test]
fn what_is_printed_for_debugging_holds_no_key() {
    let ca = ca("ca");
    let peer = Peer::new(&[&ca], "a.example", &Time::new());
    let printed = format!("{:?}", peer.tls);
    let key = fs::read_to_string(peer.directory.path().join(NODE_KEY_FILE)).unwrap();
    assert!(printed.contains("a.example") && !printed.contains("PRIVATE"), "{printed}");
    assert!(!printed.contains(&format!("{:?}", key.as_bytes()[..8].to_vec())), "{printed}");
}
