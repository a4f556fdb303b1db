//! Starting afresh: a node that was away for longer than the retention sets its data aside and begins with none.
//!
//! ```text
//! <data-dir>/members                  whom the new node is to know, until its own store does
//! <data-dir>/parked/<seconds since 1970>-<node id>/
//!     unreplicated/<tenant>.ndjson    transitions that may be nowhere else, each as it was posted
//!     unreplicated/<tenant>.retired   artifacts of which that is true of their tombstone, each on a line
//!     fjall/                          the old store; or redb/, or sled/
//! ```
//!
//! Nothing in `parked/` is read again. What is to be kept of it can be posted again, by `plimsoll import` and `plimsoll
//! delete`. A crash on the way leaves the old store in its place, to be set aside at the next start, or none and the members.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use plimsoll_cluster::afresh::Legacy;
use plimsoll_domain::id::TenantId;
use plimsoll_domain::projection::Transition;
use plimsoll_domain::timestamp::UnixNanos;
use plimsoll_store::directory::{self, DirectoryError};
use plimsoll_store::error::{ReadError, WriteError};
use plimsoll_store::feed::Position;
use plimsoll_store::projections::Projections;
use plimsoll_wire::http::v1::{PostTransition, ProducedRef};
use plimsoll_wire::peer::Frames;
pub use plimsoll_wire::peer::v1::RosterEntry;
use plimsoll_wire::peer::v1::{decode_roster, encode_roster};
use plimsoll_wire::record::RecordError;
use plimsoll_wire::record::v1::{StoredFact, decode_fact};
use thiserror::Error;

use crate::node::RunningNode;

/// The file of whom a new node is to know.
const MEMBERS: &str = "members";

/// Facts are read in pages of about so many bytes.
const PAGE_BYTES: usize = 1 << 20;

/// Data that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Where it is.
    pub folder: PathBuf,
    /// How many facts were exported that may be nowhere else.
    pub exported: u64,
}

/// Data cannot be set aside. It is where it was, and the node has stopped.
#[derive(Debug, Error)]
pub enum ParkError {
    /// What may be nowhere else, or whom the new node is to know, cannot be written down.
    #[error("{} cannot be written: {source}", path.display())]
    Export {
        /// The file, or the folder.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was accepted last did not come to the disk.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The directory cannot be emptied.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// The members cannot be read that a node was to know.
#[derive(Debug, Error)]
#[error(
    "{} names the members of the cluster, and cannot be read: {reason}; remove it, and name one of them with --seed",
    path.display()
)]
pub struct UnreadableMembers {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// Stops a node that has fallen behind, exports what may be nowhere else, and sets its data aside.
///
/// # Errors
/// [`ParkError`].
///
/// # Panics
/// If it has not fallen behind.
pub async fn park(node: RunningNode, data_dir: &Path, now: UnixNanos) -> Result<Parked, ParkError> {
    let legacy = node.legacy().await.expect("the node has fallen behind");
    let (store, stopped) = node.stop_serving().await;
    if let Err(error) = stopped {
        tracing::error!(%error, "the node that has fallen behind did not stop as it should");
    }
    store.projections.written().await?;
    let identity = store.projections.identity();
    let folder = data_dir.join("parked").join(format!("{}-{}", now.get() / 1_000_000_000, identity.node));
    let exported = export(&store.projections, &legacy, &folder.join("unreplicated")).await?;
    if let Err(error) = store.close().await {
        tracing::error!(%error, "the store of the node that has fallen behind did not close as it should");
    }
    leave_members(data_dir, &legacy.roster)?;
    directory::park(data_dir, &folder)?;
    Ok(Parked { folder, exported })
}

/// Writes down what this node has and no member that goes on is known to have, a file for each tenant.
async fn export(projections: &Projections, legacy: &Legacy, folder: &Path) -> Result<u64, ParkError> {
    let failed = |source| ParkError::Export { path: folder.to_path_buf(), source };
    let mut files = Files { folder, open: BTreeMap::new() };
    let end = projections.position();
    // Where the others have more of this node's feed than it has itself, an older state of its disk was put back.
    let begin = if legacy.replicated > end.sequence { 0 } else { legacy.replicated };
    let mut at = Position { sequence: begin, ..end };
    let mut exported = 0;
    while let Some(page) = projections.facts(at, PAGE_BYTES, |first, last| legacy.is_unreplicated(first, last)).await? {
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

/// Leaves word of whom the next node over a data directory is to know.
fn leave_members(data_dir: &Path, roster: &[RosterEntry]) -> Result<(), ParkError> {
    let path = data_dir.join(MEMBERS);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&encode_roster(roster))?;
        file.sync_all()?;
        sync_folder(data_dir)
    });
    written.map_err(|source| ParkError::Export { path, source })
}

