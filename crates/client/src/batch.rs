//! Posting many transitions in one request.
//!
//! Order matters within an artifact: of two transitions the one accepted later decides the status. So the lines that
//! need another attempt go in their order, and a line is *not* sent again once a later transition of its artifact was
//! accepted: it would be stamped after that one and put an old status over a newer. Such a line keeps its transient
//! answer, for its owner to look at. A node ends a batch at the first line that it may take later, so that this hardly
//! happens: what follows has no answer, and goes with that line into the next attempt.
//!
//! The next attempt may be at another node. What was accepted there or here is one transition, so nothing is lost or
//! doubled. But the order has to hold over both nodes' clocks, and the other one may be behind: see
//! [`Memory::pause_before`](crate::memory::Memory::pause_before).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use plimsoll_wire::http::v1::{BatchBody, BatchLine};
use plimsoll_wire::problem::{Kind, Problem};
use serde::Deserialize;
use tokio::time::Instant;

use crate::call::{Client, pause};
use crate::error::{Cause, Error, Failure, TransportError, is_transient_status};
use crate::history::{History, Repeat};
use crate::lines::{Lines, unless_silent};
use crate::roster::EndpointIndex;
use crate::tour::Next;
use crate::transport::read_refusal;

/// The most lines [`Client::post_batch`] takes: they and their answers are held in memory.
pub const BATCH_LINES_MAX: usize = 10_000;

/// No line of an answer is longer: four short fields, or a problem document.
const ANSWER_LINE_BYTES_MAX: usize = 64 * 1024;

/// The piece in which a body is handed to the connection, so that progress shows on a slow one.
const PIECE_BYTES: usize = 64 * 1024;

/// A node lets a group of lines wait so long for the tenant's rate before it answers them.
const RATE_PATIENCE: Duration = Duration::from_mins(1);

const PATH: &str = "/projections/transitions/batch";

/// A batch that was not answered to the end.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct BatchFailure {
    /// The answers there are, by line; `None` where the outcome is unknown, or the line may be taken later. Go on at the
    /// first `None`. What stands before it is answered: a line that was refused there must not be posted again once a
    /// later transition of its artifact was accepted.
    pub answers: Vec<Option<BatchLine>>,
    /// What ended it.
    #[source]
    pub error: Error,
}

impl Client {
    /// Posts transitions, one JSON text a line, and gives one answer a line. What was not answered, or with something
    /// that may pass, is posted again.
    ///
    /// An answer is transient (429, 503 and their like) only where the line must not be sent again, as a later transition
    /// of its artifact was accepted. At most [`BATCH_LINES_MAX`] lines, each without a line feed and not empty.
    ///
    /// A batch that another node takes up, or that goes to another node than the client's last post, first waits until
    /// two seconds after that one: then the order of the lines holds although the clocks of the two differ, up to the
    /// `max_drift` that nodes have by default.
    ///
    /// # Errors
    /// The batch was refused as a whole, or the retry policy ended: what was answered comes with the error.
    pub async fn post_batch(&self, lines: &[Bytes]) -> Result<Vec<BatchLine>, Box<BatchFailure>> {
        let mut round = Round { answers: vec![None; lines.len()], open: (0..lines.len()).collect() };
        let shared = self.shared();
        if let Err(cause) = check_lines(lines) {
            return Err(Box::new(BatchFailure { answers: round.answers, error: Error::unsent(cause) }));
        }
        let (mut at, mut history) = (shared.fleet.pick().await, History::begin());
        while !round.open.is_empty() {
            let drift = shared.memory().pause_before(at, Instant::now());
            pause(drift).await;
            let sent = std::mem::take(&mut round.open);
            let result = self.post_round(at, lines, &sent, &mut round).await;
            self.remember_answers(at, sent.iter().filter_map(|index| round.answers[*index].as_ref()));
            round.settle(lines);
            let failure = match result {
                Ok(()) if round.open.is_empty() => break,
                Ok(()) => round.open_problem(),
                Err(failure) if is_cut_off(&failure.cause) && round.open == sent => {
                    history.doubt();
                    self.ask_refusal(at).await.unwrap_or(failure)
                }
                Err(failure) => failure,
            };
            match history.note(at, &failure, Repeat::Idempotent, shared) {
                Next::Attempt { at: next, after } => {
                    pause(after).await;
                    at = next;
                }
                Next::GiveUp => {
                    let error = history.error(at, failure, Repeat::Idempotent, shared);
                    return Err(Box::new(BatchFailure { answers: round.into_answers(), error }));
                }
            }
        }
        shared.fleet.succeeded(at);
        Ok(round.answers.into_iter().flatten().collect())
    }

