//! What items, results, services and callers may do to a batch.

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
    let mut batch = BatchLayer::new().max_size(1).layer(LateStarter { failed: false });
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
    let mut batch = BatchLayer::new().max_size(3).layer(service);
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
    let mut traps = BatchLayer::new().max_size(1).layer(service_fn(|_: Vec<()>| Trap(Bomb(1))));
    let trapped = soon(traps.ready().await.unwrap().call(())).await;
    assert!(trapped.unwrap_err().is_panic());
    // Results that are too many, and so are dropped.
    let service = service_fn(|_: Vec<()>| ready(Ok::<_, Infallible>(vec![Bomb(1), Bomb(0)])));
    let mut bombs = BatchLayer::new().max_size(1).layer(service);
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
        BatchLayer::new().max_size(1).layer(service_fn(|items| ready(Ok::<_, Infallible>(items))));
    let mut other = batch.clone();
    assert!(catch_unwind(AssertUnwindSafe(|| other.call(1))).is_err());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let answer = runtime.block_on(async { soon(batch.ready().await.unwrap().call(2)).await });
    assert_eq!(answer.unwrap(), 2);
}

/// A batch whose service asks it for the item below, of itself, down to zero.
fn recursive(concurrency: usize) -> Batch<u32, u32> {
    let own = Arc::<Mutex<Option<Batch<u32, u32>>>>::default();
    let inner = Arc::clone(&own);
    let service = service_fn(move |items: Vec<u32>| {
        let below =
            if items[0] > 0 { inner.lock().unwrap().clone() } else { inner.lock().unwrap().take() };
        async move {
            match items[0].checked_sub(1) {
                Some(item) => below.unwrap().oneshot(item).await.map(|sum| vec![sum + items[0]]),
                // The last handle, where the others are gone.
                None => Ok(vec![0]),
            }
        }
    });
    let batch = BatchLayer::new().max_size(1).max_concurrency(concurrency).layer(service);
    *own.lock().unwrap() = Some(batch.clone());
    batch
}

#[tokio::test(start_paused = true)]
async fn a_service_may_call_its_own_batch_and_drop_its_last_handle() {
    let mut batch = recursive(3);
    let answer = batch.ready().await.unwrap().call(2);
    drop(batch);
    assert_eq!(soon(answer).await.unwrap(), 3);
    for _ in 0..20 {
        yield_now().await;
    }
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn settings_of_zero_are_of_one_and_those_without_end_are_taken() {
    let service = || service_fn(|items: Vec<u32>| ready(Ok::<_, Infallible>(items)));
    let zero = BatchLayer::new().max_size(0).max_queued(0).max_concurrency(0).max_delay(Duration::ZERO);
    let endless = BatchLayer::new()
        .max_size(usize::MAX)
        .max_queued(usize::MAX)
        .max_concurrency(usize::MAX)
        .max_delay(Duration::MAX);
    for layer in [zero, endless] {
        let mut batch = layer.layer(service());
        let answer = batch.ready().await.unwrap().call(1);
        batch.flush();
        assert_eq!(soon(answer).await.unwrap(), 1);
        soon(batch.drain()).await;
    }
}

#[test]
fn a_batch_serves_other_runtimes_than_its_own_until_that_ends() {
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
async fn no_wake_up_is_lost_where_nothing_but_a_full_batch_or_a_flush_sends() {
    // Lost once, it would be waited for without end.
    for (size, flushes) in [(CALLERS, false), (1_000, true)] {
        let service = service_fn(|items: Vec<u32>| ready(Ok::<_, Infallible>(items)));
        let batch = BatchLayer::new().max_size(size).max_delay(Duration::MAX).layer(service);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let mut batch: Batch<u32, u32> = batch.clone();
            callers.spawn(async move {
                for item in 0..1_000 {
                    let answer = batch.ready().await.unwrap().call(item);
                    if flushes {
                        batch.flush();
                    }
                    assert_eq!(answer.await.unwrap(), item);
                }
            });
        }
        while let Some(ended) = soon(callers.join_next()).await {
            ended.unwrap();
        }
    }
}

const CALLERS: usize = 3;

/// What a caller does, after it has let others run so many times.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Ask,
    /// Calls, and does not wait for the answer.
    Leave,
    /// Waits for a place, and gives it back.
    Hold,
    Flush,
}

