//! What goes wrong, and what mends it.

mod swarm;

use std::fmt;
use std::time::Duration;

use crate::scenario::Link;

pub use swarm::{Kind, Swarm, draw};

/// A node's host, by its number, from 1.
pub type HostNumber = u8;

/// Something that goes wrong, or is mended.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing passes between two hosts, and what was on the way is lost: connections between them are dead, and do not know it.
    Cut(HostNumber, HostNumber),
    /// Nothing passes from the first to the second.
    CutOneWay(HostNumber, HostNumber),
    /// What one host sends the other stands still, both ways, and comes once it is mended.
    Hold(HostNumber, HostNumber),
    /// Everything passes between them again.
    Mend(HostNumber, HostNumber),
    /// Messages between them travel otherwise; `None` for how the scenario has it.
    Link {
        /// One of them.
        one: HostNumber,
        /// The other.
        other: HostNumber,
        /// How.
        link: Option<Link>,
    },
    /// The power goes. Of what was not synced so many batches are there afterwards, or so many pages, if the disk has pages.
    Crash {
        /// The host.
        host: HostNumber,
        /// Batches, or pages.
        kept: usize,
    },
    /// The node is told to stop, and does so in good order.
    Stop(HostNumber),
    /// The node is started again, after a crash or a stop.
    Restart(HostNumber),
    /// The power goes, and the disk is replaced by an empty one.
    Wipe(HostNumber),
    /// A copy is made of what a power cut would leave on the disk.
    Backup(HostNumber),
    /// The power goes, and the disk is as the last backup has it; empty, if there is none.
    Restore(HostNumber),
    /// The disk has no room for anything more. The node fails, and is of use again once there is room and it was restarted.
    DiskFull(HostNumber),
    /// The disk has room again.
    DiskRoom(HostNumber),
    /// Less room is left than a node keeps in reserve; or there is room again.
    DiskLow {
        /// The host.
        host: HostNumber,
        /// Whether it is low.
        is_low: bool,
    },
    /// The next sync fails. The node fails with it, until it is restarted.
    SyncFails(HostNumber),
    /// Each sync of the disk takes so long.
    Disk {
        /// The host.
        host: HostNumber,
        /// Milliseconds.
        sync_ms: u64,
    },
    /// The clock is so far ahead of the true time, and goes as fast.
    Clock {
        /// The host.
        host: HostNumber,
        /// Milliseconds; negative where it is behind.
        ahead_ms: i64,
    },
    /// The clock gains so much from now on.
    Drift {
        /// The host.
        host: HostNumber,
        /// Parts in a million; negative where it loses.
        ppm: i32,
    },
    /// The clock stands still, until it is set.
    Freeze(HostNumber),
    /// The host stands still: nothing it sends arrives, nothing arrives at it, and no sync ends. Its own timers go on.
    Stall(HostNumber),
    /// The host goes on.
    Resume(HostNumber),
    /// An admin lets the node leave. If it could, it is stopped for good.
    Leave(HostNumber),
    /// An admin tells one node to forget whoever was at the address of another, and was replaced.
    Forget {
        /// Who is told.
        host: HostNumber,
        /// Who is forgotten.
        member: HostNumber,
    },
    /// From its next start on the node speaks no newer version of the peer protocol than this.
    Version {
        /// The host.
        host: HostNumber,
        /// The newest; `None` for all it can.
        newest: Option<u16>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(one, other) => write!(formatter, "cut n{one} n{other}"),
            Self::CutOneWay(from, to) => write!(formatter, "cut n{from} to n{to}, one way"),
            Self::Hold(one, other) => write!(formatter, "hold what is between n{one} and n{other}"),
            Self::Mend(one, other) => write!(formatter, "mend n{one} n{other}"),
            Self::Link { one, other, link: None } => write!(formatter, "link n{one} n{other} as ever"),
            Self::Link { one, other, link: Some(Link { latency, jitter, loss, bandwidth }) } => {
                write!(formatter, "link n{one} n{other} takes {latency:?} to {:?}, loses {loss}", *latency + *jitter)?;
                bandwidth.map_or(Ok(()), |bytes| write!(formatter, ", carries {bytes} B/s"))
            }
            Self::Crash { host, kept } => write!(formatter, "crash n{host}, {kept} unsynced writes kept"),
            Self::Stop(host) => write!(formatter, "stop n{host}"),
            Self::Restart(host) => write!(formatter, "restart n{host}"),
            Self::Wipe(host) => write!(formatter, "wipe n{host}"),
            Self::Backup(host) => write!(formatter, "back up n{host}"),
            Self::Restore(host) => write!(formatter, "restore n{host} from its backup"),
            Self::DiskFull(host) => write!(formatter, "disk of n{host} full"),
            Self::DiskRoom(host) => write!(formatter, "disk of n{host} has room"),
            Self::DiskLow { host, is_low: true } => write!(formatter, "disk of n{host} low"),
            Self::DiskLow { host, is_low: false } => write!(formatter, "disk of n{host} not low"),
            Self::SyncFails(host) => write!(formatter, "next sync of n{host} fails"),
            Self::Disk { host, sync_ms } => write!(formatter, "disk of n{host} syncs in {sync_ms} ms"),
            Self::Clock { host, ahead_ms } => write!(formatter, "clock of n{host} {ahead_ms} ms ahead"),
            Self::Drift { host, ppm } => write!(formatter, "clock of n{host} gains {ppm} ppm"),
            Self::Freeze(host) => write!(formatter, "clock of n{host} stands still"),
            Self::Stall(host) => write!(formatter, "stall n{host}"),
            Self::Resume(host) => write!(formatter, "resume n{host}"),
            Self::Leave(host) => write!(formatter, "n{host} leaves"),
            Self::Forget { host, member } => write!(formatter, "n{host} forgets n{member}"),
            Self::Version { host, newest: Some(newest) } => write!(formatter, "n{host} speaks up to version {newest}"),
            Self::Version { host, newest: None } => write!(formatter, "n{host} speaks all versions"),
        }
    }
}

/// A fault, and when it happens, from the beginning of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// What.
    pub fault: Fault,
}
