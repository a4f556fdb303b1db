//! How many members' disks have what a client was told of.
//!
//! Of what this node stamped, the members that follow its feed tell it themselves, at once where it is waited for. Of what
//! another one stamped they do not: that is left out of the feed for those who have it from elsewhere, or may not have it at all.
//! They are asked whether they have the fact. That an artifact has the same state with them is not enough: a transition that was
//! superseded shows in no state.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_domain::projection::FactKey;
use plimsoll_wire::peer::v1::{HELD_MAX, decode_held, encode_ask_held};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::context::Context;

/// How often members are asked again while they are waited for.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// That a write is going to wait for other members' disks. What is told of this node's feed until this is dropped is acknowledged
/// at once.
pub struct Awaiting(Arc<Context>);

impl Drop for Awaiting {
    fn drop(&mut self) {
        self.0.awaited.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Cluster {
    /// To be called before a write that is then waited for: its page may be told as soon as it is durable.
    #[must_use]
    pub fn awaiting(&self) -> Awaiting {
        self.context.awaited.fetch_add(1, Ordering::SeqCst);
        Awaiting(self.context.clone())
    }

    /// Waits until `members` disks, this node's among them, have everything this node had durable when it was asked; at most
    /// for `patience`. Returns how many have it.
    pub async fn replicated(&self, members: u32, patience: Duration) -> u32 {
        let sequence = self.context.projections.position().sequence;
        let mut acknowledged = self.context.roster.watch_acknowledged();
        let count = || self.context.roster.members_and_here(|peer| peer.acknowledged >= sequence);
        let enough = async {
            while count() < members {
                if acknowledged.changed().await.is_err() {
                    return;
                }
            }
        };
        // What there is when the time is over is told.
        let _ = timeout(patience, enough).await;
        count()
    }

    /// Waits until `members` disks, this node's among them, have each of some facts that are here; at most for `patience`.
    /// Returns how many have each.
    pub async fn replicated_facts(&self, keys: &[FactKey], members: u32, patience: Duration) -> Vec<u32> {
        let deadline = Instant::now() + patience;
        loop {
            let mut counts = Vec::with_capacity(keys.len());
            for keys in keys.chunks(HELD_MAX) {
                counts.extend(self.holders(keys).await);
            }
            if counts.iter().all(|count| *count >= members) || Instant::now() >= deadline {
                return counts;
            }
            sleep(ASK_INTERVAL).await;
        }
    }

    /// How many members have each of some facts, at most [`HELD_MAX`], that are here: as far as they answer within the time set
    /// for read repair.
    async fn holders(&self, keys: &[FactKey]) -> Vec<u32> {
        let mut counts = vec![1; keys.len()];
        for (_, _, answer) in self.context.ask_all("held", &encode_ask_held(keys), None, decode_held).await {
            for (count, is_held) in counts.iter_mut().zip(answer.unwrap_or_default()) {
                *count += u32::from(is_held);
            }
        }
        counts
    }

    /// How many members tell this node themselves how far they have come with what it stamps, this node among them. Others
    /// get it from these.
    #[must_use]
    pub fn tellers(&self) -> u32 {
        self.context.roster.members_and_here(|peer| peer.followings > 0)
    }
}
