//! The roster on the disk and at the others; leaving, and forgetting who will not come back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::NodeId;
use plimsoll_store::error::WriteError;
use plimsoll_store::notes::Fence;
use plimsoll_wire::peer::v1::{Kept, RosterEntry, decode_roster, encode_fingerprint, encode_kept, encode_roster};
use thiserror::Error;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, KEPT};
use crate::context::Context;
use crate::link::{Link, LinkError};
use crate::membership::Input;
use crate::roster::{Liveness, Peer};

/// How long a peer may take to exchange rosters.
const EXCHANGE_TIME_MAX: Duration = Duration::from_secs(5);

/// When to ask again whether a member can fetch what is here.
const FETCH_RETRY: Duration = Duration::from_millis(200);

/// When to try again to write down what could not be.
const KEEP_RETRY: Duration = Duration::from_secs(1);

/// A node does not leave, or is not forgotten.
#[derive(Debug, Error)]
pub enum LeaveError {
    /// What it has is not elsewhere yet. It goes on as before.
    #[error("within {} s no other member had all that this node has: it has not left", patience.as_secs())]
    Unreplicated {
        /// How long was waited.
        patience: Duration,
    },
    /// There is no such member.
    #[error("there is no member {0}")]
    NoSuchMember(NodeId),
    /// The member is there.
    #[error(
        "the member {0} is connected, here or elsewhere, or was a moment ago: stop it first and wait until it is down, or let \
         it leave by itself"
    )]
    Connected(NodeId),
    /// Another node has its id, and would be gone with it. It goes on as before.
    #[error(
        "another node has this node's id: one data directory is a copy of the other, and if one left, both would be gone: stop \
         the copy, restart the other, and let that one leave"
    )]
    SharedId,
    /// It is no member.
    #[error(
        "this node is no member any more: it left, or was forgotten. Where leaving was cut short, another member has all it had; \
         what it had when it was forgotten may be nowhere else"
    )]
    NoMember,
    /// It cannot be written down.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Cluster {
    /// Leaves the cluster for good: takes no writes any more, waits until another member has everything, and tells all that
    /// it is gone. It may come back only as a new node. `patience` is how long the others may take.
    ///
    /// # Errors
    /// [`LeaveError`].
    pub async fn leave(&self, patience: Duration) -> Result<(), LeaveError> {
        let context = &self.context;
        let before = context.projections.fence();
        if before == Some(Fence::Identity) {
            return Err(LeaveError::SharedId);
        }
        if context.has_left.load(Ordering::Relaxed) {
            // Asked again, as by somebody who did not hear the answer, or only told so by the others.
            return if *context.leaving.borrow() { Ok(()) } else { Err(LeaveError::NoMember) };
        }
        context.leaving.send_replace(true);
        context.projections.set_fence(Some(Fence::NoMember));
        // What was taken before the fence is in the store once this is, and so among what is fetched.
        keep(context).await?;
        let is_fetched = self.size() <= 1 || self.is_fetched(patience).await;
        // A fence that was put up meanwhile stays.
        if context.projections.fence() == Some(Fence::Identity) {
            context.leaving.send_replace(false);
            return Err(LeaveError::SharedId);
        }
        if !is_fetched {
            context.leaving.send_replace(false);
            if context.projections.fence() == Some(Fence::NoMember) && !context.has_left.load(Ordering::Relaxed) {
                context.projections.set_fence(before);
            }
            return Err(LeaveError::Unreplicated { patience });
        }
        tracing::info!("leaving: another member has all that is here");
        context.has_left.store(true, Ordering::Relaxed);
        // With all the others: they hear of the one that has it all no later than that this one is gone.
        let mut entries = context.roster.entries();
        entries[0].gone = true;
        let frame = encode_roster(&entries);
        let telling = links(context).into_iter().map(|(_, link)| {
            let frame = frame.clone();
            async move { link.ask("roster", frame, EXCHANGE_TIME_MAX).await }
        });
        // Whoever does not hear it hears it from the others.
        drop(join_all(telling).await);
        drop(context.membership.send(Input::Leave).await);
        Ok(keep(context).await?)
    }

    /// Has another member fetch all that is here: its own feed of this node need not have brought everything.
    async fn is_fetched(&self, patience: Duration) -> bool {
        let fetching = async {
            while self.context.projections.fence() != Some(Fence::Identity) {
                for (node, link) in links_within_horizon(&self.context) {
                    match self.context.projections.fingerprint() {
                        Ok(own) => match link.ask("fetch", encode_fingerprint(own), patience).await {
                            Ok(_) => return,
                            Err(error) => tracing::warn!(peer = %node, %error, "a member cannot fetch what is here"),
                        },
                        Err(error) => tracing::error!(%error, "the store cannot be read"),
                    }
                }
                sleep(FETCH_RETRY).await;
            }
        };
        timeout(patience, fetching).await.is_ok()
    }

    /// Forgets a member that will not come back: it is not asked or waited for any more, and may return only as a new node.
    ///
    /// # Errors
    /// [`LeaveError`].
    pub async fn forget(&self, node: NodeId) -> Result<(), LeaveError> {
        let context = &self.context;
        let is_there = |peer: &Peer| peer.link.is_some() || (peer.liveness != Liveness::Down && !peer.is_replaced);
        let found = context.roster.peer(node, |peer| (peer.entry.clone(), is_there(peer)));
        match found {
            None => return Err(LeaveError::NoSuchMember(node)),
            Some((_, true)) => return Err(LeaveError::Connected(node)),
            Some((entry, false)) => context.take_roster([RosterEntry { gone: true, ..entry }]),
        }
        tracing::info!(peer = %node, "forgot a member: it may return only as a new node");
        Ok(keep(context).await?)
    }
}

