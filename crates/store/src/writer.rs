//! Group commit: one writer, a bounded queue, one sync for all who wait.
//!
//! Two stages, each a thread of its own. The *writer* takes what waits, decides it and commits it as one group; the
//! *syncer* makes committed groups durable, shows them to readers and answers. While the disk syncs one group, the writer
//! decides the next: so a lone client waits for one sync, and sixty-four share one without waiting for each other. The
//! idea of sharing is DeWitt et al., "Implementation Techniques for Main Memory Database Systems" (SIGMOD 1984).
//!
//! Nothing is answered, and nothing shown to readers, before the sync that covers it: not even a repetition, for what it
//! repeats may not be durable yet. So every group passes the syncer, in order.
//!
//! The two may also be tasks ([`Writer::run_as_tasks`]), where time is simulated and a thread would not see it.
//!
//! A failed commit or sync is final: every request fails from then on, because the kernel may have dropped what it could
//! not write, and a second sync would not say so.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::{Expectation, Horizon, Submission, Transition};
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_wire::record::v1::StoredFact;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::door::{Accepted, Door, Group, Room};
use crate::engine::{Engine, EngineError, Table};
use crate::error::{StoreFailure, WriteError};
use crate::forgetting::{Entries, Listing};
use crate::horizons::Step;
use crate::options::{FreeBytes, Options};
use crate::receiving::Delivery;
use crate::shared::{Changed, Shared};
use crate::tally::When;

/// The most writes of one group: enough to make the sync's share of each small, few enough to bound the wait.
const GROUP_WRITES_MAX: usize = 1_024;

/// What a post with nothing to say occupies.
const REQUEST_BYTES: usize = 512;

/// A post of up to so many bytes counts once; a larger one counts again for each so many.
const POST_BYTES_USUAL: usize = 4 << 10;

/// Of the writes of a group, what a retirement counts for.
const RETIREMENT_WEIGHT: usize = 64;

/// The most groups that are committed and not yet synced: one at the disk, one that waits for it, so that neither stage
/// waits for the other unless it is the slower one.
const GROUPS_IN_FLIGHT_MAX: usize = 1;

/// When to send again what followed a part that was refused.
const BROKEN_SERIES_RETRY: Duration = Duration::from_secs(1);

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

/// Something to do.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Vec<Outcome>>,
    /// Room in the queue, given back when the request is answered.
    pub(crate) room: OwnedSemaphorePermit,
}

/// Parts of one stream of transitions, of which none may be decided after one that could not be: it may rest on that.
#[derive(Debug, Clone, Default)]
pub struct Series(Arc<AtomicBool>);

impl Series {
    fn unless_broken(&self, submit: impl FnOnce() -> Outcome) -> Outcome {
        if self.0.load(Ordering::Acquire) {
            return Err(WriteError::Overloaded { retry_after: BROKEN_SERIES_RETRY });
        }
        let outcome = submit();
        if matches!(outcome, Err(WriteError::DiskFull { .. } | WriteError::Read(_))) {
            self.0.store(true, Ordering::Release);
        }
        outcome
    }
}

pub(crate) enum Work {
    /// A tenant's transitions.
    Submit(TenantId, Vec<Post>, Option<Series>),
    /// A tenant's artifact to retire.
    Retire(TenantId, ArtifactId, Expectation),
    /// Facts of a peer.
    Receive(Delivery),
    /// A note, by its key.
    Note(Vec<u8>, Vec<u8>),
    /// Facts that were missing here, of a replica of this horizon.
    Absorb(Horizon, Vec<StoredFact>),
    /// A step on the way to a horizon.
    Horizon(Step),
    /// Tombstones to put on the list of those to forget by, or to take off it, by key of the artifact's head.
    List(Listing),
    /// Those of the list to forget by now.
    Forget(Entries),
}

impl Work {
    fn writes(&self) -> usize {
        match self {
            Self::Submit(_, posts, _) => posts.len(),
            Self::Retire(..) => 1,
            Self::Receive(delivery) => delivery.facts.len(),
            Self::Absorb(_, facts) => facts.len(),
            Self::Note(..) | Self::Horizon(_) | Self::List(_) | Self::Forget(_) => 0,
        }
    }

    /// Whether it is a client's, and kept out by a fence.
    pub(crate) const fn is_of_a_client(&self) -> bool {
        matches!(self, Self::Submit(..) | Self::Retire(..))
    }

