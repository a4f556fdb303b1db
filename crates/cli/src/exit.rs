//! Exit codes: the same as smugglr's, so that a script treats both alike.

use std::process::ExitCode;

use plimsoll_client::wire::problem::{Kind, Problem};
use plimsoll_client::{Cause, Error};

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It is done.
    Done = 0,
    /// It failed in another way.
    Other = 1,
    /// The command line, the environment, the token or a file has to be corrected.
    Config = 2,
    /// The same may succeed later.
    Transient = 3,
    /// It conflicts with what the node has.
    Conflict = 4,
    /// It was not found, or it was refused.
    Refused = 5,
}

/// The table, as `--help` shows it.
pub(crate) const TABLE: &str = "\
Exit codes:
  0  done
  1  failed in another way
  2  usage, configuration or token
  3  transient: the same may succeed later
  4  conflict with what the node has
  5  not found, or refused";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code of a request that failed.
    pub(crate) fn of_error(error: &Error) -> Self {
        match error.cause() {
            Cause::InvalidArgument { .. } | Cause::FeedMoved { .. } => Self::Refused,
            Cause::Connect(_) | Cause::Timeout { .. } | Cause::Dropped(_) => Self::Transient,
            Cause::Problem(problem) => Self::of_problem(problem),
            Cause::UnexpectedAnswer { .. } if error.is_transient() => Self::Transient,
            Cause::UnexpectedAnswer { .. } | Cause::AnswerTooLarge { .. } => Self::Other,
        }
    }

    /// The exit code of a problem: a matter of its status, so that kinds of later versions have one too. A full disk alone
    /// is told from the other 507s: writes are taken again once there is room, and the request need not change.
    pub(crate) fn of_problem(problem: &Problem) -> Self {
        match problem.status {
            507 if problem.known_kind() == Some(Kind::DiskFull) => Self::Transient,
            401 | 403 => Self::Config,
            409 | 412 => Self::Conflict,
            408 | 429 | 500 | 502..=504 => Self::Transient,
            400..=499 | 507 => Self::Refused,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_problem_has_its_exit_code() {
        for kind in Kind::ALL {
            let expected = match kind {
                Kind::Unauthenticated | Kind::Forbidden => Exit::Config,
                Kind::UnknownPendingRef
                | Kind::TransitionConflict
                | Kind::ResolvedRefConflict
                | Kind::MemberConnected
                | Kind::ProjectionMoved => Exit::Conflict,
                Kind::SlowBody
                | Kind::RateLimited
                | Kind::Internal
                | Kind::NotReady
                | Kind::MigrationPending
                | Kind::ClockFenced
                | Kind::UnverifiableRef
                | Kind::Overloaded
                | Kind::StorageFailed
                | Kind::NotYetReplicated
                | Kind::DiskFull
                | Kind::UnderReplicated => Exit::Transient,
                _ => Exit::Refused,
            };
            assert_eq!(Exit::of_problem(&Problem::new(*kind, "")), expected, "{}", kind.name());
        }
    }

    #[test]
    fn transient_for_the_client_is_transient_for_the_shell() {
        for status in 400..600 {
            let problem = Problem { status, ..Problem::new(Kind::Internal, "") };
            let exit = Exit::of_problem(&problem);
            let transient = Cause::Problem(Box::new(problem)).is_transient();
            assert_eq!(exit == Exit::Transient, transient, "{status}");
        }
    }

    #[test]
    fn the_table_lists_every_code() {
        for exit in [Exit::Done, Exit::Other, Exit::Config, Exit::Transient, Exit::Conflict, Exit::Refused] {
            assert!(TABLE.contains(&format!("\n  {}  ", exit as u8)));
        }
    }
}
