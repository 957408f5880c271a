use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::BatchError;

/// The response future of [`Batch`](super::Batch): the result of one item.
///
/// Dropping the future before its batch is sent removes the item from the queue, unless
/// [`keep_abandoned`](super::BatchLayer::keep_abandoned) is set or another caller shares the item.
#[must_use = "dropping the future may remove the item from the queue"]
pub struct ResponseFuture<R>(State<R>);

enum State<R> {
    Rejected(BatchError),
    Queued(oneshot::Receiver<Result<R, BatchError>>),
}

impl<R> ResponseFuture<R> {
    pub(super) fn rejected(error: BatchError) -> Self {
        Self(State::Rejected(error))
    }

    pub(super) fn queued(receiver: oneshot::Receiver<Result<R, BatchError>>) -> Self {
        Self(State::Queued(receiver))
    }
}

impl<R> Future for ResponseFuture<R> {
    type Output = Result<R, BatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Rejected(error) => Poll::Ready(Err(error.clone())),
            // The sender is dropped without a result only when the runtime ends.
            State::Queued(receiver) => Pin::new(receiver)
                .poll(cx)
                .map(|received| received.unwrap_or_else(|_| Err(BatchError::closed()))),
        }
    }
}

impl<R> fmt::Debug for ResponseFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
