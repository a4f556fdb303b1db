//! Agreeing on what to forget: the member with the smallest id among those that are there asks all others, now and then,
//! whether they have what it has from up to some time ago. If all do, they forget what was retired by then.
//!
//! Nobody is elected. A member that has promised keeps its word to whom it gave it for as long as that one may still decide,
//! and gives none to another meanwhile; so of two that ask at once one at most comes to a decision. A member that is not
//! there is waited for, until it has been away for longer than the retention.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{join, join_all};
use plimsoll_domain::id::NodeId;
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::Horizon;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::error::ReadError;
use plimsoll_store::forgetting::ForgetError;
use plimsoll_wire::peer::v1::{decode_absences, decode_promise, encode_absences, encode_ask_promise};
use plimsoll_wire::peer::{FORGETS, Frames};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::absence::{Absences, is_majority};
use crate::context::{Context, Word};
use crate::horizon::{exchange, settle};
use crate::link::{Link, LinkError};
use crate::roster::Liveness;

/// The note of how long members have been away.
const NOTE: &str = "absences";

/// The retention is looked after so many times within it; and it is not looked at more often, or more seldom, than this.
const LOOKS: u32 = 10_000;
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(60);

/// What was retired may be kept for so much longer than the retention: then the next is agreed on.
const ROUNDS: u32 = 8;

/// A round that came to nothing is tried again after this part of the time between two.
const RETRIES: u32 = 8;

/// How long a round may take, in which each member reads its log once; or a part of the retention, where that is less.
const ROUND_TIME_MAX: Duration = Duration::from_secs(300);
const ROUND_PART: u32 = 4;

/// A word holds for so many times of a round. After a round that failed there is as much time in which it does not.
const WORD_ROUNDS: u32 = 2;

