//! Produced refs: one register per key, in which `resolved` is above `pending`.

use std::collections::BTreeMap;

use super::token::Digester;
use crate::planted::{self, Bug};
use crate::timestamp::Timestamp;

/// Names a ref within its artifact: two plain texts of 1 to 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefKey {
    /// The repository it is opened in.
    pub target_repo: Box<str>,
    /// Names it within the repository.
    pub idempotency_key: Box<str>,
}

impl RefKey {
    /// The bytes of its texts.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.target_repo.len() + self.idempotency_key.len()
    }
}

/// What the forge answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resolution {
    /// The forge's number: 1 to 2^53 - 1.
    pub number: u64,
    /// Where the forge shows it.
    pub url: Box<str>,
    /// When the forge created it: RFC 3339, as it was posted.
    pub created_at: Box<str>,
}

impl Resolution {
    /// The bytes of its texts.
    #[must_use]
    pub const fn text_bytes(&self) -> usize {
        self.url.len() + self.created_at.len()
    }

    /// Whether the two name the same thing on the forge: the creation time may be told differently.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.number == other.number && self.url == other.url
    }
}

/// What is known of one ref of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefState {
    /// Only its key.
    Pending,
    /// The forge's answer, and the effective stamp of the transition that brought it.
    Resolved {
        /// The answer.
        resolution: Resolution,
        /// Decides between two answers: the greater wins.
        stamp: Timestamp,
    },
}

impl RefState {
    /// Whether `self`, arriving, replaces `standing`: rule 3. The order of the two does not matter but for a tie of
    /// equal stamps, which one transition cannot make: it holds a key resolved at most once.
    fn beats(&self, standing: Option<&Self>) -> bool {
        match (self, standing) {
            (_, None) => true,
            (Self::Pending, Some(_)) => planted::has(Bug::PendingOverResolved),
            (Self::Resolved { .. }, Some(Self::Pending)) => true,
            (Self::Resolved { stamp, .. }, Some(Self::Resolved { stamp: standing, .. })) => stamp > standing,
        }
    }

    fn disagrees_with(&self, standing: Option<&Self>) -> bool {
        match (self, standing) {
            (Self::Resolved { resolution, .. }, Some(Self::Resolved { resolution: standing, .. })) => {
                !resolution.agrees_with(standing)
            }
            _ => false,
        }
    }
}

/// A digest of a set of refs that can be kept up to date one ref at a time.
///
/// Each ref is hashed to 128 bits, and the set's digest is the sum: the incremental multiset hash of Bellare and
/// Micciancio, "A New Paradigm for Collision-Free Hashing" (EUROCRYPT 1997). It guards against accident; a tenant that
/// works at a collision can only confuse itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefsDigest {
    /// The sum of the refs' hashes, modulo 2^128.
    pub sum: u128,
    /// How many refs there are.
    pub count: u64,
}

impl RefsDigest {
    /// Adds a ref to the set.
    pub fn add(&mut self, key: &RefKey, state: &RefState) {
        self.sum = self.sum.wrapping_add(hash(key, state));
        self.count += 1;
    }

    fn take_away(&mut self, key: &RefKey, state: &RefState) {
        assert!(self.count > 0, "a ref that is taken away was added before");
        self.sum = self.sum.wrapping_sub(hash(key, state));
        self.count -= 1;
    }
}

/// The stamp is left out: it decides, but no client sees it.
fn hash(key: &RefKey, state: &RefState) -> u128 {
    let mut digester = Digester::new("plimsoll ref 1");
    digester.text(&key.target_repo);
    digester.text(&key.idempotency_key);
    match state {
        RefState::Pending => digester.number(0),
        RefState::Resolved { resolution, .. } => {
            digester.number(1);
            digester.number(resolution.number);
            digester.text(&resolution.url);
            digester.text(&resolution.created_at);
        }
    }
    digester.finish_128()
}

/// The refs of one artifact, as far as one merge needs them.
///
/// A reader loads the rows a fact touches before the merge, and writes what changed after it. Whether a row exists
/// must have been looked up for each key the fact names; other rows need not be here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefRows {
    loaded: BTreeMap<RefKey, RefState>,
    changed: BTreeMap<RefKey, RefState>,
    replaced: bool,
}

impl RefRows {
    /// Tells what stands under a key.
    pub fn load(&mut self, key: RefKey, state: RefState) {
        self.loaded.insert(key, state);
    }

    /// What stands under a key now.
    #[must_use]
    pub fn get(&self, key: &RefKey) -> Option<&RefState> {
        self.changed.get(key).or_else(|| self.loaded.get(key))
    }

    /// The rows to write.
    pub fn changed(&self) -> impl Iterator<Item = (&RefKey, &RefState)> {
        self.changed.iter()
    }

    /// Whether [`RefRows::changed`] is all there is: every other row of the artifact is to be removed.
    #[must_use]
    pub const fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// Forgets every row.
    pub(super) fn replace(&mut self) {
        self.loaded.clear();
        self.changed.clear();
        self.replaced = true;
    }

    /// Merges one ref, keeping `digest` up to date. Returns whether two answers of the forge disagree.
    pub(super) fn merge(&mut self, digest: &mut RefsDigest, key: &RefKey, arriving: RefState) -> bool {
        let standing = self.get(key);
        let disagree = arriving.disagrees_with(standing);
        if arriving.beats(standing) {
            if let Some(standing) = standing {
                digest.take_away(key, standing);
            }
            digest.add(key, &arriving);
            self.changed.insert(key.clone(), arriving);
        }
        disagree
    }
}
