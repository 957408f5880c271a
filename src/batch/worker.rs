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
use super::policy::Next;
use super::queue::{Exit, Reply, Taken};

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends batches until the last one. The service is dropped before the exit is, and so before a
/// drain ends.
pub(super) async fn work<S, T, R>(exit: Exit<T, R>, mut service: S)
where
    S: Service<Vec<T>, Response = Vec<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let queue = &exit.queue;
    let mut flights = JoinSet::new();
    loop {
        while flights.try_join_next().is_some() {}
        let state = queue.state(flights.len());
        #[expect(clippy::disallowed_methods, reason = "this is the edge: a decision is due now")]
        match queue.settings.next(&state, Instant::now()) {
            Next::Send => {
                // It may take its time, in which the batch may grow.
                let ready =
                    caught(async { poll_fn(|cx| service.poll_ready(cx)).await.map_err(failed) });
                let ready = ready.await;
                let (items, replies): Taken<T, R> = queue.take();
                let count = items.len();
                if count == 0 {
                    continue;
                }
                let share = queue.functions.share;
                let called = caught(async { ready.map(|()| service.call(items)) }).await;
                flights.spawn(async move {
                    let answer = caught(async move {
                        let results = called?.await.map_err(failed)?;
                        if results.len() == count {
                            Ok(results)
                        } else {
                            Err(BatchError::count(count, results.len()))
                        }
                    });
                    reply(replies, answer.await, share);
                });
            }
            Next::WaitForFlight => drop(flights.join_next().await),
            Next::WaitUntil(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = queue.changed() => {}
                // Then the service may be idle.
                Some(_) = flights.join_next() => {}
            },
            Next::WaitForItems => queue.changed().await,
            Next::End => break,
        }
    }
    while flights.join_next().await.is_some() {}
}

/// Gives each item's result to its callers: copies, made by `share`, to all but the last.
fn reply<R>(
    replies: Vec<Vec<Reply<R>>>,
    answer: Result<Vec<R>, BatchError>,
    share: Option<fn(&R) -> R>,
) {
    match answer {
        Ok(results) => {
            for (mut callers, result) in replies.into_iter().zip(results) {
                let last = callers.pop();
                for reply in callers {
                    let copy = share.map(|share| catch_unwind(AssertUnwindSafe(|| share(&result))));
                    let copy = copy.unwrap_or_else(|| Err(Box::new("no copy of the result")));
                    send(reply, copy.map_err(|payload| BatchError::panic(&*payload)));
                }
                match last {
                    Some(last) => send(last, Ok(result)),
                    None => drop(catch_unwind(AssertUnwindSafe(|| drop(result)))),
                }
            }
        }
        Err(error) => {
            for reply in replies.into_iter().flatten() {
                send(reply, Err(error.clone()));
            }
        }
    }
}

/// If its caller has left, this drops the result, which is code of others.
fn send<R>(reply: Reply<R>, result: Result<R, BatchError>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(reply.send(result)))));
}

fn failed(error: impl Into<BoxError>) -> BatchError {
    BatchError::service(error.into())
}

/// A panic of what is polled, or of what it drops, is an error of this batch, and of no other.
async fn caught<T>(future: impl Future<Output = Result<T, BatchError>>) -> Result<T, BatchError> {
    let mut future = pin!(future);
    let polled = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        polled.unwrap_or_else(|payload| Poll::Ready(Err(BatchError::panic(&*payload))))
    });
    polled.await
}
