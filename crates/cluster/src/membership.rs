//! Who is alive: SWIM (Das, Gupta and Motivala, DSN 2002), by `foca`, over the links there are.
//!
//! What it knows of a node is its id and how often it has come back; addresses and regions are the roster's. A probe is one
//! question on a link, and the answer to it comes back as that question's answer. What it finds decides whom others ask and
//! follow, never what is true.

use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut};
use foca::{
    Codec, Config, Foca, Header, Identity, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer,
};
use plimsoll_domain::id::NodeId;
use plimsoll_wire::peer::v1::{Datagrams, decode_datagrams, encode_datagrams};
use plimsoll_wire::peer::{FrameError, decode_bare, encode_bare};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::context::Context;
use crate::roster::Liveness;

/// How many inputs may wait; more are dropped, as datagrams may be.
pub(crate) const INPUTS_MAX: usize = 256;

/// How often a member is probed, at random. Slow: a broken connection is seen at once, and each probe costs an idle cluster
/// some three hundred bytes.
const PROBE_PERIOD: Duration = Duration::from_secs(10);

/// How long a probe may take before others are asked to try: beyond any round trip of this planet.
const PROBE_TIME_MAX: Duration = Duration::from_millis(1_500);

/// How long a suspect may take to say that it lives.
const SUSPICION: Duration = Duration::from_secs(15);

/// How often members that are down are told that there is a cluster.
const ANNOUNCE_TO_DOWN: Duration = Duration::from_secs(30);

/// The most bytes of a datagram: some hundreds of members' states.
const DATAGRAM_BYTES_MAX: usize = 8 << 10;

/// Boots are this far apart, so that a member may renew itself so often within one.
const RENEWALS_MAX: u64 = 1 << 16;

/// A member as the protocol knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    node: u64,
    generation: u64,
}

impl Identity for Known {
    type Addr = u64;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation + 1, ..*self })
    }

    fn addr(&self) -> u64 {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self.generation > other.generation
    }
}

/// What the membership is told.
pub(crate) enum Input {
    /// A member was met.
    Met { node: NodeId, generation: u64 },
    /// Datagrams came; what goes back to their sender at once is the answer.
    Came(Datagrams, Option<(NodeId, oneshot::Sender<Datagrams>)>),
    /// A time has come.
    Due(Due),
    /// This node leaves.
    Leave,
}

/// A time that has come; only this module looks into it.
pub(crate) struct Due(Timer<Known>);

struct Bodies;

impl Codec<Known> for Bodies {
    type Error = FrameError;

