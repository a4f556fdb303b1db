//! What a store lets go: retired artifacts, once every member knows that they are.
//!
//! The rule is `domain`'s, in [`forgotten`]; who has to agree, and when, is for whoever calls this. A store gives its word in
//! [`Projections::promise`]: it lists its tombstones from up to a moment, and says what it has from up to then. When all
//! members have said the same it is told to [`Projections::forget`]. From the first artifact it forgets to the last no fact
//! is merged that comes from elsewhere, and none should be told ([`Projections::horizon`] is then `None`); clients' writes
//! go on. A crash in between is made good by [`Projections::go_on_forgetting`].
//!
//! A promise may be repeated, and a later one takes the place of the one before. It is void once a fact from up to its moment
//! is merged that it did not count. All of that is decided between writes: see `horizons`, beside this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::{Body, Fact, FactKey, Fingerprint, Horizon, forgotten};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::record::v1::{self, StoredFact};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::door::{Group, token_of};
use crate::engine::{Direction, KeyRange, Row, Table};
use crate::error::{ReadError, WriteError};
use crate::horizons::{Horizons, Step};
use crate::layout;
use crate::log;
use crate::projections::Projections;
use crate::staging::{Known, Staging};
use crate::writer::{Outcome, Work};

/// Entries of the list that are written, or forgotten by, at a time: as many as a group has writes, for one sync.
const LIST_ROWS_MAX: usize = 1_024;

/// Packs of the log that are read at a time: some thousand facts.
const PACKS_MAX: usize = 64;

/// Facts that are forgotten at a time: what clients wait for meanwhile. Those of an artifact go oldest first, so that its
/// tombstone goes last.
const FACTS_MAX: usize = 1_024;

/// Entries of the list, by key of the artifact's head.
pub(crate) type Entries = Vec<(Vec<u8>, Timestamp)>;

/// Changes of it.
pub(crate) type Listing = Vec<(Vec<u8>, Option<Timestamp>)>;

/// What a store has promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Up to when, and what it has from up to then.
    pub horizon: Horizon,
    /// How many tombstones it would forget by.
    pub tombstones: u64,
}

/// How a store may come to a horizon, but for the promise it has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ways {
    /// Because it holds nothing from up to then: what was forgotten it never had.
    pub by_having_nothing: bool,
    /// By promising now what the others had. That reads the whole log, and takes the place of another promise.
    pub by_a_new_promise: bool,
}

/// A store does not forget.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// It does not have what the other members had, so it cannot forget what they forget.
    #[error("the store does not have what the others had before they forgot up to {}", .0.get())]
    Behind(UnixNanos),
    /// It has not promised this, or its promise is void.
    #[error("the store has not promised to forget up to {}", .0.get())]
    Unpromised(UnixNanos),
    /// It promises, or forgets, something else. Ask again later.
    #[error("the store promises, or forgets, something else at this moment")]
    Busy,
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// How far the store is with forgetting, for those who wait for it.
#[derive(Debug)]
pub(crate) struct Forgetting {
    reached: watch::Receiver<Option<Horizon>>,
    forgotten: Arc<AtomicU64>,
    /// One promises or forgets at a time.
    turn: Mutex<()>,
}

impl Forgetting {
    pub(crate) fn new(door: &Horizons) -> Self {
        Self { reached: door.watch(), forgotten: Arc::clone(&door.forgotten), turn: Mutex::new(()) }
    }
}

