//! Where each thing stands in an engine: every key of the store, and nothing else.
//!
//! | table | key | value |
//! |---|---|---|
//! | Meta | `format`, `identity`, `clock`, `sequence`, `fingerprint`, `usage/` tenant, `peer/` node | a record each |
//! | Meta | `leaves`, `leaves/` first byte of a key | sequence of the checkpoint of leaves, and 256 of its leaves |
//! | Meta | `note/` name | what others keep |
//! | Meta | `reuse/` hash of tenant and artifact, `FactKey` | a content that lost to another under the same id |
//! | Meta | `gone/` sequence | a fact of the checkpoint that was taken out after it |
//! | Meta | `horizon` | how far the store is with forgetting |
//! | Meta | `binding` | until when somebody may decide by what it has promised, in nanoseconds of its clock |
//! | Meta | `forget/` key of a head | the tombstone by which it is to forget of that artifact |
//! | Log | sequence of the first | a pack: facts of consecutive sequences, each with its tenant |
//! | Identity | `FactKey`: hash of tenant and transition id, or of tenant and artifact for its tombstone | place: sequence, and offset in its pack |
//! | Head | tenant 0 artifact | projection, its latest sequence, its newest history, its refs while they are few |
//! | History | hash of tenant and artifact, effective stamp | place of an entry that is not in the head |
//! | Ref | hash of tenant and artifact, hash of the ref's key | the ref's key and state, where they are not in the head |
//!
//! A fact is stored once, in the log, in the order of commits: the log is the change feed. Everything else points into
//! it or is folded from it. Most artifacts have few transitions and refs, and all of an engine's costs are by the row: so
//! a transition of such an artifact writes its head, its identity, and a part of a pack.
//!
//! Keys are written by hand, big-endian, so that their order is the order of what they name. Heads are listed by name,
//! so names are their keys; a zero byte, which no name holds, separates them. Everything else is found by name and never
//! listed by it: its keys are BLAKE3 hashes, cut so that most of them fit the 20 bytes fjall keeps beside a pointer,
//! which made writes a tenth cheaper. What is read says whose it is, so that two names with one hash, unlikely once in
//! 10^11 stores of 10^9 artifacts, are an error and not a confusion.

use plimsoll_domain::id::{ArtifactId, NodeId, TenantId};
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
/// Meta: the fingerprint of all facts.
pub(crate) const FINGERPRINT: &[u8] = b"fingerprint";
/// Meta: what the keys of usages begin with.
pub(crate) const USAGE_PREFIX: &[u8] = b"usage/";

/// Meta: the sequence up to which facts are in the checkpoint of leaves.
pub(crate) const LEAVES: &[u8] = b"leaves";
/// Meta: what the keys of blocks of leaves begin with.
pub(crate) const LEAVES_PREFIX: &[u8] = b"leaves/";
/// Meta: what the keys of removals begin with.
pub(crate) const GONE_PREFIX: &[u8] = b"gone/";

/// Meta: how far the store is with forgetting.
pub(crate) const HORIZON: &[u8] = b"horizon";
/// Meta: until when somebody may decide by what was promised.
pub(crate) const BINDING: &[u8] = b"binding";
/// Meta: what the keys of tombstones to forget by begin with.
pub(crate) const FORGET_PREFIX: &[u8] = b"forget/";

const STAMP_BYTES: usize = 16;

/// Of the hash of an artifact, which a stamp or the hash of a ref follows.
const ARTIFACT_HASH_BYTES: usize = 12;

/// Of the hash of a ref among those of its artifact.
const REF_HASH_BYTES: usize = 8;

/// Meta: what a tenant occupies.
pub(crate) fn usage(tenant: &TenantId) -> Vec<u8> {
    [USAGE_PREFIX, tenant.as_str().as_bytes()].concat()
}

/// Meta: how far the feed of a peer has been taken over.
pub(crate) fn watermark(peer: NodeId) -> Vec<u8> {
    format!("peer/{peer}").into_bytes()
}

/// Meta: what the keys of contents that lost to another under the same id begin with, for an artifact.
pub(crate) fn reuses(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    [b"reuse/", of_artifact(tenant, artifact).as_slice()].concat()
}

/// Meta: what others keep under a name.
pub(crate) fn note(name: &str) -> Vec<u8> {
    format!("note/{name}").into_bytes()
}

/// Meta: the leaves of the keys that begin with a byte.
pub(crate) fn leaves(block: u8) -> Vec<u8> {
    [LEAVES_PREFIX, &[block]].concat()
}

/// The byte of a key of leaves.
pub(crate) fn leaves_block(key: &[u8]) -> Option<u8> {
    match key.strip_prefix(LEAVES_PREFIX)? {
        [block] => Some(*block),
        _ => None,
    }
}

