//! The routes of the projection plane: one module each, its contract beside its handler.
//!
//! A handler authorizes first, reads the request second, and looks at the store last; so a client without a token
//! learns nothing of what there is.

mod acceptance;
mod batch;
mod changes;
mod cursor;
mod cursors;
mod history;
mod listing;
mod page;
mod problems;
mod projection;
mod retirement;
#[cfg(test)]
mod tests;
mod transition;

use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::problem::Kind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::app::App;
use super::error::ApiError;
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
        .routes(routes!(history::get_history));
    openapi::strip_null_headers(router.get_openapi_mut());
    router
}

/// Requests that wait. Each holds a timer and its connection: some kilobytes.
const WAITS_MAX: usize = 10_000;

/// Streams of events. Each reads the whole node's feed, so their number is the price of a write.
const EVENT_STREAMS_MAX: usize = 1_024;

/// Batches. Each may hold some megabytes.
const BATCHES_MAX: usize = 64;

/// When one of many long answers is likely to have ended.
const BOUND_RETRY: Duration = Duration::from_secs(5);

/// How many long answers there may be at a time.
pub(crate) struct Bounds {
    waits: Bound,
    event_streams: Bound,
    batches: Bound,
}

impl Default for Bounds {
    fn default() -> Self {
        let bound = |what, max| Bound { what, max, room: Arc::new(Semaphore::new(max)) };
        Self {
            waits: bound("requests that wait", WAITS_MAX),
            event_streams: bound("event streams", EVENT_STREAMS_MAX),
            batches: bound("batches", BATCHES_MAX),
        }
    }
}

struct Bound {
    what: &'static str,
    max: usize,
    room: Arc<Semaphore>,
}

impl Bound {
    fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let detail = format!("this node has its most, {}, of {}", self.max, self.what);
            ApiError::new(Kind::Overloaded, detail).retry_after(BOUND_RETRY)
        })
    }
}

/// Returns when the node stops. A node whose owner has gone without a word has not said that it stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    if stopping.wait_for(|stopping| *stopping).await.is_err() {
        std::future::pending::<()>().await;
    }
}
