//! Items, results, services and callers that misbehave.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, pending, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::{Builder, Handle};
use tokio::task::{JoinSet, yield_now};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};

use crate::support::{now, poll_once, soon};

/// An item or result that panics on drop, unless it is 0.
#[derive(Debug)]
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 != 0 {
            // Unlike `panic!`, does not print a message.
            resume_unwind(Box::new("a bomb"));
        }
    }
}

impl Bomb {
    fn defuse(mut self) -> u32 {
        std::mem::take(&mut self.0)
    }
}

/// A service that fails its first readiness, and then returns the items.
struct LateStarter {
    failed: bool,
}

/// An error whose conversion panics.
#[derive(Debug)]
struct PanickingError;

impl From<PanickingError> for Box<dyn Error + Send + Sync> {
    fn from(_: PanickingError) -> Self {
        resume_unwind(Box::new("no error"))
    }
}

impl Service<Vec<Bomb>> for LateStarter {
    type Response = Vec<u32>;
    type Error = PanickingError;
    type Future = Ready<Result<Vec<u32>, PanickingError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PanickingError>> {
        let failed = std::mem::replace(&mut self.failed, true);
        Poll::Ready(if failed { Ok(()) } else { Err(PanickingError) })
    }

    fn call(&mut self, items: Vec<Bomb>) -> Self::Future {
        ready(Ok(items.into_iter().map(Bomb::defuse).collect()))
    }
}

#[tokio::test(start_paused = true)]
async fn panic_of_an_item_stays_in_its_batch() {
    let mut batch = BatchLayer::new().max_size(1).layer(LateStarter { failed: false });
    let first = batch.ready().await.unwrap().call(Bomb(1));
    let second = batch.ready().await.unwrap().call(Bomb(2));
    assert!(soon(first).await.unwrap_err().is_panic());
    assert_eq!(soon(second).await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn panic_of_an_abandoned_result_is_contained() {
    let service = service_fn(|items: Vec<u32>| {
        ready(Ok::<_, Infallible>(items.into_iter().map(Bomb).collect()))
    });
    let mut batch = BatchLayer::new().max_size(3).layer(service);
    let first = batch.ready().await.unwrap().call(1);
    drop(batch.ready().await.unwrap().call(2));
    let third = batch.ready().await.unwrap().call(3);
    assert_eq!(soon(first).await.unwrap().defuse(), 1);
    assert_eq!(soon(third).await.unwrap().defuse(), 3);
}

/// A future that completes, and panics on drop.
struct PanickingFuture(Bomb);

impl Future for PanickingFuture {
    type Output = Result<Vec<u32>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(vec![self.0.0]))
    }
}

#[tokio::test(start_paused = true)]
async fn panic_after_the_result_fails_the_batch() {
    let mut traps =
        BatchLayer::new().max_size(1).layer(service_fn(|_: Vec<()>| PanickingFuture(Bomb(1))));
    let trapped = soon(traps.ready().await.unwrap().call(())).await;
    assert!(trapped.unwrap_err().is_panic());
    // A surplus result is dropped.
    let service = service_fn(|_: Vec<()>| ready(Ok::<_, Infallible>(vec![Bomb(1), Bomb(0)])));
    let mut bombs = BatchLayer::new().max_size(1).layer(service);
    let bombed = soon(bombs.ready().await.unwrap().call(())).await;
    assert!(bombed.unwrap_err().is_panic());
}

#[test]
fn drain_ends_though_an_item_panics() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let service = service_fn(|_: Vec<Bomb>| pending::<Result<Vec<u32>, Infallible>>());
    let mut batch = BatchLayer::new().layer(service);
    let futures = runtime.block_on(async {
        let futures = [0, 1, 0].map(|item| now(batch.ready()).unwrap().call(Bomb(item)));
        yield_now().await;
        futures
    });
    drop(runtime);
    for future in futures {
        assert!(now(future).unwrap_err().is_closed());
    }
    now(batch.drain());
}

#[test]
fn first_call_outside_of_a_runtime_panics() {
    let mut batch: Batch<u32, u32> =
        BatchLayer::new().max_size(1).layer(service_fn(|items| ready(Ok::<_, Infallible>(items))));
    let mut other = batch.clone();
    assert!(catch_unwind(AssertUnwindSafe(|| other.call(1))).is_err());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let future = runtime.block_on(async { soon(batch.ready().await.unwrap().call(2)).await });
    assert_eq!(future.unwrap(), 2);
}

