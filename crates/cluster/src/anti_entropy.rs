//! Anti-entropy: what no feed brings is found by comparing fingerprints.
//!
//! The rules are `domain`'s, in [`reconcile`]; here they are run with one peer at a time. In its signs of life a peer tells
//! the digest of all its facts, so replicas that are equal know it for nothing. Where two differ though each has what the
//! other's feed told it, one asks where; and now and then also while writes keep them from ever being still.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Fingerprint;
use plimsoll_domain::projection::reconcile::{self, Answer, Question, Range, Reconciliation};
use plimsoll_store::error::{ReadError, WriteError};
use plimsoll_wire::peer::v1::{ANSWER_BYTES_MAX, decode_answer, encode_answer, encode_question};
use plimsoll_wire::record::v1::StoredFact;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::link::{Link, LinkError};

/// How often a node looks whether a peer differs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A peer that differs and is not still is asked so often all the same.
const UNSTILL_INTERVAL: Duration = Duration::from_secs(60);

/// While either is catching up, most of what one lacks is on its way, and to find it would cost both a look at each fact: it is asked
/// all the same where nothing has moved for so many of the longest times between signs of life, as where a fact that cannot be taken
/// holds up those behind it; and so often in any case.
const STUCK_PULSES: u32 = 3;
const CATCHING_UP_INTERVAL: Duration = Duration::from_secs(600);

/// One peer is asked no more often than this, however still it is: what it has may be what cannot be taken now.
const REST: Duration = Duration::from_secs(5);

/// How long a peer may take to answer one question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A run failed; the next begins anew, and what was fetched is here.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{0}")]
    Malformed(#[from] reconcile::Malformed),
    #[error("the facts here are still being counted")]
    Counting,
    #[error("facts are being forgotten here")]
    Forgetting,
    #[error("there is more than one run may fetch")]
    TooMany,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) questions: u32,
    pub(crate) facts: u64,
}

/// Fetches from a peer all that it has and this node has not: then it is on the disk here.
pub(crate) async fn run_with(context: &Context, link: &Link, theirs: Fingerprint) -> Result<Run, RunError> {
    let horizon = context.projections.horizon().ok_or(RunError::Forgetting)?;
    let link = link.within(horizon);
    let own = context.projections.summary().ok_or(RunError::Counting)?;
    let mut reconciliation = Reconciliation::start(own.root(), theirs);
    let mut run = Run::default();
    while let Some(question) = reconciliation.next(&own)? {
        let facts = reconciliation.take(ask(&link, &question).await?, &own)?;
        run.questions += 1;
        context.counters.repair_questions.add(1);
        if !facts.is_empty() {
            run.facts += facts.len() as u64;
            context.counters.repair_facts.add(facts.len());
            let facts = facts.into_iter().map(|(tenant, fact)| StoredFact { tenant, fact });
            let outcomes = context.projections.absorb(horizon, facts.collect()).await?;
            // A fact from too far ahead stays where it is, and is found again; on a full disk no fact is taken.
            if let Some(refused) = outcomes.into_iter().find_map(Result::err) {
                context.counters.facts_refused.add(1);
                return Err(refused.into());
            }
        }
    }
    if run.questions >= reconcile::QUESTIONS_MAX {
        return Err(RunError::TooMany);
    }
    // What was here already was counted before it was synced.
    context.projections.synced().await?;
    Ok(run)
}

async fn ask(link: &Link, question: &Question) -> Result<Answer, LinkError> {
    link.ask_for("differ", encode_question(question), ANSWER_TIME_MAX, decode_answer).await
}

/// Answers a peer's question; `None` while the facts here are still being counted.
pub(crate) async fn answer(context: &Context, question: Question) -> Result<Option<Vec<u8>>, ReadError> {
    let answer = match question {
        Question::Compare(ranges) => {
            let Some(own) = context.projections.summary() else { return Ok(None) };
            reconcile::compare(&ranges, &own).expect("the question was checked: it names no leaf")
        }
        Question::Facts { ranges, after, have } => {
            let page = context.projections.facts_in(&ranges, after, &have, ANSWER_BYTES_MAX).await?;
            let facts = page.items.into_iter().map(|StoredFact { tenant, fact }| (tenant, fact));
            Answer::Facts { facts: facts.collect(), next: page.next }
        }
    };
    Ok(Some(encode_answer(&answer)))
}

/// What was seen of a peer when it was looked at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    theirs: Fingerprint,
    own: Fingerprint,
}

/// A peer that differs.
struct Differing {
    node: NodeId,
    link: Link,
    seen: Seen,
    /// Whether each has what the other's feed told.
    is_still: bool,
    /// Whether either is catching up.
    is_catching_up: bool,
}

/// What differs is compared so often at least, however it changes.
const fn interval(is_catching_up: bool) -> Duration {
    if is_catching_up { CATCHING_UP_INTERVAL } else { UNSTILL_INTERVAL }
}

