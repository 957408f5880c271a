use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::error::BatchError;

/// The future of [`Batch`](super::Batch): an item's result. Dropping it before the item is sent
/// drops the item too, unless [`keep_abandoned`](super::BatchLayer::keep_abandoned) says otherwise.
#[must_use = "an item whose future is dropped may not be sent"]
pub struct Answer<R>(State<R>);

enum State<R> {
    Refused(BatchError),
    Queued(oneshot::Receiver<Result<R, BatchError>>),
}

impl<R> Answer<R> {
    pub(super) fn refused(error: BatchError) -> Self {
        Self(State::Refused(error))
    }

    pub(super) fn queued(answer: oneshot::Receiver<Result<R, BatchError>>) -> Self {
        Self(State::Queued(answer))
    }
}

impl<R> Future for Answer<R> {
    type Output = Result<R, BatchError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.clone())),
            State::Queued(answer) => {
                Pin::new(answer).poll(cx).map(|it| it.unwrap_or_else(|_| Err(BatchError::closed())))
            }
        }
    }
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