impl Group<'_> {
    pub(crate) fn list(&mut self, rows: Listing) -> Vec<Outcome> {
        for (head, tombstone) in rows {
            match tombstone {
                Some(tombstone) => self.staging.put(Table::Meta, layout::forget(&head), v1::encode_stamp(tombstone)),
                None => self.staging.remove(Table::Meta, layout::forget(&head)),
            }
        }
        Vec::new()
    }

    /// Forgets by these tombstones, up to the bound of a group, and takes those off the list by which nothing more is to be
    /// forgotten.
    pub(crate) fn forget_by(&mut self, rows: &Entries) -> Vec<Outcome> {
        let until = self.state.horizons.until();
        let mut room = FACTS_MAX;
        for (head, tombstone) in rows {
            if room == 0 {
                break;
            }
            let is_done = match layout::names_of_head(head) {
                Some((tenant, artifact)) => self.forget(head, (&tenant, &artifact), (*tombstone, until), &mut room),
                None => Ok(true),
            };
            match is_done {
                Ok(true) => self.staging.remove(Table::Meta, layout::forget(head)),
                Ok(false) => break,
                Err(error) => return vec![Err(error.into())],
            }
        }
        Vec::new()
    }

    /// Forgets of an artifact, as long as there is room in the group, of which reading takes as much as removing. Returns
    /// whether that was all. What is taken out one by one is hidden by what goes after it, so wherever this stops the artifact
    /// reads as before, and what is left is judged as it was: it is not read again as a whole.
    fn forget(
        &mut self,
        key: &[u8],
        (tenant, artifact): (&TenantId, &ArtifactId),
        (tombstone, until): (Timestamp, UnixNanos),
        room: &mut usize,
    ) -> Result<bool, ReadError> {
        let is_begun = self.state.horizons.begun.as_deref() == Some(key);
        let head = self.head(tenant, artifact)?;
        let facts = self.staging.facts_of(tenant, artifact, &head.history);
        let bound = if is_begun { *room + 1 } else { usize::MAX };
        let facts: Vec<Fact> = facts.take(bound).collect::<Result<_, _>>()?;
        let count = forgotten(&facts, tombstone, until);
        let is_all = count <= *room;
        if !is_all && *room < FACTS_MAX {
            // It gets a group of its own.
            return Ok(false);
        }
        for fact in facts.iter().take(count.min(*room)) {
            self.forget_fact(tenant, fact)?;
        }
        *room = room.saturating_sub(facts.len());
        self.state.horizons.begun = (!is_all).then(|| key.to_vec());
        if is_all && count == facts.len() {
            for (key, _) in self.staging.scan(Table::Meta, &layout::reuses(tenant, artifact))? {
                self.staging.remove(Table::Meta, key);
            }
            self.drop_head(tenant, artifact);
        }
        Ok(is_all)
    }

    fn forget_fact(&mut self, tenant: &TenantId, fact: &Fact) -> Result<(), ReadError> {
        let artifact = fact.artifact();
        let mut head = self.head(tenant, artifact)?;
        let known: Option<Known> = match &fact.body {
            Body::Transition(transition) => self.staging.known_transition(tenant, &transition.id)?,
            Body::Tombstone(_) => self.staging.known_tombstone(tenant, artifact)?,
        };
        let known = known.filter(|known| known.fact == *fact).ok_or(ReadError::Dangling { sequence: head.sequence })?;
        let usage = self.usage(tenant)?;
        let removal = self.staging.removal(known)?;
        // From here on nothing fails.
        let usage = self.remove(tenant, &mut head, usage, Some(removal));
        self.set_usage(tenant, usage);
        self.staging.remove(Table::Identity, FactKey::of(tenant, fact).bytes().to_vec());
        if fact.transition().is_none() {
            head.projection.tombstone = None;
        }
        let token = token_of(&head.projection, artifact);
        self.change(tenant, artifact.clone(), token, head);
        self.state.horizons.forgotten.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Projections {
    /// The horizon of the facts here; `None` while some are being forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<Horizon> {
        *self.forgetting.reached.borrow()
    }

    /// Tells each time the horizon is another, or has been left.
    #[must_use]
    pub fn watch_horizon(&self) -> watch::Receiver<Option<Horizon>> {
        let mut reached = self.forgetting.reached.clone();
        // What was told before this is no news.
        reached.mark_unchanged();
        reached
    }

    /// How many facts were forgotten since the store was opened.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgetting.forgotten.load(Ordering::Relaxed)
    }

    /// Promises to forget by the tombstones from up to a moment, if the other members have what this store has from up to
    /// then. Reads the whole log once. Does not wait for its turn. For the time of `binding` no fact is merged that would make
    /// the promise void; after that the promise goes.
    ///
    /// # Errors
    /// [`ForgetError::Busy`], and where the store cannot be read or written.
    pub async fn promise(&self, until: UnixNanos, binding: Duration) -> Result<Promise, ForgetError> {
        let _turn = self.forgetting.turn.try_lock().map_err(|_| ForgetError::Busy)?;
        self.promise_now(until, binding).await
    }

    async fn promise_now(&self, until: UnixNanos, binding: Duration) -> Result<Promise, ForgetError> {
        self.step(Step::Promise(until), ForgetError::Busy).await?;
        let mut rows = self.listed(None)?;
        while let Some((last, _)) = rows.last().cloned() {
            self.ask_to(Work::List(rows.into_iter().map(|(head, _)| (head, None)).collect())).await?;
            rows = self.listed(Some(&last))?;
        }
        let (facts, tombstones) = self.list_tombstones(until).await?;
        let horizon = Horizon { until, facts };
        self.step(Step::Promised(horizon, binding), ForgetError::Busy).await?;
        Ok(Promise { horizon, tombstones })
    }

    /// Lists the tombstones from up to a moment. Returns what there is from up to then, and how many they are. Where facts
    /// from up to then come or move meanwhile that is nothing exact, and the promise void.
    async fn list_tombstones(&self, until: UnixNanos) -> Result<(Fingerprint, u64), ForgetError> {
        let (mut facts, mut tombstones) = (Fingerprint::default(), 0);
        let mut after = None;
        loop {
            let (packs, rows) = self.tombstones_after(after.as_deref(), until, &mut facts)?;
            tombstones += rows.len() as u64;
            for rows in rows.chunks(LIST_ROWS_MAX) {
                self.ask_to(Work::List(rows.to_vec())).await?;
            }
            let Some(last) = packs else { return Ok((facts, tombstones)) };
            after = Some(last);
            tokio::task::yield_now().await;
        }
    }

    /// The tombstones of the next packs of the log, and the key of the last of those; `None` at its end.
    fn tombstones_after(
        &self,
        after: Option<&[u8]>,
        until: UnixNanos,
        facts: &mut Fingerprint,
    ) -> Result<(Option<Vec<u8>>, Listing), ReadError> {
        let range = match after {
            Some(key) => KeyRange::prefix_after(&[], key.to_vec()),
            None => KeyRange::prefix(&[]),
        };
        let (mut last, mut rows) = (None, Vec::new());
        for pack in self.engine.scan(Table::Log, range, Direction::Forward).take(PACKS_MAX) {
            let (key, pack) = pack?;
            for (_, record) in log::facts_of(&key, &pack)? {
                let (first, _) = v1::decode_fact_stamps(record)?;
                if first.time > until {
                    continue;
                }
                let StoredFact { tenant, fact } = v1::decode_fact(record)?;
                facts.add(&tenant, &fact);
                if fact.transition().is_none() {
                    rows.push((layout::head(&tenant, fact.artifact()), Some(first)));
                }
            }
            last = Some(key);
        }
        Ok((last, rows))
    }

    /// Has older facts come in again: nobody decides any more by what was promised.
    ///
    /// # Errors
    /// Where the store cannot be written.
    pub async fn unbind(&self) -> Result<(), ForgetError> {
        self.step(Step::Unbind, ForgetError::Busy).await
    }

    /// Whether something would be forgotten by what was promised last. Reads artifacts until it finds one; where one changes
    /// meanwhile, it takes it for that one.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn would_forget(&self, until: UnixNanos) -> Result<bool, ForgetError> {
        let mut rows = self.listed(None)?;
        while let Some((last, _)) = rows.last().cloned() {
            for (head, tombstone) in rows {
                let names = layout::names_of_head(&head);
                match names.map(|(tenant, artifact)| self.count_forgotten(&tenant, &artifact, tombstone, until)) {
                    None | Some(Ok(0)) => {}
                    Some(Ok(_) | Err(ReadError::Dangling { .. })) => return Ok(true),
                    Some(Err(error)) => return Err(error.into()),
                }
                tokio::task::yield_now().await;
            }
            rows = self.listed(Some(&last))?;
        }
        Ok(false)
    }

    fn count_forgotten(
        &self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        tombstone: Timestamp,
        until: UnixNanos,
    ) -> Result<usize, ReadError> {
        let Some(head) = self.head(tenant, artifact)? else { return Ok(0) };
        let staging = Staging::over(&*self.engine);
        let facts: Vec<Fact> = staging.facts_of(tenant, artifact, &head.history).collect::<Result<_, _>>()?;
        Ok(forgotten(&facts, tombstone, until))
    }

    /// Until when, by this node's clock, somebody may decide by what was promised. A restart does not end it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn bound_until(&self) -> Result<UnixNanos, ReadError> {
        let until = self.engine.get(Table::Meta, layout::BINDING)?;
        Ok(UnixNanos::new(until.map(|until| v1::decode_number(&until)).transpose()?.unwrap_or_default()))
    }

    /// Decides on a horizon that this store has promised, and all other members: returns once that stands, whatever happens
    /// to this store. To be followed by [`Projections::go_on_forgetting`].
    ///
    /// # Errors
    /// [`ForgetError::Unpromised`], also where it was promised so long ago that others are not bound by their word any more;
    /// and where the store cannot be read or written.
    pub async fn decide(&self, horizon: Horizon) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.step(Step::Decide(horizon), ForgetError::Unpromised(horizon.until)).await
    }

    /// Forgets up to a horizon that this store has promised, and all other members: returns once that is done and on the
    /// disk.
    ///
    /// # Errors
    /// [`ForgetError::Unpromised`], and where the store cannot be read or written.
    pub async fn forget(&self, horizon: Horizon) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.forget_now(horizon).await
    }

    async fn forget_now(&self, horizon: Horizon) -> Result<(), ForgetError> {
        self.step(Step::Begin(horizon), ForgetError::Unpromised(horizon.until)).await?;
        self.finish().await
    }

    /// Comes to a horizon that others have come to, in one of the ways it may. Returns once that is done and on the disk.
    ///
    /// # Errors
    /// [`ForgetError::Behind`]: it can in none of them. And where the store cannot be read or written.
    pub async fn reach(&self, horizon: Horizon, ways: Ways) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.finish().await?;
        if let Some(own) = self.horizon().filter(|own| own.until >= horizon.until) {
            return if own == horizon { Ok(()) } else { Err(ForgetError::Behind(horizon.until)) };
        }
        match self.forget_now(horizon).await {
            Err(ForgetError::Unpromised(_)) => {}
            outcome => return outcome,
        }
        let behind = || ForgetError::Behind(horizon.until);
        if ways.by_having_nothing {
            match self.step(Step::Adopt(horizon), behind()).await {
                Err(ForgetError::Behind(_)) => {}
                outcome => return outcome,
            }
        }
        if !ways.by_a_new_promise || self.promise_now(horizon.until, Duration::ZERO).await?.horizon != horizon {
            return Err(behind());
        }
        self.forget_now(horizon).await
    }

    /// Goes on where a crash has ended [`Projections::forget`], or after [`Projections::decide`].
    ///
    /// # Errors
    /// Where the store cannot be read or written.
    pub async fn go_on_forgetting(&self) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.finish().await
    }

    /// Forgets by all that is on the list, if forgetting has begun.
    async fn finish(&self) -> Result<(), ForgetError> {
        if self.horizon().is_some() {
            return Ok(());
        }
        // What was taken off the list is not gone over again.
        let mut done = None;
        let mut rows = self.listed(None)?;
        while let Some((last, _)) = rows.last().cloned() {
            self.ask_to(Work::Forget(rows)).await?;
            rows = self.listed(done.as_deref())?;
            if rows.first().is_none_or(|(next, _)| *next > last) {
                done = Some(last);
            }
        }
        self.step(Step::End, ForgetError::Busy).await
    }

    /// Takes a step; where it is not the next, fails as told.
    async fn step(&self, step: Step, out_of_place: ForgetError) -> Result<(), ForgetError> {
        match self.ask_to(Work::Horizon(step)).await {
            Err(WriteError::OtherHorizon) => Err(out_of_place),
            outcome => Ok(outcome?),
        }
    }

    /// The next entries of the list after one: what was taken off is not gone over again.
    fn listed(&self, after: Option<&[u8]>) -> Result<Entries, ReadError> {
        let range = match after {
            Some(head) => KeyRange::prefix_after(layout::FORGET_PREFIX, layout::forget(head)),
            None => KeyRange::prefix(layout::FORGET_PREFIX),
        };
        let entry = |row: Row| {
            let (key, stamp) = row;
            Ok((key[layout::FORGET_PREFIX.len()..].to_vec(), v1::decode_stamp(&stamp)?))
        };
        let rows = self.engine.scan(Table::Meta, range, Direction::Forward).take(LIST_ROWS_MAX);
        rows.map(|row| entry(row?)).collect()
    }
}
