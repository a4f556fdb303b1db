//! Putting transitions to the store, and to the members where the store alone cannot tell.
//!
//! A transition that resolves a ref this node does not know may rest on one that has not come here yet. Before it is refused
//! with 409 the members are asked; if one of them cannot be, it is refused with 503, for a 409 must never be a guess.

use std::time::Duration;

use crate::http::app::App;
use crate::http::error::ApiError;
use plimsoll_cluster::repair::Asked;
use plimsoll_domain::id::TenantId;
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::{RefKey, Refusal, Transition};
use plimsoll_store::error::WriteError;
use plimsoll_store::writer::{Outcome, Post};
use plimsoll_wire::problem::Kind;

/// When a member that was silent may answer again.
const RETRY: Duration = Duration::from_secs(1);

/// Puts a transition to the store. Each ref that is not known here is asked for once.
pub(super) async fn submit(app: &App, tenant: &TenantId, post: Post) -> Result<Outcome, ApiError> {
    if !may_need_members(app, &post.submission.transition) {
        return Ok(app.projections.submit(tenant, post).await);
    }
    let mut asked_for = None;
    loop {
        let outcome = app.projections.submit(tenant, post.clone()).await;
        let Some(key) = unknown_ref(&outcome) else { return Ok(outcome) };
        if let Some((_, asked)) = asked_for.take_if(|(asked_for, _)| asked_for == key) {
            return unless_nobody_knows(&asked).map(|()| outcome);
        }
        let asked = ask(app, tenant, &post.submission.transition, key).await?;
        asked_for = Some((key.clone(), asked));
    }
}

/// Whether the transition may be refused for what this node does not know, and there is somebody to ask.
pub(super) fn may_need_members(app: &App, transition: &Transition) -> bool {
    let resolves = || transition.refs().iter().any(|produced| produced.resolution.is_some());
    app.cluster.is_some() && resolves() && !planted::has(Bug::ConflictWithoutAsking)
}

/// The ref for which a transition was refused, because it is not known here.
pub(super) const fn unknown_ref(outcome: &Outcome) -> Option<&RefKey> {
    match outcome {
        Err(WriteError::Refused(Refusal::UnknownPendingRef { key })) => Some(key),
        _ => None,
    }
}

/// Asks the members about a line of a batch, which was refused for this ref. It is not put to the store once more: lines
/// after it are there already, and would be decided before it. So if it turns out that the ref is known it is to be sent
/// again.
///
/// # Errors
/// What the line is answered with, if not with the refusal.
pub(super) async fn ask_about_line(
    app: &App,
    tenant: &TenantId,
    transition: &Transition,
    key: &RefKey,
) -> Result<(), ApiError> {
    unless_nobody_knows(&ask(app, tenant, transition, key).await?)
}

async fn ask(app: &App, tenant: &TenantId, transition: &Transition, key: &RefKey) -> Result<Asked, ApiError> {
    let nobody = Asked { silent: Vec::new(), is_catching_up: false, is_known: false };
    let Some(cluster) = &app.cluster else { return Ok(nobody) };
    let _place = app.bounds().questions.enter_for(tenant)?;
    Ok(cluster.ask_refs(tenant, &transition.artifact, [key.clone()]).await?)
}

/// A 409 must never be a guess: only where all have answered, and nobody knows, is the ref unknown.
fn unless_nobody_knows(asked: &Asked) -> Result<(), ApiError> {
    let unverifiable = |detail: String| ApiError::new(Kind::UnverifiableRef, detail).retry_after(RETRY);
    if asked.is_known {
        return Err(unverifiable(
            "the ref was not known here, and is known to another member: send it again".to_owned(),
        ));
    }
    if asked.is_catching_up {
        return Err(unverifiable(
            "the ref is not known here, and this node has not caught up with the others yet".to_owned(),
        ));
    }
    if asked.silent.is_empty() {
        return Ok(());
    }
    let silent: Vec<String> = asked.silent.iter().map(ToString::to_string).collect();
    Err(unverifiable(format!(
        "the ref is not known here, and these members cannot be asked for it: {}. If one of them will not come back, \
         forget it with `plimsoll forget`",
        silent.join(", ")
    )))
}
