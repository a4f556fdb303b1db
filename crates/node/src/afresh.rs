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

use plimsoll_cluster::afresh::{HELD_MAX, Legacy};
use plimsoll_cluster::cluster::Cluster;
use plimsoll_domain::id::TenantId;
use plimsoll_domain::projection::{FactKey, Transition};
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

/// The folder of an export that is not complete.
const UNFINISHED: &str = "unfinished";

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

/// Stops a node that has fallen behind, exports what may be nowhere else, and sets its data aside. May be dropped midway: then
/// the data is where it was, or set aside.
///
/// # Errors
/// [`ParkError`].
///
/// # Panics
/// If it has not fallen behind.
pub async fn park(node: RunningNode, data_dir: &Path, now: UnixNanos) -> Result<Parked, ParkError> {
    let (node, stopped) = node.stop_serving().await;
    if let Err(error) = stopped {
        tracing::error!(%error, "the node that has fallen behind did not stop as it should");
    }
    let cluster = node.cluster.clone().filter(Cluster::is_behind).expect("the node has fallen behind");
    let legacy = cluster.legacy().await;
    node.projections.written().await?;
    let parked = data_dir.join("parked");
    let unfinished = parked.join(UNFINISHED);
    let failed = |source| ParkError::Export { path: unfinished.clone(), source };
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let held = async |keys: &[FactKey]| cluster.held(&legacy, keys).await;
    let exported = export(&node.projections, &legacy, &unfinished.join("unreplicated"), held).await?;
    drop(cluster);
    if let Err(error) = node.stop().await {
        tracing::error!(%error, "the node that has fallen behind did not stop as it should");
    }
    let folder = parked.join(format!("{}-{}", now.get() / 1_000_000_000, legacy.here));
    if exported > 0 {
        fs::rename(&unfinished, &folder).and_then(|()| sync_folder(&parked)).map_err(failed)?;
    }
    leave_members(data_dir, &legacy.roster)?;
    directory::park(data_dir, &folder)?;
    Ok(Parked { folder, exported })
}

/// Writes down what this node has and no member that goes on, a file for each tenant.
async fn export(
    projections: &Projections,
    legacy: &Legacy,
    folder: &Path,
    held: impl AsyncFn(&[FactKey]) -> Vec<bool>,
) -> Result<u64, ParkError> {
    let failed = |source| ParkError::Export { path: folder.to_path_buf(), source };
    let mut files = Files { folder, open: BTreeMap::new() };
    let mut at = Position { sequence: 0, ..projections.position() };
    let mut exported = 0;
    while let Some(page) = projections.facts(at, PAGE_BYTES, |first, last| legacy.is_in_doubt(first, last)).await? {
        for facts in page.facts.chunks(HELD_MAX) {
            let facts = facts.iter().map(|(sequence, record)| Ok((*sequence, decode_fact(record)?)));
            let facts: Vec<(u64, StoredFact)> = facts.collect::<Result<_, RecordError>>()?;
            let keys: Vec<FactKey> =
                facts.iter().map(|(_, stored)| FactKey::of(&stored.tenant, &stored.fact)).collect();
            for ((sequence, stored), is_held) in facts.iter().zip(held(&keys).await) {
                if !legacy.is_there(&stored.fact, is_held) && !legacy.is_let_go(*sequence, &stored.fact) {
                    files.write(stored).map_err(failed)?;
                    exported += 1;
                }
            }
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

    use plimsoll_domain::id::{ArtifactId, NodeId, Region, TransitionId};
    use plimsoll_domain::projection::{Draft, Expectation, Submission};
    use plimsoll_store::StoredIdentity;
    use plimsoll_store::engine::memory::Memory;
    use plimsoll_store::options::Options;
    use plimsoll_store::writer::Post;
    use plimsoll_wire::peer::v1::{Member, SPOKEN};

    use super::*;

    const NOW: u64 = 1_776_000_000_000_000_000;

    fn projections() -> Projections {
        let options = Options {
            drift_max: Duration::from_millis(500),
            cursor_cache_bytes: 1 << 20,
            head_cache_bytes: 1 << 20,
            tenant_facts_max: 100,
            tenant_bytes_max: 1 << 20,
            reserve_bytes: 0,
            wall_clock: Arc::new(|| UnixNanos::new(NOW)),
            free_bytes: Arc::new(|| None),
        };
        let fresh = StoredIdentity { node: NodeId::new(7), incarnation: 9 };
        let (projections, writer) = Projections::open(Arc::new(Memory::new()), fresh, &options).unwrap();
        thread::spawn(|| writer.run());
        projections
    }

    fn legacy(replicated: u64, staying: &[u64], forgotten_until: u64) -> Legacy {
        let staying: BTreeSet<NodeId> = staying.iter().copied().map(NodeId::new).collect();
        let forgotten_until = UnixNanos::new(forgotten_until);
        Legacy { here: NodeId::new(7), replicated, staying, forgotten_until, roster: Vec::new() }
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
        let exported = async |name: &str, legacy: &Legacy, there: &[&str]| {
            let folder = parent.path().join(name);
            let there: Vec<FactKey> =
                there.iter().map(|id| FactKey::of_transition(&tenant, &TransitionId::parse(*id).unwrap())).collect();
            let held = async |keys: &[FactKey]| keys.iter().map(|key| there.contains(key)).collect::<Vec<_>>();
            let exported = export(&projections, legacy, &folder, held).await.unwrap();
            let lines = |kind| fs::read_to_string(folder.join(format!("acme.{kind}"))).unwrap_or_default();
            (exported, lines("ndjson").lines().count(), lines("retired"))
        };
        let all = (4, 3, "a\n".to_owned());
        assert_eq!(exported("all", &legacy(0, &[], 0), &[]).await, all);
        assert_eq!(exported("some", &legacy(0, &[], 0), &["t-1", "t-2"]).await, (2, 1, "a\n".to_owned()));
        let later = NOW + 10;
        assert_eq!(exported("theirs", &legacy(0, &[7], later), &[]).await, (0, 0, String::new()), "they let it go");
        assert_eq!(exported("lost", &legacy(0, &[7], 0), &["t-1"]).await, (3, 2, "a\n".to_owned()), "they lost it");
        assert_eq!(exported("let-go", &legacy(4, &[], later), &[]).await, (0, 0, String::new()), "they had all");
        assert_eq!(exported("half", &legacy(2, &[], later), &[]).await, (2, 1, "a\n".to_owned()));
        assert_eq!(exported("young", &legacy(4, &[], NOW - 1), &[]).await, all, "a feed they know of another disk");
        let line = fs::read_to_string(parent.path().join("some/acme.ndjson")).unwrap();
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
