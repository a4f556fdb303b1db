//! What clients asked and were told: all that the judges know of a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::client::Answer;

/// The bytes of a token before its digest: the stamp.
const STAMP_BYTES: usize = 52;

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The transition stands, for sure.
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
            (200 | 201, _) | (504, "under-replicated") => Self::Stands,
            (500, _) | (503, "not-ready" | "storage-failed") => Self::Unknown,
            (status, problem) => {
                let is_final = (400..500).contains(&status) && status != 429;
                Self::Refused { problem: format!("{status} {problem}"), is_final }
            }
        }
    }
}

/// A transition, and what was told of it.
#[derive(Debug, Clone)]
pub struct Posted {
    /// As it was posted.
    pub transition: Value,
    /// What each try came to, and at which node.
    pub tries: Vec<(u8, Outcome)>,
}

impl Posted {
    /// Whether somebody was told that it stands.
    #[must_use]
    pub fn is_acknowledged(&self) -> bool {
        self.tries.iter().any(|(_, outcome)| *outcome == Outcome::Stands)
    }
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// By transition id.
    pub posted: BTreeMap<String, Posted>,
    /// The stamp read last, by node and artifact.
    pub stamps: BTreeMap<(u8, String), String>,
    /// What can never be, seen while it was read.
    pub regressions: Vec<String>,
    /// How many cursors were read.
    pub reads: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    seen: Mutex<Seen>,
    /// Emitters that have come to an end: no more is posted.
    ended: AtomicUsize,
}

impl History {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen up to now.
    #[must_use]
    pub fn all(&self) -> Seen {
        self.seen().clone()
    }

    /// An emitter has come to its end.
    pub(crate) fn emitter_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many emitters have.
    pub(crate) fn emitters_ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, transition: &Value) {
        let id = transition["transition_id"].as_str().unwrap_or_default();
        tracing::info!(id, %transition, "posts");
        self.seen().posted.insert(id.to_owned(), Posted { transition: transition.clone(), tries: Vec::new() });
    }

    pub(crate) fn end(&self, id: &str, node: u8, outcome: &Outcome) {
        tracing::info!(id, node, ?outcome, "was told");
        if let Some(posted) = self.seen().posted.get_mut(id) {
            posted.tries.push((node, outcome.clone()));
        }
    }

    /// A reader saw this token.
    pub(crate) fn saw(&self, node: u8, artifact: &str, token: &str) {
        let stamp = token.get(..STAMP_BYTES).unwrap_or_default().to_owned();
        let mut seen = self.seen();
        seen.reads += 1;
        let before = seen.stamps.insert((node, artifact.to_owned()), stamp.clone());
        if let Some(before) = before.filter(|before| *before > stamp) {
            seen.regressions.push(format!("n{node} showed {artifact} as of {before}, and then as of {stamp}"));
        }
    }
}
