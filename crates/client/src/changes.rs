//! Following the change feed.
//!
//! A follower remembers the last position it was told, and resumes from there on a new connection. A node tells one as
//! soon as it is connected, so each change after that is seen, in order. There are two gaps. A connection that breaks
//! before the first position leaves nothing to resume from: the next one begins at the node's present, and what changed
//! in between is not told. And where the node no longer knows the position (`position-gone`) the follower ends, for only
//! its owner can say how to catch up.
//!
//! A position is one node's, and so is a follower: it connects again to the node it followed, and does not go back to a
//! nearer one. Only when that node stays away for as long as the retry policy lasts, and there are others, it takes the
//! first that answers, from that one's present on. Then there is a third gap, and as with the second only the owner can
//! close it: [`Cause::FeedMoved`] says so, once the new node is followed, so that whoever reads the listing then and
//! goes on has missed nothing. A position that the owner brings is offered to each endpoint until its node is found.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use plimsoll_wire::http::v1::Change;
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use crate::call::Client;
use crate::error::{Cause, Error, Failure, Outcome, TransportError};
use crate::history::{History, Repeat};
use crate::roster::{EndpointIndex, EndpointSet};
use crate::sse::{self, Event, Parser};
use crate::tour::{Next, Reach};
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
        let whereabouts = Whereabouts { position, ..Whereabouts::default() };
        Changes { client: self.clone(), whereabouts, stream: None, held: None, outage: None, resume: None }
    }
}

/// A follower of the change feed.
pub struct Changes {
    client: Client,
    whereabouts: Whereabouts,
    stream: Option<Stream>,
    /// A change that was read, but comes after the news that the feed has moved.
    held: Option<ChangeEvent>,
    /// The failures since the feed was last steady.
    outage: Option<History>,
    /// Where the next attempt to connect is made, and when it may begin.
    resume: Option<(EndpointIndex, Instant)>,
}

struct Stream {
    at: EndpointIndex,
    body: Incoming,
    parser: Parser,
    connected_at: Instant,
}

/// A position, and what is known about whose it is.
#[derive(Debug, Default)]
struct Whereabouts {
    position: Option<String>,
    /// The endpoint that gave it, or took it.
    owner: Option<EndpointIndex>,
    /// Those that said it is not theirs.
    strangers: EndpointSet,
    /// The owner is away for so long that another endpoint's present will do.
    is_given_up: bool,
}

impl Whereabouts {
    /// The position to resume after at an endpoint; `None` where its present is what there is to follow.
    fn position_at(&self, at: EndpointIndex) -> Option<&str> {
        let is_others = self.owner.is_some_and(|owner| owner != at) || self.strangers.contains(at);
        self.position.as_deref().filter(|_| !(self.is_given_up && is_others))
    }

    /// How far the next attempt may go.
    fn reach(&self) -> Reach {
        let is_bound = self.position.is_some() && self.owner.is_some() && !self.is_given_up;
        if is_bound { Reach::Here } else { Reach::Anywhere }
    }

    /// The feed is followed at an endpoint from this position on.
    fn found(&mut self, at: EndpointIndex, position: String) {
        *self = Self { position: Some(position), owner: Some(at), ..Self::default() };
    }
}

impl Changes {
    /// The position to resume after: that of the last event handed out, or a later one that the node told without an
    /// event. `None` until a node has told one: only changes after that are certain to be seen.
    #[must_use]
    pub fn position(&self) -> Option<&str> {
        self.whereabouts.position.as_deref()
    }

    /// Waits for the next change, connecting and connecting again as need be. Cancelling loses nothing.
    ///
    /// # Errors
    /// The feed was refused, or the retry policy ended. After a transient error it may be called again: it goes on from
    /// the same position with the whole retry policy. After [`Cause::FeedMoved`] it may be called again, too, and goes on
    /// at the other node; what changed in between is in the listing.
    pub async fn next(&mut self) -> Result<ChangeEvent, Error> {
        loop {
            if let Some(event) = self.held.take() {
                return Ok(event);
            }
            if self.stream.is_none() {
                self.connect().await?;
            }
            match self.advance().await {
                Ok(Some(News::Change(event))) => {
                    self.outage = None;
                    return Ok(event);
                }
                Ok(Some(News::Moved(cause))) => {
                    self.outage = None;
                    return Err(Error::new(cause.into(), Outcome::NotApplied, 1));
                }
                Ok(None) => {}
                Err((at, failure)) => self.fail(at, failure)?,
            }
        }
    }

    /// Connects where and when the last failure has left it to, or once.
    async fn connect(&mut self) -> Result<(), Error> {
        let at = match (self.resume, self.whereabouts.owner) {
            (Some((at, when)), _) => {
                tokio::time::sleep_until(when).await;
                at
            }
            (None, Some(owner)) => owner,
            (None, None) => self.client.shared().fleet.pick().await,
        };
        match self.open(at).await {
            Ok(stream) => {
                if let Some(position) = self.whereabouts.position_at(at).map(str::to_owned) {
                    self.whereabouts.found(at, position);
                }
                self.resume = None;
                self.stream = Some(stream);
                self.client.shared().fleet.succeeded(at);
                Ok(())
            }
            Err(failure) => {
                // That a stream breaks says little of its node; that none can be opened does.
                self.client.shared().fleet.failed(at, &failure);
                self.fail(at, failure)
            }
        }
    }

