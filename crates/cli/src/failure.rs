//! Why a command failed: what was tried, why it failed, what to do.

use std::fmt;

use plimsoll_client::wire::problem::{Kind, Problem};
use plimsoll_client::{Cause, ConfigError, Error, Outcome};
use serde_json::{Value, json};

use crate::exit::Exit;

/// A command that failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A request failed.
    Request {
        /// What was tried, to stand after "cannot".
        tried: String,
        /// Why it failed.
        error: Error,
    },
    /// What the user gave cannot work.
    Config {
        /// What is wrong with it.
        detail: String,
    },
    /// An input was refused before it was sent.
    Input(Problem),
    /// Some lines of an import were refused, as was reported already.
    Lines(Exit),
    /// A server to measure cannot be reached, or stopped answering.
    Unreachable(Unreachable),
    /// Whoever read the output has had enough: no failure of ours.
    ClosedPipe,
    /// The world failed: a disk, a terminal.
    Other(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config { detail: error.to_string() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().map_or_else(Self::Other, Self::Unreachable)
    }
}

/// A server that cannot be reached, or that stopped answering; a part of [`Failure`] that can travel in an
/// [`anyhow::Error`].
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// Which one, and how it failed.
    pub(crate) detail: String,
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.detail)
    }
}

impl std::error::Error for Unreachable {}

impl Failure {
    /// Makes a failure of a request's error.
    pub(crate) fn request(tried: impl Into<String>) -> impl FnOnce(Error) -> Self {
        let tried = tried.into();
        move |error| Self::Request { tried, error }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Request { error, .. } => Exit::of_error(error),
            Self::Config { .. } => Exit::Config,
            Self::Input(problem) => Exit::of_problem(problem),
            Self::Lines(exit) => *exit,
            Self::Unreachable(_) => Exit::Transient,
            Self::ClosedPipe => Exit::Done,
            Self::Other(_) => Exit::Other,
        }
    }

    /// What to tell a person; `None` where all is said.
    pub(crate) fn text(&self) -> Option<String> {
        Some(match self {
            Self::Request { tried, error } => {
                let why = source_chain(error.cause());
                let mut text = format!("cannot {tried}: {why}");
                if let Some(problem) = error.problem() {
                    if let Some(field) = &problem.field {
                        text.push_str(&format!("\n  field: {field}"));
                    }
                    text.push_str(&format!("\n  problem: {} ({})", problem.kind, problem.status));
                }
                if let Some(url) = error.url() {
                    text.push_str(&format!("\n  node: {url}"));
                }
                if let Some(seconds) = error.retry_after().map(|after| after.as_secs()) {
                    text.push_str(&format!("\n  the node asks to be left alone for {seconds} s"));
                }
                for hint in hints(error) {
                    text.push_str(&format!("\n  {hint}"));
                }
                text
            }
            Self::Config { detail } => format!("{detail}\n  See: plimsoll --help"),
            Self::Input(problem) => format!("{}\n  problem: {}", problem.detail, problem.kind),
            Self::Unreachable(unreachable) => unreachable.to_string(),
            Self::Lines(_) | Self::ClosedPipe => return None,
            Self::Other(error) => format!("{error:#}"),
        })
    }

    /// What to tell a program: a problem document. Problems that are the client's own have no status.
    pub(crate) fn document(&self) -> Option<Value> {
        let own = |name: &str, title: &str, detail: String| json!({"type": format!("urn:plimsoll:client:{name}"), "title": title, "detail": detail});
        Some(match self {
            Self::Request { error, .. } => match error.cause() {
                Cause::Problem(problem) => json!(problem),
                cause @ Cause::InvalidArgument { .. } => {
                    own("invalid-argument", "An argument cannot be sent", cause.to_string())
                }
                cause @ Cause::Connect(_) => own("unreachable", UNREACHABLE, source_chain(cause)),
                cause @ Cause::Timeout { .. } => own("timeout", "The node did not answer in time", cause.to_string()),
                cause @ Cause::Dropped(_) => own("connection-lost", "The connection broke", source_chain(cause)),
                cause @ (Cause::UnexpectedAnswer { .. } | Cause::AnswerTooLarge { .. }) => {
                    own("unexpected-answer", "The answer is not plimsoll's", cause.to_string())
                }
                cause @ Cause::FeedMoved { .. } => {
                    own("feed-moved", "Another node's change feed is followed", cause.to_string())
                }
            },
            Self::Config { detail } => own("config", "The configuration cannot work", detail.clone()),
            Self::Input(problem) => json!(problem),
            Self::Unreachable(unreachable) => own("unreachable", UNREACHABLE, unreachable.to_string()),
            Self::Lines(_) | Self::ClosedPipe => return None,
            Self::Other(error) => own("failed", "The command failed", format!("{error:#}")),
        })
    }
}

