//! A scenario as a file, with all that goes wrong written out: what was drawn for a seed can so be looked at, and changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::node::DISKS;
use crate::faults::{Event, Fault, HostNumber};
use crate::scenario::quantity::shown;
use crate::scenario::{Assertion, Link, Scenario, Workload};

/// A file of a scenario in which these faults go wrong, in this order, and nothing by chance. [`read`](super::read) makes of it the
/// scenario it was made of, but for that. Times are rounded up to the millisecond, which is the world's own step; faults after
/// the end of the run are left out.
#[must_use]
pub fn write(scenario: &Scenario, faults: &[Event]) -> String {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = push(&mut text, scenario, faults);
    text
}

fn push(text: &mut String, scenario: &Scenario, faults: &[Event]) -> std::fmt::Result {
    let Scenario { name, lasting, calm, regions, links, settings, workload, unposted, assertions, .. } = scenario;
    writeln!(text, "name = \"{name}\"\nlasting = \"{}\"\ncalm = \"{}\"", shown(*lasting), shown(*calm))?;
    if !assertions.is_empty() {
        writeln!(text, "assert = [")?;
        assertions.iter().try_for_each(|assertion| writeln!(text, "    \"{}\",", line_of(assertion)))?;
        writeln!(text, "]")?;
    }
    for region in regions {
        writeln!(text, "\n[[region]]\nname = \"{}\"\nnodes = {}", region.name, region.nodes)?;
    }
    let of = |link: &Link| pairs_of(link).map(|(key, value)| format!("{key} = {value}")).join(", ");
    writeln!(text, "\n[links]\nwithin = {{ {} }}\nbetween = {{ {} }}", of(&links.within), of(&links.between))?;
    for ((one, other), link) in &links.pairs {
        writeln!(text, "\n[[links.pair]]\nregions = [\"{one}\", \"{other}\"]")?;
        pairs_of(link).iter().try_for_each(|(key, value)| writeln!(text, "{key} = {value}"))?;
    }
    let disk = DISKS.iter().find(|(_, disk)| *disk == settings.disk).map_or("", |(name, _)| name);
    writeln!(text, "\n[node]\ndisk = \"{disk}\"")?;
    settings.product.iter().try_for_each(|(key, value)| writeln!(text, "{key} = {}", Value::from(value.as_str())))?;
    push_workload(text, workload)?;
    push_unposted(text, unposted)?;
    faults.iter().filter(|event| event.at <= *lasting).try_for_each(|event| push_fault(text, event))
}

fn line_of(assertion: &Assertion) -> String {
    match assertion {
        // As it is told, a part is rounded.
        Assertion::Acknowledged { at_least, region } => {
            let region = region.as_ref().map_or(String::new(), |region| format!(" in {region}"));
            format!("acknowledged at least {at_least}{region}")
        }
        assertion => assertion.to_string(),
    }
}

