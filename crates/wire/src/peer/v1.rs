//! The frames of the conversation, versions 1 and 2.
//!
//! A connection begins with [`Hello`], answered by [`Welcome`]. After it the one who called may [`Follow`] the other's
//! feed: [`Downstream`] frames come back, [`Upstream`] frames go out on the same stream. Everything else is one question
//! and one answer.

mod reconcile;

use plimsoll_domain::id::{ArtifactId, ClusterName, NodeId, Region, TenantId};
use plimsoll_domain::projection::Token;
use serde::{Deserialize, Serialize};

use super::{Blob, FrameError, NEWEST, decode, encode};

pub use reconcile::{ANSWER_BYTES_MAX, decode_answer, decode_question, encode_answer, encode_question};

/// What the first exchange is written in, whatever is spoken later.
const FIRST: u8 = 1;

/// The most members a roster may have.
pub const ROSTER_MAX: usize = 1_024;

/// The most bytes of an address: a host name of 253 and a port.
const ADDRESS_BYTES_MAX: usize = 260;

/// The most bytes of the text that names a version of the software.
const SOFTWARE_BYTES_MAX: usize = 64;

/// The versions of the conversation a node speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest.
    pub oldest: u16,
    /// The newest; at least `oldest`.
    pub newest: u16,
}

impl Versions {
    /// The newest both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

/// A member of the cluster, as it speaks of itself. What a node says later has the greater `generation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// The incarnation of its data directory.
    pub incarnation: u64,
    /// Greater each time its data directory is started.
    pub generation: u64,
    /// Where it is.
    pub region: Region,
    /// Where its peers reach it: a host and a port.
    pub peer: String,
    /// Where its clients reach it: a host and a port.
    pub http: String,
    /// The version of its software.
    pub software: String,
    /// The versions of the conversation it speaks.
    pub versions: Versions,
}

/// A member the others know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterEntry {
    /// The member.
    pub member: Member,
    /// Whether it is gone for good: it left, or an operator said so. It is never a member again.
    pub gone: bool,
}

/// The first frame of a connection, from who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The cluster it is of.
    pub cluster: ClusterName,
    /// Drawn at each start: one that comes back to its drawer is its own.
    pub instance: u64,
    /// Who it is.
    pub member: Member,
    /// Whom it knows.
    pub roster: Vec<RosterEntry>,
}

/// Why two nodes do not talk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The other is of another cluster.
    OtherCluster {
        /// The one it is of.
        cluster: String,
    },
    /// There is no version both speak.
    NoCommonVersion {
        /// The oldest the other speaks.
        oldest: u16,
        /// The newest.
        newest: u16,
    },
    /// The caller has called itself.
    Yourself,
    /// The caller has the node id of the one it called: one of the two is a copy of the other's data directory.
    SameNode,
    /// The caller has left, or was forgotten: it may only come back as a new node.
    Gone,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Welcome {
    /// They talk, in this version.
    Welcome {
        /// The version.
        version: u16,
        /// Who the other is, and whom it knows.
        hello: Box<Hello>,
    },
    /// They part.
    Refused(Refusal),
}

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
struct MemberV1 {
    node: u64,
    incarnation: u64,
    generation: u64,
    region: String,
    peer: String,
    http: String,
    software: String,
    versions: Versions,
}

#[derive(Serialize, Deserialize)]
struct HelloV1 {
    cluster: String,
    instance: u64,
    member: MemberV1,
    roster: Vec<(MemberV1, bool)>,
}

#[derive(Serialize, Deserialize)]
enum WelcomeV1 {
    Welcome(u16, HelloV1),
    Refused(Refusal),
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
}

impl From<&Member> for MemberV1 {
    fn from(member: &Member) -> Self {
        Self {
            node: member.node.number(),
            incarnation: member.incarnation,
            generation: member.generation,
            region: member.region.as_str().to_owned(),
            peer: member.peer.clone(),
            http: member.http.clone(),
            software: member.software.clone(),
            versions: member.versions,
        }
    }
}

impl TryFrom<MemberV1> for Member {
    type Error = FrameError;

