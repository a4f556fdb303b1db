//! Putting transitions to the store, and to the members where the store alone cannot tell.
//!
//! A transition that resolves a ref this node does not know may rest on one that has not come here yet. Before it is refused
//! with 409 the members are asked; if one of them cannot be, it is refused with 503, for a 409 must never be a guess.

use plimsoll_domain::id::TenantId;
use plimsoll_domain::projection::{Refusal, Transition};
use plimsoll_store::error::WriteError;
use plimsoll_store::writer::{Outcome, Post};
use plimsoll_wire::problem::Kind;
use std::time::Duration;

use crate::http::app::App;
use crate::http::error::ApiError;

/// When a member that was silent may answer again.
const RETRY: Duration = Duration::from_secs(1);

/// Puts a transition to the store.
pub(super) async fn submit(app: &App, tenant: &TenantId, post: Post) -> Result<Outcome, ApiError> {
    let kept = may_need_members(app, &post.submission.transition).then(|| post.clone());
    let outcome = app.projections.submit(tenant, post).await;
    match kept {
        Some(post) if is_unknown_ref(&outcome) => ask_members(app, tenant, post).await,
        _ => Ok(outcome),
    }
}

/// Whether the transition may be refused for what this node does not know, and there is somebody to ask.
pub(super) fn may_need_members(app: &App, transition: &Transition) -> bool {
    let resolves = || transition.refs().iter().any(|produced| produced.resolution.is_some());
    app.cluster.is_some() && resolves()
}

/// Whether it was.
pub(super) const fn is_unknown_ref(outcome: &Outcome) -> bool {
    matches!(outcome, Err(WriteError::Refused(Refusal::UnknownPendingRef { .. })))
}

/// Asks the members, and puts the transition to the store once more.
pub(super) async fn ask_members(app: &App, tenant: &TenantId, post: Post) -> Result<Outcome, ApiError> {
    let Some(cluster) = &app.cluster else { return Ok(app.projections.submit(tenant, post).await) };
    let transition = &post.submission.transition;
    let resolved = transition.refs().iter().filter(|produced| produced.resolution.is_some());
    let refs: Vec<_> = resolved.map(|produced| produced.key.clone()).collect();
    let _place = app.bounds().questions.enter_for(tenant)?;
    let asked = cluster.ask_refs(tenant, &transition.artifact, refs).await?;
    let outcome = app.projections.submit(tenant, post).await;
    if asked.silent.is_empty() || !is_unknown_ref(&outcome) {
        return Ok(outcome);
    }
    let silent: Vec<String> = asked.silent.iter().map(ToString::to_string).collect();
    Err(ApiError::new(
        Kind::UnverifiableRef,
        format!(
            "the ref is not known here, and these members cannot be asked for it: {}. If one of them will not come back, \
             forget it with `plimsoll forget`",
            silent.join(", ")
        ),
    )
    .retry_after(RETRY))
}