fn pairs_of(link: &Link) -> [(&'static str, String); 4] {
    let Link { latency, jitter, loss, bandwidth } = link;
    let bandwidth = bandwidth.map_or("none".to_owned(), |bytes| format!("{bytes}B/s"));
    [
        ("latency", format!("\"{}\"", shown(*latency))),
        ("jitter", format!("\"{}\"", shown(*jitter))),
        ("loss", format!("{loss:?}")),
        ("bandwidth", format!("\"{bandwidth}\"")),
    ]
}

fn push_workload(text: &mut String, workload: &Workload) -> std::fmt::Result {
    let Workload { after, artifacts, posts, resolves, retires, doubled, reads, watches, imports } = workload;
    writeln!(text, "\n[workload]\nafter = \"{}\"", shown(*after))?;
    writeln!(text, "artifacts = {artifacts}\nposts = {posts:?}\nresolves = {resolves:?}")?;
    writeln!(text, "retires = {retires:?}\ndoubled = {doubled:?}\nreads = {reads:?}")?;
    writeln!(text, "watches = {watches:?}\nimports = {imports}")
}

/// Lines of ids are filled up to so many columns.
const COLUMNS: usize = 100;

fn push_unposted(text: &mut String, unposted: &BTreeSet<String>) -> std::fmt::Result {
    if unposted.is_empty() {
        return Ok(());
    }
    write!(text, "without = [")?;
    let mut left = 0;
    for id in unposted {
        // Quotes, comma, and a blank.
        let taken = id.len() + 4;
        if left < taken {
            write!(text, "\n   ")?;
            left = COLUMNS;
        }
        write!(text, " \"{id}\",")?;
        left -= taken;
    }
    writeln!(text, "\n]")
}

fn push_fault(text: &mut String, event: &Event) -> std::fmt::Result {
    let at = Duration::from_millis(event.at.as_nanos().div_ceil(1_000_000) as u64);
    writeln!(text, "\n[[fault]]\nat = \"{}\"", shown(at))?;
    let (key, lines) = lines_of(&event.fault);
    writeln!(text, "{key} = {}", lines[0])?;
    lines[1..].iter().try_for_each(|line| writeln!(text, "{line}"))
}

/// The key of a fault, its value, and the lines of all else that is said of it.
fn lines_of(fault: &Fault) -> (&'static str, Vec<String>) {
    let pair = |one: &HostNumber, other: &HostNumber| vec![format!("[\"n{one}\", \"n{other}\"]")];
    let host = |host: &HostNumber| vec![format!("\"n{host}\"")];
    let with = |number: &HostNumber, line: String| vec![format!("\"n{number}\""), line];
    match fault {
        Fault::Cut(one, other) => ("cut", pair(one, other)),
        Fault::CutOneWay(one, other) => ("cut_one_way", pair(one, other)),
        Fault::Hold(one, other) => ("hold", pair(one, other)),
        Fault::Mend(one, other) => ("mend", pair(one, other)),
        Fault::Link { one, other, link: None } => ("link_as_ever", pair(one, other)),
        Fault::Link { one, other, link: Some(link) } => {
            let said = pairs_of(link).map(|(key, value)| format!("{key} = {value}"));
            ("link", pair(one, other).into_iter().chain(said).collect())
        }
        Fault::Crash { host, kept } => ("crash", with(host, format!("kept = {kept}"))),
        Fault::Stop(number) => ("stop", host(number)),
        Fault::Restart(number) => ("restart", host(number)),
        Fault::Wipe(number) => ("wipe", host(number)),
        Fault::Backup(number) => ("backup", host(number)),
        Fault::Restore(number) => ("restore", host(number)),
        Fault::DiskFull(number) => ("disk_full", host(number)),
        Fault::DiskRoom(number) => ("disk_room", host(number)),
        Fault::DiskLow { host: number, is_low: true } => ("disk_low", host(number)),
        Fault::DiskLow { host: number, is_low: false } => ("disk_not_low", host(number)),
        Fault::SyncFails(number) => ("sync_fails", host(number)),
        Fault::Disk { host, sync_ms } => ("slow_disk", with(host, format!("sync = \"{sync_ms}ms\""))),
        Fault::Clock { host, ahead_ms } => ("clock", with(host, format!("ahead = \"{ahead_ms}ms\""))),
        Fault::Drift { host, ppm } => ("drift", with(host, format!("ppm = {ppm}"))),
        Fault::Freeze(number) => ("freeze", host(number)),
        Fault::Stall(number) => ("stall", host(number)),
        Fault::Resume(number) => ("resume", host(number)),
        Fault::Leave(number) => ("leave", host(number)),
        Fault::Forget { host, member } => ("forget", with(member, format!("told = \"n{host}\""))),
        Fault::Version { host, newest } => {
            let newest = newest.map_or("\"all\"".to_owned(), |newest| newest.to_string());
            ("version", with(host, format!("newest = {newest}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::Plan;
    use crate::scenario::file::read;
    use crate::scenario::ready::READY;

    #[track_caller]
    fn again(scenario: &Scenario, faults: &[Event]) -> Scenario {
        let text = write(scenario, faults);
        read("again", &text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn what_was_read_is_written_as_it_was() {
        for ready in READY {
            let scenario = read(ready.name, ready.text).unwrap();
            let expected = Scenario { swarm: None, ..scenario.clone() };
            assert_eq!(again(&scenario, &scenario.schedule), expected);
        }
    }

    #[test]
    fn what_clients_leave_out_is_written_too() {
        let mut scenario = Scenario { swarm: None, ..Scenario::standard(3, Duration::from_secs(20)) };
        for unposted in [1, 2, 500] {
            scenario.unposted = (0..unposted).map(|at| format!("i{}-{at}-3", at % 7)).collect();
            let read = again(&scenario, &[]);
            assert_eq!(read, scenario);
            assert_eq!(Plan::drawn(1, &Arc::new(read)).unposted, scenario.unposted);
        }
    }

    #[test]
    fn what_was_drawn_is_written_out() {
        let scenario = Arc::new(Scenario::standard(5, Duration::from_secs(20)));
        for seed in 0..200 {
            let plan = Plan::drawn(seed, &scenario);
            let read = again(&scenario, &plan.faults);
            assert_eq!(read.schedule.len(), plan.faults.len());
            for (read, drawn) in read.schedule.iter().zip(&plan.faults) {
                assert_eq!(read.fault, drawn.fault);
                assert!(read.at >= drawn.at && read.at - drawn.at < Duration::from_millis(1), "{read:?} {drawn:?}");
            }
        }
    }

    #[test]
    fn a_whole_plan_is_read_as_itself() {
        let scenario = Arc::new(read("x", READY[0].text).unwrap());
        let drawn = Plan::drawn(3, &scenario);
        let written = Arc::new(again(&scenario, &drawn.faults));
        let plan = Plan::drawn(3, &written);
        assert_eq!(
            plan.faults.iter().map(|event| &event.fault).collect::<Vec<_>>(),
            drawn.faults.iter().map(|event| &event.fault).collect::<Vec<_>>()
        );
    }
}