    fn try_from(member: MemberV1) -> Result<Self, FrameError> {
        let MemberV1 { node, incarnation, generation, region, peer, http, software, versions } = member;
        check_length("peer", &peer, ADDRESS_BYTES_MAX)?;
        check_length("http", &http, ADDRESS_BYTES_MAX)?;
        check_length("software", &software, SOFTWARE_BYTES_MAX)?;
        let region = Region::parse(region).map_err(FrameError::text("region"))?;
        Ok(Self { node: NodeId::new(node), incarnation, generation, region, peer, http, software, versions })
    }
}

fn check_length(field: &'static str, text: &str, max: usize) -> Result<(), FrameError> {
    if text.len() <= max && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(FrameError::Field { field, rule: format!("must be at most {max} bytes without control characters") })
}

impl From<&Hello> for HelloV1 {
    fn from(hello: &Hello) -> Self {
        Self {
            cluster: hello.cluster.as_str().to_owned(),
            instance: hello.instance,
            member: (&hello.member).into(),
            roster: roster(&hello.roster),
        }
    }
}

fn roster(entries: &[RosterEntry]) -> Vec<(MemberV1, bool)> {
    entries.iter().map(|entry| ((&entry.member).into(), entry.gone)).collect()
}

fn parse_roster(entries: Vec<(MemberV1, bool)>) -> Result<Vec<RosterEntry>, FrameError> {
    if entries.len() > ROSTER_MAX {
        return Err(FrameError::Field { field: "roster", rule: format!("must have at most {ROSTER_MAX} members") });
    }
    entries.into_iter().map(|(member, gone)| Ok(RosterEntry { member: member.try_into()?, gone })).collect()
}

impl TryFrom<HelloV1> for Hello {
    type Error = FrameError;

    fn try_from(hello: HelloV1) -> Result<Self, FrameError> {
        Ok(Self {
            cluster: ClusterName::parse(hello.cluster).map_err(FrameError::text("cluster"))?,
            instance: hello.instance,
            member: hello.member.try_into()?,
            roster: parse_roster(hello.roster)?,
        })
    }
}

/// Writes a hello, with its length.
#[must_use]
pub fn encode_hello(hello: &Hello) -> Vec<u8> {
    encode(FIRST, &HelloV1::from(hello))
}

/// Reads a hello.
///
/// # Errors
/// [`FrameError`].
pub fn decode_hello(frame: &[u8]) -> Result<Hello, FrameError> {
    decode::<HelloV1>(FIRST, frame)?.try_into()
}

/// Writes a welcome, with its length.
#[must_use]
pub fn encode_welcome(welcome: &Welcome) -> Vec<u8> {
    let body = match welcome {
        Welcome::Welcome { version, hello } => WelcomeV1::Welcome(*version, (&**hello).into()),
        Welcome::Refused(refusal) => WelcomeV1::Refused(refusal.clone()),
    };
    encode(FIRST, &body)
}

/// Reads a welcome.
///
/// # Errors
/// [`FrameError`].
pub fn decode_welcome(frame: &[u8]) -> Result<Welcome, FrameError> {
    Ok(match decode::<WelcomeV1>(FIRST, frame)? {
        WelcomeV1::Welcome(version, hello) => Welcome::Welcome { version, hello: Box::new(hello.try_into()?) },
        WelcomeV1::Refused(refusal) => Welcome::Refused(refusal),
    })
}

/// Writes a roster, with its length.
#[must_use]
pub fn encode_roster(entries: &[RosterEntry]) -> Vec<u8> {
    encode(FIRST, &roster(entries))
}

/// Reads a roster.
///
/// # Errors
/// [`FrameError`].
pub fn decode_roster(frame: &[u8]) -> Result<Vec<RosterEntry>, FrameError> {
    parse_roster(decode(FIRST, frame)?)
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

/// Writes a frame of a feed, with its length, for a conversation of `version`. What compresses badly is sent as it is.
#[must_use]
pub fn encode_downstream(version: u16, frame: &Downstream) -> Vec<u8> {
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
        Downstream::Page(page) => page_body(version, page),
    };
    encode(FIRST, &body)
}

