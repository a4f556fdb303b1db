//! The way of a store to a horizon, step by step.
//!
//! Each step is taken at the door, between writes: so a fact of another replica comes before it or after it, and is merged by
//! what was true then.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use plimsoll_domain::clock::DriftExceeded;
use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{Fact, Horizon};
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_wire::record::v1::{self, StoredHorizon};
use tokio::sync::watch;

use crate::door::Group;
use crate::engine::Table;
use crate::error::WriteError;
use crate::layout;
use crate::writer::Outcome;

/// What the door knows of horizons.
#[derive(Debug)]
pub(crate) struct Horizons {
    stored: StoredHorizon,
    /// The moment of a promise that is being made, as long as no other fact from up to then was merged.
    promising: Option<UnixNanos>,
    /// By this node's clock: until then somebody may decide by what was promised.
    binds_until: UnixNanos,
    /// The head of the artifact that is being forgotten bit by bit, by its key.
    pub(crate) begun: Option<Vec<u8>>,
    /// What readers see: none while facts are being forgotten.
    reached: watch::Sender<Option<Horizon>>,
    pub(crate) forgotten: Arc<AtomicU64>,
}

impl Horizons {
    pub(crate) fn new(stored: StoredHorizon, binds_until: UnixNanos) -> Self {
        Self {
            stored,
            promising: None,
            binds_until,
            begun: None,
            reached: watch::Sender::new(shown(stored)),
            forgotten: Arc::default(),
        }
    }

    /// Tells readers the horizon, and when there is none.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Horizon>> {
        self.reached.subscribe()
    }

    /// Up to when facts are forgotten, or being forgotten.
    pub(crate) const fn until(&self) -> UnixNanos {
        self.stored.reached.until
    }
}

fn shown(StoredHorizon { reached, is_forgetting, .. }: StoredHorizon) -> Option<Horizon> {
    (!is_forgetting).then_some(reached)
}

/// A step on the way to a horizon. One that is out of place is refused, and changes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A promise is being made.
    Promise(UnixNanos),
    /// It is made, unless it is void already. From here on the list stands; and for so long, in which somebody may decide by
    /// it, no fact is merged that would make it void.
    Promised(Horizon, Duration),
    /// Nobody decides by what was promised any more.
    Unbind,
    /// What was promised begins: others have decided.
    Begin(Horizon),
    /// What was promised begins: this store decides. By the promise of one that decides later no other is bound any more.
    Decide(Horizon),
    /// All on the list is forgotten.
    End,
    /// The horizon is that of a store which holds nothing from up to its moment: what the others have forgotten it never had.
    Adopt(Horizon),
}

impl Group<'_> {
    /// Whether facts of a replica of this horizon may be merged now.
    pub(crate) fn is_of_horizon(&self, horizon: Horizon) -> bool {
        shown(self.state.horizons.stored) == Some(horizon)
    }

    /// Takes a step, if it is the next.
    pub(crate) fn step(&mut self, step: Step) -> Vec<Outcome> {
        match self.next(step) {
            Ok(Some(stored)) => {
                self.keep_horizon(stored);
                // Readers are to stop before anything is forgotten.
                let shown = shown(stored);
                let is_new = |known: &mut _| std::mem::replace(known, shown) != shown;
                self.state.horizons.reached.send_if_modified(is_new);
                Vec::new()
            }
            Ok(None) => vec![Err(WriteError::OtherHorizon)],
            Err(error) => vec![Err(error)],
        }
    }

    fn next(&mut self, step: Step) -> Result<Option<StoredHorizon>, WriteError> {
        let stored = self.state.horizons.stored;
        let begun = |reached| StoredHorizon { reached, is_forgetting: true, promised: None };
        let arrived = |reached| StoredHorizon { reached, is_forgetting: false, promised: None };
        let is_later = |horizon: Horizon| !stored.is_forgetting && horizon.until > stored.reached.until;
        // To forget takes room before it gives any.
        if !matches!(step, Step::End | Step::Unbind) {
            self.check_room()?;
        }
        Ok(match step {
            Step::Promise(_) if stored.is_forgetting => None,
            Step::Promise(until) => {
                self.pass(until)?;
                self.state.horizons.promising = Some(until);
                Some(StoredHorizon { promised: None, ..stored })
            }
            Step::Promised(horizon, binding) => {
                let is_exact = self.state.horizons.promising.take() == Some(horizon.until);
                let binding = u64::try_from(binding.as_nanos()).unwrap_or(u64::MAX);
                self.bind(UnixNanos::new(self.now.get().saturating_add(binding)));
                is_exact.then_some(StoredHorizon { promised: Some(horizon), ..stored })
            }
            Step::Unbind => {
                self.bind(UnixNanos::default());
                Some(stored)
            }
            Step::Decide(_) if self.now >= self.state.horizons.binds_until => None,
            Step::Begin(horizon) | Step::Decide(horizon) => {
                (is_later(horizon) && stored.promised == Some(horizon)).then(|| begun(horizon))
            }
            Step::End => stored.is_forgetting.then(|| arrived(stored.reached)),
            Step::Adopt(horizon) => {
                self.pass(horizon.until)?;
                let is_new = is_later(horizon) && !self.staging.has_facts_up_to(horizon.until)?;
                is_new.then(|| arrived(horizon))
            }
        })
    }

    /// Moves the clock past a moment: what is stamped from now on is not from up to then. No fact may follow in this group
    /// that would have the mark written.
    fn pass(&mut self, until: UnixNanos) -> Result<(), DriftExceeded> {
        self.observe(Timestamp { time: until, node: NodeId::new(0) })?;
        self.keep_clock();
        Ok(())
    }

    /// Somebody may decide until then by what was promised. A restart does not end that.
    fn bind(&mut self, until: UnixNanos) {
        self.state.horizons.binds_until = until;
        self.staging.put(Table::Meta, layout::BINDING.to_vec(), v1::encode_number(until.get()));
    }

    fn keep_horizon(&mut self, stored: StoredHorizon) {
        self.state.horizons.stored = stored;
        self.staging.put(Table::Meta, layout::HORIZON.to_vec(), v1::encode_horizon(stored));
    }

    /// Whether a fact that is new, or joins a known one, would make a promise void by which somebody may decide. It may be
    /// offered again later.
    pub(crate) fn would_break_word(&self, fact: &Fact, known: Option<&Fact>) -> bool {
        let Horizons { stored, binds_until, .. } = &self.state.horizons;
        // An older tombstone that is superseded is on the list.
        let joined =
            known.filter(|known| known.transition().is_some()).map_or(fact.first, |known| known.first.min(fact.first));
        stored.promised.is_some_and(|promised| joined.time <= promised.until) && self.now < *binds_until
    }

    /// Has a promise be void that did not count this fact.
    pub(crate) fn void_promise(&mut self, fact: &Fact) {
        let Horizons { stored, promising, .. } = &mut self.state.horizons;
        if promising.is_some_and(|until| fact.first.time <= until) {
            *promising = None;
        }
        if stored.promised.is_some_and(|promised| fact.first.time <= promised.until) {
            let stored = StoredHorizon { promised: None, ..*stored };
            self.keep_horizon(stored);
        }
    }
}