    fn remember_answers<'a>(&self, at: EndpointIndex, answers: impl Iterator<Item = &'a BatchLine>) {
        let mut memory = self.shared().memory();
        for answer in answers {
            match &answer.body {
                BatchBody::Accepted(body) if answer.status == 201 => memory.accepted(body),
                BatchBody::Accepted(body) => memory.repeated(body),
                BatchBody::Problem(_) => continue,
            }
            memory.note_place(at, Instant::now());
        }
    }

    /// Posts the lines `sent` and takes their answers.
    async fn post_round(
        &self,
        at: EndpointIndex,
        lines: &[Bytes],
        sent: &[usize],
        round: &mut Round,
    ) -> Result<(), Failure> {
        round.open = sent.to_vec();
        let mut body = BytesMut::with_capacity(sent.iter().map(|index| lines[*index].len() + 1).sum());
        for index in sent {
            body.extend_from_slice(&lines[*index]);
            body.extend_from_slice(b"\n");
        }
        let mut answers = self.open_batch(at, pieces(body.freeze())).await?;
        let mut due = sent.iter();
        let mut is_ended = false;
        while let Some(answer) = answers.next_line().await? {
            match (due.next(), &answer.body) {
                (Some(index), _) => {
                    is_ended = may_be_taken_later(&answer);
                    round.answers[*index] = Some(answer);
                }
                // A node that stops says so in a line of its own, wherever it is.
                (None, BatchBody::Problem(_)) => break,
                (None, BatchBody::Accepted(_)) => {
                    let what = "more answers than lines";
                    return Err(Cause::UnexpectedAnswer { status: StatusCode::OK, what }.into());
                }
            }
        }
        match due.next() {
            None => Ok(()),
            // The node ended the batch there; the round knows why.
            Some(_) if is_ended => Ok(()),
            Some(_) => Err(Cause::Dropped(TransportError::ended()).into()),
        }
    }

    /// Why the node refuses batches, if it does. A node may answer and close before it has read a long body; then
    /// the answer is lost with the connection, and looks like a passing fault. An empty batch brings it back.
    async fn ask_refusal(&self, at: EndpointIndex) -> Option<Failure> {
        let refusal = self.open_batch(at, stream::empty()).await.err()?;
        matches!(refusal.cause, Cause::Problem(_)).then_some(refusal)
    }

    async fn open_batch<S>(&self, at: EndpointIndex, body: S) -> Result<BatchAnswers, Failure>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let frames = body.map(move |bytes| {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(bytes))
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/x-ndjson, application/problem+json"));
        let silence = self.shared().timeout.saturating_add(RATE_PATIENCE);
        let body = StreamBody::new(frames).boxed_unsync();
        let sending = self.shared().fleet.transport(at).send(Method::POST, PATH, headers, body);
        let answer = unless_silent(silence, || sent.load(Ordering::Relaxed), sending)
            .await
            .ok_or(Cause::Timeout { after: silence })??;
        if answer.status() != StatusCode::OK {
            return Err(tokio::time::timeout(silence, read_refusal(answer))
                .await
                .unwrap_or_else(|_| Cause::Timeout { after: silence }.into()));
        }
        Ok(BatchAnswers { lines: Lines::new(answer.into_body(), ANSWER_LINE_BYTES_MAX), silence, sent })
    }
}

/// Whether an answer may have been lost in part or in whole.
fn is_cut_off(cause: &Cause) -> bool {
    match cause {
        Cause::Dropped(_) => true,
        Cause::UnexpectedAnswer { status, .. } => !status.is_success(),
        _ => false,
    }
}

