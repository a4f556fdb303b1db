//! Who the members are, and what is known of each of them at this moment.
//!
//! The roster outlives restarts: a member that is down is a member, and one that is gone (it left, or an operator said it
//! will not come back) is remembered as gone. Two rosters are merged entry by entry, so that all nodes come to the same:
//! gone stands, and of two ways a member spoke of itself the later one stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use plimsoll_domain::id::NodeId;
use plimsoll_domain::planted::{self, Bug};
use plimsoll_domain::projection::Fingerprint;
use plimsoll_domain::skew::{ClockFilter, Offset, WANDER_MAX};
use plimsoll_wire::peer::v1::{Member, ROSTER_MAX, Refusal, RosterEntry};
use tokio::sync::watch;

use crate::context::Context;
use crate::link::Link;
use crate::plan::{Plan, plan};

/// What the failure detector thinks of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It did not answer in time; others are asked.
    Suspect,
    /// Nobody has heard of it.
    Down,
}

/// How far a node has come with the feed of another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The incarnation of the other's data directory.
    pub(crate) incarnation: u64,
    /// The latest sequence that is here.
    pub(crate) sequence: u64,
}

/// What a member said of itself last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// The sequence of its latest durable fact.
    pub(crate) sequence: u64,
    /// The fingerprint of all its facts.
    pub(crate) facts: Fingerprint,
    /// Whether it is ready to serve.
    pub(crate) ready: bool,
}

/// A member, and what is known of it at this moment.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) entry: RosterEntry,
    pub(crate) liveness: Liveness,
    /// The connection to it, while there is one.
    pub(crate) link: Option<Link>,
    /// How far its feed has been taken over.
    pub(crate) taken: Taken,
    /// How far it has taken over this node's.
    pub(crate) acknowledged: u64,
    /// How many conversations there are in which it follows this node's feed.
    pub(crate) followings: usize,
    pub(crate) told: Option<Told>,
    /// How its clock differs from this node's steady one.
    pub(crate) clock: ClockFilter,
    /// All it had stamped by then, by this node's steady clock, is here; in nanoseconds, 0 where nothing is known.
    pub(crate) as_of: u64,
    /// How far the clock on the wall was ahead of the steady one when that was noted, and when the clocks were compared last.
    pub(crate) noted_wall_ahead: i64,
    pub(crate) compared_wall_ahead: i64,
    /// When it was last heard of, by this node's clock.
    pub(crate) last_seen: u64,
    /// Whether another node was found at its address.
    pub(crate) is_replaced: bool,
    /// What was wrong with it last.
    pub(crate) trouble: Option<String>,
    /// How many had gone, as far as this node knew, when it began to compare with this peer last and came to the end.
    compared: u64,
    /// Of one that is gone: whether all that is left of it is here.
    is_outlived: bool,
}

impl Peer {
    fn new(entry: RosterEntry) -> Self {
        Self {
            entry,
            liveness: Liveness::Down,
            link: None,
            taken: Taken::default(),
            acknowledged: 0,
            followings: 0,
            told: None,
            clock: ClockFilter::default(),
            as_of: 0,
            noted_wall_ahead: 0,
            compared_wall_ahead: 0,
            last_seen: 0,
            is_replaced: false,
            trouble: None,
            compared: 0,
            is_outlived: false,
        }
    }

    /// Whether it may have stamped what others have, and this node has not.
    pub(crate) fn counts(&self) -> bool {
        !self.entry.gone || (!self.is_outlived && !planted::has(Bug::DepartedUncounted))
    }

    /// How its clock differs from this node's steady one.
    pub(crate) fn offset(&self) -> Option<Offset> {
        self.clock.best()
    }

    /// Notes that all it had stamped by then is here.
    pub(crate) fn raise_as_of(&mut self, as_of: u64, wall_ahead: i64) {
        if as_of >= self.as_of {
            (self.as_of, self.noted_wall_ahead) = (as_of, wall_ahead);
        }
    }

    /// How long ago that is, in nanoseconds; `None` where nothing is known.
    pub(crate) fn age(&self, context: &Context) -> Option<u64> {
        (self.as_of > 0).then(|| context.age(self.as_of, self.noted_wall_ahead))
    }