    /// Whether it changes what no sequence tells.
    const fn changes_no_sequence(&self) -> bool {
        matches!(self, Self::Note(..) | Self::Horizon(_) | Self::List(_) | Self::Forget(_))
    }

    /// The facts of other nodes.
    fn facts(&self) -> impl Iterator<Item = &StoredFact> {
        let (delivered, absorbed) = match self {
            Self::Receive(delivery) => (delivery.facts.as_slice(), &[][..]),
            Self::Absorb(_, facts) => (&[][..], facts.as_slice()),
            _ => (&[][..], &[][..]),
        };
        delivered.iter().map(|(_, stored)| stored).chain(absorbed)
    }

    /// About what the work occupies while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let of_transition =
            |transition: &Transition| REQUEST_BYTES + 64 * transition.refs().len() + transition.refs_text_bytes();
        match self {
            Self::Submit(_, posts, _) => posts.iter().map(|post| of_transition(&post.submission.transition)).sum(),
            Self::Retire(..) => REQUEST_BYTES,
            Self::Receive(_) | Self::Absorb(..) => {
                let facts = self.facts().map(|stored| stored.fact.transition());
                facts.map(|transition| transition.map_or(REQUEST_BYTES, of_transition)).sum()
            }
            Self::Note(_, note) => REQUEST_BYTES + note.len(),
            Self::Horizon(_) => REQUEST_BYTES,
            Self::List(rows) => REQUEST_BYTES * rows.len(),
            Self::Forget(rows) => REQUEST_BYTES * rows.len(),
        }
    }

    /// What the work counts for against [`GROUP_WRITES_MAX`]: a retirement may take away as many refs as an artifact
    /// can have.
    fn weight(&self) -> usize {
        match self {
            Self::Submit(_, posts, _) => posts.len() + self.bytes() / POST_BYTES_USUAL,
            Self::Retire(..) => RETIREMENT_WEIGHT,
            Self::Note(..) | Self::Horizon(_) => 1,
            Self::List(rows) => rows.len(),
            Self::Forget(_) => GROUP_WRITES_MAX,
            Self::Receive(_) | Self::Absorb(..) => {
                let tombstones = self.facts().filter(|stored| stored.fact.transition().is_none());
                self.writes() + tombstones.count() * RETIREMENT_WEIGHT + self.bytes() / POST_BYTES_USUAL
            }
        }
    }
}

/// The one writer of a store. It ends when every handle to the store is gone and the queue is empty.
pub struct Writer {
    door: Door,
    queue: mpsc::Receiver<Request>,
    shared: Arc<Shared>,
    gauge: Gauge,
}

/// Whether the data disk has room, looked at no more often than is needed to see it fill up: asking the file system
/// costs as much as deciding several transitions.
struct Gauge {
    reserve_bytes: u64,
    free_bytes: FreeBytes,
    looked: Option<UnixNanos>,
}

impl Gauge {
    /// A gigabyte a second fills less than the usual reserve in this time.
    const LOOK_NANOS: u64 = 50_000_000;

    /// A full disk is looked at each time, so that writes go on as soon as there is room.
    fn room(&mut self, now: UnixNanos) -> Room {
        let fresh = |looked: UnixNanos| now.get().checked_sub(looked.get()).is_some_and(|age| age < Self::LOOK_NANOS);
        if self.looked.is_some_and(fresh) {
            return Room::Ample;
        }
        let reserve_bytes = self.reserve_bytes;
        let short = (self.free_bytes)().is_some_and(|free| free < reserve_bytes);
        self.looked = (!short).then_some(now);
        if short { Room::Short { reserve_bytes } } else { Room::Ample }
    }
}

/// A committed group on its way to the syncer.
struct Committed {
    sequence: u64,
    /// Whether it has changed what no sequence tells.
    has_notes: bool,
    changed: Changed,
    decided: Vec<Decided>,
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

/// However the writer ends, nobody waits for it any more.
impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.fail(StoreFailure::Closed);
    }
}

impl Writer {
    pub(crate) fn new(door: Door, queue: mpsc::Receiver<Request>, shared: Arc<Shared>, options: &Options) -> Self {
        let (reserve_bytes, free_bytes) = (options.reserve_bytes, Arc::clone(&options.free_bytes));
        let gauge = Gauge { reserve_bytes, free_bytes, looked: None };
        Self { door, queue, shared, gauge }
    }

