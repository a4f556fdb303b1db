//! What every task of a cluster shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::{ClusterName, NodeId, Region};
use plimsoll_domain::projection::Horizon;
use plimsoll_store::notes::Fence;
use plimsoll_store::options::WallClock;
use plimsoll_store::projections::Projections;
use plimsoll_wire::peer::FrameError;
use plimsoll_wire::peer::v1::{Hello, Refusal, RosterEntry, Versions};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::link::{Link, LinkError};
use crate::membership::Input;
use crate::net::Connector;
use crate::roster::{Peer, Roster};
use crate::security::Security;

/// A promise to forget, kept so that whoever was given it may decide by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    /// Who was given it; `None` where that was before this node was started, and is not known.
    pub(crate) to: Option<NodeId>,
    /// How long it holds.
    pub(crate) until: Instant,
}

/// What every task of a cluster shares.
pub(crate) struct Context {
    pub(crate) cluster: ClusterName,
    /// Drawn at each start.
    pub(crate) instance: u64,
    /// When this node was started.
    pub(crate) began: Instant,
    /// What the clock on the wall showed then.
    pub(crate) began_on_the_wall: u64,
    /// The longest time between two signs of life.
    pub(crate) pulse: Duration,
    pub(crate) repair_timeout: Duration,
    pub(crate) drift_max: Duration,
    pub(crate) projections: Projections,
    pub(crate) roster: Roster,
    pub(crate) membership: mpsc::Sender<Input>,
    pub(crate) wall_clock: WallClock,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) security: Security,
    /// Whether the node cuts itself off, for a test.
    pub(crate) cut: watch::Sender<bool>,
    /// Whether this node has what its peers had when it came.
    pub(crate) ready: watch::Sender<bool>,
    /// Whether the node leaves.
    pub(crate) leaving: watch::Sender<bool>,
    /// Whether this node has fallen behind, and has to start afresh.
    pub(crate) behind: watch::Sender<bool>,
    /// How long what was retired is kept.
    pub(crate) retention: Duration,
    /// Of which horizon the members say they are.
    pub(crate) horizons: watch::Sender<BTreeMap<NodeId, Horizon>>,
    /// The word this node has given last.
    pub(crate) word: Mutex<Option<Word>>,
    /// Whether this node was ever ready in this cluster.
    pub(crate) has_joined: AtomicBool,
    /// Whether this node is no member any more.
    pub(crate) has_left: AtomicBool,
    /// Whether it is to meet somebody, and has met nobody yet: then it does not know who else there is.
    pub(crate) is_alone_so_far: AtomicBool,
    /// How many of those it is told to call have not answered yet.
    pub(crate) unmet_seeds: AtomicUsize,
    /// How many writes wait, or will wait, for other members' disks.
    pub(crate) awaited: AtomicUsize,
    pub(crate) counters: Counters,
}

