//! The HTTP API: routes, what every request passes, and the server.
//!
//! - [`mod@routes`]: the handlers of the API; [`probes`]: what orchestrators and Prometheus ask.
//! - [`cors`]: what lets the pages of other origins in.
//! - [`middleware`]: what every request passes, whatever its route.
//! - [`leftover`]: what handlers leave of a request's body.
//! - [`server`] accepts and serves connections.
//! - [`openapi`] and [`docs`]: the description of the API, and the pages that show it.

pub(crate) mod app;
mod cors;
pub(crate) mod docs;
pub(crate) mod error;
pub(crate) mod extract;
mod freshness;
pub(crate) mod leftover;
pub(crate) mod middleware;
pub mod openapi;
pub(crate) mod probes;
mod pulse;
mod rarely;
pub(crate) mod routes;
pub(crate) mod server;

use axum::Router;
use http::Method;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use self::app::App;
use self::middleware::{Api, Observer};
use crate::config::CorsOrigins;

/// What is around the routes of a node.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) cors_origins: CorsOrigins,
    /// What the ids of requests begin with: another number at each start.
    pub(crate) request_ids: u64,
}

/// Every described route, without the node it will serve, and its description.
pub(crate) fn routes() -> (Router<App>, OpenApi) {
    OpenApiRouter::with_openapi(openapi::base()).merge(routes::router()).merge(probes::router()).split_for_parts()
}

/// The methods and paths of a description, the paths as the router matches them.
pub(crate) fn described(description: &OpenApi) -> Vec<(Method, String)> {
    let paths = description.paths.paths.iter();
    let methods = paths.flat_map(|(path, item)| {
        let methods = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::DELETE, &item.delete),
        ];
        methods.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| (method, path.clone()))
    });
    methods.collect()
}

/// The routes of a node, with what answers where there is none.
pub(crate) fn router(routes: Router<App>, description: &OpenApi, app: App, surroundings: &Surroundings) -> Router {
    let router = routes
        .merge(docs::router(description))
        .fallback(middleware::no_such_route)
        .method_not_allowed_fallback(middleware::method_not_allowed);
    let router = match cors::layer(&surroundings.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.with_state(app)
}

/// The same, with what every request passes.
pub(crate) fn api(routes: Router<App>, description: &OpenApi, app: App, surroundings: &Surroundings) -> Api {
    let observer = Observer::new(app.clone(), surroundings.request_ids, cors::layer(&surroundings.cors_origins));
    Api::new(router(routes, description, app, surroundings), observer)
}

#[cfg(test)]
mod tests;
