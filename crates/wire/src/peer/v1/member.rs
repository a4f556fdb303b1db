//! Who a node is and whom it knows: the first exchange, the roster, and what is kept of it.

use plimsoll_domain::id::{ClusterName, NodeId, Region};
use serde::{Deserialize, Serialize};

use super::super::{FrameError, decode, encode};
use super::{FIRST, Versions};

/// The most members a roster may have.
pub const ROSTER_MAX: usize = 256;

/// The most bytes of an address: a host name of 253 and a port.
const ADDRESS_BYTES_MAX: usize = 260;

/// The most bytes of the text that names a version of the software.
const SOFTWARE_BYTES_MAX: usize = 64;

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
