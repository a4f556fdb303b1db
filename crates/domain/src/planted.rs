//! Planted bugs: faults that are put into the product on purpose, to show that the simulation finds them.
//!
//! A simulation that finds nothing may be blind. So each promise of the product has slips that break it, of the kind that
//! passes a review and the tests of one node. Each has a name, and the simulation switches one on for a run: then it has to
//! say that a promise was broken. What a run needs to show each of them is in `docs/simulation-bugs.md`.
//!
//! None can be in a release. The switch, and the code behind it, are compiled in only with the feature `planted`, which is
//! no default and which no crate but the simulation may turn on: a test reads the manifests. Without the feature [`has`] is
//! a constant `false`, so a call site needs no `cfg` and leaves nothing behind. With it, nothing is planted until a program
//! calls `plant`: no file, argument or environment of a node can.

use std::fmt;
use std::str::FromStr;
#[cfg(feature = "planted")]
use std::sync::atomic::{AtomicU8, Ordering};

use thiserror::Error;

/// A fault that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Of two stamps of one transition the greater is kept: a late retry puts an old status back. Breaks *forward*.
    GreaterStampKept,
    /// A write is answered once it is committed, and synced after that. Breaks *keep*.
    AckBeforeSync,
    /// A ref that is unknown here is refused with 409, and nobody is asked. Breaks *honest*.
    ConflictWithoutAsking,
    /// A pending ref that arrives late takes the place of the resolved one. Breaks *forward* and *converge*.
    PendingOverResolved,
    /// The digest in a token leaves the refs out: states that differ in them have one token. Breaks *honest*.
    DigestLeftOut,
    /// The clock's high-water mark is not stored: a clock set back takes stamps back at the next start. Breaks *forward*.
    HighWaterNotPersisted,
    /// A stamp is observed however far ahead it is: one wrong clock drags all others along. Breaks *fenced*.
    DriftBoundOff,
    /// What was retired is forgotten at the next chance, and not after the retention. Breaks *gone* and *once*.
    TombstoneCollectedEarly,
    /// Of sixteen ranges anti-entropy compares fifteen. Breaks *converge*.
    BucketSkipped,
    /// The heads of artifacts are committed apart from their facts: a crash may come in between. Breaks *converge* and *keep*.
    BatchHalfApplied,
    /// A relay that begins to follow is not told what came before, as if the one before it had passed on all of that.
    /// Breaks *honest*: answers are older than they say; and *keep* where members' disks are waited for.
    RelayLoses,
    /// A transition is said to be visible once it is committed, before the state is that has it, and before it is synced.
    /// Breaks *honest*.
    ContainsTooEarly,
    /// The watermark of a feed goes past facts that were not taken over. Breaks *honest*: answers are older than they say; and
    /// *keep* where members' disks are waited for.
    WatermarkBeforeFacts,
    /// A tombstone hides what was there before it, and not what is older and arrives later. Breaks *gone* and *converge*.
    RetiredComesBack,
    /// A node whose clock is off does not fence itself. Breaks *fenced*.
    FenceOff,
    /// The feed of changes tells a tenant of the artifacts of all others. Breaks *private*.
    TenantLeftOut,
    /// A member that is gone counts no more for how old answers are, though what it had may be elsewhere only. Breaks *honest*.
    DepartedUncounted,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::GreaterStampKept,
        Self::AckBeforeSync,
        Self::ConflictWithoutAsking,
        Self::PendingOverResolved,
        Self::DigestLeftOut,
        Self::HighWaterNotPersisted,
        Self::DriftBoundOff,
        Self::TombstoneCollectedEarly,
        Self::BucketSkipped,
        Self::BatchHalfApplied,
        Self::RelayLoses,
        Self::ContainsTooEarly,
        Self::WatermarkBeforeFacts,
        Self::RetiredComesBack,
        Self::FenceOff,
        Self::TenantLeftOut,
        Self::DepartedUncounted,
    ];

    /// Its name, which stays what it is.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GreaterStampKept => "greater-stamp-kept",
            Self::AckBeforeSync => "ack-before-sync",
            Self::ConflictWithoutAsking => "conflict-without-asking",
            Self::PendingOverResolved => "pending-over-resolved",
            Self::DigestLeftOut => "digest-left-out",
            Self::HighWaterNotPersisted => "high-water-not-persisted",
            Self::DriftBoundOff => "drift-bound-off",
            Self::TombstoneCollectedEarly => "tombstone-collected-early",
            Self::BucketSkipped => "bucket-skipped",
            Self::BatchHalfApplied => "batch-half-applied",
            Self::RelayLoses => "relay-loses",
            Self::ContainsTooEarly => "contains-too-early",
            Self::WatermarkBeforeFacts => "watermark-before-facts",
            Self::RetiredComesBack => "retired-comes-back",
            Self::FenceOff => "fence-off",
            Self::TenantLeftOut => "tenant-left-out",
            Self::DepartedUncounted => "departed-uncounted",
        }
    }
}

