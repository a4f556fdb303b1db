//! The task that accepts connections.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::node::StopError;

/// The task, until it is joined. Dropping it ends it, and its connections with it.
#[derive(Debug)]
pub(crate) struct ServerTask {
    /// `None` once it has been joined.
    task: Option<JoinHandle<()>>,
    outcome: Result<(), StopError>,
}

impl ServerTask {
    pub(crate) fn spawn(serving: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { task: Some(tokio::spawn(serving)), outcome: Ok(()) }
    }

    /// Waits until the task has ended, by itself or because it was told to. May be asked again.
    pub(crate) async fn ended(&mut self) -> Result<(), StopError> {
        if let Some(task) = &mut self.task {
            if let Err(error) = task.await {
                tracing::error!(%error, "the server has ended");
                self.outcome = Err(StopError::Server);
            }
            self.task = None;
        }
        self.outcome
    }
}

impl Drop for ServerTask {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
