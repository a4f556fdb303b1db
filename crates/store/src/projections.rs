//! The projections of one node: the handle that everything else holds.
//!
//! Writes go through a bounded queue to the one [`Writer`]; reads go to the cache or the engine. A read never shows
//! what a crash could take back: where it meets a change that is committed and not yet synced, it waits for the sync
//! that covers it.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, NodeId, TenantId, TransitionId};
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::{
    Expectation, FactKey, Fingerprint, Horizon, ProducedRef, RefKey, RefState, RefsDigest, Token, Winner,
};
use plimsoll_wire::record::v1::{self, StoredFact, StoredIdentity, StoredUsage, StoredWatermark};
use plimsoll_wire::record::v2::{self, Place, StoredHead, StoredRefs};
use quick_cache::sync::GuardResult;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::conflicts::ConflictCounts;
use crate::door::Door;
use crate::engine::{Direction, Engine, KeyRange, Table};
use crate::error::{ReadError, StoreFailure, WriteError};
use crate::forgetting::Forgetting;
use crate::format::{self, Format, FormatError};
use crate::layout;
use crate::log;
use crate::options::Options;
use crate::receiving::Delivery;
use crate::shared::{Changing, Cursor, Progress, Shared};
use crate::stamped::Stamped;
use crate::tally::Shown;
use crate::writer::{Outcome, Post, QUEUE_REQUESTS_MAX, Request, Series, Work, Writer};

/// Bytes of requests that may wait for the writer.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// How often a read of a projection looks again when a write came between its parts. A second look at the same change
/// finds what the first did not only if nothing is damaged: batches are seen whole.
pub(crate) const TORN_READS_MAX: usize = 64;

/// When a full queue is likely to have room: a few groups later.
const OVERLOADED_RETRY: Duration = Duration::from_secs(1);

/// The whole projection of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The transition that gives the status.
    pub winner: Winner,
    /// The refs, ordered by key.
    pub refs: Vec<ProducedRef>,
    /// Names this state.
    pub token: Token,
}

/// See the module. Cheap to clone; the store closes when the last clone is gone.
#[derive(Clone)]
pub struct Projections {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) shared: Arc<Shared>,
    /// `None` where the format is an old one.
    pub(crate) counted: Option<Arc<Shown>>,
    queue: mpsc::Sender<Request>,
    queue_bytes: Arc<Semaphore>,
    identity: StoredIdentity,
    format: Format,
    pub(crate) conflicts: Arc<ConflictCounts>,
    pub(crate) stamped: Arc<Stamped>,
    pub(crate) forgetting: Arc<Forgetting>,
}

