//! Telling this node's feed to a follower.
//!
//! Nothing is queued for a follower: the log is the queue, and the follower's place in it is all there is of it in memory.
//! A page is read when HTTP/2 has room for it, so a slow follower reads old pages late and costs nothing else.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::Sender;
use plimsoll_domain::id::NodeId;
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::Fingerprint;
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_store::feed::Position;
use plimsoll_wire::peer::v1::{
    Downstream, Echo, Follow, Page, Pulse, Recent, Relayed, Wanted, decode_upstream, encode_downstream,
};
use tokio::time::{Instant, sleep_until};

use crate::context::Context;
use crate::link::{FrameReader, LinkError};
use crate::plan::is_wanted;
use crate::roster::Taken;

/// A page has about so many bytes at most: it is read and compressed at a stretch, on a thread that serves clients too.
const PAGE_BYTES_MAX: usize = 32 << 10;

/// The first signs of life follow each other fast, so that clocks are compared soon; then each time later, up to the usual.
const PULSE_FIRST: Duration = Duration::from_millis(50);

/// Tells the feed until either side ends it.
pub(crate) async fn tell(
    context: &Context,
    follower: NodeId,
    version: u16,
    follow: Follow,
    reader: FrameReader,
    sender: Sender<Bytes>,
) -> Result<(), LinkError> {
    let _following = Following::begin(context, follower);
    let heard = Mutex::new(None);
    let teller = Teller::new(context, follower, version, follow, sender, &heard);
    tokio::select! {
        biased;
        ended = listen(context, follower, reader, &heard) => ended,
        told = teller.tell() => told,
    }
}

/// Notes that a peer follows, until it is dropped.
struct Following<'a> {
    context: &'a Context,
    follower: NodeId,
}

impl<'a> Following<'a> {
    fn begin(context: &'a Context, follower: NodeId) -> Self {
        context.roster.note(follower, |peer| peer.followings += 1);
        Self { context, follower }
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.context.roster.note(self.follower, |peer| peer.followings = peer.followings.saturating_sub(1));
    }
}

/// Takes note of how far the follower is.
async fn listen(
    context: &Context,
    follower: NodeId,
    mut reader: FrameReader,
    heard: &Mutex<Option<Echo>>,
) -> Result<(), LinkError> {
    while let Some(frame) = reader.next().await? {
        let upstream = decode_upstream(&frame)?;
        let received = context.now();
        *heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Echo { sent: upstream.clock, received });
        context.roster.note(follower, |peer| peer.last_seen = received);
        // More than there is cannot have arrived, whatever it says.
        let sequence = upstream.sequence.min(context.projections.position().sequence);
        context.roster.acknowledge(follower, sequence);
    }
    Ok(())
}

struct Teller<'a> {
    context: &'a Context,
    follower: NodeId,
    version: u16,
    wanted: Wanted,
    /// Where it was asked to begin.
    asked: Position,
    sender: Sender<Bytes>,
    heard: &'a Mutex<Option<Echo>>,
    recent: Recent,
    /// The facts of this node, as last told.
    facts: Option<Fingerprint>,
    /// What is passed on once the feed is told up to the sequence beside it.
    relayed: Option<(u64, Vec<Noted>)>,
}

/// How far this node had come with another when that was noted.
struct Noted {
    node: NodeId,
    taken: Taken,
    as_of: u64,
    wall_ahead: i64,
}

impl<'a> Teller<'a> {
    fn new(
        context: &'a Context,
        follower: NodeId,
        version: u16,
        follow: Follow,
        sender: Sender<Bytes>,
        heard: &'a Mutex<Option<Echo>>,
    ) -> Self {
        let here = context.projections.position();
        let asked = Position { node: here.node, incarnation: follow.incarnation, sequence: follow.after };
        Self {
            context,
            follower,
            version,
            wanted: follow.wanted,
            asked,
            sender,
            heard,
            recent: Recent::default(),
            facts: None,
            relayed: None,
        }
    }

    async fn tell(mut self) -> Result<(), LinkError> {
        let projections = &self.context.projections;
        let mut progress = projections.watch_progress();
        let mut at = self.begin().await?;
        let mut interval = PULSE_FIRST.min(self.context.pulse);
        let mut due = Instant::now();
        loop {
            let clock = self.context.now();
            let durable = progress.borrow_and_update().durable;
            if self.wanted == Wanted::Own && !self.context.projections.may_have_own_after(at.sequence) {
                at.sequence = at.sequence.max(durable);
            }
            if Instant::now() >= due {
                self.pulse(at, durable, clock).await?;
                interval = (interval * 2).min(self.context.pulse);
                due = Instant::now() + interval;
            }
            if at.sequence < durable {
                at = self.page(at).await?;
                continue;
            }
            tokio::select! {
                biased;
                changed = progress.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(due) => {}
            }
        }
    }

