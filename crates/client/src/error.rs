//! What can go wrong with a request, and what is known about its effect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use plimsoll_wire::problem::{Kind, Problem};

/// A request that failed, after all the attempts it was given.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Error {
    cause: Cause,
    outcome: Outcome,
    attempts: u32,
    retry_after: Option<Duration>,
    url: Option<Arc<str>>,
}

impl Error {
    pub(crate) fn new(failure: Failure, outcome: Outcome, attempts: u32) -> Self {
        Self { cause: failure.cause, outcome, attempts, retry_after: failure.retry_after, url: None }
    }

    /// A request that was never sent.
    pub(crate) fn unsent(cause: Cause) -> Self {
        Self { cause, outcome: Outcome::NotApplied, attempts: 0, retry_after: None, url: None }
    }

    /// The same error, of the endpoint with this URL.
    pub(crate) fn at(self, url: &Arc<str>) -> Self {
        Self { url: Some(Arc::clone(url)), ..self }
    }

    /// The same error, with more known about its effect.
    pub(crate) fn with_outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// What ended the last attempt.
    #[must_use]
    pub const fn cause(&self) -> &Cause {
        &self.cause
    }

    /// What is known about the effect of all attempts together.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// How many times the request was sent, or tried to be.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The URL of the node at which the last attempt was made, where one was.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        self.url.as_deref()
    }

    /// How long the node asked to be left alone, where it did.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The problem the node answered with, where it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &self.cause {
            Cause::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// The kind of that problem, where this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        self.problem().and_then(Problem::known_kind)
    }

    /// Whether the same request may succeed later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.cause.is_transient()
    }
}

/// What is known about the effect of a request on the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The request changed nothing. Reads always end so.
    NotApplied,
    /// The request may have been applied. Post a transition again, with the same `transition_id`, to find out; look at
    /// the artifact before deleting again.
    Unknown,
    /// The request was applied, though the answer is an error: `under-replicated`.
    Applied,
}

/// Why an attempt failed. Each variant says what state is left and whether to retry.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// An argument cannot be put into a request. Nothing was sent; retrying gives the same.
    #[error("{argument} cannot be sent: {rule}")]
    InvalidArgument {
        /// The argument.
        argument: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// No connection to the node. Nothing was sent; retry.
    #[error("cannot connect to the node")]
    Connect(#[source] TransportError),
    /// No answer in time. A write may have been applied; retry as [`Outcome::Unknown`] tells.
    #[error("no answer within {after:?}")]
    Timeout {
        /// How long the attempt waited.
        after: Duration,
    },
    /// The connection broke before the answer was complete. A write may have been applied; retry as
    /// [`Outcome::Unknown`] tells.
    #[error("the connection broke before the answer was complete")]
    Dropped(#[source] TransportError),
    /// The node answered with a problem. Its kind tells what state is left; [`Cause::is_transient`] whether to retry.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The answer is not one this client knows: another program may be listening. A write may have been applied, unless
    /// the status is a 4xx; retry only if the status is 429 or 5xx.
    #[error("the answer is not plimsoll's: status {status}, {what}")]
    UnexpectedAnswer {
        /// The status.
        status: StatusCode,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The answer is larger than this client reads. A write may have been applied; retrying gives the same.
    #[error("the answer is larger than {limit_bytes} bytes")]
    AnswerTooLarge {
        /// The bound.
        limit_bytes: usize,
    },
    /// The node whose change feed was followed could not be reached for as long as the retry policy lasts, and the feed
    /// is now followed at another one, from that node's present on. What changed in between was not told. Read the
    /// listing, then go on.
    #[error("the change feed is now followed at {to}; what changed since the last event is not told")]
    FeedMoved {
        /// The URL of the node before; `None` where it is not known which one had given the position.
        from: Option<Arc<str>>,
        /// The URL of the node that is followed now.
        to: Arc<str>,
    },
}

impl Cause {
    /// Whether the same request may succeed later without anybody changing it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout { .. } | Self::Dropped(_) => true,
            Self::Problem(problem) => is_transient_status(problem.status),
            Self::UnexpectedAnswer { status, .. } => is_transient_status(status.as_u16()),
            Self::InvalidArgument { .. } | Self::AnswerTooLarge { .. } | Self::FeedMoved { .. } => false,
        }
    }

    /// Whether another node may do what this one cannot, although it will not pass here: its disk is full.
    pub(crate) fn may_pass_elsewhere(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.known_kind() == Some(Kind::DiskFull))
    }

    /// Whether it says something about the node, and not only about the request: then other requests go elsewhere too.
    /// A full disk does not: the node serves reads.
    pub(crate) fn is_of_the_node(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout { .. } | Self::Dropped(_) => true,
            Self::UnexpectedAnswer { status, .. } => is_transient_status(status.as_u16()),
            Self::Problem(problem) => matches!(
                problem.known_kind(),
                Some(
                    Kind::NotReady
                        | Kind::MigrationPending
                        | Kind::Overloaded
                        | Kind::StorageFailed
                        | Kind::RateLimited
                )
            ),
            Self::InvalidArgument { .. } | Self::AnswerTooLarge { .. } | Self::FeedMoved { .. } => false,
        }
    }

    /// What one attempt that ended so did to the node.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::InvalidArgument { .. } | Self::Connect(_) | Self::FeedMoved { .. } => Outcome::NotApplied,
            Self::Timeout { .. } | Self::Dropped(_) | Self::AnswerTooLarge { .. } => Outcome::Unknown,
            Self::UnexpectedAnswer { status, .. } if status.is_client_error() => Outcome::NotApplied,
            Self::UnexpectedAnswer { .. } => Outcome::Unknown,
            Self::Problem(problem) => problem_outcome(problem),
        }
    }
}

