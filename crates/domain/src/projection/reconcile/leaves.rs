//! The fingerprints of all leaves, from which those of all ranges follow.

use std::fmt;

use super::range::Range;
use crate::projection::{FactHash, FactKey, Fingerprint};

/// The fingerprint of each leaf, in two megabytes. That of a larger range is the sum of its leaves', made when it is asked
/// for: the whole takes less than a tenth of a millisecond.
///
/// Counts wrap round, as sums do: facts may be taken out before they are added, as long as each is added in the end.
#[derive(Clone)]
pub struct Leaves(Box<[Fingerprint]>);

impl Default for Leaves {
    /// Those of no facts.
    fn default() -> Self {
        Self(vec![Fingerprint::default(); Range::LEAVES].into())
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Leaves").field(&self.fingerprint(Range::WHOLE)).finish()
    }
}

impl Leaves {
    /// The fingerprint of the facts of a range.
    #[must_use]
    pub fn fingerprint(&self, range: Range) -> Fingerprint {
        self.0[range.leaves()].iter().copied().fold(Fingerprint::default(), Fingerprint::and)
    }

    /// Adds a fact.
    pub fn add(&mut self, key: FactKey, hash: FactHash) {
        let leaf = self.leaf_mut(key);
        *leaf = leaf.and(Fingerprint { sum: hash.get(), count: 1 });
    }

    /// Takes a fact out.
    pub fn remove(&mut self, key: FactKey, hash: FactHash) {
        let leaf = self.leaf_mut(key);
        *leaf = leaf.and(Fingerprint { sum: hash.get().wrapping_neg(), count: u64::MAX });
    }

    /// Sets the fingerprint of the leaf with a number: what was noted before is read again.
    pub fn set(&mut self, leaf: u16, fingerprint: Fingerprint) {
        self.0[usize::from(leaf)] = fingerprint;
    }

    fn leaf_mut(&mut self, key: FactKey) -> &mut Fingerprint {
        &mut self.0[usize::from(Range::leaf_of(key).index())]
    }
}
