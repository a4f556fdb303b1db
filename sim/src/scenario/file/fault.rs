//! One `[[fault]]`: what goes wrong, and what mends it.

use std::ops::RangeInclusive;
use std::time::Duration;

use plimsoll_wire::peer::v1::SPOKEN;

use super::links::Said;
use super::place::Places;
use super::reader::{Item, Reader};
use crate::faults::{Fault, HostNumber};
use crate::scenario::Links;
use crate::scenario::quantity;

/// What a fault needs to know of the rest of the file.
pub(super) struct Context<'a> {
    /// Where hosts are.
    pub(super) places: &'a Places,
    /// How messages travel.
    pub(super) links: &'a Links,
    /// No fault happens later.
    pub(super) lasting: Duration,
}

/// What happens at `at`, and at `until`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Turn {
    /// What happens.
    pub(super) begin: Vec<Fault>,
    /// What mends it; `None` if nothing does.
    pub(super) end: Option<Vec<Fault>>,
}

/// What a fault can be, by its key, but for those that are many faults: `flap` and `rolling`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Cut,
    CutOneWay,
    Hold,
    Mend,
    Link,
    LinkAsEver,
    Flap,
    Crash,
    Stop,
    Restart,
    Wipe,
    Backup,
    Restore,
    DiskFull,
    DiskRoom,
    DiskLow,
    DiskNotLow,
    SyncFails,
    SlowDisk,
    Clock,
    Drift,
    Freeze,
    Stall,
    Resume,
    Leave,
    Forget,
    Version,
    Rolling,
}

/// The keys of all actions.
pub(super) const ACTIONS: [(&str, Action); 28] = [
    ("cut", Action::Cut),
    ("cut_one_way", Action::CutOneWay),
    ("hold", Action::Hold),
    ("mend", Action::Mend),
    ("link", Action::Link),
    ("link_as_ever", Action::LinkAsEver),
    ("flap", Action::Flap),
    ("crash", Action::Crash),
    ("stop", Action::Stop),
    ("restart", Action::Restart),
    ("wipe", Action::Wipe),
    ("backup", Action::Backup),
    ("restore", Action::Restore),
    ("disk_full", Action::DiskFull),
    ("disk_room", Action::DiskRoom),
    ("disk_low", Action::DiskLow),
    ("disk_not_low", Action::DiskNotLow),
    ("sync_fails", Action::SyncFails),
    ("slow_disk", Action::SlowDisk),
    ("clock", Action::Clock),
    ("drift", Action::Drift),
    ("freeze", Action::Freeze),
    ("stall", Action::Stall),
    ("resume", Action::Resume),
    ("leave", Action::Leave),
    ("forget", Action::Forget),
    ("version", Action::Version),
    ("rolling", Action::Rolling),
];

const KEPT: RangeInclusive<i64> = 0..=1_000;

const SYNC: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(1);

const AHEAD_MS_MAX: i64 = 3_600_000;

const PPM: RangeInclusive<i64> = -500_000..=500_000;

/// What an action does to one host: what happens, and what mends it.
type OfHost = Box<dyn Fn(HostNumber) -> (Fault, Option<Vec<Fault>>)>;

/// Reads what an action does, from the table in which its key is.
pub(super) fn read(table: &mut Reader<'_>, action: (&'static str, Action), context: &Context<'_>) -> Option<Turn> {
    let (key, action) = action;
    match action {
        Action::Cut | Action::CutOneWay | Action::Hold | Action::Mend | Action::Link | Action::LinkAsEver => {
            of_pairs(table, (key, action), context)
        }
        Action::Forget => forget(table, context.places),
        _ => {
            let hosts = table.required(key).and_then(|item| context.places.hosts(item));
            let of_host = of_host(table, action)?;
            let (begin, end): (Vec<_>, Vec<_>) = hosts?.into_iter().map(of_host).unzip();
            let end: Option<Vec<Vec<Fault>>> = end.into_iter().collect();
            Some(Turn { begin, end: end.map(|end| end.concat()) })
        }
    }
}

fn of_pairs(table: &mut Reader<'_>, (key, action): (&'static str, Action), context: &Context<'_>) -> Option<Turn> {
    let pairs = table.required(key).and_then(|item| context.places.pairs(&item));
    let said = if action == Action::Link { Said::read(table) } else { Said::default() };
    if action == Action::Link && said == Said::default() {
        table.wrong("says nothing of the link: give latency, jitter, loss or bandwidth");
    }
    let fault = |(one, other): (HostNumber, HostNumber)| match action {
        Action::Cut => Fault::Cut(one, other),
        Action::CutOneWay => Fault::CutOneWay(one, other),
        Action::Hold => Fault::Hold(one, other),
        Action::Link => {
            let places = context.places;
            let link = context.links.of(places.region_of(one), places.region_of(other));
            Fault::Link { one, other, link: Some(said.of(link)) }
        }
        Action::LinkAsEver => Fault::Link { one, other, link: None },
        _ => Fault::Mend(one, other),
    };
    let mended = |(one, other): (HostNumber, HostNumber)| match action {
        Action::Link => Fault::Link { one, other, link: None },
        _ => Fault::Mend(one, other),
    };
    let pairs = pairs?;
    let is_mendable = !matches!(action, Action::Mend | Action::LinkAsEver);
    Some(Turn {
        begin: pairs.iter().copied().map(fault).collect(),
        end: is_mendable.then(|| pairs.iter().copied().map(mended).collect()),
    })
}

