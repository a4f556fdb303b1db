//! `POST /projections/transitions/batch`: a stream of transitions in, a stream of answers out.
//!
//! The one idea: while one group of lines is at the writer, the next is read and parsed, and nothing else is in memory.
//! Only one group is with the writer at a time, because of two the order in which they arrive there would not be
//! certain, and of two transitions of an artifact the later one decides. A client that does not read its answers is not
//! read from either; one that sends everything before it reads anything gets stuck once the answers fill the
//! connection's buffers, so clients read while they send.

mod lines;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, header};
use plimsoll_domain::id::TenantId;
use plimsoll_domain::projection::{Expectation, Submission};
use plimsoll_store::writer::{Outcome, Post};
use plimsoll_wire::http::v1::{BatchBody, BatchLine};
use plimsoll_wire::problem::Kind;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use self::lines::Lines;
use super::problems::OfBatch;
use super::{acceptance, stopped};
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{MediaType, Query, acknowledgements, check_media_type, unreadable};

/// A line as it was read.
type Line = Result<Submission, ApiError>;

/// How long a client may send nothing of a line that is awaited.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long lines wait for the tenant's rate before they are refused.
const RATE_PATIENCE: Duration = Duration::from_secs(60);

/// Post many transitions
///
/// NDJSON, one transition a line, of any length. The answer is NDJSON, one `BatchLine` a line, in the same order: what
/// the single call would have given. One bad line fails alone; empty lines are skipped. A line may have 1 MiB. Read the
/// answers while sending. If the client falls silent or the node stops, a line says so and the answer ends: what has no
/// answer yet is to be sent again. Lines wait for the tenant's rate up to 60 seconds before they are refused.
#[utoipa::path(
    post,
    path = "/projections/transitions/batch",
    tag = "transitions",
    params(
        ("Plimsoll-Ack" = Option<u32>, Header, minimum = 0, description = "How many members' disks each transition is \
            to reach before its answer; 1 where it is not sent."),
    ),
    request_body(content = String, content_type = "application/x-ndjson",
        description = "Lines, each a `PostTransition` as JSON."),
    responses(
        (status = 200, description = "Lines, each a `BatchLine` as JSON.", body = String,
            content_type = "application/x-ndjson"),
        OfBatch,
    ),
)]
pub(super) async fn post_batch(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Write, 1)?;
    Query::none(&head.uri)?;
    let acknowledgements = acknowledgements(&head.headers)?;
    refuse_conditions(&head.headers)?;
    check_media_type(&head.headers, MediaType::Ndjson)?;
    let mut batch = Batch {
        lines: Lines::new(body),
        at_writer: None,
        stopping: app.stopping.clone(),
        _place: app.bounds().batches.enter()?,
        asker: Asker { app, tenant, acknowledgements },
    };
    // A body that does not begin to arrive has an answer of its own, with a status of its own.
    batch.await_lines().await?;
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(MediaType::Ndjson.text()))];
    Ok((content_type, Body::from_stream(batch.answers())).into_response())
}

fn refuse_conditions(headers: &HeaderMap) -> Result<(), ApiError> {
    match [header::IF_MATCH, header::IF_NONE_MATCH].iter().find(|name| headers.contains_key(*name)) {
        Some(name) => Err(ApiError::bad_request(name.as_str(), "has no meaning for a batch")),
        None => Ok(()),
    }
}

struct Batch {
    lines: Lines,
    at_writer: Option<Pin<Box<dyn Future<Output = String> + Send>>>,
    stopping: watch::Receiver<bool>,
    asker: Asker,
    _place: OwnedSemaphorePermit,
}

