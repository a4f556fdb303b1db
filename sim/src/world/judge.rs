//! The judge waits until the storm is over, nothing is posted any more, and all nodes are ready and equal; sees that each takes a
//! write; and writes down what they show.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::client::{Asking, ask};
use crate::history::{History, Outcome, Try};
use crate::host::Host;
use crate::invariants::{Artifact, Copy, Shown};
use crate::net::Weather;
use crate::plan::Plan;
use crate::workload::now;

/// How long the judge waits for an answer, and before it asks again.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// How often each node is asked for a write that it should take.
const WRITES_MAX: u32 = 5;

/// What the judge found.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// What the nodes show.
    pub(super) copies: Vec<Copy>,
    /// See [`crate::verdict::Verdict::converged`].
    pub(super) converged: Option<Duration>,
    /// What of a living cluster they lack.
    pub(super) troubles: Vec<String>,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Judge {
    plan: Arc<Plan>,
    hosts: Arc<Vec<Host>>,
    weather: Weather,
    history: Arc<History>,
    found: Arc<Mutex<Found>>,
}

impl Judge {
    pub(super) fn new(plan: &Arc<Plan>, hosts: &Arc<Vec<Host>>, weather: &Weather, history: &Arc<History>) -> Self {
        let (plan, hosts, history) = (Arc::clone(plan), Arc::clone(hosts), Arc::clone(history));
        Self { plan, hosts, weather: weather.clone(), history, found: Arc::default() }
    }

    pub(super) fn found(&self) -> Found {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, find: impl FnOnce(&mut Found)) {
        find(&mut self.found.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The nodes that are to be there in the end.
    fn nodes(&self) -> Vec<u8> {
        self.hosts.iter().filter(|host| !host.has_left()).map(|host| host.number).collect()
    }

    pub(super) async fn run(self) {
        sleep(self.plan.scenario.lasting).await;
        while self.history.clients_ended() < self.hosts.len() {
            sleep(PAUSE).await;
        }
        let (begun, calm) = (now(), self.plan.scenario.calm);
        if timeout(calm, self.agreeing()).await.is_err() {
            let after = calm.as_secs();
            let states = self.states().await.join("; ");
            let trouble =
                format!("the nodes are not ready and equal {after} s after the last fault and the last post: {states}");
            self.find(|found| found.troubles.push(trouble));
            return;
        }
        self.find(|found| found.converged = Some(now() - begun));
        for node in self.nodes() {
            if let Err(problem) = self.write(node).await {
                self.find(|found| found.troubles.push(format!("n{node} takes no write: {problem}")));
            }
        }
        if timeout(calm, self.agreeing()).await.is_err() {
            self.find(|found| found.troubles.push("the nodes do not come to agree on a last write".to_owned()));
            return;
        }
        for node in self.nodes() {
            match self.copy_of(node).await {
                Ok(copy) => self.find(|found| found.copies.push(copy)),
                Err(error) => self.find(|found| found.troubles.push(format!("{error:#}"))),
            }
        }
    }

    async fn agreeing(&self) {
        while !self.agree().await {
            sleep(PAUSE).await;
        }
    }

    /// Whether all nodes are ready, and have one digest.
    async fn agree(&self) -> bool {
        let mut digests = Vec::new();
        for node in self.nodes() {
            match self.got(node, "/cluster").await {
                Ok(status) if status["state"] == "ready" => digests.push(status["digest"].clone()),
                _ => return false,
            }
        }
        digests.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// What each node says of itself and the others.
    async fn states(&self) -> Vec<String> {
        let mut states = Vec::new();
        for node in self.nodes() {
            let status = self.got(node, "/cluster").await.unwrap_or_default();
            let trouble = |member: &Value| Some(format!("{}: {}", text(member, "http"), member["trouble"].as_str()?));
            let troubles: Vec<String> =
                status["members"].as_array().into_iter().flatten().filter_map(trouble).collect();
            let (state, facts, digest) = (text(&status, "state"), &status["facts"], text(&status, "digest"));
            let digest = digest.get(..8).unwrap_or_default();
            states.push(format!("n{node} {state}, {facts} facts, {digest} [{}]", troubles.join(", ")));
        }
        states
    }

    /// Has a node take a write, as one does that is well.
    async fn write(&self, node: u8) -> Result<(), String> {
        let id = format!("j-{node}");
        let transition =
            json!({"artifact_id": "a-judged", "transition_id": id, "status": format!("s-{id}"), "produced_refs": []});
        let host = &self.hosts[usize::from(node) - 1];
        self.history.begin(&transition, &host.region, None);
        let mut last = String::new();
        for _ in 0..WRITES_MAX {
            let (asked, store) = (now(), (node, host.store()));
            let mut asking =
                Asking { patience: PATIENCE, ..Asking::of(node, Method::POST, "/projections/transitions") };
            asking.body = transition.to_string();
            let answer = ask(&self.weather, asking).await;
            let outcome = answer.as_ref().map_or(Outcome::Unknown, Outcome::of);
            self.history.end(
                &id,
                Try { store, asked, told: now(), disks: 1, outcome: outcome.clone(), stamp: None },
                store,
            );
            if outcome == Outcome::Stands {
                return Ok(());
            }
            last = answer.map_or_else(|error| error.to_string(), |answer| answer.text);
            sleep(PAUSE).await;
        }
        Err(last)
    }

    /// All that a node shows.
    async fn copy_of(&self, node: u8) -> anyhow::Result<Copy> {
        let mut copy = Copy { node, ..Copy::default() };
        for projection in self.listed(node, "/projections").await? {
            let id = text(&projection, "artifact_id");
            copy.artifacts.insert(id.clone(), self.artifact(node, &id).await?);
        }
        Ok(copy)
    }

    async fn artifact(&self, node: u8, id: &str) -> anyhow::Result<Artifact> {
        let projection = self.got(node, &format!("/projections/{id}")).await?;
        let shown = |item: &Value| Shown {
            id: text(item, "transition_id"),
            status: text(item, "status"),
            stamp: text(item, "stamp"),
        };
        let transitions =
            self.listed(node, &format!("/projections/{id}/transitions")).await?.iter().map(shown).collect();
        let refs = projection["produced_refs"].as_array().into_iter().flatten();
        Ok(Artifact {
            token: text(&projection, "committed_version"),
            status: text(&projection, "status"),
            transitions,
            refs: refs.map(|one| (text(one, "idempotency_key"), one["kind"] == "resolved")).collect(),
        })
    }

    async fn listed(&self, node: u8, path: &str) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let mut page = self.got(node, &format!("{path}?limit=1000{next}")).await?;
            items.append(page["items"].as_array_mut().context("a list has items")?);
            match page["next"].as_str() {
                Some(position) => next = format!("&page={position}"),
                None => return Ok(items),
            }
        }
    }

    async fn got(&self, node: u8, path: &str) -> anyhow::Result<Value> {
        let answer = ask(&self.weather, Asking { patience: PATIENCE, ..Asking::of(node, Method::GET, path) }).await?;
        if answer.status != 200 {
            bail!("n{node} answered {path} with {} {}", answer.status, answer.text);
        }
        Ok(answer.body)
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}