    /// A reading of its clock, as this node's steady one would have been then or a little before. 0 where that is not known: also
    /// of a reading from what has not been yet, as its clock was set since the two were compared.
    pub(crate) fn to_steady_clock(&self, reading: u64, now: u64) -> u64 {
        let Some(Offset { nanos, error }) = self.offset().filter(|_| reading > 0) else { return 0 };
        let error = u64::try_from(error.as_nanos()).unwrap_or(u64::MAX);
        let steady = reading.saturating_add_signed(nanos.saturating_neg()).saturating_sub(error);
        let wander = u64::try_from(WANDER_MAX.as_nanos()).unwrap_or(u64::MAX);
        if steady > now.saturating_add(wander) { 0 } else { steady.min(now) }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Roster {
    here: Member,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
    /// How many members have gone, as far as this node knows. Written under the lock of the peers.
    departures: AtomicU64,
    changed: watch::Sender<()>,
    acknowledged: watch::Sender<()>,
}

/// Whether merging changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merged {
    Changed,
    Same,
}

impl Roster {
    /// The roster of node `here`, as it was kept.
    pub(crate) fn new(here: Member, kept: Vec<RosterEntry>) -> Self {
        let others = kept.into_iter().filter(|entry| entry.member.node != here.node);
        let peers: BTreeMap<_, _> = others.map(|entry| (entry.member.node, Peer::new(entry))).collect();
        let gone = peers.values().filter(|peer| peer.entry.gone).count();
        Self {
            here,
            peers: Mutex::new(peers),
            departures: AtomicU64::new(gone as u64),
            changed: watch::Sender::new(()),
            acknowledged: watch::Sender::new(()),
        }
    }

