//! Timeouts for the operations of a store. The cache calls a store only through these.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::error::StoreError;

/// Runs an operation of a store, and drops it if it is not done after `limit`.
///
/// # Errors
///
/// If the operation fails, panics, or is not done in time.
pub(crate) async fn within<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut operation = pin!(operation);
    let mut run = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| operation.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(StoreError::new("the store panicked"))))
    });
    // A store in memory is done at once, and needs no timer.
    let first = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut run).poll(cx))).await;
    if let Poll::Ready(done) = first {
        return done;
    }
    // After the runtime has shut down there is no timer, and nobody waits.
    if Handle::try_current().is_err() {
        return run.await;
    }
    let late = |_| Err(StoreError::new(format!("it was not done within {limit:?}")));
    timeout(limit, run).await.unwrap_or_else(late)
}
