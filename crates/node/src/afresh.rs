//! Starting afresh: a node that was away for longer than the retention sets its data aside and begins with none.
//!
//! ```text
//! <data-dir>/parked/<seconds since 1970>-<node id>/
//!     unreplicated/<tenant>.ndjson    transitions only this node has accepted, each as it was posted
//!     unreplicated/<tenant>.retired   artifacts only this node has retired, each on a line
//!     fjall/                          the old store; or redb/, or sled/
//! ```
//!
//! Nothing in there is read again. What is to be kept of it can be posted again, by `plimsoll import` and `plimsoll delete`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use plimsoll_cluster::afresh::Legacy;
use plimsoll_domain::id::{NodeId, TenantId};
use plimsoll_domain::projection::Transition;
use plimsoll_domain::timestamp::{Timestamp, UnixNanos};
use plimsoll_store::directory::{self, DirectoryError};
use plimsoll_store::error::ReadError;
use plimsoll_store::feed::Position;
use plimsoll_store::projections::Projections;
use plimsoll_wire::http::v1::{PostTransition, ProducedRef};
pub use plimsoll_wire::peer::v1::RosterEntry;
use plimsoll_wire::record::RecordError;
use plimsoll_wire::record::v1::{StoredFact, decode_fact};
use thiserror::Error;

use crate::node::RunningNode;

/// Facts are read in pages of about so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// Data that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Where it is.
    pub folder: PathBuf,
    /// How many facts were exported that only this node has.
    pub exported: u64,
    /// Whom the new node is to know.
    pub legacy: Vec<RosterEntry>,
}

/// Data cannot be set aside. It is where it was, and the node has stopped.
#[derive(Debug, Error)]
pub enum ParkError {
    /// What only this node has cannot be written down.
    #[error("what only this node has cannot be exported to {}: {source}", path.display())]
    Export {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The directory cannot be emptied.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Stops a node that has fallen behind, exports what only it has, and sets its data aside.
///
/// # Errors
/// [`ParkError`].
///
/// # Panics
/// If it has not fallen behind.
pub async fn park(node: RunningNode, data_dir: &Path, now: UnixNanos) -> Result<Parked, ParkError> {
    let (projections, legacy) = node.legacy().await.expect("the node has fallen behind");
    let identity = projections.identity();
    let folder = data_dir.join("parked").join(format!("{}-{}", now.get() / 1_000_000_000, identity.node));
    let exported = export(&projections, &legacy, &folder.join("unreplicated")).await?;
    drop(projections);
    if let Err(error) = node.stop().await {
        tracing::error!(%error, "the node that has fallen behind did not stop as it should");
    }
    directory::park(data_dir, &folder)?;
    Ok(Parked { folder, exported, legacy: legacy.roster })
}

/// Writes down what this node accepted and no other member is known to have, a file for each tenant.
async fn export(projections: &Projections, legacy: &Legacy, folder: &Path) -> Result<u64, ParkError> {
    let failed = |source| ParkError::Export { path: folder.to_path_buf(), source };
    let here = projections.identity().node;
    let mut files = Files { folder, open: BTreeMap::new() };
    let mut at = Position { sequence: legacy.replicated, ..projections.position() };
    let mut exported = 0;
    while let Some(page) = projections.facts(at, PAGE_BYTES, |first, last| is_of(here, first, last)).await? {
        for (_, record) in &page.facts {
            let stored = decode_fact(record)?;
            files.write(&stored).map_err(failed)?;
            exported += 1;
        }
        if page.up_to <= at.sequence {
            break;
        }
        at.sequence = page.up_to;
    }
    files.close().map_err(failed)?;
    Ok(exported)
}

/// Whether a node has accepted the fact with these stamps.
fn is_of(node: NodeId, first: Timestamp, last: Timestamp) -> bool {
    first.node == node || last.node == node
}

/// The files of an export.
struct Files<'a> {
    folder: &'a Path,
    open: BTreeMap<(TenantId, &'static str), BufWriter<File>>,
}

impl Files<'_> {
    fn write(&mut self, StoredFact { tenant, fact }: &StoredFact) -> io::Result<()> {
        match fact.transition() {
            Some(transition) => {
                let file = self.file(tenant, "ndjson")?;
                serde_json::to_writer(&mut *file, &posted(transition))?;
                writeln!(file)
            }
            None => writeln!(self.file(tenant, "retired")?, "{}", fact.artifact()),
        }
    }

    fn file(&mut self, tenant: &TenantId, kind: &'static str) -> io::Result<&mut BufWriter<File>> {
        let key = (tenant.clone(), kind);
        if !self.open.contains_key(&key) {
            fs::create_dir_all(self.folder)?;
            let file = File::create(self.folder.join(format!("{tenant}.{kind}")))?;
            self.open.insert(key.clone(), BufWriter::new(file));
        }
        Ok(self.open.get_mut(&key).expect("it was opened"))
    }

    fn close(self) -> io::Result<()> {
        for mut file in self.open.into_values() {
            file.flush()?;
            file.get_ref().sync_all()?;
        }
        Ok(())
    }
}

/// A transition as it was posted.
fn posted(transition: &Transition) -> PostTransition {
    let refs = transition.refs().iter();
    PostTransition {
        artifact_id: transition.artifact.to_string(),
        transition_id: transition.id.to_string(),
        status: transition.status.to_string(),
        produced_refs: refs
            .map(|produced| ProducedRef::from_parts(&produced.key, produced.resolution.as_ref()))
            .collect(),
        committed_version: None,
    }
}
