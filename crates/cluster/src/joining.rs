//! Coming in: a node is ready once it has what its peers had when it met them.
//!
//! What a peer had is the end of its feed as it told it first. Peers that are ready themselves are the ones to go by; where
//! none is, as when a whole cluster is started, a node goes by those it meets, once it has met all it knows of, or has waited
//! for them. What no feed brings, facts of nodes that are
//! gone, a node that was never ready fetches by comparing with one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Fingerprint;
use tokio::time::{Instant, sleep};

use crate::anti_entropy::run_with;
use crate::context::Context;
use crate::horizon::exchange;
use crate::link::Link;
use crate::roster::Peer;

/// A node that reaches nobody goes on alone after so long: it may be the first, or cut off. So it does with what it has of a
/// peer that it has lost, and without those it has not met.
pub(crate) const ALONE_AFTER: Duration = Duration::from_secs(10);

/// After the first ready peer is met the others have so long to be met too; and where none is ready, so long for one that is.
const GATHERING: Duration = Duration::from_millis(500);
const GATHERING_UNREADY: Duration = Duration::from_secs(3);

/// How often it is looked whether the node has caught up, and how often it is told how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// How often those are asked how far they are of whom it is not known.
const ASK_INTERVAL: Duration = Duration::from_millis(500);

/// When a comparison that failed is tried again, and how often.
const COMPARE_RETRY: Duration = Duration::from_secs(1);
const COMPARISONS_MAX: u32 = 30;

/// Says when the node is ready. `has_seeds` tells whether it is to meet somebody.
pub(crate) async fn run(context: Arc<Context>, has_seeds: bool) {
    let joined = context.has_joined.load(Ordering::Relaxed);
    let knows_nobody = context.roster.view(BTreeMap::is_empty);
    if has_seeds || !knows_nobody {
        CatchingUp::new(&context).run(joined).await;
        if !joined {
            compare(&context).await;
        }
    }
    tracing::info!("ready");
    context.has_joined.store(true, Ordering::Relaxed);
    context.ready.send_replace(true);
}

/// What a peer had when it was met.
struct Had {
    sequence: u64,
    is_ready: bool,
    /// When the connection to it was seen to be gone.
    lost: Option<Instant>,
}

struct CatchingUp<'a> {
    context: &'a Context,
    had: BTreeMap<NodeId, Had>,
    /// When the first peer was met.
    met: Option<Instant>,
    told: Instant,
    /// When all were asked last how far they are.
    asked: Option<Instant>,
}

impl<'a> CatchingUp<'a> {
    fn new(context: &'a Context) -> Self {
        Self { context, had: BTreeMap::new(), met: None, told: Instant::now(), asked: None }
    }

    async fn run(mut self, joined: bool) {
        loop {
            let missing = self.look();
            if self.is_over(missing, joined) {
                return;
            }
            if !joined {
                self.ask().await;
            }
            if missing > 0 && self.told.elapsed() >= TELL_INTERVAL {
                self.told = Instant::now();
                tracing::info!(missing, "catching up with the peers");
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Notes who is met, and returns how much of what they had is missing here.
    fn look(&mut self) -> u64 {
        let had = &mut self.had;
        let missing = self.context.roster.view(|peers| {
            let mut missing = 0_u64;
            for (node, peer) in peers.iter().filter(|(_, peer)| !peer.entry.gone) {
                if let Some(told) = peer.told {
                    let fresh = || Had { sequence: told.sequence, is_ready: false, lost: None };
                    let had = had.entry(*node).or_insert_with(fresh);
                    had.is_ready |= told.ready;
                    // It has been put back to an older state since: more than it tells now cannot be had of it.
                    had.sequence = had.sequence.min(told.sequence);
                }
                let Some(had) = had.get_mut(node) else { continue };
                had.lost = if peer.link.is_some() { None } else { had.lost.or_else(|| Some(Instant::now())) };
                if had.lost.is_none_or(|lost| lost.elapsed() < ALONE_AFTER) {
                    missing = missing.saturating_add(had.sequence.saturating_sub(peer.taken.sequence));
                }
            }
            missing
        });
        if !self.had.is_empty() {
            self.met.get_or_insert_with(Instant::now);
        }
        missing
    }

    fn is_over(&mut self, missing: u64, joined: bool) -> bool {
        let Some(met) = self.met else {
            // Whoever is connected and has told nothing yet forgets, or is to be followed to its horizon first.
            let is_connected = || self.context.roster.view(|peers| peers.values().any(|peer| peer.link.is_some()));
            let is_alone = self.context.began.elapsed() >= ALONE_AFTER && (joined || !is_connected());
            if is_alone {
                tracing::warn!(joined, "no peer answers; the node goes on alone");
            }
            return is_alone;
        };
        let has_ready = self.had.values().any(|had| had.is_ready);
        if !has_ready && !joined && self.is_held_up() {
            // Then whoever was not met, or not followed, is given time to say what it has.
            self.met = Some(Instant::now());
            return false;
        }
        let gathering = if has_ready || joined { GATHERING } else { GATHERING_UNREADY };
        missing == 0 && met.elapsed() >= gathering
    }

    /// Whether others may have what those that were met do not: all of them may be new. Somebody is ahead, and to be followed
    /// first; or was not met yet, or did not say how far it is, and there has been little time for it.
    fn is_held_up(&self) -> bool {
        let context = self.context;
        let is_ahead = context.projections.horizon().is_none_or(|own| context.ahead(own).is_some());
        let is_unknown = || context.unmet_seeds.load(Ordering::Relaxed) > 0 || context.knows_too_little();
        is_ahead || context.began.elapsed() < ALONE_AFTER && is_unknown()
    }

    /// Asks who is there how far it is: not all are followed.
    async fn ask(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_INTERVAL) || !self.context.knows_too_little() {
            return;
        }
        let Some(own) = self.context.projections.horizon() else { return };
        drop(exchange(self.context, own).await);
        self.asked = Some(Instant::now());
    }
}

/// Fetches from one peer what no feed has brought.
async fn compare(context: &Context) {
    for _ in 0..COMPARISONS_MAX {
        let Some((node, link, theirs)) = best_peer(context) else { return };
        if context.projections.fingerprint().is_ok_and(|own| own == theirs) {
            return;
        }
        match run_with(context, &link, theirs).await {
            Ok(run) => return tracing::info!(peer = %node, facts = run.facts, "compared with a peer"),
            Err(error) => tracing::warn!(peer = %node, %error, "a peer could not be compared with"),
        }
        sleep(COMPARE_RETRY).await;
    }
}

/// A peer that is ready, or else the one with the most facts.
fn best_peer(context: &Context) -> Option<(NodeId, Link, Fingerprint)> {
    context.roster.view(|peers| {
        let told = |(node, peer): (&NodeId, &Peer)| {
            let told = peer.told?;
            Some(((told.ready, told.facts.count), (*node, peer.link.clone()?, told.facts)))
        };
        peers.iter().filter_map(told).max_by_key(|(rank, _)| *rank).map(|(_, peer)| peer)
    })
}
