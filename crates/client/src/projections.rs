//! Reading and retiring projections, and asking how the node is.

use std::time::Duration;

use futures_util::future::join_all;
use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{Method, StatusCode};
use plimsoll_wire::http::v1::{
    Conflicts, Cursor, CursorsAnswer, CursorsRequest, Explanation, Health, HistoryPage, Projection, ProjectionPage,
    Readiness,
};
use plimsoll_wire::problem::Kind;

use crate::call::{Call, Client, decode, unexpected};
use crate::endpoint::{projection_path, push_query};
use crate::error::{Cause, Error, Outcome};
use crate::history::Repeat;
use crate::roster::EndpointIndex;
use crate::transport::header_value;

/// How a cursor is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CursorQuery {
    /// How long the node may wait for what is asked: at most 60 s, longer is the same. Over all attempts.
    pub wait: Duration,
    /// The token the caller has: the answer is [`CursorState::Unchanged`] while it is the artifact's.
    pub if_none_match: Option<String>,
    /// The transition that must be visible before the node answers. Without one, a client that
    /// [reads its writes](crate::Builder::read_your_writes) demands its own last one.
    pub contains: Option<String>,
}

/// The longest the node waits.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What a cursor's answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorState {
    /// The cursor as it is now.
    Current(Cursor),
    /// The token is still the one in [`CursorQuery::if_none_match`].
    Unchanged,
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageQuery {
    /// At most so many items; the node's default otherwise.
    pub limit: Option<u32>,
    /// The `next` of the page before; the first page otherwise.
    pub page: Option<String>,
}

impl PageQuery {
    fn push_to(&self, path: &mut String) {
        if let Some(limit) = self.limit {
            push_query(path, "limit", &limit.to_string());
        }
        if let Some(page) = &self.page {
            push_query(path, "page", page);
        }
    }
}

