//! The feed: what a node tells those who follow it, and what they answer.

use plimsoll_domain::id::NodeId;
use serde::{Deserialize, Serialize};

use super::super::{Blob, COMPRESSES, CONTINUES, FrameError, decode, decode_whole, encode, encode_bare};
use super::recent::Recent;
use super::{FIRST, ROSTER_MAX, decompressed};

/// Which facts of a feed are wanted, by who stamped them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those the node of the feed stamped itself.
    Own,
    /// All but those that only these nodes have stamped.
    AllBut(Vec<NodeId>),
}

/// Asks for a node's feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// The incarnation `after` is of.
    pub incarnation: u64,
    /// Begin after this sequence.
    pub after: u64,
    /// What is wanted.
    pub wanted: Wanted,
}

/// A part of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The sequence it begins after.
    pub after: u64,
    /// Everything that was wanted up to here is in `facts`.
    pub up_to: u64,
    /// The sender's clock, in nanoseconds since 1970: what it had durable then is here once this page and those before are. 0
    /// where more was durable than this page tells.
    pub clock: u64,
    /// Whether somebody waits to hear that it has arrived, so that it is to be acknowledged at once. Before version 4 all are taken
    /// to be.
    pub awaited: bool,
    /// Facts as stored records, each with its sequence, in order.
    pub facts: Vec<(u64, Vec<u8>)>,
}

/// How far a node has come with the feed of another, told on to those who do not follow that one themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// The other.
    pub node: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// Everything it stamped itself, up to this sequence of its feed, has passed.
    pub sequence: u64,
    /// When that was so, by the clock of who tells it: at the latest.
    pub clock: u64,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// Everything wanted up to this sequence has been told.
    pub told: u64,
    /// The sequence of the latest durable fact.
    pub durable: u64,
    /// The sender's clock, in nanoseconds since 1970.
    pub clock: u64,
    /// What the sender got last, for the other to tell how their clocks differ.
    pub echo: Option<Echo>,
    /// The facts of the sender: their number and their digest, where they have changed since it said so last.
    pub facts: Option<(u64, u128)>,
    /// Whether the sender is ready to serve.
    pub ready: bool,
    /// What it passes on.
    pub relayed: Vec<Relayed>,
}

/// Two readings of NTP's four (RFC 5905, section 8): the others are the receiver's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// When the other sent it, by its own clock.
    pub sent: u64,
    /// When it came, by this clock.
    pub received: u64,
}

/// What a feed says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Downstream {
    /// Where it begins: not where it was asked to, if it does not know that place.
    Begins {
        /// The incarnation of the feed.
        incarnation: u64,
        /// It begins after this sequence.
        after: u64,
    },
    /// Facts.
    Page(Page),
    /// A sign of life.
    Pulse(Pulse),
}

/// What a follower says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Everything up to this sequence is on the follower's disk.
    pub sequence: u64,
    /// The follower's clock, in nanoseconds since 1970.
    pub clock: u64,
}

#[derive(Serialize, Deserialize)]
enum WantedV1 {
    Own,
    AllBut(Vec<u64>),
}

#[derive(Serialize, Deserialize)]
struct FollowV1 {
    incarnation: u64,
    after: u64,
    wanted: WantedV1,
}

/// Sequences are differences, each from the one before.
type FactsV1 = Vec<(u64, Blob)>;

#[derive(Serialize, Deserialize)]
struct PulseV1 {
    told: u64,
    ahead: u64,
    clock: u64,
    echo: Option<Echo>,
    facts: Option<(u64, u128)>,
    ready: bool,
    relayed: Vec<(u64, u64, u64, u64)>,
}

#[derive(Serialize, Deserialize)]
enum DownstreamV1 {
    Begins {
        incarnation: u64,
        after: u64,
    },
    Page {
        after: u64,
        up_to: u64,
        clock: u64,
        facts: FactsV1,
    },
    Pulse(PulseV1),
    /// Since version 2: the facts of a page as they would be written, compressed by LZ4 after their length in four bytes,
    /// little-endian.
    Compressed {
        after: u64,
        up_to: u64,
        clock: u64,
        facts: Blob,
    },
    /// Since version 4: as `Compressed`, with what the pages before it said last as the dictionary of LZ4, and no length in front.
    Continued {
        after: u64,
        /// What `up_to` is beyond `after`.
        span: u64,
        clock: u64,
        awaited: bool,
        /// The bytes of the facts once they are decompressed.
        length: u64,
        facts: Blob,
    },
}

/// Writes a follow, with its length.
#[must_use]
pub fn encode_follow(follow: &Follow) -> Vec<u8> {
    let wanted = match &follow.wanted {
        Wanted::Own => WantedV1::Own,
        Wanted::AllBut(nodes) => WantedV1::AllBut(nodes.iter().map(|node| node.number()).collect()),
    };
    encode(FIRST, &FollowV1 { incarnation: follow.incarnation, after: follow.after, wanted })
}

