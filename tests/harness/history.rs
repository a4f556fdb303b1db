//! What clients saw of a cluster, and whether what its nodes hold in the end can be true of it.
//!
//! Every request is recorded with what came of it. A request without an answer has an unknown outcome and keeps it: it may
//! have taken effect, or may still. What is judged holds for copies that have come to rest, on hosts with one clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::node::{Answer, Client};

/// The bytes of a token before its digest: the stamp.
const STAMP_BYTES: usize = 52;

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was accepted, with this stamp.
    Accepted(String),
    /// It stands, and was accepted at some time.
    Stands,
    /// Nothing of it was stored.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The name of the problem.
        problem: String,
    },
    /// Nobody knows.
    Unknown,
}

impl Outcome {
    /// What an answer says.
    ///
    /// # Panics
    /// If it is none that a node gives.
    #[must_use]
    pub fn of(answer: &Answer) -> Self {
        match answer.status {
            201 => {
                let body = answer.json();
                let token = body["committed_version"].as_str().expect("an accepted transition has a token");
                Self::Accepted(token[..STAMP_BYTES].to_owned())
            }
            200 => Self::Stands,
            status => match (status, answer.problem()) {
                (504, problem) if problem == "under-replicated" => Self::Stands,
                (500, _) => Self::Unknown,
                // A disk that filled up while the store wrote is among the latter; 507 is told before anything is written.
                (503, problem) if problem == "not-ready" || problem == "storage-failed" => Self::Unknown,
                (status, problem) => Self::Refused { status, problem },
            },
        }
    }

    /// Whether the transition is stored for sure.
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Stands)
    }
}

/// A request, and what came of it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The transition, as it was posted.
    pub transition: Value,
    /// What came of it.
    pub outcome: Outcome,
    /// When it was sent, in steps of the history.
    pub begun: u64,
    /// When its answer was there.
    pub ended: u64,
}

impl Record {
    fn text(&self, field: &str) -> &str {
        self.transition[field].as_str().unwrap_or_default()
    }

    fn refs(&self) -> impl Iterator<Item = Ref<'_>> {
        self.transition["produced_refs"].as_array().into_iter().flatten().map(Ref::of)
    }
}

/// A ref as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ref<'a> {
    repository: &'a str,
    key: &'a str,
    is_resolved: bool,
}

impl<'a> Ref<'a> {
    fn of(value: &'a Value) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default();
        Self { repository: text("target_repo"), key: text("idempotency_key"), is_resolved: value["kind"] == "resolved" }
    }
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct History {
    steps: AtomicU64,
    records: Mutex<Vec<Record>>,
}

/// What a node holds in the end.
#[derive(Debug, Clone, Default)]
pub struct Copy {
    /// The node, for people.
    pub node: String,
    /// The digest of its facts.
    pub digest: String,
    /// How many facts it has.
    pub facts: u64,
    /// Its artifacts.
    pub artifacts: BTreeMap<String, Artifact>,
}

/// What a node holds of an artifact.
#[derive(Debug, Clone, Default)]
pub struct Artifact {
    /// The projection, with its refs.
    pub projection: Value,
    /// The transitions, as the history tells them, in any order.
    pub transitions: Vec<Value>,
}

impl History {
    /// Posts a transition, and records what comes of it.
    ///
    /// # Panics
    /// If the answer is none that a node gives.
    pub fn post(&self, client: &Client, transition: &Value) -> Outcome {
        let begun = self.steps.fetch_add(1, Ordering::SeqCst);
        let outcome = client.post(transition).map_or(Outcome::Unknown, |answer| Outcome::of(&answer));
        let ended = self.steps.fetch_add(1, Ordering::SeqCst);
        self.record(Record { transition: transition.clone(), outcome: outcome.clone(), begun, ended });
        outcome
    }

    /// Records a request.
    ///
    /// # Panics
    /// After another thread's panic.
    pub fn record(&self, record: Record) {
        self.records.lock().expect("nobody panicked").push(record);
    }

    /// How many requests have been recorded.
    ///
    /// # Panics
    /// After another thread's panic.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks whether nothing was recorded")]
    pub fn len(&self) -> usize {
        self.records.lock().expect("nobody panicked").len()
    }

