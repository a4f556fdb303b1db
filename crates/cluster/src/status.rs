//! What a node can tell of its cluster at this moment, and what others wait for.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_domain::id::{ClusterName, NodeId, Region};
use plimsoll_domain::projection::Fingerprint;
use plimsoll_store::notes::Fence;
use plimsoll_wire::peer::v1::Member;

use crate::cluster::Cluster;
use crate::context::Context;
use crate::roster::{Liveness, Peer};

/// A region from which nothing has come for so many pulses is missing: what is passed on by a relay may be three old.
const PULSES_UNHEARD_MAX: u32 = 5;

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It has not met a peer yet.
    Starting,
    /// It takes over what its peers had when it met them.
    CatchingUp,
    /// It serves.
    Ready,
    /// Its clock is off: it takes no writes.
    ClockFenced,
    /// It takes no writes for another reason.
    ReadOnly,
    /// It leaves the cluster.
    Leaving,
}

/// A member as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// What it said of itself last.
    pub member: Member,
    /// What the failure detector thinks of it.
    pub liveness: Liveness,
    /// Whether it has left or was forgotten.
    pub is_gone: bool,
    /// Whether this node is connected to it.
    pub is_connected: bool,
    /// How many entries of its feed are not here yet; `None` where it has not said how many there are.
    pub lag_facts: Option<u64>,
    /// Everything it had so long ago is here; `None` where nothing is known.
    pub lag: Option<Duration>,
    /// How far its clock is ahead of this node's, in nanoseconds; `None` where they have not been compared.
    pub clock_offset_nanos: Option<i64>,
    /// When it was last heard of, in nanoseconds since 1970; 0 for never since this node started.
    pub last_seen: u64,
    /// The fingerprint of all its facts, as it said last.
    pub facts: Option<Fingerprint>,
    /// What is wrong with it, if anything.
    pub trouble: Option<String>,
}

/// How old what is read here may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Everything any member had stamped so long ago is here: an upper bound. `None` where there is none: some member has not been
    /// heard of since this node started, or it has not caught up yet. A member that is gone counts until all that is left of it is here.
    pub staleness: Option<Duration>,
    /// Other regions from which nothing has come lately.
    pub regions_missing: Vec<Region>,
}

/// What is counted since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of frames of feeds sent to peers, before encryption.
    pub bytes_sent: u64,
    /// Bytes of frames of feeds taken from peers.
    pub bytes_received: u64,
    /// Facts sent to peers.
    pub facts_sent: u64,
    /// Facts that came from peers.
    pub facts_received: u64,
    /// Of those, the ones that came from another region.
    pub facts_from_afar: u64,
    /// Facts of peers that could not be taken over when they came.
    pub facts_refused: u64,
    /// Connections made to peers.
    pub links_made: u64,
    /// Connections to peers that failed or could not be made.
    pub links_failed: u64,
    /// Callers of the peer port that were turned away.
    pub callers_refused: u64,
    /// Questions asked to find out where a peer differs.
    pub repair_questions: u64,
    /// Facts that came in answer, and that no feed had brought.
    pub repair_facts: u64,
    /// Times all members were asked for a ref that is not known here.
    pub refs_asked: u64,
    /// Times one of them knew it.
    pub refs_repaired: u64,
    /// Times the members did not agree on what to forget when this node asked them.
    pub rounds_failed: u64,
}

impl Cluster {
    /// What this node says of itself to its peers.
    #[must_use]
    pub fn here(&self) -> &Member {
        self.context.roster.here()
    }

    /// What this node is doing.
    #[must_use]
    pub fn state(&self) -> NodeState {
        let context = &self.context;
        if *context.leaving.borrow() {
            return NodeState::Leaving;
        }
        match context.projections.fence() {
            Some(Fence::Clock) => return NodeState::ClockFenced,
            Some(Fence::Identity | Fence::NoMember | Fence::Behind) => return NodeState::ReadOnly,
            None => {}
        }
        if *context.ready.borrow() {
            NodeState::Ready
        } else if context.roster.view(|peers| peers.values().any(|peer| peer.told.is_some())) {
            NodeState::CatchingUp
        } else {
            NodeState::Starting
        }
    }