/// Reads a follow.
///
/// # Errors
/// [`FrameError`].
pub fn decode_follow(frame: &[u8]) -> Result<Follow, FrameError> {
    let FollowV1 { incarnation, after, wanted } = decode(FIRST, frame)?;
    let wanted = match wanted {
        WantedV1::Own => Wanted::Own,
        WantedV1::AllBut(nodes) if nodes.len() > ROSTER_MAX => {
            return Err(FrameError::Field { field: "wanted", rule: format!("must name at most {ROSTER_MAX} nodes") });
        }
        WantedV1::AllBut(nodes) => Wanted::AllBut(nodes.into_iter().map(NodeId::new).collect()),
    };
    Ok(Follow { incarnation, after, wanted })
}

/// Writes a frame of a feed, with its length, for a conversation of `version`. `recent` is the conversation's,
/// and new at its beginning.
#[must_use]
pub fn encode_downstream(version: u16, recent: &mut Recent, frame: &Downstream) -> Vec<u8> {
    let body = match frame {
        Downstream::Begins { incarnation, after } => DownstreamV1::Begins { incarnation: *incarnation, after: *after },
        Downstream::Pulse(pulse) => DownstreamV1::Pulse(PulseV1 {
            told: pulse.told,
            ahead: pulse.durable - pulse.told,
            clock: pulse.clock,
            echo: pulse.echo,
            facts: pulse.facts,
            ready: pulse.ready,
            relayed: pulse
                .relayed
                .iter()
                .map(|relayed| (relayed.node.number(), relayed.incarnation, relayed.sequence, relayed.clock))
                .collect(),
        }),
        Downstream::Page(page) => page_body(version, recent, page),
    };
    encode(FIRST, &body)
}

fn page_body(version: u16, recent: &mut Recent, page: &Page) -> DownstreamV1 {
    let Page { after, up_to, clock, awaited, ref facts } = *page;
    let mut before = after;
    let facts: FactsV1 = facts
        .iter()
        .map(|(sequence, fact)| (sequence - std::mem::replace(&mut before, *sequence), Blob(fact.clone())))
        .collect();
    if version >= CONTINUES {
        let plain = encode_bare(&facts);
        let (length, facts) = (plain.len() as u64, Blob(recent.compress(&plain)));
        recent.push(&plain);
        return DownstreamV1::Continued { after, span: up_to - after, clock, awaited, length, facts };
    }
    if version >= COMPRESSES {
        let plain = encode_bare(&facts);
        let compressed = lz4_flex::compress_prepend_size(&plain);
        if compressed.len() < plain.len() {
            return DownstreamV1::Compressed { after, up_to, clock, facts: Blob(compressed) };
        }
    }
    DownstreamV1::Page { after, up_to, clock, facts }
}

/// Reads a frame of a feed. `recent` is the conversation's, and new at its beginning.
///
/// # Errors
/// [`FrameError`].
pub fn decode_downstream(recent: &mut Recent, frame: &[u8]) -> Result<Downstream, FrameError> {
    Ok(match decode(FIRST, frame)? {
        DownstreamV1::Begins { incarnation, after } => Downstream::Begins { incarnation, after },
        DownstreamV1::Page { after, up_to, clock, facts } => Downstream::Page(page(after, up_to, clock, true, facts)?),
        DownstreamV1::Compressed { after, up_to, clock, facts } => {
            Downstream::Page(page(after, up_to, clock, true, decompressed(&facts.0)?)?)
        }
        DownstreamV1::Continued { after, span, clock, awaited, length, facts } => {
            let plain = recent.decompress(&facts.0, length)?;
            recent.push(&plain);
            let up_to = after.checked_add(span).ok_or_else(order)?;
            Downstream::Page(page(after, up_to, clock, awaited, decode_whole(&plain)?)?)
        }
        DownstreamV1::Pulse(PulseV1 { told, ahead, clock, echo, facts, ready, relayed }) => {
            let durable = told.saturating_add(ahead);
            if relayed.len() > ROSTER_MAX {
                let rule = format!("must name at most {ROSTER_MAX} nodes");
                return Err(FrameError::Field { field: "relayed", rule });
            }
            let relayed = relayed.into_iter().map(|(node, incarnation, sequence, clock)| Relayed {
                node: NodeId::new(node),
                incarnation,
                sequence,
                clock,
            });
            Downstream::Pulse(Pulse { told, durable, clock, echo, facts, ready, relayed: relayed.collect() })
        }
    })
}

fn order() -> FrameError {
    FrameError::Field { field: "facts", rule: "must be in order, up to the page's end".to_owned() }
}

fn page(after: u64, up_to: u64, clock: u64, awaited: bool, facts: FactsV1) -> Result<Page, FrameError> {
    let mut before = after;
    let facts = facts.into_iter().map(|(difference, Blob(fact))| {
        if difference == 0 {
            return Err(order());
        }
        before = before.checked_add(difference).filter(|sequence| *sequence <= up_to).ok_or_else(order)?;
        Ok((before, fact))
    });
    let facts = facts.collect::<Result<_, _>>()?;
    if up_to < after {
        return Err(order());
    }
    Ok(Page { after, up_to, clock, awaited, facts })
}

/// Writes what a follower says, with its length.
#[must_use]
pub fn encode_upstream(frame: &Upstream) -> Vec<u8> {
    encode(FIRST, frame)
}

/// Reads what a follower says.
///
/// # Errors
/// [`FrameError`].
pub fn decode_upstream(frame: &[u8]) -> Result<Upstream, FrameError> {
    decode(FIRST, frame)
}