const UNREACHABLE: &str = "The node cannot be reached";

fn source_chain(cause: &Cause) -> String {
    match cause {
        Cause::Connect(source) | Cause::Dropped(source) => format!("{cause}: {source}"),
        _ => cause.to_string(),
    }
}

/// What to do about an error, one sentence each.
fn hints(error: &Error) -> Vec<&'static str> {
    let mut hints = Vec::new();
    match error.outcome() {
        Outcome::NotApplied => {}
        Outcome::Unknown => hints.push("It may have been applied: the answer is what is missing."),
        Outcome::Applied => hints.push("The transition stands and goes on replicating; posting it again is harmless."),
    }
    match error.cause() {
        Cause::Connect(_) => hints.push("Is a node running there? Name it with --url or PLIMSOLL_URL."),
        Cause::UnexpectedAnswer { .. } => hints.push("Is it a plimsoll node that listens there? Check --url."),
        _ => {}
    }
    match error.kind() {
        Some(Kind::Unauthenticated) => hints.push("Give a token this node knows in PLIMSOLL_TOKEN."),
        Some(Kind::Forbidden) => hints.push("Give a token with the scope this needs in PLIMSOLL_TOKEN."),
        Some(Kind::NotProjected) => hints.push("See what is projected on this node: plimsoll list"),
        Some(Kind::ProjectionMoved) => hints.push("Look again before you post: plimsoll get ID"),
        Some(Kind::TransitionConflict) => hints.push("Post different content under a new transition_id."),
        Some(Kind::UnknownPendingRef) => hints.push("Post the ref as pending first, with the same idempotency_key."),
        Some(Kind::PositionGone) => {
            hints.push("Read the state anew (plimsoll list --all), then watch without --from.");
        }
        Some(Kind::UnderReplicated) if error.outcome() == Outcome::Applied => {
            hints.push("Without --ack it need not be on other members first.");
        }
        Some(Kind::UnderReplicated) => hints.push("See which members it reaches: plimsoll status"),
        Some(Kind::NoSuchMember) => hints.push("See who is a member: plimsoll members"),
        Some(Kind::MemberConnected) => hints.push("Let it leave by itself (plimsoll leave), or stop it first."),
        Some(Kind::NotYetReplicated) => hints.push("Wait longer: --wait takes up to 60 seconds."),
        _ if error.is_transient() => hints.push("The same command may succeed later."),
        _ => {}
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_input_is_told_as_its_problem() {
        let failure = Failure::Input(Problem::new(Kind::NotJson, "line 3 is cut off"));
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.document().unwrap()["type"], "urn:plimsoll:problem:not-json");
        assert!(failure.text().unwrap().starts_with("line 3 is cut off"));
    }

    #[test]
    fn a_closed_pipe_says_nothing_and_is_no_failure() {
        assert_eq!(Failure::ClosedPipe.exit(), Exit::Done);
        assert_eq!(Failure::ClosedPipe.text(), None);
        assert_eq!(Failure::ClosedPipe.document(), None);
    }

    #[test]
    fn a_wrong_url_is_a_matter_of_configuration() {
        let failure = Failure::from(ConfigError::HttpsNotSupported { url: "https://a".to_owned() });
        assert_eq!(failure.exit(), Exit::Config);
        assert_eq!(failure.document().unwrap()["type"], "urn:plimsoll:client:config");
    }
}