/// The connections to peers there are.
fn links(context: &Context) -> Vec<(NodeId, Link)> {
    let link = |(node, peer): (&NodeId, &Peer)| Some((*node, peer.link.clone()?));
    context.roster.view(|peers| peers.iter().filter_map(link).collect())
}

/// The connections to peers, to ask for facts; none while this node forgets, and has no horizon.
fn links_within_horizon(context: &Context) -> Vec<(NodeId, Link)> {
    let Some(horizon) = context.projections.horizon() else { return Vec::new() };
    links(context).into_iter().map(|(node, link)| (node, link.within(horizon))).collect()
}

/// Writes down what is to be known after a restart.
pub(crate) async fn keep(context: &Context) -> Result<(), WriteError> {
    let here = context.roster.here();
    let entries = context.roster.entries();
    let others = entries.into_iter().filter(|entry| entry.member.node != here.node);
    let kept = Kept {
        cluster: context.cluster.clone(),
        generation: here.generation,
        joined: context.has_joined.load(Ordering::Relaxed),
        has_left: context.has_left.load(Ordering::Relaxed),
        roster: others.collect(),
    };
    context.projections.set_note(KEPT, encode_kept(&kept)).await
}

/// Keeps the roster on the disk, and tells it to the peers, as it changes.
pub(crate) async fn keep_roster(context: Arc<Context>) {
    let mut changed = context.roster.watch();
    let mut ready = context.ready.subscribe();
    let now = |context: &Context| (context.roster.entries(), *context.ready.borrow(), context.projections.fence());
    let mut written = now(&context);
    loop {
        let latest = now(&context);
        if latest != written {
            match keep(&context).await {
                Ok(()) if latest.0 == written.0 || tell(&context, &latest.0).await => written = latest,
                Ok(()) => {
                    sleep(KEEP_RETRY).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the roster cannot be kept");
                    sleep(KEEP_RETRY).await;
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            changed = changed.changed() => if changed.is_err() { return },
            changed = ready.changed() => if changed.is_err() { return },
        }
    }
}

/// Exchanges rosters with a peer: `frame` is this node's.
pub(crate) async fn exchange(context: &Context, link: &Link, frame: Vec<u8>) -> Result<(), LinkError> {
    context.take_roster(link.ask_for("roster", frame, EXCHANGE_TIME_MAX, decode_roster).await?);
    Ok(())
}

/// Exchanges rosters with all peers. Returns whether all have answered.
async fn tell(context: &Context, entries: &[RosterEntry]) -> bool {
    let frame = encode_roster(entries);
    let exchanges = links(context).into_iter().map(|(node, link)| {
        let frame = frame.clone();
        async move {
            let exchanged = exchange(context, &link, frame).await;
            exchanged.inspect_err(|error| tracing::debug!(peer = %node, %error, "no exchange of rosters")).is_ok()
        }
    });
    let answered = timeout(EXCHANGE_TIME_MAX, join_all(exchanges)).await;
    answered.is_ok_and(|answered| answered.into_iter().all(|answered| answered))
}