    /// Everything that cannot be true of copies that have come to rest; empty where all is well.
    ///
    /// # Panics
    /// After another thread's panic.
    #[must_use]
    pub fn violations(&self, copies: &[Copy]) -> Vec<String> {
        let records = self.records.lock().expect("nobody panicked");
        let mut found = refusals(&records);
        for copy in copies {
            if (&copy.digest, copy.facts) != (&copies[0].digest, copies[0].facts) {
                found.push(format!("{} and {} hold different facts", copies[0].node, copy.node));
            }
            found.extend(Judged::new(&records, copy).violations());
        }
        found
    }
}

/// No request of a test is wrong: one that is refused for what it says was refused wrongly, unless it names a ref that nobody
/// was known to have opened when it was sent.
fn refusals(records: &[Record]) -> Vec<String> {
    let mut found = Vec::new();
    for record in records {
        let Outcome::Refused { status, problem } = &record.outcome else { continue };
        let was_open = |wanted: &Ref<'_>| {
            let opens = |other: &Ref<'_>| (other.repository, other.key) == (wanted.repository, wanted.key);
            records.iter().any(|earlier| {
                let is_before = earlier.outcome.is_acknowledged() && earlier.ended < record.begun;
                let is_same = earlier.text("artifact_id") == record.text("artifact_id");
                is_before && is_same && earlier.refs().any(|other| !other.is_resolved && opens(&other))
            })
        };
        let id = record.text("transition_id");
        match problem.as_str() {
            "unknown-pending-ref" if !record.refs().filter(|one| one.is_resolved).all(|one| was_open(&one)) => {}
            "unknown-pending-ref" => found.push(format!("{id} was refused, and what it resolves was open")),
            _ if *status >= 500 => {}
            _ => found.push(format!("{id} was refused: {status} {problem}")),
        }
    }
    found
}

/// All requests of one transition.
#[derive(Debug, Default)]
struct Posted<'a> {
    records: Vec<&'a Record>,
}

impl Posted<'_> {
    fn is_acknowledged(&self) -> bool {
        self.records.iter().any(|record| record.outcome.is_acknowledged())
    }

    /// Whether it may be stored.
    fn is_possible(&self) -> bool {
        self.records.iter().any(|record| !matches!(record.outcome, Outcome::Refused { .. }))
    }

    /// From when on it may have been stored.
    fn begun(&self) -> u64 {
        self.records.iter().map(|record| record.begun).min().unwrap_or_default()
    }

    /// When it was stored for sure.
    fn stood(&self) -> u64 {
        let acknowledged = self.records.iter().filter(|record| record.outcome.is_acknowledged());
        acknowledged.map(|record| record.ended).min().unwrap_or(u64::MAX)
    }

    /// The least stamp that was told for it.
    fn stamp(&self) -> Option<&str> {
        let stamps = self.records.iter().filter_map(|record| match &record.outcome {
            Outcome::Accepted(stamp) => Some(stamp.as_str()),
            _ => None,
        });
        stamps.min()
    }

    /// Whether its stamp is known: no request but one may have given it another.
    fn is_determined(&self) -> bool {
        let given = self.records.iter().filter(|record| !matches!(record.outcome, Outcome::Refused { .. }));
        given.count() == 1 && self.stamp().is_some()
    }
}

/// A copy beside what was posted.
struct Judged<'a> {
    copy: &'a Copy,
    /// By artifact and transition.
    posted: BTreeMap<&'a str, BTreeMap<&'a str, Posted<'a>>>,
    found: Vec<String>,
}

impl<'a> Judged<'a> {
    fn new(records: &'a [Record], copy: &'a Copy) -> Self {
        let mut posted: BTreeMap<_, BTreeMap<_, Posted<'_>>> = BTreeMap::new();
        for record in records {
            let of_artifact = posted.entry(record.text("artifact_id")).or_default();
            of_artifact.entry(record.text("transition_id")).or_default().records.push(record);
        }
        Self { copy, posted, found: Vec::new() }
    }

    fn find(&mut self, what: &str) {
        self.found.push(format!("{}: {what}", self.copy.node));
    }

