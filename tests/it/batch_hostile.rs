//! What items, results, services and callers may do to a batch.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::runtime::Builder;
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};

use super::support::{now, poll_once, soon};

/// Panics when it is dropped, unless it is a zero.
#[derive(Debug)]
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 != 0 {
            // The hook is not told, which would print each.
            resume_unwind(Box::new("a bomb"));
        }
    }
}

impl Bomb {
    fn defuse(mut self) -> u32 {
        std::mem::take(&mut self.0)
    }
}

/// Not ready once, and then answers with the items.
struct LateStarter {
    failed: bool,
}

/// Panics when it becomes another error.
#[derive(Debug)]
struct NoError;

impl From<NoError> for Box<dyn Error + Send + Sync> {
    fn from(_: NoError) -> Self {
        resume_unwind(Box::new("no error"))
    }
}

impl Service<Vec<Bomb>> for LateStarter {
    type Response = Vec<u32>;
    type Error = NoError;
    type Future = Ready<Result<Vec<u32>, NoError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoError>> {
        let failed = std::mem::replace(&mut self.failed, true);
        Poll::Ready(if failed { Ok(()) } else { Err(NoError) })
    }

    fn call(&mut self, items: Vec<Bomb>) -> Self::Future {
        ready(Ok(items.into_iter().map(Bomb::defuse).collect()))
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_or_an_error_that_panics_is_of_its_own_batch() {
    let mut batch = BatchLayer::new().size(1).layer(LateStarter { failed: false });
    let first = batch.ready().await.unwrap().call(Bomb(1));
    let second = batch.ready().await.unwrap().call(Bomb(2));
    assert!(soon(first).await.unwrap_err().is_panic());
    assert_eq!(soon(second).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_panics_since_its_caller_has_left_hurts_no_others() {
    let service = service_fn(|items: Vec<u32>| {
        ready(Ok::<_, Infallible>(items.into_iter().map(Bomb).collect()))
    });
    let mut batch = BatchLayer::new().size(3).layer(service);
    let first = batch.ready().await.unwrap().call(1);
    drop(batch.ready().await.unwrap().call(2));
    let third = batch.ready().await.unwrap().call(3);
    assert_eq!(soon(first).await.unwrap().defuse(), 1);
    assert_eq!(soon(third).await.unwrap().defuse(), 3);
}

/// A future that is ready, and panics when it is dropped.
struct Trap(Bomb);

impl Future for Trap {
    type Output = Result<Vec<u32>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(vec![self.0.0]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_after_the_answer_is_still_of_the_service() {
    let mut traps = BatchLayer::new().size(1).layer(service_fn(|_: Vec<()>| Trap(Bomb(1))));
    let trapped = soon(traps.ready().await.unwrap().call(())).await;
    assert!(trapped.unwrap_err().is_panic());
    // Results that are too many, and so are dropped.
    let service = service_fn(|_: Vec<()>| ready(Ok::<_, Infallible>(vec![Bomb(1), Bomb(0)])));
    let mut bombs = BatchLayer::new().size(1).layer(service);
    let bombed = soon(bombs.ready().await.unwrap().call(())).await;
    assert!(bombed.unwrap_err().is_panic());
}

#[test]
fn a_drain_ends_though_an_item_panics_at_the_end_of_the_runtime() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let service = service_fn(|_: Vec<Bomb>| pending::<Result<Vec<u32>, Infallible>>());
    let mut batch = BatchLayer::new().layer(service);
    let answers = runtime.block_on(async {
        let answers = [0, 1, 0].map(|item| now(batch.ready()).unwrap().call(Bomb(item)));
        yield_now().await;
        answers
    });
    drop(runtime);
    for answer in answers {
        assert!(now(answer).unwrap_err().is_closed());
    }
    now(batch.drain());
}

type Drained = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Says whether a drain had ended before it was dropped.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<(Option<Drained>, Option<bool>)>>);

struct Watching(Watched);

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = self.0.0.lock().unwrap();
        let ended = watched.0.take().map(|mut drained| poll_once(drained.as_mut()).is_ready());
        watched.1 = ended;
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_is_dropped_before_a_drain_ends() {
    let watched = Watched::default();
    let watching = Watching(watched.clone());
    let mut batch: Batch<u32, u32> = BatchLayer::new().layer(service_fn(move |items| {
        let _watching = &watching;
        ready(Ok::<_, Infallible>(items))
    }));
    let answer = batch.ready().await.unwrap().call(1);
    watched.0.lock().unwrap().0 = Some(Box::pin(batch.drain()));
    soon(batch.drain()).await;
    assert_eq!(now(answer).unwrap(), 1);
    assert_eq!(watched.0.lock().unwrap().1, Some(false));
}

#[test]
fn a_first_call_outside_of_a_runtime_panics_and_leaves_the_batch_as_it_was() {
    let mut batch: Batch<u32, u32> =
        BatchLayer::new().size(1).layer(service_fn(|items| ready(Ok::<_, Infallible>(items))));
    let mut other = batch.clone();
    assert!(catch_unwind(AssertUnwindSafe(|| other.call(1))).is_err());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(async { soon(batch.ready().await.unwrap().call(2)).await });
    assert_eq!(answer.unwrap(), 2);
}
