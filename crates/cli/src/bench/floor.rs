//! The floors: servers that do no more than anyone must, on the same stack as a node.
//!
//! A ratio to a floor says what a node's own work costs, on whatever machine it is measured. The routes are a node's, so
//! the same commands load either. A cursor is a constant; a post is parsed and answered; a durable one is parsed,
//! appended to a file and answered after an fdatasync that is shared with all who wait. Nothing is checked, stored by
//! key, or remembered.

use std::path::Path;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::group_commit::{DiskFailed, GroupCommit};
use super::wire::{Accepted, BatchBody, BatchLine, PostTransition};

/// The largest batch taken.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

const UPDATED_AT: &str = "2026-04-22T18:04:11.000000001+00:00";
const COMMITTED_VERSION: &str = "2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65";
const QUOTED_VERSION: &str = "\"2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65\"";
const CURSOR: &str = r#"{"artifact_id":"bench/load/000000","committed_version":"2026-04-22T18:04:11.000000001+00:00/00c0ffee00c0ffee/9f86d081884c7d65","updated_at":"2026-04-22T18:04:11.000000001+00:00"}"#;

/// What a post waits for before it is answered.
#[derive(Debug, Clone)]
pub(crate) enum Floor {
    /// Nothing.
    ParseOnly,
    /// An fdatasync.
    Durable(GroupCommit),
}

impl Floor {
    /// A durable floor with its file in `directory`.
    pub(crate) fn durable(directory: &Path) -> Result<Self> {
        GroupCommit::start(directory).map(Self::Durable)
    }

    /// Serves until the process is ended. The listener must not block.
    pub(crate) async fn serve(self, listener: std::net::TcpListener) -> Result<()> {
        let listener = TcpListener::from_std(listener).context("cannot listen")?;
        let listener = listener.tap_io(|stream| {
            // A socket that cannot be set up fails at its first use.
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, self.router()).await.context("the floor stopped serving")
    }

    fn router(self) -> Router {
        Router::new()
            .route("/projections/{artifact_id}/cursor", get(cursor))
            .route("/projections/transitions", post(transition))
            .route("/projections/transitions/batch", post(batch))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    async fn append(&self, records: usize) -> Result<(), DiskFailed> {
        match self {
            Self::ParseOnly => Ok(()),
            Self::Durable(log) => log.append(records).await,
        }
    }
}

async fn cursor() -> Response {
    ([(CONTENT_TYPE, "application/json"), (ETAG, QUOTED_VERSION)], CURSOR).into_response()
}

async fn transition(State(floor): State<Floor>, body: Bytes) -> Response {
    let transition: PostTransition = match serde_json::from_slice(&body) {
        Ok(transition) => transition,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    if floor.append(1).await.is_err() {
        return StatusCode::INSUFFICIENT_STORAGE.into_response();
    }
    match serde_json::to_vec(&accepted(transition)) {
        Ok(body) => {
            let headers = [(CONTENT_TYPE, "application/json"), (ETAG, QUOTED_VERSION)];
            (StatusCode::CREATED, headers, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn batch(State(floor): State<Floor>, body: Bytes) -> Response {
    let (mut answer, mut records) = (Vec::with_capacity(body.len()), 0);
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let answered = serde_json::from_slice::<PostTransition>(line).and_then(|transition| {
            let line = BatchLine { status: 201, body: BatchBody::Accepted(accepted(transition)) };
            serde_json::to_writer(&mut answer, &line)
        });
        if let Err(error) = answered {
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
        answer.push(b'\n');
        records += 1;
    }
    if floor.append(records).await.is_err() {
        return StatusCode::INSUFFICIENT_STORAGE.into_response();
    }
    ([(CONTENT_TYPE, "application/x-ndjson")], answer).into_response()
}

fn accepted(transition: PostTransition) -> Accepted {
    Accepted {
        artifact_id: transition.artifact_id,
        transition_id: transition.transition_id,
        committed_version: COMMITTED_VERSION.to_owned(),
        updated_at: UPDATED_AT.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::Cursor;
    use super::*;

    #[test]
    fn the_constant_cursor_is_a_cursor() {
        let cursor: Cursor = serde_json::from_str(CURSOR).unwrap();
        assert_eq!((cursor.committed_version.as_str(), cursor.updated_at.as_str()), (COMMITTED_VERSION, UPDATED_AT));
        assert_eq!(QUOTED_VERSION, format!("\"{COMMITTED_VERSION}\""));
        assert!(COMMITTED_VERSION.starts_with(UPDATED_AT) && COMMITTED_VERSION.len() == 69);
    }
}