/// In a round the members are asked so often at most, with so much time in between.
const ASKED_MAX: u32 = 4;
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// Why the members have not agreed.
#[derive(Debug, Error)]
pub(crate) enum Disagreement {
    #[error("a member cannot be asked: {0} is not connected")]
    Unconnected(NodeId),
    #[error("a member cannot be asked: the software of {0} is too old to know of forgetting")]
    TooOld(NodeId),
    #[error("too few of the members are there")]
    NoMajority,
    #[error("a member did not answer: {0}: {1}")]
    Silent(NodeId, #[source] LinkError),
    #[error("a member does not have the same facts yet: {0}")]
    Different(NodeId),
    #[error("a member does not promise now: {0}; its log says why")]
    Refused(NodeId),
    #[error("this node has promised to another")]
    Promised,
    #[error("a member is ahead of this node: others have agreed, or it has forgotten something by itself")]
    Overtaken,
    #[error("members came or went meanwhile")]
    OtherMembers,
    #[error("it took longer than {} s", .0.as_secs_f32())]
    Late(Duration),
    #[error(transparent)]
    Here(#[from] ForgetError),
}

/// When to ask, and who is waited for.
pub(crate) struct Rounds {
    absences: Absences,
    looked: Instant,
    look: Duration,
    next: Instant,
    /// Why the last round came to nothing. It is told once.
    reason: Option<String>,
}

impl Rounds {
    pub(crate) fn new(context: &Context) -> Self {
        let look = (context.retention / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
        Self { absences: kept(context), looked: Instant::now(), look, next: Instant::now(), reason: None }
    }

    /// When it is time to look again.
    pub(crate) fn next_look(&self) -> Instant {
        self.looked + self.look
    }

    /// Notes who is there; and asks all members, where it is time and this node is the one to ask.
    pub(crate) async fn look(&mut self, context: &Context) {
        if Instant::now() < self.next_look() {
            return;
        }
        // A process that was stopped did not see who was there.
        let passed = self.looked.elapsed().min(2 * self.look);
        self.looked = Instant::now();
        observe(context, &mut self.absences, passed).await;
        if Instant::now() < self.next || !is_due(context) || !is_first(context) {
            return;
        }
        self.next = Instant::now() + context.retention / ROUNDS;
        let outcome = round(context, &self.absences).await;
        if !matches!(outcome, Ok(Some(_)) | Err(Disagreement::Promised)) {
            context.take_word_back().await;
        }
        match outcome {
            // Whoever did not hear of it finds out when it asks for facts.
            Ok(_) => self.reason = None,
            Err(disagreement) => {
                self.next = Instant::now() + (context.retention / ROUNDS / RETRIES).max(2 * word_time(context));
                context.counters.rounds_failed.add(1);
                let reason = Some(disagreement.to_string());
                if self.reason != reason {
                    tracing::warn!(reason = %disagreement, "the members have not agreed on what to forget; they are asked again");
                }
                self.reason = reason;
            }
        }
    }
}

fn kept(context: &Context) -> Absences {
    let note = context.projections.note(NOTE).ok().flatten();
    let entries = note.and_then(|note| decode_absences(Frames::only(&note).ok()?).ok());
    Absences::new(entries.unwrap_or_default())
}

/// Notes who is there, and writes it down as it adds up.
async fn observe(context: &Context, absences: &mut Absences, passed: Duration) {
    let others: Vec<(NodeId, bool)> = context.roster.view(|peers| {
        let members = peers.iter().filter(|(_, peer)| !peer.entry.gone);
        members.map(|(node, peer)| (*node, peer.link.is_some() || peer.liveness != Liveness::Down)).collect()
    });
    // So much of an absence may be lost by a restart.
    let step = (context.retention / LOOKS / 10).max(LOOK_MAX).as_nanos();
    let steps =
        |absences: &Absences| absences.entries().map(|(node, away)| (node, away.as_nanos() / step)).collect::<Vec<_>>();
    let before = steps(absences);
    absences.observe(passed, &others);
    if steps(absences) != before {
        let note = encode_absences(&absences.entries().collect());
        if let Err(error) = context.projections.set_note(NOTE, note).await {
            tracing::warn!(%error, "how long members have been away cannot be written down");
        }
    }
}

/// Whether what was retired has been kept for long enough, and this node is one to ask.
fn is_due(context: &Context) -> bool {
    let Some(horizon) = context.projections.horizon() else { return false };
    let kept_for = Duration::from_nanos(context.now().saturating_sub(horizon.until.get()));
    kept_for >= context.retention + context.retention / ROUNDS && is_sound(context)
}

/// Whether this node has a say in what is forgotten.
fn is_sound(context: &Context) -> bool {
    let knows_members = !context.is_alone_so_far.load(Ordering::Relaxed);
    knows_members && *context.ready.borrow() && !*context.behind.borrow() && context.projections.fence().is_none()
}

/// Whether no member that is there has a smaller id.
fn is_first(context: &Context) -> bool {
    let here = context.node();
    context.roster.view(|peers| !peers.iter().any(|(node, peer)| peer.link.is_some() && *node < here))
}

/// The moment up to which what was retired need not be kept.
fn until(context: &Context) -> UnixNanos {
    let kept_for = if planted::has(Bug::TombstoneCollectedEarly) { Duration::ZERO } else { context.retention };
    UnixNanos::new(context.now().saturating_sub(u64::try_from(kept_for.as_nanos()).unwrap_or(u64::MAX)))
}

fn round_time(context: &Context) -> Duration {
    (context.retention / ROUND_PART).min(ROUND_TIME_MAX)
}

/// So long somebody may decide by the word of a member.
fn word_time(context: &Context) -> Duration {
    WORD_ROUNDS * round_time(context)
}

/// Asks all members, decides, tells them, and forgets. `None` where there is nothing to forget.
async fn round(context: &Context, absences: &Absences) -> Result<Option<Horizon>, Disagreement> {
    // A promise that others may have decided by stands as long as somebody is not there to say so.
    let members = members(context, absences)?;
    if !context.gives_word_to(context.node()) {
        return Err(Disagreement::Promised);
    }
    let own = context.projections.promise(until(context), word_time(context)).await?.horizon;
    // A horizon for nothing would make each older backup useless.
    if !context.projections.would_forget(own.until).await? {
        return Ok(None);
    }
    let patience = round_time(context);
    let agreed = tokio::select! {
        biased;
        () = overtaken(context) => return Err(Disagreement::Overtaken),
        agreed = timeout(patience, agree(context, &members, own)) => agreed,
    };
    let horizon = agreed.map_err(|_| Disagreement::Late(patience))??;
    // Who was left out has come back, perhaps with something old.
    let nodes = |members: &[(NodeId, Link)]| members.iter().map(|(node, _)| *node).collect::<BTreeSet<_>>();
    if nodes(&self::members(context, absences)?) != nodes(&members) {
        return Err(Disagreement::OtherMembers);
    }
    context.projections.decide(horizon).await?;
    // That stands now, and if only this node knew of it others could not follow one day.
    let (forgotten, _standings) = join(context.projections.go_on_forgetting(), exchange(context, horizon)).await;
    match forgotten {
        Ok(()) => {
            tracing::info!(until = %horizon.until, "all members agree on what to forget, and it is forgotten here");
        }
        Err(error) => tracing::warn!(%error, "all members agree on what to forget, and it is not forgotten here yet"),
    }
    Ok(Some(horizon))
}

/// Waits until somebody is ahead of this node.
async fn overtaken(context: &Context) {
    let mut heard = context.horizons.subscribe();
    while context.projections.horizon().is_none_or(|own| context.ahead(own).is_none()) {
        // The other end is the context's own, so it does not end.
        drop(heard.changed().await);
    }
}

/// Has the members promise what this node has. Of two tombstones of an artifact the later takes the place of the other, so a
/// member may have been asked after that, and this node before: then they are asked again.
pub(crate) async fn agree(
    context: &Context,
    members: &[(NodeId, Link)],
    mut own: Horizon,
) -> Result<Horizon, Disagreement> {
    for _ in 1..ASKED_MAX {
        match ask(context, members, own).await {
            Err(Disagreement::Different(_)) => {}
            outcome => return outcome,
        }
        sleep(ASK_PAUSE.min(round_time(context) / ASKED_MAX / 2)).await;
        own = context.projections.promise(own.until, word_time(context)).await?.horizon;
    }
    ask(context, members, own).await
}

/// Asks the members to promise what this node has.
async fn ask(context: &Context, members: &[(NodeId, Link)], wanted: Horizon) -> Result<Horizon, Disagreement> {
    let mut own = context.projections.horizon().unwrap_or_default();
    for (node, link) in members {
        own = settle(context, link, *node).await.map_err(|error| Disagreement::Silent(*node, error))?;
    }
    let question = encode_ask_promise(wanted.until);
    let asking = members.iter().map(|(node, link)| {
        let (link, question) = (link.within(own), question.clone());
        async move { (*node, link.ask_for("promise", question, ROUND_TIME_MAX, decode_promise).await) }
    });
    for (node, promised) in join_all(asking).await {
        match promised.map_err(|error| Disagreement::Silent(node, error))? {
            Some(promised) if promised == wanted => {}
            Some(_) => return Err(Disagreement::Different(node)),
            None => return Err(Disagreement::Refused(node)),
        }
    }
    Ok(wanted)
}

/// The members that have to agree, and the connections to them.
fn members(context: &Context, absences: &Absences) -> Result<Vec<(NodeId, Link)>, Disagreement> {
    let all: Vec<(NodeId, Option<Link>, bool)> = context.roster.view(|peers| {
        let members = peers.iter().filter(|(_, peer)| !peer.entry.gone);
        members.map(|(node, peer)| (*node, peer.link.clone(), peer.liveness == Liveness::Down)).collect()
    });
    let mut asked = Vec::new();
    for (node, link, is_down) in &all {
        match link {
            Some(link) if link.version() >= FORGETS => asked.push((*node, link.clone())),
            Some(_) => return Err(Disagreement::TooOld(*node)),
            None if *is_down && absences.is_away_for(*node, context.retention) => {}
            None => return Err(Disagreement::Unconnected(*node)),
        }
    }
    if is_majority(asked.len() + 1, all.len() + 1) { Ok(asked) } else { Err(Disagreement::NoMajority) }
}

/// What this node has from up to a moment, as a promise to a peer; `None` where it gives none.
pub(crate) async fn promise(context: &Context, peer: NodeId, asked: UnixNanos) -> Option<Horizon> {
    // Clocks may be apart by so much, and the retention is no matter of milliseconds.
    let latest = until(context).get().saturating_add(u64::try_from(context.drift_max.as_nanos()).unwrap_or(u64::MAX));
    let refused = |reason: &str| {
        tracing::warn!(%peer, reason, "does not promise to forget what it is asked to");
        None
    };
    if !is_sound(context) {
        return refused("this node is not ready, or takes no writes");
    }
    if asked.get() > latest {
        return refused("this node keeps what was retired for longer: its retention is another");
    }
    if !context.gives_word_to(peer) {
        return refused("this node has given its word to another member");
    }
    match context.projections.promise(asked, word_time(context)).await {
        Ok(promise) => Some(promise.horizon),
        Err(error) => refused(&error.to_string()),
    }
}

impl Context {
    /// Keeps the word that was given before this node was started, as long as it may hold.
    pub(crate) fn keep_word(&self) -> Result<(), ReadError> {
        let left = self.projections.bound_until()?.get().saturating_sub(self.now());
        // A clock that was set back would have it hold for long.
        let until = Instant::now() + Duration::from_nanos(left).min(word_time(self));
        *self.word.lock().unwrap_or_else(PoisonError::into_inner) = Some(Word { to: None, until });
        Ok(())
    }

    /// Whether this node may promise something to a member: it has given its word to nobody else who may still decide by it.
    /// If so, it is given from now on.
    pub(crate) fn gives_word_to(&self, member: NodeId) -> bool {
        let mut given = self.word.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = given.is_some_and(|word| word.to != Some(member) && Instant::now() < word.until);
        if !is_kept {
            *given = Some(Word { to: Some(member), until: Instant::now() + word_time(self) });
        }
        !is_kept
    }

    /// This node asked, and decides nothing by its own word any more.
    async fn take_word_back(&self) {
        let here = self.node();
        let own = self.word.lock().unwrap_or_else(PoisonError::into_inner).take_if(|word| word.to == Some(here));
        if own.is_some()
            && let Err(error) = self.projections.unbind().await
        {
            tracing::warn!(%error, "facts that are older than what was to be forgotten come in later");
        }
    }
}