    /// One step: hands out an event, or reads.
    async fn advance(&mut self) -> Result<Option<News>, (EndpointIndex, Failure)> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let at = stream.at;
        if let Some(event) = stream.parser.next_event() {
            return self.take(at, event).map_err(|failure| (at, failure));
        }
        let failed = |cause: Cause| Err((at, Failure::from(cause)));
        match tokio::time::timeout(SILENCE_MAX, stream.body.frame()).await {
            Err(_) => failed(Cause::Timeout { after: SILENCE_MAX }),
            Ok(None) => failed(Cause::Dropped(TransportError::ended())),
            Ok(Some(Err(error))) => failed(Cause::Dropped(TransportError::body(error))),
            Ok(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(&[][..], |data| &data[..]);
                stream.parser.push(bytes).map_err(|error| (at, too_large(error).into())).map(|()| None)
            }
        }
    }

    fn take(&mut self, at: EndpointIndex, event: Event) -> Result<Option<News>, Failure> {
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
                let moved = self.moved_to(at);
                self.whereabouts.found(at, position.clone());
                let event = change.map(|change| ChangeEvent { position, change });
                if moved.is_none() {
                    return Ok(event.map(News::Change));
                }
                self.held = event;
                Ok(moved.map(News::Moved))
            }
        }
    }

    /// What to tell when an endpoint tells its position: nothing, unless there is one of another endpoint.
    fn moved_to(&self, at: EndpointIndex) -> Option<Cause> {
        let Whereabouts { position, owner, .. } = &self.whereabouts;
        let is_moved = position.is_some() && *owner != Some(at);
        let fleet = &self.client.shared().fleet;
        let url = |at: EndpointIndex| Arc::clone(fleet.url(at));
        is_moved.then(|| Cause::FeedMoved { from: owner.map(url), to: url(at) })
    }

    async fn open(&self, at: EndpointIndex) -> Result<Stream, Failure> {
        let after = self.client.shared().timeout;
        let opening = async {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            if let Some(position) = self.whereabouts.position_at(at) {
                headers.insert("last-event-id", header_value("the position", position)?);
            }
            let transport = self.client.shared().fleet.transport(at);
            let answer = transport.send(Method::GET, "/projections/changes", headers, empty_body()).await?;
            if answer.status() != StatusCode::OK {
                return Err(read_refusal(answer).await);
            }
            let media_type = answer.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
            if !media_type.starts_with(b"text/event-stream") {
                return Err(unexpected("not an event stream").into());
            }
            Ok(Stream { at, body: answer.into_body(), parser: Parser::new(), connected_at: Instant::now() })
        };
        tokio::time::timeout(after, opening).await.unwrap_or_else(|_| Err(Cause::Timeout { after }.into()))
    }

    /// Takes note of a failure: the next attempt waits, or the error is the caller's.
    fn fail(&mut self, at: EndpointIndex, failure: Failure) -> Result<(), Error> {
        let was_steady = self.stream.take().is_some_and(|stream| stream.connected_at.elapsed() >= STEADY);
        if was_steady {
            self.outage = None;
        }
        self.resume = None;
        let reach = self.reach_after(at, &failure.cause);
        let shared = self.client.shared();
        let outage = self.outage.get_or_insert_with(History::begin);
        match outage.note_within(at, &failure, reach, shared) {
            Next::Attempt { at: next, after } => {
                self.resume = Some((next, Instant::now() + after));
                Ok(())
            }
            Next::GiveUp => {
                let error = outage.error(at, failure, Repeat::Read, shared);
                self.outage = None;
                let may_another_do = reach.is_some() && self.whereabouts.position.is_some();
                if !may_another_do || self.whereabouts.is_given_up || shared.fleet.len() == 1 {
                    return Err(error);
                }
                self.whereabouts.is_given_up = true;
                let other = shared.fleet.order().into_iter().find(|endpoint| *endpoint != at).unwrap_or(at);
                self.resume = Some((other, Instant::now()));
                Ok(())
            }
        }
    }

    /// How far the next attempt may go after a failure; `None` where it is the last.
    fn reach_after(&mut self, at: EndpointIndex, cause: &Cause) -> Option<Reach> {
        let is_gone = matches!(cause, Cause::Problem(problem) if problem.known_kind() == Some(Kind::PositionGone));
        if !is_gone {
            return cause.is_transient().then(|| self.whereabouts.reach());
        }
        if self.whereabouts.owner.is_some() {
            return None;
        }
        self.whereabouts.strangers.insert(at);
        let mut endpoints = self.client.shared().fleet.endpoints();
        let is_nobodys = endpoints.all(|endpoint| self.whereabouts.strangers.contains(endpoint));
        (!is_nobodys).then_some(Reach::Anywhere)
    }
}

/// What a step brings.
enum News {
    Change(ChangeEvent),
    /// The feed is followed at another node than before.
    Moved(Cause),
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
