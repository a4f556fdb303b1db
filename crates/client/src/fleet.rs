//! The endpoints of a client, and how they are measured.
//!
//! What a client knows of its endpoints comes from its own requests and from *surveys*. A survey looks at all endpoints
//! at once: it asks each for its readiness, which opens the connection, and then times a `GET /healthz` on it, so that
//! an endpoint that was not used of late is not farther for it. Neither request carries the token.
//!
//! There is no timer. A call that finds the last survey older than 30 s (5 s while home is away, see
//! [`Roster`]) begins one and does not wait for it; only the very first call waits until one endpoint has answered. So a
//! client that is not used asks nothing, and one with a single endpoint never does. The survey is a task of its own,
//! for a call may end before a far node has answered: there is at most one, it ends by itself within the time of one
//! look, and with the client.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::{Cause, Failure};
use crate::roster::{EndpointIndex, Roster, Sample, Turn};
use crate::transport::{Transport, read_body};

/// The longest a look at an endpoint takes. One that needs longer is not the nearest.
const LOOK_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The answers of the probes are a line.
const LOOK_BYTES_MAX: usize = 64 * 1024;

/// The client talks to another node than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// The URL of the node it talked to.
    pub from: String,
    /// The URL of the node it talks to from now on.
    pub to: String,
    /// Why.
    pub reason: SwitchReason,
}

/// Why a client talks to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchReason {
    /// A request failed at the one before.
    Failed {
        /// How, for people.
        detail: String,
    },
    /// The one before did not answer a survey, or said that it is not ready.
    NotReady,
    /// The new one is clearly nearer, or it is the nearest and answers again.
    Nearer,
}

/// Who is told of a switch.
pub(crate) type Observer = Arc<dyn Fn(&Switch) + Send + Sync>;

/// The endpoints of a client. It is never empty.
pub(crate) struct Fleet {
    transports: Vec<Arc<Transport>>,
    board: Arc<Board>,
    survey: Mutex<Option<AbortHandle>>,
    look_timeout: Duration,
}

/// What the endpoints are known for.
struct Board {
    roster: watch::Sender<Roster>,
    urls: Vec<Arc<str>>,
    observer: Option<Observer>,
}

impl Fleet {
    pub(crate) fn new(transports: Vec<Arc<Transport>>, timeout: Duration, observer: Option<Observer>) -> Self {
        let urls = transports.iter().map(|transport| Arc::clone(transport.url())).collect();
        let roster = watch::Sender::new(Roster::new(transports.len()));
        let look_timeout = timeout.min(LOOK_TIMEOUT_MAX);
        let board = Arc::new(Board { roster, urls, observer });
        Self { transports, board, survey: Mutex::default(), look_timeout }
    }

    /// The same endpoints as far as `keep` keeps them, with nothing known about them; `None` where none is left.
    pub(crate) fn narrowed(&self, timeout: Duration, keep: impl Fn(&str) -> bool) -> Option<Self> {
        let transports: Vec<_> =
            self.transports.iter().filter(|transport| keep(transport.url())).map(Arc::clone).collect();
        (!transports.is_empty()).then(|| Self::new(transports, timeout, self.board.observer.clone()))
    }

