//! The routes of the projection plane: one module each, its contract beside its handler.
//!
//! A handler authorizes first, reads the request second, and looks at the store last; so a client without a token
//! learns nothing of what there is.

mod acceptance;
mod batch;
mod bounds;
mod changes;
mod cluster;
pub(crate) mod cursor;
mod cursors;
mod explanation;
mod history;
mod listing;
mod page;
mod problems;
mod projection;
mod retirement;
mod submitting;
#[cfg(test)]
mod tests;
mod transition;

use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::bounds::Bounds;
use super::app::App;
use super::openapi;

/// What a client may keep of an answer: it asks again each time, and is told whether it still holds.
const CACHE_CONTROL: http::HeaderValue = http::HeaderValue::from_static("private, no-cache");

const APPLICATION_JSON: http::HeaderValue = http::HeaderValue::from_static("application/json");

/// All routes of the projection plane.
pub(crate) fn router() -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::new()
        .routes(routes!(transition::post_transition))
        .routes(routes!(batch::post_batch))
        .routes(routes!(listing::list_projections))
        .routes(routes!(changes::get_changes))
        .routes(routes!(cursors::post_cursors))
        .routes(routes!(projection::get_projection, retirement::delete_projection))
        .routes(routes!(cursor::get_cursor))
        .routes(routes!(history::get_history))
        .routes(routes!(explanation::get_conflicts))
        .routes(routes!(explanation::get_explanation))
        .routes(routes!(cluster::get_cluster))
        .routes(routes!(cluster::post_leave))
        .routes(routes!(cluster::delete_member))
        .routes(routes!(cluster::put_cut, cluster::delete_cut));
    openapi::strip_null_headers(router.get_openapi_mut());
    router
}

/// Returns when the node stops. A node whose owner has gone without a word has not said that it stops.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}
