//! `POST /projections/cursors`.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use plimsoll_domain::id::ArtifactId;
use plimsoll_wire::http::v1::{CursorsAnswer, CursorsRequest, TokenAndTime};
use plimsoll_wire::problem::Kind;

use super::acceptance::updated_at;
use super::problems::OfCursors;
use super::{APPLICATION_JSON, CACHE_CONTROL};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, from_json, read_whole};

/// The most artifacts of one request (`projections.md`).
const ARTIFACTS_MAX: usize = 1_000;

/// Read many cursors
///
/// Of up to 1,000 artifacts at once. An artifact that is not projected here has `null`.
#[utoipa::path(
    post,
    path = "/projections/cursors",
    tag = "projections",
    request_body(content = CursorsRequest, content_type = "application/json", description = "At most 1 MiB."),
    responses((status = 200, description = "The cursors.", body = CursorsAnswer), OfCursors),
)]
pub(super) async fn post_cursors(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    Query::none(&head.uri)?;
    let text = read_whole(&head.headers, body).await?;
    let CursorsRequest { artifact_ids } = from_json(&text)?;
    let invalid = |field: &str, detail: String| ApiError::new(Kind::InvalidField, detail).in_field(field);
    if artifact_ids.len() > ARTIFACTS_MAX {
        let detail = format!("artifact_ids must have at most {ARTIFACTS_MAX} items, and has {}", artifact_ids.len());
        return Err(invalid("artifact_ids", detail));
    }
    let parse = |(index, text): (usize, String)| {
        let field = format!("artifact_ids[{index}]");
        ArtifactId::parse(text).map_err(|rule| invalid(&field, format!("{field} {rule}")))
    };
    let artifacts: Vec<ArtifactId> = artifact_ids.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?;
    let mut cursors = BTreeMap::new();
    for artifact in artifacts {
        let cursor = app.projections.cursor(&tenant, &artifact).await?.map(|cursor| TokenAndTime {
            committed_version: cursor.text.to_string(),
            updated_at: updated_at(&cursor.text).to_owned(),
        });
        cursors.insert(artifact.into(), cursor);
    }
    let json = serde_json::to_vec(&CursorsAnswer { cursors }).expect("texts are JSON");
    Ok(([(header::CONTENT_TYPE, APPLICATION_JSON), (header::CACHE_CONTROL, CACHE_CONTROL)], json).into_response())
}
