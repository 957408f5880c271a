//! The task that sends batches.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::error::BatchError;
use super::policy::Action;
use super::queue::{ResultSender, TakenBatch, WorkerGuard};

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends batches until the queue is closed and empty, and all batches have completed.
///
/// The parameters are dropped in reverse order: the service before the guard, and so before a drain
/// ends.
pub(super) async fn work<S, T, R>(guard: WorkerGuard<T, R>, mut service: S)
where
    S: Service<Vec<T>, Response = Vec<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let queue = &guard.queue;
    let mut in_flight = JoinSet::new();
    loop {
        // Only removes completed tasks: they deliver their results themselves.
        while in_flight.try_join_next().is_some() {}
        let state = queue.state(in_flight.len());
        #[expect(clippy::disallowed_methods, reason = "the edge: a decision is due now")]
        match queue.settings.next_action(&state, Instant::now()) {
            Action::Send => {
                let ready = catch_panics(async {
                    poll_fn(|cx| service.poll_ready(cx)).await.map_err(service_error)
                });
                let ready = ready.await;
                // After readiness, which may take a while: the batch can grow meanwhile.
                let TakenBatch { items, senders } = queue.take();
                let count = items.len();
                if count == 0 {
                    continue;
                }
                let clone_result = queue.functions.clone_result;
                let called = catch_panics(async { ready.map(|()| service.call(items)) }).await;
                in_flight.spawn(async move {
                    let results = catch_panics(async move {
                        let results = called?.await.map_err(service_error)?;
                        if results.len() == count {
                            Ok(results)
                        } else {
                            Err(BatchError::length_mismatch(count, results.len()))
                        }
                    });
                    deliver(senders, results.await, clone_result);
                });
            }
            Action::WaitForCompletion => drop(in_flight.join_next().await),
            // All branches are cancel safe.
            Action::WaitUntil(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = queue.changed() => {}
                // The service may be idle now, which `send_when_idle` reacts to.
                Some(_) = in_flight.join_next() => {}
            },
            Action::WaitForItems => queue.changed().await,
            Action::Stop => break,
        }
    }
    while in_flight.join_next().await.is_some() {}
}

/// Sends each result to the callers of its item. The last caller gets the result itself, all others
/// a clone.
fn deliver<R>(
    senders: Vec<Vec<ResultSender<R>>>,
    results: Result<Vec<R>, BatchError>,
    clone_result: Option<fn(&R) -> R>,
) {
    match results {
        Ok(results) => {
            for (mut senders, result) in senders.into_iter().zip(results) {
                let last = senders.pop();
                for sender in senders {
                    let clone = clone_result
                        .map(|clone| catch_unwind(AssertUnwindSafe(|| clone(&result))))
                        .unwrap_or_else(|| Err(Box::new("the result cannot be cloned")));
                    send(sender, clone.map_err(|payload| BatchError::panic(&*payload)));
                }
                match last {
                    Some(last) => send(last, Ok(result)),
                    None => drop(catch_unwind(AssertUnwindSafe(|| drop(result)))),
                }
            }
        }
        Err(error) => {
            for sender in senders.into_iter().flatten() {
                send(sender, Err(error.clone()));
            }
        }
    }
}

/// Sends a result to a caller. If the caller has left, the result is dropped here, and a panic of its
/// drop must not keep other callers from their results.
fn send<R>(sender: ResultSender<R>, result: Result<R, BatchError>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(sender.send(result)))));
}

fn service_error(error: impl Into<BoxError>) -> BatchError {
    BatchError::service(error.into())
}

/// Turns a panic of `future` into an error, so that it fails one batch and not the worker.
async fn catch_panics<T>(
    future: impl Future<Output = Result<T, BatchError>>,
) -> Result<T, BatchError> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.unwrap_or_else(|payload| Poll::Ready(Err(BatchError::panic(&*payload))))
    })
    .await
}
