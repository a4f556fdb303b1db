//! Scenario files: TOML, read into a [`Scenario`] that cannot be wrong, or into all that is wrong with them.
//!
//! The one idea: each part of a file is read for itself, with what it may be where nothing is said, and what is wrong is
//! gathered on the way, so that one reading tells all. The format is described in `docs/scenarios.md`.

mod fault;
mod links;
mod node;
mod place;
mod reader;
mod schedule;
mod swarm;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeTable;

use super::problem::{Finder, Problems};
use super::{Region, Scenario, Settings, Workload};
use crate::assertions;
pub(crate) use node::KEPT;
use place::Places;
use reader::{Item, Reader};
pub use write::write;

/// So many bytes a file may have.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// So many `[[fault]]` a file may have.
const FAULTS_MAX: usize = 20_000;

/// So many assertions a file may have.
const ASSERTIONS_MAX: usize = 100;

/// So many transitions a file may leave out.
const UNPOSTED_MAX: usize = 100_000;

/// So long an id of a transition may be.
const ID_BYTES_MAX: usize = 64;

const NODES: RangeInclusive<u32> = 2..=100;

const LASTING: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

const AFTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

const RATE: RangeInclusive<f64> = 0.0..=1_000.0;

const PART: RangeInclusive<f64> = 0.0..=1.0;

/// Reads a scenario. `file` is what the text is called where something is wrong with it.
///
/// # Errors
/// All that is wrong with it, in its order, each with its place.
pub fn read(file: &str, text: &str) -> Result<Scenario, Problems> {
    let finder = Finder::new(text);
    if text.len() > FILE_BYTES_MAX {
        finder.wrong(0..0, "", format!("a scenario has at most {FILE_BYTES_MAX} bytes, and this has {}", text.len()));
        return Err(finder.problems(file));
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        finder.wrong(error.span().unwrap_or(0..0), "", error.message());
    }
    let scenario = if errors.is_empty() { Some(scenario(Reader::new(&finder, &document))) } else { None };
    drop(document);
    match scenario {
        Some(scenario) if finder.is_clean() => Ok(scenario),
        _ => Err(finder.problems(file)),
    }
}

fn scenario(mut top: Reader<'_>) -> Scenario {
    let name = name(&mut top);
    let lasting = top.duration("lasting", LASTING, Duration::from_secs(20));
    let calm = top.duration("calm", LASTING, Duration::from_mins(2));
    let regions = regions(&mut top);
    let places = Places::of(&regions);
    let links = links::read(&mut top, &places);
    let settings = top.table("node").map_or_else(Settings::none, node::read);
    let (workload, unposted) = workload(&mut top);
    let faults = top.tables("fault", FAULTS_MAX);
    let context = fault::Context { places: &places, links: &links, lasting };
    let schedule = schedule::read(faults, &context);
    let swarm = top.table("swarm").map(swarm::read);
    let asserted = top.item("assert");
    let assertions = asserted.map(|asserted| asserted_of(&asserted, &places, calm)).unwrap_or_default();
    top.finish();
    Scenario { name, lasting, calm, regions, links, settings, workload, unposted, schedule, swarm, assertions }
}

fn name(top: &mut Reader<'_>) -> String {
    let Some(item) = top.required("name") else { return String::new() };
    let Some(text) = item.text() else { return String::new() };
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !(1..=64).contains(&text.len()) || !text.bytes().all(is_letter) {
        item.wrong("must be 1 to 64 of a-z, 0-9 and the hyphen");
    }
    text.to_owned()
}

fn regions(top: &mut Reader<'_>) -> Vec<Region> {
    if !top.has("region") {
        top.wrong("a scenario needs nodes: at least one [[region]]");
    }
    let mut regions: Vec<Region> = Vec::new();
    let (mut nodes, mut is_sound) = (0, true);
    for mut table in top.tables("region", 100) {
        let name = table.required("name").and_then(|item| region_name(&item, &regions));
        let count = table.item("nodes").map_or(Some(1), |item| item.whole(1..=100));
        let count = count.and_then(|count| u8::try_from(count).ok());
        nodes += u32::from(count.unwrap_or(1));
        if nodes > *NODES.end() {
            // Numbers of hosts would not fit any more.
            table.wrong(format!("there must be at most {} nodes in all", NODES.end()));
            return Vec::new();
        }
        table.finish();
        match (name, count) {
            (Some(name), Some(nodes)) => regions.push(Region { name, nodes }),
            _ => is_sound = false,
        }
    }
    if !is_sound {
        // Else each fault would be told to be at hosts that are not there.
        return Vec::new();
    }
    if !regions.is_empty() && nodes < *NODES.start() {
        top.wrong(format!("there must be at least {} nodes in all, and is {nodes}", NODES.start()));
    }
    regions
}