impl std::fmt::Debug for Projections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Projections").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Projections {
    /// Opens the projections an engine holds, and the writer that has to [`Writer::run`] for writes to be answered.
    ///
    /// `fresh` names the node if the engine is empty: a random number each.
    ///
    /// # Errors
    /// [`FormatError`]: what the store says about itself cannot be read, or is not for this version.
    pub fn open(
        engine: Arc<dyn Engine>,
        fresh: StoredIdentity,
        options: &Options,
    ) -> Result<(Self, Writer), FormatError> {
        let (format, identity) = format::open(&*engine, fresh)?;
        let door = Door::open(Arc::clone(&engine), (format, identity), options.clone())?;
        let counted = door.shown();
        let shared = Arc::new(Shared::new(door.sequence(), options.cursor_cache_bytes, identity));
        let (conflicts, stamped) = (door.conflicts(), door.stamped());
        let forgetting = Arc::new(Forgetting::new(door.horizons()));
        let (queue, requests) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let writer = Writer::new(door, requests, Arc::clone(&shared), options);
        let queue_bytes = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        let projections =
            Self { engine, shared, counted, queue, queue_bytes, identity, format, conflicts, stamped, forgetting };
        Ok((projections, writer))
    }

    /// The node, and the incarnation of its data directory.
    #[must_use]
    pub const fn identity(&self) -> StoredIdentity {
        self.identity
    }

    /// The format of the data directory: an older one is read, and not written.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// How far the writer has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.shared.progress().borrow()
    }

    /// Tells each time the writer has come further.
    #[must_use]
    pub fn watch_progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress()
    }

    /// Requests that wait for the writer.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        QUEUE_REQUESTS_MAX - self.queue.capacity()
    }

    /// Roughly how many bytes the store occupies on its disk.
    ///
    /// # Errors
    /// [`ReadError`]: it cannot be told.
    pub fn disk_bytes(&self) -> Result<u64, ReadError> {
        Ok(self.engine.disk_bytes()?)
    }

    /// Accepts a transition: returns once it is durable, or refused.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn submit(&self, tenant: &TenantId, post: Post) -> Outcome {
        let outcomes = self.ask(Work::Submit(tenant.clone(), vec![post], None), Patience::None).await?;
        outcomes.into_iter().next().unwrap_or(Err(WriteError::Failed(StoreFailure::Closed)))
    }

    /// Hands transitions to the writer, in order, and returns what will tell their outcomes. Waits for room in the
    /// queue. Parts handed over one after another are decided in that order; once one part of a `series` was refused as
    /// a whole, because the disk is full or has failed, so are all its later ones: they may rest on the ones before.
    ///
    /// # Errors
    /// See [`WriteError`]; then none of them was stored.
    pub async fn enqueue(&self, tenant: &TenantId, posts: Vec<Post>, series: &Series) -> Result<Enqueued, WriteError> {
        let writes = posts.len();
        let work = Work::Submit(tenant.clone(), posts, Some(series.clone()));
        let reply = self.send(work, Patience::Wait).await?;
        Ok(Enqueued { reply, writes, shared: Arc::clone(&self.shared) })
    }

    /// Retires an artifact with a tombstone.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn retire(&self, tenant: &TenantId, artifact: ArtifactId, expectation: Expectation) -> Outcome {
        let outcomes = self.ask(Work::Retire(tenant.clone(), artifact, expectation), Patience::None).await?;
        outcomes.into_iter().next().unwrap_or(Err(WriteError::Failed(StoreFailure::Closed)))
    }

    /// Merges a part of a peer's feed: returns once it is durable, with an outcome for each of its facts up to the
    /// first that could not be merged. Waits for room in the queue.
    ///
    /// # Errors
    /// See [`WriteError`]; then none of them was stored.
    pub async fn receive(&self, delivery: Delivery) -> Result<Vec<Outcome>, WriteError> {
        self.ask(Work::Receive(delivery), Patience::Wait).await
    }

    /// Merges facts that were missing here, whatever feed they once came by, of a replica of this horizon: returns once
    /// they are durable, with an outcome for each. Waits for room in the queue.
    ///
    /// # Errors
    /// See [`WriteError`]; then none of them was stored.
    pub async fn absorb(&self, horizon: Horizon, facts: Vec<StoredFact>) -> Result<Vec<Outcome>, WriteError> {
        self.ask(Work::Absorb(horizon, facts), Patience::Wait).await
    }

    /// Has something done that has no outcome of its own: returns once it is on the disk.
    pub(crate) async fn ask_to(&self, work: Work) -> Result<(), WriteError> {
        let outcomes = self.ask(work, Patience::Wait).await?;
        outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        match self.progress().failure {
            Some(failure) => Err(WriteError::Failed(failure)),
            None => Ok(()),
        }
    }

    pub(crate) async fn ask(&self, work: Work, patience: Patience) -> Result<Vec<Outcome>, WriteError> {
        let reply = self.send(work, patience).await?;
        reply.await.map_err(|_| WriteError::Failed(self.shared.failure().unwrap_or(StoreFailure::Closed)))
    }

    async fn send(&self, work: Work, patience: Patience) -> Result<oneshot::Receiver<Vec<Outcome>>, WriteError> {
        self.format.check_writable()?;
        if let Some(fence) = self.fence().filter(|_| work.is_of_a_client()) {
            return Err(WriteError::Fenced(fence));
        }
        let bytes = u32::try_from(work.bytes().min(QUEUE_BYTES_MAX)).expect("64 MiB fit 32 bits");
        let full = || WriteError::Overloaded { retry_after: OVERLOADED_RETRY };
        let closed = || WriteError::Failed(self.shared.failure().unwrap_or(StoreFailure::Closed));
        let queue_bytes = Arc::clone(&self.queue_bytes);
        let (room, place) = match patience {
            Patience::None => (
                queue_bytes.try_acquire_many_owned(bytes).map_err(|_| full())?,
                self.queue.try_reserve().map_err(|error| match error {
                    mpsc::error::TrySendError::Full(()) => full(),
                    mpsc::error::TrySendError::Closed(()) => closed(),
                })?,
            ),
            Patience::Wait => (
                queue_bytes.acquire_many_owned(bytes).await.map_err(|_| closed())?,
                self.queue.reserve().await.map_err(|_| closed())?,
            ),
        };
        let (reply, outcomes) = oneshot::channel();
        place.send(Request { work, reply, room });
        Ok(outcomes)
    }

    /// The cursor of an artifact, if it is projected here. From memory, where it was read or written lately.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn cursor(&self, tenant: &TenantId, artifact: &ArtifactId) -> Result<Option<Arc<Cursor>>, ReadError> {
        let key = layout::head(tenant, artifact);
        let cursor = match self.shared.cursors.get(key.as_slice()) {
            Some(cursor) => Some(cursor),
            None => self.load_cursor(&key, artifact).await?,
        };
        Ok(cursor.and_then(Cursor::if_visible))
    }

    /// The cursor of an artifact, where it is in memory and the artifact is projected here. Any text may be asked for.
    #[must_use]
    pub fn cached_cursor(&self, tenant: &TenantId, artifact: &str) -> Option<Arc<Cursor>> {
        self.shared.cursors.get(layout::head_of_text(tenant, artifact).as_slice()).and_then(Cursor::if_visible)
    }

    async fn load_cursor(&self, key: &[u8], artifact: &ArtifactId) -> Result<Option<Arc<Cursor>>, ReadError> {
        let cursor = {
            let guard = match self.shared.cursors.get_value_or_guard(key, None) {
                GuardResult::Value(cursor) => return Ok(Some(cursor)),
                GuardResult::Guard(guard) => guard,
                GuardResult::Timeout => return Err(ReadError::Failed(StoreFailure::Closed)),
            };
            let Some(value) = self.engine.get(Table::Head, key)? else { return Ok(None) };
            let head = v2::decode_head(&value)?;
            let Some(token) = head.projection.token(artifact) else { return Ok(None) };
            let cursor = Arc::new(Changing::of(artifact.clone(), token, &head).into_cursor());
            if cursor.sequence <= self.shared.durable() {
                // The place may be taken by a newer cursor; then that one stays.
                let _ = guard.insert(Arc::clone(&cursor));
            }
            cursor
        };
        self.settled(cursor.sequence).await?;
        Ok(Some(cursor))
    }

    /// Rings when the artifact may have changed, and now and then when it has not. To miss nothing: take the bell,
    /// then look at the cursor, then wait.
    #[must_use]
    pub fn bell(&self, tenant: &TenantId, artifact: &ArtifactId) -> &Notify {
        self.shared.bell(&layout::head(tenant, artifact))
    }

    /// The whole projection of an artifact, if it is projected here: one exact state, however many writes go on.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn projection(&self, tenant: &TenantId, artifact: &ArtifactId) -> Result<Option<Whole>, ReadError> {
        let mut torn_at = None;
        for _ in 0..TORN_READS_MAX {
            let Some(head) = self.head(tenant, artifact)? else { return Ok(None) };
            let (refs, digest) = self.refs(tenant, artifact, head.refs)?;
            if digest != head.projection.refs {
                if torn_at.replace(head.sequence) == Some(head.sequence) {
                    return Err(ReadError::RefsDoNotMatch { artifact: artifact.to_string() });
                }
                tokio::task::yield_now().await;
                continue;
            }
            self.settled(head.sequence).await?;
            let token = head.projection.token(artifact);
            return Ok(head.projection.winner.zip(token).map(|(winner, token)| Whole { winner, refs, token }));
        }
        Err(ReadError::Busy { artifact: artifact.to_string() })
    }

    pub(crate) fn head(&self, tenant: &TenantId, artifact: &ArtifactId) -> Result<Option<StoredHead>, ReadError> {
        let value = self.engine.get(Table::Head, &layout::head(tenant, artifact))?;
        Ok(value.map(|value| v2::decode_head(&value)).transpose()?)
    }

    fn refs(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        refs: StoredRefs,
    ) -> Result<(Vec<ProducedRef>, RefsDigest), ReadError> {
        let rows = match refs {
            StoredRefs::Here(refs) => refs,
            StoredRefs::Apart => self.refs_apart(&layout::of_artifact(tenant, artifact))?,
        };
        let mut digest = RefsDigest::default();
        rows.iter().for_each(|(key, state)| digest.add(key, state));
        let told = rows.into_iter().map(|(key, state)| {
            let resolution = match state {
                RefState::Pending => None,
                RefState::Resolved { resolution, .. } => Some(resolution),
            };
            ProducedRef { key, resolution }
        });
        let mut refs: Vec<_> = told.collect();
        refs.sort();
        Ok((refs, digest))
    }

    fn refs_apart(&self, prefix: &[u8]) -> Result<Vec<(RefKey, RefState)>, ReadError> {
        let rows = self.engine.scan(Table::Ref, KeyRange::prefix(prefix), Direction::Forward);
        rows.map(|row| Ok(v1::decode_ref(&row?.1)?)).collect()
    }

    /// Whether a transition of an artifact is here.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn contains(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        transition: &TransitionId,
    ) -> Result<bool, ReadError> {
        unless_moved(|| self.contains_now(tenant, artifact, transition)).await
    }

    async fn contains_now(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        transition: &TransitionId,
    ) -> Result<bool, ReadError> {
        let Some(value) = self.engine.get(Table::Identity, &FactKey::of_transition(tenant, transition).bytes())? else {
            return Ok(false);
        };
        let place = v2::decode_place(&value)?;
        let sequence = place.sequence;
        if !planted::has(Bug::ContainsTooEarly) {
            self.settled(sequence).await?;
        }
        let stored = self.fact_at(place)?.ok_or(ReadError::Dangling { sequence })?;
        let here = stored.fact.transition().filter(|here| stored.tenant == *tenant && here.id == *transition);
        let here = here.ok_or(ReadError::Dangling { sequence })?;
        Ok(here.artifact == *artifact)
    }

    /// What a tenant occupies.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn usage(&self, tenant: &TenantId) -> Result<StoredUsage, ReadError> {
        let value = self.engine.get(Table::Meta, &layout::usage(tenant))?;
        Ok(value.map(|value| v1::decode_usage(&value)).transpose()?.unwrap_or_default())
    }

    /// The fingerprint of all facts, as of the latest commit.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn fingerprint(&self) -> Result<Fingerprint, ReadError> {
        let value = self.engine.get(Table::Meta, layout::FINGERPRINT)?;
        Ok(value.map(|value| v1::decode_fingerprint(&value)).transpose()?.unwrap_or_default())
    }

    /// How far the feed of a peer has been taken over, as of the latest commit; `None` before its first delivery.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn watermark(&self, peer: NodeId) -> Result<Option<StoredWatermark>, ReadError> {
        let value = self.engine.get(Table::Meta, &layout::watermark(peer))?;
        Ok(value.map(|value| v1::decode_watermark(&value)).transpose()?)
    }

    /// The same, once everything it covers is on the disk: what may be told to the peer.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn durable_watermark(&self, peer: NodeId) -> Result<Option<StoredWatermark>, ReadError> {
        let watermark = self.watermark(peer)?;
        self.synced().await?;
        Ok(watermark)
    }

    /// Waits until all that is committed by now is on the disk.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn synced(&self) -> Result<(), ReadError> {
        self.settled(self.committed()?).await
    }

    /// The sequence of the latest commit.
    pub(crate) fn committed(&self) -> Result<u64, ReadError> {
        let value = self.engine.get(Table::Meta, layout::SEQUENCE)?;
        Ok(value.map(|value| v1::decode_number(&value)).transpose()?.unwrap_or_default())
    }

    pub(crate) fn fact_at(&self, place: Place) -> Result<Option<StoredFact>, ReadError> {
        let pack = self.engine.get(Table::Log, &layout::log(place.pack()))?;
        Ok(pack.map(|pack| log::fact_in(&pack, place)).transpose()?.flatten())
    }

    /// Waits until everything up to `sequence` is on the disk: at most one sync.
    pub(crate) async fn settled(&self, sequence: u64) -> Result<(), ReadError> {
        if sequence <= self.shared.durable() {
            return Ok(());
        }
        let mut progress = self.shared.progress();
        let come = progress.wait_for(|progress| progress.durable >= sequence || progress.failure.is_some()).await;
        match come.map(|progress| *progress) {
            Ok(Progress { durable, .. }) if durable >= sequence => Ok(()),
            Ok(Progress { failure: Some(failure), .. }) => Err(ReadError::Failed(failure)),
            _ => Err(ReadError::Failed(StoreFailure::Closed)),
        }
    }
}

