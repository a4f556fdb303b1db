//! The peer port: who calls says hello first, and may then ask.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Horizon;
use plimsoll_store::error::ReadError;
use plimsoll_wire::peer::v1::{
    Refusal, Welcome, decode_ask_held, decode_ask_promise, decode_ask_refs, decode_ask_token, decode_datagrams,
    decode_fingerprint, decode_follow, decode_hello, decode_question, decode_roster, decode_standing, encode_datagrams,
    encode_held, encode_promise, encode_roster, encode_token, encode_welcome,
};
use plimsoll_wire::peer::{FRAME_BYTES_MAX, FrameError, Frames};
use tokio::sync::{Semaphore, SetOnce, oneshot};
use tokio::time::{sleep, timeout};

use crate::anti_entropy;
use crate::context::Context;
use crate::feed;
use crate::horizon;
use crate::keeper::is_set;
use crate::link::{Body, CONNECTION_WINDOW, FrameReader, LinkError, ROOT, STREAM_WINDOW, ToldOfIt, streamed, whole};
use crate::membership::Input;
use crate::net::{Listener, Stream};
use crate::repair;
use crate::retention;

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1_024;

/// How long a caller may take to show who it is and to say hello.
const GREETING_TIME_MAX: Duration = Duration::from_secs(10);

/// A caller of which nothing is heard is asked so often whether it is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Questions at a time of one caller.
const QUESTIONS_MAX: u32 = 64;

/// How long the listener rests where it cannot accept: when descriptors have run out, trying at once does not help.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts callers, for ever.
pub(crate) async fn serve(context: Arc<Context>, mut listener: Box<dyn Listener>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let place = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the peer port cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        let context = Arc::clone(&context);
        tasks.spawn(async move {
            let mut cut = context.cut.subscribe();
            tokio::select! {
                biased;
                () = is_set(&mut cut) => {}
                () = connection(Arc::clone(&context), stream) => {}
            }
            drop(place);
        });
    }
}

/// Who is at the other end, once it has said so: the node, its generation, and the version of the conversation.
#[derive(Default)]
struct Caller(SetOnce<(NodeId, u64, u16)>);

async fn connection(context: Arc<Context>, stream: Box<dyn Stream>) {
    let stream = match timeout(GREETING_TIME_MAX, context.security.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            context.counters.callers_refused.add(1);
            return tracing::warn!(%error, "a caller of the peer port was turned away: it did not show who it is");
        }
        Err(_) => return,
    };
    let caller = Arc::new(Caller::default());
    let answering = {
        let (context, caller) = (Arc::clone(&context), Arc::clone(&caller));
        service_fn(move |request| {
            let (context, caller) = (Arc::clone(&context), Arc::clone(&caller));
            async move { Ok::<_, Infallible>(answer(context, caller, request).await) }
        })
    };
    let serving = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(QUESTIONS_MAX)
        .max_header_list_size(8 << 10)
        // It would be the system's time, whatever the node takes for it; and nobody reads it.
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .serve_connection(TokioIo::new(stream), answering);
    let over = async {
        match timeout(GREETING_TIME_MAX, caller.0.wait()).await {
            Ok((node, generation, _)) => context.superseded(*node, *generation).await,
            Err(_) => context.counters.callers_refused.add(1),
        }
    };
    tokio::select! {
        biased;
        () = over => {}
        served = serving => if let Err(error) = served {
            tracing::debug!(%error, "a connection to the peer port has ended");
        },
    }
}

/// Why a question has no answer.
enum Refused {
    /// What it says cannot be read.
    Frame(FrameError),
    /// What it asks for cannot be read here.
    Store(ReadError),
    Status(StatusCode),
}

