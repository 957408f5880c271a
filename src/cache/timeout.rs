//! A bound for what a store does.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::error::StoreError;

/// Runs an operation of a store. One that is not done after `limit` is dropped.
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
    // Most stores are done at once, and need no timer.
    let first = poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut run).poll(cx))).await;
    if let Poll::Ready(done) = first {
        return done;
    }
    // Where there is no runtime any more there is no timer either, and nobody who waits.
    if Handle::try_current().is_err() {
        return run.await;
    }
    let late = |_| Err(StoreError::new(format!("it was not done within {limit:?}")));
    timeout(limit, run).await.unwrap_or_else(late)
}
