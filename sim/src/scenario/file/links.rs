//! How messages travel: `[links]`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::place::Places;
use super::reader::{Reader, hint};
use crate::scenario::quantity::{self, BANDWIDTH};
use crate::scenario::{Link, Links};

/// Pairs of a hundred regions.
const PAIRS_MAX: usize = 4_950;

const LATENCY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

const JITTER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(10);

const LOSS: RangeInclusive<f64> = 0.0..=0.5;

const BANDWIDTH_MIN: u64 = 1_000;

/// What is said of a link. The rest is as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Said {
    latency: Option<Duration>,
    jitter: Option<Duration>,
    loss: Option<f64>,
    /// The inner one is none for no bound.
    bandwidth: Option<Option<u64>>,
}

impl Said {
    /// The keys of a link in a table that may have others.
    pub(super) fn read(table: &mut Reader<'_>) -> Self {
        let bandwidth = table.item("bandwidth").and_then(|item| {
            let text = item.text()?;
            if text == "none" {
                return Some(None);
            }
            let bytes = quantity::bandwidth(text).filter(|bytes| *bytes >= BANDWIDTH_MIN);
            if bytes.is_none() {
                item.wrong(format!("must be {BANDWIDTH}, of at least {BANDWIDTH_MIN} B/s; or \"none\" for no bound"));
            }
            bytes.map(Some)
        });
        Self {
            latency: table.item("latency").and_then(|item| item.duration(LATENCY)),
            jitter: table.item("jitter").and_then(|item| item.duration(JITTER)),
            loss: table.item("loss").and_then(|item| item.number(LOSS)),
            bandwidth,
        }
    }

    /// A link of which this is said.
    pub(super) fn of(self, link: Link) -> Link {
        Link {
            latency: self.latency.unwrap_or(link.latency),
            jitter: self.jitter.unwrap_or(link.jitter),
            loss: self.loss.unwrap_or(link.loss),
            bandwidth: self.bandwidth.unwrap_or(link.bandwidth),
        }
    }
}

/// Reads `[links]`.
pub(super) fn read(top: &mut Reader<'_>, places: &Places) -> Links {
    let mut links = Links { within: Link::of_millis(1), between: Link::of_millis(40), pairs: BTreeMap::new() };
    let Some(mut table) = top.table("links") else { return links };
    for (key, link) in [("within", &mut links.within), ("between", &mut links.between)] {
        if let Some(mut said) = table.table(key) {
            *link = Said::read(&mut said).of(*link);
            said.finish();
        }
    }
    for mut pair in table.tables("pair", PAIRS_MAX) {
        let link = Said::read(&mut pair).of(links.between);
        if let Some(regions) = two_regions(&mut pair, places)
            && links.pairs.insert(regions, link).is_some()
        {
            pair.wrong("is said of these two regions before");
        }
        pair.finish();
    }
    table.finish();
    links
}

fn two_regions(pair: &mut Reader<'_>, places: &Places) -> Option<(String, String)> {
    let item = pair.required("regions")?;
    let list = item.list()?;
    let names = places.region_names();
    let known = |item: &super::reader::Item<'_>| {
        let name = item.text()?.to_owned();
        if !names.contains(&name.as_str()) && !names.is_empty() {
            item.wrong(format!("there is no region `{name}`{}", hint(&name, &names)));
        }
        Some(name)
    };
    match list.as_slice() {
        [one, other] => match (known(one)?, known(other)?) {
            (one, other) if one == other => {
                item.wrong("must be two different regions; for one there is `within`");
                None
            }
            (one, other) if one < other => Some((one, other)),
            (one, other) => Some((other, one)),
        },
        _ => {
            item.wrong("must be a list of two regions");
            None
        }
    }
}
