//! Anti-entropy: how two replicas of one set of facts find out where they differ, and what one fetches of the other.
//!
//! The one idea is that of Merkle trees, by sums instead of hashes of hashes: the keys of facts form a tree of
//! [`Range`]s, and each replica knows the [`Fingerprint`] of each. Two ranges with one fingerprint hold the same facts and
//! are left alone; of one that differs the sixteen children are compared, until the asker holds so few facts of a range
//! that it names them all, and the other sends what is not among them.
//!
//! It only *pulls*: a [`Reconciliation`] makes its own replica hold all that the other held, and tells the other nothing.
//! Two replicas become equal when each has asked the other. What is fetched is merged like any fact of a peer, so it does
//! no harm if a question, an answer or a whole run is repeated, lost, or cut short; and both replicas go on being written
//! meanwhile. A fingerprint only decides where to look: one that is a little behind or ahead of a disk makes a run
//! look once too often or once too little, and the next run begins anew with fingerprints of its own time.
//!
//! Who answers keeps nothing between questions. Who asks keeps some thousand ranges, whatever differs: the tree is
//! walked depth first, and what arrives is handed on page by page.
//!
//! With d facts that differ, a run asks at most 5(d + 1) questions and one more for each further page, and both sides
//! send at most [`DIFFERENCE_BYTES`] · (d + 1) bytes beside the facts themselves, and what is left of the digests again
//! for each further page. That holds as long as a leaf has no more than [`FEW`] facts, up to four million a replica; beyond,
//! a leaf's digests are longer. Of the facts, those that differ are sent, and no others.

mod leaves;
mod range;

use thiserror::Error;

pub use leaves::Leaves;
pub use range::Range;

use super::fact::Fact;
use super::fingerprint::Fingerprint;
use super::key::FactKey;
use crate::id::TenantId;
use crate::planted::{self, Bug};

/// The most ranges of one question: their fingerprints are 24 KiB.
pub const RANGES_MAX: usize = 64;

/// Of a range of which the asker holds at most so many facts it names them all: their digests take little more than the
/// fingerprints of sixteen children, and save the way down.
pub const FEW: u64 = 64;

/// The most facts that one question names: 32 KiB. A leaf has more where a replica has 250 million facts; then some facts
/// are sent that are known already.
pub const DIGESTS_MAX: usize = 4_096;

/// The most questions of one run: what would need more is left to the next. A whole tree is 1,100 questions; the rest
/// are pages.
pub const QUESTIONS_MAX: u32 = 65_536;

/// The stated bound of what a fact that differs costs beside itself: four times the fingerprints of sixteen children, and
/// the digests of a leaf, with what they are about.
pub const DIFFERENCE_BYTES: usize = 4 * (3 + Range::CHILDREN * 24) + 3 + 8 * FEW as usize + 64;

/// What a replica asks another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The fingerprints of the children of these ranges: at most [`RANGES_MAX`], none of them a leaf.
    Compare(Vec<Range>),
    /// The facts of these ranges, by key, but for those that are named.
    Facts {
        /// At most [`RANGES_MAX`] ranges, in the order of their keys, none within another.
        ranges: Vec<Range>,
        /// Only facts with greater keys: where the page before ended.
        after: Option<FactKey>,
        /// The digests ([`super::FactHash::digest`]) of the asker's own facts there: at most [`DIGESTS_MAX`], in any order.
        have: Vec<u64>,
    },
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The fingerprints of the children of each range, in the order asked.
    Children(Vec<[Fingerprint; Range::CHILDREN]>),
    /// A page of facts.
    Facts {
        /// The facts, by key: as many as fit the page, and at least one if there is any.
        facts: Vec<(TenantId, Fact)>,
        /// Where the next page begins, after this key; `None` on the last.
        next: Option<FactKey>,
    },
}

