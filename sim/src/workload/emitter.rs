//! An emitter, as smugglr is one: it posts to its node, tries again elsewhere with the same id where it is not answered, opens
//! refs and resolves them, and retires what it has done with.

use std::time::Duration;

use http::Method;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Clients, Pace, now};
use crate::client::{Asking, ask};
use crate::history::{Outcome, Retired, Try, stamp_of};
use crate::scenario::Measure;

/// How often a post is tried, at one node after another.
const TRIES_MAX: u32 = 6;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whoever does not know that an artifact was retired tries again within so long: well within the retention, after which it would
/// be another artifact.
const LATE_MAX: Duration = Duration::from_secs(6);

/// The part of posts that ask for two disks.
const ON_TWO_DISKS: f64 = 0.1;

/// Refs that an emitter remembers to have opened.
const OPENED_MAX: usize = 100;

/// A ref that was opened: of which artifact, and by which transition, whose id is its key.
struct Opened {
    artifact: String,
    id: String,
}

/// An artifact that nobody else posts about, from its first transition to its retirement.
struct Life {
    artifact: String,
    posted: Vec<Value>,
}

struct Emitter<'a> {
    clients: &'a Clients,
    rng: StdRng,
    opened: Vec<Opened>,
    life: Option<Life>,
    at: u32,
}

/// Posts until the time is up.
pub(super) async fn emit(clients: &Clients, rng: StdRng, pace: Pace) {
    let mut emitter = Emitter { clients, rng, opened: Vec::new(), life: None, at: 0 };
    while pace.next(&mut emitter.rng).await {
        emitter.at += 1;
        emitter.step().await;
    }
}

