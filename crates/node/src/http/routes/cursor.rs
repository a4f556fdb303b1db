//! `GET /projections/{artifact_id}/cursor`: the answer that is asked for most, from memory in most cases.
//!
//! A request that waits looks, sleeps until the artifact's bell rings, and looks again. The bell is taken before each
//! look, so that no change falls between the two.

use std::pin::pin;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use plimsoll_domain::id::{ArtifactId, TenantId, TransitionId};
use plimsoll_store::Cursor;
use plimsoll_wire::http::v1;
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use super::acceptance::updated_at;
use super::problems::OfCursor;
use super::{APPLICATION_JSON, CACHE_CONTROL, stopped};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, Wait, artifact_in_path, matches_none, preferred_wait, segment_text};
use crate::http::middleware::PREFER;

static PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Read an artifact's cursor
///
/// The token that names the artifact's exact state. With `If-None-Match` the answer is 304 while the token is the same;
/// with `Prefer: wait=N` also, it comes when the token changes, or after N seconds. With `contains` the answer comes
/// once that transition is visible here: at once or never without `Prefer`, within N seconds with it. With `contains`
/// and `If-None-Match` the transition is what is waited for; once it is visible, the token decides between 200 and 304.
///
/// An artifact that is named like a route, `changes` for one, is reached with one of its letters percent-encoded.
#[utoipa::path(
    get,
    path = "/projections/{artifact_id}/cursor",
    tag = "projections",
    params(
        ("artifact_id" = String, Path, min_length = 1, max_length = 256, description = "The artifact, percent-encoded.",
            example = "spec-login-flow"),
        ("contains" = Option<String>, Query, min_length = 1, max_length = 128, pattern = "^[ -~]+$",
            description = "A transition that must be visible here."),
        ("If-None-Match" = Option<String>, Header, pattern = "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
            description = "The token the client has, in double quotes."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: how many seconds the node may wait, at most 60.",
            example = "wait=30"),
    ),
    responses(
        (status = 200, description = "The cursor.", body = v1::Cursor, headers(
            ("ETag" = String, description = "The token, in double quotes."),
            ("Preference-Applied" = String, description = "The wait that was granted, where one was asked for."),
        )),
        (status = 304, description = "The client has what there is.", headers(
            ("ETag" = String, description = "The token, in double quotes."),
            ("Preference-Applied" = String, description = "The wait that was granted, where one was asked for."),
        )),
        OfCursor,
    ),
)]
pub(super) async fn get_cursor(State(app): State<App>, request: Request<Body>) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let artifact = artifact_in_path(&head.uri)?;
    let contains = match head.uri.query() {
        None => None,
        Some(_) => transition_in_query(&Query::parse(&head.uri, &["contains"])?)?,
    };
    let question = Question { app: &app, tenant, artifact, contains, headers: &head.headers };
    match preferred_wait(&head.headers) {
        None => question.look().await?.or_else(Unmet::answer),
        Some(wait) => {
            let mut answer = question.wait(wait).await;
            let applied = wait.applied();
            match &mut answer {
                Ok(response) => {
                    response.headers_mut().insert(&PREFERENCE_APPLIED, applied);
                    answer
                }
                Err(_) => answer.map_err(|error| error.header(PREFERENCE_APPLIED.clone(), applied)),
            }
        }
    }
}

fn transition_in_query(query: &Query<'_>) -> Result<Option<TransitionId>, ApiError> {
    let parse = |text| TransitionId::parse(text).map_err(|rule| ApiError::bad_request("contains", rule));
    query.get("contains").map(parse).transpose()
}

struct Question<'a> {
    app: &'a App,
    tenant: TenantId,
    artifact: ArtifactId,
    contains: Option<TransitionId>,
    headers: &'a HeaderMap,
}

/// What is not as the client wants it yet; the answer if it stays so.
enum Unmet {
    Unchanged(Response),
    NotYetReplicated,
}

impl Unmet {
    fn answer(self) -> Result<Response, ApiError> {
        match self {
            Self::Unchanged(response) => Ok(response),
            Self::NotYetReplicated => {
                Err(ApiError::new(Kind::NotYetReplicated, "the transition is not visible on this node yet"))
            }
        }
    }

    fn answer_of_stopping_node(self) -> Result<Response, ApiError> {
        match self {
            Self::Unchanged(response) => Ok(response),
            Self::NotYetReplicated => Err(ApiError::stopping()),
        }
    }
}