/// What a question or an answer of a peer is refused for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// A question about no range or about too many, or one that names too many facts.
    #[error("the question is about no range, about too many, or names too many facts")]
    Size,
    /// A question about the children of a leaf.
    #[error("the question is about the children of a leaf")]
    Leaf,
    /// The ranges of a question are not in the order of keys, or not apart.
    #[error("the ranges of the question are not in order")]
    Order,
    /// An answer to another question, or to none.
    #[error("the answer does not fit what was asked")]
    Answer,
    /// A fact that was not asked for, or not in the order of keys.
    #[error("the answer has a fact that was not asked for, or is out of order")]
    Fact,
    /// A page that ends where the next cannot begin.
    #[error("the answer ends where no other can go on")]
    Page,
}

/// What a replica holds, as far as reconciliation asks. It may change between two calls.
pub trait Summary {
    /// Facts could not be read.
    type Failure;

    /// The fingerprint of the facts of a range.
    fn fingerprint(&self, range: Range) -> Fingerprint;

    /// The digests of the facts of a range with greater keys than `after`, by key, at most `limit`. One that is left out
    /// is sent for nothing.
    ///
    /// # Errors
    /// Facts could not be read.
    fn digests(&self, range: Range, after: Option<FactKey>, limit: usize) -> Result<Vec<u64>, Self::Failure>;
}

impl Question {
    /// Checks what a peer asks, before it is answered.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Malformed> {
        let (ranges, have) = match self {
            Self::Compare(ranges) => (ranges, 0),
            Self::Facts { ranges, have, .. } => (ranges, have.len()),
        };
        if ranges.is_empty() || ranges.len() > RANGES_MAX || have > DIGESTS_MAX {
            return Err(Malformed::Size);
        }
        match self {
            Self::Compare(_) if ranges.iter().any(|range| range.depth() == Range::DEPTH_MAX) => Err(Malformed::Leaf),
            Self::Facts { .. } if !ranges.is_sorted_by(|one, next| one.leaves().end <= next.leaves().start) => {
                Err(Malformed::Order)
            }
            _ => Ok(()),
        }
    }
}

/// Answers [`Question::Compare`]; a leaf, which has no children, is an error.
///
/// # Errors
/// [`Malformed::Leaf`].
pub fn compare(ranges: &[Range], own: &impl Summary) -> Result<Answer, Malformed> {
    let of_children = |range: &Range| range.children().map(|children| children.map(|child| own.fingerprint(child)));
    let children: Option<Vec<_>> = ranges.iter().map(of_children).collect();
    children.map(Answer::Children).ok_or(Malformed::Leaf)
}

/// One run: what the asker knows while it fetches from one other replica.
#[derive(Debug, Clone, Default)]
pub struct Reconciliation {
    /// Ranges that differ, and whose children are to be compared; the last first.
    differing: Vec<Range>,
    /// Ranges whose facts are to be fetched.
    wanted: Vec<Range>,
    /// Those being fetched, in the order of keys, and after which key.
    fetching: Vec<Range>,
    after: Option<FactKey>,
    asked: Asked,
    questions: u32,
}

/// What is to be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    /// About so many of the differing ranges, the last ones.
    Children(usize),
    /// About the ranges that are being fetched.
    Facts,
}

impl Reconciliation {
    /// Begins a run with the fingerprints of all facts here, and of all facts there.
    #[must_use]
    pub fn start(own: Fingerprint, peer: Fingerprint) -> Self {
        let mut run = Self::default();
        run.note(Range::WHOLE, own, peer);
        run
    }

    /// The next question; `None` at the end of the run. A question that was not answered is asked again.
    ///
    /// # Errors
    /// The facts here could not be read; the question may be asked for again.
    pub fn next<Own: Summary>(&mut self, own: &Own) -> Result<Option<Question>, Own::Failure> {
        if self.questions >= QUESTIONS_MAX {
            self.end();
        }
        if self.fetching.is_empty() && (self.wanted.len() >= RANGES_MAX || self.differing.is_empty()) {
            self.choose(own);
        }
        let question = if !self.fetching.is_empty() {
            self.asked = Asked::Facts;
            let have = self.digests(own)?;
            Question::Facts { ranges: self.fetching.clone(), after: self.after, have }
        } else if !self.differing.is_empty() {
            let count = self.differing.len().min(RANGES_MAX);
            self.asked = Asked::Children(count);
            Question::Compare(self.differing[self.differing.len() - count..].to_vec())
        } else {
            return Ok(None);
        };
        self.questions += 1;
        Ok(Some(question))
    }

