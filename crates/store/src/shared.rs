//! What the writer tells the readers: how far the disk has come, and the cursors that changed.

use std::sync::{Arc, PoisonError, RwLock};

use plimsoll_domain::id::ArtifactId;
use plimsoll_domain::projection::Token;
use plimsoll_wire::record::v1::StoredIdentity;
use plimsoll_wire::record::v2::StoredHead;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use tokio::sync::{Notify, watch};

use crate::error::StoreFailure;
use crate::notes::Fence;

/// Waiters for one artifact share a bell with a thousandth of all others: a ring costs them one look at the cache.
const BELLS: usize = 1_024;

/// How far the writer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every change up to this sequence is on the disk.
    pub durable: u64,
    /// Set once the store takes no more writes.
    pub failure: Option<StoreFailure>,
}

/// The state of an artifact as of a commit, and the token that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Names its state.
    pub token: Token,
    /// The token's text.
    pub text: Box<str>,
    /// Whether a read finds the artifact.
    visible: bool,
    /// The commit it is as of.
    pub(crate) sequence: u64,
}

impl Cursor {
    /// The cursor, if a read finds the artifact.
    pub(crate) fn if_visible(self: Arc<Self>) -> Option<Arc<Self>> {
        self.visible.then_some(self)
    }
}

/// A cursor in the making: its text is left to the syncer, for the writer is what all writes wait for.
#[derive(Debug)]
pub(crate) struct Changing {
    artifact: ArtifactId,
    token: Token,
    visible: bool,
    sequence: u64,
}

impl Changing {
    /// What a cursor says of an artifact with a fact, and so with a token.
    pub(crate) fn of(artifact: ArtifactId, token: Token, head: &StoredHead) -> Self {
        Self { artifact, token, visible: head.projection.is_visible(), sequence: head.sequence }
    }

    pub(crate) fn into_cursor(self) -> Cursor {
        let Self { artifact, token, visible, sequence } = self;
        Cursor { artifact, token, text: token.to_text().into(), visible, sequence }
    }
}

/// What one group changed, by key of [`crate::layout::head`].
pub(crate) type Changed = Vec<(Vec<u8>, Changing)>;

#[derive(Debug, Clone)]
pub(crate) struct CursorBytes;

/// About what a cursor occupies in memory beside its texts: itself, its places in the cache, the token's text, and what
/// the allocator adds to each.
impl Weighter<Vec<u8>, Arc<Cursor>> for CursorBytes {
    fn weight(&self, key: &Vec<u8>, cursor: &Arc<Cursor>) -> u64 {
        const FIXED: usize = 280;
        (FIXED + key.len() + cursor.artifact.as_str().len()) as u64
    }
}

/// Hashes the keys of caches. Drawn from the data directory: a run can be repeated, and names that collide in one node's
/// cache do not in another's. The key is no secret from readers of the change feed, whose positions tell the incarnation.
pub(crate) type Hasher = ahash::RandomState;

pub(crate) fn hasher(identity: StoredIdentity) -> Hasher {
    let mut keys = blake3::Hasher::new_derive_key("plimsoll 2026 cursor cache");
    keys.update(&identity.incarnation.to_be_bytes()).update(&identity.node.number().to_be_bytes());
    let hash = keys.finalize();
    let (words, _) = hash.as_bytes().as_chunks::<8>();
    let [a, b, c, d] = [0, 1, 2, 3].map(|word| u64::from_be_bytes(words[word]));
    Hasher::with_seeds(a, b, c, d)
}

/// See the module.
pub(crate) struct Shared {
    progress: watch::Sender<Progress>,
    pub(crate) cursors: Cache<Vec<u8>, Arc<Cursor>, CursorBytes, Hasher>,
    bells: Box<[Notify]>,
    hasher: Hasher,
    fence: RwLock<Option<Fence>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("progress", &*self.progress.borrow()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(durable: u64, cache_bytes: u64, identity: StoredIdentity) -> Self {
        let hasher = hasher(identity);
        let entries = usize::try_from(cache_bytes / 320).unwrap_or(usize::MAX);
        Self {
            progress: watch::Sender::new(Progress { durable, failure: None }),
            cursors: Cache::with(entries, cache_bytes, CursorBytes, hasher.clone(), DefaultLifecycle::default()),
            bells: (0..BELLS).map(|_| Notify::new()).collect(),
            hasher,
            fence: RwLock::new(None),
        }
    }

    /// Makes a durable group visible. The cache first: whoever is woken finds the new cursor there, and a reader that
    /// was about to put an old one there finds its place taken.
    pub(crate) fn publish(&self, durable: u64, changed: Changed) {
        let bells: Vec<&Notify> = changed.iter().map(|(key, _)| self.bell(key)).collect();
        for (key, changing) in changed {
            self.cursors.insert(key, Arc::new(changing.into_cursor()));
        }
        self.progress.send_modify(|progress| progress.durable = durable);
        bells.into_iter().for_each(Notify::notify_waiters);
    }

    /// Ends all waiting. The first failure stands.
    pub(crate) fn fail(&self, failure: StoreFailure) {
        self.progress.send_if_modified(|progress| {
            let first = progress.failure.is_none();
            progress.failure.get_or_insert(failure);
            first
        });
        self.bells.iter().for_each(Notify::notify_waiters);
    }

    pub(crate) fn failure(&self) -> Option<StoreFailure> {
        self.progress.borrow().failure
    }

    pub(crate) fn set_fence(&self, fence: Option<Fence>) {
        *self.fence.write().unwrap_or_else(PoisonError::into_inner) = fence;
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        *self.fence.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.progress.borrow().durable
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Rings when the artifact with this key of [`crate::layout::head`] may have changed.
    pub(crate) fn bell(&self, key: &[u8]) -> &Notify {
        let hash = self.hasher.hash_one(key);
        &self.bells[usize::try_from(hash % BELLS as u64).expect("less than the number of bells")]
    }
}
