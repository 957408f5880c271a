use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tower::Service;

use super::error::BatchError;
use super::service::Batch;

impl<T, R> Batch<T, R>
where
    T: Send + 'static,
    R: Send + 'static,
{
    /// Queues `item` and returns at once, without waiting for its result: for work that no caller
    /// waits for, such as an audit log.
    ///
    /// The item is sent with its batch, whatever becomes of the caller; [`drain`](Self::drain) waits
    /// for it. The service's result, or its error, is dropped: where a failure must be seen, let the
    /// service count or log it. To wait for the result, call the batch instead.
    ///
    /// ```
    /// # async fn insert(_: Vec<String>) -> Result<Vec<()>, std::io::Error> { Ok(vec![]) }
    /// use tower::{ServiceBuilder, service_fn};
    /// use tower_kit::batch::{Batch, BatchError, BatchLayer};
    ///
    /// # async fn serve() -> Result<(), BatchError> {
    /// let log: Batch<String, ()> =
    ///     ServiceBuilder::new().layer(BatchLayer::new()).service(service_fn(insert));
    ///
    /// // In a handler, which responds without waiting for the database:
    /// log.submit("Ada signed in".to_owned())?;
    ///
    /// // When the server stops:
    /// log.drain().await;
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
    /// #     .unwrap().block_on(serve()).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`BatchError::is_full`] if the queue is full, and [`BatchError::is_closed`] after
    /// [`drain`](Self::drain). The item was not queued.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime. Then nothing is queued.
    pub fn submit(&self, item: T) -> Result<(), BatchError> {
        // Panics outside of a runtime, before anything has changed.
        let runtime = Handle::current();
        let mut answer = self.clone().call(item);
        match Pin::new(&mut answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) if error.is_full() || error.is_closed() => Err(error),
            Poll::Ready(_) => Ok(()),
            Poll::Pending => {
                // An item whose caller has left may be dropped unsent: this caller stays.
                drop(runtime.spawn(answer));
                Ok(())
            }
        }
    }
}
