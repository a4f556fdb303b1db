//! Horizons: facts pass only between nodes that have forgotten the same (`domain::projection::Horizon`).
//!
//! Each question that brings facts says in a header of which horizon the asker is, and is answered only by a node of the
//! same one; what comes is merged only while the store still is. Where two nodes differ, each hears of the other's, and the
//! one that has forgotten less follows: see [`crate::following`].

use std::time::Duration;

use futures_util::future::join_all;
use plimsoll_domain::id::NodeId;
use plimsoll_domain::projection::{Ahead, Fingerprint, Horizon, ahead};
use plimsoll_store::error::ReadError;
use plimsoll_wire::peer::FORGETS;
use plimsoll_wire::peer::v1::{Standing, decode_standing, encode_standing};

use crate::context::Context;
use crate::joining::ALONE_AFTER;
use crate::link::{Link, LinkError};
use crate::roster::{Liveness, Peer};

/// The header that says of which horizon the asker is. Without it, it is of the first.
pub(crate) const HEADER: &str = "plimsoll-horizon";

/// How long a peer may take to say how far it is.
const STANDING_TIME_MAX: Duration = Duration::from_secs(5);

/// A horizon, as the header says it.
pub(crate) fn header_of(horizon: Horizon) -> String {
    let Horizon { until, facts: Fingerprint { sum, count } } = horizon;
    format!("{}/{count}/{sum:032x}", until.get())
}

/// The horizon of this node, where a question with this header may be answered with facts.
pub(crate) fn common(context: &Context, header: Option<&str>) -> Option<Horizon> {
    let first = header_of(Horizon::default());
    context.projections.horizon().filter(|own| header_of(*own) == header.unwrap_or(&first))
}

/// Finds out whether a peer is of this node's horizon. Where it is not, one of the two follows, soon.
pub(crate) async fn settle(context: &Context, link: &Link, peer: NodeId) -> Result<Horizon, LinkError> {
    let own = context.projections.horizon().ok_or(LinkError::Forgetting)?;
    if link.version() < FORGETS {
        return if own == Horizon::default() { Ok(own) } else { Err(LinkError::TooOld) };
    }
    let theirs = standing_of(link, own).await?.horizon;
    context.hear_of(peer, theirs);
    let is_one = theirs == Some(own);
    let trouble = LinkError::OtherHorizon.to_string();
    context.roster.note(peer, |peer| match &peer.trouble {
        Some(known) if is_one && *known == trouble => peer.trouble = None,
        _ if is_one => {}
        _ => peer.trouble = Some(trouble),
    });
    if is_one { Ok(own) } else { Err(LinkError::OtherHorizon) }
}

/// Tells all members that are connected of which horizon this node is, and is told of which they are, and how far they came
/// with this node's feed. Who does not answer is left out.
pub(crate) async fn exchange(context: &Context, own: Horizon) -> Vec<(NodeId, Standing)> {
    let links: Vec<(NodeId, Link)> = context.roster.view(|peers| {
        let link = |(node, peer): (&NodeId, &Peer)| Some((*node, peer.link.clone()?));
        peers.iter().filter_map(link).collect()
    });
    let asking = links.iter().map(|(node, link)| async move { Some((*node, standing_of(link, own).await.ok()?)) });
    let standings: Vec<(NodeId, Standing)> = join_all(asking).await.into_iter().flatten().collect();
    standings.iter().for_each(|(node, standing)| context.hear_of(*node, standing.horizon));
    standings
}

/// Tells a peer the horizon here, and is told the one there.
async fn standing_of(link: &Link, own: Horizon) -> Result<Standing, LinkError> {
    let question = encode_standing(Standing { horizon: Some(own), taken: None });
    link.ask_for("horizon", question, STANDING_TIME_MAX, decode_standing).await
}

/// Answers a peer that says how far it is.
pub(crate) async fn answer(context: &Context, peer: NodeId, theirs: Standing) -> Result<Vec<u8>, ReadError> {
    context.hear_of(peer, theirs.horizon);
    let horizon = context.projections.horizon();
    let taken = context.projections.durable_watermark(peer).await?;
    Ok(encode_standing(Standing { horizon, taken: taken.map(|taken| (taken.incarnation, taken.sequence)) }))
}

impl Context {
    /// Notes of which horizon a member is. While it forgets it says none, and is still of the one before.
    fn hear_of(&self, peer: NodeId, horizon: Option<Horizon>) {
        let Some(horizon) = horizon else { return };
        self.horizons.send_if_modified(|horizons| horizons.insert(peer, horizon) != Some(horizon));
    }

    /// Who is ahead of this node, if somebody is. What a member said that is not there any more does not count.
    pub(crate) fn ahead(&self, own: Horizon) -> Option<Ahead> {
        ahead(own, self.others().into_iter().map(|other| other.heard))
    }

    /// The horizon that most of those have come to that are there, if it is ahead: enough for a store that has nothing to
    /// lose by following them. Who has not come further and holds the same as this node does not count: what is safe here is
    /// safe there, and new nodes would wait for each other.
    pub(crate) fn horizon_of_most_there(&self, own: Horizon) -> Option<Horizon> {
        let facts = self.projections.fingerprint().ok();
        let is_alike = |other: &Other| other.heard == Some(own) && other.facts.is_some() && other.facts == facts;
        let there = self.others().into_iter().filter(|other| other.is_there && !is_alike(other));
        ahead(own, there.map(|other| other.heard)).filter(|ahead| ahead.is_of_most).map(|ahead| ahead.horizon)
    }

    /// Whether another member was not met since this node was started, or did not say of which horizon it is.
    pub(crate) fn knows_too_little(&self) -> bool {
        let horizons = self.horizons.borrow();
        let is_unheard = |(node, peer): (&NodeId, &Peer)| {
            let is_too_old = peer.link.as_ref().is_some_and(|link| link.version() < FORGETS);
            !peer.entry.gone && (peer.last_seen == 0 || !is_too_old && !horizons.contains_key(node))
        };
        self.roster.view(|peers| peers.iter().any(is_unheard))
    }

    /// The other members. At a node that was just started all may be there: whoever is met first is not all there are.
    fn others(&self) -> Vec<Other> {
        let is_new = self.began.elapsed() < ALONE_AFTER;
        let is_there = |peer: &Peer| is_new || peer.link.is_some() || peer.liveness != Liveness::Down;
        let horizons = self.horizons.borrow();
        let other = |(node, peer): (&NodeId, &Peer)| {
            let is_there = is_there(peer);
            let heard = horizons.get(node).filter(|_| is_there).copied();
            Other { is_there, heard, facts: peer.told.map(|told| told.facts) }
        };
        self.roster.view(|peers| peers.iter().filter(|(_, peer)| !peer.entry.gone).map(other).collect())
    }
}

/// What is known of another member.
struct Other {
    is_there: bool,
    /// Of which horizon it said that it is, if it is there.
    heard: Option<Horizon>,
    /// What it said that it holds.
    facts: Option<Fingerprint>,
}
