//! `GET /projections/{artifact_id}/transitions`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use plimsoll_domain::timestamp::Timestamp;
use plimsoll_store::pages::Past;
use plimsoll_wire::http::v1::{HistoryEntry, HistoryPage};

use super::page::{self, List};
use super::problems::OfArtifact;
use super::{APPLICATION_JSON, CACHE_CONTROL, projection};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, artifact_in_path};

/// Transitions that are read at a time: sixteen of the largest are some megabytes.
const STEP: usize = 16;

/// A page ends with the step that reaches so many refs: some megabytes at most.
const PAGE_REFS: usize = 2_048;

/// Read an artifact's history
///
/// Its transitions, newest first by the stamp of their first acceptance. A page may hold fewer than `limit` and still
/// have a next one.
#[utoipa::path(
    get,
    path = "/projections/{artifact_id}/transitions",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The most items; 100 by default."),
        ("page" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page of the history.", body = HistoryPage), OfArtifact),
)]
pub(super) async fn get_history(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let artifact = artifact_in_path(&head.uri)?;
    let query = Query::parse(&head.uri, &["limit", "page"])?;
    let limit = page::limit(&query)?;
    let mut before = page::page(&query, List::History, |name| Timestamp::parse(name).ok())?;
    let mut items: Vec<HistoryEntry> = Vec::new();
    let mut refs = 0;
    loop {
        let step = STEP.min(limit - items.len());
        let Some(page) = app.projections.history(&tenant, &artifact, before, step).await? else {
            if items.is_empty() {
                return Err(ApiError::not_projected());
            }
            // Retired between two steps: the history ends here.
            before = None;
            break;
        };
        refs += page.items.iter().map(|past| past.transition.refs().len()).sum::<usize>();
        items.extend(page.items.into_iter().map(entry));
        before = page.next;
        if before.is_none() || items.len() == limit || refs >= PAGE_REFS {
            break;
        }
    }
    let next = before.map(|stamp| page::encode(List::History, &stamp.to_string()));
    let json = serde_json::to_vec(&HistoryPage { items, next }).expect("texts and numbers are JSON");
    Ok(([(header::CONTENT_TYPE, APPLICATION_JSON), (header::CACHE_CONTROL, CACHE_CONTROL)], json).into_response())
}

#[expect(clippy::needless_pass_by_value, reason = "it is mapped over values")]
fn entry(past: Past) -> HistoryEntry {
    HistoryEntry {
        transition_id: past.transition.id.to_string(),
        status: past.transition.status.to_string(),
        produced_refs: projection::produced_refs(past.transition.refs()),
        stamp: past.stamp.to_string(),
    }
}
