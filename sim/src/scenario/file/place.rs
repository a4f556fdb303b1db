//! Hosts by the names a file gives them: `n1`, a region, `all`.

use super::reader::{Item, hint};
use crate::faults::HostNumber;
use crate::scenario::Region;

/// The name of all hosts.
pub(super) const ALL: &str = "all";

/// The name of all hosts but those of the other side.
pub(super) const OTHERS: &str = "others";

/// Where hosts are.
pub(super) struct Places {
    regions: Vec<String>,
    region_of_each: Vec<String>,
}

impl Places {
    /// Of regions, of which there are none if they could not be read: then nothing is said of any host.
    pub(super) fn of(regions: &[Region]) -> Self {
        let each = |region: &Region| std::iter::repeat_n(region.name.clone(), usize::from(region.nodes));
        Self {
            regions: regions.iter().map(|region| region.name.clone()).collect(),
            region_of_each: regions.iter().flat_map(each).collect(),
        }
    }

    /// The regions' names.
    pub(super) fn region_names(&self) -> Vec<&str> {
        self.regions.iter().map(String::as_str).collect()
    }

    /// The region of a host.
    pub(super) fn region_of(&self, host: HostNumber) -> &str {
        self.region_of_each.get(usize::from(host) - 1).map_or("", String::as_str)
    }

    /// All hosts.
    pub(super) fn all(&self) -> Vec<HostNumber> {
        (1..).zip(&self.region_of_each).map(|(host, _)| host).collect()
    }

    /// The hosts of one name.
    pub(super) fn named(&self, item: &Item<'_>) -> Option<Vec<HostNumber>> {
        let name = item.text()?;
        if self.regions.is_empty() {
            return None;
        }
        let of_region = |host: &HostNumber| self.region_of(*host) == name;
        let all = self.all();
        let hosts: Vec<HostNumber> = if name == ALL { all } else { all.into_iter().filter(of_region).collect() };
        if !hosts.is_empty() {
            return Some(hosts);
        }
        let number: Option<usize> = name.strip_prefix('n').and_then(|number| number.parse().ok());
        match number {
            Some(number) if (1..=self.region_of_each.len()).contains(&number) && name == format!("n{number}") => {
                u8::try_from(number).ok().map(|host| vec![host])
            }
            Some(_) => {
                item.wrong(format!("there is no host {name}: there are n1 to n{}", self.region_of_each.len()));
                None
            }
            None => {
                let nearest = hint(name, &self.region_names());
                item.wrong(format!("`{name}` is neither a host, as n1, nor a region, nor `{ALL}`{nearest}"));
                None
            }
        }
    }

    /// The hosts of one name or several, each once.
    pub(super) fn hosts(&self, item: Item<'_>) -> Option<Vec<HostNumber>> {
        let named: Option<Vec<_>> = item.one_or_more().iter().map(|item| self.named(item)).collect();
        let mut hosts = named?.concat();
        hosts.sort_unstable();
        hosts.dedup();
        Some(hosts)
    }

    /// Each host of one side with each of the other: a list of two names.
    pub(super) fn pairs(&self, item: &Item<'_>) -> Option<Vec<(HostNumber, HostNumber)>> {
        let list = item.list()?;
        let [one, other] = list.as_slice() else {
            item.wrong("must be a list of two: hosts, regions, or for the second `others`");
            return None;
        };
        let ones = self.named(one);
        let others = match (&ones, other.text()?) {
            (ones, OTHERS) => {
                ones.as_ref().map(|ones| self.all().into_iter().filter(|host| !ones.contains(host)).collect())
            }
            _ => self.named(other),
        };
        let (ones, others) = (ones?, others?);
        if others.is_empty() || ones.iter().any(|host| others.contains(host)) {
            item.wrong("the two sides must have no host in common, and each at least one");
            return None;
        }
        Some(ones.iter().flat_map(|one| others.iter().map(|other| (*one, *other))).collect())
    }
}
