//! Posting one transition.

use std::num::NonZeroU32;

use http::StatusCode;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use plimsoll_wire::http::v1::{Accepted, PostTransition};
use plimsoll_wire::problem::Kind;

use crate::call::{Answer, Call, Client, Repeat, decode, unexpected};
use crate::error::{Cause, Error, Outcome};
use crate::transport::header_value;

/// What must hold for a transition to be applied.
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
    /// Posts a transition, again if need be: its `transition_id` makes a repetition harmless.
    ///
    /// A node recognises a repetition before it looks at the precondition. So a 412 says that this transition is not on
    /// the node, also where an earlier attempt's answer was lost.
    ///
    /// # Errors
    /// The transition was refused, or the retry policy ended; [`Error::outcome`] tells what is known.
    pub async fn post_transition(&self, transition: &PostTransition, options: &PostOptions) -> Result<Posted, Error> {
        let mut call = Call::post_json(PATH, encode(transition)?, Repeat::Idempotent);
        if let Some(ack) = options.ack {
            call.headers.insert(HeaderName::from_static("plimsoll-ack"), ack.get().into());
        }
        match &options.precondition {
            Precondition::Always => {}
            Precondition::Token(token) => {
                let value = header_value("the token", &format!("\"{token}\"")).map_err(Error::unsent)?;
                call.headers.insert(IF_MATCH, value);
            }
            Precondition::NotProjected => {
                call.headers.insert(IF_NONE_MATCH, http::HeaderValue::from_static("*"));
            }
        }
        match self.call(&call).await {
            Ok(answer) => posted(&answer),
            Err(error) if error.kind() == Some(Kind::ProjectionMoved) => Err(error.with_outcome(Outcome::NotApplied)),
            Err(error) => Err(error),
        }
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
