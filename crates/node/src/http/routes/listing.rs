//! `GET /projections`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use plimsoll_domain::id::{ArtifactId, Status};
use plimsoll_store::pages::Summary;
use plimsoll_wire::http::v1::{ProjectionPage, ProjectionSummary};

use super::acceptance::updated_at;
use super::page::{self, List};
use super::problems::OfListing;
use super::{APPLICATION_JSON, CACHE_CONTROL};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;

/// List projections
///
/// All of the tenant's, ordered by the bytes of their artifact ids, without their refs. A page may hold fewer than
/// `limit`, even none, and still have a next one.
#[utoipa::path(
    get,
    path = "/projections",
    tag = "projections",
    params(
        ("status" = Option<String>, Query, min_length = 1, max_length = 64,
            description = "Only those with this status."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "The most items; 100 by default."),
        ("page" = Option<String>, Query, description = "The `next` of the page before."),
    ),
    responses((status = 200, description = "A page of the listing.", body = ProjectionPage), OfListing),
)]
pub(super) async fn list_projections(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let query = Query::parse(&head.uri, &["status", "limit", "page"])?;
    let limit = page::limit(&query)?;
    let after = page::page(&query, List::Projections, |name| ArtifactId::parse(name).ok())?;
    let parse = |text| Status::parse(text).map_err(|rule| ApiError::bad_request("status", rule));
    let status = query.get("status").map(parse).transpose()?;
    let page = app.projections.list(&tenant, status.as_ref(), after.as_ref(), limit).await?;
    let body = ProjectionPage {
        items: page.items.into_iter().map(summary).collect(),
        next: page.next.map(|artifact| page::encode(List::Projections, artifact.as_str())),
    };
    let json = serde_json::to_vec(&body).expect("texts are JSON");
    Ok(([(header::CONTENT_TYPE, APPLICATION_JSON), (header::CACHE_CONTROL, CACHE_CONTROL)], json).into_response())
}

fn summary(summary: Summary) -> ProjectionSummary {
    let token = summary.token.to_text();
    ProjectionSummary {
        artifact_id: summary.artifact.into(),
        status: summary.winner.status.into(),
        transition_id: summary.winner.transition.into(),
        updated_at: updated_at(&token).to_owned(),
        committed_version: token,
    }
}
