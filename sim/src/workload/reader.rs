//! Readers, as ctrl is one: one polls cursors and remembers what it saw, the other waits for what it was told of elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Clients, Pace, now};
use crate::client::{Answer, Asking, ask};
use crate::history::Store;
use crate::scenario::Measure;

/// How long a node is asked to wait until it has a transition, in seconds.
const WAIT_S: u64 = 10;

/// One of so many reads looks at the history, and compares it with what is known.
const HISTORIES: u32 = 4;

/// Gauges of the metrics page, and what they never exceed (`docs/api.md`, *Bounds*).
pub(crate) const BOUNDED: [(&str, u64); 4] = [
    ("plimsoll_write_queue_requests", 4_096),
    ("plimsoll_waiters", 10_000),
    ("plimsoll_event_streams", 1_024),
    ("plimsoll_http_connections", 10_000),
];

/// Polls cursors of its node until the time is up.
pub(super) async fn read(clients: &Clients, mut rng: StdRng, pace: Pace) {
    let node = clients.nearest;
    while pace.next(&mut rng).await {
        let artifact = format!("a-{}", rng.random_range(0..clients.plan.scenario.workload.artifacts));
        match rng.random_range(0..5 * HISTORIES) {
            0 => look_at_metrics(clients).await,
            1 | 2 => look_at_state(clients, &artifact).await,
            drawn if drawn % HISTORIES == 0 => compare(clients, &artifact).await,
            _ => {
                let (asked, store) = (now(), clients.store(node));
                let path = format!("/projections/{artifact}/cursor");
                if let Ok(Answer { status: 200, body, .. }) =
                    ask(&clients.weather, Asking::of(node, Method::GET, &path)).await
                {
                    clients.history.measured(Measure::ReadLatency, clients.region(), now() - asked);
                    let token = body["committed_version"].as_str().unwrap_or_default();
                    if clients.store(node) == store {
                        let now = turmoil::since_epoch().unwrap_or_default();
                        clients.history.saw(store, &artifact, token, now);
                    }
                }
            }
        }
    }
}

/// Compares a history with how old it says it may be: what was acknowledged before that is in it.
async fn compare(clients: &Clients, artifact: &str) {
    let (asked, store) = (now(), clients.store(clients.nearest));
    let Some((ids, staleness)) = history_of(clients, artifact).await else { return };
    let Some(staleness) = staleness else { return };
    let then = asked.saturating_sub(staleness);
    let expected = clients.history.acknowledged_before(artifact, then);
    if clients.can_judge_age() && clients.store(clients.nearest) == store {
        for id in expected.difference(&ids).take(1) {
            let node = store.0;
            let words = format!("n{node} said {artifact} is at most {staleness:?} old at {asked:?}, and lacks {id}");
            clients.history.seen().false_words.push(words);
        }
    }
}

/// The ids in the history of an artifact at the node; `None` if it was not told.
async fn history_of(clients: &Clients, artifact: &str) -> Option<(BTreeSet<String>, Option<Duration>)> {
    let (mut ids, mut oldest, mut next) = (BTreeSet::new(), None, String::new());
    loop {
        let path = format!("/projections/{artifact}/transitions?limit=1000{next}");
        let answer = ask(&clients.weather, Asking::of(clients.nearest, Method::GET, &path)).await.ok()?;
        if answer.status == 404 {
            return Some((ids, answer.staleness));
        }
        let items = answer.body["items"].as_array().filter(|_| answer.status == 200)?;
        ids.extend(items.iter().filter_map(|item| Some(item["transition_id"].as_str()?.to_owned())));
        // Of several pages the one that may be oldest counts.
        oldest = if next.is_empty() {
            answer.staleness
        } else {
            oldest.zip(answer.staleness).map(|(one, other)| one.max(other))
        };
        match answer.body["next"].as_str() {
            Some(page) => next = format!("&page={page}"),
            None => return Some((ids, oldest)),
        }
    }
}

