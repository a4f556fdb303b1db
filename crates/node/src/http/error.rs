//! Errors of the HTTP API: one table from what went wrong to a problem document.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use plimsoll_domain::projection::{Invalid, Refusal};
use plimsoll_store::error::{ReadError, StoreFailure, WriteError};
use plimsoll_store::notes::Fence;
use plimsoll_wire::problem::{self, Kind, Problem};

/// A problem to answer with, and the headers that belong to it.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(kind, detail)), headers: Vec::new() }
    }

    #[cfg(test)]
    pub(crate) fn kind(&self) -> Kind {
        self.problem.known_kind().expect("an error is of a known kind")
    }

    pub(crate) fn in_field(mut self, field: impl Into<String>) -> Self {
        self.problem.field = Some(field.into());
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Tells when to try again, in whole seconds, at least one.
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(crate) fn not_projected() -> Self {
        Self::new(Kind::NotProjected, "the artifact is not projected here")
    }

    /// The node is stopping: another one, or this one once it is back, will answer.
    pub(crate) fn stopping() -> Self {
        Self::new(Kind::NotReady, "the node is stopping").retry_after(Duration::from_secs(1))
    }

    /// What a query parameter or a header says cannot be read. `name` is the parameter or header.
    pub(crate) fn bad_request(name: &str, detail: impl std::fmt::Display) -> Self {
        Self::new(Kind::BadRequest, format!("{name} {detail}")).in_field(name)
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::new(Kind::InvalidField, invalid.to_string()).in_field(invalid.field)
    }
}

/// How long a client should wait where only an operator can help.
const OPERATOR_RETRY: Duration = Duration::from_secs(30);

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Refused(refusal) => refusal.into(),
            // What a client posts has no other stamp.
            WriteError::FromTheFuture(drift) => {
                Self::new(Kind::InvalidField, format!("committed_version lies {drift}")).in_field("committed_version")
            }
            WriteError::NotProjected => Self::not_projected(),
            WriteError::QuotaExceeded { .. } => Self::new(Kind::QuotaExceeded, detail),
            WriteError::Overloaded { retry_after } => Self::new(Kind::Overloaded, detail).retry_after(retry_after),
            WriteError::DiskFull { .. } => Self::new(Kind::DiskFull, detail),
            WriteError::MigrationPending { .. } => {
                Self::new(Kind::MigrationPending, detail).retry_after(OPERATOR_RETRY)
            }
            WriteError::Fenced(Fence::Clock) => Self::new(Kind::ClockFenced, detail).retry_after(OPERATOR_RETRY),
            WriteError::Fenced(Fence::Identity | Fence::NoMember | Fence::Behind) => {
                Self::new(Kind::NotReady, detail).retry_after(OPERATOR_RETRY)
            }
            // Only facts of peers are refused so, and the next attempt finds the node at its new horizon.
            WriteError::OtherHorizon => Self::new(Kind::NotReady, detail).retry_after(Duration::from_secs(1)),
            WriteError::Read(error) => error.into(),
            // A closed store did not say whether it had taken the write, so this is not "not ready", of which clients
            // may conclude that nothing has happened.
            WriteError::Failed(StoreFailure::Closed) => {
                Self::new(Kind::StorageFailed, detail).retry_after(OPERATOR_RETRY)
            }
            WriteError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::TransitionConflict => Kind::TransitionConflict,
            Refusal::Moved { .. } => Kind::ProjectionMoved,
            Refusal::UnknownPendingRef { .. } => Kind::UnknownPendingRef,
            Refusal::ResolvedRefConflict { .. } => Kind::ResolvedRefConflict,
        };
        Self::new(kind, refusal.to_string())
    }
}

impl From<StoreFailure> for ApiError {
    fn from(failure: StoreFailure) -> Self {
        let kind = match failure {
            // "Disk full" is told where nothing has been stored: here nobody knows, and room alone does not help.
            StoreFailure::Disk | StoreFailure::DiskFull => Kind::StorageFailed,
            StoreFailure::Closed => Kind::NotReady,
        };
        Self::new(kind, failure.to_string()).retry_after(OPERATOR_RETRY)
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Failed(failure) => failure.into(),
            ReadError::Busy { .. } => {
                Self::new(Kind::Overloaded, error.to_string()).retry_after(Duration::from_secs(1))
            }
            error => {
                tracing::error!(%error, "a read failed");
                Self::new(Kind::StorageFailed, "what the request needs cannot be read here; see the node's log")
                    .retry_after(OPERATOR_RETRY)
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, problem::MEDIA_TYPE)], body).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_domain::clock::DriftExceeded;

    use super::*;

    #[test]
    fn a_token_from_the_future_is_named_as_its_field_is() {
        let drift = DriftExceeded { ahead: Duration::from_secs(9), drift_max: Duration::from_millis(500) };
        let problem = ApiError::from(WriteError::FromTheFuture(drift)).problem;
        assert!(problem.detail.starts_with("committed_version lies "), "{problem:?}");
        assert_eq!(problem.field.as_deref(), Some("committed_version"));
    }

    #[test]
    fn a_disk_that_was_full_in_time_is_told_from_one_that_filled_up_under_the_store() {
        assert_eq!(ApiError::from(WriteError::DiskFull { reserve_bytes: 1 }).kind(), Kind::DiskFull);
        for failed in [
            ApiError::from(WriteError::Failed(StoreFailure::DiskFull)),
            ApiError::from(ReadError::Failed(StoreFailure::DiskFull)),
        ] {
            assert_eq!(failed.kind(), Kind::StorageFailed, "a retry may find the write stored");
            assert!(failed.problem.detail.contains("the disk filled up"), "{failed:?}");
        }
    }

    #[test]
    fn a_closed_store_leaves_the_outcome_of_a_write_open() {
        assert_eq!(ApiError::from(WriteError::Failed(StoreFailure::Closed)).kind(), Kind::StorageFailed);
        assert_eq!(ApiError::from(ReadError::Failed(StoreFailure::Closed)).kind(), Kind::NotReady);
    }
}
