//! The hybrid logical clock's rules.
//!
//! A [`Clock`] is three numbers: the node, the greatest time issued or observed (the high-water mark), and the drift
//! bound. The physical clock is an argument. Two rules:
//!
//! - *stamp*: the new time is the physical time, or one nanosecond after the high-water mark where that is greater.
//! - *observe*: a remote reading raises the high-water mark, unless it lies more than the drift bound ahead of this
//!   node's physical clock. Such a reading is refused and moves nothing, so no other node can drag this clock along.
//!
//! They are the rules of Kulkarni et al., "Logical Physical Clocks" (OPODIS 2014), and, reading for reading, those of
//! the `uhlc` crate's generator, which a test holds this one against. The mark has to outlive the process: whoever
//! stores what was stamped stores the mark in the same commit, and resumes from it.

use std::time::Duration;

use thiserror::Error;

use crate::id::NodeId;
use crate::planted::{self, Bug};
use crate::timestamp::{Timestamp, UnixNanos};

/// Issues and observes timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    node: NodeId,
    high_water: UnixNanos,
    drift_max: Duration,
}

/// A remote reading lies too far ahead of this node's physical clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{} ms ahead of this node's clock, which allows {} ms", ahead.as_millis(), drift_max.as_millis())]
pub struct DriftExceeded {
    /// How far ahead it lies.
    pub ahead: Duration,
    /// How far ahead it may lie.
    pub drift_max: Duration,
}

impl Clock {
    /// The clock of `node`, resumed from a stored high-water mark (the epoch for a new node).
    #[must_use]
    pub const fn resume(node: NodeId, high_water: UnixNanos, drift_max: Duration) -> Self {
        Self { node, high_water, drift_max }
    }

    /// The node it issues timestamps for.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The greatest time issued or observed: to be stored with what was stamped.
    #[must_use]
    pub const fn high_water(&self) -> UnixNanos {
        self.high_water
    }

    /// Issues a timestamp, greater than every one issued or observed before.
    ///
    /// # Panics
    /// When the high-water mark is the last nanosecond of the year 2554's range. The drift bound keeps remote readings
    /// from raising it there; only a physical clock set there could.
    pub fn stamp(&mut self, now: UnixNanos) -> Timestamp {
        let after = self.high_water.get().checked_add(1).expect("the high-water mark lies before the end of time");
        self.high_water = now.max(UnixNanos::new(after));
        Timestamp { time: self.high_water, node: self.node }
    }

    /// Takes note of a remote reading: every timestamp issued from now on is greater.
    ///
    /// # Errors
    /// [`DriftExceeded`] if the reading lies more than the drift bound ahead of `now`; the clock has not moved.
    pub fn observe(&mut self, now: UnixNanos, remote: Timestamp) -> Result<(), DriftExceeded> {
        let ahead = Duration::from_nanos(remote.time.get().saturating_sub(now.get()));
        if ahead > self.drift_max && !planted::has(Bug::DriftBoundOff) {
            return Err(DriftExceeded { ahead, drift_max: self.drift_max });
        }
        self.high_water = self.high_water.max(remote.time);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    const DRIFT: Duration = Duration::from_millis(500);

    #[derive(Debug, Clone)]
    enum Step {
        Stamp { now: u64 },
        Observe { now: u64, remote: u64 },
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let time = 1_700_000_000_000_000_000..1_700_000_002_000_000_000_u64;
        let step = prop_oneof![
            time.clone().prop_map(|now| Step::Stamp { now }),
            (time.clone(), time).prop_map(|(now, remote)| Step::Observe { now, remote }),
            Just(Step::Restart),
        ];
        prop::collection::vec(step, 0..64)
    }

    proptest! {
        #[test]
        fn each_stamp_is_greater_than_all_issued_or_seen(steps in steps()) {
            let mut clock = Clock::resume(NodeId::new(7), UnixNanos::default(), DRIFT);
            let mut greatest = UnixNanos::default();
            for step in steps {
                match step {
                    Step::Stamp { now } => {
                        let stamp = clock.stamp(UnixNanos::new(now));
                        prop_assert!(stamp.time > greatest && stamp.time.get() >= now);
                        greatest = stamp.time;
                    }
                    Step::Observe { now, remote } => {
                        let remote = Timestamp { time: UnixNanos::new(remote), node: NodeId::new(9) };
                        let before = clock.clone();
                        match clock.observe(UnixNanos::new(now), remote) {
                            Ok(()) => greatest = greatest.max(remote.time),
                            Err(error) => {
                                prop_assert!(error.ahead > DRIFT);
                                prop_assert_eq!(&clock, &before);
                            }
                        }
                    }
                    Step::Restart => clock = Clock::resume(clock.node(), clock.high_water(), DRIFT),
                }
            }
        }

        /// `uhlc` counts in 2^-32 s and keeps four bits of each physical reading for its counter, so two stamps of the
        /// same step may differ by a few nanoseconds, and by one more for each step in which time stood still.
        #[test]
        fn stamps_follow_those_of_uhlc(times in prop::collection::vec(0..20_000_u64, 1..64)) {
            thread_local!(static NOW: Cell<u64> = const { Cell::new(0) });
            fn now() -> uhlc::NTP64 {
                uhlc::NTP64::from(Duration::from_nanos(NOW.get()))
            }
            const START: u64 = 1_700_000_000_000_000_000;
            const TOLERANCE: u128 = 4 + 64;
            let theirs = uhlc::HLCBuilder::new().with_clock(now).build();
            let mut ours = Clock::resume(NodeId::new(7), UnixNanos::default(), DRIFT);
            for time in times {
                NOW.set(START + time);
                let their_stamp = theirs.new_timestamp().get_time().to_duration().as_nanos();
                let our_stamp = u128::from(ours.stamp(UnixNanos::new(START + time)).time.get());
                prop_assert!(our_stamp.abs_diff(their_stamp) <= TOLERANCE, "{our_stamp} and {their_stamp}");
            }
        }
    }

    #[test]
    fn a_clock_set_back_does_not_set_stamps_back() {
        let mut clock = Clock::resume(NodeId::new(1), UnixNanos::default(), DRIFT);
        let before = clock.stamp(UnixNanos::new(1_000));
        let mut clock = Clock::resume(NodeId::new(1), clock.high_water(), DRIFT);
        let after = clock.stamp(UnixNanos::new(10));
        assert_eq!((before.time.get(), after.time.get()), (1_000, 1_001));
    }

    #[test]
    fn the_drift_bound_is_inclusive() {
        let mut clock = Clock::resume(NodeId::new(1), UnixNanos::default(), DRIFT);
        let remote = |nanos| Timestamp { time: UnixNanos::new(nanos), node: NodeId::new(2) };
        let now = UnixNanos::new(1_000_000_000);
        assert_eq!(clock.observe(now, remote(1_500_000_000)), Ok(()));
        assert!(clock.observe(now, remote(1_500_000_001)).is_err());
        assert_eq!(clock.high_water().get(), 1_500_000_000);
    }
}