/// Reads all that a node shows of an artifact: another state has another token.
async fn look_at_state(clients: &Clients, artifact: &str) {
    let path = format!("/projections/{artifact}");
    let Ok(Answer { status: 200, body, .. }) =
        ask(&clients.weather, Asking::of(clients.nearest, Method::GET, &path)).await
    else {
        return;
    };
    let token = body["committed_version"].as_str().unwrap_or_default();
    let state = format!("{} {}", body["status"], body["produced_refs"]);
    clients.history.saw_state(clients.nearest, artifact, token, &state);
}

async fn look_at_metrics(clients: &Clients) {
    let answer = ask(&clients.weather, Asking::of(clients.nearest, Method::GET, "/metrics")).await;
    for line in answer.iter().flat_map(|answer| answer.text.lines()).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split('{').next().unwrap_or_default();
        if let (true, Ok(value)) = (BOUNDED.iter().any(|(bounded, _)| *bounded == name), value.parse::<f64>()) {
            clients.history.gauge(clients.nearest, name, value as u64);
        }
    }
}

/// Waits at its node for transitions that were accepted elsewhere, until the time is up.
pub(super) async fn watch(clients: &Clients, mut rng: StdRng, pace: Pace) {
    while pace.next(&mut rng).await {
        let Some((id, artifact, told)) = accepted_elsewhere(clients) else { continue };
        let store = clients.store(clients.nearest);
        let path = format!("/projections/{artifact}/cursor?contains={id}");
        let mut asking = Asking::of(clients.nearest, Method::GET, &path);
        asking.headers.push(("prefer", format!("wait={WAIT_S}")));
        asking.patience = Duration::from_secs(WAIT_S + 5);
        if let Ok(Answer { status: 200, body, .. }) = ask(&clients.weather, asking).await {
            clients.history.measured(Measure::CursorLag, clients.region(), now().saturating_sub(told));
            is_as_late(clients, store, &id, body["committed_version"].as_str().unwrap_or_default());
            is_there(clients, store, &artifact, &id).await;
        }
    }
}

/// The transition that was accepted last of all, at another node.
fn accepted_elsewhere(clients: &Clients) -> Option<(String, String, Duration)> {
    let seen = clients.history.seen();
    let accepted =
        seen.posted.iter().filter(|(_, posted)| posted.artifact().starts_with("a-")).filter_map(|(id, posted)| {
            let first = posted.acknowledged().next().filter(|first| first.store.0 != clients.nearest)?;
            Some((first.told, id, posted))
        });
    let (told, id, posted) = accepted.max_by_key(|(told, ..)| *told)?;
    Some((id.clone(), posted.artifact().to_owned(), told))
}

/// Sees that a token of an artifact that has a transition is not from before it.
fn is_as_late(clients: &Clients, store: Store, id: &str, token: &str) {
    let mut seen = clients.history.seen();
    let Some(posted) = seen.posted.get(id) else { return };
    let tries = &posted.tries;
    // Another try may have given it an earlier stamp that nobody was told of.
    let is_certain = posted.asked == tries.len() && tries.iter().all(|one| one.stamp.is_some() && one.store.1 == 0);
    let first = tries.iter().filter_map(|one| one.stamp.as_deref()).min().filter(|_| is_certain);
    if let Some(first) = first.filter(|first| token < *first) {
        let words = format!("n{} said that it has {id} of {first}, under the token {token}", store.0);
        seen.false_words.push(words);
    }
}

/// Looks whether a node that said it has a transition has it.
async fn is_there(clients: &Clients, store: Store, artifact: &str, id: &str) {
    let Some((ids, _)) = history_of(clients, artifact).await else { return };
    if !ids.contains(id) && clients.store(clients.nearest) == store {
        let words = format!("n{} said that it has {id}, and its history of {artifact} lacks it", store.0);
        clients.history.seen().false_words.push(words);
    }
}
