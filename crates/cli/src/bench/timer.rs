//! Waiting until a request is due.
//!
//! The runtime's own timer counts whole milliseconds and rounds up. Latencies count from the time a request is due, so
//! that rounding would be most of the latency of a server that answers within 200 µs. On Linux each connection has a
//! `timerfd` instead, polled with the sockets: late by the scheduler's few microseconds only.

use std::io;

use tokio::time::Instant;

/// A timer for one connection.
#[derive(Debug)]
pub(crate) enum Timer {
    /// To the microsecond.
    #[cfg(target_os = "linux")]
    Precise(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// The runtime's: up to a millisecond late, obeys a paused clock.
    #[cfg(any(test, not(target_os = "linux")))]
    Coarse,
}

impl Timer {
    /// The best timer of this system.
    #[cfg(target_os = "linux")]
    #[expect(
        deprecated,
        reason = "its successor is unsafe, against types that part with their descriptor; an OwnedFd in here never does"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self::Precise(tokio::io::unix::AsyncFd::new(fd)?))
    }

    /// The best timer of this system.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self::Coarse)
    }

    /// Returns once `due` is reached; at once where it has passed.
    pub(crate) async fn wait_until(&mut self, due: Instant) -> io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Precise(fd) => wait_on_timerfd(fd, due).await,
            #[cfg(any(test, not(target_os = "linux")))]
            Self::Coarse => {
                tokio::time::sleep_until(due).await;
                Ok(())
            }
        }
    }
}

#[cfg(target_os = "linux")]
async fn wait_on_timerfd(fd: &tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>, due: Instant) -> io::Result<()> {
    use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
    const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let it_value = Timespec::try_from(left).map_err(io::Error::other)?;
        timerfd_settime(fd, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: ZERO, it_value })?;
        // The expiry is never read: arming the timer anew resets it, which saves a system call a request.
        fd.readable().await?.clear_ready();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn waits_until_it_is_due_every_time() {
        let mut timer = Timer::new().unwrap();
        let start = Instant::now();
        for k in 1..=20 {
            let due = start + Duration::from_micros(300 * k);
            timer.wait_until(due).await.unwrap();
            assert!(Instant::now() >= due);
        }
        timer.wait_until(start).await.unwrap();
    }
}
