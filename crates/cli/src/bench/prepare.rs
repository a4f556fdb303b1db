//! Making sure that the artifacts a run reads exist.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};

use super::batch_answer;
use super::connection::{Connection, Exchange as _};
use super::generator::cannot_begin;
use super::target::Target;
use super::template::{Names, Numbers, Template};
use super::wire::{PostTransition, ProducedRef};
use super::workload::batch_head;

/// Transitions in one batch: some 300 kB, a moment's work.
const BATCH_LINES: usize = 1_000;
/// What one batch may take, on a slow disk too.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The artifacts to be there.
#[derive(Debug, Clone)]
pub(crate) struct Preparation {
    /// The server.
    pub(crate) target: Arc<Target>,
    /// Their names.
    pub(crate) names: Names,
    /// How many.
    pub(crate) artifacts: u32,
    /// How many transitions each is given.
    pub(crate) transitions: u32,
}

/// What a preparation found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepared {
    /// All artifacts looked at were there.
    AlreadyThere,
    /// This many transitions were imported.
    Imported(u64),
}

impl Preparation {
    /// Looks at a handful of artifacts, and imports all of them unless the handful is there.
    ///
    /// Names depend on the namespace and the numbers only, so that doing it again, also after half an import, is safe.
    pub(crate) fn run(&self) -> Result<Prepared> {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(self.run_connected())
        };
        // On a thread of its own, for the caller may be on a runtime's.
        thread::scope(|scope| scope.spawn(run).join()).map_err(|_| anyhow!("the preparation panicked"))?
    }

    async fn run_connected(&self) -> Result<Prepared> {
        let opened = Connection::open(Arc::clone(&self.target), TIMEOUT).await;
        let mut connection = opened.map_err(|failure| cannot_begin(&self.target, failure))?;
        if self.is_there(&mut connection).await? {
            return Ok(Prepared::AlreadyThere);
        }
        self.import(&mut connection).await?;
        Ok(Prepared::Imported(u64::from(self.artifacts) * u64::from(self.transitions)))
    }

    async fn is_there(&self, connection: &mut Connection) -> Result<bool> {
        let cursor = Template::cursor(&self.target.prefix, &self.names, &self.target.header_lines);
        let last = self.artifacts - 1;
        for artifact in [0, last / 4, last / 2, last / 4 * 3, last] {
            let mut request = Vec::new();
            cursor.render(Numbers { artifact, transition: 0, key: 0 }, &mut request);
            let answer = connection.exchange(&request).await;
            let answer = answer.map_err(|failure| cannot_begin(&self.target, failure))?;
            match answer.status {
                200 => {}
                404 => return Ok(false),
                status => bail!(
                    "{} answers {status} to GET of a cursor: {}",
                    self.target.url,
                    String::from_utf8_lossy(answer.body)
                ),
            }
        }
        Ok(true)
    }

    async fn import(&self, connection: &mut Connection) -> Result<()> {
        let transitions = (0..self.artifacts).flat_map(|artifact| (0..self.transitions).map(move |n| (artifact, n)));
        let mut transitions = transitions.peekable();
        let (mut lines, head) = (Vec::new(), batch_head(&self.target));
        while transitions.peek().is_some() {
            lines.clear();
            let mut count = 0;
            for (artifact, n) in transitions.by_ref().take(BATCH_LINES) {
                serde_json::to_writer(&mut lines, &self.transition(artifact, n))?;
                lines.push(b'\n');
                count += 1;
            }
            let mut request = format!("{head}{}\r\n\r\n", lines.len()).into_bytes();
            request.extend_from_slice(&lines);
            self.post(connection, &request, count).await?;
        }
        Ok(())
    }

    async fn post(&self, connection: &mut Connection, request: &[u8], count: usize) -> Result<()> {
        let answer = connection.exchange(request).await;
        let answer = answer.map_err(|failure| cannot_begin(&self.target, failure))?;
        if answer.status != 200 {
            bail!("{} answers {} to a batch: {}", self.target.url, answer.status, String::from_utf8_lossy(answer.body));
        }
        for line in batch_answer::lines(answer.body) {
            let status = batch_answer::status(line).context("a line of a batch's answer cannot be read")?;
            if status != 200 && status != 201 {
                bail!("{} refuses a line of a batch: {}", self.target.url, String::from_utf8_lossy(line));
            }
        }
        let lines = batch_answer::lines(answer.body).count();
        if lines != count {
            bail!("{} answers {lines} lines to a batch of {count}", self.target.url);
        }
        Ok(())
    }

    /// The `n`th transition of an artifact: the even ones open a ref, the odd ones resolve it.
    fn transition(&self, artifact: u32, n: u32) -> PostTransition {
        let (target_repo, key) = ("acme/plimsoll-load-generator".to_owned(), n / 2);
        let idempotency_key = format!("prepared-{key}");
        let produced = if n.is_multiple_of(2) {
            ProducedRef::Pending { target_repo, idempotency_key }
        } else {
            let number = u64::from(artifact) * 1_000 + u64::from(key) + 1;
            let url = format!("https://forge.example/{target_repo}/pull/{number}");
            let created_at = "2026-04-22T18:04:11Z".to_owned();
            ProducedRef::Resolved { target_repo, idempotency_key, number, url, created_at }
        };
        PostTransition {
            artifact_id: self.names.artifact_id(artifact),
            transition_id: format!("prepared-{}-{artifact}-{n}", self.names.namespace),
            status: if n.is_multiple_of(2) { "drafted" } else { "in_review" }.to_owned(),
            produced_refs: vec![produced],
            committed_version: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::{get, post};

    use super::super::wire::{Accepted, BatchBody, BatchLine};
    use super::*;

    type Seen = Arc<Mutex<Vec<PostTransition>>>;

    /// A server that projects what it was sent, and takes batches only.
    fn router(seen: &Seen) -> Router {
        let (reading, writing) = (Arc::clone(seen), Arc::clone(seen));
        let cursor = move |axum::extract::Path(artifact_id): axum::extract::Path<String>| {
            let seen = reading.lock().unwrap().iter().any(|transition| transition.artifact_id == artifact_id);
            async move { if seen { (StatusCode::OK, "{}") } else { (StatusCode::NOT_FOUND, "{}") } }
        };
        let batch = move |body: String| {
            let mut answer = String::new();
            for line in body.lines() {
                let transition: PostTransition = serde_json::from_str(line).unwrap();
                let accepted = Accepted {
                    artifact_id: transition.artifact_id.clone(),
                    transition_id: transition.transition_id.clone(),
                    committed_version: String::new(),
                    updated_at: String::new(),
                };
                let line = BatchLine { status: 201, body: BatchBody::Accepted(accepted) };
                answer.push_str(&serde_json::to_string(&line).unwrap());
                answer.push('\n');
                writing.lock().unwrap().push(transition);
            }
            async move { answer }
        };
        Router::new()
            .route("/projections/{artifact_id}/cursor", get(cursor))
            .route("/projections/transitions/batch", post(batch))
    }

    #[test]
    fn what_is_missing_is_imported_once() {
        let seen = Seen::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = router(&seen);
        runtime.spawn(async move { axum::serve(listener, router).await });

        let target = Arc::new(Target::parse(&url, None).unwrap());
        let preparation = Preparation { target, names: Names::new("n", 700, 0, 0), artifacts: 700, transitions: 3 };
        assert_eq!(preparation.run().unwrap(), Prepared::Imported(2_100));
        assert_eq!(preparation.run().unwrap(), Prepared::AlreadyThere);
        runtime.shutdown_background();

        let seen = seen.lock().unwrap();
        let ids: BTreeSet<_> = seen.iter().map(|transition| &transition.transition_id).collect();
        let artifacts: BTreeSet<_> = seen.iter().map(|transition| &transition.artifact_id).collect();
        assert_eq!((seen.len(), ids.len(), artifacts.len()), (2_100, 2_100, 700));
        let kinds: Vec<_> = seen[..3].iter().map(|transition| transition.status.as_str()).collect();
        assert_eq!(kinds, ["drafted", "in_review", "drafted"]);
    }
}
