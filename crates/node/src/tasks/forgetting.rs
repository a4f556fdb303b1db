//! The task that forgets what was retired, on a node alone: in a cluster the members agree on it.

use std::time::Duration;

use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::forgetting::ForgetError;
use plimsoll_store::options::WallClock;
use plimsoll_store::projections::Projections;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often it is looked, as a part of the retention; and the bounds of that.
const PARTS: u32 = 8;
const LOOK_MIN: Duration = Duration::from_millis(100);

/// The task; none where the members of a cluster agree on it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct ForgettingTask(JoinSet<()>);

impl ForgettingTask {
    /// No task.
    pub(crate) fn none() -> Self {
        Self(JoinSet::new())
    }

    pub(crate) fn spawn(projections: Projections, wall_clock: WallClock, retention: Duration) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(run(projections, wall_clock, retention));
        Self(tasks)
    }

    /// Ends it, and waits for that: it holds the store open.
    pub(crate) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

async fn run(projections: Projections, wall_clock: WallClock, retention: Duration) {
    loop {
        if let Err(error) = forget(&projections, wall_clock(), retention).await {
            tracing::error!(%error, "what was retired long ago cannot be forgotten");
        }
        sleep((retention / PARTS).max(LOOK_MIN)).await;
    }
}

async fn forget(projections: &Projections, now: UnixNanos, retention: Duration) -> Result<(), ForgetError> {
    projections.go_on_forgetting().await?;
    let until = now.get().saturating_sub(u64::try_from(retention.as_nanos()).unwrap_or(u64::MAX));
    let before = projections.forgotten();
    let promise = projections.promise(UnixNanos::new(until), Duration::ZERO).await?;
    if projections.would_forget(promise.horizon.until).await? {
        projections.forget(promise.horizon).await?;
        let facts = projections.forgotten() - before;
        tracing::info!(until = %promise.horizon.until, facts, "has forgotten what was retired by then");
    }
    Ok(())
}
