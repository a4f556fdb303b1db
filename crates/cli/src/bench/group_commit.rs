//! One file, one writer, one fdatasync for all who wait: the least a durable server can do.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

/// The bytes of one record: about what a transition takes.
const RECORD_BYTES: usize = 300;
/// Appends that wait for the writer: far more than the connections of any benchmark.
const QUEUE_MAX: usize = 16 * 1024;
/// The file is begun anew at this size, so that a long benchmark does not fill the disk.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A handle to the writer.
#[derive(Debug, Clone)]
pub(crate) struct GroupCommit {
    queue: mpsc::Sender<Append>,
}

/// Records to be appended, and who waits for them.
#[derive(Debug)]
struct Append {
    records: usize,
    synced: oneshot::Sender<()>,
}

/// The disk failed; nothing more is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFailed;

impl GroupCommit {
    /// Starts the writer on a new file in `directory`. It ends when the last handle is dropped, or the disk fails.
    pub(crate) fn start(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let path = directory.join("floor.log");
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let (queue, appends) = mpsc::channel(QUEUE_MAX);
        thread::Builder::new().name("group-commit".to_owned()).spawn(move || write_groups(file, appends))?;
        Ok(Self { queue })
    }

    /// Appends so many records; returns once they are on disk.
    pub(crate) async fn append(&self, records: usize) -> Result<(), DiskFailed> {
        let (synced, wait) = oneshot::channel();
        self.queue.send(Append { records, synced }).await.map_err(|_| DiskFailed)?;
        wait.await.map_err(|_| DiskFailed)
    }
}

fn write_groups(mut file: File, mut appends: mpsc::Receiver<Append>) {
    let (mut group, mut bytes) = (Vec::new(), Vec::new());
    while appends.blocking_recv_many(&mut group, QUEUE_MAX) > 0 {
        let records: usize = group.iter().map(|append| append.records).sum();
        bytes.resize(records * RECORD_BYTES, b'.');
        if write_group(&mut file, &bytes).is_err() {
            // Those who wait learn it from the dropped senders, those who come from the closed queue.
            return;
        }
        for append in group.drain(..) {
            // Who no longer waits has gone away with the connection.
            let _ = append.synced.send(());
        }
    }
}

fn write_group(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    if file.stream_position()? > FILE_BYTES_MAX {
        file.set_len(0)?;
        file.rewind()?;
    }
    file.write_all(bytes)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_returns_is_on_disk() {
        let directory = tempfile::tempdir().unwrap();
        let log = GroupCommit::start(directory.path()).unwrap();
        let (first, second) = tokio::join!(log.append(1), log.append(9));
        assert_eq!((first, second), (Ok(()), Ok(())));
        let len = std::fs::metadata(directory.path().join("floor.log")).unwrap().len();
        assert_eq!(len, 10 * RECORD_BYTES as u64);
    }
}