    /// Every other member, by node id; those that are gone last.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        let mut members: Vec<_> =
            self.context.roster.view(|peers| peers.values().map(|peer| status(&self.context, peer)).collect());
        members.sort_by_key(|member: &MemberStatus| (member.is_gone, member.member.node));
        members
    }

    /// How old what is read here may be.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let silence = u64::try_from((self.context.pulse * PULSES_UNHEARD_MAX).as_nanos()).unwrap_or(u64::MAX);
        if self.context.is_alone_so_far.load(Ordering::Relaxed) {
            return Freshness::default();
        }
        // Before it has caught up there may be members it does not know, and facts of such as have left.
        let has_caught_up = *self.context.ready.borrow();
        self.context.roster.view(|peers| {
            let members = || peers.values().filter(|peer| !peer.entry.gone);
            let ages = peers
                .values()
                .filter(|peer| peer.counts())
                .map(|peer| peer.age(&self.context).map(Duration::from_nanos));
            let oldest = ages.collect::<Option<Vec<_>>>().map(|ages| ages.into_iter().max().unwrap_or_default());
            let mut heard: BTreeMap<&str, (bool, &Region)> = BTreeMap::new();
            let here = &self.context.roster.here().region;
            for peer in members().filter(|peer| peer.entry.member.region != *here) {
                let region = &peer.entry.member.region;
                let is_heard = peer.age(&self.context).is_some_and(|age| age <= silence);
                heard.entry(region.as_str()).or_insert((false, region)).0 |= is_heard;
            }
            Freshness {
                staleness: oldest.filter(|_| has_caught_up),
                regions_missing: heard
                    .into_values()
                    .filter(|(heard, _)| !heard)
                    .map(|(_, region)| region.clone())
                    .collect(),
            }
        })
    }

    /// How many members there are, this node among them.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.context.roster.members_and_here(|_| true)
    }

    /// Whether this node is new, is to meet others, and has met none yet: then it is not known to them, and what it took would
    /// be refused there as unknown. One that reaches nobody goes on alone after a while.
    #[must_use]
    pub fn is_unmet(&self) -> bool {
        !*self.context.ready.borrow() && self.context.is_alone_so_far.load(Ordering::Relaxed)
    }

    /// Whether this node has what its peers had when it came.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.context.ready.borrow()
    }

    /// What is counted since the start.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.context.counters;
        Counts {
            bytes_sent: counters.bytes_sent.get(),
            bytes_received: counters.bytes_received.get(),
            facts_sent: counters.facts_sent.get(),
            facts_received: counters.facts_received.get(),
            facts_from_afar: counters.facts_from_afar.get(),
            facts_refused: counters.facts_refused.get(),
            links_made: counters.links_made.get(),
            links_failed: counters.links_failed.get(),
            callers_refused: counters.callers_refused.get(),
            repair_questions: counters.repair_questions.get(),
            repair_facts: counters.repair_facts.get(),
            refs_asked: counters.refs_asked.get(),
            refs_repaired: counters.refs_repaired.get(),
            rounds_failed: counters.rounds_failed.get(),
        }
    }

    /// The name of the cluster.
    #[must_use]
    pub fn name(&self) -> &ClusterName {
        &self.context.cluster
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.context.node()
    }
}

fn status(context: &Context, peer: &Peer) -> MemberStatus {
    MemberStatus {
        member: peer.entry.member.clone(),
        liveness: if peer.link.is_some() && peer.liveness == Liveness::Down { Liveness::Alive } else { peer.liveness },
        is_gone: peer.entry.gone,
        is_connected: peer.link.is_some(),
        lag_facts: peer.told.map(|told| told.sequence.saturating_sub(peer.taken.sequence)),
        lag: peer.age(context).map(Duration::from_nanos),
        clock_offset_nanos: peer.offset().map(|offset| offset.nanos.saturating_sub(context.wall_ahead())),
        last_seen: peer.last_seen,
        facts: peer.told.map(|told| told.facts),
        trouble: peer.trouble.clone(),
    }
}
