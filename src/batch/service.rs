use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;
use tower::Service;

use super::error::BatchError;
use super::future::ResponseFuture;
use super::policy::Settings;
use super::queue::{Functions, Queue, WorkerGuard};
use super::worker::work;

/// The service that [`BatchLayer`](super::BatchLayer) creates: it takes one item of type `T` per call,
/// and returns its result of type `R`.
///
/// Clones share the queue. The inner service is not part of the type, so that the state of an
/// application can hold a `Batch<T, R>`.
#[doc(alias("BatchProcessor", "DataLoader"))]
pub struct Batch<T, R> {
    handle: Arc<Handle<T, R>>,
    slot: Slot,
}

/// The part that all clones share. Its drop closes the queue.
struct Handle<T, R>(Arc<Queue<T, R>>);

/// The reservation of a place in the queue, for the next call.
///
/// `tokio_util::sync::PollSemaphore` is not used: it would add three crates to this feature, and cannot
/// give up a wait, nor tell when one begins, which is when abandoned items are removed.
enum Slot {
    Empty,
    Waiting(AcquireFuture),
    Reserved(OwnedSemaphorePermit),
}

type AcquireFuture =
    Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send + Sync>>;

impl<T, R> Batch<T, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    pub(super) fn new<S>(service: S, settings: Settings, functions: Functions<T, R>) -> Self
    where
        S: Service<Vec<T>, Response = Vec<R>> + Send + 'static,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        S::Future: Send + 'static,
    {
        let guard = WorkerGuard::new(settings, functions);
        let queue = Arc::clone(&guard.queue);
        queue.set_worker(Box::pin(work(guard, service)));
        Self { handle: Arc::new(Handle(queue)), slot: Slot::Empty }
    }
}

impl<T, R> Batch<T, R> {
    /// Sends all queued items without waiting for full batches or the
    /// [`max_delay`](super::BatchLayer::max_delay). Items queued later wait as usual.
    pub fn flush(&self) {
        self.handle.0.flush();
    }

    /// Closes the batch for new items, on all clones, and returns a future that completes when all
    /// queued items have their results.
    ///
    /// Later calls fail with [`BatchError::is_closed`]. Dropping the future does not stop the drain.
    /// The drain lasts as long as the service takes; use a timeout if the service may hang.
    #[doc(alias("shutdown", "graceful shutdown", "close"))]
    pub fn drain(&self) -> impl Future<Output = ()> + use<T, R> {
        let queue = Arc::clone(&self.handle.0);
        queue.close();
        async move { queue.stopped().await }
    }

    fn try_reserve(&self) -> Result<OwnedSemaphorePermit, BatchError> {
        let queue = &self.handle.0;
        let acquired = Arc::clone(&queue.permits).try_acquire_owned().or_else(|_| {
            // A caller that leaves does not release its permit.
            queue.remove_abandoned();
            Arc::clone(&queue.permits).try_acquire_owned()
        });
        acquired.map_err(|error| match error {
            TryAcquireError::NoPermits => BatchError::full(),
            TryAcquireError::Closed => BatchError::closed(),
        })
    }
}

impl<T, R> Service<T> for Batch<T, R> {
    type Response = R;
    type Error = BatchError;
    type Future = ResponseFuture<R>;

    /// Waits for a place in the queue, and reserves it for the next call.
    ///
    /// # Errors
    ///
    /// Returns [`BatchError::is_closed`] after [`drain`](Self::drain).
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BatchError>> {
        if let Slot::Empty = self.slot {
            self.slot = match self.try_reserve() {
                Ok(permit) => Slot::Reserved(permit),
                Err(error) if error.is_full() => {
                    let permits = Arc::clone(&self.handle.0.permits);
                    Slot::Waiting(Box::pin(permits.acquire_owned()))
                }
                Err(error) => return Poll::Ready(Err(error)),
            };
        }
        if let Slot::Waiting(acquire) = &mut self.slot {
            let acquired = ready!(acquire.as_mut().poll(cx));
            // A completed future must not be polled again.
            self.slot = Slot::Empty;
            self.slot = Slot::Reserved(acquired.map_err(|_| BatchError::closed())?);
        }
        Poll::Ready(Ok(()))
    }

    /// Queues `item`, and returns a future of its result.
    ///
    /// The future fails with [`BatchError::is_full`] if the queue is full and `poll_ready` was not
    /// called first.
    ///
    /// # Panics
    ///
    /// The first call panics outside of a Tokio runtime. Each call panics if a function passed to
    /// [`max_weight`](super::BatchLayer::max_weight) or [`dedupe_by`](super::BatchLayer::dedupe_by)
    /// does. The item is then not queued.
    fn call(&mut self, item: T) -> ResponseFuture<R> {
        let permit = match std::mem::replace(&mut self.slot, Slot::Empty) {
            Slot::Reserved(permit) => Ok(permit),
            // Dropping the wait gives its turn to the next caller.
            Slot::Empty | Slot::Waiting(_) => self.try_reserve(),
        };
        match permit {
            Ok(permit) => {
                #[expect(clippy::disallowed_methods, reason = "the edge: the item's delay begins")]
                let now = Instant::now();
                let (future, worker) = self.handle.0.push(item, permit, now);
                if let Some(worker) = worker {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "batches are sent while nobody polls; the task ends with the last handle, and `drain` waits for it"
                    )]
                    tokio::spawn(worker);
                }
                future
            }
            Err(error) => ResponseFuture::rejected(error),
        }
    }
}

impl<T, R> Clone for Batch<T, R> {
    /// Returns a handle of the same queue, without the reservation of this one.
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), slot: Slot::Empty }
    }
}

impl<T, R> Drop for Handle<T, R> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T, R> fmt::Debug for Batch<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("queue", &self.handle.0).finish_non_exhaustive()
    }
}
