//! What a write is answered with.

use std::time::Duration;

use plimsoll_cluster::acknowledging::Awaiting;
use plimsoll_cluster::cluster::Cluster;
use plimsoll_domain::id::{ArtifactId, TenantId, TransitionId};
use plimsoll_domain::projection::FactKey;
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

/// What the members' acknowledgements of this node's feed can tell, at one moment.
#[derive(Clone, Copy)]
pub(super) struct FeedTells {
    wanted: u32,
    has_enough: bool,
}

impl FeedTells {
    /// Of writes that so many members are to have: whether so many follow the feed themselves.
    pub(super) fn now(app: &App, wanted: u32) -> Self {
        let has_enough = app.cluster.as_ref().is_none_or(|cluster| wanted <= cluster.tellers());
        Self { wanted, has_enough }
    }

    /// Whether they tell of this write: it was stamped here.
    pub(super) const fn of(self, accepted: &Accepted) -> bool {
        self.wanted <= 1 || (self.has_enough && !accepted.repeated)
    }
}

/// Says, before writing, that other members' disks are waited for.
pub(super) fn awaiting(app: &App, wanted: u32) -> Option<Awaiting> {
    app.cluster.as_ref().filter(|_| wanted > 1).map(|cluster| cluster.awaiting())
}

/// Waits until so many members, this one among them, have everything that this node has stamped.
pub(super) async fn replicated(app: &App, wanted: u32) -> Result<(), ApiError> {
    let Some((cluster, patience)) = replicas(app, wanted)? else { return Ok(()) };
    enough(cluster.replicated(wanted, patience).await, wanted, cluster)
}

/// Waits until so many members, this one among them, have each of some transitions that are here, wherever they were stamped. There
/// is an outcome for each.
pub(super) async fn transitions_replicated(
    app: &App,
    tenant: &TenantId,
    transitions: &[&TransitionId],
    wanted: u32,
) -> Vec<Result<(), ApiError>> {
    match replicas(app, wanted) {
        Ok(Some((cluster, patience))) => {
            let keys: Vec<_> = transitions.iter().map(|id| FactKey::of_transition(tenant, id)).collect();
            let counts = cluster.replicated_facts(&keys, wanted, patience).await;
            counts.into_iter().map(|members| enough(members, wanted, cluster)).collect()
        }
        Ok(None) => vec![Ok(()); transitions.len()],
        Err(error) => vec![Err(error); transitions.len()],
    }
}

/// Whom to wait for, and how long; `None` where this node alone is enough.
fn replicas(app: &App, wanted: u32) -> Result<Option<(&Cluster, Duration)>, ApiError> {
    match &app.cluster {
        _ if wanted <= 1 => Ok(None),
        None => Err(under_replicated(1, wanted, 1)),
        // What cannot be had is not waited for.
        Some(cluster) if cluster.size() < wanted => Ok(Some((cluster, Duration::ZERO))),
        Some(cluster) => Ok(Some((cluster, app.ack_timeout))),
    }
}

fn enough(members: u32, wanted: u32, cluster: &Cluster) -> Result<(), ApiError> {
    if members >= wanted { Ok(()) } else { Err(under_replicated(members, wanted, cluster.size())) }
}

fn under_replicated(members: u32, wanted: u32, size: u32) -> ApiError {
    ApiError::new(
        Kind::UnderReplicated,
        format!(
            "the transition stands, on the disks of {members} of the {wanted} members asked for, and goes on to others; the \
             cluster has {size}"
        ),
    )
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