impl Emitter<'_> {
    async fn step(&mut self) {
        let workload = &self.clients.plan.scenario.workload;
        let (resolves, retires, artifacts) = (workload.resolves, workload.retires, workload.artifacts);
        let id = format!("e{}-{}", self.clients.nearest, self.at);
        // At another node now and then: the next one to work on it is somewhere else.
        let first = if self.at % 5 == 4 { self.clients.after(self.clients.nearest) } else { self.clients.nearest };
        let drawn = self.rng.random_range(0.0..1.0);
        if drawn < retires {
            return self.live(id).await;
        }
        let artifact = format!("a-{}", self.rng.random_range(0..artifacts));
        if drawn < retires + resolves && !self.opened.is_empty() {
            let of = self.rng.random_range(0..self.opened.len());
            let Opened { artifact, id: key } = self.opened.swap_remove(of);
            let resolved = self.resolved(&key);
            let transition = transition(&artifact, &id, &resolved);
            self.post(transition, first, Some(key)).await;
        } else if drawn < retires + 2.0 * resolves && self.opened.len() < OPENED_MAX {
            let pending = json!([{"kind": "pending", "target_repo": "acme/web", "idempotency_key": id}]);
            if self.post(transition(&artifact, &id, &pending), first, None).await == Outcome::Stands {
                self.opened.push(Opened { artifact, id });
            }
        } else {
            self.post(transition(&artifact, &id, &json!([])), first, None).await;
        }
    }

    fn resolved(&self, key: &str) -> Value {
        let (number, node) = (self.at, self.clients.nearest);
        let url = format!("https://forge.example/acme/web/{node}/pull/{number}");
        let created_at = "2026-04-22T18:04:11Z";
        json!([{
            "kind": "resolved", "target_repo": "acme/web", "idempotency_key": key, "number": number, "url": url,
            "created_at": created_at,
        }])
    }

    /// Goes on with an artifact of its own: a few transitions, then it is retired, and then somebody tries the first one again.
    async fn live(&mut self, id: String) {
        let artifact = format!("r-{id}");
        let life = self.life.get_or_insert_with(|| Life { artifact, posted: Vec::new() });
        if life.posted.len() < 2 {
            let transition = transition(&life.artifact, &id, &json!([]));
            life.posted.push(transition.clone());
            self.post(transition, self.clients.nearest, None).await;
        } else if let Some(Life { artifact, posted }) = self.life.take() {
            self.retire(&artifact, &posted).await;
        }
    }

    async fn retire(&mut self, artifact: &str, posted: &[Value]) {
        let node = self.clients.nearest;
        let (store, path) = (self.clients.store(node), format!("/projections/{artifact}"));
        tracing::info!(artifact, node, "retires");
        let answer = ask(&self.clients.weather, Asking::of(node, Method::DELETE, &path)).await;
        let outcome = answer.map_or(Outcome::Unknown, |answer| Outcome::of(&answer));
        tracing::info!(artifact, node, ?outcome, "was told of the retirement");
        if outcome != Outcome::Stands {
            return;
        }
        let told = now();
        // It does not know yet that this has become of it.
        let late = self.clients.after(node);
        let first = posted[0]["transition_id"].as_str().unwrap_or_default();
        let (is_tried_again, part) = (self.rng.random_bool(0.5), self.rng.random_range(0.0..1.0));
        if is_tried_again && late != node && !self.clients.plan.unposted.contains(first) {
            let half = LATE_MAX.min(self.clients.hosts[0].retention() / 2) / 2;
            sleep(half.mul_f64(part)).await;
            self.once(&posted[0], late, 1, half).await;
        }
        let ids: Vec<&str> = posted.iter().filter_map(|one| one["transition_id"].as_str()).collect();
        let mut seen = self.clients.history.seen();
        let tries: Vec<&Try> =
            ids.iter().filter_map(|id| seen.posted.get(*id)).flat_map(|posted| &posted.tries).collect();
        let is_certain = tries.iter().all(|one| one.outcome != Outcome::Unknown)
            && tries.iter().all(|one| one.store == store || one.asked >= told || one.outcome != Outcome::Stands)
            && self.clients.store(node) == store;
        seen.retired.insert(artifact.to_owned(), Retired { store, told, is_certain });
    }

    /// Posts until somebody answers for sure.
    async fn post(&mut self, transition: Value, first: u8, resolves: Option<String>) -> Outcome {
        let id = transition["transition_id"].as_str().unwrap_or_default().to_owned();
        // Everything is drawn alike, whether it is posted or not.
        let workload = &self.clients.plan.scenario.workload;
        let disks = if self.rng.random_bool(ON_TWO_DISKS) { 2 } else { 1 };
        let is_doubled = self.rng.random_bool(workload.doubled.clamp(0.0, 1.0));
        if self.clients.plan.unposted.contains(&id) {
            return Outcome::Unknown;
        }
        self.clients.history.begin(&transition, self.clients.region(), resolves);
        let begun = now();
        let (mut node, mut last) = (first, Outcome::Unknown);
        for turn in 0..TRIES_MAX {
            let outcome = if is_doubled && turn == 0 {
                let other = self.clients.after(node);
                let (one, other) = tokio::join!(
                    self.once(&transition, node, disks, PATIENCE),
                    self.once(&transition, other, disks, PATIENCE)
                );
                if other == Outcome::Stands { other } else { one }
            } else {
                self.once(&transition, node, disks, PATIENCE).await
            };
            match outcome {
                Outcome::Stands => {
                    self.clients.history.measured(Measure::PostLatency, self.clients.region(), now() - begun);
                    return outcome;
                }
                Outcome::Refused { is_final: true, .. } => return outcome,
                _ => last = outcome,
            }
            node = self.clients.after(node);
            sleep(Duration::from_millis(self.rng.random_range(20..200) << turn)).await;
        }
        last
    }

    async fn once(&self, transition: &Value, node: u8, disks: u8, patience: Duration) -> Outcome {
        let clients = self.clients;
        let (asked, store) = (now(), clients.store(node));
        let mut asking = Asking { patience, ..Asking::of(node, Method::POST, "/projections/transitions") };
        if disks > 1 {
            asking.headers.push(("plimsoll-ack", disks.to_string()));
        }
        asking.body = transition.to_string();
        let id = transition["transition_id"].as_str().unwrap_or_default();
        clients.history.tries(id);
        let answer = ask(&clients.weather, asking).await;
        let disks = if answer.as_ref().is_ok_and(|answer| answer.status < 300) { disks } else { 1 };
        let stamp = answer.as_ref().ok().and_then(stamp_of);
        let outcome = answer.map_or(Outcome::Unknown, |answer| Outcome::of(&answer));
        clients.history.end(
            id,
            Try { store, asked, told: now(), disks, outcome: outcome.clone(), stamp },
            clients.store(node),
        );
        outcome
    }
}

fn transition(artifact: &str, id: &str, refs: &Value) -> Value {
    json!({"artifact_id": artifact, "transition_id": id, "status": format!("s-{id}"), "produced_refs": refs})
}
