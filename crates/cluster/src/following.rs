//! Following the others to their horizon: the one task that forgets.
//!
//! A node forgets what it has promised to, or can still promise. One that can do neither, because it lacks some of what the
//! others had or has more, was away when they agreed: what it lacks is gone, and what it has more may be what they let go.
//! Where most of the others are further it has to start afresh. Where only a few are it stays, and exchanges nothing with
//! those: they may be the ones that are wrong, as where somebody ran one of them alone.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::projection::{Ahead, Horizon};
use plimsoll_store::forgetting::ForgetError;
use plimsoll_store::notes::Fence;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

use crate::context::Context;
use crate::horizon::exchange;
use crate::retention::Rounds;

/// What could not be followed is tried again after so long: doubled each time, up to the most. Each try may read all facts.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Members of this node's own horizon have so long to bring what it lacks, before it starts afresh.
const GRACE: Duration = Duration::from_secs(2);

/// Forgets what may be forgotten, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut heard = context.horizons.subscribe();
    let mut rounds = Rounds::new(&context);
    let mut retry: Option<Retry> = None;
    loop {
        if retry.as_ref().is_none_or(|retry| retry.at <= Instant::now()) {
            retry = match follow(&context).await {
                Ok(()) => None,
                Err(trouble) => Retry::after(retry, &context, &trouble),
            };
        }
        rounds.look(&context).await;
        let at = retry.as_ref().map_or(rounds.next_look(), |retry| retry.at.min(rounds.next_look()));
        tokio::select! {
            biased;
            // The other end is the context's own, so it does not end.
            _changed = heard.changed() => {}
            () = sleep_until(at) => {}
        }
    }
}

/// Why the others are not followed.
#[derive(Debug, Error)]
enum Trouble {
    #[error("what was agreed to be forgotten cannot be forgotten: {0}")]
    Unfinished(#[source] ForgetError),
    #[error("what other members have forgotten cannot be forgotten here: {error}")]
    Behind {
        ahead: Ahead,
        #[source]
        error: ForgetError,
    },
}

/// Goes to the horizon of those who are ahead, if some are.
async fn follow(context: &Context) -> Result<(), Trouble> {
    let projections = &context.projections;
    projections.go_on_forgetting().await.map_err(Trouble::Unfinished)?;
    let is_over = *context.behind.borrow();
    let ahead = projections.horizon().filter(|_| !is_over).and_then(|own| context.ahead(own));
    let Some(ahead) = ahead else { return Ok(()) };
    if let Err(error) = projections.reach(ahead.horizon).await {
        // It matters now who else is ahead, and not all members tell each other that by themselves.
        drop(exchange(context, projections.horizon().unwrap_or_default()).await);
        return Err(Trouble::Behind { ahead, error });
    }
    tracing::info!(until = %ahead.horizon.until, "has forgotten what all members have agreed to forget");
    Ok(())
}

/// When to try again what did not work.
#[derive(Clone, Copy)]
struct Retry {
    since: Instant,
    pause: Duration,
    at: Instant,
}

impl Retry {
    /// The next try, if there is to be one.
    fn after(before: Option<Self>, context: &Context, trouble: &Trouble) -> Option<Self> {
        let now = Instant::now();
        let Some(Self { since, pause, .. }) = before else {
            tracing::warn!("{trouble}; this is tried again");
            return Some(Self { since: now, pause: RETRY_MIN, at: now + RETRY_MIN });
        };
        if let Trouble::Behind { ahead: Ahead { horizon, is_of_most: true }, error: ForgetError::Behind(_) } = trouble
            && since.elapsed() >= GRACE
        {
            context.fall_behind(*horizon);
            return None;
        }
        let pause = (2 * pause).min(RETRY_MAX);
        Some(Self { since, pause, at: now + pause })
    }
}

impl Context {
    /// Notes that this node was away when the others agreed on what to forget. It takes no writes any more, so that what it
    /// alone has does not grow.
    fn fall_behind(&self, horizon: Horizon) {
        self.projections.set_fence(Some(Fence::Behind));
        self.behind.send_replace(true);
        tracing::error!(
            until = %horizon.until,
            "this node was away for longer than the retention: the other members have forgotten what it still has, or it lacks \
             what they had before; it has to start afresh"
        );
    }
}