impl Question<'_> {
    async fn look(&self) -> Result<Result<Response, Unmet>, ApiError> {
        let projections = &self.app.projections;
        if let Some(transition) = &self.contains
            && !projections.contains(&self.tenant, &self.artifact, transition).await?
        {
            return Ok(Err(Unmet::NotYetReplicated));
        }
        let cursor = projections.cursor(&self.tenant, &self.artifact).await?.ok_or_else(ApiError::not_projected)?;
        if !matches_none(self.headers, &cursor.text)? {
            return Ok(Ok(cursor_response(&cursor)));
        }
        let unchanged = not_modified(&cursor.text);
        Ok(if self.contains.is_some() { Ok(unchanged) } else { Err(Unmet::Unchanged(unchanged)) })
    }

    async fn wait(&self, wait: Wait) -> Result<Response, ApiError> {
        if let Ok(response) = self.look().await? {
            return Ok(response);
        }
        let _place = self.app.bounds().waits.enter_for(&self.tenant)?;
        let _counted = self.app.metrics.waiter();
        let deadline = Instant::now() + wait.duration();
        let mut stopping = self.app.stopping.clone();
        let bell = self.app.projections.bell(&self.tenant, &self.artifact);
        loop {
            let mut rung = pin!(bell.notified());
            rung.as_mut().enable();
            let unmet = match self.look().await? {
                Ok(response) => return Ok(response),
                Err(unmet) => unmet,
            };
            // Stopping first: a node that stops must not be held up by an artifact that changes all the time.
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => return unmet.answer_of_stopping_node(),
                () = rung => {}
                () = tokio::time::sleep_until(deadline) => return unmet.answer(),
            }
        }
    }
}

/// The answer to the plainest request for a cursor that is in memory: what clients ask most, without the router and all
/// that it needs to call a handler. `None` for everything else, problems also: the router answers that, and would have
/// answered the same. Nothing is counted or charged before it is certain that there is an answer.
pub(crate) fn fast_path<B>(app: &App, request: &Request<B>) -> Option<Response> {
    let uri = request.uri();
    let segment = uri.path().strip_prefix("/projections/")?.strip_suffix("/cursor")?;
    // With one more segment it is another route.
    let is_cursor = request.method() == Method::GET && !segment.contains('/');
    let headers = request.headers();
    let is_more = headers.contains_key(header::IF_NONE_MATCH) || headers.contains_key(PREFER);
    if !is_cursor || uri.query().is_some() || is_more {
        return None;
    }
    let tenant = app.access.authorize(headers, Scope::Read).ok()?;
    let cursor = app.projections.cached_cursor(&tenant, &segment_text(segment)?)?;
    app.rate_limits.check(&tenant).ok()?;
    Some(cursor_response(&cursor))
}

fn cursor_response(cursor: &Cursor) -> Response {
    /// Two texts of a token, three names, punctuation.
    const FIXED_BYTES: usize = 160;
    let artifact_id = cursor.artifact.as_str();
    let mut json = Vec::with_capacity(FIXED_BYTES + artifact_id.len());
    json.extend_from_slice(b"{\"artifact_id\":");
    serde_json::to_writer(&mut json, artifact_id).expect("a text is JSON, and memory takes all of it");
    json.extend_from_slice(b",\"committed_version\":");
    let quoted = json.len()..json.len() + cursor.text.len() + 2;
    json.push(b'"');
    json.extend_from_slice(cursor.text.as_bytes());
    json.extend_from_slice(b"\",\"updated_at\":\"");
    json.extend_from_slice(updated_at(&cursor.text).as_bytes());
    json.extend_from_slice(b"\"}");
    let json = Bytes::from(json);
    // The token in double quotes stands in the body.
    let entity_tag = HeaderValue::from_maybe_shared(json.slice(quoted)).expect("a token is visible ASCII");
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, APPLICATION_JSON);
    headers.insert(header::ETAG, entity_tag);
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    response
}

/// 304: the client has the state that `token` names.
pub(super) fn not_modified(token: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, entity_tag(token));
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    response
}

/// A token in double quotes.
pub(super) fn entity_tag(token: &str) -> HeaderValue {
    let mut quoted = Vec::with_capacity(token.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(token.as_bytes());
    quoted.push(b'"');
    HeaderValue::from_maybe_shared(Bytes::from(quoted)).expect("a token is visible ASCII")
}
