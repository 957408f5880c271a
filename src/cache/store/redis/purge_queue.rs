use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::super::error::StoreError;
use super::super::super::purge::list::{Fill, LocalPurge, PurgeLog, StampFuture};
use super::super::super::purge::table::{Names, PurgeTarget};
use super::super::super::purge::{PurgeFuture, Stamp};
use super::backend::Backend;
use super::fills::Fills;

/// The queue of purges that the background task writes to the log. It holds at most one purge for
/// each target, once the task has read it.
#[derive(Clone)]
pub(super) struct PurgeQueue {
    pub(super) sender: UnboundedSender<Pending>,
    pub(super) backend: Arc<Backend>,
    pub(super) fills: Fills,
}

/// A purge on its way to the log.
pub(super) struct Pending {
    pub(super) purge: LocalPurge,
    /// Receives the stamp of the purge when the log has it.
    pub(super) written: oneshot::Sender<Stamp>,
}

impl PurgeLog for PurgeQueue {
    fn write(&self, purge: LocalPurge) -> StampFuture {
        if let PurgeTarget::Hard(Names::Removed(name)) = purge.target {
            self.fills.forget(name);
        }
        let (written, waiting) = oneshot::channel();
        // Before the future is polled: a purge that nobody awaits is sent as well.
        let sent = self.sender.send(Pending { purge, written });
        Box::pin(async move {
            sent.ok()?;
            waiting.await.ok()
        })
    }

    fn is_away(&self) -> bool {
        self.backend.breaker.is_open() && !self.sender.is_closed()
    }

    /// Waits for the timeout of a command.
    fn confirm(&self, written: StampFuture) -> PurgeFuture {
        let (backend, sender) = (Arc::clone(&self.backend), self.sender.clone());
        PurgeFuture::new(async move {
            if sender.is_closed() {
                return Err(StoreError::new("the task of the Redis store has ended"));
            }
            // The task sends it when Redis is back. No caller waits for that.
            if backend.breaker.is_open() {
                return Err(StoreError::deferred(DEFERRED));
            }
            match timeout(backend.config.command_timeout, written).await {
                Ok(Some(_)) => Ok(()),
                _ => Err(StoreError::deferred(DEFERRED)),
            }
        })
    }

    fn begin_fill(&self, name: u128, key: &str, watermark: Stamp) -> Option<Fill> {
        self.fills.begin(name, key, watermark)
    }
}

const DEFERRED: &str = "Redis did not respond in time; other processes learn of the purge later";
