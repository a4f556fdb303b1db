//! What a member had that is gone is at another one; not at each of them, and not in what its own feed has told.
//!
//! So a member that is gone goes on counting for how old answers are ([`crate::status::Freshness`]) until this node has compared
//! with every other member since it heard of it. Whoever has what is left of it is among those: a member leaves once another one has
//! all it had, which does not leave itself before a third one has that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::NodeId;
use plimsoll_wire::peer::v1::encode_roster;
use tokio::time::{Instant, sleep_until};

use crate::anti_entropy::{RunError, fetch_all};
use crate::context::Context;
use crate::leaving::exchange;
use crate::link::Link;

/// When those are asked again that could not be compared with: later each time, until somebody else goes.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// Compares with all whenever somebody has gone, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    // Until then this node fetches all there is, and says no age.
    let Ok(_) = context.ready.subscribe().wait_for(|ready| *ready).await else { return };
    let mut changed = context.roster.watch();
    let mut pause = RETRY_MIN;
    loop {
        let (departures, due) = context.roster.to_compare();
        let mut tried: BTreeSet<NodeId> = due.iter().map(|(node, _)| *node).collect();
        compare_with(&context, departures, due).await;
        let is_over = context.roster.outlive();
        let again = Instant::now() + pause;
        pause = loop {
            tokio::select! {
                biased;
                changed = changed.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let (departed, due) = context.roster.to_compare();
                    let is_new = |(node, _): &(NodeId, Link)| !tried.contains(node);
                    if departed != departures || due.iter().any(is_new) {
                        break RETRY_MIN;
                    }
                    // Who is connected again is new again.
                    tried = due.into_iter().map(|(node, _)| node).collect();
                }
                () = sleep_until(again), if !is_over => break (2 * pause).min(RETRY_MAX),
            }
        };
    }
}

/// Compares with some at once, and notes those with whom that came to an end.
async fn compare_with(context: &Context, departures: u64, due: Vec<(NodeId, Link)>) {
    let comparing = due.into_iter().map(|(node, link)| async move {
        match compare(context, &link).await {
            Ok(()) => context.roster.compared(node, departures),
            Err(error) => tracing::debug!(peer = %node, %error, "not compared yet, since another member has gone"),
        }
    });
    join_all(comparing).await;
}

/// Fetches all that a peer has, once it knows too who is gone: it takes nothing from those any more.
async fn compare(context: &Context, link: &Link) -> Result<(), RunError> {
    exchange(context, link, encode_roster(&context.roster.entries())).await?;
    fetch_all(context, link).await
}