    fn encode_header(&mut self, header: &Header<Known>, mut buffer: impl BufMut) -> Result<(), FrameError> {
        put(&encode_bare(header), &mut buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Known>, FrameError> {
        take(buffer)
    }

    fn encode_member(&mut self, member: &foca::Member<Known>, mut buffer: impl BufMut) -> Result<(), FrameError> {
        put(&encode_bare(member), &mut buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<foca::Member<Known>, FrameError> {
        take(buffer)
    }
}

/// Writes a body, unless the datagram is full.
fn put(body: &[u8], buffer: &mut impl BufMut) -> Result<(), FrameError> {
    if buffer.remaining_mut() < body.len() {
        return Err(FrameError::TooLong { length: body.len() });
    }
    buffer.put_slice(body);
    Ok(())
}

fn take<Body: serde::de::DeserializeOwned>(mut buffer: impl Buf) -> Result<Body, FrameError> {
    let (body, used) = decode_bare(buffer.chunk())?;
    buffer.advance(used);
    Ok(body)
}

/// What the protocol wants done.
#[derive(Default)]
struct Wishes {
    sends: Vec<(Known, Vec<u8>)>,
    timers: Vec<(Timer<Known>, Duration)>,
}

impl Runtime<Known> for Wishes {
    fn notify(&mut self, notification: Notification<'_, Known>) {
        tracing::debug!(?notification, "membership");
    }

    fn send_to(&mut self, to: Known, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Known>, after: Duration) {
        self.timers.push((event, after));
    }
}

fn config() -> Config {
    let often = |frequency, members| {
        Some(PeriodicParams { frequency, num_members: NonZeroUsize::new(members).expect("more than none") })
    };
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_TIME_MAX,
        num_indirect_probes: NonZeroUsize::new(3).expect("more than none"),
        max_transmissions: NonZeroU8::new(6).expect("more than none"),
        suspect_to_down_after: SUSPICION,
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(DATAGRAM_BYTES_MAX).expect("more than none"),
        notify_down_members: true,
        periodic_announce: None,
        periodic_announce_to_down_members: often(ANNOUNCE_TO_DOWN, 1),
        periodic_gossip: None,
    }
}

/// Runs the protocol until its inputs end. `seed` decides whom it probes.
pub(crate) async fn run(context: Arc<Context>, mut inputs: mpsc::Receiver<Input>, seed: u64) {
    let here = context.roster.here();
    let identity = Known { node: here.node.number(), generation: here.generation.saturating_mul(RENEWALS_MAX) };
    let mut protocol = Foca::new(identity, config(), StdRng::seed_from_u64(seed), Bodies);
    while let Some(input) = inputs.recv().await {
        let mut wishes = Wishes::default();
        let mut caller = None;
        let outcome = match input {
            Input::Met { node, generation } => {
                let known = Known { node: node.number(), generation: generation.saturating_mul(RENEWALS_MAX) };
                protocol.announce(known, &mut wishes)
            }
            Input::Came(datagrams, asked) => {
                caller = asked;
                datagrams.iter().try_for_each(|datagram| protocol.handle_data(datagram, &mut wishes))
            }
            Input::Due(Due(timer)) => protocol.handle_timer(timer, &mut wishes),
            Input::Leave => protocol.leave_cluster(&mut wishes),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a datagram of the membership was passed over");
        }
        for (timer, after) in wishes.timers {
            later(&context, timer, after);
        }
        dispatch(&context, wishes.sends, caller);
        note(&context, &protocol);
    }
}

fn later(context: &Arc<Context>, timer: Timer<Known>, after: Duration) {
    let membership = context.membership.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        // The membership may have ended meanwhile.
        let _ = membership.send(Input::Due(Due(timer))).await;
    });
}

/// Sends datagrams: to whoever asked as the answer, to others as a question on the link to them.
fn dispatch(
    context: &Arc<Context>,
    sends: Vec<(Known, Vec<u8>)>,
    caller: Option<(NodeId, oneshot::Sender<Datagrams>)>,
) {
    let asker = caller.as_ref().map(|(node, _)| node.number());
    let (answers, others): (Vec<_>, Vec<_>) = sends.into_iter().partition(|(to, _)| Some(to.node) == asker);
    if let Some((_, reply)) = caller {
        // It may have given up.
        let _ = reply.send(answers.into_iter().map(|(_, datagram)| datagram).collect());
    }
    for (to, datagram) in others {
        let context = Arc::clone(context);
        tokio::spawn(async move { carry(&context, NodeId::new(to.node), datagram).await });
    }
}

async fn carry(context: &Context, to: NodeId, datagram: Vec<u8>) {
    let Some(link) = context.roster.peer(to, |peer| peer.link.clone()).flatten() else { return };
    let frame = encode_datagrams(&vec![datagram]);
    let datagrams = match link.ask_for("swim", frame, PROBE_TIME_MAX, decode_datagrams).await {
        Ok(datagrams) => datagrams,
        Err(error) => return tracing::debug!(peer = %to, %error, "a datagram has no answer"),
    };
    let now = context.now();
    context.roster.note(to, |peer| peer.last_seen = now);
    if !datagrams.is_empty() {
        drop(context.membership.send(Input::Came(datagrams, None)).await);
    }
}

/// Notes in the roster what the protocol thinks.
fn note(context: &Context, protocol: &Foca<Known, Bodies, StdRng, NoCustomBroadcast>) {
    for member in protocol.iter_membership_state() {
        let node = NodeId::new(member.id().node);
        let liveness = match member.state() {
            State::Alive => Liveness::Alive,
            State::Suspect => Liveness::Suspect,
            State::Down => Liveness::Down,
        };
        let before = context.roster.peer(node, |peer| peer.liveness);
        if before.is_some_and(|before| before != liveness) {
            tracing::info!(peer = %node, state = ?liveness, "a member's state has changed");
            context.roster.change(node, |peer| peer.liveness = liveness);
        }
    }
}
