//! What can go wrong between a caller and the disk.

use std::time::Duration;

use plimsoll_domain::clock::DriftExceeded;
use plimsoll_domain::projection::Refusal;
use plimsoll_wire::record::RecordError;
use thiserror::Error;

use crate::engine::EngineError;
use crate::notes::Fence;

/// A read failed. Nothing has changed; reads of other things may still succeed.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A stored value cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Something points to a place of the log where nothing stands, or something else.
    #[error("the store is damaged: what it points to at sequence {sequence} is not there")]
    Dangling {
        /// The place.
        sequence: u64,
    },
    /// The refs of an artifact are not those its projection was folded from.
    #[error("the store is damaged: the refs of artifact {artifact:?} do not match their digest")]
    RefsDoNotMatch {
        /// The artifact.
        artifact: String,
    },
    /// Writes came faster than the parts of the artifact could be read. Try again.
    #[error("artifact {artifact:?} changes faster than it can be read")]
    Busy {
        /// The artifact.
        artifact: String,
    },
    /// The store failed before what was read became durable; it must not be shown.
    #[error("the store has failed: {0}")]
    Failed(StoreFailure),
}

/// Why a store takes no more writes until it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreFailure {
    /// The engine could not commit or sync. What was not acknowledged may or may not be there after a restart.
    #[error("the disk failed while writing; see the log, mend the disk, and restart the node")]
    Disk,
    /// As [`StoreFailure::Disk`], because the disk had no room left.
    #[error("the disk filled up while the store wrote; make room, and restart the node")]
    DiskFull,
    /// The writer has ended: the store is being closed.
    #[error("the store is closed")]
    Closed,
}

/// A write was not accepted.
#[derive(Debug, Error)]
pub enum WriteError {
    /// A rule of the merge refuses it. Nothing was stored.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The token the emitter last saw, or the stamp of a replica's fact, lies in the future. Nothing was stored, no clock has
    /// moved.
    #[error("the stamp lies {0}")]
    FromTheFuture(#[from] DriftExceeded),
    /// There is nothing to retire.
    #[error("the artifact is not projected here")]
    NotProjected,
    /// The tenant is at its quota. Nothing was stored.
    #[error("the tenant is at its quota of {limit} {unit}")]
    QuotaExceeded {
        /// The quota.
        limit: u64,
        /// What it counts.
        unit: &'static str,
    },
    /// The queue of writes is full. Nothing was stored; try again after the time given.
    #[error("the queue of writes is full")]
    Overloaded {
        /// When there is likely to be room.
        retry_after: Duration,
    },
    /// The data disk is full. Nothing was stored; writes are taken again once there is room.
    #[error("the data disk has less than {reserve_bytes} bytes left")]
    DiskFull {
        /// The room the store keeps for itself.
        reserve_bytes: u64,
    },
    /// The data directory is of an older format. Nothing was stored.
    #[error(
        "the data directory is of format {found}, and this version writes format {current}: run `plimsoll migrate`"
    )]
    MigrationPending {
        /// The directory's format.
        found: u64,
        /// This version's.
        current: u64,
    },
    /// Clients' writes are turned away. Nothing was stored; another node will take it.
    #[error("{}", match .0 {
        Fence::Clock => "this node's clock is far from its peers': it takes no writes until it is set right",
        Fence::Identity => "another node has this node's identity: it takes no writes until one of them is gone",
        Fence::NoMember => "this node is no member of its cluster any more: it takes no writes",
        Fence::Behind => "this node was away for longer than the retention, and has to start afresh: it takes no writes",
    })]
    Fenced(Fence),
    /// Facts of a replica that has forgotten more than this one, or less: they do not mix. Nothing was stored.
    #[error("the facts are of a replica of another horizon")]
    OtherHorizon,
    /// What the write depends on cannot be read. Nothing was stored.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store has failed. Whether the write is there after a restart is unknown; the same write may be sent again.
    #[error("the store has failed: {0}")]
    Failed(#[from] StoreFailure),
}
