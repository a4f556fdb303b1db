//! How far apart clocks are, and whose is wrong.
//!
//! Two nodes exchange four readings, as NTP does (RFC 5905, section 8): when a message left and when it came, there and
//! back. Half the round trip is all the error a reading can have, however lopsided the way is; so of the latest readings
//! the one with the shortest trip is believed. A node whose peers' clocks are, in the median, further from its own than the
//! drift bound keeps itself from deciding what wins elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use crate::planted::{self, Bug};

/// How many readings are kept: NTP's clock filter keeps as many (RFC 5905, section 10).
const READINGS_MAX: usize = 8;

/// By how much clocks that nobody sets may drift apart between the first and the last of the readings kept: a hundred
/// millionths, for a few minutes.
pub const WANDER_MAX: Duration = Duration::from_millis(25);

/// How many peers' clocks it takes to judge one's own: of two clocks that differ nobody can say which is wrong.
pub const JUDGES_MIN: usize = 2;

/// How another clock differs from one's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// How far the other is ahead, in nanoseconds; less than zero where it is behind.
    pub nanos: i64,
    /// By how much that may be wrong, either way.
    pub error: Duration,
}

/// Four readings of two clocks, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundTrip {
    /// When the message left, by one's own clock.
    pub sent: u64,
    /// When it came, by the other's.
    pub received: u64,
    /// When the answer left, by the other's.
    pub answered: u64,
    /// When that came, by one's own.
    pub returned: u64,
}

impl RoundTrip {
    /// What the readings tell; `None` where a clock was set while they were taken, so that they tell nothing.
    #[must_use]
    pub fn offset(self) -> Option<Offset> {
        let difference = |later: u64, earlier: u64| i128::from(later) - i128::from(earlier);
        let nanos = (difference(self.received, self.sent) + difference(self.answered, self.returned)) / 2;
        let trip = difference(self.returned, self.sent) - difference(self.answered, self.received);
        let error = Duration::from_nanos(u64::try_from(trip).ok()?.div_ceil(2));
        Some(Offset { nanos: i64::try_from(nanos).ok()?, error })
    }
}

/// The latest readings of another clock.
#[derive(Debug, Clone, Default)]
pub struct ClockFilter {
    readings: VecDeque<Offset>,
}

impl ClockFilter {
    /// Takes a reading. One that contradicts the one believed tells that a clock was set: what was read before is forgotten.
    pub fn add(&mut self, offset: Offset) {
        if self.best().is_some_and(|best| contradict(best, offset)) {
            self.readings.clear();
        }
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(offset);
    }

    /// The one to believe: of the shortest trip, and of those the latest. `None` before the first.
    #[must_use]
    pub fn best(&self) -> Option<Offset> {
        self.readings.iter().rev().min_by_key(|offset| offset.error).copied()
    }
}

/// Whether two readings cannot both have been right of clocks that were left alone.
fn contradict(one: Offset, other: Offset) -> bool {
    let apart = Duration::from_nanos(one.nanos.abs_diff(other.nanos));
    apart > one.error + other.error + WANDER_MAX
}

/// How far the clocks of one's peers are ahead of one's own, in the median; of an even number the nearer of the two in the
/// middle. `None` with fewer than [`JUDGES_MIN`].
#[must_use]
pub fn median(mut offsets: Vec<i64>) -> Option<i64> {
    if offsets.len() < JUDGES_MIN {
        return None;
    }
    offsets.sort_unstable();
    let middle = offsets.len() / 2;
    match offsets.len() % 2 {
        1 => Some(offsets[middle]),
        _ => [offsets[middle - 1], offsets[middle]].into_iter().min_by_key(|offset| offset.unsigned_abs()),
    }
}

/// Whether a node whose peers' clocks are so far from its own, in the median, is to keep its writes to itself.
#[must_use]
pub fn is_off(median: i64, drift_max: Duration) -> bool {
    Duration::from_nanos(median.unsigned_abs()) > drift_max && !planted::has(Bug::FenceOff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_fenced(offsets: Vec<i64>, drift_max: Duration) -> bool {
        median(offsets).is_some_and(|median| is_off(median, drift_max))
    }

    proptest! {
        /// Whatever the two ways take, the true offset lies within the error.
        #[test]
        fn the_error_bounds_what_a_reading_can_be_wrong_by(
            offset in -2_000_000_000_i64..2_000_000_000,
            there in 0..500_000_000_u64,
            back in 0..500_000_000_u64,
            wait in 0..1_000_000_000_u64,
        ) {
            let start = 1_776_000_000_000_000_000_u64;
            let other = |own: u64| own.checked_add_signed(offset).unwrap();
            let trip = RoundTrip {
                sent: start,
                received: other(start + there),
                answered: other(start + there + wait),
                returned: start + there + wait + back,
            };
            let measured = trip.offset().unwrap();
            let wrong = Duration::from_nanos(measured.nanos.abs_diff(offset));
            prop_assert!(wrong <= measured.error + Duration::from_nanos(1), "{measured:?}, and it is {offset}");
            prop_assert_eq!(measured.error, Duration::from_nanos((there + back).div_ceil(2)));
        }

        /// One node with a wrong clock fences itself and nobody else, as long as most are right.
        #[test]
        fn the_wrong_clock_is_found_where_most_are_right(
            right in prop::collection::vec(-100_i64..100, 2..6),
            wrong in prop_oneof![Just(-5_000_i64), Just(5_000)],
        ) {
            let millis = |offset: i64| offset * 1_000_000;
            let drift = Duration::from_millis(500);
            let seen_by_wrong = right.iter().map(|clock| millis(clock - wrong)).collect();
            prop_assert!(is_fenced(seen_by_wrong, drift));
            for (at, clock) in right.iter().enumerate() {
                let others = right.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other);
                let seen = others.chain([wrong]).map(|other| millis(other - clock)).collect();
                prop_assert!(!is_fenced(seen, drift));
            }
        }
    }

    #[test]
    fn one_peer_alone_is_no_judge() {
        assert!(!is_fenced(vec![5_000_000_000], Duration::from_millis(500)));
        assert!(is_fenced(vec![5_000_000_000, 5_000_000_000], Duration::from_millis(500)));
    }

    #[test]
    fn a_clock_that_was_set_meanwhile_tells_nothing() {
        let trip = RoundTrip { sent: 1_000, received: 1_000, answered: 1_000, returned: 999 };
        assert_eq!(trip.offset(), None);
    }

    #[test]
    fn the_shortest_of_the_latest_trips_is_believed() {
        let reading = |nanos, error| Offset { nanos, error: Duration::from_nanos(error) };
        let mut filter = ClockFilter::default();
        assert_eq!(filter.best(), None);
        filter.add(reading(7, 10));
        filter.add(reading(8, 30));
        assert_eq!(filter.best(), Some(reading(7, 10)));
        for _ in 0..8 {
            filter.add(reading(9, 20));
        }
        assert_eq!(filter.best(), Some(reading(9, 20)));
    }

    #[test]
    fn a_clock_that_was_set_is_believed_at_once() {
        let reading = |nanos, millis| Offset { nanos, error: Duration::from_millis(millis) };
        let mut filter = ClockFilter::default();
        filter.add(reading(30_000_000_000, 1));
        filter.add(reading(40_000_000, 50));
        assert_eq!(filter.best(), Some(reading(40_000_000, 50)));
        filter.add(reading(10_000_000, 20));
        assert_eq!(filter.best(), Some(reading(10_000_000, 20)));
    }
}
