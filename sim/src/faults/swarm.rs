//! Faults by chance, within limits.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{Event, Fault};
use crate::scenario::{Link, Scenario};

/// A kind of fault that can be drawn. Each begins within the run and is mended by its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Two hosts are cut off from each other.
    Cut,
    /// One host does not reach another.
    CutOneWay,
    /// What two hosts send each other is held back.
    Hold,
    /// A region is cut off from all others.
    RegionCut,
    /// A link comes and goes.
    Flap,
    /// A link is slow, loses, or carries little.
    Link,
    /// The power goes.
    Crash,
    /// A node is stopped in good order and started again.
    Stop,
    /// All nodes are stopped and started, one after the other.
    Rolling,
    /// A disk is replaced by an empty one.
    Wipe,
    /// A disk is as it was some time ago.
    Restore,
    /// A disk is full, or low.
    DiskFull,
    /// A sync fails.
    SyncFails,
    /// Syncs are slow.
    SlowDisk,
    /// A clock is wrong, or goes wrong, or stands still.
    Clock,
    /// A host stands still.
    Stall,
    /// A node is older than the others for a time.
    Version,
    /// A node is there only later than the others.
    Join,
    /// A node leaves, and another one takes its place.
    Leave,
    /// A disk is replaced, and what was on it is forgotten as a member.
    Replace,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Cut,
        Self::CutOneWay,
        Self::Hold,
        Self::RegionCut,
        Self::Flap,
        Self::Link,
        Self::Crash,
        Self::Stop,
        Self::Rolling,
        Self::Wipe,
        Self::Restore,
        Self::DiskFull,
        Self::SyncFails,
        Self::SlowDisk,
        Self::Clock,
        Self::Stall,
        Self::Version,
        Self::Join,
        Self::Leave,
        Self::Replace,
    ];
}

/// What may be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swarm {
    /// How many faults a run has at most: 1 to 1,000. Some runs are calm, some are stormy.
    pub at_most: u32,
    /// Of which kinds.
    pub kinds: BTreeSet<Kind>,
}

impl Default for Swarm {
    fn default() -> Self {
        Self { at_most: 12, kinds: Kind::ALL.into() }
    }
}

/// The chance of a kind of fault, a run's own.
struct Chance<'a> {
    rng: StdRng,
    regions: Vec<String>,
    scenario: &'a Scenario,
    events: Vec<Event>,
}

/// Faults for a run of a scenario, in order of time. All begin within it, and are mended by its end.
#[must_use]
pub fn draw(seed: u64, swarm: &Swarm, scenario: &Scenario) -> Vec<Event> {
    let kinds: Vec<Kind> = swarm.kinds.iter().copied().collect();
    let mut chance = Chance {
        rng: StdRng::seed_from_u64(seed ^ 0x0066_6175_6c74_7300),
        regions: scenario.region_of_each(),
        scenario,
        events: Vec::new(),
    };
    if kinds.is_empty() {
        return Vec::new();
    }
    for _ in 0..chance.rng.random_range(0..=swarm.at_most) {
        let kind = kinds[chance.rng.random_range(0..kinds.len())];
        chance.draw(kind);
    }
    chance.events.sort_by_key(|event| event.at);
    chance.events
}

