//! How many long answers there may be at a time: in all, and for one tenant.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_domain::id::TenantId;
use plimsoll_wire::problem::Kind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::error::ApiError;

/// Requests that wait. Each holds a timer and its connection: some kilobytes.
const WAITS_MAX: usize = 10_000;

/// Streams of events. Each reads the whole node's feed, so their number is the price of a write.
const EVENT_STREAMS_MAX: usize = 1_024;

/// Batches. Each may hold some megabytes.
const BATCHES_MAX: usize = 64;

/// Writes that wait for other members to say whether they know a ref.
const QUESTIONS_MAX: usize = 512;

/// The part of each bound that one tenant may have: half of it, so that no tenant can keep all others out.
const TENANT_PART: usize = 2;

/// When one of many long answers is likely to have ended.
const BOUND_RETRY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Bounds {
    pub(super) waits: Bound,
    pub(super) event_streams: Bound,
    pub(super) batches: Bound,
    pub(super) questions: Bound,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            waits: Bound::new("requests that wait", WAITS_MAX),
            event_streams: Bound::new("event streams", EVENT_STREAMS_MAX),
            batches: Bound::new("batches", BATCHES_MAX),
            questions: Bound::new("questions to members", QUESTIONS_MAX),
        }
    }
}

/// How many of one kind there may be.
pub(super) struct Bound {
    what: &'static str,
    max: usize,
    room: Arc<Semaphore>,
    tenants: Tenants,
}

/// The places each tenant has, where it has any.
type Tenants = Arc<Mutex<BTreeMap<TenantId, usize>>>;

/// The place of one long answer, until it is dropped.
#[must_use]
pub(super) struct Place {
    tenant: TenantId,
    tenants: Tenants,
    _room: OwnedSemaphorePermit,
}

impl Bound {
    fn new(what: &'static str, max: usize) -> Self {
        Self { what, max, room: Arc::new(Semaphore::new(max)), tenants: Arc::default() }
    }

    /// A place for a tenant, if there is one, and the tenant has not its most.
    pub(super) fn enter_for(&self, tenant: &TenantId) -> Result<Place, ApiError> {
        let mut tenants = lock(&self.tenants);
        let taken = tenants.get(tenant).copied().unwrap_or_default();
        let most = self.max / TENANT_PART;
        if taken >= most {
            let detail = format!("the tenant has its most, {most}, of {} on this node", self.what);
            return Err(ApiError::new(Kind::RateLimited, detail).retry_after(BOUND_RETRY));
        }
        let room = self.enter()?;
        tenants.insert(tenant.clone(), taken + 1);
        Ok(Place { tenant: tenant.clone(), tenants: Arc::clone(&self.tenants), _room: room })
    }

    /// A place, if there is one, whoever asks.
    pub(super) fn enter(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| {
            let detail = format!("this node has its most, {}, of {}", self.max, self.what);
            ApiError::new(Kind::Overloaded, detail).retry_after(BOUND_RETRY)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut tenants = lock(&self.tenants);
        if let Some(taken) = tenants.get_mut(&self.tenant) {
            *taken -= 1;
            if *taken == 0 {
                tenants.remove(&self.tenant);
            }
        }
    }
}

/// Nothing panics between two changes of the numbers, so they hold whatever the lock says.
fn lock(tenants: &Mutex<BTreeMap<TenantId, usize>>) -> MutexGuard<'_, BTreeMap<TenantId, usize>> {
    tenants.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    #[test]
    fn a_tenant_has_at_most_half_of_the_places() {
        let bound = Bound::new("things", 5);
        let kind = |name: &str| bound.enter_for(&tenant(name)).err().map(|error| error.kind());
        let mut places = vec![bound.enter_for(&tenant("a")).unwrap(), bound.enter_for(&tenant("a")).unwrap()];
        assert_eq!(kind("a"), Some(Kind::RateLimited));
        places.extend([bound.enter_for(&tenant("b")).unwrap(), bound.enter_for(&tenant("b")).unwrap()]);
        let last = bound.enter_for(&tenant("c")).unwrap();
        assert_eq!(kind("c"), Some(Kind::Overloaded));
        assert_eq!(kind("a"), Some(Kind::RateLimited), "what the tenant itself can mend is told first");
        drop(last);
        drop(places.remove(0));
        assert_eq!((kind("a"), kind("c")), (None, None));
        drop(places);
        assert!(lock(&bound.tenants).is_empty());
    }
}
