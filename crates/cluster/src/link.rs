//! A connection to a peer, from the side that made it: one HTTP/2 connection, begun by a hello, on which this node asks and
//! the peer answers. Who wants to ask the other way makes a connection of its own.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_domain::projection::Horizon;
use plimsoll_wire::peer::v1::{Hello, Refusal, Welcome, decode_welcome, encode_hello};
use plimsoll_wire::peer::{FORGETS, FRAME_BYTES_MAX, FrameError, Frames};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::horizon;
use crate::identity::Start;
use crate::net::Connector;
use crate::security::Security;

/// What every path of the peer port begins with.
pub(crate) const ROOT: &str = "/peer/";

/// How much one stream may send ahead of its reader, and one connection in all: the most a slow reader costs.
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 2 << 20;

/// How long the first exchange may take once the connection is there.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);

/// Frames on their way out that HTTP/2 has not taken yet.
const FRAMES_WAITING_MAX: usize = 2;

/// A body of either side.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).boxed_unsync()
}

/// A body that is sent frame by frame, and what sends it.
pub(crate) fn streamed() -> (Sender<Bytes>, Body) {
    let (sender, body) = Channel::new(FRAMES_WAITING_MAX);
    (sender, body.boxed_unsync())
}

/// A conversation with a peer failed.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("it refuses to talk: {}", Told(.0))]
    Refused(Refusal),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("it has forgotten more than this node, or less: one of the two follows the other first")]
    OtherHorizon,
    #[error("this node forgets what all members have agreed to forget, and exchanges no facts meanwhile")]
    Forgetting,
    #[error("its software is too old to know of forgetting: it has to be upgraded, as the others were")]
    TooOld,
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("this node does not talk to it: {}", ToldOfIt(.0))]
    Unwelcome(Refusal),
    #[error("another node is at its address now: if it will not come back, forget it")]
    AnotherNode,
    #[error("it said something else than was asked: {0}")]
    Unexpected(&'static str),
    #[error("it ended the conversation")]
    Ended,
    #[error("it was started again")]
    Superseded,
}

/// A refusal of this node's own, for people.
pub(crate) struct ToldOfIt<'a>(pub(crate) &'a Refusal);

impl fmt::Display for ToldOfIt<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::OtherCluster { .. } => formatter.write_str("it is of another cluster"),
            Refusal::NoCommonVersion { .. } => {
                formatter.write_str("it speaks no version of the peer protocol in common")
            }
            Refusal::Yourself => formatter.write_str("it is this very node"),
            Refusal::SameNode => {
                formatter.write_str("another node has its id: one data directory is a copy of the other")
            }
            Refusal::Gone => formatter.write_str("it left, or was forgotten"),
        }
    }
}

/// A refusal, for people.
struct Told<'a>(&'a Refusal);

