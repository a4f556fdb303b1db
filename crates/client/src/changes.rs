//! Following the change feed.
//!
//! A follower remembers the last position it was told, and resumes from there on a new connection. A node tells one as
//! soon as it is connected, so each change after that is seen, in order. There are two gaps. A connection that breaks
//! before the first position leaves nothing to resume from: the next one begins at the node's present, and what changed
//! in between is not told. And where the node no longer knows the position (`position-gone`) the follower ends, for only
//! its owner can say how to catch up.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use plimsoll_wire::http::v1::Change;
use tokio::time::Instant;

use crate::call::{Client, History, Repeat};
use crate::error::{Cause, Error, Failure, TransportError};
use crate::retry::Decision;
use crate::sse::{self, Event, Parser};
use crate::transport::{empty_body, header_value, read_refusal};

/// A change and where it stands in the node's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeEvent {
    /// What [`Client::changes`] takes to go on after this change, on the same node.
    pub position: String,
    /// The change.
    pub change: Change,
}

/// Three heartbeats of the node, which sends one every 15 s, make a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A connection that lived this long, or brought an event, ends an outage: the next one has the whole retry policy.
const STEADY: Duration = Duration::from_secs(15);

impl Client {
    /// Follows the change feed, from after `position`; without one, from the present of the first connection that lives
    /// until the node has told its position: see [`Changes::position`].
    #[must_use]
    pub fn changes(&self, position: Option<String>) -> Changes {
        Changes { client: self.clone(), position, stream: None, outage: None, resume_at: None }
    }
}

/// A follower of the change feed.
pub struct Changes {
    client: Client,
    position: Option<String>,
    stream: Option<Stream>,
    /// The failures since the feed was last steady.
    outage: Option<History>,
    /// When the next attempt to connect may begin.
    resume_at: Option<Instant>,
}

struct Stream {
    body: Incoming,
    parser: Parser,
    connected_at: Instant,
}

impl Changes {
    /// The position to resume after: that of the last event handed out, or a later one that the node told without an
    /// event. `None` until a node has told one: only changes after that are certain to be seen.
    #[must_use]
    pub fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    /// Waits for the next change, connecting and connecting again as need be. Cancelling loses nothing.
    ///
    /// # Errors
    /// The feed was refused, or the retry policy ended. After a transient error it may be called again: it goes on from
    /// the same position with the whole retry policy.
    pub async fn next(&mut self) -> Result<ChangeEvent, Error> {
        loop {
            if let Some(resume_at) = self.resume_at {
                tokio::time::sleep_until(resume_at).await;
                self.resume_at = None;
            }
            match self.advance().await {
                Ok(Some(event)) => {
                    self.outage = None;
                    return Ok(event);
                }
                Ok(None) => {}
                Err(failure) => self.fail(failure)?,
            }
        }
    }

    /// One step: hands out an event, or reads, or connects.
    async fn advance(&mut self) -> Result<Option<ChangeEvent>, Failure> {
        let Some(stream) = &mut self.stream else {
            self.stream = Some(self.open().await?);
            return Ok(None);
        };
        if let Some(event) = stream.parser.next_event() {
            return self.take(event);
        }
        match tokio::time::timeout(SILENCE_MAX, stream.body.frame()).await {
            Err(_) => Err(Cause::Timeout { after: SILENCE_MAX }.into()),
            Ok(None) => Err(Cause::Dropped(TransportError::ended()).into()),
            Ok(Some(Err(error))) => Err(Cause::Dropped(TransportError::body(error)).into()),
            Ok(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(&[][..], |data| &data[..]);
                stream.parser.push(bytes).map_err(|error| too_large(error).into()).map(|()| None)
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<Option<ChangeEvent>, Failure> {
        let change = match event.data {
            Some(data) if event.name == "change" => match serde_json::from_str::<Change>(&data) {
                Ok(change) => Some(change),
                Err(_) => return Err(unexpected("an event is not a change").into()),
            },
            // An id alone, or an event of a later version.
            _ => None,
        };
        match (change, event.id.filter(|id| !id.is_empty())) {
            (Some(_), None) => Err(unexpected("a change has no position").into()),
            (None, None) => Ok(None),
            (change, Some(position)) => {
                self.position = Some(position.clone());
                Ok(change.map(|change| ChangeEvent { position, change }))
            }
        }
    }

    async fn open(&self) -> Result<Stream, Failure> {
        let after = self.client.shared().timeout;
        let opening = async {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            if let Some(position) = &self.position {
                headers.insert("last-event-id", header_value("the position", position)?);
            }
            let transport = &self.client.shared().transport;
            let answer = transport.send(Method::GET, "/projections/changes", headers, empty_body()).await?;
            if answer.status() != StatusCode::OK {
                return Err(read_refusal(answer).await);
            }
            let media_type = answer.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
            if !media_type.starts_with(b"text/event-stream") {
                return Err(unexpected("not an event stream").into());
            }
            Ok(Stream { body: answer.into_body(), parser: Parser::new(), connected_at: Instant::now() })
        };
        tokio::time::timeout(after, opening).await.unwrap_or_else(|_| Err(Cause::Timeout { after }.into()))
    }

    /// Takes note of a failure: the next attempt waits, or the error is the caller's.
    fn fail(&mut self, failure: Failure) -> Result<(), Error> {
        let was_steady = self.stream.take().is_some_and(|stream| stream.connected_at.elapsed() >= STEADY);
        if was_steady {
            self.outage = None;
        }
        let outage = self.outage.get_or_insert_with(History::begin);
        match outage.note(&failure, Repeat::Read, self.client.shared()) {
            Decision::After(delay) => {
                self.resume_at = Some(Instant::now() + delay);
                Ok(())
            }
            Decision::GiveUp => {
                let error = outage.error(failure, Repeat::Read);
                self.outage = None;
                Err(error)
            }
        }
    }
}

fn too_large(error: sse::ParseError) -> Cause {
    Cause::AnswerTooLarge {
        limit_bytes: match error {
            sse::ParseError::LineTooLong => sse::LINE_BYTES_MAX,
            sse::ParseError::EventTooLarge => sse::DATA_BYTES_MAX,
        },
    }
}

const fn unexpected(what: &'static str) -> Cause {
    Cause::UnexpectedAnswer { status: StatusCode::OK, what }
}
