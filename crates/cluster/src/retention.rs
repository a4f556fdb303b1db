//! Agreeing on what to forget: the member with the smallest id among those that are there asks all others, now and then,
//! whether they have what it has from up to some time ago. If all do, they forget what was retired by then.
//!
//! Nobody is elected: two that ask at once ask for two moments, and the members promise what they are asked for last. A member
//! that is not there is waited for, until it has been away for longer than the retention.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Horizon;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::forgetting::ForgetError;
use plimsoll_wire::peer::v1::{decode_absences, decode_promise, encode_absences, encode_ask_promise};
use plimsoll_wire::peer::{FORGETS, Frames};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::absence::{Absences, is_majority};
use crate::context::Context;
use crate::horizon::{settle, standing_of, take_over};
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

/// How long a member may take to read its log once.
const PROMISE_TIME_MAX: Duration = Duration::from_secs(300);

/// Why the members have not agreed.
#[derive(Debug, Error)]
enum Disagreement {
    #[error("a member cannot be asked: {0} is not connected")]
    Unconnected(NodeId),
    #[error("a member cannot be asked: the software of {0} is too old to know of forgetting")]
    TooOld(NodeId),
    #[error("too few of the members are there")]
    NoMajority,
    #[error("a member did not answer: {0}: {1}")]
    Silent(NodeId, #[source] LinkError),
    #[error("a member does not have the same facts yet, or keeps them for longer: {0}")]
    Different(NodeId),
    #[error(transparent)]
    Here(#[from] ForgetError),
}

/// Forgets what may be forgotten, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    while let Err(error) = context.projections.go_on_forgetting().await {
        tracing::error!(%error, "what was agreed to be forgotten cannot be forgotten");
        sleep(LOOK_MAX).await;
    }
    let look = (context.retention / LOOKS).clamp(LOOK_MIN, LOOK_MAX);
    let mut absences = kept(&context);
    let mut looked = Instant::now();
    let mut next = Instant::now();
    loop {
        sleep(look).await;
        // A process that was stopped did not see who was there.
        let passed = looked.elapsed().min(2 * look);
        looked = Instant::now();
        observe(&context, &mut absences, passed).await;
        if Instant::now() < next || !is_due(&context) || !is_first(&context) {
            continue;
        }
        next = Instant::now() + context.retention / ROUNDS;
        match agree(&context, &absences).await {
            Ok(None) => {}
            Ok(Some(horizon)) => forget(&context, horizon).await,
            Err(disagreement) => {
                next = Instant::now() + context.retention / ROUNDS / RETRIES;
                context.counters.rounds_failed.add(1);
                tracing::info!(reason = %disagreement, "the members have not agreed on what to forget; they are asked again");
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
    let is_sound = *context.ready.borrow() && !*context.behind.borrow() && context.projections.fence().is_none();
    is_sound && kept_for >= context.retention + context.retention / ROUNDS
}

/// Whether no member that is there has a smaller id.
fn is_first(context: &Context) -> bool {
    let here = context.node();
    context.roster.view(|peers| !peers.iter().any(|(node, peer)| peer.link.is_some() && *node < here))
}

/// The moment up to which what was retired need not be kept.
fn until(context: &Context) -> UnixNanos {
    UnixNanos::new(context.now().saturating_sub(u64::try_from(context.retention.as_nanos()).unwrap_or(u64::MAX)))
}

/// Asks all members. `None` where there is nothing to forget.
async fn agree(context: &Context, absences: &Absences) -> Result<Option<Horizon>, Disagreement> {
    let members = members(context, absences)?;
    let Some(own) = context.projections.horizon() else { return Ok(None) };
    for (node, link) in &members {
        settle(context, link).await.map_err(|error| Disagreement::Silent(*node, error))?;
    }
    let promise = context.projections.promise(until(context)).await?;
    if promise.tombstones == 0 {
        return Ok(None);
    }
    let question = encode_ask_promise(promise.horizon.until);
    let asking = members.iter().map(|(node, link)| {
        let (link, question) = (link.within(own), question.clone());
        async move { (*node, link.ask_for("promise", question, PROMISE_TIME_MAX, decode_promise).await) }
    });
    for (node, promised) in join_all(asking).await {
        if promised.map_err(|error| Disagreement::Silent(node, error))? != Some(promise.horizon) {
            return Err(Disagreement::Different(node));
        }
    }
    Ok(Some(promise.horizon))
}

/// The members that have to agree, and the connections to them.
fn members(context: &Context, absences: &Absences) -> Result<Vec<(NodeId, Link)>, Disagreement> {
    let all: Vec<(NodeId, Option<Link>)> = context.roster.view(|peers| {
        let members = peers.iter().filter(|(_, peer)| !peer.entry.gone);
        members.map(|(node, peer)| (*node, peer.link.clone())).collect()
    });
    let mut asked = Vec::new();
    for (node, link) in &all {
        match link {
            Some(link) if link.version() >= FORGETS => asked.push((*node, link.clone())),
            Some(_) => return Err(Disagreement::TooOld(*node)),
            None if absences.is_away_for(*node, context.retention) => {}
            None => return Err(Disagreement::Unconnected(*node)),
        }
    }
    if is_majority(asked.len() + 1, all.len() + 1) { Ok(asked) } else { Err(Disagreement::NoMajority) }
}

/// Forgets, and tells the others that it is agreed.
async fn forget(context: &Context, horizon: Horizon) {
    take_over(context, horizon).await;
    let links: Vec<Link> = context.roster.view(|peers| peers.values().filter_map(|peer| peer.link.clone()).collect());
    // Whoever does not hear it finds out when it asks for facts.
    drop(join_all(links.iter().map(|link| standing_of(link, horizon))).await);
}

/// What this node has from up to a moment, as a promise; `None` where it keeps what was retired by then.
pub(crate) async fn promise(context: &Context, asked: UnixNanos) -> Option<Horizon> {
    let is_sound = *context.ready.borrow() && !*context.behind.borrow() && context.projections.fence().is_none();
    // Clocks may be apart by so much, and the retention is no matter of milliseconds.
    let latest = until(context).get().saturating_add(u64::try_from(context.drift_max.as_nanos()).unwrap_or(u64::MAX));
    if !is_sound || asked.get() > latest {
        return None;
    }
    match context.projections.promise(asked).await {
        Ok(promise) => Some(promise.horizon),
        Err(error) => {
            tracing::error!(%error, "what this node has cannot be promised");
            None
        }
    }
}