impl From<FrameError> for Refused {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<ReadError> for Refused {
    fn from(error: ReadError) -> Self {
        Self::Store(error)
    }
}

async fn answer(context: Arc<Context>, caller: Arc<Caller>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let question = head.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let horizon = head.headers.get(horizon::HEADER).and_then(|value| value.to_str().ok());
    let common = horizon::common(&context, horizon);
    let answered = match (question, caller.0.get()) {
        ("hello", None) => hello(&context, &caller, body).await,
        ("hello", Some(_)) => Err(Refused::Status(StatusCode::CONFLICT)),
        (_, None) => Err(Refused::Status(StatusCode::FORBIDDEN)),
        ("feed" | "refs" | "fetch" | "differ" | "promise", Some(_)) if common.is_none() => {
            Err(Refused::Status(StatusCode::PRECONDITION_FAILED))
        }
        ("feed", Some((peer, _, version))) => follow(context, common, (*peer, *version), body).await,
        ("swim", Some((peer, ..))) => swim(&context, *peer, body).await,
        ("roster", Some(_)) => roster(&context, body).await,
        ("refs", Some(_)) => within(&context, common, refs(&context, body)).await,
        ("token", Some(_)) => token(&context, body).await,
        ("fetch", Some((peer, ..))) => fetch(&context, *peer, body).await,
        ("horizon", Some((peer, ..))) => standing(&context, *peer, body).await,
        ("held", Some(_)) => held(&context, body).await,
        ("promise", Some((peer, ..))) => promise(&context, *peer, body).await,
        ("differ", Some(_)) => within(&context, common, differ(&context, body)).await,
        _ => Err(Refused::Status(StatusCode::NOT_FOUND)),
    };
    match answered {
        Ok(body) => Response::new(body),
        Err(refused) => {
            let status = match refused {
                Refused::Status(status) => status,
                Refused::Frame(error) => {
                    tracing::warn!(question, %error, "a caller of the peer port cannot be understood");
                    StatusCode::BAD_REQUEST
                }
                Refused::Store(error) => {
                    tracing::error!(question, %error, "a peer's question cannot be answered");
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            let mut response = Response::new(whole(Vec::new()));
            *response.status_mut() = status;
            response
        }
    }
}

/// An answer for a peer of a horizon, unless this node has left it meanwhile.
async fn within(
    context: &Context,
    horizon: Option<Horizon>,
    answer: impl Future<Output = Result<Body, Refused>>,
) -> Result<Body, Refused> {
    let body = answer.await?;
    if context.projections.horizon() == horizon {
        Ok(body)
    } else {
        Err(Refused::Status(StatusCode::PRECONDITION_FAILED))
    }
}

/// The one frame of a question.
async fn frame_of(body: Incoming) -> Result<Vec<u8>, Refused> {
    let collected = Limited::new(body, FRAME_BYTES_MAX + 4).collect().await;
    let bytes = collected.map_err(|_| Refused::Status(StatusCode::BAD_REQUEST))?.to_bytes();
    Ok(Frames::only(&bytes)?.to_vec())
}

async fn hello(context: &Context, caller: &Caller, body: Incoming) -> Result<Body, Refused> {
    let hello = decode_hello(&frame_of(body).await?)?;
    let welcome = match context.admit(&hello).await {
        Err(refusal) => {
            if refusal == Refusal::Yourself {
                tracing::debug!("this node has called itself");
            } else {
                context.counters.callers_refused.add(1);
                let (peer, address) = (hello.member.node, &hello.member.peer);
                tracing::warn!(%peer, address, "a caller was turned away: {}", ToldOfIt(&refusal));
            }
            Welcome::Refused(refusal)
        }
        Ok(version) => {
            let (node, generation) = (hello.member.node, hello.member.generation);
            // Whoever says hello twice at once is served as who it was first.
            let _ = caller.0.set((node, generation, version));
            let met = Input::Met { node, generation };
            context.met(hello);
            // Where the membership has its hands full it meets the peer by what others say.
            let _ = context.membership.try_send(met);
            context.roster.change(node, |_| {});
            Welcome::Welcome { version, hello: Box::new(context.hello()) }
        }
    };
    Ok(whole(encode_welcome(&welcome)))
}

/// Tells a peer of this horizon what is accepted here, until this node leaves it.
async fn follow(
    context: Arc<Context>,
    horizon: Option<Horizon>,
    (peer, version): (NodeId, u16),
    body: Incoming,
) -> Result<Body, Refused> {
    let mut reader = FrameReader::new(body);
    let frame = match timeout(GREETING_TIME_MAX, reader.next()).await {
        Ok(Ok(Some(frame))) => frame,
        Ok(Err(LinkError::Frame(error))) => return Err(error.into()),
        _ => return Err(Refused::Status(StatusCode::BAD_REQUEST)),
    };
    let follow = decode_follow(&frame)?;
    let (sender, body) = streamed();
    let mut cut = context.cut.subscribe();
    let mut horizons = context.projections.watch_horizon();
    tokio::spawn(async move {
        let left = async {
            // The store outlives this.
            drop(horizons.wait_for(|now| *now != horizon).await);
        };
        let ended = tokio::select! {
            biased;
            () = left => Ok(()),
            () = is_set(&mut cut) => Ok(()),
            ended = feed::tell(&context, peer, version, follow, reader, sender) => ended,
        };
        tracing::debug!(%peer, ended = ?ended.err(), "a follower of the feed has gone");
    });
    Ok(body)
}

async fn standing(context: &Context, peer: NodeId, body: Incoming) -> Result<Body, Refused> {
    let theirs = decode_standing(&frame_of(body).await?)?;
    Ok(whole(horizon::answer(context, peer, theirs).await?))
}

/// Whoever starts afresh asks, and is of another horizon: it takes nothing from the answer.
async fn held(context: &Context, body: Incoming) -> Result<Body, Refused> {
    let keys = decode_ask_held(&frame_of(body).await?)?;
    Ok(whole(encode_held(&context.projections.held(&keys).await?)))
}

async fn promise(context: &Context, peer: NodeId, body: Incoming) -> Result<Body, Refused> {
    let until = decode_ask_promise(&frame_of(body).await?)?;
    Ok(whole(encode_promise(retention::promise(context, peer, until).await)))
}

async fn roster(context: &Context, body: Incoming) -> Result<Body, Refused> {
    let entries = decode_roster(&frame_of(body).await?)?;
    context.take_roster(entries);
    Ok(whole(encode_roster(&context.roster.entries())))
}

async fn refs(context: &Context, body: Incoming) -> Result<Body, Refused> {
    let ask = decode_ask_refs(&frame_of(body).await?)?;
    Ok(whole(repair::answer(context, ask).await?))
}

async fn token(context: &Context, body: Incoming) -> Result<Body, Refused> {
    let (tenant, artifact) = decode_ask_token(&frame_of(body).await?)?;
    let cursor = context.projections.cursor(&tenant, &artifact).await?;
    Ok(whole(encode_token(cursor.as_ref().map(|cursor| &*cursor.text))))
}

async fn differ(context: &Context, body: Incoming) -> Result<Body, Refused> {
    let question = decode_question(&frame_of(body).await?)?;
    let answer = anti_entropy::answer(context, question).await?;
    answer.map(whole).ok_or(Refused::Status(StatusCode::SERVICE_UNAVAILABLE))
}

/// Fetches all that the caller has: it is about to leave.
async fn fetch(context: &Context, peer: NodeId, body: Incoming) -> Result<Body, Refused> {
    let theirs = decode_fingerprint(&frame_of(body).await?)?;
    let unavailable = Refused::Status(StatusCode::SERVICE_UNAVAILABLE);
    let leaves_too = || {
        let leaves_too = *context.leaving.borrow() || context.has_left.load(Ordering::Relaxed);
        if leaves_too {
            tracing::info!(%peer, "does not take over what a member has that leaves: this one leaves too");
        }
        leaves_too
    };
    if leaves_too() {
        return Err(unavailable);
    }
    let Some(link) = context.roster.peer(peer, |peer| peer.link.clone()).flatten() else { return Err(unavailable) };
    match anti_entropy::run_with(context, &link, theirs).await {
        // What came while it began to leave may not be among what it handed over itself.
        Ok(_) if leaves_too() => Err(unavailable),
        Ok(run) => {
            tracing::info!(%peer, facts = run.facts, "has all of a member that leaves");
            Ok(whole(Vec::new()))
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "a member that leaves could not be compared with");
            Err(unavailable)
        }
    }
}

async fn swim(context: &Context, peer: NodeId, body: Incoming) -> Result<Body, Refused> {
    let datagrams = decode_datagrams(&frame_of(body).await?)?;
    let (reply, answer) = oneshot::channel();
    let input = Input::Came(datagrams, Some((peer, reply)));
    let overloaded = |_| Refused::Status(StatusCode::SERVICE_UNAVAILABLE);
    context.membership.try_send(input).map_err(overloaded)?;
    let datagrams = answer.await.map_err(|_| Refused::Status(StatusCode::SERVICE_UNAVAILABLE))?;
    Ok(whole(encode_datagrams(&datagrams)))
}