/// Larger than a page of histories in practice, where each entry may hold 256 refs.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Client {
    /// The cursor of an artifact.
    ///
    /// # Errors
    /// `not-projected` where the artifact is not projected, `not-yet-replicated` where the transition asked for did not
    /// arrive in time (which is not retried: the wait is the caller's), or the retry policy ended.
    pub async fn cursor(&self, artifact_id: &str, query: &CursorQuery) -> Result<CursorState, Error> {
        let mut call = match (&query.contains, self.demand(artifact_id)?) {
            (None, Some(demand)) if query.wait.is_zero() || query.if_none_match.is_none() => demand,
            // A node waits either for a transition or for the token to change.
            (None, demand) => Call { demand: demand.map(Box::new), ..cursor_call(artifact_id, None, query.wait)? },
            (contains, _) => cursor_call(artifact_id, contains.as_deref(), query.wait)?,
        };
        if let Some(token) = &query.if_none_match {
            let value = header_value("the token", &format!("\"{token}\"")).map_err(Error::unsent)?;
            call.headers.insert(IF_NONE_MATCH, value);
        }
        let answer = self.call(&call).await?;
        match answer.status {
            StatusCode::NOT_MODIFIED => Ok(CursorState::Unchanged),
            _ => decode(&answer, Repeat::Read).map(CursorState::Current),
        }
    }

    /// The whole projection of an artifact.
    ///
    /// # Errors
    /// `not-projected` where the artifact is not projected, `not-yet-replicated` where the client's own last write to it
    /// was to be seen and did not arrive in time, or the retry policy ended.
    pub async fn projection(&self, artifact_id: &str) -> Result<Projection, Error> {
        let path = projection_path(artifact_id).map_err(Error::unsent)?;
        let call = Call { demand: self.demand(artifact_id)?.map(Box::new), ..Call::get(path) };
        decode(&self.call(&call).await?, Repeat::Read)
    }

    /// A page of an artifact's transitions, newest first.
    ///
    /// # Errors
    /// As of [`Client::projection`].
    pub async fn history(&self, artifact_id: &str, query: &PageQuery) -> Result<HistoryPage, Error> {
        let mut path = projection_path(artifact_id).map_err(Error::unsent)?;
        path.push_str("/transitions");
        query.push_to(&mut path);
        let demand = self.demand(artifact_id)?.map(Box::new);
        let call = Call { answer_bytes_max: PAGE_BYTES_MAX, demand, ..Call::get(path) };
        decode(&self.call(&call).await?, Repeat::Read)
    }

    /// Why an artifact's projection is what it is on the node that answers, and where another member has another state at
    /// this moment.
    ///
    /// # Errors
    /// As of [`Client::projection`].
    pub async fn explanation(&self, artifact_id: &str) -> Result<Explanation, Error> {
        self.about(artifact_id, "/explanation").await
    }

    /// What two nodes accepted of an artifact, each without knowing of the other, that cannot both stand.
    ///
    /// # Errors
    /// As of [`Client::projection`].
    pub async fn conflicts(&self, artifact_id: &str) -> Result<Conflicts, Error> {
        self.about(artifact_id, "/conflicts").await
    }

    async fn about<Body: serde::de::DeserializeOwned>(&self, artifact_id: &str, what: &str) -> Result<Body, Error> {
        let mut path = projection_path(artifact_id).map_err(Error::unsent)?;
        path.push_str(what);
        let demand = self.demand(artifact_id)?.map(Box::new);
        let call = Call { answer_bytes_max: PAGE_BYTES_MAX, demand, ..Call::get(path) };
        decode(&self.call(&call).await?, Repeat::Read)
    }

    /// Asks for the cursor of an artifact that contains the client's own last write, where it reads its writes and
    /// remembers one.
    fn demand(&self, artifact_id: &str) -> Result<Option<Call>, Error> {
        let Some(wait) = self.shared().read_your_writes else { return Ok(None) };
        let Some(written) = self.last_written(artifact_id) else { return Ok(None) };
        cursor_call(artifact_id, Some(&written.transition_id), wait).map(Some)
    }

    /// A page of all projections, in a stable order; with `status`, only of those that have it.
    ///
    /// # Errors
    /// The request was refused, or the retry policy ended.
    pub async fn list(&self, status: Option<&str>, query: &PageQuery) -> Result<ProjectionPage, Error> {
        let mut path = "/projections".to_owned();
        if let Some(status) = status {
            push_query(&mut path, "status", status);
        }
        query.push_to(&mut path);
        let call = Call { answer_bytes_max: PAGE_BYTES_MAX, ..Call::get(path) };
        decode(&self.call(&call).await?, Repeat::Read)
    }

    /// The cursors of up to 1,000 artifacts.
    ///
    /// # Errors
    /// The request was refused, or the retry policy ended.
    pub async fn cursors(&self, artifact_ids: Vec<String>) -> Result<CursorsAnswer, Error> {
        let body = serde_json::to_vec(&CursorsRequest { artifact_ids }).map_err(|_| {
            Error::unsent(Cause::InvalidArgument { argument: "the artifact ids", rule: "they are not JSON" })
        })?;
        decode(&self.call(&Call::post_json("/projections/cursors", body, Repeat::Read)).await?, Repeat::Read)
    }

    /// Retires an artifact; with `if_match`, only if that is still its token on the node.
    ///
    /// Without a token it is sent again only after an attempt that certainly did nothing (no connection, or a refusal
    /// before anything was done): each delete is a tombstone of its own, and a second one would retire transitions
    /// posted since the first. With a token a second one on the same node cannot: it is sent again there after whatever
    /// may pass, and where the artifact is gone after an attempt of unknown outcome, it is retired. Another node, which
    /// may not have heard of the first, gets it only as long as it certainly did nothing.
    ///
    /// # Errors
    /// `not-projected` where there is nothing to retire, `projection-moved` where the token is another. With
    /// [`Outcome::Unknown`] the delete may have been applied: look at the artifact before deleting again.
    pub async fn delete(&self, artifact_id: &str, if_match: Option<&str>) -> Result<(), Error> {
        let path = projection_path(artifact_id).map_err(Error::unsent)?;
        let mut call = Call { method: Method::DELETE, repeat: Repeat::IfNotApplied, ..Call::get(path) };
        if let Some(token) = if_match {
            let value = header_value("the token", &format!("\"{token}\"")).map_err(Error::unsent)?;
            call.headers.insert(IF_MATCH, value);
            call.repeat = Repeat::IdempotentHere;
        }
        let (at, result) = self.call_somewhere(&call).await;
        let error = match result {
            Ok(answer) if answer.status == StatusCode::NO_CONTENT => {
                self.shared().memory().forget(artifact_id);
                return Ok(());
            }
            Ok(answer) => return Err(unexpected(answer.status, "not 204", call.repeat)),
            Err(error) => error,
        };
        let is_ambiguous = error.outcome() == Outcome::Unknown
            && matches!(error.kind(), Some(Kind::NotProjected | Kind::ProjectionMoved));
        if is_ambiguous && self.is_gone(at, artifact_id).await {
            self.shared().memory().forget(artifact_id);
            return Ok(());
        }
        Err(error)
    }

    async fn is_gone(&self, at: EndpointIndex, artifact_id: &str) -> bool {
        let Ok(call) = cursor_call(artifact_id, None, Duration::ZERO) else { return false };
        let cursor = self.call(&Call { only: Some(at), ..call }).await;
        cursor.is_err_and(|error| error.kind() == Some(Kind::NotProjected))
    }

    /// Whether the process serves, and which it is.
    ///
    /// # Errors
    /// The retry policy ended.
    pub async fn health(&self) -> Result<Health, Error> {
        decode(&self.call(&Call::get("/healthz".to_owned())).await?, Repeat::Read)
    }

    /// Whether the node that the client talks to takes reads and writes. One attempt: a node that is not ready is an answer, not a failure.
    ///
    /// # Errors
    /// No node answered.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let not_ready = Some(StatusCode::SERVICE_UNAVAILABLE);
        let call = Call { also_success: not_ready, ..Call::get("/readyz".to_owned()) };
        let at = self.shared().fleet.pick().await;
        decode(&self.call_once(at, &call).await?, Repeat::Read)
    }

    /// Each endpoint's URL, and which node it is: one attempt at each, at the same time.
    pub async fn nodes(&self) -> Vec<(String, Result<Health, Error>)> {
        let fleet = &self.shared().fleet;
        let ask = |at: EndpointIndex| async move {
            let answer = self.call_once(at, &Call::get("/healthz".to_owned())).await;
            (fleet.url(at).as_ref().to_owned(), answer.and_then(|answer| decode(&answer, Repeat::Read)))
        };
        join_all(fleet.endpoints().map(ask)).await
    }
}

/// Asks for the cursor of an artifact.
fn cursor_call(artifact_id: &str, contains: Option<&str>, wait: Duration) -> Result<Call, Error> {
    let mut path = projection_path(artifact_id).map_err(Error::unsent)?;
    path.push_str("/cursor");
    if let Some(transition_id) = contains {
        push_query(&mut path, "contains", transition_id);
    }
    Ok(Call { wait: wait.min(WAIT_MAX), ..Call::get(path) })
}