/// Looks for peers that differ, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut before: BTreeMap<NodeId, (Seen, Instant)> = BTreeMap::new();
    let mut asked = Instant::now();
    let mut strangers_asked = Instant::now();
    let mut latest = None;
    let mut rested: BTreeMap<NodeId, Instant> = BTreeMap::new();
    loop {
        sleep(LOOK_INTERVAL).await;
        let Ok(own) = context.projections.fingerprint() else { continue };
        let differing = differing(&context, own);
        let since =
            |peer: &Differing| before.get(&peer.node).filter(|(seen, _)| *seen == peer.seen).map(|(_, since)| *since);
        let is_due = |peer: &&Differing| {
            let is_rested = rested.get(&peer.node).is_none_or(|asked: &Instant| asked.elapsed() >= REST);
            let unchanged = since(peer).map(|since| since.elapsed());
            let is_still = if peer.is_catching_up {
                unchanged.is_some_and(|time| time >= STUCK_PULSES * context.pulse)
            } else {
                peer.is_still && unchanged.is_some()
            };
            (is_still && is_rested) || asked.elapsed() >= interval(peer.is_catching_up)
        };
        // One after another: what only the last of them has is fetched too.
        let chosen = differing.iter().filter(|peer| Some(peer.node) > latest).find(is_due);
        if let Some(peer) = chosen.or_else(|| differing.iter().find(is_due)) {
            asked = Instant::now();
            latest = Some(peer.node);
            rested.insert(peer.node, Instant::now());
            repair(&context, &peer.link, (peer.node, peer.seen.theirs)).await;
        }
        if strangers_asked.elapsed() >= interval(!*context.ready.borrow()) {
            strangers_asked = Instant::now();
            compare_unfollowed(&context, own).await;
        }
        before =
            differing.iter().map(|peer| (peer.node, (peer.seen, since(peer).unwrap_or_else(Instant::now)))).collect();
    }
}

fn differing(context: &Context, own: Fingerprint) -> Vec<Differing> {
    let position = context.projections.position().sequence;
    let is_ready = *context.ready.borrow();
    context.roster.view(|peers| {
        let differing = peers.iter().filter_map(|(node, peer)| {
            let (told, link) = (peer.told?, peer.link.clone()?);
            let theirs = told.facts;
            let is_followed = peer.followings > 0;
            let is_still = told.sequence <= peer.taken.sequence && (!is_followed || position <= peer.acknowledged);
            let (seen, is_catching_up) = (Seen { theirs, own }, !(is_ready && told.ready));
            (theirs != own).then(|| Differing { node: *node, link, seen, is_still, is_catching_up })
        });
        differing.collect()
    })
}

/// Compares with the peers whose feeds this node does not follow, and who so do not tell it what they have: what a relay
/// should pass on may not reach it.
async fn compare_unfollowed(context: &Context, own: Fingerprint) {
    let unfollowed: Vec<(NodeId, Link)> = context.roster.view(|peers| {
        let links = peers.iter().filter(|(_, peer)| peer.told.is_none() && !peer.entry.gone);
        links.filter_map(|(node, peer)| Some((*node, peer.link.clone()?))).collect()
    });
    for (node, link) in unfollowed {
        match root_of(context, &link).await {
            Ok(theirs) if theirs == own => {}
            Ok(theirs) => repair(context, &link, (node, theirs)).await,
            Err(error) => tracing::debug!(peer = %node, %error, "a peer does not say what it has"),
        }
    }
}

/// The fingerprint of all a peer has.
async fn root_of(context: &Context, link: &Link) -> Result<Fingerprint, RunError> {
    let horizon = context.projections.horizon().ok_or(RunError::Forgetting)?;
    match ask(&link.within(horizon), &Question::Compare(vec![Range::WHOLE])).await? {
        Answer::Children(children) => Ok(children.into_iter().flatten().fold(Fingerprint::default(), Fingerprint::and)),
        Answer::Facts { .. } => Err(reconcile::Malformed::Answer.into()),
    }
}

/// Fetches from a peer all that it has at this moment and this node has not.
pub(crate) async fn fetch_all(context: &Context, link: &Link) -> Result<(), RunError> {
    let theirs = root_of(context, link).await?;
    run_with(context, link, theirs).await.map(drop)
}

async fn repair(context: &Context, link: &Link, (peer, theirs): (NodeId, Fingerprint)) {
    match run_with(context, link, theirs).await {
        Ok(Run { facts: 0, .. }) => {}
        Ok(Run { questions, facts }) => {
            tracing::info!(peer = %peer, facts, questions, "fetched from a peer what no feed had brought");
        }
        // One of the two follows the other at this moment.
        Err(error @ (RunError::Forgetting | RunError::Link(LinkError::OtherHorizon))) => {
            tracing::debug!(peer = %peer, %error, "a peer could not be compared with");
        }
        Err(error) => tracing::warn!(peer = %peer, %error, "a peer could not be compared with"),
    }
}
