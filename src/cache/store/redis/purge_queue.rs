use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::super::error::StoreError;
use super::super::super::purge::PurgeFuture;
use super::super::super::purge::list::{LocalPurge, PurgeLog};
use super::backend::Backend;

/// The queue of purges that the background task writes to the log. It holds at most one purge for
/// each target, once the task has read it.
#[derive(Clone)]
pub(super) struct PurgeQueue {
    pub(super) sender: UnboundedSender<Pending>,
    pub(super) backend: Arc<Backend>,
}

/// A purge on its way to the log.
pub(super) struct Pending {
    pub(super) purge: LocalPurge,
    /// Receives `true` when the log has the purge.
    pub(super) written: oneshot::Sender<bool>,
}

impl PurgeQueue {
    /// Queues a purge. The future waits until the log has it, for the timeout of a command.
    pub(super) fn send(
        &self,
        purge: LocalPurge,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + 'static {
        let (written, waiting) = oneshot::channel();
        // Before the future is polled: a purge that nobody awaits is sent as well.
        let sent = self.sender.send(Pending { purge, written });
        let backend = Arc::clone(&self.backend);
        async move {
            sent.map_err(|_| StoreError::new("the task of the Redis store has ended"))?;
            // The task sends it when Redis is back. No caller waits for that.
            if backend.breaker.is_open() {
                return Err(StoreError::deferred(DEFERRED));
            }
            match timeout(backend.config.command_timeout, waiting).await {
                Ok(Ok(true)) => Ok(()),
                _ => Err(StoreError::deferred(DEFERRED)),
            }
        }
    }
}

impl PurgeLog for PurgeQueue {
    fn write(&self, purge: LocalPurge) -> PurgeFuture {
        PurgeFuture::new(self.send(purge))
    }
}

const DEFERRED: &str = "Redis did not respond in time; other processes learn of the purge later";
