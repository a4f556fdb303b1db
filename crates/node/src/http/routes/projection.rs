//! `GET /projections/{artifact_id}`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use plimsoll_domain::projection::ProducedRef;
use plimsoll_wire::http::v1;

use super::acceptance::updated_at;
use super::problems::OfArtifact;
use super::{APPLICATION_JSON, CACHE_CONTROL, cursor};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, artifact_in_path, matches_none};

/// Read an artifact's projection
///
/// One exact state, however many writes go on: its status, the transition that gave it, and all its refs.
///
/// An artifact that is named like a route, `changes` for one, is reached with one of its letters percent-encoded.
#[utoipa::path(
    get,
    path = "/projections/{artifact_id}",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
        ("If-None-Match" = Option<String>, Header, pattern = "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
            description = "The token the client has, in double quotes."),
    ),
    responses(
        (status = 200, description = "The projection.", body = v1::Projection,
            headers(("ETag" = String, description = "The token, in double quotes."))),
        (status = 304, description = "The client has what there is.",
            headers(("ETag" = String, description = "The token, in double quotes."))),
        OfArtifact,
    ),
)]
pub(super) async fn get_projection(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let artifact = artifact_in_path(&head.uri)?;
    Query::none(&head.uri)?;
    if let Some(cursor) = app.projections.cursor(&tenant, &artifact).await?
        && matches_none(&head.headers, &cursor.text)?
    {
        return Ok(cursor::not_modified(&cursor.text));
    }
    let whole = app.projections.projection(&tenant, &artifact).await?.ok_or_else(ApiError::not_projected)?;
    let token = whole.token.to_text();
    let entity_tag = cursor::entity_tag(&token);
    let body = v1::Projection {
        artifact_id: artifact.into(),
        status: whole.winner.status.into(),
        transition_id: whole.winner.transition.into(),
        produced_refs: produced_refs(&whole.refs),
        updated_at: updated_at(&token).to_owned(),
        committed_version: token,
    };
    let json = serde_json::to_vec(&body).expect("texts and numbers are JSON");
    let headers =
        [(header::CONTENT_TYPE, APPLICATION_JSON), (header::ETAG, entity_tag), (header::CACHE_CONTROL, CACHE_CONTROL)];
    Ok((headers, json).into_response())
}

/// Refs in the form they are posted in.
pub(super) fn produced_refs(refs: &[ProducedRef]) -> Vec<v1::ProducedRef> {
    refs.iter().map(|produced| v1::ProducedRef::from_parts(&produced.key, produced.resolution.as_ref())).collect()
}
