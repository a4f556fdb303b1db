//! Whom a node follows.
//!
//! Within a region everybody follows everybody. Of a node of another region, one node of this region follows the feed and
//! takes what that node has stamped itself; it passes that on, for its own feed has it then. From a neighbour a node takes
//! all but what other neighbours have stamped, which it has from them. So a fact crosses into a region once, however many
//! nodes are there.
//!
//! Within a region a fact from elsewhere is told by each neighbour, once it has it. Those tellings could be spared, if a
//! neighbour told only what is its own to pass on; but then, when that task goes from one to another, what the one had told
//! to some is behind the place where others begin to ask the other.
//!
//! Who of a region follows whom elsewhere is drawn by rendezvous hashing (Thaler and Ravishankar, "Using name-based
//! mappings to increase hit rates", 1998): everybody computes the same, and when a node goes only what it did is drawn anew.

use std::collections::BTreeMap;

use plimsoll_domain::id::{NodeId, Region};
use plimsoll_wire::peer::v1::Wanted;

/// Whom to follow, and for what.
pub(crate) type Plan = BTreeMap<NodeId, Wanted>;

/// The plan of node `here` in `region`, as far as it knows which other nodes are alive, and where they are.
pub(crate) fn plan(here: NodeId, region: &Region, alive: &[(NodeId, Region)]) -> Plan {
    let mut near: Vec<NodeId> = alive.iter().filter(|(_, other)| other == region).map(|(node, _)| *node).collect();
    near.push(here);
    near.sort_unstable();
    let from_neighbour = |neighbour: NodeId| {
        let others = near.iter().filter(|node| **node != neighbour);
        Wanted::AllBut(others.copied().collect())
    };
    let neighbours = near.iter().filter(|node| **node != here).map(|node| (*node, from_neighbour(*node)));
    let far = alive.iter().filter(|(_, other)| other != region).map(|(node, _)| *node);
    let relayed = far.filter(|node| relay(*node, &near) == Some(here)).map(|node| (node, Wanted::Own));
    neighbours.chain(relayed).collect()
}

/// Who of the nodes of a region follows a node of another.
fn relay(far: NodeId, near: &[NodeId]) -> Option<NodeId> {
    near.iter().copied().max_by_key(|node| (mix(far.number() ^ mix(node.number())), *node))
}

/// Spreads a number's bits: the finalizer of SplitMix64.
const fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Whether a fact with these stamps is among what is wanted of the feed of `node`.
pub(crate) fn is_wanted(wanted: &Wanted, node: NodeId, stamped_by: [NodeId; 2]) -> bool {
    match wanted {
        Wanted::Own => stamped_by.contains(&node),
        Wanted::AllBut(others) => stamped_by.iter().any(|stamper| !others.contains(stamper)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn regions() -> impl Strategy<Value = Vec<(NodeId, Region)>> {
        prop::collection::btree_map(any::<u64>(), 0..4_u8, 1..12).prop_map(|nodes| {
            let named = |number: u8| Region::parse(format!("r{number}")).unwrap();
            nodes.into_iter().map(|(node, region)| (NodeId::new(node), named(region))).collect()
        })
    }

    fn plan_of(at: usize, nodes: &[(NodeId, Region)]) -> Plan {
        let others: Vec<_> =
            nodes.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, node)| node.clone()).collect();
        plan(nodes[at].0, &nodes[at].1, &others)
    }

    proptest! {
        /// Wherever a fact is stamped it reaches everybody, and crosses into each region once.
        #[test]
        fn a_fact_reaches_all_and_crosses_into_each_region_once(nodes in regions(), origin in any::<prop::sample::Index>()) {
            let origin = origin.index(nodes.len());
            let stamper = nodes[origin].0;
            let plans: Vec<Plan> = (0..nodes.len()).map(|at| plan_of(at, &nodes)).collect();
            // In the end everybody has it, and each feed tells it to whoever wants it of that feed.
            let mut has = BTreeSet::from([origin]);
            let mut crossings = Vec::new();
            while has.len() < nodes.len() {
                let before = has.len();
                for (at, plan) in plans.iter().enumerate() {
                    let told_by = |from: &usize| {
                        let wanted = plan.get(&nodes[*from].0);
                        wanted.is_some_and(|wanted| is_wanted(wanted, nodes[*from].0, [stamper; 2]))
                    };
                    if (0..nodes.len()).filter(told_by).any(|from| has.contains(&from)) {
                        has.insert(at);
                    }
                }
                prop_assert!(has.len() > before, "it does not reach all");
            }
            for (at, plan) in plans.iter().enumerate() {
                for (followed, wanted) in plan.iter().filter(|(followed, wanted)| is_wanted(wanted, **followed, [stamper; 2])) {
                    let region = &nodes.iter().find(|(node, _)| node == followed).unwrap().1;
                    if *region != nodes[at].1 {
                        crossings.push(nodes[at].1.clone());
                    }
                    prop_assert!(matches!(wanted, Wanted::Own) == (*region != nodes[at].1));
                }
            }
            let others: BTreeSet<_> = nodes.iter().map(|(_, region)| region).filter(|region| **region != nodes[origin].1).collect();
            crossings.sort_by(|one, other| one.as_str().cmp(other.as_str()));
            prop_assert_eq!(crossings.len(), others.len());
        }
    }

    #[test]
    fn what_nobody_alive_has_stamped_is_passed_on_within_a_region() {
        let region = Region::parse("eu").unwrap();
        let [one, two, gone] = [1, 2, 3].map(NodeId::new);
        let wanted = &plan(one, &region, &[(two, region.clone())])[&two];
        assert!(is_wanted(wanted, two, [gone; 2]));
        assert!(is_wanted(wanted, two, [two, one]), "a fact that both have stamped");
        assert!(!is_wanted(wanted, two, [one; 2]));
    }
}