fn page_body(version: u16, page: &Page) -> DownstreamV1 {
    let Page { after, up_to, clock, ref facts } = *page;
    let mut before = after;
    let facts: FactsV1 = facts
        .iter()
        .map(|(sequence, fact)| (sequence - std::mem::replace(&mut before, *sequence), Blob(fact.clone())))
        .collect();
    if version >= 2 {
        let plain = super::encode_bare(&facts);
        let compressed = lz4_flex::compress_prepend_size(&plain);
        if compressed.len() < plain.len() {
            return DownstreamV1::Compressed { after, up_to, clock, facts: Blob(compressed) };
        }
    }
    DownstreamV1::Page { after, up_to, clock, facts }
}

/// Reads a frame of a feed.
///
/// # Errors
/// [`FrameError`].
pub fn decode_downstream(frame: &[u8]) -> Result<Downstream, FrameError> {
    Ok(match decode(FIRST, frame)? {
        DownstreamV1::Begins { incarnation, after } => Downstream::Begins { incarnation, after },
        DownstreamV1::Page { after, up_to, clock, facts } => Downstream::Page(page(after, up_to, clock, facts)?),
        DownstreamV1::Compressed { after, up_to, clock, facts } => {
            Downstream::Page(page(after, up_to, clock, decompressed(&facts.0)?)?)
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

/// Reads what was compressed by LZ4 after its length.
fn decompressed<Body: serde::de::DeserializeOwned>(compressed: &[u8]) -> Result<Body, FrameError> {
    let broken = |error: lz4_flex::block::DecompressError| FrameError::Compressed(error.to_string());
    let (length, block) = lz4_flex::block::uncompressed_size(compressed).map_err(broken)?;
    if length > super::FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length });
    }
    let plain = lz4_flex::decompress(block, length).map_err(broken)?;
    let (body, used) = super::decode_bare(&plain)?;
    if used < plain.len() {
        return Err(FrameError::Trailing(plain.len() - used));
    }
    Ok(body)
}

fn page(after: u64, up_to: u64, clock: u64, facts: FactsV1) -> Result<Page, FrameError> {
    let order = || FrameError::Field { field: "facts", rule: "must be in order, up to the page's end".to_owned() };
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
    Ok(Page { after, up_to, clock, facts })
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

/// What a node keeps of its cluster across restarts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The cluster its data directory is of.
    pub cluster: ClusterName,
    /// Of the latest start: greater each time.
    pub generation: u64,
    /// Whether it has had all its peers had when it joined.
    pub joined: bool,
    /// Whether it has left, or was forgotten.
    pub has_left: bool,
    /// Whom it knows.
    pub roster: Vec<RosterEntry>,
}

#[derive(Serialize, Deserialize)]
struct KeptV1 {
    cluster: String,
    generation: u64,
    joined: bool,
    has_left: bool,
    roster: Vec<(MemberV1, bool)>,
}

/// Writes what is kept, with its length.
#[must_use]
pub fn encode_kept(kept: &Kept) -> Vec<u8> {
    let Kept { cluster, generation, joined, has_left, roster: entries } = kept;
    let cluster = cluster.as_str().to_owned();
    encode(
        FIRST,
        &KeptV1 { cluster, generation: *generation, joined: *joined, has_left: *has_left, roster: roster(entries) },
    )
}

/// Reads what was kept.
///
/// # Errors
/// [`FrameError`].
pub fn decode_kept(frame: &[u8]) -> Result<Kept, FrameError> {
    let KeptV1 { cluster, generation, joined, has_left, roster } = decode(FIRST, frame)?;
    let cluster = ClusterName::parse(cluster).map_err(FrameError::text("cluster"))?;
    Ok(Kept { cluster, generation, joined, has_left, roster: parse_roster(roster)? })
}

/// Asks for the facts of an artifact that name some of its refs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskRefs {
    /// Whose artifact it is.
    pub tenant: TenantId,
    /// The artifact.
    pub artifact: ArtifactId,
    /// Target repository and idempotency key of each, at most [`REFS_MAX`].
    pub refs: Vec<(String, String)>,
}

