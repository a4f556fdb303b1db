//! `DELETE /projections/{artifact_id}`.

use axum::extract::{Request, State};
use http::StatusCode;
use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::Expectation;

use super::acceptance;
use super::problems::OfRetirement;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, artifact_in_path, expectation};

/// Retire an artifact
///
/// A tombstone hides all its transitions so far, whenever they arrive. A later transition brings the artifact back.
/// Deleting again is another tombstone: send `If-Match` where a retry must not retire what was posted since.
#[utoipa::path(
    delete,
    path = "/projections/{artifact_id}",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
            description = "Retire only if the artifact's token here is one of these, \
            each in double quotes."),
    ),
    responses((status = 204, description = "Retired, and durable on this node."), OfRetirement),
)]
pub(super) async fn delete_projection(State(app): State<App>, request: Request) -> Result<StatusCode, ApiError> {
    let read = read(&app, &request).inspect_err(|error| app.metrics.refused(&error.problem))?;
    let (tenant, artifact, expectation) = read;
    let outcome = app.projections.retire(&tenant, artifact, expectation).await;
    acceptance::settle(&app, outcome)?;
    Ok(StatusCode::NO_CONTENT)
}

fn read(app: &App, request: &Request) -> Result<(TenantId, ArtifactId, Expectation), ApiError> {
    let (headers, uri) = (request.headers(), request.uri());
    let tenant = app.authorize_write(headers)?;
    let artifact = artifact_in_path(uri)?;
    Query::none(uri)?;
    Ok((tenant, artifact, expectation(headers)?))
}
