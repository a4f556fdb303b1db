//! Following a peer's feed: its pages go to the store, and how far that is goes back.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{MaybeDone, maybe_done};
use http_body_util::channel::Sender;
use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{Fingerprint, Horizon};
use plimsoll_domain::skew::{Offset, RoundTrip};
use plimsoll_store::error::WriteError;
use plimsoll_store::feed::Position;
use plimsoll_store::receiving::Delivery;
use plimsoll_store::writer::Outcome;
use plimsoll_wire::peer::v1::{
    Downstream, Follow, Page, Pulse, Recent, Relayed, Upstream, Wanted, decode_downstream, encode_follow,
    encode_upstream,
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::context::Context;
use crate::horizon::settle;
use crate::link::{FrameReader, Link, LinkError};
use crate::roster::{Peer, Taken, Told};

/// Pages at the writer at a time, and their bytes: what is synced, what is decided, and what waits for that. One more page is let in
/// than fills them.
const PAGES_IN_FLIGHT_MAX: usize = 24;
const BYTES_IN_FLIGHT_MAX: usize = 768 << 10;

/// How long a peer may take to say where its feed begins.
const BEGINNING_TIME_MAX: Duration = Duration::from_secs(5);

/// So many signs of life may be missing before the peer is taken to be gone.
const PULSES_MISSED_MAX: u32 = 3;

/// How often a sign of life is answered once the clocks have been compared a few times, so that they go on being compared.
const ECHO_EVERY: u64 = 8;
const ECHOES_FIRST: u64 = 6;

/// What nobody waits for is acknowledged so long after the last acknowledgement at the earliest. TCP puts its own off for as long
/// (Linux, `TCP_DELACK_MIN`), and so goes with this one.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_millis(40);

/// How long the clocks may take to be compared where a fact is from too far ahead: a few of the first signs of life, over any
/// round trip of this planet.
const COMPARING_TIME_MAX: Duration = Duration::from_secs(2);

/// Why a feed is followed no further.
#[derive(Debug)]
pub(crate) enum Parted {
    /// The conversation failed, or the peer has fallen silent.
    Link(LinkError),
    /// A fact of it cannot be taken over now.
    Store(WriteError),
}

impl From<LinkError> for Parted {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

type Receiving = MaybeDone<Pin<Box<dyn Future<Output = Result<Vec<Outcome>, WriteError>> + Send>>>;

/// Follows a peer's feed until something ends it.
pub(crate) async fn follow(context: &Context, link: &Link, peer: NodeId, wanted: Wanted) -> Parted {
    match timeout(BEGINNING_TIME_MAX, Follower::begin(context, link, peer, wanted)).await {
        Ok(Ok(follower)) => follower.run().await,
        Ok(Err(parted)) => parted,
        Err(_) => Parted::Link(LinkError::Timeout(BEGINNING_TIME_MAX)),
    }
}

struct Follower<'a> {
    context: &'a Context,
    peer: NodeId,
    /// Of this node and of the peer.
    horizon: Horizon,
    sender: Sender<Bytes>,
    reader: FrameReader,
    /// How far the feed has come in.
    at: Position,
    /// What is at the writer, oldest first, with what is true once it is there.
    in_flight: VecDeque<(Receiving, Reached)>,
    recent: Recent,
    pulses: u64,
    /// Everything up to this sequence of the feed is on the disk here.
    taken: u64,
    /// When the peer was last told how far this is.
    acknowledged: Instant,
    /// When it is to be told again, if there is anything to tell.
    acknowledge_at: Option<Instant>,
    /// Whether it is of another region.
    is_far: bool,
}

/// What is true once a page is on the disk.
#[derive(Clone, Copy)]
struct Reached {
    sequence: u64,
    /// The bytes of its facts.
    bytes: usize,
    reading: Reading,
    /// Whether somebody waits to hear of it.
    is_awaited: bool,
}

/// What the peer's clock said when nothing more was to be told, by this node's clocks as they were when that came: they may be
/// set before the page is on the disk.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// By the steady one; 0 if there was more to tell, or the clocks were not compared yet.
    as_of: u64,
    /// How far the one on the wall was ahead of it, or had been when the two nodes' clocks were compared, if that was less: what
    /// was read may have waited through a sleep of the machine.
    wall_ahead: i64,
}