    /// This node.
    pub(crate) const fn here(&self) -> &Member {
        &self.here
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all peers, those that are gone included.
    pub(crate) fn view<T>(&self, look: impl FnOnce(&BTreeMap<NodeId, Peer>) -> T) -> T {
        look(&self.lock())
    }

    /// How many members there are of which something is so, this node among them.
    pub(crate) fn members_and_here(&self, is_so: impl Fn(&Peer) -> bool) -> u32 {
        let others = self.lock().values().filter(|peer| !peer.entry.gone && is_so(peer)).count();
        u32::try_from(others + 1).unwrap_or(u32::MAX)
    }

    /// Looks at one of them.
    pub(crate) fn peer<T>(&self, node: NodeId, look: impl FnOnce(&Peer) -> T) -> Option<T> {
        self.lock().get(&node).map(look)
    }

    /// Notes something about a peer that changes nobody's plans.
    pub(crate) fn note(&self, node: NodeId, note: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.lock().get_mut(&node) {
            note(peer);
        }
    }

    /// Notes something about a peer that others act on.
    pub(crate) fn change(&self, node: NodeId, change: impl FnOnce(&mut Peer)) {
        self.note(node, change);
        self.changed.send_replace(());
    }

    /// Notes how far a peer has taken over this node's feed.
    pub(crate) fn acknowledge(&self, node: NodeId, sequence: u64) {
        self.note(node, |peer| peer.acknowledged = peer.acknowledged.max(sequence));
        self.acknowledged.send_replace(());
    }

    /// Tells each time something has changed that others act on.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Tells each time a peer has come further with this node's feed.
    pub(crate) fn watch_acknowledged(&self) -> watch::Receiver<()> {
        self.acknowledged.subscribe()
    }

    /// All entries, this node's own first.
    pub(crate) fn entries(&self) -> Vec<RosterEntry> {
        let here = RosterEntry { member: self.here.clone(), gone: false };
        let peers = self.lock();
        std::iter::once(here).chain(peers.values().map(|peer| peer.entry.clone())).collect()
    }

    /// Takes over what another roster says. What would make the roster longer than it may be is left out.
    pub(crate) fn merge(&self, entries: impl IntoIterator<Item = RosterEntry>) -> Merged {
        let mut merged = Merged::Same;
        let mut peers = self.lock();
        for entry in entries {
            let node = entry.member.node;
            if node == self.here.node {
                continue;
            }
            if peers.len() + 1 >= ROSTER_MAX && !peers.contains_key(&node) && !entry.gone {
                forget_oldest(&mut peers);
            }
            let is_full = peers.len() + 1 >= ROSTER_MAX;
            match peers.get_mut(&node) {
                None if is_full => {}
                None => {
                    self.departures.fetch_add(entry.gone.into(), Ordering::Relaxed);
                    peers.insert(node, Peer::new(entry));
                    merged = Merged::Changed;
                }
                Some(peer) => {
                    let joined = join(&peer.entry, &entry);
                    if joined != peer.entry {
                        self.departures.fetch_add((joined.gone && !peer.entry.gone).into(), Ordering::Relaxed);
                        peer.entry = joined;
                        merged = Merged::Changed;
                    }
                }
            }
        }
        drop(peers);
        if merged == Merged::Changed {
            self.changed.send_replace(());
        }
        merged
    }

    /// How many have gone, and the members that there is a connection to and with whom this node has not compared since.
    pub(crate) fn to_compare(&self) -> (u64, Vec<(NodeId, Link)>) {
        let peers = self.lock();
        let departures = self.departures.load(Ordering::Relaxed);
        let is_due = peers.values().any(|peer| peer.entry.gone && peer.counts());
        let due = peers.iter().filter(|(_, peer)| is_due && !peer.entry.gone && peer.compared < departures);
        (departures, due.filter_map(|(node, peer)| Some((*node, peer.link.clone()?))).collect())
    }

    /// Notes that all is here that a peer had when so many had gone.
    pub(crate) fn compared(&self, node: NodeId, departures: u64) {
        self.note(node, |peer| peer.compared = peer.compared.max(departures));
    }

    /// Those who are gone count no more once this node has compared with every member since. Returns whether none counts.
    pub(crate) fn outlive(&self) -> bool {
        let mut peers = self.lock();
        let departures = self.departures.load(Ordering::Relaxed);
        let has_compared = peers.values().all(|peer| peer.entry.gone || peer.compared >= departures);
        if has_compared {
            peers.values_mut().filter(|peer| peer.entry.gone).for_each(|peer| peer.is_outlived = true);
        }
        has_compared || !peers.values().any(|peer| peer.entry.gone && peer.counts())
    }

    /// Whether a caller may be talked to, as far as the roster goes.
    pub(crate) fn admits(&self, node: NodeId) -> Result<(), Refusal> {
        let is_gone = self.peer(node, |peer| peer.entry.gone) == Some(true);
        if is_gone { Err(Refusal::Gone) } else { Ok(()) }
    }

    /// Whom to follow now, among those there is a connection to: what a neighbour did that is cut off, others do at once.
    pub(crate) fn plan(&self) -> Plan {
        let peers = self.lock();
        let is_there = |peer: &&Peer| !peer.entry.gone && peer.link.is_some();
        let alive: Vec<_> = peers
            .values()
            .filter(is_there)
            .map(|peer| (peer.entry.member.node, peer.entry.member.region.clone()))
            .collect();
        plan(self.here.node, &self.here.region, &alive)
    }
}

/// Makes room in a full roster: of those that are gone, and count no more if there are such, the one that was started first is
/// not remembered any more.
fn forget_oldest(peers: &mut BTreeMap<NodeId, Peer>) {
    let gone = peers.iter().filter(|(_, peer)| peer.entry.gone);
    if let Some(node) =
        gone.min_by_key(|(_, peer)| (peer.counts(), peer.entry.member.generation)).map(|(node, _)| *node)
    {
        peers.remove(&node);
    }
}

fn join(one: &RosterEntry, other: &RosterEntry) -> RosterEntry {
    let later = if other.member.generation > one.member.generation { other } else { one };
    RosterEntry { member: later.member.clone(), gone: one.gone || other.gone }
}

#[cfg(test)]
pub(crate) mod fixture {
    use plimsoll_domain::id::Region;
    use plimsoll_wire::peer::v1::SPOKEN;

    use super::*;