    /// Writes until the store is closed. Blocks its thread, and one more that it starts for the syncs; give it one of
    /// its own.
    pub fn run(mut self) {
        let (to_syncer, committed) = sync_channel(GROUPS_IN_FLIGHT_MAX);
        let syncer = Syncer { engine: self.door.engine(), shared: Arc::clone(&self.shared) };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("plimsoll-syncer".to_owned());
            if let Err(error) = thread.spawn_scoped(scope, move || syncer.run(&committed)) {
                tracing::error!(%error, "no thread for the syncs can be had; the store takes no writes");
                return;
            }
            while let Some(first) = self.next() {
                let group = self.gather(first);
                if let Some(committed) = self.write(group)
                    && let Err(unsent) = to_syncer.send(committed)
                {
                    self.abandon(unsent.0);
                    break;
                }
                self.count(When::Due);
            }
            drop(to_syncer);
        });
        self.close();
    }

    /// Writes until the store is closed, on the runtime. Each sync takes as long as `disk` does before it. What
    /// is not synced when this is dropped was not acknowledged.
    pub async fn run_as_tasks<Syncing: Future<Output = ()>>(mut self, disk: impl Fn() -> Syncing) {
        let (to_syncer, mut committed) = mpsc::channel(GROUPS_IN_FLIGHT_MAX);
        let syncer = Syncer { engine: self.door.engine(), shared: Arc::clone(&self.shared) };
        let syncing = async {
            while let Some(first) = committed.recv().await {
                let mut groups = vec![first];
                groups.extend(std::iter::from_fn(|| committed.try_recv().ok()));
                disk().await;
                syncer.sync(groups);
            }
        };
        let writing = async {
            loop {
                let next = match self.next_waiting() {
                    ControlFlow::Break(next) => next,
                    ControlFlow::Continue(()) => self.queue.recv().await,
                };
                let Some(first) = next else { break };
                let group = self.gather(first);
                if let Some(committed) = self.write(group)
                    && let Err(unsent) = to_syncer.send(committed).await
                {
                    self.abandon(unsent.0);
                    break;
                }
                self.count(When::Due);
            }
            drop(to_syncer);
            self
        };
        let (mut writer, ()) = tokio::join!(writing, syncing);
        writer.close();
    }

    /// Waits for a request; `None` when there will be none any more.
    fn next(&mut self) -> Option<Request> {
        match self.next_waiting() {
            ControlFlow::Break(next) => next,
            ControlFlow::Continue(()) => self.queue.blocking_recv(),
        }
    }

    /// The request that waits. While none does, facts are counted that are not counted yet.
    fn next_waiting(&mut self) -> ControlFlow<Option<Request>> {
        while self.door.is_behind() && self.shared.failure().is_none() {
            match self.queue.try_recv() {
                Ok(request) => return ControlFlow::Break(Some(request)),
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(None),
                Err(TryRecvError::Empty) => drop(self.count(When::Due)),
            }
        }
        ControlFlow::Continue(())
    }

    /// Goes on counting facts where some are not counted yet, and notes the count when it is time. Returns whether it was
    /// noted. A disk without room is left alone: after a restart more is counted anew.
    fn count(&mut self, when: When) -> bool {
        if self.shared.failure().is_some() {
            return false;
        }
        self.door.catch_up();
        if !self.door.is_checkpoint_due(when) || matches!(self.gauge.room(self.door.now()), Room::Short { .. }) {
            return false;
        }
        let noted = self.door.checkpoint();
        if let Err(error) = &noted {
            fail(&self.shared, error);
        }
        noted.is_ok()
    }

    /// Nobody waits for this sync: if it fails, what it should have covered is counted anew.
    fn close(&mut self) {
        if self.count(When::Closing)
            && let Err(error) = self.door.engine().sync()
        {
            tracing::warn!(%error, "the count of facts could not be noted for the next start");
        }
    }

    /// Takes what waits, up to the bound of a group.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut weight = first.work.weight();
        let mut group = vec![first];
        while weight < GROUP_WRITES_MAX {
            let Ok(request) = self.queue.try_recv() else { break };
            weight += request.work.weight();
            group.push(request);
        }
        group
    }

    /// Decides and commits a group, to be synced. A store that has failed answers at once.
    fn write(&mut self, requests: Vec<Request>) -> Option<Committed> {
        if let Some(failure) = self.shared.failure() {
            requests.into_iter().for_each(|request| request.refuse(failure));
            return None;
        }
        let room = self.gauge.room(self.door.now());
        let mut group = self.door.group(room);
        let has_notes = requests.iter().any(|request| request.work.changes_no_sequence());
        let mut decided: Vec<_> = requests.into_iter().map(|request| Decided::by(&mut group, request)).collect();
        let decision = group.finish();
        let changed = match self.door.commit(decision) {
            Ok(changed) => changed,
            Err(error) => {
                answer_failed(decided, fail(&self.shared, &error));
                return None;
            }
        };
        if planted::has(Bug::AckBeforeSync) {
            decided.drain(..).for_each(Decided::answer);
        }
        let sequence = self.door.sequence();
        Some(Committed { sequence, has_notes, changed, decided })
    }

    /// Nobody syncs any more.
    fn abandon(&self, committed: Committed) {
        self.shared.fail(StoreFailure::Closed);
        answer_failed(committed.decided, StoreFailure::Closed);
    }
}

