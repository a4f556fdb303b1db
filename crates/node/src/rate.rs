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
use tokio::time::{Instant, sleep_until};

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

    /// Takes one request out of a tenant's bucket, or says when there will be one.
    pub(crate) fn check(&self, tenant: &TenantId) -> Result<(), ApiError> {
        match self.bucket(tenant) {
            Some(bucket) => bucket.check().map_err(|until| refused(self.wait(&until))),
            None => Ok(()),
        }
    }

    /// Takes out of a tenant's bucket as much of `wanted` as there is, at least one; waits for that one, up to
    /// `patience`. Whoever wants much takes it slice by slice, each of which it gets as soon as somebody who wants one
    /// would: so those do not keep it from ever getting its share.
    pub(crate) async fn take_some(
        &self,
        tenant: &TenantId,
        wanted: NonZeroU32,
        patience: Duration,
    ) -> Result<NonZeroU32, ApiError> {
        let Some(bucket) = self.bucket(tenant) else { return Ok(wanted) };
        let deadline = Instant::now() + patience;
        loop {
            let wait = match self.try_take_some(bucket, wanted) {
                Ok(taken) => return Ok(taken),
                Err(wait) => wait,
            };
            let again = Instant::now() + wait;
            if again > deadline {
                return Err(refused(wait));
            }
            sleep_until(again).await;
        }
    }

    /// The largest slice there is, found by halving; or how long until there is one.
    fn try_take_some(&self, bucket: &Bucket, wanted: NonZeroU32) -> Result<NonZeroU32, Duration> {
        let mut slice = wanted.min(self.burst);
        loop {
            match bucket.check_n(slice).expect("a slice is no more than the burst") {
                Ok(()) => return Ok(slice),
                Err(until) if slice == NonZeroU32::MIN => return Err(self.wait(&until)),
                Err(_) => slice = NonZeroU32::new(slice.get() / 2).unwrap_or(NonZeroU32::MIN),
            }
        }
    }

    fn bucket(&self, tenant: &TenantId) -> Option<&Bucket> {
        let place = self.buckets.binary_search_by(|(known, _)| known.cmp(tenant)).ok()?;
        Some(&self.buckets[place].1)
    }

    fn wait(&self, until: &governor::NotUntil<Duration>) -> Duration {
        until.wait_time_from(self.clock.now())
    }
}

fn refused(wait: Duration) -> ApiError {
    ApiError::new(Kind::RateLimited, "the tenant asks more than its rate allows").retry_after(wait)
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
    fn wait(limits: &RateLimits, name: &str) -> Option<String> {
        Some(seconds(limits.check(&tenant(name)).err()?))
    }

    fn seconds(error: ApiError) -> String {
        let response = error.into_response();
        assert_eq!(response.status(), 429);
        response.headers()[header::RETRY_AFTER].to_str().unwrap().to_owned()
    }

    async fn take_some(limits: &RateLimits, wanted: u32) -> Result<u32, ApiError> {
        let wanted = NonZeroU32::new(wanted).unwrap();
        limits.take_some(&tenant("a"), wanted, Duration::from_secs(60)).await.map(NonZeroU32::get)
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_has_a_burst_then_its_rate() {
        let limits = limits(2, 4);
        for _ in 0..4 {
            assert_eq!(wait(&limits, "a"), None);
        }
        assert_eq!(wait(&limits, "a").as_deref(), Some("1"));
        assert_eq!(wait(&limits, "b"), None, "another tenant has its own");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(wait(&limits, "a"), None);
        assert_eq!(wait(&limits, "a").as_deref(), Some("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn much_is_taken_in_slices_at_the_rate() {
        let limits = limits(2, 10);
        let began = Instant::now();
        let mut left = 50;
        while left > 0 {
            let taken = take_some(&limits, left).await.unwrap();
            assert!(taken <= 10);
            left -= taken;
        }
        assert_eq!(began.elapsed().as_secs(), 20, "ten are there, forty come at two a second");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_one_does_not_keep_off_who_asks_for_much() {
        let limits = limits(2, 10);
        assert_eq!(take_some(&limits, 8).await.unwrap(), 8);
        let mut taken = 0;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_millis(500)).await;
            let _ = wait(&limits, "a");
            taken += take_some(&limits, 1_000).await.unwrap();
        }
        assert!(taken >= 9, "{taken}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_refused() {
        let limits = limits(1, 1);
        let patience = Duration::from_millis(500);
        assert_eq!(wait(&limits, "a"), None);
        let began = Instant::now();
        let refused = limits.take_some(&tenant("a"), NonZeroU32::MIN, patience).await.unwrap_err();
        assert_eq!(seconds(refused), "1");
        assert_eq!(began.elapsed(), Duration::ZERO, "it is known at once");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_there_is_no_limit() {
        let limits = RateLimits::new([tenant("a")], None);
        for _ in 0..10_000 {
            assert_eq!(wait(&limits, "a"), None);
        }
        assert_eq!(take_some(&limits, 1_000).await.unwrap(), 1_000);
    }
}