    /// Tells where the feed begins: where it was asked to, or from its first fact, if that place is not known.
    async fn begin(&mut self) -> Result<Position, LinkError> {
        let here = self.context.projections.position();
        let at = if self.context.projections.knows(self.asked) { self.asked } else { Position { sequence: 0, ..here } };
        let at = if self.wanted == Wanted::Own && planted::has(Bug::RelayLoses) { here } else { at };
        // What it said it had before may be gone: an older state of its data directory may have been put back.
        self.context.roster.note(self.follower, |peer| peer.acknowledged = at.sequence);
        self.send(&Downstream::Begins { incarnation: at.incarnation, after: at.sequence }).await?;
        Ok(at)
    }

    /// Tells the next page, if there is anything on it that is wanted. Returns where it ends.
    async fn page(&mut self, at: Position) -> Result<Position, LinkError> {
        let clock = self.context.now();
        let durable = self.context.projections.position().sequence;
        let (wanted, node) = (&self.wanted, at.node);
        let is_wanted = |first: Timestamp, last: Timestamp| is_wanted(wanted, node, [first.node, last.node]);
        let page = match self.context.projections.facts(at, PAGE_BYTES_MAX, is_wanted).await {
            Ok(Some(page)) => page,
            Ok(None) => return Err(LinkError::Unexpected("a place in the feed that is not known any more")),
            Err(error) => {
                tracing::error!(%error, "the feed cannot be read");
                return Err(LinkError::Ended);
            }
        };
        let reached = Position { sequence: page.up_to, ..at };
        if !page.facts.is_empty() {
            self.context.counters.facts_sent.add(page.facts.len());
            let clock = if page.up_to >= durable { clock } else { 0 };
            // Read after the facts: who waits has said so before it wrote.
            let awaited = self.context.awaited.load(Ordering::SeqCst) > 0;
            let page = Page { after: at.sequence, up_to: page.up_to, clock, awaited, facts: page.facts };
            self.send(&Downstream::Page(page)).await?;
        }
        Ok(reached)
    }

    /// `clock` was read before `durable` was.
    async fn pulse(&mut self, at: Position, durable: u64, clock: u64) -> Result<(), LinkError> {
        let fingerprint = self.context.projections.fingerprint().ok();
        let changed = fingerprint.filter(|fingerprint| self.facts != Some(*fingerprint));
        self.facts = fingerprint.or(self.facts);
        let pulse = Pulse {
            told: at.sequence,
            durable: durable.max(at.sequence),
            clock,
            echo: self.heard.lock().unwrap_or_else(PoisonError::into_inner).take(),
            facts: changed.map(|fingerprint| (fingerprint.count, fingerprint.sum)),
            ready: *self.context.ready.borrow(),
            relayed: self.relayed(at),
        };
        self.send(&Downstream::Pulse(pulse)).await
    }

    /// What this node has of those its neighbours do not follow. It is passed on once everything it rests on has been told:
    /// what is here of others now stands in this node's feed up to now.
    fn relayed(&mut self, at: Position) -> Vec<Relayed> {
        let Wanted::AllBut(left_out) = &self.wanted else { return Vec::new() };
        let told = self.relayed.take_if(|(sequence, _)| *sequence <= at.sequence).map(|(_, relayed)| relayed);
        if self.relayed.is_none() {
            let taken = self.context.roster.view(|peers| {
                let known = peers.values().filter(|peer| peer.as_of > 0 && !left_out.contains(&peer.entry.member.node));
                let noted = known.map(|peer| Noted {
                    node: peer.entry.member.node,
                    taken: peer.taken,
                    as_of: peer.as_of,
                    wall_ahead: peer.noted_wall_ahead,
                });
                noted.collect()
            });
            self.relayed = Some((self.context.projections.position().sequence, taken));
        }
        // By the clock on the wall, as it shows now: that is the one the follower compares with its own. Read before the ages are.
        let now = self.context.now();
        let relayed = |noted: Noted| Relayed {
            node: noted.node,
            incarnation: noted.taken.incarnation,
            sequence: noted.taken.sequence,
            clock: now.saturating_sub(self.context.age(noted.as_of, noted.wall_ahead)),
        };
        told.unwrap_or_default().into_iter().map(relayed).collect()
    }

    async fn send(&mut self, frame: &Downstream) -> Result<(), LinkError> {
        let bytes = encode_downstream(self.version, &mut self.recent, frame);
        self.context.counters.bytes_sent.add(bytes.len());
        self.sender.send_data(Bytes::from(bytes)).await.map_err(|_| LinkError::Ended)
    }
}
