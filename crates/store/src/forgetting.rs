//! What a store lets go: retired artifacts, once every member knows that they are.
//!
//! The rule is `domain`'s, in [`forgotten`]; who has to agree, and when, is for whoever calls this. A store gives its word in
//! [`Projections::promise`]: it lists its tombstones from up to a moment, and says what it has from up to then. When all
//! members have said the same it is told to [`Projections::forget`]. From the first artifact it forgets to the last no fact
//! is merged that comes from elsewhere, and none should be told ([`Projections::horizon`] is then `None`); clients' writes
//! go on. A crash in between is made good by [`Projections::go_on_forgetting`].
//!
//! A promise may be repeated, and a later one takes the place of the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::{Body, Fact, FactKey, Fingerprint, Horizon, forgotten};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::record::v1::{self, StoredFact, StoredHorizon};
use thiserror::Error;
use tokio::sync::{Mutex, watch};

use crate::door::{Accepted, Group, token_of};
use crate::engine::{Direction, KeyRange, Row, Table};
use crate::error::{ReadError, WriteError};
use crate::layout;
use crate::log;
use crate::projections::Projections;
use crate::staging::Known;
use crate::writer::Work;

/// Entries of the list that are written, or forgotten by, at a time.
const LIST_ROWS_MAX: usize = 128;

/// Packs of the log that are read at a time: some thousand facts.
const PACKS_MAX: usize = 64;

/// Facts of one artifact that are forgotten at a time, oldest first, so that its tombstone goes last.
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

/// A store does not forget.
#[derive(Debug, Error)]
pub enum ForgetError {
    /// It does not have what the other members had, so it cannot forget what they forget.
    #[error("the store lacks some of what the others had before they forgot up to {}", .0.get())]
    Behind(UnixNanos),
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
    stored: watch::Sender<StoredHorizon>,
    forgotten: Arc<AtomicU64>,
    /// One promises or forgets at a time.
    turn: Mutex<()>,
}

impl Forgetting {
    pub(crate) fn new(stored: StoredHorizon, forgotten: Arc<AtomicU64>) -> Self {
        Self { stored: watch::Sender::new(stored), forgotten, turn: Mutex::new(()) }
    }
}

