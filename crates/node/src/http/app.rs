//! What every handler shares.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use plimsoll_cluster::cluster::Cluster;
use plimsoll_domain::id::TenantId;
use plimsoll_store::options::FreeBytes;
use plimsoll_store::projections::Projections;
use plimsoll_wire::problem::Kind;
use tokio::sync::watch;

use super::error::ApiError;
use super::routes::Bounds;
use crate::access::{Access, Scope};
use crate::metrics::Metrics;
use crate::rate::RateLimits;

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

struct Shared {
    inner: Inner,
    bounds: Bounds,
}

pub(crate) struct Inner {
    /// The projections of this node.
    pub(crate) projections: Projections,
    /// Its cluster; `None` for a node alone.
    pub(crate) cluster: Option<Cluster>,
    /// How long a write waits for other members' disks.
    pub(crate) ack_timeout: Duration,
    /// Whether an admin may cut the node off from its peers, for a test.
    pub(crate) has_test_controls: bool,
    /// Who may do what.
    pub(crate) access: Access,
    /// How much each tenant may ask.
    pub(crate) rate_limits: RateLimits,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Becomes true when the node stops: long answers (waits, event streams, batches) end then.
    pub(crate) stopping: watch::Receiver<bool>,
    /// The room on the data disk.
    pub(crate) free_bytes: FreeBytes,
    /// Below this many free bytes the store takes no write.
    pub(crate) reserve_bytes: u64,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0.inner
    }
}

impl App {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(Shared { inner, bounds: Bounds::default() }))
    }

    /// How many long answers there may be at a time.
    pub(crate) fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    /// The tenant a request speaks for, if its token (or its lack of one) allows `scope`, and the tenant is within
    /// its rate.
    pub(crate) fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<TenantId, ApiError> {
        let tenant = self.access.authorize(headers, scope)?;
        self.rate_limits.check(&tenant)?;
        Ok(tenant)
    }

    /// As [`App::authorize`], of one who writes. A new node takes nothing before it has met the members, or goes on alone: they
    /// would not ask it for a ref that was opened here, and refuse it for good.
    pub(crate) fn authorize_write(&self, headers: &HeaderMap) -> Result<TenantId, ApiError> {
        let tenant = self.authorize(headers, Scope::Write)?;
        if self.cluster.as_ref().is_some_and(|cluster| cluster.is_unmet()) {
            let detail = "the node is new, and has not met the members it is to join yet";
            return Err(ApiError::new(Kind::NotReady, detail).retry_after(Duration::from_secs(1)));
        }
        Ok(tenant)
    }
}

#[cfg(test)]
mod fixture {
    use plimsoll_domain::id::NodeId;
    use plimsoll_domain::timestamp::UnixNanos;
    use plimsoll_store::StoredIdentity;
    use plimsoll_store::engine::memory::Memory;
    use plimsoll_store::options::Options;
    use plimsoll_store::writer::Writer;

    use super::*;

    impl App {
        /// What the handlers would share, to change some of it.
        pub(crate) fn into_inner(self) -> Inner {
            Arc::into_inner(self.0).unwrap().inner
        }

        /// Over an empty store in memory, with the token `secret` of tenant `default`. Writes are answered once the
        /// writer runs.
        pub(crate) fn in_memory() -> (Self, Writer) {
            let free_bytes: FreeBytes = Arc::new(|| Some(1 << 40));
            let options = Options {
                drift_max: Duration::from_millis(500),
                cursor_cache_bytes: 1 << 20,
                head_cache_bytes: 1 << 20,
                tenant_facts_max: u64::MAX,
                tenant_bytes_max: u64::MAX,
                reserve_bytes: 0,
                wall_clock: Arc::new(|| UnixNanos::new(1_776_000_000_000_000_000)),
                free_bytes: Arc::clone(&free_bytes),
            };
            let identity = StoredIdentity { node: NodeId::new(1), incarnation: 1 };
            let (projections, writer) = Projections::open(Arc::new(Memory::new()), identity, &options).unwrap();
            let token: crate::access::Token = "default:secret".parse().unwrap();
            let tenant = token.tenant().clone();
            let app = Self::new(Inner {
                projections,
                cluster: None,
                ack_timeout: Duration::from_secs(1),
                has_test_controls: false,
                access: Access::new(vec![token], None),
                rate_limits: RateLimits::new([tenant.clone()], None),
                metrics: Metrics::new(identity.node, [], [tenant]),
                // Leaked, so that the receivers do not take its end for the node's.
                stopping: Box::leak(Box::new(watch::Sender::new(false))).subscribe(),
                free_bytes,
                reserve_bytes: 0,
            });
            (app, writer)
        }
    }
}
