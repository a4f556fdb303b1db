//! What clients asked and were told: all that the judges know of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_domain::timestamp::Timestamp;
use serde_json::Value;

use crate::client::Answer;
use crate::scenario::Measure;

/// The bytes of a token before its digest: the stamp.
const STAMP_BYTES: usize = Timestamp::TEXT_BYTES;

/// So many samples are kept of each measure and region.
const SAMPLES_MAX: usize = 100_000;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It stands, for sure.
    Stands,
    /// That node has not stored it.
    Refused {
        /// The status and the name of the problem.
        problem: String,
        /// Whether no node would store it.
        is_final: bool,
    },
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    /// What an answer says.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        match (answer.status, answer.problem()) {
            (200 | 201 | 204, _) | (504, "under-replicated") => Self::Stands,
            (500, _) | (503, "not-ready" | "storage-failed") => Self::Unknown,
            (status, problem) => {
                let is_final = (400..500).contains(&status) && status != 429;
                Self::Refused { problem: format!("{status} {problem}"), is_final }
            }
        }
    }
}

/// A store of a node: a host has another one once its disk was replaced, or its node started afresh.
pub type Store = (u8, u64);

/// One try, at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Of which node, and which of its stores.
    pub store: Store,
    /// When it was asked.
    pub asked: Duration,
    /// When the answer came, or was given up.
    pub told: Duration,
    /// How many disks the answer speaks for.
    pub disks: u8,
    /// What came of it.
    pub outcome: Outcome,
    /// The stamp it was given, where it was accepted anew.
    pub stamp: Option<String>,
}

/// The stamp that an answer to a new transition tells of.
#[must_use]
pub fn stamp_of(answer: &Answer) -> Option<String> {
    let token = answer.body["committed_version"].as_str().filter(|_| answer.status == 201)?;
    Some(token.get(..STAMP_BYTES)?.to_owned())
}

/// A transition, and what was told of it.
#[derive(Debug, Clone)]
pub struct Posted {
    /// As it was posted.
    pub transition: Value,
    /// The region of its emitter.
    pub region: String,
    /// The transition that opened the ref which it resolves.
    pub resolves: Option<String>,
    /// How often it was tried.
    pub asked: usize,
    /// What each try came to that has come to anything.
    pub tries: Vec<Try>,
}

impl Posted {
    /// Its artifact.
    #[must_use]
    pub fn artifact(&self) -> &str {
        self.transition["artifact_id"].as_str().unwrap_or_default()
    }

    /// Those tries of which somebody was told that it stands.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Try> {
        self.tries.iter().filter(|one| one.outcome == Outcome::Stands)
    }

    /// Whether somebody was told that it stands.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged().next().is_some()
    }
}

/// An artifact that has one emitter, and was retired by it after all it had posted.
#[derive(Debug, Clone)]
pub struct Retired {
    /// Where all transitions of it were accepted, and then the retirement.
    pub store: Store,
    /// When the retirement was acknowledged.
    pub told: Duration,
    /// Whether everything that was ever asked about it was answered, so that nothing can be on its way.
    pub is_certain: bool,
}

/// What somebody saw who is of another tenant, or of none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glimpse {
    /// At which node.
    pub node: u8,
    /// What was asked for.
    pub path: String,
    /// The answer.
    pub status: u16,
    /// Its beginning.
    pub text: String,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By transition id.
    pub posted: BTreeMap<String, Posted>,
    /// By artifact.
    pub retired: BTreeMap<String, Retired>,
    /// The stamp read last, by store and artifact.
    pub stamps: BTreeMap<(Store, String), String>,
    /// Tokens that were older than one read before.
    pub regressions: Vec<String>,
    /// How far the stamps that a node showed were ahead of the true time, at most.
    pub ahead: BTreeMap<u8, Duration>,
    /// Answers that said a node has a transition, though its history does not show it; and such as were older than they said.
    pub false_words: Vec<String>,
    /// The state that a token stands for, by the token.
    pub states: BTreeMap<String, String>,
    /// What strangers saw that they should not.
    pub glimpses: Vec<Glimpse>,
    /// The greatest value of each gauge, by node and name.
    pub gauges: BTreeMap<(u8, String), u64>,
    /// How many cursors were read.
    pub reads: u64,
    /// See [`crate::verdict::Verdict::samples`].
    pub samples: BTreeMap<(Measure, String), Vec<Duration>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    seen: Mutex<Seen>,
    /// Clients that have come to an end: no more is posted.
    ended: AtomicUsize,
}