fn region_name(item: &Item<'_>, regions: &[Region]) -> Option<String> {
    let name = item.text()?;
    let is_taken = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if plimsoll_domain::id::Region::parse(name).is_err() {
        item.wrong("must be 1 to 32 of a-z 0-9 - _ and the full stop");
    } else if name.strip_prefix('n').is_some_and(is_taken) || [place::ALL, place::OTHERS].contains(&name) {
        item.wrong(format!("must not be called as hosts are: n1, n2, …, {}, {}", place::ALL, place::OTHERS));
    } else if regions.iter().any(|region| region.name == name) {
        item.wrong("there is another region of this name");
    } else {
        return Some(name.to_owned());
    }
    None
}

/// What clients do, and what they leave out of it.
fn workload(top: &mut Reader<'_>) -> (Workload, BTreeSet<String>) {
    let mut workload = Workload::default();
    let Some(mut table) = top.table("workload") else { return (workload, BTreeSet::new()) };
    let count = |item: Item<'_>, bounds| item.whole(bounds).and_then(|count| u32::try_from(count).ok());
    if let Some(artifacts) = table.item("artifacts").and_then(|item| count(item, 1..=100_000)) {
        workload.artifacts = artifacts;
    }
    if let Some(imports) = table.item("imports").and_then(|item| count(item, 0..=10_000)) {
        workload.imports = imports;
    }
    workload.after = table.duration("after", AFTER, workload.after);
    let Workload { posts, reads, watches, resolves, retires, doubled, .. } = &mut workload;
    let rates = [("posts", posts, RATE), ("reads", reads, RATE), ("watches", watches, RATE)];
    let parts = [("resolves", resolves, PART), ("retires", retires, PART), ("doubled", doubled, PART)];
    for (key, field, bounds) in rates.into_iter().chain(parts) {
        if let Some(number) = table.item(key).and_then(|item| item.number(bounds)) {
            *field = number;
        }
    }
    if workload.resolves + workload.retires > 1.0 {
        table.wrong("`resolves` and `retires` are parts of all posts: together they must be at most 1");
    }
    let unposted = table.item("without").map(|item| ids(&item)).unwrap_or_default();
    table.finish();
    (workload, unposted)
}

fn ids(list: &Item<'_>) -> BTreeSet<String> {
    let items = list.list().unwrap_or_default();
    if items.len() > UNPOSTED_MAX {
        list.wrong(format!("must be at most {UNPOSTED_MAX}, and is {}", items.len()));
        return BTreeSet::new();
    }
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let read = |item: &Item<'_>| {
        let id = item.text()?;
        if (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_letter) {
            return Some(id.to_owned());
        }
        item.wrong(format!(
            "must be the id of a transition, as `e1-3`: 1 to {ID_BYTES_MAX} of a-z, 0-9 and the hyphen"
        ));
        None
    };
    items.iter().filter_map(read).collect()
}

fn asserted_of(asserted: &Item<'_>, places: &Places, calm: Duration) -> Vec<super::Assertion> {
    let items = asserted.list().unwrap_or_default();
    if items.len() > ASSERTIONS_MAX {
        asserted.wrong(format!("must be at most {ASSERTIONS_MAX}, and is {}", items.len()));
        return Vec::new();
    }
    let read = |item: &Item<'_>| {
        let text = item.text()?;
        let read = assertions::parse(text).and_then(|assertion| {
            assertions::check(text, &assertion, &places.region_names(), calm)?;
            Ok(assertion)
        });
        read.map_err(|error| item.wrong_within(text, &error.at, error.rule)).ok()
    };
    items.iter().filter_map(read).collect()
}