    pub(crate) fn member(node: u64, generation: u64) -> Member {
        Member {
            node: NodeId::new(node),
            incarnation: 1,
            generation,
            region: Region::parse("eu").unwrap(),
            peer: format!("host-{node}:{generation}"),
            http: format!("host-{node}:7171"),
            software: "0.1.0".to_owned(),
            versions: SPOKEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fixture::member;
    use super::*;

    fn entries() -> impl Strategy<Value = Vec<RosterEntry>> {
        let entry = (2..6_u64, 0..4_u64, any::<bool>())
            .prop_map(|(node, generation, gone)| RosterEntry { member: member(node, generation), gone });
        prop::collection::vec(entry, 0..12)
    }

    fn merged(parts: &[&Vec<RosterEntry>]) -> Vec<RosterEntry> {
        let roster = Roster::new(member(1, 1), Vec::new());
        for part in parts {
            roster.merge(part.iter().cloned());
        }
        roster.entries()
    }

    proptest! {
        #[test]
        fn rosters_come_to_the_same_in_any_order(one in entries(), two in entries(), three in entries()) {
            let expected = merged(&[&one, &two, &three]);
            prop_assert_eq!(&merged(&[&three, &one, &two]), &expected);
            prop_assert_eq!(&merged(&[&two, &two, &three, &one]), &expected);
        }
    }

    #[test]
    fn who_is_gone_stays_gone() {
        let roster = Roster::new(member(1, 1), Vec::new());
        let entry = |generation, gone| RosterEntry { member: member(2, generation), gone };
        assert_eq!(roster.merge([entry(1, true)]), Merged::Changed);
        assert_eq!(roster.merge([entry(9, false)]), Merged::Changed);
        assert_eq!(roster.admits(NodeId::new(2)), Err(Refusal::Gone));
        assert_eq!(roster.merge([entry(9, false), RosterEntry { member: member(1, 7), gone: true }]), Merged::Same);
        assert_eq!(roster.here().generation, 1, "nobody else speaks for this node");
    }

    fn entry(node: u64, gone: bool) -> RosterEntry {
        RosterEntry { member: member(node, 1), gone }
    }

    fn counts(roster: &Roster, node: u64) -> bool {
        roster.peer(NodeId::new(node), Peer::counts).unwrap()
    }

    #[test]
    fn who_is_gone_counts_until_all_others_were_compared_with() {
        let roster = Roster::new(member(1, 1), vec![entry(2, false), entry(3, false), entry(4, false)]);
        assert!(roster.outlive() && counts(&roster, 2), "nobody is gone");
        roster.merge([entry(2, true)]);
        assert!(!roster.outlive() && counts(&roster, 2));
        roster.compared(NodeId::new(3), 1);
        assert!(!roster.outlive() && counts(&roster, 2), "node 4 may have what 2 had");
        roster.compared(NodeId::new(4), 1);
        assert!(roster.outlive() && !counts(&roster, 2) && counts(&roster, 3));
    }

    /// What node 2 had is at 3, and then at 4, which was compared with in between.
    #[test]
    fn who_is_gone_counts_while_another_one_goes() {
        let roster = Roster::new(member(1, 1), vec![entry(2, false), entry(3, false), entry(4, false)]);
        roster.merge([entry(2, true)]);
        roster.compared(NodeId::new(4), 1);
        roster.merge([entry(3, true)]);
        roster.compared(NodeId::new(4), 1);
        assert!(!roster.outlive() && counts(&roster, 2) && counts(&roster, 3), "4 was compared with before 3 went");
        roster.compared(NodeId::new(4), 2);
        assert!(roster.outlive() && !counts(&roster, 2) && !counts(&roster, 3));
        roster.merge([entry(4, true)]);
        assert!(roster.outlive() && !counts(&roster, 4), "nobody else can have anything");
    }

    #[test]
    fn who_was_gone_before_the_start_counts_until_all_others_were_compared_with() {
        let roster = Roster::new(member(1, 1), vec![entry(2, true), entry(3, false)]);
        assert!(!roster.outlive() && counts(&roster, 2));
        assert_eq!(roster.to_compare().0, 1);
        roster.compared(NodeId::new(3), 1);
        assert!(roster.outlive() && !counts(&roster, 2));
    }

    #[test]
    fn a_roster_has_a_bound() {
        let roster = Roster::new(member(1, 1), Vec::new());
        roster.merge((2..5_000).map(|node| RosterEntry { member: member(node, 1), gone: false }));
        assert_eq!(roster.entries().len(), ROSTER_MAX);
        roster.merge([RosterEntry { member: member(2, 1), gone: true }]);
        roster.merge([RosterEntry { member: member(9_000, 1), gone: false }]);
        assert_eq!(roster.entries().len(), ROSTER_MAX);
        let known = |node| roster.peer(NodeId::new(node), |_| ()).is_some();
        assert!(known(9_000) && !known(2), "who is gone makes room");
    }
}