fn forget(table: &mut Reader<'_>, places: &Places) -> Option<Turn> {
    let members = table.required("forget").and_then(|item| places.hosts(item));
    let told = table.required("told").and_then(|item| places.hosts(item));
    let (members, told) = (members?, told?);
    if members.iter().any(|member| told.contains(member)) {
        table.wrong("a host cannot be told to forget itself");
    }
    let pairs = told.iter().flat_map(|host| members.iter().map(|member| (*host, *member)));
    Some(Turn { begin: pairs.map(|(host, member)| Fault::Forget { host, member }).collect(), end: None })
}

fn of_host(table: &mut Reader<'_>, action: Action) -> Option<OfHost> {
    match action {
        Action::Crash => {
            let kept = table.item("kept").map_or(Some(0), |item| item.whole(KEPT))?;
            let kept = usize::try_from(kept).ok()?;
            Some(Box::new(move |host| (Fault::Crash { host, kept }, Some(vec![Fault::Restart(host)]))))
        }
        Action::SlowDisk => {
            let sync = table.required("sync").and_then(|item| item.duration(SYNC))?;
            let sync_ms = u64::try_from(sync.as_millis()).ok()?;
            let mended = |host| vec![Fault::Disk { host, sync_ms: 1 }];
            Some(Box::new(move |host| (Fault::Disk { host, sync_ms }, Some(mended(host)))))
        }
        Action::Clock => {
            let ahead_ms = table.required("ahead").and_then(|item| ahead_ms(&item))?;
            Some(Box::new(move |host| (Fault::Clock { host, ahead_ms }, Some(right(host)))))
        }
        Action::Drift => {
            let ppm = table.required("ppm").and_then(|item| item.whole(PPM))?;
            let ppm = i32::try_from(ppm).ok()?;
            Some(Box::new(move |host| (Fault::Drift { host, ppm }, Some(right(host)))))
        }
        Action::Version => {
            let newest = table.required("newest").and_then(|item| newest(&item))?;
            let mended = |host| vec![Fault::Version { host, newest: None }];
            Some(Box::new(move |host| (Fault::Version { host, newest }, Some(mended(host)))))
        }
        _ => Some(plain(action)),
    }
}

/// The clock of a host is right.
fn right(host: HostNumber) -> Vec<Fault> {
    vec![Fault::Clock { host, ahead_ms: 0 }]
}

/// Actions of which nothing more is said.
fn plain(action: Action) -> OfHost {
    let started = |host| Some(vec![Fault::Restart(host)]);
    let replaced = |host| vec![Fault::Crash { host, kept: 0 }, Fault::Restart(host)];
    Box::new(move |host| match action {
        Action::Stop => (Fault::Stop(host), started(host)),
        Action::Wipe => (Fault::Wipe(host), started(host)),
        Action::Restore => (Fault::Restore(host), started(host)),
        Action::Backup => (Fault::Backup(host), None),
        Action::DiskFull => {
            let mut mended = vec![Fault::DiskRoom(host)];
            mended.extend(replaced(host));
            (Fault::DiskFull(host), Some(mended))
        }
        Action::DiskRoom => (Fault::DiskRoom(host), None),
        Action::DiskLow => (Fault::DiskLow { host, is_low: true }, Some(vec![Fault::DiskLow { host, is_low: false }])),
        Action::DiskNotLow => (Fault::DiskLow { host, is_low: false }, None),
        Action::SyncFails => (Fault::SyncFails(host), Some(replaced(host))),
        Action::Freeze => (Fault::Freeze(host), Some(right(host))),
        Action::Stall => (Fault::Stall(host), Some(vec![Fault::Resume(host)])),
        Action::Resume => (Fault::Resume(host), None),
        Action::Leave => (Fault::Leave(host), None),
        _ => (Fault::Restart(host), None),
    })
}

fn ahead_ms(item: &Item<'_>) -> Option<i64> {
    let millis = item.text().map(|text| quantity::signed_millis(text).filter(|millis| millis.abs() <= AHEAD_MS_MAX))?;
    if millis.is_none() {
        item.wrong("must be a duration from \"-1h\" to \"1h\", negative where the clock is behind");
    }
    millis
}

/// The newest version of the peer protocol a node speaks: a number, `previous`, or `all`.
pub(super) fn newest(item: &Item<'_>) -> Option<Option<u16>> {
    let previous = SPOKEN.newest.saturating_sub(1).max(SPOKEN.oldest);
    match item.plain()?.as_str() {
        "all" => Some(None),
        "previous" => Some(Some(previous)),
        number => {
            let version = number.parse().ok().filter(|version| (SPOKEN.oldest..=SPOKEN.newest).contains(version));
            if version.is_none() {
                let (oldest, newest) = (SPOKEN.oldest, SPOKEN.newest);
                item.wrong(format!("must be a version from {oldest} to {newest}, \"previous\" or \"all\""));
            }
            version.map(Some)
        }
    }
}
