//! What a write is answered with.

use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, TransitionId};
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::Accepted;
use plimsoll_store::error::WriteError;
use plimsoll_wire::http::v1;
use plimsoll_wire::problem::Kind;

use crate::http::app::App;
use crate::http::error::ApiError;

/// Counts a write and turns its outcome into the answer's: what the contract says a 201 or a 200 is.
pub(super) fn settle(app: &App, outcome: Result<Accepted, WriteError>) -> Result<Accepted, ApiError> {
    let accepted = outcome.map_err(ApiError::from).inspect_err(|error| app.metrics.refused(&error.problem))?;
    app.metrics.accepted(&accepted);
    Ok(accepted)
}

/// Waits until so many members, this one among them, have everything that is durable here.
pub(super) async fn replicated(app: &App, wanted: u32) -> Result<(), ApiError> {
    if wanted <= 1 {
        return Ok(());
    }
    let (size, members) = match &app.cluster {
        None => (1, 1),
        // What cannot be had is not waited for.
        Some(cluster) if cluster.size() < wanted => {
            (cluster.size(), cluster.replicated(wanted, Duration::ZERO).await.members)
        }
        Some(cluster) => (cluster.size(), cluster.replicated(wanted, app.ack_timeout).await.members),
    };
    if members >= wanted {
        return Ok(());
    }
    Err(ApiError::new(
        Kind::UnderReplicated,
        format!(
            "the transition stands, on the disks of {members} of the {wanted} members asked for, and goes on to others; the \
             cluster has {size}"
        ),
    ))
}

/// The status of an accepted write.
pub(super) const fn status(accepted: &Accepted) -> u16 {
    if accepted.repeated { 200 } else { 201 }
}

/// The body of an accepted write.
pub(super) fn body(artifact: &ArtifactId, transition: &TransitionId, accepted: &Accepted) -> v1::Accepted {
    let token = accepted.token.to_text();
    v1::Accepted {
        artifact_id: artifact.to_string(),
        transition_id: transition.to_string(),
        updated_at: updated_at(&token).to_owned(),
        committed_version: token,
    }
}

/// The time in a token's text.
pub(super) fn updated_at(token: &str) -> &str {
    &token[..UnixNanos::TEXT_BYTES]
}
