//! Following the others to their horizon: the one task that forgets.
//!
//! A node forgets what it has promised to, or can still promise. One that can do neither, because it lacks some of what the
//! others had or has more, was away when they agreed: what it lacks is gone, and what it has more may be what they let go.
//! Where most of the others are further it has to start afresh. Where only a few are it stays, and exchanges nothing with
//! those: they may be the ones that are wrong, as where somebody ran one of them alone.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::projection::{Ahead, Horizon};
use plimsoll_store::forgetting::{ForgetError, Ways};
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

/// Where only a few are ahead all facts are read for them so often.
const TRIES_FOR_FEW: u32 = 4;

/// Forgets what may be forgotten, for ever.
pub(crate) async fn run(context: Arc<Context>) {
    let mut heard = context.horizons.subscribe();
    let mut rounds = Rounds::new(&context);
    let mut retry: Option<Retry> = None;
    loop {
        if retry.as_ref().is_none_or(|retry| retry.at <= Instant::now()) {
            let tries = retry.map_or(0, |retry| retry.tries);
            retry = match follow(&context, tries).await {
                Ok(()) => None,
                Err(trouble) => Retry::after(retry, &context, &trouble),
            };
        }
        rounds.look(&context).await;
        let at = retry.as_ref().map_or(rounds.next_look(), |retry| retry.at.min(rounds.next_look()));
        tokio::select! {
            biased;
            // The other end is the context's own, so it does not end.
            _changed = heard.changed() => if let Some(retry) = &mut retry {
                retry.at = Instant::now();
                retry.pause = RETRY_MIN;
            },
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

/// Goes to the horizon of those who are ahead, if some are; after so many tries that came to nothing.
async fn follow(context: &Context, tries: u32) -> Result<(), Trouble> {
    let projections = &context.projections;
    projections.go_on_forgetting().await.map_err(Trouble::Unfinished)?;
    let is_over = *context.behind.borrow();
    let Some(own) = projections.horizon().filter(|_| !is_over) else { return Ok(()) };
    let Some(ahead) = context.ahead(own) else { return Ok(()) };
    let outcome = match adopt(context, own).await {
        Err(ForgetError::Behind(_)) => {
            // A new promise would take the place of one that somebody may decide by. Where most are ahead, without this node,
            // it has been away for longer than a word holds.
            let may_promise = ahead.is_of_most || tries < TRIES_FOR_FEW && context.gives_word_to(context.node());
            let ways = Ways { by_having_nothing: false, by_a_new_promise: may_promise };
            projections.reach(ahead.horizon, ways).await.map(|()| ahead.horizon)
        }
        outcome => outcome,
    };
    match outcome {
        Ok(horizon) => tracing::info!(until = %horizon.until, "has forgotten what all members have agreed to forget"),
        Err(error) => {
            // It matters now who else is ahead, and not all members tell each other that by themselves.
            drop(exchange(context, projections.horizon().unwrap_or_default()).await);
            return Err(Trouble::Behind { ahead, error });
        }
    }
    Ok(())
}

/// Goes to the horizon of most of those that are there, where nothing here is from up to then, or it was promised.
async fn adopt(context: &Context, own: Horizon) -> Result<Horizon, ForgetError> {
    let horizon = context.horizon_of_most_there(own).ok_or(ForgetError::Behind(own.until))?;
    let ways = Ways { by_having_nothing: true, by_a_new_promise: false };
    context.projections.reach(horizon, ways).await.map(|()| horizon)
}

/// When to try again what did not work.
#[derive(Clone, Copy)]
struct Retry {
    tries: u32,
    /// Since when most of the others cannot be followed.
    behind: Option<Instant>,
    pause: Duration,
    at: Instant,
}

impl Retry {
    /// The next try, if there is to be one.
    fn after(before: Option<Self>, context: &Context, trouble: &Trouble) -> Option<Self> {
        let now = Instant::now();
        let is_behind =
            matches!(trouble, Trouble::Behind { ahead: Ahead { is_of_most: true, .. }, error: ForgetError::Behind(_) });
        let Some(Self { tries, behind, pause, .. }) = before else {
            tracing::warn!("{trouble}; this is tried again");
            let behind = is_behind.then_some(now);
            return Some(Self { tries: 1, behind, pause: RETRY_MIN, at: now + RETRY_MIN });
        };
        let behind = is_behind.then(|| behind.unwrap_or(now));
        if let (Trouble::Behind { ahead, .. }, Some(since)) = (trouble, behind)
            && since.elapsed() >= GRACE
        {
            context.fall_behind(ahead.horizon);
            return None;
        }
        let pause = (2 * pause).min(if is_behind { GRACE } else { RETRY_MAX });
        Some(Self { tries: tries.saturating_add(1), behind, pause, at: now + pause })
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
