//! `GET /projections/{artifact_id}/conflicts` and `…/explanation`: why an artifact is what it is.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header;
use plimsoll_cluster::tokens::TokenThere;
use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::{Body, DecidedRef, Decider, Explanation, Fact, Token, Why, explain};
use plimsoll_store::pages::PAGE_ROWS_MAX;
use plimsoll_wire::http::v1::{
    Conflict, Conflicts, ExplainedRef, Explanation as Explained, MemberToken, PostTransition, ProducedRef, Said,
};
use serde::Serialize;

use super::problems::OfArtifact;
use super::{APPLICATION_JSON, CACHE_CONTROL, projection};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, artifact_in_path};

/// List an artifact's conflicts
///
/// What two nodes accepted, each without knowing of the other, that cannot both stand.
#[utoipa::path(
    get,
    path = "/projections/{artifact_id}/conflicts",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
    ),
    responses((status = 200, description = "The conflicts.", body = Conflicts), OfArtifact),
)]
pub(super) async fn get_conflicts(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (tenant, artifact) = read(&app, request)?;
    let reused = app.projections.reused(&tenant, &artifact).await?;
    let refs = match explanation(&app, &tenant, &artifact).await? {
        None if reused.is_empty() => return Err(ApiError::not_projected()),
        None => Vec::new(),
        Some((_, explanation)) => explanation.refs,
    };
    let items = refs.iter().flat_map(disputes).chain(reused.iter().filter_map(lost)).collect();
    Ok(json(&Conflicts { items }))
}

/// Explain an artifact
///
/// Which transition decided each field of its projection on this node, and over what; and where another member has another
/// state at this moment.
#[utoipa::path(
    get,
    path = "/projections/{artifact_id}/explanation",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
    ),
    responses((status = 200, description = "The explanation.", body = Explained), OfArtifact),
)]
pub(super) async fn get_explanation(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (tenant, artifact) = read(&app, request)?;
    let explained = explanation(&app, &tenant, &artifact).await?;
    let (token, explanation) = explained.ok_or_else(ApiError::not_projected)?;
    let (status, by) = explanation.status.ok_or_else(ApiError::not_projected)?;
    let members = match &app.cluster {
        None => Vec::new(),
        Some(cluster) => {
            let _place = app.bounds().questions.enter_for(&tenant)?;
            cluster.tokens(&tenant, &artifact).await
        }
    };
    Ok(json(&Explained {
        artifact_id: artifact.to_string(),
        committed_version: token.to_text(),
        status: status.to_string(),
        status_by: said(&by),
        produced_refs: explanation.refs.iter().map(explained_ref).collect(),
        members: members.iter().map(|there| member(there, token)).collect(),
    }))
}

fn read(app: &App, request: Request) -> Result<(TenantId, ArtifactId), ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let artifact = artifact_in_path(&head.uri)?;
    Query::none(&head.uri)?;
    Ok((tenant, artifact))
}

fn json(body: &impl Serialize) -> Response {
    let json = serde_json::to_vec(body).expect("texts and numbers are JSON");
    ([(header::CONTENT_TYPE, APPLICATION_JSON), (header::CACHE_CONTROL, CACHE_CONTROL)], json).into_response()
}

/// The token of an artifact, and why it is what it is; `None` where it is not projected here. The two are of one moment
/// unless a write came between, and then the explanation is the newer one.
async fn explanation(
    app: &App,
    tenant: &TenantId,
    artifact: &ArtifactId,
) -> Result<Option<(Token, Explanation)>, ApiError> {
    let Some(cursor) = app.projections.cursor(tenant, artifact).await? else { return Ok(None) };
    let facts = app.projections.visible_facts(tenant, artifact, PAGE_ROWS_MAX, |_| true).await?;
    Ok(Some((cursor.token, explain(&facts))))
}

fn said(by: &Decider) -> Said {
    Said { transition_id: by.transition.to_string(), stamp: by.stamp.to_string() }
}

fn explained_ref(decided: &DecidedRef) -> ExplainedRef {
    let why = match decided.why {
        Why::Alone => "alone",
        Why::Resolved => "resolved",
        Why::Later => "later",
    };
    ExplainedRef { stands: stands(decided), by: said(&decided.by), why: why.to_owned() }
}

fn stands(decided: &DecidedRef) -> ProducedRef {
    ProducedRef::from_parts(&decided.key, decided.resolution.as_ref())
}

fn disputes(decided: &DecidedRef) -> Vec<Conflict> {
    let conflict = |(by, resolution): &(Decider, plimsoll_domain::projection::Resolution)| Conflict::ResolvedTwice {
        stands: stands(decided),
        stands_by: said(&decided.by),
        lost: ProducedRef::from_parts(&decided.key, Some(resolution)),
        lost_by: said(by),
    };
    decided.disputed.iter().map(conflict).collect()
}

fn lost(fact: &Fact) -> Option<Conflict> {
    let Body::Transition(transition) = &fact.body else { return None };
    let lost = PostTransition {
        artifact_id: transition.artifact.to_string(),
        transition_id: transition.id.to_string(),
        status: transition.status.to_string(),
        produced_refs: projection::produced_refs(transition.refs()),
        committed_version: None,
    };
    let by = Said { transition_id: lost.transition_id.clone(), stamp: fact.first.to_string() };
    Some(Conflict::IdUsedTwice { lost, lost_by: by })
}

fn member(there: &TokenThere, here: Token) -> MemberToken {
    MemberToken {
        node_id: there.node.to_string(),
        region: there.region.to_string(),
        committed_version: there.token.flatten().map(|token| token.to_text()),
        same: there.token.map(|token| token == Some(here)),
    }
}