impl Batch {
    fn answers(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold(Some(self), |batch| async {
            let mut batch = batch?;
            match batch.next_answers().await {
                Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(batch))),
                Ok(None) => None,
                Err(error) => {
                    let mut text = String::new();
                    push_line(&mut text, error.problem.status, BatchBody::Problem(*error.problem));
                    Some((Ok(Bytes::from(text)), None))
                }
            }
        })
    }

    /// The answers of the next group; an error ends the batch.
    async fn next_answers(&mut self) -> Result<Option<String>, ApiError> {
        loop {
            match &mut self.at_writer {
                None => {
                    self.await_lines().await?;
                    let group = self.lines.take();
                    if group.is_empty() {
                        return Ok(None);
                    }
                    self.at_writer = Some(Box::pin(self.asker.clone().answers_of(group)));
                }
                Some(answers) => {
                    // Answers first: they make room for what is read.
                    tokio::select! {
                        biased;
                        text = answers => {
                            self.at_writer = None;
                            return Ok(Some(text));
                        }
                        () = self.lines.fill(), if self.lines.has_room() => {}
                    }
                }
            }
        }
    }

    /// Returns once there is a line, or there are none any more.
    async fn await_lines(&mut self) -> Result<(), ApiError> {
        while self.lines.is_empty() && !self.lines.at_end() {
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return Err(ApiError::stopping()),
                () = self.lines.fill() => {}
                () = tokio::time::sleep(SILENCE_MAX) => {
                    let detail = format!("nothing of the body arrived for {} seconds", SILENCE_MAX.as_secs());
                    return Err(ApiError::new(Kind::SlowBody, detail));
                }
            }
        }
        if *self.stopping.borrow() {
            return Err(ApiError::stopping());
        }
        if self.lines.is_empty() && self.lines.is_broken() {
            return Err(unreadable());
        }
        Ok(())
    }
}

/// Takes a group to the writer for a tenant.
#[derive(Clone)]
struct Asker {
    app: App,
    tenant: TenantId,
    acknowledgements: u32,
}

impl Asker {
    /// The answers of a group of lines, in their order.
    async fn answers_of(self, lines: Vec<Line>) -> String {
        let names: Vec<_> = lines
            .iter()
            .map(|line| line.as_ref().ok().map(|line| (line.transition.artifact.clone(), line.transition.id.clone())))
            .collect();
        let mut errors = Vec::new();
        let mut posts = Vec::new();
        for line in lines {
            match line {
                Ok(submission) => posts.push(Post { submission, expectation: Expectation::Any }),
                Err(error) => errors.push(self.refused(error)),
            }
        }
        let mut outcomes = self.submit(posts).await.into_iter();
        let mut errors = errors.into_iter();
        let mut text = String::new();
        for name in names {
            let answer = match &name {
                None => errors.next().map(Err),
                Some(_) => outcomes.next(),
            };
            match (answer.unwrap_or_else(|| Err(ApiError::stopping())), name) {
                (Ok(accepted), Some((artifact, transition))) => {
                    let body = BatchBody::Accepted(acceptance::body(&artifact, &transition, &accepted));
                    push_line(&mut text, acceptance::status(&accepted), body);
                }
                (Err(error), _) => push_line(&mut text, error.problem.status, BatchBody::Problem(*error.problem)),
                (Ok(_), None) => unreachable!("a line that was not read is not submitted"),
            }
        }
        text
    }

    async fn submit(&self, posts: Vec<Post>) -> Vec<Result<plimsoll_store::Accepted, ApiError>> {
        let count = posts.len();
        if count == 0 {
            return Vec::new();
        }
        let settle = |outcome: Outcome| acceptance::settle(&self.app, outcome, self.acknowledgements);
        if let Err(error) = self.await_rate(count).await {
            return (0..count).map(|_| Err(self.refused(error.clone()))).collect();
        }
        match self.app.projections.submit_batch(&self.tenant, posts).await {
            Ok(outcomes) => outcomes.into_iter().map(settle).collect(),
            Err(error) => {
                let error = ApiError::from(error);
                (0..count).map(|_| Err(self.refused(error.clone()))).collect()
            }
        }
    }

    /// Counts what the store was not asked for.
    fn refused(&self, error: ApiError) -> ApiError {
        self.app.metrics.refused(&error.problem);
        error
    }

    async fn await_rate(&self, lines: usize) -> Result<(), ApiError> {
        let cost = u32::try_from(lines).unwrap_or(u32::MAX);
        let deadline = Instant::now() + RATE_PATIENCE;
        loop {
            let Err(error) = self.app.rate_limits.check(&self.tenant, cost) else { return Ok(()) };
            let again = Instant::now() + error.retry_delay().unwrap_or(RATE_PATIENCE);
            if again > deadline {
                return Err(error);
            }
            tokio::time::sleep_until(again).await;
        }
    }
}

fn push_line(text: &mut String, status: u16, body: BatchBody) {
    let line = BatchLine { status, body };
    text.push_str(&serde_json::to_string(&line).expect("texts and numbers are JSON"));
    text.push('\n');
}
