//! When to send a request again.
//!
//! The delay before attempt *n* is drawn evenly from zero to `min(cap, base · 2ⁿ)`: "full jitter", of Marc Brooker,
//! *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015. It needs the fewest calls of the ways compared there,
//! and keeps clients that failed together from coming back together. A `Retry-After` is a floor under the delay: what
//! is drawn comes on top of it, for the same reason.
//!
//! A pure decision: the driver brings the time and the draw.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often and how long a request is tried. Between two attempts at different endpoints of one round there is no delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The bound of the first delay; it doubles with each attempt.
    pub base: Duration,
    /// The bound of every drawn delay.
    pub cap: Duration,
    /// No attempt begins later than this after the first one began. A `Retry-After` beyond it ends the request at once:
    /// coming back sooner than asked would not be honouring it.
    pub budget: Duration,
    /// The most attempts at one endpoint, the first included. A client of several tries each so often.
    pub attempts_max: NonZeroU32,
}

impl Default for RetryPolicy {
    /// 100 ms, doubling to 10 s; 60 s and 10 attempts at most.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(10),
            budget: Duration::from_mins(1),
            attempts_max: const { NonZeroU32::new(10).expect("ten is not zero") },
        }
    }
}

impl RetryPolicy {
    /// One attempt, whatever comes; with several endpoints, one at each.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts_max: NonZeroU32::MIN, ..Self::default() }
    }

    /// Whether and when to try again: `failed` attempts at each endpoint have failed, the first began `elapsed` ago.
    pub(crate) fn decide(&self, failed: u32, elapsed: Duration, retry_after: Option<Duration>, draw: u64) -> Decision {
        let floor = retry_after.unwrap_or_default();
        let left = self.budget.saturating_sub(elapsed);
        if failed >= self.attempts_max.get() || floor > left || left.is_zero() {
            return Decision::GiveUp;
        }
        let delay = floor.saturating_add(fraction(self.ceiling(failed), draw));
        Decision::After(delay.min(left))
    }

    fn ceiling(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

/// What a failed attempt leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Try again after this delay.
    After(Duration),
    /// Report the failure.
    GiveUp,
}

/// `draw` of 2^64 parts of a duration.
fn fraction(whole: Duration, draw: u64) -> Duration {
    let nanoseconds = (whole.as_nanos() * u128::from(draw)) >> 64;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// A stream of draws from a seed: splitmix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number Generators*,
/// 2014). Jitter needs to be spread, not secret.
#[derive(Debug)]
pub(crate) struct Jitter(AtomicU64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    pub(crate) fn draw(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut bits = self.0.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LARGEST_DRAW: u64 = u64::MAX;

    fn after(decision: Decision) -> Duration {
        match decision {
            Decision::After(delay) => delay,
            Decision::GiveUp => panic!("gave up"),
        }
    }

    #[test]
    fn the_bound_of_the_delay_doubles_up_to_the_cap() {
        let policy = RetryPolicy { attempts_max: NonZeroU32::new(100).unwrap(), ..RetryPolicy::default() };
        let ceilings: Vec<u128> = (1..=9)
            .map(|failed| after(policy.decide(failed, Duration::ZERO, None, LARGEST_DRAW)).as_millis() + 1)
            .collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        assert_eq!(after(policy.decide(99, Duration::ZERO, None, 0)), Duration::ZERO);
    }

    #[test]
    fn it_gives_up_at_the_last_attempt_and_at_the_end_of_the_budget() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.decide(10, Duration::ZERO, None, 0), Decision::GiveUp);
        assert_eq!(policy.decide(1, policy.budget, None, 0), Decision::GiveUp);
        assert_eq!(RetryPolicy::never().decide(1, Duration::ZERO, None, 0), Decision::GiveUp);
    }

    #[test]
    fn a_retry_after_beyond_the_budget_ends_the_request() {
        let policy = RetryPolicy::default();
        let asked = Some(Duration::from_secs(31));
        assert_eq!(policy.decide(1, Duration::from_secs(30), asked, 0), Decision::GiveUp);
        assert_eq!(after(policy.decide(1, Duration::from_secs(29), asked, 0)), Duration::from_secs(31));
    }

    #[test]
    fn the_same_seed_draws_the_same_and_another_does_not() {
        let draws = |seed| {
            let jitter = Jitter::new(seed);
            [jitter.draw(), jitter.draw(), jitter.draw()]
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        assert_eq!(draws(0)[0], 0xe220_a839_7b1d_cdaf, "the published first output of seed 0");
    }

    proptest! {
        #[test]
        fn a_delay_is_never_below_retry_after_nor_beyond_the_budget(
            failed in 1..200_u32,
            elapsed_ms in 0..120_000_u64,
            asked_secs in proptest::option::of(0..120_u64),
            draw: u64,
        ) {
            let policy = RetryPolicy { attempts_max: NonZeroU32::MAX, ..RetryPolicy::default() };
            let elapsed = Duration::from_millis(elapsed_ms);
            let asked = asked_secs.map(Duration::from_secs);
            if let Decision::After(delay) = policy.decide(failed, elapsed, asked, draw) {
                prop_assert!(delay >= asked.unwrap_or_default());
                prop_assert!(elapsed + delay <= policy.budget);
                prop_assert!(delay <= asked.unwrap_or_default() + policy.cap);
            }
        }
    }
}
