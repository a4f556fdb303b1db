//! `POST /projections/transitions`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use plimsoll_domain::id::TenantId;
use plimsoll_store::writer::Post;
use plimsoll_wire::http::v1::{Accepted, PostTransition};

use super::problems::OfTransition;
use super::{APPLICATION_JSON, acceptance, cursor, submitting};
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{Query, acknowledgements, expectation, read_whole, submission};

/// Post a transition
///
/// An artifact takes on a status and produces refs. The answer comes once the transition is on this node's disk. A
/// retry carries the same `transition_id` and the same content: it changes nothing and is answered with 200, here or on
/// another node. The order of `produced_refs` is no content.
#[utoipa::path(
    post,
    path = "/projections/transitions",
    tag = "transitions",
    params(
        ("If-Match" = Option<String>, Header, pattern = "^(\\*|(W/)?\"[!#-~]*\"( *, *(W/)?\"[!#-~]*\")*)$",
            description = "Accept only if the artifact's token here is one of these, \
            each in double quotes; or `*`: if it is projected here."),
        ("If-None-Match" = Option<String>, Header, pattern = "^\\*$",
            description = "Only `*`: accept only if the artifact is not \
            projected here."),
        ("Plimsoll-Ack" = Option<u32>, Header, minimum = 0,
            description = "How many members' disks the transition is to \
            reach before the answer; 1 where it is not sent."),
    ),
    request_body(content = PostTransition, content_type = "application/json", description = "At most 1 MiB."),
    responses(
        (status = 201, description = "Accepted, and durable on this node.", body = Accepted,
            headers(("ETag" = String, description = "The artifact's token, in double quotes."))),
        (status = 200, description = "It was accepted before; nothing changes.", body = Accepted,
            headers(("ETag" = String, description = "The artifact's token, in double quotes."))),
        OfTransition,
    ),
)]
pub(super) async fn post_transition(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let read = read(&app, request).await.inspect_err(|error| app.metrics.refused(&error.problem))?;
    let Intent { tenant, acknowledgements, post } = read;
    let artifact = post.submission.transition.artifact.clone();
    let transition = post.submission.transition.id.clone();
    let _awaiting = acceptance::awaiting(&app, acknowledgements);
    let outcome =
        submitting::submit(&app, &tenant, post).await.inspect_err(|error| app.metrics.refused(&error.problem))?;
    let accepted = acceptance::settle(&app, outcome)?;
    if acceptance::FeedTells::now(&app, acknowledgements).of(&accepted) {
        acceptance::replicated(&app, acknowledgements).await?;
    } else {
        let waited = acceptance::transitions_replicated(&app, &tenant, &[&transition], acknowledgements).await;
        waited.into_iter().collect::<Result<(), _>>()?;
    }
    let body = acceptance::body(&artifact, &transition, &accepted);
    let entity_tag = cursor::entity_tag(&body.committed_version);
    let status = StatusCode::from_u16(acceptance::status(&accepted)).expect("200 and 201 are statuses");
    let json = serde_json::to_vec(&body).expect("texts are JSON");
    Ok((status, [(header::CONTENT_TYPE, APPLICATION_JSON), (header::ETAG, entity_tag)], json).into_response())
}

/// A request that was read, and may be put to the store.
struct Intent {
    tenant: TenantId,
    acknowledgements: u32,
    post: Post,
}

async fn read(app: &App, request: Request) -> Result<Intent, ApiError> {
    let (head, body) = request.into_parts();
    let tenant = app.authorize_write(&head.headers)?;
    Query::none(&head.uri)?;
    let acknowledgements = acknowledgements(&head.headers)?;
    let expectation = expectation(&head.headers)?;
    let text = read_whole(&head.headers, body).await?;
    let submission = submission(&text)?;
    Ok(Intent { tenant, acknowledgements, post: Post { submission, expectation } })
}
