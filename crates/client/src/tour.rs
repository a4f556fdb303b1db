//! Where and when one request is tried again.
//!
//! A request goes its rounds: at each endpoint once, the best first and without a pause between them, for another node
//! knows nothing of the failure. When a round has failed, the [`RetryPolicy`] says how long to wait before the next.
//! With one endpoint a round is one attempt.
//!
//! A pure decision: the driver brings the order of the endpoints, the time and the draw.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::{Decision, RetryPolicy};
use crate::roster::{ENDPOINTS_MAX, EndpointIndex, EndpointSet};

/// Where the next attempt may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// At any endpoint, this one included.
    Anywhere,
    /// At this endpoint only: it alone can tell a repetition from a new request.
    Here,
    /// At the endpoints that were not tried yet: here it would end the same.
    Elsewhere,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another attempt.
    Attempt {
        /// The endpoint.
        at: EndpointIndex,
        /// How long to wait before.
        after: Duration,
    },
    /// Report the failure.
    GiveUp,
}

/// A rest that is longer is as good as this one: beyond any budget. Time has an end, which must not be reached.
const REST_MAX: Duration = Duration::from_hours(365 * 24);

/// What the driver brings to a decision.
pub(crate) struct Situation<'a> {
    /// The endpoints, the best to try first.
    pub(crate) order: &'a [EndpointIndex],
    pub(crate) policy: RetryPolicy,
    pub(crate) now: Instant,
    /// How long ago the request began.
    pub(crate) elapsed: Duration,
    pub(crate) draw: u64,
}

/// The attempts of one request.
#[derive(Debug, Default)]
pub(crate) struct Tour {
    rounds: u32,
    /// In this round.
    tried: EndpointSet,
    /// Until when each endpoint asked this request to leave it alone.
    rests_until: [Option<Instant>; ENDPOINTS_MAX],
}

impl Tour {
    /// Decides what follows a failed attempt `at` an endpoint.
    pub(crate) fn next(
        &mut self,
        at: EndpointIndex,
        retry_after: Option<Duration>,
        reach: Reach,
        situation: &Situation<'_>,
    ) -> Next {
        self.tried.insert(at);
        self.rests_until[at.place()] = retry_after.map(|rest| situation.now + rest.min(REST_MAX));
        if reach != Reach::Here
            && situation.elapsed < situation.policy.budget
            && let Some(next) = self.untried(situation)
        {
            return Next::Attempt { at: next, after: Duration::ZERO };
        }
        if reach == Reach::Elsewhere {
            return Next::GiveUp;
        }
        self.rounds += 1;
        self.tried = EndpointSet::default();
        let soonest = situation.order.iter().copied().min_by_key(|endpoint| self.rest(*endpoint, situation.now));
        let next = soonest.filter(|_| reach == Reach::Anywhere).unwrap_or(at);
        let rest = self.rest(next, situation.now);
        match situation.policy.decide(self.rounds, situation.elapsed, Some(rest), situation.draw) {
            Decision::After(after) => Next::Attempt { at: next, after },
            Decision::GiveUp => Next::GiveUp,
        }
    }

    fn untried(&self, situation: &Situation<'_>) -> Option<EndpointIndex> {
        let is_free =
            |endpoint: EndpointIndex| !self.tried.contains(endpoint) && self.rest(endpoint, situation.now).is_zero();
        situation.order.iter().copied().find(|endpoint| is_free(*endpoint))
    }

    fn rest(&self, endpoint: EndpointIndex, now: Instant) -> Duration {
        self.rests_until[endpoint.place()].map(|until| until.saturating_duration_since(now)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    fn endpoints(count: usize) -> Vec<EndpointIndex> {
        (0..count).map(EndpointIndex::new).collect()
    }

    /// The attempts a request makes at endpoints that all fail, with the waits before them.
    fn attempts(order: &[EndpointIndex], policy: RetryPolicy, reach: Reach) -> Vec<(usize, Duration)> {
        let began = Instant::now();
        let (mut tour, mut at, mut elapsed) = (Tour::default(), order[0], Duration::ZERO);
        let mut attempts = vec![(at.place(), Duration::ZERO)];
        loop {
            let situation = Situation { order, policy, now: began + elapsed, elapsed, draw: u64::MAX };
            match tour.next(at, None, reach, &situation) {
                Next::GiveUp => return attempts,
                Next::Attempt { at: next, after } => {
                    (at, elapsed) = (next, elapsed + after);
                    attempts.push((at.place(), after));
                }
            }
        }
    }

    fn policy(attempts_max: u32) -> RetryPolicy {
        let attempts_max = NonZeroU32::new(attempts_max).unwrap();
        RetryPolicy { attempts_max, ..RetryPolicy::default() }
    }

    #[test]
    fn each_endpoint_is_tried_once_a_round_and_a_pause_comes_between_rounds() {
        let attempts = attempts(&endpoints(3), policy(2), Reach::Anywhere);
        assert_eq!(attempts.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        let paused: Vec<bool> = attempts.iter().map(|(_, after)| !after.is_zero()).collect();
        assert_eq!(paused, [false, false, false, true, false, false]);
    }

    #[test]
    fn what_has_to_stay_stays_and_what_can_only_pass_elsewhere_is_tried_once_at_each() {
        let places = |reach| attempts(&endpoints(3), policy(3), reach).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(places(Reach::Here), [0, 0, 0]);
        assert_eq!(places(Reach::Elsewhere), [0, 1, 2]);
    }

    #[test]
    fn the_next_round_begins_at_the_endpoint_that_may_be_asked_soonest() {
        let (order, now) = (endpoints(2), Instant::now());
        let situation = |now, elapsed| Situation { order: &order, policy: policy(9), now, elapsed, draw: 0 };
        let mut tour = Tour::default();
        let asked = |seconds| Some(Duration::from_secs(seconds));
        let first = tour.next(order[0], asked(20), Reach::Anywhere, &situation(now, Duration::ZERO));
        assert_eq!(first, Next::Attempt { at: order[1], after: Duration::ZERO });
        let second = tour.next(order[1], asked(5), Reach::Anywhere, &situation(now, Duration::ZERO));
        assert_eq!(second, Next::Attempt { at: order[1], after: Duration::from_secs(5) });
        let later = situation(now + Duration::from_secs(5), Duration::from_secs(5));
        let third = tour.next(order[1], None, Reach::Anywhere, &later);
        assert_eq!(third, Next::Attempt { at: order[1], after: Duration::ZERO }, "the other rests for 15 s more");
    }

    #[test]
    fn a_rest_without_end_is_the_end() {
        let order = endpoints(1);
        let situation =
            Situation { order: &order, policy: policy(9), now: Instant::now(), elapsed: Duration::ZERO, draw: 0 };
        let next = Tour::default().next(order[0], Some(Duration::MAX), Reach::Anywhere, &situation);
        assert_eq!(next, Next::GiveUp);
    }

    proptest! {
        #[test]
        fn no_endpoint_is_tried_more_often_than_the_policy_allows(count in 1..=ENDPOINTS_MAX, attempts_max in 1..6_u32) {
            let order = endpoints(count);
            let attempts = attempts(&order, policy(attempts_max), Reach::Anywhere);
            for endpoint in &order {
                let times = attempts.iter().filter(|(at, _)| *at == endpoint.place()).count();
                prop_assert_eq!(times, attempts_max as usize);
            }
        }
    }
}
