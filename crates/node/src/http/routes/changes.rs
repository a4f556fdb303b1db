//! `GET /projections/changes`: the change feed as server-sent events.
//!
//! The log is the buffer: a stream holds a position and reads on from there when its client has room, so a slow client
//! costs nothing and misses nothing. Every block of the stream has an `id`, also the first one and each heartbeat,
//! which have no data: a browser remembers the id and dispatches no event. So whoever comes back has a position of late, even
//! if nothing of its tenant has changed for a day.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use plimsoll_domain::id::TenantId;
use plimsoll_store::Progress;
use plimsoll_store::error::ReadError;
use plimsoll_store::feed::{Changes, Position};
use plimsoll_wire::http::v1::Change;
use plimsoll_wire::problem::Kind;
use tokio::sync::watch;
use tokio::time::Instant;

use super::bounds::Place;
use super::problems::OfChanges;
use super::stopped;
use crate::access::Scope;
use crate::http::app::App;
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::metrics::Open;

/// How long a stream may be silent: below what proxies allow an idle connection (60 s and less).
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Between two looks at the feed where little happens, and between two pages of a backlog.
const PAGE_PAUSE: Duration = Duration::from_millis(10);

/// Between two looks under a load of writes. A page then names each artifact once for many changes, and the number of
/// streams does not multiply with that of writes.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Changes of the node between two looks that are a load of writes: 1,000 a second and more.
const BUSY_CHANGES: u64 = 10;

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follow what changes
///
/// Server-sent events, one for each artifact that changed: `id` is a position, `event` is `change`, `data` is a
/// `Change` as JSON. Several changes of one artifact may be told as one. The stream begins now, or after the position in
/// `Last-Event-ID`, which a browser's `EventSource` sends by itself when it connects again. The first block and the
/// heartbeat every 15 seconds have an `id` alone. Positions are one node's: another answers 410, and the client reads
/// the listing anew.
#[utoipa::path(
    get,
    path = "/projections/changes",
    tag = "projections",
    params(
        ("Last-Event-ID" = Option<String>, Header, pattern = "^[0-9a-f]{16}-[0-9a-f]{16}-[0-9]{1,19}$",
            description = "The `id` of the last block the client has seen."),
        ("last_event_id" = Option<String>, Query, pattern = "^[0-9a-f]{16}-[0-9a-f]{16}-[0-9]{1,19}$",
            description = "The same, for clients that cannot set the header. \
            The header counts where there are both."),
    ),
    responses(
        (status = 200, description = "The stream. It does not end while the node runs.", body = String,
            content_type = "text/event-stream"),
        OfChanges,
    ),
)]
pub(super) async fn get_changes(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (head, _) = request.into_parts();
    let tenant = app.authorize(&head.headers, Scope::Read)?;
    let position = match position(&head.headers, &Query::parse(&head.uri, &["last_event_id"])?)? {
        None => app.projections.position(),
        Some(position) if app.projections.knows(position) => position,
        Some(_) => {
            let detail = "the position is of another node, or of another life of this one: follow from now, and then \
                          read the listing";
            return Err(ApiError::new(Kind::PositionGone, detail));
        }
    };
    if *app.stopping.borrow() {
        return Err(ApiError::stopping());
    }
    let follower = Follower {
        position,
        told: None,
        heartbeat: Instant::now() + HEARTBEAT,
        next_look: Instant::now(),
        progress: app.projections.watch_progress(),
        stopping: app.stopping.clone(),
        _place: app.bounds().event_streams.enter_for(&tenant)?,
        _counted: app.metrics.stream(),
        tenant,
        app,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Of the proxies that buffer answers, the most common one asks for this.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(follower.blocks())).into_response())
}

fn position(headers: &HeaderMap, query: &Query<'_>) -> Result<Option<Position>, ApiError> {
    let (name, text) = match headers.get(&LAST_EVENT_ID) {
        Some(value) => ("last-event-id", value.to_str().unwrap_or("not ASCII")),
        None => ("last_event_id", query.get("last_event_id").unwrap_or_default()),
    };
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| ApiError::bad_request(name, error)),
    }
}

