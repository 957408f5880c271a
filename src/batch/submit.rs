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
    /// Queues `item` and returns at once: for work whose result no caller waits for, such as an audit
    /// log.
    ///
    /// The item is sent with its batch even if all handles are dropped, and [`drain`](Self::drain)
    /// waits for it. Its result or error is discarded; the service should count or log failures. To
    /// wait for the result, call the batch instead.
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
    /// Returns [`BatchError::is_full`] if the queue is full, and [`BatchError::is_closed`] after
    /// [`drain`](Self::drain). The item is then not queued.
    ///
    /// # Panics
    ///
    /// Panics outside of a Tokio runtime. The item is then not queued.
    #[doc(alias("fire and forget", "add"))]
    pub fn submit(&self, item: T) -> Result<(), BatchError> {
        // Panics outside of a runtime, before the item is queued.
        let runtime = Handle::current();
        let mut future = self.clone().call(item);
        match Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) if error.is_full() || error.is_closed() => Err(error),
            Poll::Ready(_) => Ok(()),
            Poll::Pending => {
                // Dropping the future would abandon the item, so a task keeps it.
                drop(runtime.spawn(future));
                Ok(())
            }
        }
    }
}
