//! Where each thing stands in an engine: every key of the store, and nothing else.
//!
//! Keys are written by hand, big-endian, so that their order is the order of what they name. Names hold no control
//! characters, so a zero byte ends them; a status or a transition id is only ever last in a key.
//!
//! | table | key | value |
//! |---|---|---|
//! | Meta | `format`, `identity`, `clock`, `sequence`, `usage/` tenant | a record each |
//! | Log | sequence | fact, with its tenant |
//! | Identity | tenant 0 transition id | sequence |
//! | Head | tenant 0 artifact | projection and its latest sequence |
//! | History | tenant 0 artifact 0 effective stamp | sequence |
//! | Ref | tenant 0 artifact 0 repository 0 key | state of the ref |
//!
//! A fact is stored once, in the log, in the order of commits: the log is the change feed. Everything else points into
//! it or is folded from it.

use plimsoll_domain::id::{ArtifactId, NodeId, TenantId, TransitionId};
use plimsoll_domain::projection::RefKey;
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};

/// Meta: the format of the store, a number.
pub(crate) const FORMAT: &[u8] = b"format";
/// Meta: the node and the incarnation.
pub(crate) const IDENTITY: &[u8] = b"identity";
/// Meta: the clock's high-water mark, in nanoseconds.
pub(crate) const CLOCK: &[u8] = b"clock";
/// Meta: the sequence of the latest commit.
pub(crate) const SEQUENCE: &[u8] = b"sequence";
/// Meta: what the keys of usages begin with.
pub(crate) const USAGE_PREFIX: &[u8] = b"usage/";

const STAMP_BYTES: usize = 16;

/// Meta: what a tenant occupies.
pub(crate) fn usage(tenant: &TenantId) -> Vec<u8> {
    [USAGE_PREFIX, tenant.as_str().as_bytes()].concat()
}

/// Log: the fact committed with a sequence.
pub(crate) fn log(sequence: u64) -> Vec<u8> {
    sequence.to_be_bytes().to_vec()
}

/// The sequence of a key of the log; `None` if it is none.
pub(crate) fn log_sequence(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Identity: the fact of a transition id.
pub(crate) fn identity(tenant: &TenantId, transition: &TransitionId) -> Vec<u8> {
    join(&[tenant.as_str(), transition.as_str()])
}

/// Head: what the keys of a tenant's projections begin with.
pub(crate) fn heads(tenant: &TenantId) -> Vec<u8> {
    join(&[tenant.as_str(), ""])
}

/// Head: the projection of an artifact.
pub(crate) fn head(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    join(&[tenant.as_str(), artifact.as_str()])
}

/// The artifact of a key of a tenant's projection.
pub(crate) fn head_artifact<'a>(tenant: &TenantId, key: &'a [u8]) -> Option<&'a str> {
    let artifact = key.strip_prefix(heads(tenant).as_slice())?;
    std::str::from_utf8(artifact).ok()
}

/// History and Ref: what the keys of an artifact begin with.
pub(crate) fn of_artifact(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    join(&[tenant.as_str(), artifact.as_str(), ""])
}

/// History: the fact of an artifact with an effective stamp.
pub(crate) fn history(tenant: &TenantId, artifact: &ArtifactId, stamp: Timestamp) -> Vec<u8> {
    let mut key = of_artifact(tenant, artifact);
    key.extend_from_slice(&stamp.time.get().to_be_bytes());
    key.extend_from_slice(&stamp.node.number().to_be_bytes());
    key
}

/// The effective stamp of a key of the history.
pub(crate) fn history_stamp(key: &[u8]) -> Option<Timestamp> {
    let (_, stamp) = key.split_at_checked(key.len().checked_sub(STAMP_BYTES)?)?;
    let (time, node) = stamp.split_at(STAMP_BYTES / 2);
    Some(Timestamp {
        time: UnixNanos::new(u64::from_be_bytes(time.try_into().ok()?)),
        node: NodeId::new(u64::from_be_bytes(node.try_into().ok()?)),
    })
}

/// Ref: one ref of an artifact.
pub(crate) fn produced_ref(tenant: &TenantId, artifact: &ArtifactId, key: &RefKey) -> Vec<u8> {
    join(&[tenant.as_str(), artifact.as_str(), &key.target_repo, &key.idempotency_key])
}

/// The ref of a key that begins with [`of_artifact`].
pub(crate) fn ref_key(prefix: &[u8], key: &[u8]) -> Option<RefKey> {
    let text = std::str::from_utf8(key.strip_prefix(prefix)?).ok()?;
    let (target_repo, idempotency_key) = text.split_once('\0')?;
    Some(RefKey { target_repo: target_repo.into(), idempotency_key: idempotency_key.into() })
}

fn join(parts: &[&str]) -> Vec<u8> {
    let mut key = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            key.push(0);
        }
        key.extend_from_slice(part.as_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_what_they_name() {
        let (tenant, artifact) = (TenantId::parse("acme").unwrap(), ArtifactId::parse("a/b").unwrap());
        let stamp = Timestamp { time: UnixNanos::new(5), node: NodeId::new(u64::MAX) };
        let key = RefKey { target_repo: "acme/web".into(), idempotency_key: "k".into() };
        assert_eq!(log_sequence(&log(7)), Some(7));
        assert_eq!(head_artifact(&tenant, &head(&tenant, &artifact)), Some("a/b"));
        assert_eq!(history_stamp(&history(&tenant, &artifact, stamp)), Some(stamp));
        let prefix = of_artifact(&tenant, &artifact);
        assert_eq!(ref_key(&prefix, &produced_ref(&tenant, &artifact, &key)), Some(key));
    }

    #[test]
    fn one_artifact_is_no_prefix_of_another() {
        let tenant = TenantId::parse("acme").unwrap();
        let (short, long) = (ArtifactId::parse("a").unwrap(), ArtifactId::parse("ab").unwrap());
        assert!(!of_artifact(&tenant, &long).starts_with(&of_artifact(&tenant, &short)));
    }
}
