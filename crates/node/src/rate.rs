//! How much a tenant may ask: a token bucket for each, as the generic cell rate algorithm keeps it.
//!
//! The tenants are those of the configuration, so the buckets are made once and nothing grows. A limit is one node's:
//! nodes do not tell each other what they have let through.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use plimsoll_domain::id::TenantId;
use plimsoll_wire::problem::Kind;
use tokio::time::Instant;

use crate::http::error::ApiError;

/// How much one tenant may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, in the long run.
    pub per_second: NonZeroU32,
    /// Requests at once, after a rest.
    pub burst: NonZeroU32,
}

/// The runtime's clock, which a simulation drives, as the time since its start.
#[derive(Debug, Clone)]
struct RuntimeClock {
    start: Instant,
}

impl Clock for RuntimeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Duration>>;

/// The buckets of all tenants.
#[derive(Debug)]
pub(crate) struct RateLimits {
    /// Ordered by tenant.
    buckets: Box<[(TenantId, Bucket)]>,
    clock: RuntimeClock,
    burst: NonZeroU32,
}

impl RateLimits {
    /// A bucket for each of `tenants`; none at all where there is no `rate`.
    pub(crate) fn new(tenants: impl IntoIterator<Item = TenantId>, rate: Option<Rate>) -> Self {
        let clock = RuntimeClock { start: Instant::now() };
        let Some(rate) = rate else { return Self { buckets: Box::default(), clock, burst: NonZeroU32::MIN } };
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let mut tenants: Vec<TenantId> = tenants.into_iter().collect();
        tenants.sort_unstable();
        tenants.dedup();
        let bucket = |tenant| (tenant, Bucket::direct_with_clock(quota, clock.clone()));
        Self { buckets: tenants.into_iter().map(bucket).collect(), clock, burst: rate.burst }
    }

    /// Takes `cost` out of a tenant's bucket, or says when there will be enough. What costs more than the bucket holds
    /// takes all of it.
    pub(crate) fn check(&self, tenant: &TenantId, cost: u32) -> Result<(), ApiError> {
        let Some(cost) = NonZeroU32::new(cost) else { return Ok(()) };
        let Ok(place) = self.buckets.binary_search_by(|(known, _)| known.cmp(tenant)) else { return Ok(()) };
        let bucket = &self.buckets[place].1;
        let taken = if cost == NonZeroU32::MIN { bucket.check() } else { self.check_many(bucket, cost) };
        taken.map_err(|until| {
            ApiError::new(Kind::RateLimited, "the tenant asks more than its rate allows")
                .retry_after(until.wait_time_from(self.clock.now()))
        })
    }

    fn check_many(&self, bucket: &Bucket, cost: NonZeroU32) -> Result<(), governor::NotUntil<Duration>> {
        bucket.check_n(cost.min(self.burst)).expect("the cost is no more than the burst")
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http::header;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    fn limits(per_second: u32, burst: u32) -> RateLimits {
        let rate = Rate { per_second: NonZeroU32::new(per_second).unwrap(), burst: NonZeroU32::new(burst).unwrap() };
        RateLimits::new([tenant("b"), tenant("a"), tenant("a")], Some(rate))
    }

    /// The seconds to wait, where a request is refused.
    fn wait(limits: &RateLimits, name: &str, cost: u32) -> Option<String> {
        let response = limits.check(&tenant(name), cost).err()?.into_response();
        assert_eq!(response.status(), 429);
        Some(response.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_a_burst_then_its_rate() {
        let limits = limits(2, 4);
        for _ in 0..4 {
            assert_eq!(wait(&limits, "a", 1), None);
        }
        assert_eq!(wait(&limits, "a", 1).as_deref(), Some("1"));
        assert_eq!(wait(&limits, "b", 1), None, "another tenant has its own");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(wait(&limits, "a", 1), None);
        assert_eq!(wait(&limits, "a", 1).as_deref(), Some("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_costs_its_lines_at_most_the_whole_burst() {
        let limits = limits(2, 10);
        assert_eq!(wait(&limits, "a", 1_000), None);
        assert_eq!(wait(&limits, "a", 4).as_deref(), Some("2"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(wait(&limits, "a", 4), None);
        assert_eq!(wait(&limits, "a", 0), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_there_is_no_limit() {
        let limits = RateLimits::new([tenant("a")], None);
        for _ in 0..10_000 {
            assert_eq!(wait(&limits, "a", 1_000), None);
        }
    }
}
