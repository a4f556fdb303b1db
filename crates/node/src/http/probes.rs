//! What orchestrators and Prometheus ask: no token is needed, and nothing of a tenant's artifacts is told.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use plimsoll_store::error::StoreFailure;
use plimsoll_store::notes::Fence;
use plimsoll_wire::http::v1::{Health, Readiness};
use plimsoll_wire::problem::Kind;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;

/// The media type of Prometheus' text format.
const METRICS_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz)).routes(routes!(metrics))
}

/// Whether the process lives: for what restarts it.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "healthz",
    tag = "operations",
    responses((status = 200, description = "The process serves", body = Health)),
    security(())
)]
async fn healthz(State(app): State<App>) -> Response {
    let health = Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node_id: app.projections.identity().node.to_string(),
    };
    json(StatusCode::OK, &health)
}

/// Whether this node should be sent requests: for what balances them.
///
/// A node whose disk is full is not `ready`, and its status is 200 all the same: it serves reads, and takes writes
/// again by itself once there is room. Were it taken out, the other nodes would have its reads too, and fill up as well.
/// So it is with a node whose clock is off. A node that has come to a cluster is not ready before it has what its peers had
/// then.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readyz",
    tag = "operations",
    responses(
        (status = 200, description = "Send requests; `ready` is false, with a reason, where only reads are served",
            body = Readiness),
        (status = 503, description = "Send none: it stops, catches up, waits for a migration, or its disk failed", body = Readiness)
    ),
    security(())
)]
async fn readyz(State(app): State<App>) -> Response {
    let reason = unready(&app);
    let status = match reason {
        None | Some(Kind::DiskFull | Kind::ClockFenced) => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, &Readiness { ready: reason.is_none(), reason: reason.map(Kind::uri) })
}

/// An answer that no cache keeps: it is about this moment.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let body = serde_json::to_vec(body).expect("these bodies are structs of texts and truths");
    (status, headers, body).into_response()
}

/// What a write would be answered with now, as far as the node itself can tell.
fn unready(app: &App) -> Option<Kind> {
    let failed = app.projections.progress().failure.map(|failure| match failure {
        // Full or broken, only a restart helps; a full disk that the store met in time is told below.
        StoreFailure::Disk | StoreFailure::DiskFull => Kind::StorageFailed,
        StoreFailure::Closed => Kind::NotReady,
    });
    let stopping = || app.stopping.borrow().then_some(Kind::NotReady);
    let old = || app.projections.format().is_old().then_some(Kind::MigrationPending);
    let joining = || app.cluster.as_ref().is_some_and(|cluster| !cluster.is_ready()).then_some(Kind::NotReady);
    let fenced = || {
        app.projections.fence().map(|fence| match fence {
            Fence::Clock => Kind::ClockFenced,
            Fence::Identity | Fence::NoMember | Fence::Behind => Kind::NotReady,
        })
    };
    let full = || (app.free_bytes)().is_some_and(|free| free < app.reserve_bytes).then_some(Kind::DiskFull);
    failed.or_else(stopping).or_else(old).or_else(joining).or_else(fenced).or_else(full)
}

/// What the node counts, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "operations",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")),
    security(())
)]
async fn metrics(State(app): State<App>) -> Response {
    let text = app.metrics.render(&app.projections, (app.free_bytes)(), app.cluster.as_ref());
    ([(header::CONTENT_TYPE, METRICS_MEDIA_TYPE)], text).into_response()
}