impl<'a> Follower<'a> {
    async fn begin(context: &'a Context, link: &Link, peer: NodeId, wanted: Wanted) -> Result<Self, Parted> {
        let horizon = settle(context, link, peer).await?;
        let stored = context.projections.durable_watermark(peer).await.map_err(|error| Parted::Store(error.into()))?;
        let (incarnation, after) = stored.map_or((0, 0), |stored| (stored.incarnation, stored.sequence));
        let frame = encode_follow(&Follow { incarnation, after, wanted });
        let (sender, reader) = link.within(horizon).converse_after("feed", frame).await?;
        let mut follower = Self {
            context,
            peer,
            horizon,
            sender,
            reader,
            at: Position { node: peer, incarnation, sequence: after },
            in_flight: VecDeque::new(),
            recent: Recent::default(),
            pulses: 0,
            taken: after,
            acknowledged: Instant::now(),
            acknowledge_at: None,
            is_far: context.roster.peer(peer, |peer| peer.entry.member.region != context.roster.here().region)
                == Some(true),
        };
        match follower.next().await? {
            Downstream::Begins { incarnation, after } => {
                follower.at = Position { node: peer, incarnation, sequence: after };
                follower.taken = after;
                context.roster.note(peer, |peer| peer.taken = Taken { incarnation, sequence: after });
                Ok(follower)
            }
            _ => Err(LinkError::Unexpected("a feed that does not say where it begins").into()),
        }
    }

    async fn next(&mut self) -> Result<Downstream, LinkError> {
        let frame = self.reader.next().await?.ok_or(LinkError::Ended)?;
        self.context.counters.bytes_received.add(frame.len());
        Ok(decode_downstream(&mut self.recent, &frame)?)
    }

    async fn run(mut self) -> Parted {
        let parted = self.listen().await;
        // It may be this node's clock that is wrong. Each conversation ends with its first fact then, and writes that never
        // rest would keep the clocks from ever being compared.
        if let Parted::Store(WriteError::FromTheFuture(_)) = parted {
            // Where it fails there will be another conversation.
            drop(timeout(COMPARING_TIME_MAX, self.compare_clocks()).await);
        }
        parted
    }

    async fn listen(&mut self) -> Parted {
        let silence = self.context.pulse * PULSES_MISSED_MAX + Duration::from_secs(1);
        let mut deadline = Instant::now() + silence;
        loop {
            let has_room = self.has_room();
            // What is done makes room for what comes. A peer that never rests keeps no acknowledgement from going out: what is
            // received sends it, once it is due.
            let outcome = tokio::select! {
                biased;
                (outcomes, reached) = received(&mut self.in_flight), if !self.in_flight.is_empty() => {
                    self.received(outcomes, reached).await
                }
                frame = self.reader.next(), if has_room => {
                    deadline = Instant::now() + silence;
                    self.heard(frame).await
                }
                () = due(self.acknowledge_at) => self.acknowledge().await.map_err(Parted::from),
                () = sleep_until(deadline), if has_room => Err(LinkError::Timeout(silence).into()),
            };
            if let Err(parted) = outcome {
                return parted;
            }
        }
    }

    async fn heard(&mut self, frame: Result<Option<Vec<u8>>, LinkError>) -> Result<(), Parted> {
        let frame = frame?.ok_or(LinkError::Ended)?;
        self.context.counters.bytes_received.add(frame.len());
        let now = self.context.now();
        self.context.roster.note(self.peer, |peer| peer.last_seen = now);
        match decode_downstream(&mut self.recent, &frame).map_err(LinkError::from)? {
            Downstream::Page(page) => self.page(&page),
            Downstream::Pulse(pulse) => self.pulse(&pulse).await,
            Downstream::Begins { .. } => Err(LinkError::Unexpected("a feed that begins twice").into()),
        }
    }

    /// Hears nothing but signs of life until one of them has compared the clocks: the facts will be told again.
    async fn compare_clocks(&mut self) -> Result<(), LinkError> {
        loop {
            if let Downstream::Pulse(pulse) = self.next().await? {
                if self.compared(&pulse, self.context.steady()) {
                    return Ok(());
                }
                self.acknowledge().await?;
            }
        }
    }

    /// Takes the reading of the two clocks that a sign of life completes, if it does. Returns whether it did.
    fn compared(&self, pulse: &Pulse, returned: u64) -> bool {
        let trip = pulse.echo.and_then(|echo| {
            RoundTrip { sent: echo.sent, received: echo.received, answered: pulse.clock, returned }.offset()
        });
        let wall_ahead = self.context.wall_ahead();
        self.context.roster.note(self.peer, |peer| {
            if let Some(offset) = trip {
                peer.clock.add(offset);
                peer.compared_wall_ahead = wall_ahead;
            }
        });
        trip.is_some()
    }

