//! The tasks that serve connections: as many as there is room for.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time;

/// See the module.
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    room: Arc<Semaphore>,
}

/// Room for one connection.
pub(crate) struct Room(OwnedSemaphorePermit);

impl Connections {
    pub(crate) fn new(max: usize) -> Self {
        Self { tasks: JoinSet::new(), room: Arc::new(Semaphore::new(max)) }
    }

    /// Waits for room.
    pub(crate) async fn room(&self) -> Room {
        Room(Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed"))
    }

    /// Serves a connection beside the others, and joins those that have ended.
    pub(crate) fn spawn(&mut self, room: Room, serving: impl Future<Output = ()> + Send + 'static) {
        while let Some(ended) = self.tasks.try_join_next() {
            report(ended);
        }
        self.tasks.spawn(async move {
            let Room(_permit) = room;
            serving.await;
        });
    }

    /// Waits for those that are open, then cuts off what is left; returns how many that were.
    pub(crate) async fn finish(mut self, grace: Duration) -> usize {
        let drained = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        // Past the grace, those that are left are counted and cut off.
        let _ = time::timeout(grace, drained).await;
        let left = self.tasks.len();
        self.tasks.shutdown().await;
        left
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection has ended");
    }
}
