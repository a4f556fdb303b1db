//! The writer's thread. It blocks on the disk, so it is no task of the runtime.

use std::io;
use std::thread::{self, JoinHandle};

use plimsoll_store::writer::Writer;
use tokio::sync::oneshot;

use crate::node::StopError;

/// The thread, until it is joined.
#[derive(Debug)]
pub(crate) struct WriterThread {
    thread: JoinHandle<()>,
    /// Closed when the thread is about to end, so that it can be awaited; `None` once that was seen.
    ended: Option<oneshot::Receiver<()>>,
}

impl WriterThread {
    pub(crate) fn spawn(writer: Writer) -> io::Result<Self> {
        let (alive, ended) = oneshot::channel();
        let run = move || {
            let _alive: oneshot::Sender<()> = alive;
            writer.run();
        };
        let thread = thread::Builder::new().name("plimsoll-writer".to_owned()).spawn(run)?;
        Ok(Self { thread, ended: Some(ended) })
    }

    /// Waits until the thread has ended. May be asked again, and dropped before it is ready.
    pub(crate) async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            // Nothing is ever sent; the error is the end.
            let _ = ended.await;
            self.ended = None;
        }
    }

    /// Waits until everything queued is written and synced. Every other handle to the store must be gone.
    pub(crate) async fn join(mut self) -> Result<(), StopError> {
        self.ended().await;
        self.thread.join().map_err(|_| StopError::Writer)
    }
}
