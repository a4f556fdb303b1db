//! What lets the pages of other origins call the API (the Fetch standard, "CORS protocol"), where that is configured.

use std::convert::Infallible;
use std::future;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, header};
use tower::{Layer, ServiceExt};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::freshness::{REGIONS_MISSING, STALENESS_MS};
use super::middleware::{PREFER, REQUEST_ID};
use crate::config::CorsOrigins;

/// How long a browser may remember what it is allowed.
const AGE_MAX: Duration = Duration::from_secs(3_600);

/// What allows the pages of other origins to call the API; `None` where none may.
pub(super) fn layer(origins: &CorsOrigins) -> Option<CorsLayer> {
    let origins = match origins {
        CorsOrigins::None => return None,
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::Listed(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    let asked = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        HeaderName::from_static("last-event-id"),
        HeaderName::from_static("plimsoll-ack"),
        PREFER,
        REQUEST_ID,
    ];
    let told = [
        header::ALLOW,
        header::ETAG,
        header::LOCATION,
        HeaderName::from_static("preference-applied"),
        REGIONS_MISSING,
        STALENESS_MS,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        REQUEST_ID,
    ];
    let layer = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers(asked)
        .expose_headers(told)
        .max_age(AGE_MAX);
    Some(layer)
}

/// An answer that was made outside the layer, as the layer would have let it through for a request of `origin`.
pub(super) async fn let_through(cors: &CorsLayer, origin: Option<HeaderValue>, response: Response) -> Response {
    let mut request = Request::new(());
    if let Some(origin) = origin {
        request.headers_mut().insert(header::ORIGIN, origin);
    }
    let mut response = Some(response);
    let answer = move |_: Request<()>| future::ready(Ok::<_, Infallible>(response.take().unwrap_or_default()));
    match cors.layer(tower::service_fn(answer)).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