/// Statuses after which the same request may succeed. 501 and 505 are the same each time; 507 needs somebody to make
/// room. 408 says that the body was too slow, which a better moment cures (RFC 9110, section 15.5.9).
pub(crate) const fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

fn problem_outcome(problem: &Problem) -> Outcome {
    match problem.known_kind() {
        Some(Kind::UnderReplicated) => Outcome::Applied,
        Some(
            Kind::NotReady
            | Kind::MigrationPending
            | Kind::ClockFenced
            | Kind::UnverifiableRef
            | Kind::Overloaded
            | Kind::NotYetReplicated
            | Kind::QuotaExceeded,
        ) => Outcome::NotApplied,
        _ if problem.status < 500 => Outcome::NotApplied,
        _ => Outcome::Unknown,
    }
}

/// One failed attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    pub(crate) retry_after: Option<Duration>,
}

impl From<Cause> for Failure {
    fn from(cause: Cause) -> Self {
        Self { cause, retry_after: None }
    }
}

/// What the transport reports. Its text tells the whole chain of reasons.
#[derive(Debug)]
pub struct TransportError(Box<Reason>);

#[derive(Debug)]
enum Reason {
    Request(hyper_util::client::legacy::Error),
    Body(hyper::Error),
    Ended,
}

impl TransportError {
    pub(crate) fn request(error: hyper_util::client::legacy::Error) -> Self {
        Self(Box::new(Reason::Request(error)))
    }

    pub(crate) fn body(error: hyper::Error) -> Self {
        Self(Box::new(Reason::Body(error)))
    }

    /// The answer ended where more of it was due.
    pub(crate) fn ended() -> Self {
        Self(Box::new(Reason::Ended))
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reason: &dyn std::error::Error = match &*self.0 {
            Reason::Request(error) => error,
            Reason::Body(error) => error,
            Reason::Ended => return formatter.write_str("the answer ended early"),
        };
        write!(formatter, "{reason}")?;
        while let Some(deeper) = reason.source() {
            write!(formatter, ": {deeper}")?;
            reason = deeper;
        }
        Ok(())
    }
}

impl std::error::Error for TransportError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_is_transient_or_not_as_documented() {
        let transient: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| Cause::Problem(Box::new(Problem::new(**kind, ""))).is_transient())
            .map(|kind| kind.name())
            .collect();
        for name in ["slow-body", "rate-limited", "internal", "overloaded", "not-ready", "not-yet-replicated"] {
            assert!(transient.contains(&name), "{name} may pass");
        }
        for kind in Kind::ALL.iter().filter(|kind| matches!(kind.status(), 400..=407 | 409..=428 | 507)) {
            assert!(!transient.contains(&kind.name()), "{} does not pass by itself", kind.name());
        }
    }

    #[test]
    fn a_refusal_is_not_an_unknown_outcome_and_a_failure_is() {
        let outcome = |kind| Cause::Problem(Box::new(Problem::new(kind, ""))).outcome();
        assert_eq!(outcome(Kind::RateLimited), Outcome::NotApplied);
        assert_eq!(outcome(Kind::Overloaded), Outcome::NotApplied);
        assert_eq!(outcome(Kind::TransitionConflict), Outcome::NotApplied);
        assert_eq!(outcome(Kind::Internal), Outcome::Unknown);
        assert_eq!(outcome(Kind::StorageFailed), Outcome::Unknown);
        assert_eq!(outcome(Kind::DiskFull), Outcome::Unknown);
        assert_eq!(outcome(Kind::UnderReplicated), Outcome::Applied);
    }

    #[test]
    fn an_unexpected_501_or_507_is_not_transient() {
        let unexpected =
            |status| Cause::UnexpectedAnswer { status: StatusCode::from_u16(status).unwrap(), what: "no problem" };
        assert!(!unexpected(501).is_transient());
        assert!(!unexpected(507).is_transient());
        assert!(unexpected(502).is_transient());
        assert_eq!(unexpected(502).outcome(), Outcome::Unknown);
        assert_eq!(unexpected(418).outcome(), Outcome::NotApplied);
    }
}
