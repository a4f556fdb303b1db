//! The store's promises, tried on each engine: what is acknowledged is there, what is shown is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use plimsoll_domain::id::{ArtifactId, NodeId, Status, TenantId, TransitionId};
use plimsoll_domain::projection::{Draft, Expectation, Horizon, RefDraft, Refusal, Submission, Token};
use plimsoll_domain::timestamp::UnixNanos;

use crate::engine::memory::Memory;
use crate::engine::{Engine, EngineOptions};
use crate::error::{ReadError, StoreFailure, WriteError};
use crate::feed::{FactPage, Position};
use crate::options::Options;
use crate::projections::Projections;
use crate::writer::{Outcome, Post};
use crate::{Accepted, StoredIdentity};

mod conflicts;
mod durability;
mod faults;
mod forgetting;
mod formats;
mod histories;
mod hooked;
mod notes;
mod packs;
mod reads;
mod reconciling;
mod replicas;
mod tally;
mod writes;

use hooked::Hooked;

const START: u64 = 1_776_881_051_000_000_000;

/// A store with its writer, on a clock that stands still unless it is told.
struct Fixture {
    projections: Projections,
    writer: Option<JoinHandle<()>>,
    now: Arc<AtomicU64>,
    free: Arc<AtomicU64>,
    tenant: TenantId,
}

impl Fixture {
    fn on(engine: Arc<dyn Engine>) -> Self {
        Self::with(engine, |_| {})
    }

    fn with(engine: Arc<dyn Engine>, change: impl FnOnce(&mut Options)) -> Self {
        Self::named(engine, 7, change)
    }

    fn named(engine: Arc<dyn Engine>, node: u64, change: impl FnOnce(&mut Options)) -> Self {
        let (now, free) = (Arc::new(AtomicU64::new(START)), Arc::new(AtomicU64::new(u64::MAX)));
        let mut options = options(&now, &free);
        change(&mut options);
        let fresh = StoredIdentity { node: NodeId::new(node), incarnation: 9 };
        let (projections, writer) = Projections::open(engine, fresh, &options).unwrap();
        let writer = Some(thread::spawn(|| writer.run()));
        Self { projections, writer, now, free, tenant: TenantId::parse("acme").unwrap() }
    }

    fn memory() -> Self {
        Self::on(Arc::new(Memory::new()))
    }

    async fn post(&self, draft: Draft) -> Outcome {
        self.projections.submit(&self.tenant, post(draft)).await
    }

    async fn accept(&self, draft: Draft) -> Accepted {
        self.post(draft).await.unwrap()
    }

    /// A page of all facts after a position.
    async fn facts(&self, after: Position) -> Option<FactPage> {
        self.projections.facts(after, usize::MAX, |_, _| true).await.unwrap()
    }

    async fn token(&self, id: &str) -> Option<Token> {
        self.projections.cursor(&self.tenant, &artifact(id)).await.unwrap().map(|cursor| cursor.token)
    }

    /// Closes the store and waits for the writer.
    fn close(mut self) {
        let writer = self.writer.take().expect("closed once");
        drop(self);
        writer.join().unwrap();
    }
}

fn options(now: &Arc<AtomicU64>, free: &Arc<AtomicU64>) -> Options {
    let (now, free) = (Arc::clone(now), Arc::clone(free));
    Options {
        drift_max: Duration::from_millis(500),
        cursor_cache_bytes: 1 << 20,
        head_cache_bytes: 1 << 20,
        tenant_facts_max: 1_000_000,
        tenant_bytes_max: 1 << 30,
        reserve_bytes: 1 << 20,
        wall_clock: Arc::new(move || UnixNanos::new(now.load(Ordering::SeqCst))),
        free_bytes: Arc::new(move || Some(free.load(Ordering::SeqCst))),
    }
}

fn artifact(id: &str) -> ArtifactId {
    ArtifactId::parse(id).unwrap()
}

fn post(draft: Draft) -> Post {
    Post { submission: Submission::parse(draft).unwrap(), expectation: Expectation::Any }
}

fn draft(artifact: &str, id: &str, status: &str) -> Draft {
    Draft { artifact_id: artifact.into(), transition_id: id.into(), status: status.into(), ..Draft::default() }
}

fn pending(key: &str) -> RefDraft {
    RefDraft { target_repo: "acme/web".into(), idempotency_key: key.into(), resolution: None }
}

fn resolved(key: &str, number: u64) -> RefDraft {
    let url = format!("https://forge.example/acme/web/pull/{number}");
    RefDraft { resolution: Some((number, url, "2026-04-22T18:04:11Z".into())), ..pending(key) }
}

fn with_refs(draft: Draft, produced_refs: Vec<RefDraft>) -> Draft {
    Draft { produced_refs, ..draft }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
