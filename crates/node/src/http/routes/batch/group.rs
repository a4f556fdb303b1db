//! A group of lines on its way to the writer and back.
//!
//! A group waits for the tenant's rate, and goes on with as many lines as there is rate for: so a batch flows at the
//! rate, however small that is, and what others post meanwhile takes a share and not its place.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_cluster::acknowledging::Awaiting;
use plimsoll_domain::id::{ArtifactId, TenantId, TransitionId};
use plimsoll_domain::projection::{Expectation, Transition};
use plimsoll_store::Accepted;
use plimsoll_store::error::WriteError;
use plimsoll_store::projections::Enqueued;
use plimsoll_store::writer::{Outcome, Post, Series};
use plimsoll_wire::http::v1::{BatchBody, BatchLine};

use super::Line;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::routes::acceptance::{self, FeedTells};
use crate::http::routes::submitting;

/// How long the next line waits for the tenant's rate before it and what follows are refused.
const RATE_PATIENCE: Duration = Duration::from_secs(60);

/// About what the answer of an accepted line occupies.
const ANSWER_BYTES: usize = 288;

/// Takes the groups of one batch to the writer.
#[derive(Clone)]
pub(super) struct Asker {
    app: App,
    tenant: TenantId,
    acknowledgements: u32,
    _awaiting: Option<Arc<Awaiting>>,
    series: Series,
}

/// What became of a group on its way to the writer.
pub(super) struct Sent {
    pub(super) waiting: Waiting,
    /// The lines there was no rate for yet.
    pub(super) rest: Vec<Line>,
}

/// Lines whose answers are to come, in order.
pub(super) struct Waiting {
    lines: Vec<Named>,
    fate: Fate,
}

/// What is remembered of a line: the names it gives, or what is wrong with it.
type Named = Result<Remembered, ApiError>;

/// The names a line gives, and all of it where the members may have to be asked.
struct Remembered {
    artifact: ArtifactId,
    transition: TransitionId,
    whole: Option<Transition>,
}

/// What becomes of the lines that could be read.
enum Fate {
    /// There are none.
    Nothing,
    Enqueued(Enqueued),
    /// All are refused, and so is everything after them.
    Refused(ApiError),
}

/// The answers of a group.
pub(super) struct Answers {
    pub(super) text: Vec<u8>,
    /// Then nothing that comes after the group is decided.
    pub(super) is_refused_as_a_whole: bool,
}

impl Asker {
    pub(super) fn new(app: App, tenant: TenantId, acknowledgements: u32) -> Self {
        let _awaiting = acceptance::awaiting(&app, acknowledgements).map(Arc::new);
        Self { app, tenant, acknowledgements, _awaiting, series: Series::default() }
    }

    /// Takes to the writer what there is rate for, at least a line; waits for that, and for room at the writer. What
    /// is cancelled was not sent.
    pub(super) async fn send(self, mut lines: Vec<Line>) -> Sent {
        let wanted = u32::try_from(lines.len()).ok().and_then(NonZeroU32::new).expect("a group has 1 to 256 lines");
        match self.app.rate_limits.take_some(&self.tenant, wanted, RATE_PATIENCE).await {
            Ok(granted) => {
                let granted = usize::try_from(granted.get()).expect("no more than was asked for");
                let rest = lines.split_off(granted);
                Sent { waiting: self.enqueue(lines).await, rest }
            }
            Err(error) => {
                let lines = lines.into_iter().map(|line| line.map(|line| Remembered::of(&line.transition))).collect();
                Sent { waiting: Waiting { lines, fate: Fate::Refused(error) }, rest: Vec::new() }
            }
        }
    }

    async fn enqueue(&self, lines: Vec<Line>) -> Waiting {
        let mut posts = Vec::with_capacity(lines.len());
        let lines = lines
            .into_iter()
            .map(|line| {
                let submission = line?;
                let mut remembered = Remembered::of(&submission.transition);
                let post = Post { submission, expectation: Expectation::Any };
                if submitting::may_need_members(&self.app, &post.submission.transition) {
                    remembered.whole = Some(post.submission.transition.clone());
                }
                posts.push(post);
                Ok(remembered)
            })
            .collect();
        let fate = if posts.is_empty() {
            Fate::Nothing
        } else {
            match self.app.projections.enqueue(&self.tenant, posts, &self.series).await {
                Ok(enqueued) => Fate::Enqueued(enqueued),
                Err(error) => Fate::Refused(error.into()),
            }
        };
        Waiting { lines, fate }
    }

    /// Counts what the store was not asked for.
    fn refused(&self, error: ApiError) -> ApiError {
        self.app.metrics.refused(&error.problem);
        error
    }
}

impl Remembered {
    fn of(transition: &Transition) -> Self {
        Self { artifact: transition.artifact.clone(), transition: transition.id.clone(), whole: None }
    }
}

impl Waiting {
    /// Whether it is known already that nothing after the group is decided.
    pub(super) const fn is_refused(&self) -> bool {
        matches!(self.fate, Fate::Refused(_))
    }

