//! The writer of the store: a thread, for it blocks on the disk; or a task, where time is simulated.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use plimsoll_store::writer::Writer;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::node::StopError;

/// Waits as long as a simulated disk takes for a sync.
pub type SimulatedSync = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// On what the writer runs.
#[derive(Clone)]
pub enum Writing {
    /// Threads of its own.
    Threads,
    /// The runtime. The engine must not block.
    Tasks(SimulatedSync),
}

/// The writer, until it is joined. A thread goes on when this is dropped, until every handle to the store is gone; a task ends.
#[derive(Debug)]
pub(crate) struct WriterTask {
    /// Told when the writer is done; closed without a word where it panicked.
    done: oneshot::Receiver<()>,
    ended: Option<Result<(), StopError>>,
    _tasks: JoinSet<()>,
}

impl WriterTask {
    pub(crate) fn spawn(writer: Writer, writing: Writing) -> io::Result<Self> {
        let (tell, done) = oneshot::channel();
        let mut tasks = JoinSet::new();
        match writing {
            Writing::Threads => {
                let run = move || {
                    writer.run();
                    // Nobody may wait for it any more.
                    let _ = tell.send(());
                };
                thread::Builder::new().name("plimsoll-writer".to_owned()).spawn(run)?;
            }
            Writing::Tasks(disk) => {
                tasks.spawn(async move {
                    writer.run_as_tasks(|| disk()).await;
                    let _ = tell.send(());
                });
            }
        }
        Ok(Self { done, ended: None, _tasks: tasks })
    }

    /// Waits until it has ended. May be asked again, and dropped before it is ready.
    pub(crate) async fn ended(&mut self) -> Result<(), StopError> {
        if self.ended.is_none() {
            self.ended = Some((&mut self.done).await.map_err(|_| StopError::Writer));
        }
        self.ended.unwrap_or(Err(StopError::Writer))
    }

    /// Waits until everything queued is written and synced. Every other handle to the store must be gone.
    pub(crate) async fn join(mut self) -> Result<(), StopError> {
        self.ended().await
    }
}
