//! What a member had that is gone is at another one; not at each of them, and not in what its own feed has told.
//!
//! So a member that is gone goes on counting for how old answers are ([`crate::status::Freshness`]) until this node has compared
//! with every other member since it heard of it. Whoever has what is left of it is among those: a member leaves once another one has
//! all it had, which does not leave itself before a third one has that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::NodeId;
use tokio::time::sleep;

use crate::anti_entropy::fetch_all;
use crate::context::Context;
use crate::link::Link;

/// How soon those are asked again that could not be compared with.
const RETRY: Duration = Duration::from_millis(500);

/// Compares with all whenever somebody has gone, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    // Until then this node fetches all there is, and says no age.
    let Ok(_) = context.ready.subscribe().wait_for(|ready| *ready).await else { return };
    let mut changed = context.roster.watch();
    loop {
        let is_over = outlive(&context).await;
        tokio::select! {
            biased;
            changed = changed.changed() => if changed.is_err() { return },
            () = sleep(RETRY), if !is_over => {}
        }
    }
}

/// Compares with those with whom that is due. Returns whether nobody who is gone counts any more.
async fn outlive(context: &Context) -> bool {
    let (departures, due) = context.roster.to_compare();
    let comparing = due.into_iter().map(|(node, link): (NodeId, Link)| async move {
        match fetch_all(context, &link).await {
            Ok(()) => context.roster.compared(node, departures),
            Err(error) => tracing::debug!(peer = %node, %error, "not compared yet, since another member has gone"),
        }
    });
    join_all(comparing).await;
    context.roster.outlive()
}