    /// The answers, once the lines are durable or refused.
    pub(super) async fn answers(self, asker: Asker) -> Answers {
        let mut is_refused_as_a_whole = self.is_refused();
        let (mut outcomes, refusal) = match self.fate {
            Fate::Nothing => (Vec::new().into_iter(), None),
            Fate::Enqueued(enqueued) => (enqueued.outcomes().await.into_iter(), None),
            Fate::Refused(error) => (Vec::new().into_iter(), Some(error)),
        };
        let feed = FeedTells::now(&asker.app, asker.acknowledgements);
        let by_feed = |outcome: &Outcome| outcome.as_ref().is_ok_and(|accepted| feed.of(accepted));
        let has_accepted = outcomes.as_slice().iter().any(by_feed);
        let replicated = match has_accepted {
            true => acceptance::replicated(&asker.app, asker.acknowledgements).await,
            false => Ok(()),
        };
        let mut text = Vec::with_capacity(self.lines.len() * ANSWER_BYTES);
        let mut instead = unverifiable(&asker, &self.lines, outcomes.as_slice()).await;
        instead.extend(under_replicated(&asker, feed, &self.lines, outcomes.as_slice()).await);
        for (place, line) in self.lines.into_iter().enumerate() {
            let Remembered { artifact, transition, .. } = match line {
                Ok(remembered) => remembered,
                Err(error) => {
                    push_problem(&mut text, asker.refused(error));
                    continue;
                }
            };
            let outcome: Outcome = match (&refusal, outcomes.next()) {
                (Some(error), _) => {
                    push_problem(&mut text, asker.refused(error.clone()));
                    continue;
                }
                (None, outcome) => outcome.expect("there is an outcome for each post"),
            };
            if let Some(error) = instead.remove(&place) {
                push_problem(&mut text, asker.refused(error));
                continue;
            }
            is_refused_as_a_whole |= outcome.as_ref().is_err_and(is_of_the_whole_group);
            let settled = acceptance::settle(&asker.app, outcome);
            let waited = |accepted: Accepted| {
                let waited = if feed.of(&accepted) { replicated.clone() } else { Ok(()) };
                waited.map(|()| accepted)
            };
            match settled.and_then(waited) {
                Ok(accepted) => {
                    let body = BatchBody::Accepted(acceptance::body(&artifact, &transition, &accepted));
                    push_line(&mut text, acceptance::status(&accepted), body);
                }
                Err(error) => push_problem(&mut text, error),
            }
        }
        Answers { text, is_refused_as_a_whole }
    }
}

/// The lines and what became of them, each with its place.
fn decided<'a>(
    lines: &'a [Named],
    outcomes: &'a [Outcome],
) -> impl Iterator<Item = (usize, &'a Remembered, &'a Outcome)> {
    let readable = lines.iter().enumerate().filter_map(|(place, line)| Some((place, line.as_ref().ok()?)));
    readable.zip(outcomes).map(|((place, line), outcome)| (place, line, outcome))
}

/// Waits for other members' disks where their acknowledgements of this node's feed do not tell, for all lines at once.
/// Returns what is to be said instead, by the place of the line.
async fn under_replicated(
    asker: &Asker,
    feed: FeedTells,
    lines: &[Named],
    outcomes: &[Outcome],
) -> BTreeMap<usize, ApiError> {
    let is_untold = |(_, _, outcome): &(_, _, &Outcome)| outcome.as_ref().is_ok_and(|accepted| !feed.of(accepted));
    let (places, transitions): (Vec<usize>, Vec<&TransitionId>) =
        decided(lines, outcomes).filter(is_untold).map(|(place, line, _)| (place, &line.transition)).unzip();
    if transitions.is_empty() {
        return BTreeMap::new();
    }
    let waited = acceptance::transitions_replicated(&asker.app, &asker.tenant, &transitions, asker.acknowledgements);
    places.into_iter().zip(waited.await).filter_map(|(place, waited)| Some((place, waited.err()?))).collect()
}

/// Asks the members about the lines that were refused for a ref that is not known here, all at once. Returns what is to be
/// said instead, by the place of the line.
async fn unverifiable(asker: &Asker, lines: &[Named], outcomes: &[Outcome]) -> BTreeMap<usize, ApiError> {
    let asking = decided(lines, outcomes).filter_map(|(place, line, outcome)| {
        let (transition, key) = (line.whole.as_ref()?, submitting::unknown_ref(outcome)?);
        Some(async move {
            let asked = submitting::ask_about_line(&asker.app, &asker.tenant, transition, key).await;
            asked.err().map(|error| (place, error))
        })
    });
    join_all(asking).await.into_iter().flatten().collect()
}

/// Whether a write was refused with all of its group, and with everything that follows in its series: for a reason that
/// is not its own.
const fn is_of_the_whole_group(error: &WriteError) -> bool {
    matches!(
        error,
        WriteError::Overloaded { .. }
            | WriteError::DiskFull { .. }
            | WriteError::MigrationPending { .. }
            | WriteError::Fenced(_)
            | WriteError::Failed(_)
    )
}

/// A line that tells a problem.
pub(super) fn problem_line(error: ApiError) -> Vec<u8> {
    let mut text = Vec::new();
    push_problem(&mut text, error);
    text
}

fn push_problem(text: &mut Vec<u8>, error: ApiError) {
    push_line(text, error.problem.status, BatchBody::Problem(*error.problem));
}

fn push_line(text: &mut Vec<u8>, status: u16, body: BatchBody) {
    serde_json::to_writer(&mut *text, &BatchLine { status, body }).expect("texts and numbers are JSON");
    text.push(b'\n');
}