/// Whom the node over a data directory is to know, if word of it was left.
///
/// # Errors
/// [`UnreadableMembers`].
pub fn members_left(data_dir: &Path) -> Result<Vec<RosterEntry>, UnreadableMembers> {
    let path = data_dir.join(MEMBERS);
    let unreadable = |reason: String| UnreadableMembers { path: path.clone(), reason };
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable(error.to_string())),
        Ok(frame) => Frames::only(&frame).and_then(decode_roster).map_err(|error| unreadable(error.to_string())),
    }
}

/// Removes that word: the store of the node knows them by now. Where it stays it is not gone by.
pub fn take_members(data_dir: &Path) {
    match fs::remove_file(data_dir.join(MEMBERS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the file of members in the data directory is of no use any more, and cannot be removed");
        }
        _ => {}
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
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
        // The names of the files, and of the folders they are in.
        self.folder.ancestors().take(4).filter(|folder| folder.exists()).try_for_each(sync_folder)
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use plimsoll_domain::id::{ArtifactId, NodeId, Region};
    use plimsoll_domain::projection::{Draft, Expectation, Submission};
    use plimsoll_store::StoredIdentity;
    use plimsoll_store::engine::memory::Memory;
    use plimsoll_store::options::Options;
    use plimsoll_store::writer::Post;
    use plimsoll_wire::peer::v1::{Member, SPOKEN};

    use super::*;

    fn projections() -> Projections {
        let options = Options {
            drift_max: Duration::from_millis(500),
            cursor_cache_bytes: 1 << 20,
            head_cache_bytes: 1 << 20,
            tenant_facts_max: 100,
            tenant_bytes_max: 1 << 20,
            reserve_bytes: 0,
            wall_clock: Arc::new(|| UnixNanos::new(1_776_000_000_000_000_000)),
            free_bytes: Arc::new(|| None),
        };
        let fresh = StoredIdentity { node: NodeId::new(7), incarnation: 9 };
        let (projections, writer) = Projections::open(Arc::new(Memory::new()), fresh, &options).unwrap();
        thread::spawn(|| writer.run());
        projections
    }

    fn legacy(replicated: u64, staying: &[u64]) -> Legacy {
        let staying: BTreeSet<NodeId> = staying.iter().copied().map(NodeId::new).collect();
        Legacy { replicated, staying, roster: Vec::new() }
    }

    #[tokio::test]
    async fn what_may_be_nowhere_else_is_exported_as_it_was_posted() {
        let (projections, tenant) = (projections(), TenantId::parse("acme").unwrap());
        for id in ["t-1", "t-2", "t-3"] {
            let draft =
                Draft { artifact_id: "a".into(), transition_id: id.into(), status: "new".into(), ..Draft::default() };
            let post = Post { submission: Submission::parse(draft).unwrap(), expectation: Expectation::Any };
            projections.submit(&tenant, post).await.unwrap();
        }
        projections.retire(&tenant, ArtifactId::parse("a").unwrap(), Expectation::Any).await.unwrap();
        let parent = tempfile::tempdir().unwrap();
        let exported = async |name: &str, legacy: &Legacy| {
            let folder = parent.path().join(name);
            let exported = export(&projections, legacy, &folder).await.unwrap();
            let lines = |kind| fs::read_to_string(folder.join(format!("acme.{kind}"))).unwrap_or_default();
            (exported, lines("ndjson").lines().count(), lines("retired"))
        };
        assert_eq!(exported("all", &legacy(0, &[])).await, (4, 3, "a\n".to_owned()));
        assert_eq!(exported("latest", &legacy(2, &[])).await, (2, 1, "a\n".to_owned()));
        assert_eq!(exported("none", &legacy(4, &[])).await, (0, 0, String::new()));
        assert_eq!(exported("theirs", &legacy(0, &[7])).await, (0, 0, String::new()), "who accepted it has it");
        assert_eq!(exported("older", &legacy(5, &[])).await.0, 4, "an older state of the disk was put back");
        let line = fs::read_to_string(parent.path().join("latest/acme.ndjson")).unwrap();
        assert!(line.starts_with(r#"{"artifact_id":"a","transition_id":"t-3","status":"new""#), "{line}");
    }

    #[test]
    fn word_of_the_members_is_left_and_taken_once() {
        let parent = tempfile::tempdir().unwrap();
        assert_eq!(members_left(parent.path()).unwrap(), []);
        let member = Member {
            node: NodeId::new(1),
            incarnation: 1,
            generation: 1,
            region: Region::parse("eu").unwrap(),
            peer: "eu.example:7172".into(),
            http: "eu.example:7171".into(),
            software: "0.1.0".into(),
            versions: SPOKEN,
        };
        let roster = [RosterEntry { member, gone: false }];
        leave_members(parent.path(), &roster).unwrap();
        assert_eq!(members_left(parent.path()).unwrap(), roster);
        take_members(parent.path());
        assert_eq!(members_left(parent.path()).unwrap(), []);
        take_members(parent.path());
        fs::write(parent.path().join(MEMBERS), "eu.example").unwrap();
        let error = members_left(parent.path()).unwrap_err().to_string();
        assert!(error.contains("members names the members") && error.contains("--seed"), "{error}");
    }
}