impl fmt::Display for Told<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::OtherCluster { cluster } => write!(formatter, "it is of the cluster {cluster:?}"),
            Refusal::NoCommonVersion { oldest, newest } => {
                write!(formatter, "it speaks versions {oldest} to {newest} of the peer protocol")
            }
            Refusal::Yourself => formatter.write_str("it is this very node"),
            Refusal::SameNode => {
                formatter.write_str("another node has this node's id: one data directory is a copy of the other")
            }
            Refusal::Gone => formatter.write_str(
                "this node left, or was forgotten: it may only come back as a new one, with an empty data directory",
            ),
        }
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    requests: SendRequest<Body>,
    /// Whether an answer did not come in time.
    broken: Arc<AtomicBool>,
    /// Whether it is given up: then nobody waits for answers on it any more.
    given_up: Arc<watch::Sender<bool>>,
    version: u16,
    start: Start,
    /// Of which horizon the asker is, where facts are asked for.
    horizon: Option<Horizon>,
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Link").field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects to a peer and says hello. Returns what it says of itself.
    pub(crate) async fn make(
        connector: &dyn Connector,
        security: &Security,
        address: &str,
        patience: Duration,
        hello: &Hello,
    ) -> Result<(Self, Hello), LinkError> {
        let connecting = timeout(patience, connector.connect(address)).await;
        let stream = connecting.map_err(|_| LinkError::ConnectTimeout(patience))?.map_err(LinkError::Connect)?;
        let greeting = async {
            let stream = security.connect(host_of(address), stream).await.map_err(LinkError::Connect)?;
            let (requests, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(TokioIo::new(stream))
                .await?;
            // It ends with the last handle to it, or with the peer; whoever asks then is told.
            tokio::spawn(async move { drop(connection.await) });
            let mut link = Self {
                requests,
                broken: Arc::default(),
                given_up: Arc::new(watch::Sender::new(false)),
                version: 0,
                start: Start::default(),
                horizon: None,
            };
            match link.ask_for("hello", encode_hello(hello), HELLO_TIME_MAX, decode_welcome).await? {
                Welcome::Refused(refusal) => Err(LinkError::Refused(refusal)),
                Welcome::Welcome { version, hello: theirs } => {
                    if hello.member.versions.common(theirs.member.versions) != Some(version) {
                        return Err(LinkError::Unexpected("a version of the conversation that is not common"));
                    }
                    link.version = version;
                    link.start = Start::of(&theirs);
                    Ok((link, *theirs))
                }
            }
        };
        timeout(HELLO_TIME_MAX, greeting).await.map_err(|_| LinkError::Timeout(HELLO_TIME_MAX))?
    }

    /// The version of the conversation.
    pub(crate) const fn version(&self) -> u16 {
        self.version
    }

    /// Which start of the peer is at the other end.
    pub(crate) const fn start(&self) -> Start {
        self.start
    }

    /// The same connection, on which only a peer of this horizon answers.
    pub(crate) fn within(&self, horizon: Horizon) -> Self {
        Self { horizon: Some(horizon), ..self.clone() }
    }

    /// Whether it may still be asked.
    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed() && !self.broken.load(Ordering::Relaxed)
    }

    /// Gives it up. What was asked on it has no answer.
    pub(crate) fn give_up(&self) {
        self.given_up.send_replace(true);
    }

    /// Asks once. The answer is the whole body of it. A connection on which no answer came in time is not kept, unless a
    /// feed on it shows that it lives.
    pub(crate) async fn ask(&self, path: &str, frame: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let asking = async {
            let answer = self.send(path, whole(frame)).await?;
            let body = http_body_util::Limited::new(answer, FRAME_BYTES_MAX + 4).collect().await;
            body.map(|body| body.to_bytes().to_vec()).map_err(|_| LinkError::Ended)
        };
        let mut given_up = self.given_up.subscribe();
        tokio::select! {
            biased;
            // This is one of the other ends, so it does not end.
            _ended = given_up.wait_for(|is_given_up| *is_given_up) => Err(LinkError::Ended),
            answer = timeout(patience, asking) => answer.unwrap_or_else(|_| {
                self.broken.store(true, Ordering::Relaxed);
                Err(LinkError::Timeout(patience))
            }),
        }
    }

    /// Asks once for an answer of one frame.
    pub(crate) async fn ask_for<Answer>(
        &self,
        path: &str,
        frame: Vec<u8>,
        patience: Duration,
        decode: impl FnOnce(&[u8]) -> Result<Answer, FrameError>,
    ) -> Result<Answer, LinkError> {
        let answer = self.ask(path, frame, patience).await?;
        Ok(decode(Frames::only(&answer)?)?)
    }

    /// Begins a conversation of frames both ways, with a first one.
    pub(crate) async fn converse_after(
        &self,
        path: &str,
        first: Vec<u8>,
    ) -> Result<(Sender<Bytes>, FrameReader), LinkError> {
        let (mut sender, body) = streamed();
        sender.send_data(Bytes::from(first)).await.map_err(|_| LinkError::Ended)?;
        let answer = self.send(path, body).await?;
        Ok((sender, FrameReader::new(answer)))
    }

    async fn send(&self, path: &str, body: Body) -> Result<Incoming, LinkError> {
        let mut request = Request::builder().method(Method::POST).uri(format!("http://peer{ROOT}{path}"));
        if let Some(horizon) = self.horizon.filter(|horizon| *horizon != Horizon::default()) {
            if self.version < FORGETS {
                return Err(LinkError::TooOld);
            }
            request = request.header(horizon::HEADER, horizon::header_of(horizon));
        }
        let request = request.body(body);
        let request = request.expect("the paths are known, and of letters, and so is the header");
        let mut requests = self.requests.clone();
        requests.ready().await?;
        let answer = requests.send_request(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            StatusCode::PRECONDITION_FAILED => Err(LinkError::OtherHorizon),
            status => Err(LinkError::Status(status)),
        }
    }
}

/// The host of `<host>:<port>`, an IPv6 address without its brackets.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Reads the frames of a body.
pub(crate) struct FrameReader {
    body: Incoming,
    frames: Frames,
}

impl FrameReader {
    pub(crate) fn new(body: Incoming) -> Self {
        Self { body, frames: Frames::default() }
    }

    /// The next frame, without its length; `None` at the end. May be dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            if let Some(frame) = self.frames.next()? {
                return Ok(Some(frame.to_vec()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(bytes) = frame?.into_data() {
                        self.frames.push(&bytes);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_a_certificate_names() {
        assert_eq!(host_of("node-1.example:7172"), "node-1.example");
        assert_eq!(host_of("10.0.0.1:7172"), "10.0.0.1");
        assert_eq!(host_of("[::1]:7172"), "::1");
    }
}