impl Request {
    /// Whoever asked may have gone away.
    fn refuse(self, failure: StoreFailure) {
        let outcomes = (0..self.work.writes()).map(|_| Err(WriteError::Failed(failure))).collect();
        let _ = self.reply.send(outcomes);
    }
}

impl Decided {
    fn by(group: &mut Group<'_>, request: Request) -> Self {
        let Request { work, reply, room } = request;
        let mut submit = |tenant: &TenantId, post: Post| group.submit(tenant, post.submission, &post.expectation);
        let outcomes = match work {
            Work::Submit(tenant, posts, None) => posts.into_iter().map(|post| submit(&tenant, post)).collect(),
            Work::Submit(tenant, posts, Some(series)) => {
                posts.into_iter().map(|post| series.unless_broken(|| submit(&tenant, post))).collect()
            }
            Work::Retire(tenant, artifact, expectation) => vec![group.retire(&tenant, &artifact, &expectation)],
            Work::Receive(delivery) => group.receive(delivery),
            Work::Note(key, note) => {
                group.staging.put(Table::Meta, key, note);
                Vec::new()
            }
            Work::Absorb(horizon, facts) => group.absorb(horizon, &facts),
            Work::Horizon(step) => group.step(step),
            Work::List(rows) => group.list(rows),
            Work::Forget(rows) => group.forget_by(&rows),
        };
        Self { reply, outcomes, _room: room }
    }

    /// Whoever asked may have gone away; what it asked for is done all the same.
    fn answer(self) {
        let _ = self.reply.send(self.outcomes);
    }
}

/// Makes committed groups durable, in order.
struct Syncer {
    engine: Arc<dyn Engine>,
    shared: Arc<Shared>,
}

impl Syncer {
    fn run(self, committed: &Receiver<Committed>) {
        while let Ok(first) = committed.recv() {
            let groups: Vec<Committed> = std::iter::once(first).chain(committed.try_iter()).collect();
            self.sync(groups);
        }
    }

    fn sync(&self, groups: Vec<Committed>) {
        let newest = groups.last().map_or(0, |group| group.sequence);
        let has_notes = groups.iter().any(|group| group.has_notes);
        let synced = match self.shared.failure() {
            Some(failure) => Err(failure),
            None if newest == self.shared.durable() && !has_notes => Ok(()),
            None => self.engine.sync().map_err(|error| fail(&self.shared, &error)),
        };
        for Committed { sequence, changed, decided, .. } in groups {
            match synced {
                Ok(()) => {
                    self.shared.publish(sequence, changed);
                    decided.into_iter().for_each(Decided::answer);
                }
                Err(failure) => answer_failed(decided, failure),
            }
        }
    }
}

/// Tells of a failed disk; the store takes no more writes.
fn fail(shared: &Shared, error: &EngineError) -> StoreFailure {
    tracing::error!(%error, "the disk failed; the store takes no more writes");
    let failure = match error {
        EngineError::DiskFull => StoreFailure::DiskFull,
        _ => StoreFailure::Disk,
    };
    shared.fail(failure);
    failure
}

/// Whether what was decided will be there after a restart is unknown.
fn answer_failed(decided: Vec<Decided>, failure: StoreFailure) {
    for Decided { reply, outcomes, _room } in decided {
        let failed = outcomes.iter().map(|_| Err(WriteError::Failed(failure))).collect();
        let _ = reply.send(failed);
    }
}
