//! Somebody of another tenant, or of none: they are to see nothing of anybody's.

use std::time::Duration;

use http::Method;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::{Clients, Pace};
use crate::client::{Asking, ask, listen};
use crate::history::Glimpse;
use crate::host::SPY;

/// How long they listen.
const LISTENING: Duration = Duration::from_secs(2);

/// So much of an answer is told.
const TOLD_MAX: usize = 200;

/// Asks the node for what it has, until the time is up.
pub(super) async fn look(clients: &Clients, mut rng: StdRng, pace: Pace) {
    while pace.next(&mut rng).await {
        if rng.random_range(0..5_u32) == 0 {
            listen_in(clients).await;
            continue;
        }
        let artifact = rng.random_range(0..clients.plan.scenario.workload.artifacts);
        let path = match rng.random_range(0..4_u32) {
            0 => "/projections".to_owned(),
            1 => format!("/projections/a-{artifact}"),
            2 => format!("/projections/a-{artifact}/transitions"),
            _ => "/cluster".to_owned(),
        };
        let token = match rng.random_range(0..3_u32) {
            0 => None,
            1 => Some("a-secret-nobody-has"),
            _ => Some(SPY),
        };
        let asking = Asking { token, ..Asking::of(clients.nearest, Method::GET, &path) };
        let Ok(answer) = ask(&clients.weather, asking).await else { continue };
        let is_theirs =
            token == Some(SPY) && answer.status == 200 && answer.body["items"].as_array().is_some_and(Vec::is_empty);
        let is_refused = matches!(answer.status, 401 | 403 | 404 | 429 | 503);
        if !is_theirs && !is_refused {
            let text = answer.text.chars().take(TOLD_MAX).collect();
            clients.history.seen().glimpses.push(Glimpse { node: clients.nearest, path, status: answer.status, text });
        }
    }
}

/// Listens to the changes of their own tenant, of which there are none.
async fn listen_in(clients: &Clients) {
    let path = "/projections/changes";
    let asking = Asking { token: Some(SPY), patience: LISTENING, ..Asking::of(clients.nearest, Method::GET, path) };
    let Ok(answer) = listen(&clients.weather, asking).await else { return };
    if answer.text.lines().any(|line| line.starts_with("data:") && line.contains("artifact_id")) {
        let text = answer.text.chars().take(TOLD_MAX).collect();
        let glimpse = Glimpse { node: clients.nearest, path: path.to_owned(), status: answer.status, text };
        clients.history.seen().glimpses.push(glimpse);
    }
}
