//! A node that answers by a script, over connections in memory.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use plimsoll_wire::problem::{Kind, Problem};
use serde_json::Value;
use tokio::time::Instant;

use crate::{Builder, Client, Connecting, Connection};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What becomes of one connection or request.
pub(super) enum Reply {
    /// The connection is refused.
    Refuse,
    /// The request is read, then the connection breaks.
    Drop,
    /// The request is read and never answered.
    Silence,
    /// It is answered without its body being read.
    Early(Response<Body>),
    /// It is answered.
    Answer(Response<Body>),
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Answer(answer(status, "application/json", pieces([body.to_string()])))
    }

    pub(super) fn problem(kind: Kind) -> Self {
        Self::Answer(problem(kind))
    }

    /// A problem with `Retry-After`.
    pub(super) fn retry_after(kind: Kind, seconds: u32) -> Self {
        let mut answer = problem(kind);
        answer.headers_mut().insert("retry-after", seconds.into());
        Self::Answer(answer)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::Answer(answer(status, "text/plain", pieces([])))
    }

    /// A stream that ends well.
    pub(super) fn stream(media_type: &str, parts: &[&str]) -> Self {
        Self::Answer(answer(200, media_type, pieces(parts.iter().map(|part| (*part).to_owned()))))
    }

    /// A stream that breaks after its parts.
    pub(super) fn broken_stream(media_type: &str, parts: &[&str]) -> Self {
        let whole = pieces(parts.iter().map(|part| (*part).to_owned()));
        let cut = stream::once(async {
            // What was sent before has to be delivered first.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Err(io::ErrorKind::ConnectionReset.into())
        });
        Self::Answer(answer(200, media_type, whole.chain(cut)))
    }

    /// A stream that stays open and silent after its parts.
    pub(super) fn open_stream(media_type: &str, parts: &[&str]) -> Self {
        let whole = pieces(parts.iter().map(|part| (*part).to_owned()));
        Self::Answer(answer(200, media_type, whole.chain(stream::pending())))
    }
}

pub(super) fn problem(kind: Kind) -> Response<Body> {
    let text = serde_json::to_string(&Problem::new(kind, "as scripted")).unwrap();
    answer(kind.status(), "application/problem+json", pieces([text]))
}

fn pieces(parts: impl IntoIterator<Item = String>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::iter(parts.into_iter().map(|part| Ok(Bytes::from(part))).collect::<Vec<_>>())
}

fn answer(
    status: u16,
    media_type: &str,
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", media_type)
        .body(StreamBody::new(body.map(|part| part.map(Frame::data))).boxed_unsync())
        .unwrap()
}

/// A request as the node saw it.
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) at: Instant,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The node: it takes replies from the script in order, and panics when there are none left.
#[derive(Default)]
pub(super) struct Node {
    script: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Seen>>,
    /// How long the way to it and back is, where probes are answered by themselves and not by the script.
    round_trip: Mutex<Option<Duration>>,
    /// Nobody listens, and connections that are open break.
    pub(super) is_down: AtomicBool,
    /// It answers, and asks for no requests.
    pub(super) is_unready: AtomicBool,
}

impl Node {
    pub(super) fn new(script: impl IntoIterator<Item = Reply>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    /// A node that is so far away, and answers `/readyz` and `/healthz` by itself.
    pub(super) fn at_distance(milliseconds: u64) -> Arc<Self> {
        Arc::new(Self { round_trip: Mutex::new(Some(Duration::from_millis(milliseconds))), ..Self::default() })
    }

    pub(super) fn moves_to_distance(&self, milliseconds: u64) {
        *self.round_trip.lock().unwrap() = Some(Duration::from_millis(milliseconds));
    }

    /// Puts replies behind the script.
    pub(super) fn expect(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().extend(replies);
    }

    /// A client that reaches this node only.
    pub(super) fn client(self: &Arc<Self>) -> Client {
        self.client_of(|builder| builder)
    }

    pub(super) fn client_of(self: &Arc<Self>, finish: impl FnOnce(Builder) -> Builder) -> Client {
        let node = Arc::clone(self);
        let connect = move |_: &str, _: u16| node.accept();
        finish(Client::builder("http://node.test").token("secret").seed(1).connect(connect)).build().unwrap()
    }

    pub(super) fn accept(self: &Arc<Self>) -> Connecting {
        if self.is_down.load(SeqCst) {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let refused = matches!(self.script.lock().unwrap().front(), Some(Reply::Refuse));
        if refused {
            self.script.lock().unwrap().pop_front();
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let service = service_fn(move |request| Arc::clone(&node).serve(request));
            // The end of a connection is the client's to judge.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(ours), service).await;
        });
        Box::pin(async { Ok(Box::new(theirs) as Box<dyn Connection>) })
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Response<Body>> {
        if self.is_down.load(SeqCst) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let round_trip = *self.round_trip.lock().unwrap();
        if let Some(round_trip) = round_trip {
            tokio::time::sleep(round_trip).await;
            if matches!(request.uri().path(), "/readyz" | "/healthz") {
                assert!(request.headers().get("authorization").is_none(), "a probe does not tell who is asking");
                let is_refused = request.uri().path() == "/readyz" && self.is_unready.load(SeqCst);
                return Ok(answer(if is_refused { 503 } else { 200 }, "application/json", pieces(["{}".to_owned()])));
            }
        }
        let reply = self.script.lock().unwrap().pop_front().expect("the script has a reply for each request");
        let (head, body) = request.into_parts();
        let early = matches!(reply, Reply::Early(_));
        let body = if early { Bytes::new() } else { body.collect().await.map_err(io::Error::other)?.to_bytes() };
        self.seen.lock().unwrap().push(Seen {
            method: head.method,
            path: head.uri.path_and_query().unwrap().to_string(),
            headers: head.headers,
            body,
            at: Instant::now(),
        });
        match reply {
            Reply::Refuse | Reply::Drop => Err(io::ErrorKind::ConnectionReset.into()),
            Reply::Silence => match std::future::pending::<Infallible>().await {},
            Reply::Early(answer) | Reply::Answer(answer) => Ok(answer),
        }
    }

    /// Drops what is left of the script.
    pub(super) fn forget_script(&self) {
        self.script.lock().unwrap().clear();
    }

    /// The requests seen since the last time.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// Asserts that the script was followed to its end, and gives the requests.
    pub(super) fn finished(&self) -> Vec<Seen> {
        assert_eq!(self.script.lock().unwrap().len(), 0, "the client asked for every reply");
        self.seen()
    }
}
