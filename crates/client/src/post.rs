//! Posting one transition.

use std::borrow::Cow;
use std::num::NonZeroU32;

use http::StatusCode;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use plimsoll_wire::http::v1::{Accepted, PostTransition};
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use crate::call::{Answer, Call, Client, decode, unexpected};
use crate::error::{Cause, Error, Outcome};
use crate::history::Repeat;
use crate::roster::EndpointIndex;
use crate::transport::header_value;

/// What must hold for a transition to be applied: a check of the node that answers, by what that node has heard of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    Always,
    /// The artifact's token on the node is this one: `If-Match`.
    Token(String),
    /// The artifact is not projected on the node: `If-None-Match: *`.
    NotProjected,
}

/// How a transition is posted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostOptions {
    /// What must hold for it to be applied.
    pub precondition: Precondition,
    /// How many members' disks must have it before the answer: `Plimsoll-Ack`. The node's own by default.
    pub ack: Option<NonZeroU32>,
}

/// The answer to a transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It was accepted now: 201.
    Accepted(Accepted),
    /// It was accepted before, perhaps by an attempt whose answer was lost, and nothing changed: 200.
    Repeated(Accepted),
}

impl Posted {
    /// The answer's body.
    #[must_use]
    pub const fn body(&self) -> &Accepted {
        match self {
            Self::Accepted(body) | Self::Repeated(body) => body,
        }
    }
}

const PATH: &str = "/projections/transitions";

impl Client {
    /// Posts a transition, again if need be: its `transition_id` makes a repetition harmless, on whichever node.
    ///
    /// Under a [`Precondition`] it goes to another node only as long as it certainly was not applied. After an attempt
    /// that may have been, it stays with that node: it alone recognises the repetition, before it looks at the
    /// precondition, where another one, that has not heard of the transition, would judge it anew. So a 412 says that
    /// this transition is not on the node that answers, also where an earlier attempt's answer was lost. But what that
    /// node compares with is its own state: one that the client has just gone over to may be behind the one the token was
    /// read from. Look again, at the same client, before posting again.
    ///
    /// A client of several nodes that posted to the artifact before, and is given no `committed_version`, fills in the
    /// greatest token it was given for it: so what it posts later is stamped later, also on another node whose clock is
    /// behind. Where that clock is too far behind (`max_drift`), the node refuses it: 422 with the field
    /// `committed_version`.
    ///
    /// # Errors
    /// The transition was refused, or the retry policy ended; [`Error::outcome`] tells what is known.
    pub async fn post_transition(&self, transition: &PostTransition, options: &PostOptions) -> Result<Posted, Error> {
        let mut call = Call::post_json(PATH, encode(&self.after_own_writes(transition))?, Repeat::Idempotent);
        if let Some(ack) = options.ack {
            call.headers.insert(HeaderName::from_static("plimsoll-ack"), ack.get().into());
        }
        match &options.precondition {
            Precondition::Always => {}
            Precondition::Token(token) => {
                let value = header_value("the token", &format!("\"{token}\"")).map_err(Error::unsent)?;
                call.headers.insert(IF_MATCH, value);
                call.repeat = Repeat::IdempotentHere;
            }
            Precondition::NotProjected => {
                call.headers.insert(IF_NONE_MATCH, http::HeaderValue::from_static("*"));
                call.repeat = Repeat::IdempotentHere;
            }
        }
        let (at, result) = self.call_somewhere(&call).await;
        match result {
            Ok(answer) => {
                let posted = posted(&answer)?;
                self.remember(at, &posted);
                Ok(posted)
            }
            Err(error) if error.kind() == Some(Kind::ProjectionMoved) => Err(error.with_outcome(Outcome::NotApplied)),
            Err(error) => Err(error),
        }
    }

    fn after_own_writes<'a>(&self, transition: &'a PostTransition) -> Cow<'a, PostTransition> {
        let is_silent = self.shared().fleet.len() > 1 && transition.committed_version.is_none();
        match self.last_written(&transition.artifact_id).filter(|_| is_silent) {
            Some(written) => {
                let committed_version = Some(written.committed_version);
                Cow::Owned(PostTransition { committed_version, ..transition.clone() })
            }
            None => Cow::Borrowed(transition),
        }
    }

    fn remember(&self, at: EndpointIndex, posted: &Posted) {
        let mut memory = self.shared().memory();
        match posted {
            Posted::Accepted(answer) => memory.accepted(answer),
            Posted::Repeated(answer) => memory.repeated(answer),
        }
        memory.note_place(at, Instant::now());
    }
}

fn encode(transition: &PostTransition) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(transition).map_err(|_| {
        Error::unsent(Cause::InvalidArgument { argument: "the transition", rule: "it cannot be written as JSON" })
    })
}

fn posted(answer: &Answer) -> Result<Posted, Error> {
    match answer.status {
        StatusCode::CREATED => decode(answer, Repeat::Idempotent).map(Posted::Accepted),
        StatusCode::OK => decode(answer, Repeat::Idempotent).map(Posted::Repeated),
        status => Err(unexpected(status, "neither 200 nor 201", Repeat::Idempotent)),
    }
}
