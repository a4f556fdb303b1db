//! One node's durable copy of its projections.
//!
//! - [`engine`]: the seam to a disk, and what is behind it.
//! - [`conflicts`]: what was lost to another content under the same id.
//! - [`directory`]: a data directory, locked, with its engine.
//! - [`format`](mod@format): the format of what it holds, and migrations.
//! - [`projections`]: the handle that readers and writers hold; [`pages`] and [`feed`] are more of its reads.
//! - [`receiving`]: what a peer's facts come to; [`reconciling`]: which of them are missing.
//! - [`forgetting`]: what a store lets go, once all members have it.
//! - [`notes`]: what others keep here by name.
//! - [`writer`]: group commit, behind which stands the single commit door.
//!
//! The store does not know that there are peers: it takes facts at its door, and tells followers of its feed.

pub mod conflicts;
pub mod directory;
mod door;
pub mod engine;
pub mod error;
pub mod feed;
pub mod forgetting;
pub mod format;
mod heads;
mod horizons;
mod layout;
mod log;
pub mod notes;
pub mod options;
pub mod pages;
pub mod projections;
pub mod receiving;
pub mod reconciling;
mod shared;
mod staging;
mod stamped;
mod tally;
pub mod writer;

pub use door::{ARTIFACT_REFS_MAX, Accepted};
pub use plimsoll_wire::record::v1::{StoredIdentity, StoredUsage};
pub use shared::{Cursor, Progress};

#[cfg(test)]
mod tests;
