//! Questions that have one answer: for refs, for a token; and the datagrams of the membership.

use plimsoll_domain::id::{ArtifactId, TenantId};
use plimsoll_domain::projection::Token;
use serde::{Deserialize, Serialize};

use super::super::{Blob, FrameError, decode, encode};
use super::FIRST;

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
