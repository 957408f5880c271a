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
use super::queue::{Exit, Reply};

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends batches until the last one.
pub(super) async fn work<S, T, R>(mut service: S, exit: Exit<T, R>)
where
    S: Service<Vec<T>, Response = Vec<R>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    T: Send + 'static,
    R: Send + 'static,
{
    let queue = &exit.0;
    let mut flights = JoinSet::new();
    loop {
        while flights.try_join_next().is_some() {}
        let seen = queue.seen(flights.len());
        #[expect(clippy::disallowed_methods, reason = "this is the edge: a decision is due now")]
        match queue.settings.next(&seen, Instant::now()) {
            Next::Send => {
                // It may take its time, in which the batch may grow.
                let ready = ready(&mut service).await;
                let (items, replies) = queue.take();
                let count = items.len();
                let called = ready.and_then(|()| caught(|| service.call(items)));
                match called {
                    Ok(flight) => drop(flights.spawn(async move {
                        reply(replies, fly(flight, count).await);
                    })),
                    Err(error) => reply(replies, Err(error)),
                }
            }
            // One that panicked has told its callers.
            Next::WaitForFlight => drop(flights.join_next().await),
            Next::WaitUntil(due) => tokio::select! {
                () = sleep_until(due) => {}
                () = queue.changed() => {}
            },
            Next::WaitForItems => queue.changed().await,
            Next::End => break,
        }
    }
    while flights.join_next().await.is_some() {}
}

async fn ready<S, T>(service: &mut S) -> Result<(), BatchError>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
{
    let ready = poll_fn(|cx| match caught(|| service.poll_ready(cx)) {
        Ok(polled) => polled.map_err(|error| BatchError::service(error.into())),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    ready.await
}

/// Waits for the results, of which there are as many as items.
async fn fly<F, R, E>(flight: F, items: usize) -> Result<Vec<R>, BatchError>
where
    F: Future<Output = Result<Vec<R>, E>>,
    E: Into<BoxError>,
{
    let mut flight = pin!(flight);
    let answer = poll_fn(|cx| match caught(|| flight.as_mut().poll(cx)) {
        Ok(polled) => polled.map_err(|error| BatchError::service(error.into())),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let results = answer.await?;
    if results.len() == items { Ok(results) } else { Err(BatchError::count(items, results.len())) }
}

fn reply<R>(replies: Vec<Reply<R>>, answer: Result<Vec<R>, BatchError>) {
    match answer {
        Ok(results) => {
            for (reply, result) in replies.into_iter().zip(results) {
                // Its caller may have left.
                drop(reply.send(Ok(result)));
            }
        }
        Err(error) => {
            for reply in replies {
                drop(reply.send(Err(error.clone())));
            }
        }
    }
}

/// A panic is an error of this batch, and of no other.
fn caught<T>(call: impl FnOnce() -> T) -> Result<T, BatchError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| BatchError::panic(&*payload))
}
