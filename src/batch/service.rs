use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, TryAcquireError};
use tokio::time::Instant;
use tower::Service;

use super::answer::Answer;
use super::error::BatchError;
use super::policy::Settings;
use super::queue::{Exit, Functions, Queue};
use super::worker::work;

/// Takes items one by one, and gives each its result; the service of
/// [`BatchLayer`](super::BatchLayer). `T` is an item, `R` its result.
///
/// Clones share the queue. The service that gets the batches is not part of the type, so that this
/// can be a field of an application's state.
pub struct Batch<T, R> {
    handle: Arc<Handle<T, R>>,
    place: Place,
}

/// What all clones have. When it is dropped, no more can come.
struct Handle<T, R>(Arc<Queue<T, R>>);

type Acquired = Result<OwnedSemaphorePermit, AcquireError>;

/// A place in the queue, for the next call.
enum Place {
    None,
    Waiting(Pin<Box<dyn Future<Output = Acquired> + Send + Sync>>),
    Kept(OwnedSemaphorePermit),
}

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
        let exit = Exit::new(settings, functions);
        let queue = Arc::clone(&exit.queue);
        queue.set_worker(Box::pin(work(exit, service)));
        Self { handle: Arc::new(Handle(queue)), place: Place::None }
    }
}

impl<T, R> Batch<T, R> {
    /// Sends what is queued, without waiting until the batch is full or the delay is over. What
    /// comes later waits as ever.
    pub fn flush(&self) {
        self.handle.0.flush();
    }

    /// From now on refuses new items on all clones ([`BatchError::is_closed`]), and sends what is
    /// queued. The future waits until all of it is answered; where it is dropped, that goes on
    /// without it.
    ///
    /// It waits for as long as the service takes: where that may hang, give it a time-out.
    pub fn drain(&self) -> impl Future<Output = ()> + use<T, R> {
        let queue = Arc::clone(&self.handle.0);
        queue.close();
        async move { queue.ended().await }
    }

    /// A place in the queue, if there is a free one.
    fn try_place(&self) -> Result<OwnedSemaphorePermit, BatchError> {
        let queue = &self.handle.0;
        let acquired = Arc::clone(&queue.places).try_acquire_owned().or_else(|_| {
            // Some of the places may be those of callers that have left.
            queue.remove_abandoned();
            Arc::clone(&queue.places).try_acquire_owned()
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
    type Future = Answer<R>;

    /// Waits for a place in the queue, which is then kept for the next call.
    ///
    /// # Errors
    ///
    /// After [`drain`](Self::drain): [`BatchError::is_closed`].
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BatchError>> {
        loop {
            match &mut self.place {
                Place::Kept(_) => return Poll::Ready(Ok(())),
                Place::None => match self.try_place() {
                    Ok(place) => self.place = Place::Kept(place),
                    Err(error) if error.is_full() => {
                        let places = Arc::clone(&self.handle.0.places);
                        self.place = Place::Waiting(Box::pin(places.acquire_owned()));
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                },
                Place::Waiting(waiting) => {
                    let place = ready!(waiting.as_mut().poll(cx));
                    self.place = Place::None;
                    self.place = Place::Kept(place.map_err(|_| BatchError::closed())?);
                }
            }
        }
    }

    /// Queues `item`. Without a place from `poll_ready` it fails where the queue is full
    /// ([`BatchError::is_full`]).
    ///
    /// # Panics
    ///
    /// The first call panics outside of a Tokio runtime, and any call where a function panics that
    /// [`weight`](super::BatchLayer::weight) or [`dedupe_by`](super::BatchLayer::dedupe_by) was given.
    /// Then nothing is queued.
    fn call(&mut self, item: T) -> Answer<R> {
        let place = match std::mem::replace(&mut self.place, Place::None) {
            Place::Kept(place) => Ok(place),
            Place::None | Place::Waiting(_) => self.try_place(),
        };
        match place {
            Ok(place) => {
                #[expect(clippy::disallowed_methods, reason = "the edge: the item's delay begins")]
                let now = Instant::now();
                let (answer, worker) = self.handle.0.push(item, place, now);
                if let Some(worker) = worker {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "batches go when nobody polls; the task ends with the last handle, and `drain` waits for it"
                    )]
                    tokio::spawn(worker);
                }
                answer
            }
            Err(error) => Answer::refused(error),
        }
    }
}

impl<T, R> Clone for Batch<T, R> {
    /// A place in the queue is not cloned.
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle), place: Place::None }
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
