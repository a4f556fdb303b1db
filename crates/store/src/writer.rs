//! Group commit: one writer, a bounded queue, one sync for all who wait.
//!
//! While the disk syncs one group, requests queue; the next group takes what is there. So a lone writer waits for one
//! sync, and sixty-four share one: the idea is DeWitt et al., "Implementation Techniques for Main Memory Database
//! Systems" (SIGMOD 1984). Nothing is answered, and nothing shown to readers, before the sync that covers it.
//!
//! A failed commit or sync is final: the writer fails every request from then on, because the kernel may have dropped
//! what it could not write, and a second sync would not say so.

use std::sync::Arc;

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::{Expectation, Submission};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::door::{Accepted, Door};
use crate::engine::EngineError;
use crate::error::{StoreFailure, WriteError};
use crate::options::{FreeBytes, Options};
use crate::shared::Shared;

/// The most writes of one group: enough to make the sync's share of each small, few enough to bound the wait.
const GROUP_WRITES_MAX: usize = 1_024;

/// The most requests that wait. A request is a single write or a part of a batch.
pub(crate) const QUEUE_REQUESTS_MAX: usize = 4_096;

/// What one write came to.
pub type Outcome = Result<Accepted, WriteError>;

/// A transition to accept, and what its emitter expects.
#[derive(Debug, Clone)]
pub struct Post {
    /// The transition.
    pub submission: Submission,
    /// What its emitter expects.
    pub expectation: Expectation,
}

/// Something to do for a tenant.
pub(crate) struct Request {
    pub(crate) tenant: TenantId,
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Vec<Outcome>>,
    /// Room in the queue, given back when the request is answered.
    pub(crate) room: OwnedSemaphorePermit,
}

pub(crate) enum Work {
    Submit(Vec<Post>),
    Retire(ArtifactId, Expectation),
}

impl Work {
    fn writes(&self) -> usize {
        match self {
            Self::Submit(posts) => posts.len(),
            Self::Retire(..) => 1,
        }
    }
}

/// The one writer of a store. It ends when every handle to the store is gone and the queue is empty.
pub struct Writer {
    door: Door,
    queue: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    reserve_bytes: u64,
    free_bytes: FreeBytes,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").field("sequence", &self.door.sequence()).finish_non_exhaustive()
    }
}

/// A request whose work is decided, waiting for the sync.
struct Decided {
    reply: oneshot::Sender<Vec<Outcome>>,
    outcomes: Vec<Outcome>,
    _room: OwnedSemaphorePermit,
}

/// Why no write is taken.
enum Shut {
    Failed(StoreFailure),
    Full { reserve_bytes: u64 },
}

impl Shut {
    fn answer(&self, requests: Vec<Request>) {
        for request in requests {
            let outcomes = (0..request.work.writes()).map(|_| Err(self.error())).collect();
            // Whoever asked may have gone away.
            let _ = request.reply.send(outcomes);
        }
    }

    const fn error(&self) -> WriteError {
        match *self {
            Self::Failed(failure) => WriteError::Failed(failure),
            Self::Full { reserve_bytes } => WriteError::DiskFull { reserve_bytes },
        }
    }
}

/// However the writer ends, nobody waits for it any more.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.fail(StoreFailure::Closed);
    }
}

impl Writer {
    pub(crate) fn new(door: Door, queue: mpsc::Receiver<Request>, shared: Arc<Shared>, options: &Options) -> Self {
        let (reserve_bytes, free_bytes) = (options.reserve_bytes, Arc::clone(&options.free_bytes));
        Self { door, queue, shared, reserve_bytes, free_bytes }
    }

    /// Writes until the store is closed. Blocks its thread; give it one of its own.
    pub fn run(mut self) {
        while let Some(first) = self.queue.blocking_recv() {
            let group = self.gather(first);
            self.write(group);
        }
    }

    /// Takes what waits, up to the bound of a group.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut writes = first.work.writes();
        let mut group = vec![first];
        while writes < GROUP_WRITES_MAX {
            let Ok(request) = self.queue.try_recv() else { break };
            writes += request.work.writes();
            group.push(request);
        }
        group
    }

    fn write(&mut self, requests: Vec<Request>) {
        if let Some(shut) = self.refusal() {
            return shut.answer(requests);
        }
        let mut group = self.door.group(&self.shared);
        let decided: Vec<Decided> = requests
            .into_iter()
            .map(|request| {
                let outcomes = match request.work {
                    Work::Submit(posts) => posts
                        .into_iter()
                        .map(|post| group.submit(&request.tenant, post.submission, &post.expectation))
                        .collect(),
                    Work::Retire(artifact, expectation) => {
                        vec![group.retire(&request.tenant, &artifact, &expectation)]
                    }
                };
                Decided { reply: request.reply, outcomes, _room: request.room }
            })
            .collect();
        let (batch, changed) = group.finish();
        let written = if batch.is_empty() { Ok(()) } else { self.door.commit(batch) };
        match written {
            Ok(()) => {
                self.shared.publish(self.door.sequence(), &changed);
                for Decided { reply, outcomes, _room } in decided {
                    // Whoever asked may have gone away; what it asked for is done all the same.
                    let _ = reply.send(outcomes);
                }
            }
            Err(error) => self.fail(&error, decided),
        }
    }

    /// Why no write can be taken now. Looked at before a group is decided, so that a full disk is met before the
    /// engine meets it, and writes go on by themselves once there is room.
    fn refusal(&self) -> Option<Shut> {
        if let Some(failure) = self.shared.failure() {
            return Some(Shut::Failed(failure));
        }
        let full = (self.free_bytes)().is_some_and(|free| free < self.reserve_bytes);
        full.then_some(Shut::Full { reserve_bytes: self.reserve_bytes })
    }

    fn fail(&self, error: &EngineError, decided: Vec<Decided>) {
        tracing::error!(%error, "the disk failed; the store takes no more writes");
        self.shared.fail(StoreFailure::Disk);
        for Decided { reply, outcomes, _room } in decided {
            let failed = outcomes.iter().map(|_| Err(WriteError::Failed(StoreFailure::Disk))).collect();
            let _ = reply.send(failed);
        }
    }
}
