//! Under which key a fact is found again, on every replica.

use super::fact::{Body, Fact};
use crate::id::{ArtifactId, TenantId, TransitionId};

/// The key of a fact: what of all facts of that key a replica keeps is one.
///
/// The first bytes of a BLAKE3 hash of the tenant and the transition id, or of the tenant and the artifact for its
/// tombstone. Joined facts have one key, and keys are spread evenly, whatever ids a client makes up: so a prefix of the
/// key is a fair share of all facts. It is on disk, and replicas compare by it: its bytes stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FactKey([u8; Self::BYTES]);

impl FactKey {
    /// What a key occupies.
    pub const BYTES: usize = 16;

    /// The key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key of a fact.
    #[must_use]
    pub fn of(tenant: &TenantId, fact: &Fact) -> Self {
        match &fact.body {
            Body::Transition(transition) => Self::of_transition(tenant, &transition.id),
            Body::Tombstone(artifact) => Self::of_tombstone(tenant, artifact),
        }
    }

    /// The key of the fact of a transition id.
    #[must_use]
    pub fn of_transition(tenant: &TenantId, transition: &TransitionId) -> Self {
        Self::of_names("identity", tenant, transition.as_str())
    }

    /// The key of the tombstone of an artifact.
    #[must_use]
    pub fn of_tombstone(tenant: &TenantId, artifact: &ArtifactId) -> Self {
        Self::of_names("tombstone", tenant, artifact.as_str())
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(self) -> [u8; Self::BYTES] {
        self.0
    }

    /// No name holds a zero byte, so each ends with one.
    fn of_names(purpose: &str, tenant: &TenantId, name: &str) -> Self {
        let parts = [purpose, tenant.as_str(), name];
        let mut names = Vec::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts {
            names.extend_from_slice(part.as_bytes());
            names.push(0);
        }
        Self(*blake3::hash(&names).as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_known_keys_stay_what_they_are() {
        let tenant = TenantId::parse("acme").unwrap();
        let hex = |key: FactKey| key.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let transition = FactKey::of_transition(&tenant, &TransitionId::parse("t-1").unwrap());
        assert_eq!(hex(transition), "0ad6e291fc666439696122c3cb811580");
        let tombstone = FactKey::of_tombstone(&tenant, &ArtifactId::parse("spec").unwrap());
        assert_eq!(hex(tombstone), "1d0bf3c294cef3ae17cc3e64dc01fa59");
    }
}
