//! The description as a file, `/openapi.json`, and as pages to read and try, `/docs`.
//!
//! The pages are Swagger UI, out of the binary: they load nothing from elsewhere, and the policy they are sent with
//! would not let them. No token is needed to read how the API works.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, header};
use plimsoll_wire::problem::Kind;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use super::app::App;
use super::error::ApiError;
use super::openapi;

/// Swagger UI sets styles in its elements and draws with images it carries inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The routes.
pub(super) fn router(description: &OpenApi) -> Router<App> {
    let text = Bytes::from(openapi::text(description));
    let describe = move || {
        let text = text.clone();
        async move { ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text) }
    };
    // By default the pages ask a service on the Internet whether the description is valid.
    let config = Arc::new(Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true));
    let page = move |request: Request| {
        let answer = page(request.uri().path(), Arc::clone(&config));
        async move { answer }
    };
    Router::new()
        .route("/openapi.json", get(describe))
        // Without the last slash the page's own links would lead astray.
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(page.clone()))
        .route("/docs/{*file}", get(page))
}

fn page(path: &str, config: Arc<Config<'static>>) -> Result<Response, ApiError> {
    let name = path.split_once("/docs/").map_or("", |(_, name)| name);
    let file = utoipa_swagger_ui::serve(name, config).map_err(|error| {
        tracing::error!(%error, "a page of the documentation cannot be made");
        ApiError::new(Kind::Internal, "the page cannot be made")
    })?;
    let file = file.ok_or_else(|| ApiError::new(Kind::NoSuchRoute, "there is no such page in the documentation"))?;
    let mut response = Body::from(file.bytes.into_owned()).into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_str(&file.content_type);
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