    fn violations(mut self) -> Vec<String> {
        let copy = self.copy;
        let transitions: usize = copy.artifacts.values().map(|artifact| artifact.transitions.len()).sum();
        if transitions as u64 != copy.facts {
            self.find(&format!("it has {} facts, and shows {transitions}", copy.facts));
        }
        for artifact in copy.artifacts.keys().filter(|artifact| !self.posted.contains_key(artifact.as_str())) {
            self.found.push(format!("{}: nobody posted to {artifact}", copy.node));
        }
        let nothing = Artifact::default();
        for (artifact, posted) in std::mem::take(&mut self.posted) {
            let held = copy.artifacts.get(artifact).unwrap_or(&nothing);
            self.transitions(&posted, held);
            self.winner(artifact, &posted, held);
            self.refs(artifact, &posted, held);
        }
        self.found
    }

    /// What was acknowledged is there, what nobody posted is not, and all is as it was answered.
    fn transitions(&mut self, posted: &BTreeMap<&str, Posted<'_>>, held: &Artifact) {
        let mut there = BTreeSet::new();
        for transition in &held.transitions {
            let id = transition["transition_id"].as_str().unwrap_or_default();
            let of_it = posted.get(id).filter(|posted| posted.is_possible());
            if !there.insert(id) {
                self.find(&format!("{id} is there twice"));
            }
            match of_it {
                None => self.find(&format!("nobody posted {id}, or it was refused")),
                Some(posted) if posted.records[0].transition["status"] != transition["status"] => {
                    self.find(&format!("{id} was posted with another status"));
                }
                Some(posted) if posted.is_determined() && posted.stamp() != transition["stamp"].as_str() => {
                    let told = posted.stamp();
                    self.find(&format!("{id} was told to have the stamp {told:?}, and has {}", transition["stamp"]));
                }
                Some(_) => {}
            }
        }
        for (id, _) in posted.iter().filter(|(id, posted)| posted.is_acknowledged() && !there.contains(*id)) {
            self.find(&format!("{id} was acknowledged, and is not there"));
        }
    }

    /// The projection is that of the transition with the greatest stamp, and no acknowledged one was posted later.
    fn winner(&mut self, artifact: &str, posted: &BTreeMap<&str, Posted<'_>>, held: &Artifact) {
        let last = held.transitions.iter().max_by_key(|transition| transition["stamp"].as_str());
        let Some(last) = last else { return };
        let id = last["transition_id"].as_str().unwrap_or_default();
        if last["status"] != held.projection["status"] || last["transition_id"] != held.projection["transition_id"] {
            let (status, shown) = (&last["status"], &held.projection["status"]);
            self.find(&format!("the last status of {artifact} is {status}, by {id}, and it shows {shown}"));
        }
        let shown = held.projection["transition_id"].as_str().unwrap_or_default();
        let Some(winner) = posted.get(shown) else { return };
        for (later, posted) in posted {
            if posted.is_acknowledged() && posted.begun() > winner.stood() {
                self.find(&format!("{artifact} shows {shown}, a zombie: {later} was posted after that stood"));
            }
        }
        let stamp = last["stamp"].as_str();
        for (later, _) in posted.iter().filter(|(_, posted)| posted.is_determined() && posted.stamp() > stamp) {
            self.find(&format!("{artifact} shows {shown}, and {later} was told to have a greater stamp"));
        }
    }

    /// Every ref that was acknowledged is there, and resolved where that was.
    fn refs(&mut self, artifact: &str, posted: &BTreeMap<&str, Posted<'_>>, held: &Artifact) {
        let there: BTreeSet<_> =
            held.projection["produced_refs"].as_array().into_iter().flatten().map(Ref::of).collect();
        let acknowledged = posted.values().filter(|posted| posted.is_acknowledged());
        for wanted in acknowledged.flat_map(|posted| posted.records[0].refs()) {
            let resolved = Ref { is_resolved: true, ..wanted };
            if !there.contains(&wanted) && !there.contains(&resolved) {
                self.find(&format!("{wanted:?} of {artifact} was acknowledged, and is not there"));
            }
        }
    }
}
