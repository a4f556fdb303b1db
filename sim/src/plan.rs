//! A plan: a scenario with all chance taken out of it but the seed. Two runs of one plan are one run.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::faults::{Event, draw};
use crate::scenario::Scenario;

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    /// All chance of the run comes from it.
    pub seed: u64,
    /// What it is a run of.
    pub scenario: Arc<Scenario>,
    /// What goes wrong, in order of time: the schedule, and what was drawn for the swarm.
    pub faults: Vec<Event>,
    /// Transition ids that are drawn as ever, and not posted: those of the scenario, and what a failing run was shrunk by.
    pub unposted: BTreeSet<String>,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn drawn(seed: u64, scenario: &Arc<Scenario>) -> Self {
        let mut faults = scenario.schedule.clone();
        if let Some(swarm) = &scenario.swarm {
            faults.append(&mut draw(seed, swarm, scenario));
        }
        faults.sort_by_key(|event| event.at);
        Self { seed, scenario: Arc::clone(scenario), faults, unposted: scenario.unposted.clone() }
    }
}