impl fmt::Display for Bug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A name that is no bug's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("must be one of {}", Bug::ALL.map(Bug::name).join(", "))]
pub struct NoSuchBug;

impl FromStr for Bug {
    type Err = NoSuchBug;

    fn from_str(text: &str) -> Result<Self, NoSuchBug> {
        Self::ALL.into_iter().find(|bug| bug.name() == text).ok_or(NoSuchBug)
    }
}

/// Whether a bug is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn has(bug: Bug) -> bool {
    PLANTED.has(bug)
}

/// Whether a bug is planted: none ever is.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn has(_: Bug) -> bool {
    false
}

/// Plants a bug in all nodes of this process, in place of the one before it, or takes that out. To be called before a run:
/// a node that runs while this changes is one that nobody would write.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "planted")]
static PLANTED: Switch = Switch::new();

/// Holds the place of the bug among all, counted from 1; 0 for none.
#[cfg(feature = "planted")]
#[derive(Debug)]
struct Switch(AtomicU8);

#[cfg(feature = "planted")]
impl Switch {
    const fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    fn set(&self, bug: Option<Bug>) {
        self.0.store(bug.map_or(0, Self::place), Ordering::Relaxed);
    }

    fn has(&self, bug: Bug) -> bool {
        self.0.load(Ordering::Relaxed) == Self::place(bug)
    }

    const fn place(bug: Bug) -> u8 {
        bug as u8 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_what_they_name() {
        for bug in Bug::ALL {
            assert_eq!(bug.to_string().parse(), Ok(bug));
            let is_plain = |letter: char| letter.is_ascii_lowercase() || letter == '-';
            assert!(bug.name().chars().all(is_plain), "{bug}");
        }
        assert_eq!("acked-before-sync".parse::<Bug>(), Err(NoSuchBug));
        assert_eq!("".parse::<Bug>(), Err(NoSuchBug));
    }

    #[test]
    fn each_is_among_all_once_in_its_place() {
        for (place, bug) in Bug::ALL.into_iter().enumerate() {
            assert_eq!(bug as usize, place, "{bug}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_told_all_names() {
        let told = NoSuchBug.to_string();
        assert!(Bug::ALL.into_iter().all(|bug| told.contains(bug.name())), "{told}");
    }

    #[test]
    fn nothing_is_planted_at_first() {
        assert!(!Bug::ALL.into_iter().any(has));
    }

    // The process-wide one is left alone: other tests run beside this one.
    #[cfg(feature = "planted")]
    #[test]
    fn one_is_planted_at_a_time() {
        let switch = Switch::new();
        let planted = || Bug::ALL.into_iter().filter(|bug| switch.has(*bug)).collect::<Vec<_>>();
        for bug in Bug::ALL {
            switch.set(Some(bug));
            assert_eq!(planted(), [bug]);
        }
        switch.set(None);
        assert_eq!(planted(), []);
    }
}