/// Creates a batch whose service calls the batch itself, with the item minus one, down to zero.
fn recursive(concurrency: usize) -> Batch<u32, u32> {
    let own = Arc::<Mutex<Option<Batch<u32, u32>>>>::default();
    let inner = Arc::clone(&own);
    let service = service_fn(move |items: Vec<u32>| {
        let below =
            if items[0] > 0 { inner.lock().unwrap().clone() } else { inner.lock().unwrap().take() };
        async move {
            match items[0].checked_sub(1) {
                Some(item) => below.unwrap().oneshot(item).await.map(|sum| vec![sum + items[0]]),
                // Drops the last handle.
                None => Ok(vec![0]),
            }
        }
    });
    let batch = BatchLayer::new().max_size(1).max_concurrency(concurrency).layer(service);
    *own.lock().unwrap() = Some(batch.clone());
    batch
}

#[tokio::test(start_paused = true)]
async fn service_may_call_its_own_batch() {
    let mut batch = recursive(3);
    let future = batch.ready().await.unwrap().call(2);
    drop(batch);
    assert_eq!(soon(future).await.unwrap(), 3);
    for _ in 0..20 {
        yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn extreme_settings_work() {
    let service = || service_fn(|items: Vec<u32>| ready(Ok::<_, Infallible>(items)));
    let zero =
        BatchLayer::new().max_size(0).max_queued(0).max_concurrency(0).max_delay(Duration::ZERO);
    let endless = BatchLayer::new()
        .max_size(usize::MAX)
        .max_queued(usize::MAX)
        .max_concurrency(usize::MAX)
        .max_delay(Duration::MAX);
    for layer in [zero, endless] {
        let mut batch = layer.layer(service());
        let future = batch.ready().await.unwrap().call(1);
        batch.flush();
        assert_eq!(soon(future).await.unwrap(), 1);
        soon(batch.drain()).await;
    }
}

#[test]
fn other_runtimes_are_served() {
    let one = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let two = Builder::new_current_thread().enable_time().build().unwrap();
    let batch: Batch<u32, u32> =
        BatchLayer::new().max_size(1).layer(service_fn(|items| ready(Ok::<_, Infallible>(items))));
    assert_eq!(one.block_on(soon(batch.clone().oneshot(1))).unwrap(), 1);
    assert_eq!(two.block_on(soon(batch.clone().oneshot(2))).unwrap(), 2);
    drop(one);
    assert!(two.block_on(soon(batch.clone().oneshot(3))).unwrap_err().is_closed());
    two.block_on(soon(batch.drain()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn wakeups_are_not_lost() {
    // Only a full batch or a flush is sent, so a lost wakeup hangs the test.
    for (size, flushes) in [(CALLERS, false), (1_000, true)] {
        let service = service_fn(|items: Vec<u32>| ready(Ok::<_, Infallible>(items)));
        let batch = BatchLayer::new().max_size(size).max_delay(Duration::MAX).layer(service);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let mut batch: Batch<u32, u32> = batch.clone();
            callers.spawn(async move {
                for item in 0..1_000 {
                    let future = batch.ready().await.unwrap().call(item);
                    if flushes {
                        batch.flush();
                    }
                    assert_eq!(future.await.unwrap(), item);
                }
            });
        }
        while let Some(ended) = soon(callers.join_next()).await {
            ended.unwrap();
        }
    }
}

const CALLERS: usize = 3;

/// A step of a caller.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Call,
    /// Calls, and drops the future.
    Leave,
    /// Reserves a place, and releases it.
    Reserve,
    Flush,
}

/// The outcome of a batch.
#[derive(Clone, Copy, Debug)]
enum End {
    Well,
    Fails,
    Panics,
    Short,
}

fn turn() -> impl Strategy<Value = (Turn, usize)> {
    let turn = prop_oneof![
        4 => Just(Turn::Call),
        2 => Just(Turn::Leave),
        1 => Just(Turn::Reserve),
        1 => Just(Turn::Flush),
    ];
    (turn, 0..4_usize)
}

fn end() -> impl Strategy<Value = (End, usize)> {
    let end = prop_oneof![
        5 => Just(End::Well),
        1 => Just(End::Fails),
        1 => Just(End::Panics),
        1 => Just(End::Short),
    ];
    (end, 0..4_usize)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Accepted items are sent and get a result exactly once, on several threads and with a drain at
    /// any time. Rejected items are not sent, and nothing is left when the drain ends. Without
    /// `keep_abandoned` the item of a caller that has left may be skipped.
    #[test]
    fn drain_at_any_time_leaves_nothing(
        (size, queue, concurrency) in (1..4_usize, 1..6_usize, 1..4_usize),
        callers in prop::collection::vec(prop::collection::vec(turn(), 0..8), 1..5),
        ends in prop::collection::vec(end(), 1..6),
        drained_after in 0..40_usize,
        keep in any::<bool>(),
    ) {
        let layer = BatchLayer::new().max_size(size).max_queued(queue).max_concurrency(concurrency);
        let layer = if keep { layer.keep_abandoned() } else { layer };
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
        runtime.block_on(race(layer.max_delay(Duration::ZERO), callers, ends, drained_after, keep));
    }
}

async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// Runs all callers, and drains after `drained_after` yields of this task.
async fn race(
    layer: BatchLayer<u32>,
    callers: Vec<Vec<(Turn, usize)>>,
    ends: Vec<(End, usize)>,
    drained_after: usize,
    keep: bool,
) {
    let sent = Arc::<Mutex<Vec<u32>>>::default();
    let log = Arc::clone(&sent);
    let mut ends = ends.into_iter().cycle();
    let batch: Batch<u32, u32> = layer.layer(service_fn(move |items: Vec<u32>| {
        log.lock().unwrap().extend_from_slice(&items);
        let (end, after) = ends.next().unwrap();
        async move {
            yields(after).await;
            match end {
                End::Well => Ok(items),
                End::Fails => Err(io::Error::other("fails")),
                End::Panics => resume_unwind(Box::new("panics")),
                End::Short => Ok(Vec::new()),
            }
        }
    }));
    let mut tasks = JoinSet::new();
    for (turns, caller) in callers.into_iter().zip(0..) {
        tasks.spawn(run_caller(batch.clone(), turns, caller * 100));
    }
    yields(drained_after).await;
    soon(batch.drain()).await;
    assert_eq!(Arc::strong_count(&sent), 1, "the service is not dropped");
    let mut accepted = Vec::new();
    while let Some(ended) = soon(tasks.join_next()).await {
        accepted.extend(ended.unwrap());
    }
    let mut sent = std::mem::take(&mut *sent.lock().unwrap());
    sent.sort_unstable();
    accepted.sort_unstable();
    // The item of a caller that has left may or may not have been sent.
    accepted.retain(|(item, left)| !left || keep || sent.contains(item));
    assert_eq!(sent, accepted.into_iter().map(|(item, _)| item).collect::<Vec<_>>());
}

/// Returns the accepted items, and whether their callers left.
async fn run_caller(
    mut batch: Batch<u32, u32>,
    turns: Vec<(Turn, usize)>,
    first: u32,
) -> Vec<(u32, bool)> {
    let mut accepted = Vec::new();
    for ((turn, after), item) in turns.into_iter().zip(first..) {
        yields(after).await;
        let mut future = match turn {
            Turn::Flush => {
                batch.flush();
                continue;
            }
            Turn::Reserve => {
                drop(batch.clone().ready().await);
                continue;
            }
            Turn::Call | Turn::Leave => match batch.ready().await {
                Ok(ready) => ready.call(item),
                Err(error) => {
                    assert!(error.is_closed());
                    continue;
                }
            },
        };
        let (received, left) = match (turn, poll_once(Pin::new(&mut future))) {
            (_, Poll::Ready(received)) => (received, false),
            (Turn::Leave, Poll::Pending) => (Ok(item), true),
            (_, Poll::Pending) => (future.await, false),
        };
        match received {
            Ok(result) => assert_eq!(result, item),
            Err(error) if error.is_closed() => continue,
            Err(error) => {
                assert!(error.is_service() || error.is_panic() || error.is_length_mismatch());
            }
        }
        accepted.push((item, left));
    }
    accepted
}