impl Group<'_> {
    /// Whether facts of a replica of this horizon may be merged now.
    pub(crate) fn is_of_horizon(&self, horizon: Horizon) -> bool {
        let StoredHorizon { reached, is_forgetting, .. } = self.state.horizon;
        reached == horizon && !is_forgetting
    }

    pub(crate) fn set_horizon(&mut self, horizon: StoredHorizon) -> Vec<Result<Accepted, WriteError>> {
        // To forget takes room before it gives any.
        if horizon.is_forgetting
            && let Err(error) = self.check_room()
        {
            return vec![Err(error)];
        }
        self.state.horizon = horizon;
        self.staging.put(Table::Meta, layout::HORIZON.to_vec(), v1::encode_horizon(horizon));
        Vec::new()
    }

    pub(crate) fn list(&mut self, rows: Listing) -> Vec<Result<Accepted, WriteError>> {
        for (head, tombstone) in rows {
            match tombstone {
                Some(tombstone) => self.staging.put(Table::Meta, layout::forget(&head), v1::encode_stamp(tombstone)),
                None => self.staging.remove(Table::Meta, layout::forget(&head)),
            }
        }
        Vec::new()
    }

    /// Forgets by these tombstones, and takes those off the list by which nothing more is to be forgotten.
    pub(crate) fn forget_all(&mut self, rows: &Entries) -> Vec<Result<Accepted, WriteError>> {
        let until = self.state.horizon.reached.until;
        for (head, tombstone) in rows {
            let is_done = match layout::names_of_head(head) {
                Some((tenant, artifact)) => self.forget(&tenant, &artifact, *tombstone, until),
                None => Ok(true),
            };
            match is_done {
                Ok(true) => self.staging.remove(Table::Meta, layout::forget(head)),
                Ok(false) => {}
                Err(error) => return vec![Err(error.into())],
            }
        }
        Vec::new()
    }

    /// Forgets of an artifact. Returns whether that was all. What is taken out one by one is hidden by what goes after it,
    /// so wherever this fails the artifact reads as before.
    fn forget(
        &mut self,
        tenant: &TenantId,
        artifact: &ArtifactId,
        tombstone: Timestamp,
        until: UnixNanos,
    ) -> Result<bool, ReadError> {
        let head = self.head(tenant, artifact)?;
        let facts: Vec<Fact> = self.staging.facts_of(tenant, artifact, &head.history).collect::<Result<_, _>>()?;
        let count = forgotten(&facts, tombstone, until);
        for fact in facts.iter().take(count.min(FACTS_MAX)) {
            self.forget_fact(tenant, fact)?;
        }
        if count == facts.len() && count <= FACTS_MAX {
            for (key, _) in self.staging.scan(Table::Meta, &layout::reuses(tenant, artifact))? {
                self.staging.remove(Table::Meta, key);
            }
            self.drop_head(tenant, artifact);
        }
        Ok(count <= FACTS_MAX)
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
        self.state.forgotten.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Projections {
    /// The horizon of the facts here; `None` while some are being forgotten.
    #[must_use]
    pub fn horizon(&self) -> Option<Horizon> {
        let StoredHorizon { reached, is_forgetting, .. } = *self.forgetting.stored.borrow();
        (!is_forgetting).then_some(reached)
    }

    /// Tells each time the horizon may be another, or has been left.
    #[must_use]
    pub fn watch_horizon(&self) -> watch::Receiver<StoredHorizon> {
        self.forgetting.stored.subscribe()
    }

    /// How many facts were forgotten since the store was opened.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgetting.forgotten.load(Ordering::Relaxed)
    }

    /// Promises to forget by the tombstones from up to a moment, if the other members have what this store has from up to
    /// then. Reads the whole log once.
    ///
    /// # Errors
    /// [`ForgetError`], but not that it is behind.
    pub async fn promise(&self, until: UnixNanos) -> Result<Promise, ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.finish().await?;
        self.promise_now(until).await
    }

    async fn promise_now(&self, until: UnixNanos) -> Result<Promise, ForgetError> {
        let before = *self.forgetting.stored.borrow();
        self.set_horizon(StoredHorizon { promised: None, ..before }).await?;
        let mut rows = self.listed(None)?;
        while let Some((last, _)) = rows.last().cloned() {
            self.ask_to(Work::List(rows.into_iter().map(|(head, _)| (head, None)).collect())).await?;
            rows = self.listed(Some(&last))?;
        }
        let (facts, tombstones) = self.list_tombstones(until).await?;
        let horizon = Horizon { until, facts };
        self.set_horizon(StoredHorizon { promised: Some(horizon), ..before }).await?;
        Ok(Promise { horizon, tombstones })
    }

    /// Lists the tombstones from up to a moment. Returns what there is from up to then, and how many they are. A fact that is
    /// moved meanwhile is met twice, and then this is not what another member has.
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

    /// Forgets up to a horizon that all members have agreed on: returns once that is done and on the disk. Where this store
    /// has promised something else it promises this first.
    ///
    /// # Errors
    /// [`ForgetError`].
    pub async fn forget(&self, horizon: Horizon) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.finish().await?;
        let StoredHorizon { reached, promised, .. } = *self.forgetting.stored.borrow();
        if reached == horizon {
            return Ok(());
        }
        let is_later = horizon.until > reached.until;
        let is_promised =
            promised == Some(horizon) || (is_later && self.promise_now(horizon.until).await?.horizon == horizon);
        if !is_later || !is_promised {
            return Err(ForgetError::Behind(horizon.until));
        }
        self.set_horizon(StoredHorizon { reached: horizon, is_forgetting: true, promised: None }).await?;
        self.finish().await
    }

    /// Goes on where a crash has ended [`Projections::forget`].
    ///
    /// # Errors
    /// [`ForgetError`].
    pub async fn go_on_forgetting(&self) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        self.finish().await
    }

    /// Makes a horizon that of a store which holds nothing yet: what the others have forgotten it never had.
    ///
    /// # Errors
    /// [`ForgetError::Behind`]: it holds something.
    pub async fn adopt(&self, horizon: Horizon) -> Result<(), ForgetError> {
        let _turn = self.forgetting.turn.lock().await;
        if self.fingerprint()? != Fingerprint::default() {
            return Err(ForgetError::Behind(horizon.until));
        }
        Ok(self.set_horizon(StoredHorizon { reached: horizon, is_forgetting: false, promised: None }).await?)
    }

    /// Forgets by all that is on the list, if forgetting has begun.
    async fn finish(&self) -> Result<(), ForgetError> {
        let StoredHorizon { reached, is_forgetting, .. } = *self.forgetting.stored.borrow();
        if !is_forgetting {
            return Ok(());
        }
        let mut rows = self.listed(None)?;
        while let Some((last, _)) = rows.last().cloned() {
            self.ask_to(Work::Forget(rows)).await?;
            rows = self.listed(Some(&last))?;
            if rows.is_empty() {
                // An artifact with a long history stays on the list until all of it is gone.
                rows = self.listed(None)?;
            }
        }
        Ok(self.set_horizon(StoredHorizon { reached, is_forgetting: false, promised: None }).await?)
    }

    /// Readers are told that the store leaves its horizon before it does, and that it is at the next once it is.
    async fn set_horizon(&self, horizon: StoredHorizon) -> Result<(), WriteError> {
        let before = *self.forgetting.stored.borrow();
        if horizon.is_forgetting {
            self.forgetting.stored.send_replace(horizon);
        }
        let outcome = self.ask_to(Work::Horizon(horizon)).await;
        self.forgetting.stored.send_replace(if outcome.is_ok() { horizon } else { before });
        outcome
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
