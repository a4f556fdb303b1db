//! `POST /projections/transitions/batch`: a stream of transitions in, a stream of answers out.
//!
//! The one idea: while some groups of lines are at the writer, the next is read and parsed, and nothing else is in
//! memory. Groups are handed over one after another, so they are decided in the order of the lines: of two transitions
//! of an artifact the later one decides. Once a group was refused as a whole, nothing after it is taken: what follows
//! may rest on it. A client that does not read its answers is not read from either; one that sends everything before
//! it reads anything gets stuck once the answers fill the connection's buffers, so clients read while they send.
//!
//! [`lines`] reads, [`group`] takes to the writer; here is the order of it all, and how it ends.

mod group;
mod lines;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderValue, header};
use plimsoll_domain::projection::Submission;
use plimsoll_wire::problem::Kind;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use self::group::{Answers, Asker, Sent, problem_line};
use self::lines::Lines;
use super::bounds::Place;
use super::problems::OfBatch;
use super::stopped;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::{MediaType, Query, acknowledgements, check_media_type, unreadable};

/// A line as it was read.
type Line = Result<Submission, ApiError>;

/// How long a client may send nothing of a line that is awaited, and how long a line may take from its first byte.
const LINE_TIME_MAX: Duration = Duration::from_secs(30);

/// The most groups that are at the writer: one that is synced, one that is decided, one that waits for that.
const GROUPS_IN_FLIGHT_MAX: usize = 3;

/// Post many transitions
///
/// NDJSON, one transition a line, of any length. The answer is NDJSON, one `BatchLine` a line, in the same order: what
/// the single call would have given. One bad line fails alone; empty lines are skipped. A line may have 1 MiB. Read the
/// answers while sending. If the client falls silent or the node stops, a line says so and the answer ends: what has no
/// answer yet is to be sent again. It also ends with lines that were refused because of the tenant's rate, for which they
/// wait up to 60 seconds, or because the node takes no writes.
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
    let tenant = app.authorize_write(&head.headers)?;
    Query::none(&head.uri)?;
    let acknowledgements = acknowledgements(&head.headers)?;
    refuse_conditions(&head.headers)?;
    check_media_type(&head.headers, MediaType::Ndjson)?;
    let mut batch = Batch {
        lines: Lines::new(body),
        intake: Intake::Open,
        sending: None,
        in_flight: VecDeque::new(),
        stopping: app.stopping.clone(),
        _place: app.bounds().batches.enter_for(&tenant)?,
        asker: Asker::new(app, tenant, acknowledgements),
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

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Batch {
    lines: Lines,
    intake: Intake,
    /// A group that waits for the tenant's rate and for room at the writer.
    sending: Option<Pending<Sent>>,
    /// The groups at the writer, oldest first.
    in_flight: VecDeque<Pending<Answers>>,
    stopping: watch::Receiver<bool>,
    asker: Asker,
    _place: Place,
}

/// Whether more lines are taken.
enum Intake {
    Open,
    /// No more, and what is told once everything at the writer is answered.
    Closed(Option<ApiError>),
}

impl Batch {
    fn answers(self) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold(self, |mut batch| async {
            let text = batch.next_answers().await?;
            Some((Ok(Bytes::from(text)), batch))
        })
    }

    /// The answers of the next group, or the line that ends the batch; nothing after it.
    async fn next_answers(&mut self) -> Option<Vec<u8>> {
        let mut stopping = self.stopping.clone();
        let began = Instant::now();
        loop {
            self.advance();
            let is_idle = self.sending.is_none() && self.in_flight.is_empty();
            let is_open = match &mut self.intake {
                Intake::Open => true,
                Intake::Closed(last) if is_idle => return last.take().map(problem_line),
                Intake::Closed(_) => false,
            };
            let in_flight = self.in_flight.front_mut();
            let has_answers_to_come = in_flight.is_some();
            let (reads, deadline) = (is_open && self.lines.has_room(), self.lines.deadline(began));
            // Stopping first: it must not wait for a busy client. Then answers: they make room for what is read.
            tokio::select! {
                biased;
                () = stopped(&mut stopping), if is_open => self.close(Some(ApiError::stopping())),
                answers = ready(in_flight), if has_answers_to_come => {
                    self.in_flight.pop_front();
                    if answers.is_refused_as_a_whole {
                        self.close(None);
                    }
                    return Some(answers.text);
                }
                sent = ready(self.sending.as_mut()), if self.sending.is_some() => self.sent(sent),
                () = self.lines.fill(), if reads => {}
                () = sleep_until(deadline), if is_idle => self.close(Some(too_slow())),
            }
        }
    }

    /// Takes the next group on its way, if there is one and room for it; closes the intake at the end of the body.
    fn advance(&mut self) {
        if !matches!(self.intake, Intake::Open) || self.sending.is_some() {
            return;
        }
        if self.lines.is_empty() {
            if self.lines.at_end() {
                self.close(self.lines.is_broken().then(unreadable));
            }
        } else if self.in_flight.len() < GROUPS_IN_FLIGHT_MAX {
            let group = self.lines.take();
            self.sending = Some(Box::pin(self.asker.clone().send(group)));
        }
    }

    fn sent(&mut self, sent: Sent) {
        self.sending = None;
        if sent.waiting.is_refused() {
            self.close(None);
        } else if !sent.rest.is_empty() {
            self.sending = Some(Box::pin(self.asker.clone().send(sent.rest)));
        }
        self.in_flight.push_back(Box::pin(sent.waiting.answers(self.asker.clone())));
    }

    /// Takes no more lines, and forgets those that are not at the writer yet. The first end stands.
    fn close(&mut self, last: Option<ApiError>) {
        self.sending = None;
        if matches!(self.intake, Intake::Open) {
            self.intake = Intake::Closed(last);
        }
    }

    /// Returns once there is a line, or there are none any more.
    async fn await_lines(&mut self) -> Result<(), ApiError> {
        let began = Instant::now();
        while self.lines.is_empty() && !self.lines.at_end() {
            let deadline = self.lines.deadline(began);
            tokio::select! {
                biased;
                () = stopped(&mut self.stopping) => return Err(ApiError::stopping()),
                () = self.lines.fill() => {}
                () = sleep_until(deadline) => return Err(too_slow()),
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

/// What comes of something that may not be there.
async fn ready<T>(pending: Option<&mut Pending<T>>) -> T {
    match pending {
        Some(pending) => pending.await,
        None => std::future::pending().await,
    }
}

fn too_slow() -> ApiError {
    let seconds = LINE_TIME_MAX.as_secs();
    ApiError::new(Kind::SlowBody, format!("no whole line of the body arrived for {seconds} seconds"))
}