/// Meta: the fact that stood at a sequence, and is in the checkpoint of leaves though no more in the log.
pub(crate) fn gone(sequence: u64) -> Vec<u8> {
    [GONE_PREFIX, &sequence.to_be_bytes()].concat()
}

/// Meta: the tombstone to forget by, of the artifact with a key of [`head`].
pub(crate) fn forget(head: &[u8]) -> Vec<u8> {
    [FORGET_PREFIX, head].concat()
}

/// Log: the pack that begins with a sequence.
pub(crate) fn log(sequence: u64) -> Vec<u8> {
    sequence.to_be_bytes().to_vec()
}

/// The sequence of a key of the log; `None` if it is none.
pub(crate) fn log_sequence(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// Head: what the keys of a tenant's projections begin with.
pub(crate) fn heads(tenant: &TenantId) -> Vec<u8> {
    join(&[tenant.as_str(), ""])
}

/// Head: the projection of an artifact.
pub(crate) fn head(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    head_of_text(tenant, artifact.as_str())
}

/// The same for a text that may be no artifact's id; then nothing has the key, or what has it is asked for by its name.
pub(crate) fn head_of_text(tenant: &TenantId, artifact: &str) -> Vec<u8> {
    join(&[tenant.as_str(), artifact])
}

/// The artifact of a key of a tenant's projection.
pub(crate) fn head_artifact<'a>(tenant: &TenantId, key: &'a [u8]) -> Option<&'a str> {
    let artifact = key.strip_prefix(heads(tenant).as_slice())?;
    std::str::from_utf8(artifact).ok()
}

/// Whose projection a key of [`head`] is of.
pub(crate) fn names_of_head(key: &[u8]) -> Option<(TenantId, ArtifactId)> {
    let (tenant, artifact) = std::str::from_utf8(key).ok()?.split_once('\0')?;
    Some((TenantId::parse(tenant).ok()?, ArtifactId::parse(artifact).ok()?))
}

/// History and Ref: what the keys of an artifact begin with.
pub(crate) fn of_artifact(tenant: &TenantId, artifact: &ArtifactId) -> Vec<u8> {
    hash::<ARTIFACT_HASH_BYTES>("artifact", tenant.as_str(), artifact.as_str()).to_vec()
}

/// History: the fact of an artifact with an effective stamp; `prefix` is [`of_artifact`].
pub(crate) fn history(prefix: &[u8], stamp: Timestamp) -> Vec<u8> {
    [prefix, &stamp.time.get().to_be_bytes(), &stamp.node.number().to_be_bytes()].concat()
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

/// Ref: one ref of an artifact; `prefix` is [`of_artifact`].
pub(crate) fn produced_ref(prefix: &[u8], key: &RefKey) -> Vec<u8> {
    [prefix, &hash::<REF_HASH_BYTES>("ref", &key.target_repo, &key.idempotency_key)].concat()
}

/// The first bytes of a BLAKE3 hash of two names, neither of which holds a zero byte.
fn hash<const BYTES: usize>(purpose: &str, first: &str, second: &str) -> [u8; BYTES] {
    let mut names = Vec::with_capacity(purpose.len() + first.len() + second.len() + 3);
    for part in [purpose, first, second] {
        names.extend_from_slice(part.as_bytes());
        names.push(0);
    }
    *blake3::hash(&names).as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
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
        assert_eq!(log_sequence(&log(7)), Some(7));
        assert_eq!((leaves_block(&leaves(b'/')), leaves_block(LEAVES)), (Some(b'/'), None));
        assert_eq!(head_artifact(&tenant, &head(&tenant, &artifact)), Some("a/b"));
        assert_eq!(names_of_head(&head(&tenant, &artifact)), Some((tenant.clone(), artifact.clone())));
        assert_eq!(history_stamp(&history(&of_artifact(&tenant, &artifact), stamp)), Some(stamp));
    }

    #[test]
    fn the_same_name_in_two_tenants_has_two_keys() {
        let (one, two) = (TenantId::parse("a").unwrap(), TenantId::parse("ab").unwrap());
        let (long, short) = (ArtifactId::parse("bc").unwrap(), ArtifactId::parse("c").unwrap());
        assert_ne!(of_artifact(&one, &long), of_artifact(&two, &short));
    }

    /// The keys are on disk: their bytes stay.
    #[test]
    fn the_bytes_of_known_keys_stay_what_they_are() {
        let (tenant, artifact) = (TenantId::parse("acme").unwrap(), ArtifactId::parse("spec").unwrap());
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = RefKey { target_repo: "acme/web".into(), idempotency_key: "k".into() };
        assert_eq!(
            hex(&produced_ref(&of_artifact(&tenant, &artifact), &key)),
            "e95462ed2a15a6abff8be6b52ede456910b92673"
        );
    }
}