/// The most refs that are asked for at once: as many as a transition may name.
pub const REFS_MAX: usize = 256;

#[derive(Serialize, Deserialize)]
struct AskRefsV1 {
    tenant: String,
    artifact: String,
    refs: Vec<(String, String)>,
}

/// Writes a question for refs, with its length.
#[must_use]
pub fn encode_ask_refs(ask: &AskRefs) -> Vec<u8> {
    let AskRefs { tenant, artifact, refs } = ask;
    encode(FIRST, &AskRefsV1 { tenant: tenant.to_string(), artifact: artifact.to_string(), refs: refs.clone() })
}

/// Reads a question for refs.
///
/// # Errors
/// [`FrameError`].
pub fn decode_ask_refs(frame: &[u8]) -> Result<AskRefs, FrameError> {
    let AskRefsV1 { tenant, artifact, refs } = decode(FIRST, frame)?;
    if refs.len() > REFS_MAX {
        return Err(FrameError::Field { field: "refs", rule: format!("must be at most {REFS_MAX}") });
    }
    Ok(AskRefs {
        tenant: TenantId::parse(tenant).map_err(FrameError::text("tenant"))?,
        artifact: ArtifactId::parse(artifact).map_err(FrameError::text("artifact"))?,
        refs,
    })
}

/// Asks for an artifact's token.
#[must_use]
pub fn encode_ask_token(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    encode(FIRST, &(tenant.as_str(), artifact.as_str()))
}

/// Reads a question for a token.
///
/// # Errors
/// [`FrameError`].
pub fn decode_ask_token(frame: &[u8]) -> Result<(TenantId, ArtifactId), FrameError> {
    let (tenant, artifact): (String, String) = decode(FIRST, frame)?;
    let tenant = TenantId::parse(tenant).map_err(FrameError::text("tenant"))?;
    Ok((tenant, ArtifactId::parse(artifact).map_err(FrameError::text("artifact"))?))
}

/// Writes a token, if there is one, with its length.
#[must_use]
pub fn encode_token(token: Option<&str>) -> Vec<u8> {
    encode(FIRST, &token)
}

/// Reads a token, if there is one.
///
/// # Errors
/// [`FrameError`].
pub fn decode_token(frame: &[u8]) -> Result<Option<Token>, FrameError> {
    let text: Option<String> = decode(FIRST, frame)?;
    let no_token = || FrameError::Field { field: "token", rule: "must be a token".to_owned() };
    text.map(|text| Token::parse(&text).map_err(|_| no_token())).transpose()
}

/// Facts as stored records, on their own.
pub type BareFacts = Vec<Vec<u8>>;

/// Writes facts, with their length.
#[must_use]
pub fn encode_facts(facts: &BareFacts) -> Vec<u8> {
    encode_blobs(facts)
}

/// Reads facts.
///
/// # Errors
/// [`FrameError`].
pub fn decode_facts(frame: &[u8]) -> Result<BareFacts, FrameError> {
    decode_blobs(frame)
}

/// Datagrams of the membership protocol, each opaque here.
pub type Datagrams = Vec<Vec<u8>>;

/// Writes datagrams, with their length.
#[must_use]
pub fn encode_datagrams(datagrams: &Datagrams) -> Vec<u8> {
    encode_blobs(datagrams)
}

/// Reads datagrams.
///
/// # Errors
/// [`FrameError`].
pub fn decode_datagrams(frame: &[u8]) -> Result<Datagrams, FrameError> {
    decode_blobs(frame)
}

fn encode_blobs(blobs: &[Vec<u8>]) -> Vec<u8> {
    let blobs: Vec<Blob> = blobs.iter().cloned().map(Blob).collect();
    encode(FIRST, &blobs)
}

fn decode_blobs(frame: &[u8]) -> Result<Vec<Vec<u8>>, FrameError> {
    let blobs: Vec<Blob> = decode(FIRST, frame)?;
    Ok(blobs.into_iter().map(|Blob(bytes)| bytes).collect())
}

/// The versions of the conversation this software speaks.
pub const SPOKEN: Versions = Versions { oldest: super::OLDEST, newest: NEWEST };
