//! Horizons: facts pass only between nodes that have forgotten the same (`domain::projection::Horizon`).
//!
//! Each question that brings facts says in a header of which horizon the asker is, and is answered only by a node of the
//! same one; what comes is merged only while the store still is. Where two nodes differ, the one that has forgotten less
//! takes over the other's horizon, as it promised. One that cannot, because it lacks some of what the others had, was away
//! when they agreed: what it lacks is gone, and what it has more may be what they let go. It has to start afresh.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{Fingerprint, Horizon};
use plimsoll_store::error::ReadError;
use plimsoll_store::forgetting::ForgetError;
use plimsoll_store::notes::Fence;
use plimsoll_wire::peer::FORGETS;
use plimsoll_wire::peer::v1::{Standing, decode_standing, encode_standing};

use crate::context::Context;
use crate::link::{Link, LinkError};

/// The header that says of which horizon the asker is. Without it, it is of the first.
pub(crate) const HEADER: &str = "plimsoll-horizon";

/// How long a peer may take to say how far it is.
const STANDING_TIME_MAX: Duration = Duration::from_secs(5);

/// A horizon, as the header says it.
pub(crate) fn header_of(horizon: Horizon) -> String {
    let Horizon { until, facts: Fingerprint { sum, count } } = horizon;
    format!("{}/{count}/{sum:032x}", until.get())
}

/// Whether a question with this header may be answered with facts.
pub(crate) fn is_ours(context: &Context, header: Option<&str>) -> bool {
    let first = header_of(Horizon::default());
    context.projections.horizon().is_some_and(|own| header_of(own) == header.unwrap_or(&first))
}

/// Comes to one horizon with a peer, or says why not yet: to be tried again soon.
pub(crate) async fn settle(context: &Context, link: &Link) -> Result<Horizon, LinkError> {
    let own = context.projections.horizon().ok_or(LinkError::Forgetting)?;
    if link.version() < FORGETS {
        return if own == Horizon::default() { Ok(own) } else { Err(LinkError::TooOld) };
    }
    let Some(theirs) = standing_of(link, own).await?.horizon else { return Err(LinkError::OtherHorizon) };
    if theirs.until > own.until {
        take_over(context, theirs).await;
    }
    match context.projections.horizon() {
        Some(own) if own == theirs => Ok(own),
        _ => Err(LinkError::OtherHorizon),
    }
}

/// Tells a peer the horizon here, and is told the one there.
pub(crate) async fn standing_of(link: &Link, own: Horizon) -> Result<Standing, LinkError> {
    let question = encode_standing(Standing { horizon: Some(own), taken: None });
    link.ask_for("horizon", question, STANDING_TIME_MAX, decode_standing).await
}

/// Answers a peer that says how far it is, and follows it where it is further.
pub(crate) async fn answer(context: &Arc<Context>, peer: NodeId, theirs: Standing) -> Result<Vec<u8>, ReadError> {
    let horizon = context.projections.horizon();
    if let (Some(own), Some(theirs)) = (horizon, theirs.horizon)
        && theirs.until > own.until
    {
        let context = Arc::clone(context);
        tokio::spawn(async move { take_over(&context, theirs).await });
    }
    let taken = context.projections.durable_watermark(peer).await?;
    Ok(encode_standing(Standing { horizon, taken: taken.map(|taken| (taken.incarnation, taken.sequence)) }))
}

/// Forgets what the others have forgotten.
pub(crate) async fn take_over(context: &Context, horizon: Horizon) {
    let projections = &context.projections;
    let taken = match projections.forget(horizon).await {
        // What was forgotten before a new node came it never had.
        Err(ForgetError::Behind(_)) if projections.fingerprint().is_ok_and(|facts| facts == Fingerprint::default()) => {
            projections.adopt(horizon).await
        }
        taken => taken,
    };
    match taken {
        Ok(()) => tracing::info!(until = %horizon.until, "has forgotten what all members have agreed to forget"),
        // The horizon may have gone on while this one waited for its turn.
        Err(ForgetError::Behind(_)) if projections.horizon().is_some_and(|own| own.until >= horizon.until) => {}
        Err(ForgetError::Behind(_)) => context.fall_behind(horizon),
        Err(error) => tracing::error!(%error, "what the other members have forgotten cannot be forgotten here"),
    }
}

impl Context {
    /// Notes that this node was away when the others agreed on what to forget. It takes no writes any more, so that what it
    /// alone has does not grow.
    pub(crate) fn fall_behind(&self, horizon: Horizon) {
        if self.behind.send_replace(true) {
            return;
        }
        self.projections.set_fence(Some(Fence::Behind));
        tracing::error!(
            until = %horizon.until,
            "this node was away for longer than the retention: the other members have forgotten what it still has, and it \
             lacks what they had before; it has to start afresh"
        );
    }
}
