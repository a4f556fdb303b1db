//! What is known about the attempts of one request, and what follows from it.

use std::time::Duration;

use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use crate::call::Shared;
use crate::error::{Cause, Error, Failure, Outcome};
use crate::roster::EndpointIndex;
use crate::tour::{Next, Reach, Situation, Tour};

/// Which failed attempts may be followed by another, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing: after whatever may pass.
    Read,
    /// Applying it twice is applying it once, on any nodes: after whatever may pass.
    Idempotent,
    /// Applying it twice on one node is applying it once: after whatever may pass. But once it may have been applied at a
    /// node, only there: another one, which has not heard of it, would judge it anew.
    IdempotentHere,
    /// Applying it twice may undo what came in between: only when the attempt certainly did nothing.
    IfNotApplied,
}

/// The attempts so far.
pub(crate) struct History {
    began: Instant,
    failed: u32,
    outcome: Outcome,
    tour: Tour,
    is_held: bool,
}

impl History {
    pub(crate) fn begin() -> Self {
        let tour = Tour::default();
        Self { began: Instant::now(), failed: 0, outcome: Outcome::NotApplied, tour, is_held: false }
    }

    /// The history of a request that is for one endpoint only.
    pub(crate) fn begin_held() -> Self {
        Self { is_held: true, ..Self::begin() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes note of a failed attempt and decides what follows.
    pub(crate) fn note(&mut self, at: EndpointIndex, failure: &Failure, repeat: Repeat, shared: &Shared) -> Next {
        self.outcome = self.outcome.max(failure.cause.outcome());
        shared.fleet.failed(at, failure);
        self.note_within(at, failure, self.reach(&failure.cause, repeat), shared)
    }

    /// The same, where the caller knows how far the request may go (`None` is not at all), and what the failure says of
    /// the endpoint.
    pub(crate) fn note_within(
        &mut self,
        at: EndpointIndex,
        failure: &Failure,
        reach: Option<Reach>,
        shared: &Shared,
    ) -> Next {
        self.failed += 1;
        let Some(reach) = reach else { return Next::GiveUp };
        let situation = Situation {
            order: &shared.fleet.order(),
            policy: shared.retry,
            now: Instant::now(),
            elapsed: self.elapsed(),
            draw: shared.jitter.draw(),
        };
        self.tour.next(at, failure.retry_after, reach, &situation)
    }

    fn reach(&self, cause: &Cause, repeat: Repeat) -> Option<Reach> {
        let may_go = match repeat {
            Repeat::Read | Repeat::Idempotent => Some(Reach::Anywhere),
            Repeat::IdempotentHere if self.outcome == Outcome::NotApplied => Some(Reach::Anywhere),
            Repeat::IdempotentHere => Some(Reach::Here),
            Repeat::IfNotApplied => (self.outcome == Outcome::NotApplied).then_some(Reach::Anywhere),
        };
        match may_go.filter(|_| !is_last_word(cause))? {
            reach if cause.is_transient() => Some(if self.is_held { Reach::Here } else { reach }),
            Reach::Anywhere if cause.may_pass_elsewhere() && !self.is_held => Some(Reach::Elsewhere),
            _ => None,
        }
    }

    /// Takes note that something may have been applied.
    pub(crate) fn doubt(&mut self) {
        self.outcome = self.outcome.max(Outcome::Unknown);
    }

    /// The failure as the caller is told it.
    pub(crate) fn error(&self, at: EndpointIndex, failure: Failure, repeat: Repeat, shared: &Shared) -> Error {
        let outcome = if repeat == Repeat::Read { Outcome::NotApplied } else { self.outcome };
        Error::new(failure, outcome, self.failed).at(shared.fleet.url(at))
    }
}

/// The caller said how long to wait for a transition to arrive; waiting again would be longer than that. And a transition
/// that is on too few disks stands: it goes on replicating, whether it is posted again or not.
fn is_last_word(cause: &Cause) -> bool {
    let Cause::Problem(problem) = cause else { return false };
    matches!(problem.known_kind(), Some(Kind::NotYetReplicated | Kind::UnderReplicated))
}
