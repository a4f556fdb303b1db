//! How messages travel at the moment, beyond the time a segment takes: what is lost and sent again, and how much a link carries.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use crate::scenario::Link;

/// How long a sender waits before it sends a lost segment again: the least of Linux, doubled each time (RFC 6298, section 5.5).
const RESEND: Duration = Duration::from_millis(200);

/// So often is a segment sent again.
const RESENDS_MAX: u32 = 6;

/// What has arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Segments: what one side wrote at once, in pieces of 16 KiB at most.
    pub segments: u64,
    /// Bytes of them, without the headers of TCP and of what is below.
    pub bytes: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.segments += other.segments;
        self.bytes += other.bytes;
    }
}

impl Traffic {
    /// What has arrived since so much had.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self { segments: self.segments.saturating_sub(before.segments), bytes: self.bytes.saturating_sub(before.bytes) }
    }
}

/// See the module. Clones are of the same weather.
#[derive(Debug, Clone)]
pub struct Weather(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    rng: StdRng,
    /// From one address to another.
    links: BTreeMap<(IpAddr, IpAddr), Way>,
}

#[derive(Debug)]
struct Way {
    link: Link,
    /// Bytes a link has yet to carry keep it busy so long, from the time of the last ones.
    busy: Duration,
    asked: Option<Duration>,
    carried: Traffic,
}

impl Way {
    const fn of(link: Link) -> Self {
        Self { link, busy: Duration::ZERO, asked: None, carried: Traffic { segments: 0, bytes: 0 } }
    }
}

impl Weather {
    /// Links that lose nothing and carry everything.
    #[must_use]
    pub fn fair(seed: u64) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x0077_6561_7468_6572);
        Self(Arc::new(Mutex::new(State { rng, links: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How messages travel from now on, both ways.
    pub fn set(&self, one: IpAddr, other: IpAddr, link: Link) {
        let links = &mut self.state().links;
        for way in [(one, other), (other, one)] {
            let carried = links.get(&way).map(|way| way.carried).unwrap_or_default();
            links.insert(way, Way { carried, ..Way::of(link) });
        }
    }

    /// What has arrived from one address at another.
    #[must_use]
    pub fn carried(&self, from: IpAddr, to: IpAddr) -> Traffic {
        self.state().links.get(&(from, to)).map(|way| way.carried).unwrap_or_default()
    }

    /// How much later a segment that arrives now, since the beginning of the run, is there for whoever reads.
    pub(super) fn delay(&self, from: IpAddr, to: IpAddr, bytes: usize, now: Duration) -> Duration {
        let State { rng, links } = &mut *self.state();
        let way = links.entry((from, to)).or_insert_with(|| Way::of(Link::of_millis(0)));
        way.carried += Traffic { segments: 1, bytes: bytes as u64 };
        let mut delay = Duration::ZERO;
        if way.link.loss > 0.0 {
            let lost = (0..RESENDS_MAX).take_while(|_| rng.random_bool(way.link.loss.clamp(0.0, 1.0)));
            delay += lost.map(|time| RESEND * 2_u32.pow(time)).sum::<Duration>();
        }
        if let Some(bandwidth) = way.link.bandwidth {
            let passed = way.asked.map_or(Duration::ZERO, |asked| now.saturating_sub(asked));
            way.asked = Some(now);
            way.busy =
                way.busy.saturating_sub(passed) + Duration::from_secs_f64(bytes as f64 / bandwidth.max(1) as f64);
            delay += way.busy;
        }
        delay
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn a_link_carries_so_much_and_no_more() {
        let (weather, now) = (Weather::fair(1), Duration::ZERO);
        assert_eq!(weather.delay(ONE, OTHER, 1_000, now), Duration::ZERO);
        weather.set(ONE, OTHER, Link { bandwidth: Some(10_000), ..Link::of_millis(1) });
        assert_eq!(weather.delay(ONE, OTHER, 1_000, now), Duration::from_millis(100));
        assert_eq!(weather.delay(ONE, OTHER, 1_000, now), Duration::from_millis(200));
        assert_eq!(weather.delay(OTHER, ONE, 1_000, now), Duration::from_millis(100), "each way");
        assert_eq!(weather.delay(ONE, OTHER, 1_000, now + Duration::from_secs(1)), Duration::from_millis(100));
        assert_eq!(weather.carried(ONE, OTHER), Traffic { segments: 4, bytes: 4_000 });
    }

    #[test]
    fn what_is_lost_comes_later() {
        let (weather, now) = (Weather::fair(1), Duration::ZERO);
        weather.set(ONE, OTHER, Link { loss: 0.5, ..Link::of_millis(1) });
        let late = (0..1_000).filter(|_| weather.delay(ONE, OTHER, 1, now) >= RESEND).count();
        assert!((400..600).contains(&late), "{late}");
    }
}