/// Reads again where a fact moved between the look at where it is and the look there: a joined fact stands anew at the end
/// of the log. The same place twice is damage.
pub(crate) async fn unless_moved<T, Reading>(mut read: impl FnMut() -> Reading) -> Result<T, ReadError>
where
    Reading: Future<Output = Result<T, ReadError>>,
{
    let mut moved_from = None;
    for _ in 1..TORN_READS_MAX {
        match read().await {
            Err(ReadError::Dangling { sequence }) if moved_from.replace(sequence) != Some(sequence) => {
                tokio::task::yield_now().await;
            }
            outcome => return outcome,
        }
    }
    read().await
}

/// Transitions that were handed to the writer.
#[derive(Debug)]
pub struct Enqueued {
    reply: oneshot::Receiver<Vec<Outcome>>,
    writes: usize,
    shared: Arc<Shared>,
}

impl Enqueued {
    /// What became of them, one outcome each, in order: once each is durable or refused.
    pub async fn outcomes(self) -> Vec<Outcome> {
        let failure = || self.shared.failure().unwrap_or(StoreFailure::Closed);
        match self.reply.await {
            Ok(outcomes) => outcomes,
            Err(_) => (0..self.writes).map(|_| Err(WriteError::Failed(failure()))).collect(),
        }
    }
}

/// What to do where the queue is full.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    None,
    Wait,
}