impl Context {
    /// The time on the wall, in nanoseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        (self.wall_clock)().get()
    }

    /// The time on a clock that nobody sets, in nanoseconds: the wall clock's as it was when the node was started, and what has
    /// passed since. What is measured by it stays right where the wall clock is set.
    pub(crate) fn steady(&self) -> u64 {
        let passed = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.began_on_the_wall.saturating_add(passed)
    }

    /// How far the clock on the wall is ahead of the steady one. It changes where the wall clock is set, and where the machine
    /// sleeps: the steady one does not go on then.
    pub(crate) fn wall_ahead(&self) -> i64 {
        i64::try_from(i128::from(self.now()) - i128::from(self.steady())).unwrap_or_default()
    }

    /// How long ago something was, in nanoseconds: an upper bound. `wall_ahead` is what [`Context::wall_ahead`] was when it was noted.
    pub(crate) fn age(&self, steady: u64, wall_ahead: i64) -> u64 {
        let slept = self.wall_ahead().saturating_sub(wall_ahead);
        self.steady().saturating_sub(steady).saturating_add(u64::try_from(slept).unwrap_or_default())
    }

    pub(crate) fn node(&self) -> NodeId {
        self.roster.here().node
    }

    /// What this node says of itself.
    pub(crate) fn hello(&self) -> Hello {
        Hello {
            cluster: self.cluster.clone(),
            instance: self.instance,
            member: self.roster.here().clone(),
            roster: self.roster.entries(),
        }
    }

    /// As [`Context::admit`], as far as it needs nobody to be asked.
    pub(crate) fn meet(&self, hello: &Hello) -> Result<u16, Refusal> {
        let here = self.roster.here();
        if hello.cluster != self.cluster {
            return Err(Refusal::OtherCluster { cluster: self.cluster.to_string() });
        }
        if hello.instance == self.instance {
            return Err(Refusal::Yourself);
        }
        if hello.member.node == here.node {
            self.fence_identity(&hello.member.peer);
            return Err(Refusal::SameNode);
        }
        self.roster.admits(hello.member.node)?;
        let Versions { oldest, newest } = here.versions;
        here.versions.common(hello.member.versions).ok_or(Refusal::NoCommonVersion { oldest, newest })
    }

    /// Takes over whom a peer knows, and that it is there.
    pub(crate) fn met(&self, hello: Hello) {
        let Hello { member, roster, .. } = hello;
        self.is_alone_so_far.store(false, Ordering::Relaxed);
        let node = member.node;
        self.take_roster(std::iter::once(RosterEntry { member, gone: false }).chain(roster));
        let now = self.now();
        self.roster.note(node, |peer| peer.last_seen = now);
    }

    /// Takes over what another roster says.
    pub(crate) fn take_roster(&self, entries: impl IntoIterator<Item = RosterEntry>) {
        let here = self.node();
        let generation = self.roster.here().generation;
        let (mut is_gone, mut later) = (false, None);
        let entries = entries.into_iter().inspect(|entry| {
            if entry.member.node == here {
                is_gone |= entry.gone;
                later = later.take().or((entry.member.generation > generation).then(|| entry.member.peer.clone()));
            }
        });
        self.roster.merge(entries);
        if is_gone {
            self.fence_gone();
        }
        // It was started later than this process, which still runs.
        if let Some(other) = later {
            self.fence_identity(&other);
        }
    }

    /// What a node takes that is no member any more would go nowhere.
    pub(crate) fn fence_gone(&self) {
        self.has_left.store(true, Ordering::Relaxed);
        if self.projections.fence() != Some(Fence::NoMember) {
            tracing::error!(
                "this node is no member any more: it left, or was forgotten; it takes no writes, and may only come back as a \
                 new node, with an empty data directory"
            );
        }
        self.projections.set_fence(Some(Fence::NoMember));
        // It is written down with the roster.
        self.roster.change(self.node(), |_| {});
    }

    /// Asks all members the same, at once: what each answers within the time set for read repair, or why it does not. A
    /// `horizon` is given where facts are asked for.
    pub(crate) async fn ask_all<Answer>(
        &self,
        path: &str,
        question: &[u8],
        horizon: Option<Horizon>,
        decode: impl Fn(&[u8]) -> Result<Answer, FrameError>,
    ) -> Vec<(NodeId, Region, Result<Answer, LinkError>)> {
        let members: Vec<(NodeId, Region, Option<Link>)> = self.roster.view(|peers| {
            let members = peers.values().filter(|peer| !peer.entry.gone);
            let member = |peer: &Peer| {
                let member = &peer.entry.member;
                let link = peer.link.as_ref().map(|link| match horizon {
                    Some(horizon) => link.within(horizon),
                    None => link.clone(),
                });
                (member.node, member.region.clone(), link)
            };
            members.map(member).collect()
        });
        let decode = &decode;
        let asking = members.into_iter().map(|(node, region, link)| async move {
            let answer = match link {
                Some(link) => link.ask_for(path, question.to_vec(), self.repair_timeout, decode).await,
                None => Err(LinkError::Ended),
            };
            (node, region, answer)
        });
        join_all(asking).await
    }

    /// Two nodes with one identity stamp the same: neither may go on. `address` is the other's, or that of a peer which
    /// has met it.
    pub(crate) fn fence_identity(&self, address: &str) {
        if self.projections.fence() != Some(Fence::Identity) {
            tracing::error!(
                address,
                "another node has this node's id: one data directory is a copy of the other; writes are refused until one of \
                 them is stopped and this one restarted"
            );
        }
        if !self.has_left.load(Ordering::Relaxed) {
            self.projections.set_fence(Some(Fence::Identity));
        }
    }
}