impl Chance<'_> {
    fn draw(&mut self, kind: Kind) {
        let (at, until) = self.times();
        let (one, other) = self.two_hosts();
        let (fault, mended) = match kind {
            Kind::Cut => (Fault::Cut(one, other), Fault::Mend(one, other)),
            Kind::CutOneWay => (Fault::CutOneWay(one, other), Fault::Mend(one, other)),
            Kind::Hold => (Fault::Hold(one, other), Fault::Mend(one, other)),
            Kind::RegionCut => return self.cut_region(one, at, until),
            Kind::Flap => return self.flap(one, other, at, until),
            Kind::Link => {
                let link = Some(self.bad_link());
                (Fault::Link { one, other, link }, Fault::Link { one, other, link: None })
            }
            Kind::Crash => return self.crash(one, at, until),
            Kind::Stop => (Fault::Stop(one), Fault::Restart(one)),
            Kind::Rolling => return self.roll(at, until),
            Kind::Wipe => (Fault::Wipe(one), Fault::Restart(one)),
            Kind::Restore => {
                self.push(at, Fault::Backup(one));
                let later = self.between(at, until);
                self.push(later, Fault::Restore(one));
                return self.push(until, Fault::Restart(one));
            }
            Kind::Join => {
                self.push(Duration::ZERO, Fault::Crash { host: one, kept: 0 });
                return self.push(at, Fault::Restart(one));
            }
            Kind::Leave => {
                self.push(at, Fault::Leave(one));
                self.push(until, Fault::Wipe(one));
                return self.push(until, Fault::Restart(one));
            }
            Kind::Replace => {
                self.push(at, Fault::Wipe(one));
                let later = self.between(at, until);
                self.push(later, Fault::Restart(one));
                return self.push(until, Fault::Forget { host: other, member: one });
            }
            Kind::DiskFull if self.rng.random_range(0..2_u32) == 0 => {
                (Fault::DiskLow { host: one, is_low: true }, Fault::DiskLow { host: one, is_low: false })
            }
            Kind::DiskFull => {
                self.push(at, Fault::DiskFull(one));
                self.push(until, Fault::DiskRoom(one));
                (Fault::Crash { host: one, kept: 0 }, Fault::Restart(one))
            }
            Kind::SyncFails => {
                self.push(at, Fault::SyncFails(one));
                let later = self.between(at, until);
                self.push(later, Fault::Crash { host: one, kept: 0 });
                return self.push(until, Fault::Restart(one));
            }
            Kind::SlowDisk => (
                Fault::Disk { host: one, sync_ms: self.rng.random_range(5..500) },
                Fault::Disk { host: one, sync_ms: 1 },
            ),
            Kind::Clock => (self.wrong_clock(one), Fault::Clock { host: one, ahead_ms: 0 }),
            Kind::Stall => (Fault::Stall(one), Fault::Resume(one)),
            Kind::Version => {
                self.push(at, Fault::Version { host: one, newest: Some(1) });
                self.push(at, Fault::Stop(one));
                let later = self.between(at, until);
                self.push(later, Fault::Restart(one));
                self.push(until, Fault::Version { host: one, newest: None });
                (Fault::Stop(one), Fault::Restart(one))
            }
        };
        // What ends with a restart begins only when it ends, if it began earlier with something else.
        let begins = if matches!(kind, Kind::DiskFull | Kind::Version) && fault.takes_down() { until } else { at };
        self.push(begins, fault);
        self.push(until, mended);
    }

    /// A power cut: now and then of a disk that was slow before, or with a clock that is behind afterwards.
    fn crash(&mut self, host: u8, at: Duration, until: Duration) {
        if self.rng.random_range(0..2_u32) == 0 {
            let since = at.saturating_sub(Duration::from_millis(self.rng.random_range(100..2_000)));
            let sync_ms = self.rng.random_range(20..400);
            self.push(since, Fault::Disk { host, sync_ms });
            self.push(until, Fault::Disk { host, sync_ms: 1 });
        }
        let mut up = until;
        if self.rng.random_range(0..3_u32) == 0 {
            up = until.min(at + Duration::from_millis(self.rng.random_range(10..300)));
            let ahead_ms = self.rng.random_range(-450..-50);
            self.push(up, Fault::Clock { host, ahead_ms });
            self.push(until, Fault::Clock { host, ahead_ms: 0 });
        }
        let kept = self.rng.random_range(0..4);
        self.push(at, Fault::Crash { host, kept });
        self.push(up, Fault::Restart(host));
    }

    fn push(&mut self, at: Duration, fault: Fault) {
        self.events.push(Event { at, fault });
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + to.saturating_sub(from).mul_f64(self.rng.random_range(0.0..=1.0))
    }

    fn times(&mut self) -> (Duration, Duration) {
        let lasting = self.scenario.lasting;
        let at = self.between(lasting / 20, lasting);
        (at, self.between(at, lasting))
    }

    fn two_hosts(&mut self) -> (u8, u8) {
        let hosts = self.scenario.nodes();
        let one = self.rng.random_range(1..=hosts);
        (one, 1 + (one - 1 + self.rng.random_range(1..hosts)) % hosts)
    }

    fn cut_region(&mut self, of: u8, at: Duration, until: Duration) {
        let region = self.regions[usize::from(of) - 1].clone();
        let hosts: Vec<(u8, bool)> = (1..).zip(self.regions.iter().map(|other| *other == region)).collect();
        for (one, _) in hosts.iter().filter(|(_, is_inside)| *is_inside) {
            for (other, _) in hosts.iter().filter(|(_, is_inside)| !*is_inside) {
                self.push(at, Fault::Cut(*one, *other));
                self.push(until, Fault::Mend(*one, *other));
            }
        }
    }

    fn flap(&mut self, one: u8, other: u8, at: Duration, until: Duration) {
        let period = Duration::from_millis(self.rng.random_range(100..3_000));
        let mut now = at;
        while now < until {
            let is_cut = self.rng.random_range(0..2_u32) == 0;
            self.push(now, if is_cut { Fault::Cut(one, other) } else { Fault::Hold(one, other) });
            self.push((now + period / 2).min(until), Fault::Mend(one, other));
            now += period;
        }
    }

    fn bad_link(&mut self) -> Link {
        Link {
            latency: Duration::from_millis(self.rng.random_range(1..400)),
            jitter: Duration::from_millis(self.rng.random_range(0..300)),
            loss: self.rng.random_range(0.0..0.2),
            bandwidth: (self.rng.random_range(0..2_u32) == 0).then(|| self.rng.random_range(5_000..200_000)),
        }
    }

    fn wrong_clock(&mut self, host: u8) -> Fault {
        // Beyond the bound of the drift only now and then: such a node is fenced, and takes nothing.
        match self.rng.random_range(0..6_u32) {
            0 => Fault::Clock { host, ahead_ms: self.rng.random_range(-5_000..=5_000) },
            1 => Fault::Freeze(host),
            2 => Fault::Drift { host, ppm: self.rng.random_range(-50_000..=50_000) },
            _ => Fault::Clock { host, ahead_ms: self.rng.random_range(-400..=400) },
        }
    }

    fn roll(&mut self, at: Duration, until: Duration) {
        let hosts = self.scenario.nodes();
        let each = until.saturating_sub(at) / u32::from(hosts);
        for (host, begin) in (1..=hosts).zip((0..).map(|turn| at + each * turn)) {
            self.push(begin, Fault::Stop(host));
            self.push(begin + each, Fault::Restart(host));
        }
    }
}

impl Fault {
    /// Whether the clock of a host is another one after it.
    #[must_use]
    pub fn touches_clock_of(&self, number: u8) -> bool {
        matches!(*self, Self::Clock { host, .. } | Self::Drift { host, .. } | Self::Freeze(host) if host == number)
    }

    /// Whether the node of a host is down after it.
    #[must_use]
    pub const fn takes_down(&self) -> bool {
        matches!(self, Self::Crash { .. } | Self::Stop(_) | Self::Wipe(_) | Self::Restore(_))
    }
}
