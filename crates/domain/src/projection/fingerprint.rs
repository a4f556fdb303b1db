//! Fingerprints: digests of sets of facts, kept up to date one fact at a time.

use std::fmt;

use super::fact::{Body, Fact};
use super::token::Digester;
use super::transition::ProducedRef;
use crate::id::TenantId;
use crate::timestamp::Timestamp;

/// The digest of a set of facts: equal if and only if the sets are, short of an accident once in 2^128.
///
/// Each fact is hashed to 128 bits with its tenant and both its stamps, and the set's digest is the sum, as that of refs
/// ([`super::RefsDigest`]). What is hashed are the fields, not their bytes on some disk: replicas of two versions agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// The sum of the facts' hashes, modulo 2^128.
    pub sum: u128,
    /// How many facts there are.
    pub count: u64,
}

/// The hash of one fact: of what it says, with its tenant and both its stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FactHash(u128);

impl FactHash {
    /// The hash of a fact.
    #[must_use]
    pub fn of(tenant: &TenantId, fact: &Fact) -> Self {
        Self(hash(tenant, fact))
    }

    /// The hash with this number.
    #[must_use]
    pub const fn new(number: u128) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Its first eight bytes: enough to tell a fact from the few it is compared with.
    #[must_use]
    pub const fn digest(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl Fingerprint {
    /// Adds a fact to the set.
    pub fn add(&mut self, tenant: &TenantId, fact: &Fact) {
        self.add_hash(FactHash::of(tenant, fact));
    }

    /// Adds a fact to the set, by its hash.
    pub const fn add_hash(&mut self, hash: FactHash) {
        self.sum = self.sum.wrapping_add(hash.0);
        self.count += 1;
    }

    /// Takes a fact out of the set.
    ///
    /// # Panics
    /// If the set is empty: what is taken out was added before.
    pub fn remove(&mut self, tenant: &TenantId, fact: &Fact) {
        self.remove_hash(FactHash::of(tenant, fact));
    }

    /// Takes a fact out of the set, by its hash.
    ///
    /// # Panics
    /// As [`Fingerprint::remove`].
    pub const fn remove_hash(&mut self, hash: FactHash) {
        assert!(self.count > 0, "a fact that is taken out was added before");
        self.sum = self.sum.wrapping_sub(hash.0);
        self.count -= 1;
    }

    /// That of two sets together, which share no fact. Counts wrap round as sums do: a fingerprint may come from a peer.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), count: self.count.wrapping_add(other.count) }
    }
}

/// 32 hex digits: the sum alone, for the count is told beside it.
impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.sum)
    }
}

fn hash(tenant: &TenantId, fact: &Fact) -> u128 {
    let mut digester = Digester::new("plimsoll fact 1");
    digester.text(tenant.as_str());
    digester.text(fact.artifact().as_str());
    add_stamp(&mut digester, fact.first);
    add_stamp(&mut digester, fact.last);
    match &fact.body {
        Body::Tombstone(_) => digester.number(0),
        Body::Transition(transition) => {
            digester.number(1);
            digester.text(transition.id.as_str());
            digester.text(transition.status.as_str());
            digester.number(transition.refs().len() as u64);
            transition.refs().iter().for_each(|produced| add_ref(&mut digester, produced));
        }
    }
    digester.finish_128()
}

fn add_stamp(digester: &mut Digester, stamp: Timestamp) {
    digester.number(stamp.time.get());
    digester.number(stamp.node.number());
}

fn add_ref(digester: &mut Digester, produced: &ProducedRef) {
    digester.text(&produced.key.target_repo);
    digester.text(&produced.key.idempotency_key);
    match &produced.resolution {
        None => digester.number(0),
        Some(resolution) => {
            digester.number(1);
            digester.number(resolution.number);
            digester.text(&resolution.url);
            digester.text(&resolution.created_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ArtifactId, NodeId};
    use crate::projection::{RefDraft, Transition};
    use crate::timestamp::UnixNanos;

    fn stamp(time: u64) -> Timestamp {
        Timestamp { time: UnixNanos::new(time), node: NodeId::new(7) }
    }

    fn of(tenant: &str, id: &str, refs: Vec<RefDraft>, last: u64) -> Fingerprint {
        let transition = Transition::parse("spec".into(), id.into(), "draft".into(), refs).unwrap();
        let fact = Fact { body: Body::Transition(transition), first: stamp(1), last: stamp(last) };
        let mut fingerprint = Fingerprint::default();
        fingerprint.add(&TenantId::parse(tenant).unwrap(), &fact);
        fingerprint
    }

    /// Replicas compare it, and it is on disk: it stays.
    #[test]
    fn the_fingerprint_of_a_known_fact_stays_what_it_is() {
        assert_eq!(of("acme", "t-1", Vec::new(), 1).to_string(), "13d2853b681bf667ac14d1ea4ea47bda");
    }

    #[test]
    fn whatever_a_fact_says_is_in_its_fingerprint() {
        let pending = RefDraft { target_repo: "r".into(), idempotency_key: "k".into(), resolution: None };
        let resolved = RefDraft { resolution: Some((1, "u".into(), "2026-04-22T18:04:11Z".into())), ..pending.clone() };
        let mut all = vec![
            of("acme", "t-1", Vec::new(), 1),
            of("acme", "t-1", Vec::new(), 2),
            of("acme", "t-2", Vec::new(), 1),
            of("other", "t-1", Vec::new(), 1),
            of("acme", "t-1", vec![pending], 1),
            of("acme", "t-1", vec![resolved], 1),
        ];
        let mut buried = Fingerprint::default();
        let tombstone = Fact::new(Body::Tombstone(ArtifactId::parse("spec").unwrap()), stamp(1));
        buried.add(&TenantId::parse("acme").unwrap(), &tombstone);
        all.push(buried);
        let count = all.len();
        all.sort_by_key(|fingerprint| fingerprint.sum);
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
