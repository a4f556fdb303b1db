//! The clock of a host: what it shows of the true time.

use std::time::Duration;

/// Nanoseconds in a part of a million of a second.
const PPM: i128 = 1_000_000;

/// See the module. It was set at some true time, and goes its own way since.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock {
    since_ns: i128,
    ahead_ns: i128,
    gains_ppm: i32,
    is_frozen: bool,
}

impl HostClock {
    /// What it shows at a true time since 1970.
    #[must_use]
    pub fn shows(&self, now: Duration) -> Duration {
        let now = nanos(now);
        let passed = now - self.since_ns;
        let own = if self.is_frozen { 0 } else { passed + passed * i128::from(self.gains_ppm) / PPM };
        let shown = self.since_ns + self.ahead_ns + own;
        Duration::from_nanos(u64::try_from(shown.max(0)).unwrap_or(u64::MAX))
    }

    /// Sets it to so much more than the true time. It then goes as fast.
    pub fn set(&mut self, now: Duration, ahead_ms: i64) {
        *self = Self { since_ns: nanos(now), ahead_ns: i128::from(ahead_ms) * 1_000_000, ..Self::default() };
    }

    /// It gains so much from now on.
    pub fn drift(&mut self, now: Duration, gains_ppm: i32) {
        *self = Self { gains_ppm, ..self.as_of(now) };
    }

    /// It stands still from now on.
    pub fn freeze(&mut self, now: Duration) {
        *self = Self { is_frozen: true, ..self.as_of(now) };
    }

    fn as_of(&self, now: Duration) -> Self {
        Self { since_ns: nanos(now), ahead_ns: nanos(self.shows(now)) - nanos(now), ..Self::default() }
    }
}

fn nanos(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_right_until_something_is_done_to_it() {
        let mut clock = HostClock::default();
        assert_eq!(clock.shows(100 * SECOND), 100 * SECOND);
        clock.set(100 * SECOND, -1_500);
        assert_eq!(clock.shows(101 * SECOND), Duration::from_millis(99_500));
        clock.drift(101 * SECOND, 10_000);
        assert_eq!(clock.shows(101 * SECOND), Duration::from_millis(99_500), "it does not jump");
        assert_eq!(clock.shows(111 * SECOND), Duration::from_millis(109_600));
        clock.freeze(111 * SECOND);
        assert_eq!(clock.shows(200 * SECOND), Duration::from_millis(109_600));
        clock.set(200 * SECOND, 0);
        assert_eq!(clock.shows(201 * SECOND), 201 * SECOND);
    }
}
