//! Coming in: a node is ready once it has what its peers had when it met them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::Fingerprint;
use tokio::time::{Instant, sleep};

use crate::anti_entropy::run_with;
use crate::context::Context;
use crate::link::Link;
use crate::roster::Peer;

/// A node that reaches nobody goes on alone after so long: it may be the first, or cut off.
const ALONE_AFTER: Duration = Duration::from_secs(10);

/// After the first peer is met the others have so long to be met too.
const GATHERING: Duration = Duration::from_millis(500);

/// How often it is looked whether the node has caught up, and how often it is told how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// Says when the node is ready. `joined` tells whether it was once; `has_seeds` whether it is to meet somebody.
pub(crate) async fn run(context: Arc<Context>, joined: bool, has_seeds: bool) {
    let knows_nobody = context.roster.view(BTreeMap::is_empty);
    if has_seeds || !knows_nobody {
        catch_up(&context, joined).await;
        if !joined {
            compare(&context).await;
        }
    }
    tracing::info!("ready");
    context.ready.send_replace(true);
}

/// Fetches what no feed has brought: facts of nodes that are gone.
async fn compare(context: &Context) {
    let peers: Vec<(NodeId, Link, Fingerprint)> = context.roster.view(|peers| {
        let told = |(node, peer): (&NodeId, &Peer)| {
            let told = peer.told?;
            Some((*node, peer.link.clone()?, Fingerprint { sum: told.digest, count: told.facts }))
        };
        peers.iter().filter_map(told).collect()
    });
    for (node, link, theirs) in peers {
        let equal = context.projections.fingerprint().is_ok_and(|own| own == theirs);
        if equal {
            continue;
        }
        match run_with(context, &link, theirs).await {
            Ok(run) => tracing::info!(peer = %node, facts = run.facts, "compared with a peer"),
            Err(error) => tracing::warn!(peer = %node, %error, "a peer could not be compared with"),
        }
    }
}

async fn catch_up(context: &Context, joined: bool) {
    let mut told = Instant::now();
    let deadline = Instant::now() + ALONE_AFTER;
    // What each had when it was met.
    let mut had: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut gathered = None;
    loop {
        let (missing, facts) = context.roster.view(|peers| {
            let mut missing = 0;
            for (node, peer) in peers.iter().filter(|(_, peer)| peer.link.is_some()) {
                let Some(told) = peer.told else { continue };
                let had = *had.entry(*node).or_insert(told.sequence);
                missing += had.saturating_sub(peer.taken.sequence);
            }
            (missing, had.values().sum::<u64>())
        });
        if !had.is_empty() {
            let until = *gathered.get_or_insert_with(|| Instant::now() + GATHERING);
            if missing == 0 && Instant::now() >= until {
                return;
            }
        }
        if had.is_empty() && Instant::now() >= deadline {
            tracing::warn!(joined, "no peer answers; the node goes on alone");
            return;
        }
        if missing > 0 && told.elapsed() >= TELL_INTERVAL {
            told = Instant::now();
            tracing::info!(missing, of = facts, "catching up with the peers");
        }
        sleep(LOOK_INTERVAL).await;
    }
}
