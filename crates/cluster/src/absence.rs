//! How long members have been away, as one node sees it: who is away for longer than the retention is waited for no more.
//!
//! Only time in which this node was there itself, with more than half of the members, is counted. So a part of the cluster
//! that is cut off does not give up the larger rest, and a cluster that was off as a whole gives up nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use plimsoll_domain::id::NodeId;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Absences(BTreeMap<NodeId, Duration>);

impl Absences {
    /// Goes on from what was kept.
    pub(crate) fn new(kept: impl IntoIterator<Item = (NodeId, Duration)>) -> Self {
        Self(kept.into_iter().collect())
    }

    /// Those that are away, and for how long.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (NodeId, Duration)> + '_ {
        self.0.iter().map(|(node, away)| (*node, *away))
    }

    /// Takes in who of the other members was there in the last while. This node was.
    pub(crate) fn observe(&mut self, passed: Duration, others: &[(NodeId, bool)]) {
        self.0.retain(|node, _| others.contains(&(*node, false)));
        let there = 1 + others.iter().filter(|(_, is_there)| *is_there).count();
        if !is_majority(there, others.len() + 1) {
            return;
        }
        for (node, _) in others.iter().filter(|(_, is_there)| !is_there) {
            let away = self.0.entry(*node).or_default();
            *away = away.saturating_add(passed);
        }
    }

    /// Whether a member has been away for that long.
    pub(crate) fn is_away_for(&self, node: NodeId, retention: Duration) -> bool {
        self.0.get(&node).is_some_and(|away| *away >= retention)
    }
}

/// Whether so many are more than half of all members.
pub(crate) const fn is_majority(some: usize, all: usize) -> bool {
    some * 2 > all
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn node(number: u64) -> NodeId {
        NodeId::new(number)
    }

    #[test]
    fn who_comes_back_begins_anew() {
        let mut absences = Absences::default();
        absences.observe(HOUR, &[(node(1), true), (node(2), false)]);
        absences.observe(HOUR, &[(node(1), true), (node(2), false)]);
        assert!(absences.is_away_for(node(2), 2 * HOUR) && !absences.is_away_for(node(1), HOUR));
        let kept = Absences::new(absences.entries());
        assert_eq!(kept, absences);
        absences.observe(HOUR, &[(node(1), true), (node(2), true)]);
        absences.observe(HOUR, &[(node(1), true), (node(2), false)]);
        assert!(!absences.is_away_for(node(2), 2 * HOUR));
        absences.observe(HOUR, &[(node(1), true)]);
        assert_eq!(absences, Absences::default(), "who is no member is not away");
    }

    #[test]
    fn the_smaller_part_of_a_cluster_gives_up_nobody() {
        let mut absences = Absences::default();
        absences.observe(100 * HOUR, &[(node(1), false), (node(2), false)]);
        absences.observe(100 * HOUR, &[(node(1), false)]);
        assert_eq!(absences, Absences::default());
    }
}