    /// Sends a page to the writer.
    fn page(&mut self, page: &Page) -> Result<(), Parted> {
        if page.after < self.at.sequence {
            return Err(LinkError::Unexpected("a page from before where the feed is").into());
        }
        let facts = page.facts.as_slice();
        self.context.counters.facts_received.add(facts.len());
        if self.is_far {
            self.context.counters.facts_from_afar.add(facts.len());
        }
        let delivery = Delivery::read(self.at, self.horizon, facts, page.up_to)
            .map_err(|_| LinkError::Unexpected("a fact that breaks a rule, or is of another version"))?;
        self.at.sequence = page.up_to;
        let reached = Reached {
            sequence: page.up_to,
            bytes: facts.iter().map(|(_, fact)| fact.len()).sum(),
            reading: self.reading(page.clock),
            is_awaited: page.awaited,
        };
        self.receive(delivery, reached);
        Ok(())
    }

    fn receive(&mut self, delivery: Delivery, reached: Reached) {
        let projections = self.context.projections.clone();
        let receiving: Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { projections.receive(delivery).await });
        self.in_flight.push_back((maybe_done(receiving), reached));
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.in_flight.iter().map(|(_, reached)| reached.bytes).sum();
        self.in_flight.len() < PAGES_IN_FLIGHT_MAX && bytes < BYTES_IN_FLIGHT_MAX
    }

    /// What is on the disk now.
    async fn received(&mut self, outcomes: Result<Vec<Outcome>, WriteError>, reached: Reached) -> Result<(), Parted> {
        if let Some(refused) = outcomes.map_err(Parted::Store)?.into_iter().find_map(Result::err) {
            self.context.counters.facts_refused.add(1);
            return Err(Parted::Store(refused));
        }
        self.taken = self.taken.max(reached.sequence);
        self.context.roster.note(self.peer, |peer| {
            peer.taken.sequence = peer.taken.sequence.max(reached.sequence);
            peer.trouble = None;
            peer.raise_as_of(reached.reading.as_of, reached.reading.wall_ahead);
        });
        let at = self.acknowledged + ACKNOWLEDGE_EVERY;
        if reached.is_awaited || at <= Instant::now() {
            return Ok(self.acknowledge().await?);
        }
        self.acknowledge_at = Some(at);
        Ok(())
    }

    /// What the peer's clock said, read now.
    fn reading(&self, clock: u64) -> Reading {
        let (now, wall_ahead) = (self.context.steady(), self.context.wall_ahead());
        let read = |peer: &Peer| Reading {
            as_of: peer.to_steady_clock(clock, now),
            wall_ahead: wall_ahead.min(peer.compared_wall_ahead),
        };
        self.context.roster.peer(self.peer, read).unwrap_or_default()
    }

    /// Tells the peer how far this is.
    async fn acknowledge(&mut self) -> Result<(), LinkError> {
        (self.acknowledged, self.acknowledge_at) = (Instant::now(), None);
        // The reading comes back in an echo, and is compared with nothing else.
        let frame = encode_upstream(&Upstream { sequence: self.taken, clock: self.context.steady() });
        self.context.counters.bytes_sent.add(frame.len());
        self.sender.send_data(Bytes::from(frame)).await.map_err(|_| LinkError::Ended)
    }

    async fn pulse(&mut self, pulse: &Pulse) -> Result<(), Parted> {
        let returned = self.context.steady();
        self.compared(pulse, returned);
        self.context.roster.note(self.peer, |peer| {
            let facts = pulse.facts.map(|(count, sum)| Fingerprint { sum, count });
            let facts = facts.or(peer.told.map(|told| told.facts)).unwrap_or_default();
            peer.told = Some(Told { sequence: pulse.durable, facts, ready: pulse.ready });
        });
        let is_right = self.context.roster.peer(self.peer, |peer| peer.to_steady_clock(pulse.clock, returned) > 0);
        // By a clock that was set since the two were compared nothing can be told of others.
        self.relayed(&pulse.relayed, is_right == Some(true)).await?;
        self.skipped(pulse);
        self.pulses += 1;
        let apart = i128::from(pulse.clock) - i128::from(returned);
        let is_apart = |offset: Offset| {
            let half = self.context.drift_max / 2;
            let beyond = |nanos: i128| nanos.unsigned_abs() > half.as_nanos();
            beyond(offset.nanos.saturating_sub(self.context.wall_ahead()).into())
                || beyond(apart - i128::from(offset.nanos))
        };
        let offset = self.context.roster.peer(self.peer, Peer::offset).unwrap_or_default();
        if self.pulses <= ECHOES_FIRST || self.pulses.is_multiple_of(ECHO_EVERY) || offset.is_some_and(is_apart) {
            self.acknowledge().await?;
        }
        Ok(())
    }

    /// Everything wanted up to where the feed is has come in: what was left out moves the watermark too.
    fn skipped(&mut self, pulse: &Pulse) {
        let clock = if pulse.told == pulse.durable { pulse.clock } else { 0 };
        let reading = self.reading(clock);
        if pulse.told > self.at.sequence {
            let Position { node: peer, incarnation, sequence: after } = self.at;
            self.at.sequence = pulse.told;
            let (horizon, up_to) = (self.horizon, pulse.told);
            let delivery = Delivery { peer, incarnation, after, horizon, facts: Vec::new(), up_to };
            // As seldom as pulses; and a write may wait for what was left out too.
            self.receive(delivery, Reached { sequence: up_to, bytes: 0, reading, is_awaited: true });
        } else if self.in_flight.is_empty() {
            self.context.roster.note(self.peer, |peer| peer.raise_as_of(reading.as_of, reading.wall_ahead));
        }
    }

    /// What the peer has of others is here too, once what came before is: their feeds can be taken up from there.
    async fn relayed(&mut self, relayed: &[Relayed], is_clock_right: bool) -> Result<(), Parted> {
        if relayed.is_empty() {
            return Ok(());
        }
        while !self.in_flight.is_empty() {
            let (outcomes, reached) = received(&mut self.in_flight).await;
            self.received(outcomes, reached).await?;
        }
        let now = self.context.steady();
        let compared = self.context.roster.peer(self.peer, |peer| peer.compared_wall_ahead).unwrap_or_default();
        let wall_ahead = self.context.wall_ahead().min(compared);
        let region = &self.context.roster.here().region;
        // A neighbour's own feed is what tells of it: from others not everything it stamped has come.
        let is_far = |relayed: &&Relayed| {
            self.context.roster.peer(relayed.node, |peer| peer.entry.member.region != *region) == Some(true)
        };
        for Relayed { node, incarnation, sequence, clock } in relayed.iter().filter(is_far).copied() {
            let as_of =
                self.context.roster.peer(self.peer, |peer| peer.to_steady_clock(clock, now)).unwrap_or_default();
            let known = self.context.roster.peer(node, |peer| peer.taken);
            let is_further = known.is_some_and(|taken| taken.incarnation != incarnation || taken.sequence < sequence);
            if is_further {
                let (horizon, facts) = (self.horizon, Vec::new());
                let delivery = Delivery { peer: node, incarnation, after: 0, horizon, facts, up_to: sequence };
                let outcomes = self.context.projections.receive(delivery).await.map_err(Parted::Store)?;
                outcomes.into_iter().collect::<Result<Vec<_>, _>>().map_err(Parted::Store)?;
            }
            self.context.roster.note(node, |peer| {
                if is_further {
                    peer.taken = Taken { incarnation, sequence };
                }
                if is_clock_right {
                    peer.raise_as_of(as_of, wall_ahead);
                }
            });
        }
        Ok(())
    }
}

