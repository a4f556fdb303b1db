//! Keeping a connection to each member: making it, using it as the plan says, making it again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_store::error::WriteError;
use plimsoll_wire::peer::v1::{Hello, Refusal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::context::Context;
use crate::follow::{Parted, follow};
use crate::link::{Link, LinkError};
use crate::membership::Input;

/// How long a connection to a peer may take whose distance is not known.
const PATIENCE: Duration = Duration::from_secs(3);

/// The least time for a connection, and how many round trips it may take where their time is known.
const PATIENCE_MIN: Duration = Duration::from_millis(300);
const PATIENCE_TRIPS: u32 = 6;

/// The pause between two tries is this part of how long the peer has been away, within bounds: what was cut for a moment is
/// there again in a moment, and what is gone for a day is not knocked at all the time.
const PAUSE_PART: u32 = 120;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// The pause where a peer refuses to talk: only an operator changes that.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// Of a peer that is away another reason is logged so often at most.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The pause where another node is at a member's address, as where its disk was wiped: only the operator ends that.
const TAKEN_PAUSE: Duration = Duration::from_secs(60);

/// A connection that held so long was a good one; one that did not is made again later each time.
const LASTING: Duration = Duration::from_secs(10);

/// The pause before a feed is followed again of which a fact could not be taken over: doubled each time, up to the most.
const REFUSED_FACT_PAUSE: Duration = Duration::from_millis(200);
const REFUSED_FACT_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The pause before it is tried again to follow a peer of another horizon: doubled each time, up to the most, and over when
/// one of the two has come further.
const HORIZON_PAUSE: Duration = Duration::from_millis(100);
const HORIZON_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A peer may end so many conversations in a row, on a connection that stays, before it is made anew.
const ENDINGS_MAX: u32 = 3;

/// Keeps connections to all members there are, and calls the seeds until they are members. Runs for ever.
pub(crate) async fn keep(context: Arc<Context>, seeds: Vec<String>) {
    let mut changed = context.roster.watch();
    let mut kept: BTreeMap<NodeId, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    for seed in seeds {
        tasks.spawn(knock(Arc::clone(&context), seed));
    }
    loop {
        let members: Vec<(NodeId, bool)> =
            context.roster.view(|peers| peers.iter().map(|(node, peer)| (*node, peer.entry.gone)).collect());
        for (node, is_gone) in members {
            match (kept.contains_key(&node), is_gone) {
                (false, false) => {
                    let keeping = tasks.spawn(keep_one(Arc::clone(&context), node));
                    kept.insert(node, keeping);
                }
                (true, true) => {
                    kept.remove(&node).iter().for_each(tokio::task::AbortHandle::abort);
                    context.roster.note(node, |peer| peer.link = None);
                }
                _ => {}
            }
        }
        tokio::select! {
            biased;
            changed = changed.changed() => if changed.is_err() { return },
            _ended = tasks.join_next(), if !tasks.is_empty() => {}
        }
    }
}

/// Calls a seed until it says who it is; from then on it is a member as others are.
async fn knock(context: Arc<Context>, seed: String) {
    let mut away = Away::new();
    let mut is_unmet = true;
    loop {
        uncut(&context).await;
        let made = Link::make(&*context.connector, &context.security, &seed, PATIENCE, &context.hello()).await;
        if matches!(made, Ok(_) | Err(LinkError::Refused(_))) && std::mem::take(&mut is_unmet) {
            context.unmet_seeds.fetch_sub(1, Ordering::Relaxed);
        }
        match made {
            Ok((_, hello)) => {
                if accept(&context, hello).await.is_ok() {
                    return;
                }
                sleep(REFUSED_PAUSE).await;
            }
            // A name of several nodes may lead to another one next time.
            Err(LinkError::Refused(Refusal::Yourself)) if !context.roster.view(BTreeMap::is_empty) => return,
            Err(LinkError::Refused(Refusal::Yourself)) => sleep(REFUSED_PAUSE).await,
            Err(error) => {
                let pause = away.failed(&context, None, &seed, &error);
                sleep(pause).await;
            }
        }
    }
}

/// Takes in what a peer says of itself.
async fn accept(context: &Context, hello: Hello) -> Result<NodeId, Refusal> {
    context.admit(&hello).await?;
    let (node, generation) = (hello.member.node, hello.member.generation);
    context.met(hello);
    // Where the membership has its hands full it meets the peer by what others say.
    let _ = context.membership.try_send(Input::Met { node, generation });
    Ok(node)
}

async fn keep_one(context: Arc<Context>, node: NodeId) {
    let mut away = Away::new();
    loop {
        uncut(&context).await;
        let known = context.roster.peer(node, |peer| {
            let trip = peer.offset().map(|offset| offset.error * 2);
            (peer.entry.member.peer.clone(), trip)
        });
        let Some((address, trip)) = known else { return };
        let patience = trip.map_or(PATIENCE, |trip| (trip * PATIENCE_TRIPS).clamp(PATIENCE_MIN, PATIENCE));
        let made = Link::make(&*context.connector, &context.security, &address, patience, &context.hello()).await;
        let accepted = match made {
            Ok((link, hello)) => match accept(&context, hello).await {
                Ok(found) if found == node => Ok(link),
                Ok(_) => Err(LinkError::AnotherNode),
                Err(Refusal::Yourself) => Err(LinkError::AnotherNode),
                Err(refusal) => Err(LinkError::Unwelcome(refusal)),
            },
            Err(error) => Err(error),
        };
        let pause = match accepted {
            Ok(link) => {
                context.counters.links_made.add(1);
                tracing::info!(peer = %node, address, "connected to a peer");
                context.roster.change(node, |peer| {
                    peer.link = Some(link.clone());
                    peer.is_replaced = false;
                    peer.trouble = None;
                });
                let made = Instant::now();
                let error = use_link(&context, &link, node).await;
                link.give_up();
                context.roster.change(node, |peer| {
                    peer.link = None;
                    peer.told = None;
                });
                if made.elapsed() >= LASTING {
                    away = Away::new();
                }
                away.failed(&context, Some(node), &address, &error)
            }
            Err(error) => away.failed(&context, Some(node), &address, &error),
        };
        // A peer that calls is there again.
        let mut changed = context.roster.watch();
        let seen = context.roster.peer(node, |peer| peer.last_seen).unwrap_or_default();
        let called = async {
            while changed.changed().await.is_ok() {
                if context.roster.peer(node, |peer| peer.last_seen > seen) == Some(true) {
                    return;
                }
            }
        };
        // Either way it is time.
        let _ = timeout(pause, called).await;
    }
}

/// Waits before a peer of another horizon is followed again, which was followed last from `began` on. Returns how long to wait
/// the next time.
async fn apart(context: &Context, began: Instant, pause: Duration) -> Duration {
    let pause = if began.elapsed() >= LASTING { HORIZON_PAUSE } else { pause };
    if another_horizon(context, pause).await { HORIZON_PAUSE } else { (2 * pause).min(HORIZON_PAUSE_MAX) }
}

/// Waits until this node, or a member, is of another horizon, or for a while. Returns whether one is.
async fn another_horizon(context: &Context, patience: Duration) -> bool {
    let (mut own, mut theirs) = (context.projections.watch_horizon(), context.horizons.subscribe());
    let changed = async {
        tokio::select! {
            biased;
            // The other ends live as long as the context.
            _own = own.changed() => {}
            _theirs = theirs.changed() => {}
        }
    };
    timeout(patience, changed).await.is_ok()
}

/// Waits as long as the node cuts itself off.
async fn uncut(context: &Context) {
    let mut cut = context.cut.subscribe();
    // The other end is the context's own, so it does not end.
    drop(cut.wait_for(|is_cut| !is_cut).await);
}

/// Waits until something has become so.
pub(crate) async fn is_set(flag: &mut watch::Receiver<bool>) {
    // The other end is the context's own, so it does not end.
    drop(flag.wait_for(|is_set| *is_set).await);
}

/// Uses a connection as the plan says until it fails.
async fn use_link(context: &Context, link: &Link, node: NodeId) -> LinkError {
    let mut changed = context.roster.watch();
    let mut cut = context.cut.subscribe();
    let mut pause = REFUSED_FACT_PAUSE;
    let mut horizon_pause = HORIZON_PAUSE;
    let mut endings = 0;
    loop {
        let began = Instant::now();
        let wanted = context.roster.plan().get(&node).cloned();
        let following = async {
            match &wanted {
                Some(wanted) => follow(context, link, node, wanted.clone()).await,
                None => {
                    while link.is_open() {
                        sleep(Duration::from_secs(1)).await;
                    }
                    Parted::Link(LinkError::Ended)
                }
            }
        };
        let replanned = async {
            while changed.changed().await.is_ok() {
                if context.roster.plan().get(&node) != wanted.as_ref() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = is_set(&mut cut) => return LinkError::Ended,
            () = context.superseded(node, link.start().generation) => return LinkError::Superseded,
            parted = following => match parted {
                // One of the two forgets at this moment, or is about to; whoever tells its feed ends it for that.
                Parted::Link(LinkError::OtherHorizon | LinkError::Forgetting)
                | Parted::Store(WriteError::OtherHorizon) => horizon_pause = apart(context, began, horizon_pause).await,
                Parted::Link(LinkError::Ended) if wanted.is_some() && link.is_open() && endings < ENDINGS_MAX => {
                    endings = if began.elapsed() >= LASTING { 1 } else { endings + 1 };
                    horizon_pause = apart(context, began, horizon_pause).await;
                }
                Parted::Link(error) => return error,
                Parted::Store(error) => {
                    if began.elapsed() >= LASTING {
                        pause = REFUSED_FACT_PAUSE;
                    }
                    refused(context, node, &error, pause);
                    sleep(pause).await;
                    pause = (pause * 2).min(REFUSED_FACT_PAUSE_MAX);
                }
            },
            () = replanned => {}
        }
    }
}

/// Its origin keeps the fact, and tells it again.
fn refused(context: &Context, node: NodeId, error: &WriteError, pause: Duration) {
    let told = error.to_string();
    // Once when it begins, and once when it does not end.
    if pause == REFUSED_FACT_PAUSE || pause == REFUSED_FACT_PAUSE_MAX {
        tracing::warn!(peer = %node, %error, "a fact of a peer cannot be taken over now; it is asked for again");
    }
    context.roster.note(node, |peer| peer.trouble = Some(told));
}

/// How long a peer has been away, and what was said of it last.
struct Away {
    since: Instant,
    told: Option<String>,
    logged: Option<Instant>,
}

impl Away {
    fn new() -> Self {
        Self { since: Instant::now(), told: None, logged: None }
    }

    /// Notes a failure, and logs it if it is another than before. Returns when to try again.
    fn failed(&mut self, context: &Context, node: Option<NodeId>, address: &str, error: &LinkError) -> Duration {
        context.counters.links_failed.add(1);
        let told = error.to_string();
        let is_due = self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_due && self.told.as_ref() != Some(&told) {
            tracing::warn!(address, %error, "no connection to a peer");
            self.logged = Some(Instant::now());
        }
        if let Some(node) = node {
            let is_replaced = matches!(error, LinkError::AnotherNode | LinkError::Refused(Refusal::Yourself));
            context.roster.note(node, |peer| {
                peer.is_replaced |= is_replaced;
                peer.trouble = Some(told.clone());
            });
        }
        self.told = Some(told);
        match error {
            // Where it was started again this moment, the later start is there in a moment.
            LinkError::Unwelcome(Refusal::SameNode) => self.pause(),
            LinkError::AnotherNode | LinkError::Unwelcome(_) | LinkError::Refused(Refusal::Yourself) => TAKEN_PAUSE,
            LinkError::Refused(refusal) => {
                self.refused(context, address, refusal);
                REFUSED_PAUSE
            }
            _ => self.pause(),
        }
    }

    fn pause(&self) -> Duration {
        (self.since.elapsed() / PAUSE_PART).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    fn refused(&self, context: &Context, address: &str, refusal: &Refusal) {
        match refusal {
            Refusal::SameNode => context.fence_identity(address),
            Refusal::Gone => context.fence_gone(),
            _ => {}
        }
    }
}
