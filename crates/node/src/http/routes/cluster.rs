//! `GET /cluster` and what an operator does with it.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use plimsoll_cluster::Liveness;
use plimsoll_cluster::leaving::LeaveError;
use plimsoll_cluster::status::{MemberStatus, NodeState};
use plimsoll_domain::id::NotHex;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_wire::http::v1::{ClusterMember, ClusterStatus};
use plimsoll_wire::problem::Kind;
use serde::Serialize;

use super::APPLICATION_JSON;
use super::problems::{OfCluster, OfForgetting, OfLeaving};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;

/// Look at the cluster
///
/// What this node is doing, and every other member as this node sees it.
#[utoipa::path(
    get,
    path = "/cluster",
    tag = "cluster",
    responses((status = 200, description = "The node and its cluster.", body = ClusterStatus), OfCluster),
)]
pub(super) async fn get_cluster(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    authorize(&app, request.headers(), request.uri())?;
    let facts = app.projections.fingerprint()?;
    let identity = app.projections.identity();
    let here = app.cluster.as_ref().map(|cluster| cluster.here().clone());
    let status = ClusterStatus {
        node_id: identity.node.to_string(),
        region: here.as_ref().map_or("default".to_owned(), |here| here.region.to_string()),
        state: state_name(app.cluster.as_ref().map_or(NodeState::Ready, |cluster| cluster.state())).to_owned(),
        facts: facts.count,
        digest: facts.to_string(),
        cluster: app.cluster.as_ref().map(|cluster| cluster.name().to_string()),
        peer: here.map(|here| here.peer),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        members: app.cluster.iter().flat_map(|cluster| cluster.members()).map(member).collect(),
    };
    Ok(json(&status))
}

fn authorize(app: &App, headers: &HeaderMap, uri: &Uri) -> Result<(), ApiError> {
    app.authorize(headers, Scope::Admin)?;
    Query::none(uri)
}

fn json(body: &impl Serialize) -> Response {
    let body = serde_json::to_vec(body).expect("texts and numbers are JSON");
    ([(header::CONTENT_TYPE, APPLICATION_JSON)], body).into_response()
}

const fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::CatchingUp => "catching_up",
        NodeState::Ready => "ready",
        NodeState::ClockFenced => "clock_fenced",
        NodeState::ReadOnly => "read_only",
        NodeState::Leaving => "leaving",
    }
}

fn member(status: MemberStatus) -> ClusterMember {
    let state = match status.liveness {
        _ if status.is_gone => "gone",
        Liveness::Alive => "alive",
        Liveness::Suspect => "suspect",
        Liveness::Down => "down",
    };
    let seen = (status.last_seen > 0).then(|| UnixNanos::new(status.last_seen).to_string());
    ClusterMember {
        node_id: status.member.node.to_string(),
        region: status.member.region.to_string(),
        state: state.to_owned(),
        http: status.member.http,
        peer: status.member.peer,
        version: status.member.software,
        connected: status.is_connected,
        lag_facts: status.lag_facts,
        lag_ms: status.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
        clock_offset_ms: status.clock_offset_nanos.map(|nanos| nanos / 1_000_000),
        last_seen: seen,
        facts: status.facts.map(|facts| facts.count),
        digest: status.facts.map(|facts| facts.to_string()),
        trouble: status.trouble,
    }
}

/// How long a node that leaves waits for another member to have all that it has.
const LEAVING_TIME_MAX: Duration = Duration::from_secs(30);

/// Leave the cluster
///
/// For good: this node takes no writes any more, another member gets all that it has, and the others hear that it is gone.
/// Then it can be stopped. It may come back only as a new node, with an empty data directory. A node does not leave while it
/// knows of another one with its id: that would be gone too.
#[utoipa::path(
    post,
    path = "/cluster/leave",
    tag = "cluster",
    responses((status = 204, description = "It has left, and may be stopped."), OfLeaving),
)]
pub(super) async fn post_leave(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    authorize(&app, &head.headers, &head.uri)?;
    let cluster = app.cluster.as_ref().ok_or_else(alone)?;
    match cluster.leave(LEAVING_TIME_MAX).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => Err(failed(error)),
    }
}

/// Forget a member
///
/// One that will not come back: it is not asked or waited for any more. It may return only as a new node. A member that is
/// connected is not forgotten: stop it first.
#[utoipa::path(
    delete,
    path = "/cluster/members/{node_id}",
    tag = "cluster",
    params(("node_id" = String, Path, pattern = "^[0-9a-f]{16}$", description = "The member, 16 hex digits.")),
    responses((status = 204, description = "It is forgotten."), OfForgetting),
)]
pub(super) async fn delete_member(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    authorize(&app, &head.headers, &head.uri)?;
    let cluster = app.cluster.as_ref().ok_or_else(alone)?;
    let node = head.uri.path().rsplit('/').next().unwrap_or_default();
    let rule = |rule: NotHex| ApiError::new(Kind::InvalidField, format!("node_id {rule}")).in_field("node_id");
    match cluster.forget(node.parse().map_err(rule)?).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT.into_response()),
        Err(error) => Err(failed(error)),
    }
}

fn alone() -> ApiError {
    ApiError::new(Kind::NoSuchRoute, "this node is alone: it was started without peer_listen")
}

fn failed(error: LeaveError) -> ApiError {
    let detail = error.to_string();
    match error {
        LeaveError::Unreplicated { .. } => ApiError::new(Kind::UnderReplicated, detail),
        LeaveError::NoSuchMember(_) | LeaveError::NoMember => ApiError::new(Kind::NoSuchMember, detail),
        LeaveError::Connected(_) | LeaveError::SharedId => ApiError::new(Kind::MemberConnected, detail),
        LeaveError::Write(error) => error.into(),
    }
}

/// Cut the node off from its peers, for a test
///
/// Only a node of `plimsoll dev` takes it. It stays cut off until `DELETE /cluster/cut`.
#[utoipa::path(
    put,
    path = "/cluster/cut",
    tag = "cluster",
    responses((status = 204, description = "It is cut off."), OfCluster),
)]
pub(super) async fn put_cut(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    set_cut(&app, &request, true)
}

/// Let the node talk to its peers again
#[utoipa::path(
    delete,
    path = "/cluster/cut",
    tag = "cluster",
    responses((status = 204, description = "It talks to them again."), OfCluster),
)]
pub(super) async fn delete_cut(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    set_cut(&app, &request, false)
}

fn set_cut(app: &App, request: &Request, is_cut: bool) -> Result<Response, ApiError> {
    authorize(app, request.headers(), request.uri())?;
    match app.cluster.as_ref().filter(|_| app.has_test_controls) {
        Some(cluster) => {
            cluster.set_cut(is_cut);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        None => Err(ApiError::new(Kind::NoSuchRoute, "only a node of `plimsoll dev` can be cut off")),
    }
}