    pub(crate) fn len(&self) -> usize {
        self.transports.len()
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = EndpointIndex> {
        (0..self.len()).map(EndpointIndex::new)
    }

    pub(crate) fn transport(&self, at: EndpointIndex) -> &Transport {
        &self.transports[at.place()]
    }

    pub(crate) fn url(&self, at: EndpointIndex) -> &Arc<str> {
        &self.board.urls[at.place()]
    }

    /// The endpoint to talk to now.
    pub(crate) async fn pick(&self) -> EndpointIndex {
        if self.len() == 1 {
            return EndpointIndex::FIRST;
        }
        self.begin_survey_if_due();
        let mut roster = self.board.roster.subscribe();
        match roster.wait_for(Roster::has_choice).await {
            Ok(roster) => roster.current(),
            // The sender is this fleet's own.
            Err(_) => EndpointIndex::FIRST,
        }
    }

    /// All endpoints, the best to try first.
    pub(crate) fn order(&self) -> Vec<EndpointIndex> {
        self.board.roster.borrow().order()
    }

    /// Takes note that a request failed at an endpoint.
    pub(crate) fn failed(&self, at: EndpointIndex, failure: &Failure) {
        if !failure.cause.is_of_the_node() {
            return;
        }
        let reason = || SwitchReason::Failed { detail: in_full(&failure.cause) };
        self.board.note(|roster| roster.failed(at, failure.retry_after, Instant::now()), reason);
    }

    /// Takes note that a request succeeded at an endpoint.
    pub(crate) fn succeeded(&self, at: EndpointIndex) {
        if !self.board.roster.borrow().is_up(at) {
            self.board.note(|roster| roster.succeeded(at, Instant::now()), || SwitchReason::Nearer);
        }
    }

    fn begin_survey_if_due(&self) {
        let mut is_due = false;
        self.board.roster.send_if_modified(|roster| {
            is_due = roster.begin_survey(Instant::now());
            false
        });
        if !is_due {
            return;
        }
        let survey = UnderWay { board: Arc::clone(&self.board) };
        let timeout = self.look_timeout;
        let look = |at: EndpointIndex| {
            let transport = Arc::clone(&self.transports[at.place()]);
            async move { (at, look(&transport, timeout).await) }
        };
        let mut looks: FuturesUnordered<_> = self.endpoints().map(look).collect();
        let task = tokio::spawn(async move {
            while let Some((at, sample)) = looks.next().await {
                survey.found(at, sample);
            }
        });
        *self.survey.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(survey) = self.survey.get_mut().unwrap_or_else(PoisonError::into_inner) {
            survey.abort();
        }
    }
}

impl Board {
    /// Changes the roster, and tells of the switch that follows, if any.
    fn note(&self, change: impl FnOnce(&mut Roster) -> Option<Turn>, reason: impl FnOnce() -> SwitchReason) {
        let mut turn = None;
        self.roster.send_modify(|roster| turn = change(roster));
        if let (Some(Turn { from, to }), Some(observer)) = (turn, &self.observer) {
            let url = |at: EndpointIndex| self.urls[at.place()].as_ref().to_owned();
            observer(&Switch { from: url(from), to: url(to), reason: reason() });
        }
    }
}

/// A survey. It ends however its task does: those who wait for a choice must not wait for ever.
struct UnderWay {
    board: Arc<Board>,
}

impl UnderWay {
    fn found(&self, at: EndpointIndex, sample: Sample) {
        let reason = || match sample {
            Sample::NotReady => SwitchReason::NotReady,
            Sample::Ready(_) => SwitchReason::Nearer,
        };
        self.board.note(|roster| roster.sampled(at, sample, Instant::now()), reason);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.board.roster.send_modify(|roster| roster.end_survey(Instant::now()));
    }
}

/// Looks at an endpoint: is it ready, and how far is it?
async fn look(transport: &Transport, timeout: Duration) -> Sample {
    let looking = async {
        if ask(transport, "/readyz").await? != StatusCode::OK {
            return Ok(Sample::NotReady);
        }
        let began = Instant::now();
        let status = ask(transport, "/healthz").await?;
        Ok::<_, Cause>(if status == StatusCode::OK { Sample::Ready(began.elapsed()) } else { Sample::NotReady })
    };
    match tokio::time::timeout(timeout, looking).await {
        Ok(Ok(sample)) => sample,
        Ok(Err(_)) | Err(_) => Sample::NotReady,
    }
}

async fn ask(transport: &Transport, path: &str) -> Result<StatusCode, Cause> {
    let answer = transport.send_anonymous(Method::GET, path).await?;
    let status = answer.status();
    // A connection is used again only when its answer was read to the end.
    read_body(answer.into_body(), LOOK_BYTES_MAX).await?;
    Ok(status)
}

/// A cause with the reason behind it.
fn in_full(cause: &Cause) -> String {
    match cause {
        Cause::Connect(source) | Cause::Dropped(source) => format!("{cause}: {source}"),
        _ => cause.to_string(),
    }
}

impl fmt::Display for SwitchReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { detail } => formatter.write_str(detail),
            Self::NotReady => formatter.write_str("it is not ready"),
            Self::Nearer => formatter.write_str("the other is nearer"),
        }
    }
}