/// How a batch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Well,
    Fails,
    Panics,
    Short,
}

fn turn() -> impl Strategy<Value = (Turn, usize)> {
    let turn = prop_oneof![
        4 => Just(Turn::Ask),
        2 => Just(Turn::Leave),
        1 => Just(Turn::Hold),
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

    /// On threads, and with a drain at any time: what is accepted is sent exactly once and answered
    /// exactly once, what is refused is not sent, and nothing is left when the drain ends. The item of a
    /// caller that has left may be skipped, where it is not to be kept.
    #[test]
    fn a_drain_at_any_time_leaves_nothing_and_nobody(
        (size, queue, concurrency) in (1..4_usize, 1..6_usize, 1..4_usize),
        callers in prop::collection::vec(prop::collection::vec(turn(), 0..8), 1..5),
        ends in prop::collection::vec(end(), 1..6),
        drained_after in 0..40_usize,
        keeps in any::<bool>(),
    ) {
        let layer = BatchLayer::new().max_size(size).max_queued(queue).max_concurrency(concurrency);
        let layer = if keeps { layer.keep_abandoned() } else { layer };
        let runtime = Builder::new_multi_thread().worker_threads(3).enable_time().build().unwrap();
        runtime.block_on(race(layer.max_delay(Duration::ZERO), callers, ends, drained_after, keeps));
    }
}

async fn yields(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

/// With a drain after so many yields of this task.
async fn race(
    layer: BatchLayer<u32>,
    callers: Vec<Vec<(Turn, usize)>>,
    ends: Vec<(End, usize)>,
    drained_after: usize,
    keeps: bool,
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
        tasks.spawn(call(batch.clone(), turns, caller * 100));
    }
    yields(drained_after).await;
    soon(batch.drain()).await;
    assert_eq!(Arc::strong_count(&sent), 1, "the service is still there");
    let mut accepted = Vec::new();
    while let Some(ended) = soon(tasks.join_next()).await {
        accepted.extend(ended.unwrap());
    }
    let mut sent = std::mem::take(&mut *sent.lock().unwrap());
    sent.sort_unstable();
    accepted.sort_unstable();
    // Of a caller that has left, nobody knows whether its item was sent before.
    accepted.retain(|(item, left)| !left || keeps || sent.contains(item));
    assert_eq!(sent, accepted.into_iter().map(|(item, _)| item).collect::<Vec<_>>());
}

/// The items that were accepted, and whether their callers left.
async fn call(
    mut batch: Batch<u32, u32>,
    turns: Vec<(Turn, usize)>,
    first: u32,
) -> Vec<(u32, bool)> {
    let mut accepted = Vec::new();
    for ((turn, after), item) in turns.into_iter().zip(first..) {
        yields(after).await;
        let mut answer = match turn {
            Turn::Flush => {
                batch.flush();
                continue;
            }
            Turn::Hold => {
                drop(batch.clone().ready().await);
                continue;
            }
            Turn::Ask | Turn::Leave => match batch.ready().await {
                Ok(ready) => ready.call(item),
                Err(error) => {
                    assert!(error.is_closed());
                    continue;
                }
            },
        };
        let (answered, left) = match (turn, poll_once(Pin::new(&mut answer))) {
            (_, Poll::Ready(answered)) => (answered, false),
            (Turn::Leave, Poll::Pending) => (Ok(item), true),
            (_, Poll::Pending) => (answer.await, false),
        };
        match answered {
            Ok(result) => assert_eq!(result, item),
            Err(error) if error.is_closed() => continue,
            Err(error) => assert!(error.is_service() || error.is_panic() || error.is_length_mismatch()),
        }
        accepted.push((item, left));
    }
    accepted
}