/// The answers to a batch, as they come.
struct BatchAnswers {
    lines: Lines,
    silence: Duration,
    sent: Arc<AtomicU64>,
}

impl BatchAnswers {
    /// The answer to the next line; `None` when the node has answered all it received. A connection that is silent both
    /// ways for too long is given up.
    async fn next_line(&mut self) -> Result<Option<BatchLine>, Cause> {
        let silence = self.silence;
        let line = unless_silent(silence, || self.sent.load(Ordering::Relaxed), self.lines.next())
            .await
            .ok_or(Cause::Timeout { after: silence })??;
        let unreadable = Cause::UnexpectedAnswer { status: StatusCode::OK, what: "a line is not a batch's answer" };
        line.map(|line| serde_json::from_slice(&line).map_err(|_| unreadable)).transpose()
    }
}

/// Where a batch stands between two attempts.
struct Round {
    answers: Vec<Option<BatchLine>>,
    /// The lines that are to be sent, in order.
    open: Vec<usize>,
}

impl Round {
    /// Decides which lines that were sent stay open: those without an answer, and those with a transient one that no
    /// later transition of the same artifact has overtaken.
    fn settle(&mut self, lines: &[Bytes]) {
        let is_done = |answer: &Option<BatchLine>| answer.as_ref().is_some_and(|line| !may_be_taken_later(line));
        if self.open.iter().all(|index| is_done(&self.answers[*index])) {
            self.open.clear();
            return;
        }
        let mut last_accepted: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, answer) in self.answers.iter().enumerate() {
            if let Some(BatchLine { body: BatchBody::Accepted(accepted), .. }) = answer {
                last_accepted.insert(&accepted.artifact_id, index);
            }
        }
        self.open.retain(|index| match &self.answers[*index] {
            None => true,
            answer if is_done(answer) => false,
            Some(_) => !artifact_id(&lines[*index]).is_some_and(|artifact_id| {
                last_accepted.get(artifact_id.as_str()).is_some_and(|accepted| accepted > index)
            }),
        });
    }

    /// What the first line that stays open was answered with.
    fn open_problem(&self) -> Failure {
        let problem = self.open.iter().find_map(|index| match &self.answers[*index] {
            Some(BatchLine { status, body: BatchBody::Problem(problem) }) => {
                Some(Problem { status: *status, ..problem.clone() })
            }
            _ => None,
        });
        match problem {
            Some(problem) => Cause::Problem(Box::new(problem)).into(),
            None => Cause::Dropped(TransportError::ended()).into(),
        }
    }

    fn into_answers(mut self) -> Vec<Option<BatchLine>> {
        for index in self.open {
            self.answers[index] = None;
        }
        self.answers
    }
}

/// Whether a line was refused for a reason that may pass: then nothing after it must be taken before it. A full disk does
/// not pass by itself, so it is not waited for; but the line is not refused for good either.
fn may_be_taken_later(answer: &BatchLine) -> bool {
    let BatchBody::Problem(problem) = &answer.body else { return false };
    is_transient_status(answer.status) || problem.known_kind() == Some(Kind::DiskFull)
}

fn artifact_id(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        artifact_id: String,
    }
    serde_json::from_slice::<Named>(line).ok().map(|named| named.artifact_id)
}

fn check_lines(lines: &[Bytes]) -> Result<(), Cause> {
    let refuse = |rule| Err(Cause::InvalidArgument { argument: "the batch", rule });
    if lines.len() > BATCH_LINES_MAX {
        return refuse("it has more than 10,000 lines");
    }
    if lines.iter().any(|line| line.contains(&b'\n') || line.trim_ascii().is_empty()) {
        return refuse("a line is empty or holds a line feed");
    }
    Ok(())
}

fn pieces(body: Bytes) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::iter((0..body.len()).step_by(PIECE_BYTES).map(move |start| {
        let end = body.len().min(start + PIECE_BYTES);
        body.slice(start..end)
    }))
}
