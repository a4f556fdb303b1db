//! When each request is due.
//!
//! In an open loop request `k` is due at `start + k / rate`, whatever became of the requests before it, and its latency
//! counts from then. A connection owns every `connections`-th request, so that no two connections share state and a
//! slow answer delays, visibly, the requests that queue behind it. A generator that waits for an answer before it plans
//! the next request leaves out exactly the requests that would have suffered: coordinated omission.
//!
//! In a closed loop a request is due when the answer before it has come. That measures capacity and service time, and
//! says nothing about what a user waits under a given load.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// Above this rate connections wake on a grid. Waking for each request takes some 20 µs of processor time, so a thread
/// that did would be its own bottleneck at 50,000 requests a second; on the grid, those that are due together share it.
const GRID_ABOVE_RATE: u64 = 20_000;
/// The step of that grid: the longest a request waits for it, counted in its latency.
const GRID: Duration = Duration::from_micros(50);

/// How requests are offered to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// So many requests a second over all connections, whether or not answers come.
    Open(NonZeroU64),
    /// On each connection the next request once the answer to the last has come.
    Closed,
}

/// The span of a run in which requests are offered, and the later part of it that is recorded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// When the first request is due.
    pub(crate) start: Instant,
    /// From here on requests are recorded; what is before is warm-up.
    pub(crate) recorded_from: Instant,
    /// No request is due at or after this.
    pub(crate) end: Instant,
    /// In an open loop, requests that were due in time but still wait for their turn now are given up.
    pub(crate) abandon_at: Instant,
}

impl Window {
    /// A window that begins now, is recorded for `recorded` after `warmup`, and gives those who queue at its end
    /// `grace` to get their turn.
    pub(crate) fn beginning(start: Instant, warmup: Duration, recorded: Duration, grace: Duration) -> Self {
        let recorded_from = start + warmup;
        let end = recorded_from + recorded;
        Self { start, recorded_from, end, abandon_at: end + grace }
    }
}

/// One connection's share of a load: the times its requests are due.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Schedule {
    /// Fixed in advance.
    Open(OpenSchedule),
    /// As soon as the connection is free.
    Closed,
}

/// The requests of an open loop that one connection owns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenSchedule {
    start: Instant,
    rate: NonZeroU64,
    connections: u64,
    next: u64,
}

impl Schedule {
    /// The share of connection number `connection` of `connections`.
    pub(crate) fn new(load: Load, start: Instant, connection: usize, connections: usize) -> Self {
        match load {
            Load::Closed => Self::Closed,
            Load::Open(rate) => {
                Self::Open(OpenSchedule { start, rate, connections: connections as u64, next: connection as u64 })
            }
        }
    }

    /// When the next request is due: `now` in a closed loop, a time fixed long before in an open one.
    pub(crate) fn next_due(&mut self, now: Instant) -> Instant {
        match self {
            Self::Closed => now,
            Self::Open(open) => open.next_due(),
        }
    }

    /// When to wake for a request that is due then: not before, and at high rates together with its neighbours.
    pub(crate) fn wake_for(&self, due: Instant) -> Instant {
        match self {
            Self::Open(open) if open.rate.get() > GRID_ABOVE_RATE => {
                let past = (due - open.start).as_nanos() % GRID.as_nanos();
                let missing = if past == 0 { 0 } else { GRID.as_nanos() - past };
                due + Duration::from_nanos(missing as u64)
            }
            Self::Open(_) | Self::Closed => due,
        }
    }
}

impl OpenSchedule {
    fn next_due(&mut self) -> Instant {
        let after = u128::from(self.next) * 1_000_000_000 / u128::from(self.rate.get());
        self.next += self.connections;
        self.start + Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(rate: u64) -> Load {
        Load::Open(NonZeroU64::new(rate).unwrap())
    }

    #[test]
    fn the_connections_share_the_rate_evenly_and_without_drift() {
        let start = Instant::now();
        let mut due: Vec<Duration> = Vec::new();
        for connection in 0..3 {
            let mut schedule = Schedule::new(open(300), start, connection, 3);
            due.extend((0..100).map(|_| schedule.next_due(start) - start));
        }
        due.sort();
        for (k, due) in due.iter().enumerate() {
            assert_eq!(*due, Duration::from_nanos(k as u64 * 1_000_000_000 / 300), "request {k}");
        }
    }

    #[test]
    fn an_open_schedule_does_not_ask_what_time_it_is() {
        let start = Instant::now();
        let mut schedule = Schedule::new(open(10), start, 0, 1);
        let late = start + Duration::from_secs(60);
        assert_eq!(schedule.next_due(late), start);
        assert_eq!(schedule.next_due(late), start + Duration::from_millis(100));
    }

    #[test]
    fn at_high_rates_neighbours_wake_together_and_never_early() {
        let start = Instant::now();
        let mut schedule = Schedule::new(open(70_000), start, 0, 1);
        for _ in 0..1_000 {
            let due = schedule.next_due(start);
            let late = schedule.wake_for(due) - due;
            assert!(schedule.wake_for(due) >= due && late < GRID, "{late:?}");
            assert_eq!((schedule.wake_for(due) - start).as_nanos() % GRID.as_nanos(), 0);
        }
        let due = start + Duration::from_nanos(1_234_567);
        assert_eq!(Schedule::new(open(GRID_ABOVE_RATE), start, 0, 1).wake_for(due), due);
    }

    #[test]
    fn a_closed_schedule_is_due_at_once() {
        let now = Instant::now();
        assert_eq!(Schedule::new(Load::Closed, now, 5, 64).next_due(now), now);
    }
}