    /// Takes the answer to the latest question: the facts to merge.
    ///
    /// # Errors
    /// What is wrong with the answer. The run is at its end then.
    pub fn take<Own: Summary>(&mut self, answer: Answer, own: &Own) -> Result<Vec<(TenantId, Fact)>, Malformed> {
        let taken = match (std::mem::take(&mut self.asked), answer) {
            (Asked::Children(count), Answer::Children(children)) if children.len() == count => {
                self.take_children(&children, own);
                Ok(Vec::new())
            }
            (Asked::Facts, Answer::Facts { facts, next }) => self.take_page(&facts, next).map(|()| facts),
            _ => Err(Malformed::Answer),
        };
        if taken.is_err() {
            self.end();
        }
        taken
    }

    fn take_children(&mut self, children: &[[Fingerprint; Range::CHILDREN]], own: &impl Summary) {
        let ranges = self.differing.split_off(self.differing.len() - children.len());
        for (range, peers) in ranges.into_iter().zip(children) {
            let children = range.children().into_iter().flatten().zip(peers);
            for (child, peer) in children.skip(usize::from(planted::has(Bug::BucketSkipped))) {
                self.note(child, own.fingerprint(child), *peer);
            }
        }
    }

    /// Notes what there is to do about a range. Where the peer has nothing there is nothing to fetch.
    fn note(&mut self, range: Range, own: Fingerprint, peer: Fingerprint) {
        if own == peer || peer.count == 0 {
            return;
        }
        if own.count <= FEW || range.depth() == Range::DEPTH_MAX {
            self.wanted.push(range);
        } else {
            self.differing.push(range);
        }
    }

    /// Chooses the ranges to fetch next: as many as one question can name the facts of, and at least one.
    fn choose(&mut self, own: &impl Summary) {
        let mut named = 0_u64;
        while let Some(range) = self.wanted.last().filter(|_| self.fetching.len() < RANGES_MAX) {
            named = named.saturating_add(own.fingerprint(*range).count);
            if named > DIGESTS_MAX as u64 && !self.fetching.is_empty() {
                break;
            }
            self.fetching.extend(self.wanted.pop());
        }
        self.fetching.sort_by_key(|range| range.first_key());
    }

    fn digests<Own: Summary>(&self, own: &Own) -> Result<Vec<u64>, Own::Failure> {
        let mut have = Vec::new();
        for range in &self.fetching {
            have.extend(own.digests(*range, self.after, DIGESTS_MAX - have.len())?.into_iter().take(DIGESTS_MAX));
            have.truncate(DIGESTS_MAX);
        }
        Ok(have)
    }

    /// Checks a page, and notes how far it comes.
    fn take_page(&mut self, facts: &[(TenantId, Fact)], next: Option<FactKey>) -> Result<(), Malformed> {
        let is_wanted = |key: FactKey| self.fetching.iter().any(|range| range.contains(key));
        let mut reached = self.after;
        for key in facts.iter().map(|(tenant, fact)| FactKey::of(tenant, fact)) {
            if Some(key) <= reached || !is_wanted(key) {
                return Err(Malformed::Fact);
            }
            reached = Some(key);
        }
        let Some(next) = next else {
            self.fetching.clear();
            self.after = None;
            return Ok(());
        };
        // A page with nothing in it ends the run: so none can go on for ever without bringing facts.
        if facts.is_empty() || Some(next) < reached || !is_wanted(next) {
            return Err(Malformed::Page);
        }
        self.fetching.retain(|range| range.last_key() > next);
        self.after = (!self.fetching.is_empty()).then_some(next);
        Ok(())
    }

    fn end(&mut self) {
        *self = Self { questions: self.questions, ..Self::default() };
    }
}

#[cfg(test)]
mod tests;