impl History {
    /// What was seen up to now.
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has come to its end.
    pub(crate) fn client_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many clients have.
    pub(crate) fn clients_ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, transition: &Value, region: &str, resolves: Option<String>) {
        let id = transition["transition_id"].as_str().unwrap_or_default();
        tracing::info!(id, %transition, "posts");
        let posted =
            Posted { transition: transition.clone(), region: region.to_owned(), resolves, asked: 0, tries: Vec::new() };
        self.seen().posted.entry(id.to_owned()).or_insert(posted);
    }

    pub(crate) fn tries(&self, id: &str) {
        if let Some(posted) = self.seen().posted.get_mut(id) {
            posted.asked += 1;
        }
    }

    /// A try came to something. `store` is the one that is there now: if it is another than when it was asked, nobody knows which of
    /// the two answered.
    pub(crate) fn end(&self, id: &str, one: Try, store: Store) {
        let is_known = one.store == store;
        let one = if is_known { one } else { Try { outcome: Outcome::Unknown, stamp: None, ..one } };
        tracing::info!(id, node = one.store.0, outcome = ?one.outcome, "was told");
        if let Some(posted) = self.seen().posted.get_mut(id) {
            posted.tries.push(one);
        }
    }

    pub(crate) fn measured(&self, measure: Measure, region: &str, took: Duration) {
        let mut seen = self.seen();
        let samples = seen.samples.entry((measure, region.to_owned())).or_default();
        if samples.len() < SAMPLES_MAX {
            samples.push(took);
        }
    }

    /// A reader saw this token, at this time since 1970.
    pub(crate) fn saw(&self, store: Store, artifact: &str, token: &str, now: Duration) {
        let stamp = token.get(..STAMP_BYTES).unwrap_or_default().to_owned();
        let mut seen = self.seen();
        seen.reads += 1;
        if let Ok(parsed) = Timestamp::parse(&stamp) {
            let ahead = Duration::from_nanos(parsed.time.get()).saturating_sub(now);
            let most = seen.ahead.entry(store.0).or_default();
            *most = ahead.max(*most);
        }
        let before = seen.stamps.insert((store, artifact.to_owned()), stamp.clone());
        if let Some(before) = before.filter(|before| *before > stamp) {
            seen.regressions.push(format!("n{} showed {artifact} as of {before}, and then as of {stamp}", store.0));
        }
    }

    /// A reader saw this state of an artifact under this token: it is never seen under another state.
    pub(crate) fn saw_state(&self, node: u8, artifact: &str, token: &str, state: &str) {
        let mut seen = self.seen();
        let before = seen.states.insert(token.to_owned(), state.to_owned());
        if before.is_some_and(|before| before != state) {
            seen.false_words.push(format!("n{node} shows {artifact} under {token} otherwise than it was shown before"));
        }
    }

    pub(crate) fn gauge(&self, node: u8, name: &str, value: u64) {
        let mut seen = self.seen();
        let most = seen.gauges.entry((node, name.to_owned())).or_default();
        *most = value.max(*most);
    }

    /// What of an artifact was acknowledged before a time.
    pub(crate) fn acknowledged_before(&self, artifact: &str, time: Duration) -> BTreeSet<String> {
        let seen = self.seen();
        let of_it = seen.posted.iter().filter(|(_, posted)| posted.artifact() == artifact);
        let told = of_it.filter(|(_, posted)| posted.acknowledged().any(|one| one.told <= time));
        told.map(|(id, _)| id.clone()).collect()
    }
}