/// What comes of the oldest page at the writer. May be dropped before it is ready. All are polled, and in order: each goes to the
/// writer when it is polled first, and there they share commits and syncs.
async fn received(in_flight: &mut VecDeque<(Receiving, Reached)>) -> (Result<Vec<Outcome>, WriteError>, Reached) {
    poll_fn(|task| {
        for (receiving, _) in in_flight.iter_mut() {
            let _is_done = Pin::new(receiving).poll(task).is_ready();
        }
        let Some(outcomes) = in_flight.front_mut().and_then(|(receiving, _)| Pin::new(receiving).take_output()) else {
            return Poll::Pending;
        };
        let (_, reached) = in_flight.pop_front().expect("it was there");
        Poll::Ready((outcomes, reached))
    })
    .await
}

/// When it is that time; never, where there is none.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn page(sequence: u64, work: impl Future<Output = ()> + Send + 'static) -> (Receiving, Reached) {
        let receiving: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
            work.await;
            Ok(Vec::new())
        });
        (maybe_done(receiving), Reached { sequence, bytes: 0, reading: Reading::default(), is_awaited: false })
    }

    /// Pages share commits and syncs at the writer, so all of them have to be there; what comes of them is told in order.
    #[tokio::test(start_paused = true)]
    async fn all_pages_are_at_the_writer_at_once() {
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let first = page(1, async { may_go_on.await.expect("the third is there") });
        let third = page(3, async { go_on.send(()).expect("the first waits for it") });
        let mut in_flight = VecDeque::from([first, page(2, async {}), third]);
        for expected in 1..=3 {
            let next = timeout(Duration::from_secs(1), received(&mut in_flight)).await;
            let (outcomes, reached) = next.expect("none waits for one that is not there");
            assert_eq!((outcomes.unwrap().len(), reached.sequence), (0, expected));
        }
    }
}
