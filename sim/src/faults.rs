//! What goes wrong, and when: drawn from the seed before the run begins, so that a run can be told, and told again.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between two hosts.
    Cut(u8, u8),
    /// Nothing passes from the first to the second.
    CutOneWay(u8, u8),
    /// Everything passes between them again.
    Mend(u8, u8),
    /// The power goes. Of what was not synced so many batches are there afterwards.
    Crash {
        /// The host.
        host: u8,
        /// Batches of the disk.
        kept: usize,
    },
    /// The node is started again.
    Restart(u8),
    /// The clock is so far ahead of the true time.
    Clock {
        /// The host.
        host: u8,
        /// Milliseconds; negative where it is behind.
        ahead_ms: i64,
    },
    /// Each sync of the disk takes so long.
    Disk {
        /// The host.
        host: u8,
        /// Milliseconds.
        sync_ms: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(one, other) => write!(formatter, "cut n{one} n{other}"),
            Self::CutOneWay(from, to) => write!(formatter, "cut n{from} to n{to}, one way"),
            Self::Mend(one, other) => write!(formatter, "mend n{one} n{other}"),
            Self::Crash { host, kept } => write!(formatter, "crash n{host}, {kept} unsynced batches kept"),
            Self::Restart(host) => write!(formatter, "restart n{host}"),
            Self::Clock { host, ahead_ms } => write!(formatter, "clock of n{host} {ahead_ms} ms ahead"),
            Self::Disk { host, sync_ms } => write!(formatter, "disk of n{host} syncs in {sync_ms} ms"),
        }
    }
}

/// A fault, and when it happens, from the beginning of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}

/// Faults for a run of so many hosts, in order of time. All begin within `lasting`, and are mended by its end.
#[must_use]
pub fn draw(seed: u64, hosts: u8, lasting: Duration) -> Vec<Event> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x0066_6175_6c74_7300);
    let mut events = Vec::new();
    let millis = u64::try_from(lasting.as_millis()).unwrap_or(u64::MAX);
    // Some runs are calm, some are stormy.
    for _ in 0..rng.random_range(0..=12_u32) {
        let begin = rng.random_range(millis / 20..millis);
        let end = rng.random_range(begin..=millis);
        let (at, until) = (Duration::from_millis(begin), Duration::from_millis(end));
        let one = rng.random_range(1..=hosts);
        let other = 1 + (one - 1 + rng.random_range(1..hosts)) % hosts;
        let (fault, mended) = match rng.random_range(0..6_u32) {
            0 | 1 => (Fault::Cut(one, other), Fault::Mend(one, other)),
            2 => (Fault::CutOneWay(one, other), Fault::Mend(one, other)),
            3 => (Fault::Crash { host: one, kept: rng.random_range(0..4) }, Fault::Restart(one)),
            4 => {
                // Beyond the bound of the drift only now and then: such a node is fenced, and takes nothing.
                let bound = if rng.random_range(0..3_u32) == 0 { 5_000 } else { 400 };
                (
                    Fault::Clock { host: one, ahead_ms: rng.random_range(-bound..=bound) },
                    Fault::Clock { host: one, ahead_ms: 0 },
                )
            }
            _ => (Fault::Disk { host: one, sync_ms: rng.random_range(5..500) }, Fault::Disk { host: one, sync_ms: 1 }),
        };
        events.push(Event { at, fault });
        events.push(Event { at: until, fault: mended });
    }
    events.sort_by_key(|event| event.at);
    events
}
