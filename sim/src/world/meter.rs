//! Counts what nodes tell each other, by region: before clients begin, and while they ask.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use turmoil::Sim;

use super::Distances;
use crate::net::{Traffic, Weather, host_of};
use crate::scenario::Scenario;

/// By the regions it came from and went to.
type ByRegions = BTreeMap<(String, String), Traffic>;

/// See the module.
pub(super) struct Meter {
    weather: Weather,
    nodes: Vec<(IpAddr, String)>,
    /// When it is read.
    times: [Duration; 3],
    readings: Vec<ByRegions>,
}

impl Meter {
    pub(super) fn new(sim: &Sim<'_>, scenario: &Scenario, distances: &Distances) -> Self {
        let nodes = (1..).zip(scenario.region_of_each()).map(|(number, region)| (sim.lookup(host_of(number)), region));
        let after = scenario.workload.after;
        let times = [after / 2, after, scenario.lasting];
        Self { weather: distances.weather.clone(), nodes: nodes.collect(), times, readings: Vec::new() }
    }

    /// Is read, if it is time to.
    pub(super) fn read(&mut self, now: Duration) {
        while self.times.get(self.readings.len()).is_some_and(|at| *at <= now) {
            self.readings.push(self.reading());
        }
    }

    fn reading(&self) -> ByRegions {
        let mut reading = ByRegions::new();
        for (from, near) in &self.nodes {
            for (to, far) in &self.nodes {
                *reading.entry((near.clone(), far.clone())).or_default() += self.weather.carried(*from, *to);
            }
        }
        reading
    }

    /// What arrived before clients began, and while they asked; nothing where the run was over before.
    pub(super) fn told(&self) -> (ByRegions, ByRegions) {
        let between = |at: usize| match self.readings.get(at..=at + 1) {
            Some([before, after]) => difference(before, after),
            _ => ByRegions::new(),
        };
        (between(0), between(1))
    }
}

fn difference(before: &ByRegions, after: &ByRegions) -> ByRegions {
    let since = |pair| before.get(pair).copied().unwrap_or_default();
    after.iter().map(|(pair, traffic)| (pair.clone(), traffic.since(since(pair)))).collect()
}
