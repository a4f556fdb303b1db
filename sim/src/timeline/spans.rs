//! Faults as they last: each from when it began to what mended it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::{Fault, HostNumber};
use crate::plan::Plan;
use crate::record::Happening;

/// A fault, as long as it lasted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// When it began.
    pub(super) from: Duration,
    /// When it was mended; the same as `from` for what does not last.
    pub(super) until: Duration,
    /// What the page draws it as.
    pub(super) kind: &'static str,
    /// Whom it concerns, none where that is not known.
    pub(super) hosts: Vec<HostNumber>,
    /// What it says.
    pub(super) text: String,
}

/// What begins with a fault, and what ends: each lasting state of the world has a key.
type Key = (&'static str, Vec<HostNumber>);

struct Effect {
    begins: Option<Key>,
    ends: Vec<Key>,
    /// Whether the world mends it by itself when clients have come to their end.
    is_mended_at_the_end: bool,
}

impl Effect {
    fn begins(kind: &'static str, hosts: &[HostNumber]) -> Self {
        Self { begins: Some((kind, sorted(hosts))), ends: vec![(kind, sorted(hosts))], is_mended_at_the_end: true }
    }

    fn ends(kinds: &[&'static str], hosts: &[HostNumber]) -> Self {
        let ends = kinds.iter().map(|kind| (*kind, sorted(hosts))).collect();
        Self { begins: None, ends, is_mended_at_the_end: true }
    }
}

/// A cut between two is the same from either side.
fn sorted(hosts: &[HostNumber]) -> Vec<HostNumber> {
    let mut hosts = hosts.to_vec();
    hosts.sort_unstable();
    hosts
}

fn effect(fault: &Fault) -> Effect {
    match *fault {
        Fault::Cut(one, other) | Fault::CutOneWay(one, other) => Effect::begins("cut", &[one, other]),
        Fault::Hold(one, other) => Effect::begins("hold", &[one, other]),
        Fault::Mend(one, other) => Effect::ends(&["cut", "hold"], &[one, other]),
        Fault::Link { one, other, link: Some(_) } => Effect::begins("link", &[one, other]),
        Fault::Link { one, other, link: None } => Effect::ends(&["link"], &[one, other]),
        Fault::Crash { host, .. } | Fault::Stop(host) | Fault::Wipe(host) | Fault::Restore(host) => {
            Effect::begins("down", &[host])
        }
        Fault::Restart(host) => Effect::ends(&["down", "sync"], &[host]),
        Fault::DiskFull(host) => Effect::begins("full", &[host]),
        Fault::DiskRoom(host) => Effect::ends(&["full"], &[host]),
        Fault::DiskLow { host, is_low: true } => Effect::begins("low", &[host]),
        Fault::DiskLow { host, is_low: false } => Effect::ends(&["low"], &[host]),
        Fault::SyncFails(host) => Effect::begins("sync", &[host]),
        Fault::Disk { host, sync_ms: 0..=1 } => Effect::ends(&["disk"], &[host]),
        Fault::Disk { host, .. } => Effect::begins("disk", &[host]),
        Fault::Clock { host, ahead_ms: 0 } => Effect::ends(&["clock"], &[host]),
        Fault::Clock { host, .. } | Fault::Drift { host, .. } | Fault::Freeze(host) => Effect::begins("clock", &[host]),
        Fault::Stall(host) => Effect::begins("stall", &[host]),
        Fault::Resume(host) => Effect::ends(&["stall"], &[host]),
        Fault::Leave(host) => Effect { is_mended_at_the_end: false, ..Effect::begins("left", &[host]) },
        Fault::Version { host, newest: Some(_) } => Effect::begins("version", &[host]),
        Fault::Version { host, newest: None } => Effect::ends(&["version"], &[host]),
        Fault::Backup(_) | Fault::Forget { .. } => Effect::ends(&[], &[]),
    }
}

/// The hosts a fault names.
fn hosts_of(fault: &Fault) -> Vec<HostNumber> {
    match *fault {
        Fault::Forget { host, member } => vec![host, member],
        Fault::Backup(host) => vec![host],
        _ => {
            let Effect { begins, ends, .. } = effect(fault);
            begins.or_else(|| ends.first().cloned()).map(|(_, hosts)| hosts).unwrap_or_default()
        }
    }
}

/// All that the world may say of faults in a run of a plan, by how it is displayed: what was planned, and what mends.
fn said(plan: &Plan) -> BTreeMap<String, Fault> {
    let nodes = plan.scenario.nodes();
    let mut all: Vec<Fault> = plan.faults.iter().map(|event| event.fault.clone()).collect();
    for one in 1..=nodes {
        all.extend([
            Fault::Restart(one),
            Fault::DiskRoom(one),
            Fault::DiskLow { host: one, is_low: false },
            Fault::Disk { host: one, sync_ms: 1 },
            Fault::Clock { host: one, ahead_ms: 0 },
            Fault::Resume(one),
            Fault::Version { host: one, newest: None },
        ]);
        for other in (1..=nodes).filter(|other| *other != one) {
            all.extend([Fault::Mend(one, other), Fault::Link { one, other, link: None }]);
        }
    }
    all.into_iter().map(|fault| (fault.to_string(), fault)).collect()
}

/// All faults of a run, in the order they began. What mends something that is broken shows as its end alone.
pub(super) fn of(plan: &Plan, happenings: &[Happening], lasted: Duration) -> Vec<Span> {
    let said = said(plan);
    let mut open: BTreeMap<Key, (usize, bool)> = BTreeMap::new();
    let mut spans: Vec<Span> = Vec::new();
    for Happening { at, text } in happenings {
        let point = |hosts| Span { from: *at, until: *at, kind: "point", hosts, text: text.clone() };
        let Some(fault) = said.get(text) else {
            spans.push(point(Vec::new()));
            continue;
        };
        let Effect { begins, ends, is_mended_at_the_end } = effect(fault);
        let ended: Vec<_> = ends.iter().filter_map(|key| open.remove(key)).collect();
        for (span, _) in &ended {
            spans[*span].until = *at;
        }
        if let Some(key) = begins {
            spans.push(Span { kind: key.0, ..point(hosts_of(fault)) });
            open.insert(key, (spans.len() - 1, is_mended_at_the_end));
        } else if ended.is_empty() && ends.is_empty() {
            spans.push(point(hosts_of(fault)));
        }
    }
    for (span, is_mended) in open.into_values() {
        let end = if is_mended { plan.scenario.lasting.min(lasted) } else { lasted };
        spans[span].until = end.max(spans[span].from);
    }
    spans
}