struct Follower {
    app: App,
    tenant: TenantId,
    /// After what it has read.
    position: Position,
    /// After what the client was told.
    told: Option<Position>,
    heartbeat: Instant,
    next_look: Instant,
    progress: watch::Receiver<Progress>,
    stopping: watch::Receiver<bool>,
    _place: Place,
    _counted: Open,
}

/// What a follower does next.
enum Step {
    Look,
    Tell(String),
    End,
}

impl Follower {
    fn blocks(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        stream::unfold(Some(self), |follower| async {
            let mut follower = follower?;
            match follower.next_block().await {
                Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(follower))),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(%error, "an event stream ends: the feed cannot be read");
                    Some((Err(error), None))
                }
            }
        })
    }

    async fn next_block(&mut self) -> Result<Option<String>, ReadError> {
        loop {
            let step = match self.told {
                None => Step::Tell(String::new()),
                Some(_) => self.step().await?,
            };
            match step {
                Step::Look => {}
                Step::End => return Ok(None),
                Step::Tell(mut text) => {
                    if self.told != Some(self.position) || text.is_empty() {
                        let _ = write!(text, "id: {}\n\n", self.position);
                    }
                    self.told = Some(self.position);
                    self.heartbeat = Instant::now() + HEARTBEAT;
                    return Ok(Some(text));
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Step, ReadError> {
        if let Some(step) = self.pause().await {
            return Ok(step);
        }
        if self.heartbeat <= Instant::now() {
            return Ok(Step::Tell(String::new()));
        }
        self.progress.borrow_and_update();
        let Changes { artifacts, next } = self.app.projections.changes(&self.tenant, self.position).await?;
        self.next_look = Instant::now() + self.pause_after(next);
        if artifacts.is_empty() {
            if next != self.position {
                self.position = next;
                return Ok(Step::Look);
            }
            return Ok(self.sleep().await);
        }
        let mut text = String::new();
        for (artifact, position) in artifacts {
            // A page may be a thousand looks into the engine, none of which has to wait.
            tokio::task::coop::consume_budget().await;
            let cursor = self.app.projections.cursor(&self.tenant, &artifact).await?;
            let committed_version = cursor.map(|cursor| cursor.text.to_string());
            let change = Change { artifact_id: artifact.into(), committed_version };
            let data = serde_json::to_string(&change).expect("texts are JSON");
            let _ = write!(text, "id: {position}\nevent: change\ndata: {data}\n\n");
            self.told = Some(position);
        }
        self.position = next;
        Ok(Step::Tell(text))
    }

    /// How far to keep from the next look, where this one comes to `next`. Whoever is behind the feed does not fall back
    /// further.
    fn pause_after(&self, next: Position) -> Duration {
        let is_busy = next.sequence.saturating_sub(self.position.sequence) >= BUSY_CHANGES;
        let is_behind = next.sequence < self.app.projections.position().sequence;
        if is_busy && !is_behind { BUSY_PAUSE } else { PAGE_PAUSE }
    }

    /// Keeps its distance from the last look; tells where it ends instead.
    async fn pause(&mut self) -> Option<Step> {
        tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => Some(Step::End),
            () = tokio::time::sleep_until(self.next_look) => None,
        }
    }

    /// Waits until there may be something to read. The end comes first, so that a busy feed cannot hide it.
    async fn sleep(&mut self) -> Step {
        tokio::select! {
            biased;
            () = stopped(&mut self.stopping) => Step::End,
            moved = self.progress.changed() => match moved {
                Ok(()) if self.progress.borrow().failure.is_none() => Step::Look,
                _ => Step::End,
            },
            () = tokio::time::sleep_until(self.heartbeat) => Step::Tell(String::new()),
        }
    }
}
