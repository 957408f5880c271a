//! Items that go to their service together.

mod abandoned;
mod dedupe;
mod example;
mod hostile;
mod sockets;
mod submit;
mod weight;

use std::convert::Infallible;
use std::error::Error;
use std::future::{pending, ready};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchError, BatchLayer, ResponseFuture};

use crate::support::{now, poll_once, soon};

const SECOND: Duration = Duration::from_secs(1);

/// A batch that has arrived at the service, which has not answered it.
struct Arrived {
    items: Vec<u32>,
    answer: oneshot::Sender<Result<Vec<String>, io::Error>>,
}

impl Arrived {
    /// Answers each item with itself.
    fn well(self) -> Vec<u32> {
        let results = self.items.iter().map(u32::to_string).collect();
        self.answer.send(Ok(results)).unwrap();
        self.items
    }
}

/// A batch, and those that arrive.
fn scripted(layer: &BatchLayer<u32>) -> (Batch<u32, String>, mpsc::UnboundedReceiver<Arrived>) {
    let (sender, arrived) = mpsc::unbounded_channel();
    let service = service_fn(move |items| {
        let (answer, answered) = oneshot::channel();
        sender.send(Arrived { items, answer }).unwrap();
        async move { answered.await.unwrap() }
    });
    (layer.layer(service), arrived)
}

type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

/// A batch of a service that answers at once, and the batches that it has had.
fn echo(layer: &BatchLayer<u32>) -> (Batch<u32, u32>, Batches) {
    let batches = Batches::default();
    let seen = Arc::clone(&batches);
    let service = service_fn(move |items: Vec<u32>| {
        seen.lock().unwrap().push(items.clone());
        ready(Ok::<_, Infallible>(items))
    });
    (layer.layer(service), batches)
}

#[expect(clippy::disallowed_methods, reason = "the clock is the test's, and stands still")]
fn clock() -> Instant {
    Instant::now()
}

/// Queues an item for which there is room.
fn put<R>(batch: &mut Batch<u32, R>, item: u32) -> ResponseFuture<R> {
    now(batch.ready()).unwrap().call(item)
}

async fn next(arrived: &mut mpsc::UnboundedReceiver<Arrived>) -> Arrived {
    soon(arrived.recv()).await.unwrap()
}

/// Lets every task that can go on do so.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_full() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    let start = clock();
    let answers: Vec<_> = (0..7).map(|item| put(&mut batch, item)).collect();
    for expected in [[0, 1, 2], [3, 4, 5]] {
        assert_eq!(next(&mut arrived).await.well(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The last one waits for others, from when it came on.
    assert_eq!(next(&mut arrived).await.well(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    for (answer, item) in answers.into_iter().zip(0..) {
        assert_eq!(answer.await.unwrap(), item.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_its_first_item_has_waited_long_enough() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_delay(4 * SECOND));
    let start = clock();
    let _first = put(&mut batch, 1);
    tokio::time::sleep(3 * SECOND).await;
    let _second = put(&mut batch, 2);
    assert_eq!(next(&mut arrived).await.well(), [1, 2]);
    assert_eq!(start.elapsed(), 4 * SECOND);
    let _third = put(&mut batch, 3);
    assert_eq!(next(&mut arrived).await.well(), [3]);
    assert_eq!(start.elapsed(), 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_defaults_are_a_hundred_items_and_five_seconds() {
    let (batch, batches) = echo(&BatchLayer::new());
    let start = clock();
    let mut callers = JoinSet::new();
    for item in 0..250 {
        callers.spawn(batch.clone().oneshot(item));
    }
    while callers.join_next().await.is_some() {}
    assert_eq!(start.elapsed(), 5 * SECOND);
    let sizes: Vec<_> = batches.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_sends_what_is_queued_and_nothing_that_comes_later() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    batch.flush();
    let start = clock();
    let _held: Vec<_> = (0..5).map(|item| put(&mut batch, item)).collect();
    batch.flush();
    // Two are under way before the flush is due; three are left, and a sixth comes.
    let first = next(&mut arrived).await;
    let _sixth = put(&mut batch, 5);
    assert_eq!(first.well(), [0, 1]);
    assert_eq!(next(&mut arrived).await.well(), [2, 3]);
    // What goes with a flushed item has not to wait.
    assert_eq!(next(&mut arrived).await.well(), [4, 5]);
    let _seventh = put(&mut batch, 6);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(next(&mut arrived).await.well(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn no_more_batches_are_under_way_than_may_be() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_concurrency(2));
    let _answers: Vec<_> = (0..4).map(|item| put(&mut batch, item)).collect();
    let first = next(&mut arrived).await;
    let second = next(&mut arrived).await;
    settle().await;
    assert!(arrived.try_recv().is_err(), "there is a third one");
    assert_eq!(second.well(), [1]);
    let third = next(&mut arrived).await;
    settle().await;
    assert!(arrived.try_recv().is_err(), "there is a fourth one");
    assert_eq!((first.well(), third.well()), (vec![0], vec![2]));
    assert_eq!(next(&mut arrived).await.well(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_grows_while_it_waits_for_the_one_before() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3).max_delay(Duration::ZERO));
    let _first = put(&mut batch, 0);
    let under_way = next(&mut arrived).await;
    let _answers: Vec<_> = (1..6).map(|item| put(&mut batch, item)).collect();
    settle().await;
    assert_eq!(under_way.well(), [0]);
    assert_eq!(next(&mut arrived).await.well(), [1, 2, 3]);
    assert_eq!(next(&mut arrived).await.well(), [4, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_makes_callers_wait_for_their_turn() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_queued(3));
    let mut handles: Vec<_> = (0..6).map(|_| batch.clone()).collect();
    let mut answers = Vec::new();
    for (handle, item) in handles.iter_mut().take(3).zip(0..) {
        answers.push(put(handle, item));
    }
    // Full before the worker has run: nobody gets a place.
    let mut late = handles.split_off(3);
    {
        let waiting: Vec<_> =
            late.iter_mut().map(|handle| poll_once(pin!(handle.ready()))).collect();
        assert!(waiting.iter().all(Poll::is_pending));
    }
    let first = next(&mut arrived).await;
    assert_eq!(first.items, [0, 1]);
    // Two places are free, and given to those who waited first.
    for (handle, item) in late.iter_mut().take(2).zip(3..) {
        answers.push(put(handle, item));
    }
    assert!(poll_once(pin!(late[2].ready())).is_pending());
    assert_eq!(first.well(), [0, 1]);
    assert_eq!(next(&mut arrived).await.well(), [2, 3]);
    answers.push(put(&mut late[2], 5));
    assert_eq!(next(&mut arrived).await.well(), [4, 5]);
    for (answer, item) in answers.into_iter().zip(0..) {
        assert_eq!(answer.await.unwrap(), item.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_wait_for_a_place_is_told_that_there_is_none() {
    let (mut batch, _) = echo(&BatchLayer::new().max_size(1).max_queued(1));
    let taken = batch.call(1);
    let refused = now(batch.call(2)).unwrap_err();
    assert!(refused.is_full() && !refused.is_closed(), "{refused}");
    assert_eq!(taken.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn load_is_shed_where_a_layer_outside_sheds_it() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    let mut shedding = LoadShedLayer::new().layer(batch);
    let kept = shedding.ready().await.unwrap().call(1);
    let shed = shedding.ready().await.unwrap().call(2);
    assert!(now(shed).unwrap_err().is::<tower::load_shed::error::Overloaded>());
    next(&mut arrived).await.well();
    assert_eq!(kept.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_place_that_is_not_used_is_given_back() {
    let (mut batch, _) = echo(&BatchLayer::new().max_size(1).max_queued(1));
    let mut idle = batch.clone();
    now(idle.ready()).unwrap();
    assert!(poll_once(pin!(batch.ready())).is_pending());
    drop(idle);
    assert_eq!(put(&mut batch, 1).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_fails_fails_its_own_items_and_no_others() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_concurrency(2));
    let mut answers: Vec<_> = (0..6).map(|item| put(&mut batch, item)).collect();
    let failing = next(&mut arrived).await;
    assert_eq!(next(&mut arrived).await.well(), [2, 3]);
    failing.answer.send(Err(io::Error::other("the disk is full"))).unwrap();
    assert_eq!(next(&mut arrived).await.well(), [4, 5]);
    for (answer, item) in answers.drain(2..).zip(2..) {
        assert_eq!(answer.await.unwrap(), item.to_string());
    }
    for answer in answers {
        let error = answer.await.unwrap_err();
        assert!(error.is_service() && !error.is_panic() && !error.is_length_mismatch());
        assert_eq!(error.to_string(), "the service failed with the batch");
        let source = error.source().and_then(|it| it.downcast_ref::<io::Error>()).unwrap();
        assert_eq!(source.to_string(), "the disk is full");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_call_or_in_the_future_fails_its_own_items_and_no_others() {
    let service = service_fn(|items: Vec<u32>| {
        assert!(items[0] != 1, "one in the call");
        async move {
            assert!(items[0] != 2, "one in the {}", "future");
            Ok::<_, Infallible>(items)
        }
    });
    let mut batch = BatchLayer::new().max_size(1).layer(service);
    let answers: Vec<_> = (0..4).map(|item| put(&mut batch, item)).collect();
    let mut said = Vec::new();
    for answer in answers {
        said.push(answer.await.map_err(|error| {
            assert!(error.is_panic());
            error.to_string()
        }));
    }
    let panicked = |text| Err(format!("the service panicked with the batch: {text}"));
    let expected = [Ok(0), panicked("one in the call"), panicked("one in the future"), Ok(3)];
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_number_of_results_is_an_error_of_each_item() {
    for given in [0, 1, 3] {
        let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
        let answers = [put(&mut batch, 0), put(&mut batch, 1)];
        let next = next(&mut arrived).await;
        next.answer.send(Ok(vec![String::new(); given])).unwrap();
        for answer in answers {
            let error = answer.await.unwrap_err();
            assert!(error.is_length_mismatch());
            let expected = format!("the service gave {given} results for a batch of 2 items");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_fails_by_itself_fails_alone() {
    let service = service_fn(|items: Vec<u32>| {
        let even = |item: u32| if item % 2 == 0 { Ok(item) } else { Err("odd") };
        ready(Ok::<_, Infallible>(items.into_iter().map(even).collect()))
    });
    let mut batch: Batch<u32, Result<u32, &str>> = BatchLayer::new().max_size(2).layer(service);
    let answers = [put(&mut batch, 1), put(&mut batch, 2)];
    let [one, two] = answers.map(|answer| answer);
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Err("odd"), Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn a_kept_item_of_a_caller_that_left_is_sent() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3).keep_abandoned());
    let first = put(&mut batch, 0);
    drop(put(&mut batch, 1));
    let third = put(&mut batch, 2);
    assert_eq!(next(&mut arrived).await.well(), [0, 1, 2]);
    assert_eq!((first.await.unwrap(), third.await.unwrap()), ("0".into(), "2".into()));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_sends_what_is_queued() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_queued(5));
    let mut clones = [batch.clone(), batch.clone()];
    let mut answers: Vec<_> = (0..2).map(|item| put(&mut clones[0], item)).collect();
    answers.extend((2..5).map(|item| put(&mut clones[1], item)));
    let start = clock();
    drop((batch, clones));
    for expected in [&[0, 1][..], &[2, 3], &[4]] {
        assert_eq!(next(&mut arrived).await.well(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for answer in answers {
        assert!(answer.await.is_ok());
    }
    assert!(arrived.recv().await.is_none(), "the service is dropped with the worker");
}

#[tokio::test(start_paused = true)]
async fn drain_waits_until_all_that_was_queued_is_answered() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    let answers: Vec<_> = (0..3).map(|item| put(&mut batch, item)).collect();
    let other = batch.clone();
    let mut drained = pin!(other.drain());
    assert!(poll_once(drained.as_mut()).is_pending());
    let under_way = next(&mut arrived).await;
    assert!(poll_once(drained.as_mut()).is_pending());
    assert_eq!(under_way.well(), [0, 1]);
    let last = next(&mut arrived).await;
    settle().await;
    assert!(poll_once(drained.as_mut()).is_pending());
    assert_eq!(last.well(), [2]);
    soon(drained).await;
    for answer in answers {
        assert!(now(answer).is_ok());
    }
    // Again, and by another handle, there is nothing to wait for.
    now(batch.drain());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drained_batch_refuses_what_comes_later_and_whoever_waits() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    let _first = put(&mut batch, 0);
    let under_way = next(&mut arrived).await;
    let mut with_place = batch.clone();
    now(with_place.ready()).unwrap();
    let mut waiting = batch.clone();
    let mut waiting = pin!(waiting.ready());
    assert!(poll_once(waiting.as_mut()).is_pending());
    let mut drained = pin!(batch.drain());
    assert!(poll_once(drained.as_mut()).is_pending());
    assert!(now(waiting).unwrap_err().is_closed());
    assert!(now(with_place.call(1)).unwrap_err().is_closed());
    assert!(now(batch.clone().oneshot(2)).unwrap_err().is_closed());
    assert_eq!(under_way.well(), [0]);
    soon(drained).await;
    assert!(now(batch.call(3)).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_nobody_waits_for_goes_on() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    let answer = put(&mut batch, 0);
    assert!(poll_once(pin!(batch.drain())).is_pending());
    assert_eq!(next(&mut arrived).await.well(), [0]);
    assert_eq!(answer.await.unwrap(), "0");
}

#[test]
fn a_batch_that_was_never_called_needs_no_runtime_and_leaves_nothing() {
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let service = service_fn(move |items: Vec<u32>| {
        let _held = &held;
        ready(Ok::<_, Infallible>(items))
    });
    let mut batch: Batch<u32, u32> = BatchLayer::new().layer(service);
    batch.flush();
    now(batch.drain());
    assert!(now(batch.ready()).unwrap_err().is_closed());
    assert_eq!(Arc::strong_count(&token), 1, "the service is still there");
}

#[test]
fn a_batch_that_is_dropped_without_a_call_leaves_nothing() {
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let service = service_fn(move |items: Vec<u32>| {
        let _held = &held;
        ready(Ok::<_, Infallible>(items))
    });
    drop::<Batch<u32, u32>>(BatchLayer::new().layer(service));
    assert_eq!(Arc::strong_count(&token), 1);
}

#[test]
fn the_end_of_the_runtime_is_told_to_all_who_wait() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let service = service_fn(|_: Vec<u32>| pending::<Result<Vec<u32>, Infallible>>());
    let mut batch = BatchLayer::new().max_size(1).max_queued(1).layer(service);
    let mut under_way = Vec::new();
    runtime.block_on(async {
        under_way.push(put(&mut batch, 0));
        settle().await;
    });
    let queued = put(&mut batch, 1);
    drop(runtime);
    for answer in under_way.into_iter().chain([queued]) {
        assert!(now(answer).unwrap_err().is_closed());
    }
    assert!(now(batch.ready()).unwrap_err().is_closed());
    now(batch.drain());
}

#[tokio::test(start_paused = true)]
async fn the_service_is_waited_for_and_its_ready_self_is_called() {
    // A concurrency limit panics where it is called without having been ready.
    let free = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&free);
    let service = ServiceBuilder::new()
        .layer(BatchLayer::new().max_size(1).max_concurrency(9))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(move |items: Vec<u32>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(items)
            }
        });
    let mut batch = service;
    let answers: Vec<_> = (0..3).map(|item| put(&mut batch, item)).collect();
    for (answer, item) in answers.into_iter().zip(0..) {
        let mut answer = pin!(answer);
        settle().await;
        assert!(poll_once(answer.as_mut()).is_pending());
        free.add_permits(1);
        assert_eq!(soon(answer).await.unwrap(), item);
    }
}

#[tokio::test(start_paused = true)]
async fn the_batch_grows_while_the_service_is_not_ready() {
    let (mock, mut handle) = tower_test::mock::pair::<Vec<u32>, Vec<u32>>();
    handle.allow(0);
    let mut batch = BatchLayer::new().max_size(2).layer(mock);
    let first = put(&mut batch, 1);
    batch.flush();
    settle().await;
    let second = put(&mut batch, 2);
    handle.allow(1);
    let (items, answer) = soon(handle.next_request()).await.unwrap();
    assert_eq!(items, [1, 2]);
    answer.send_response(vec![10, 20]);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (10, 20));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_fails_that_batch_and_is_tried_again() {
    let (mock, mut handle) = tower_test::mock::pair::<Vec<u32>, Vec<u32>>();
    let mut batch = BatchLayer::new().max_size(1).layer(mock);
    handle.send_error("not now");
    let error = soon(put(&mut batch, 0)).await.unwrap_err();
    assert!(error.is_service() && error.source().unwrap().to_string() == "not now");
    let answer = put(&mut batch, 1);
    soon(handle.next_request()).await.unwrap().1.send_response(vec![10]);
    assert_eq!(soon(answer).await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn clones_share_a_queue_and_two_layers_do_not() {
    let layer = BatchLayer::new().max_size(2);
    let (mut one, ones) = echo(&layer);
    let (mut two, twos) = echo(&layer);
    let answers = [put(&mut one, 1), put(&mut one.clone(), 2), put(&mut two, 3)];
    for answer in answers {
        answer.await.unwrap();
    }
    assert_eq!(*ones.lock().unwrap(), [[1, 2]]);
    assert_eq!(*twos.lock().unwrap(), [[3]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_herd_gets_each_its_own_result() {
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let service = service_fn(move |items: Vec<u64>| {
        seen.fetch_max(items.len(), Ordering::SeqCst);
        async move {
            yield_now().await;
            Ok::<_, Infallible>(items.into_iter().map(|item| item * 3).collect::<Vec<_>>())
        }
    });
    let layer = BatchLayer::new().max_size(64).max_queued(200).max_delay(Duration::ZERO).max_concurrency(3);
    let batch: Batch<u64, u64> = layer.layer(service);
    let mut callers = JoinSet::new();
    for caller in 0..200 {
        let batch = batch.clone();
        callers.spawn(async move {
            for item in (caller * 1_000)..(caller * 1_000 + 50) {
                assert_eq!(batch.clone().oneshot(item).await.unwrap(), item * 3);
            }
        });
    }
    while let Some(ended) = soon(callers.join_next()).await {
        ended.unwrap();
    }
    soon(batch.drain()).await;
    assert!(largest.load(Ordering::SeqCst) <= 64);
}

#[test]
fn errors_and_handles_can_be_sent_anywhere() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + Unpin>() {}
    anywhere::<BatchError>();
    anywhere::<BatchLayer<std::rc::Rc<()>>>();
    anywhere::<Batch<u32, u32>>();
    anywhere::<Batch<std::cell::Cell<u32>, std::cell::Cell<u32>>>();
    sent::<Batch<u32, u32>>();
    sent::<ResponseFuture<u32>>();
}

#[derive(Clone, Debug)]
enum Step {
    Put,
    Leave,
    Flush,
    Answer { well: bool },
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Put),
        1 => Just(Step::Leave),
        1 => Just(Step::Flush),
        2 => any::<bool>().prop_map(|well| Step::Answer { well }),
        1 => (0..7_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, each item arrives exactly once and in order, and gets its own result. The item
    /// of a caller that has left may be skipped, where it is not to be kept.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        size in 1..5_usize,
        concurrency in 1..4_usize,
        keeps in any::<bool>(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(play(size, concurrency, keeps, steps));
    }
}

async fn play(size: usize, concurrency: usize, keeps: bool, steps: Vec<Step>) {
    let layer = BatchLayer::new().max_size(size).max_concurrency(concurrency).max_queued(100);
    let layer = if keeps { layer.keep_abandoned() } else { layer };
    let mut abandoned = Vec::new();
    let (mut batch, mut arrived) = scripted(&layer);
    let (mut answers, mut under_way, mut order) = (Vec::new(), Vec::new(), Vec::new());
    let mut failed = Vec::new();
    let mut count = 0;
    for step in steps {
        match step {
            Step::Put => {
                answers.push((count, put(&mut batch, count)));
                count += 1;
            }
            Step::Leave => abandoned.extend(answers.pop().map(|(item, _)| item)),
            Step::Flush => batch.flush(),
            Step::Answer { well } => {
                if under_way.is_empty() {
                    continue;
                }
                let next: Arrived = under_way.remove(0);
                if well {
                    next.well();
                } else {
                    failed.extend_from_slice(&next.items);
                    next.answer.send(Err(io::Error::other("fails"))).unwrap();
                }
            }
            Step::Wait(seconds) => tokio::time::sleep(seconds * SECOND).await,
        }
        settle().await;
        while let Ok(next) = arrived.try_recv() {
            assert!((1..=size).contains(&next.items.len()));
            order.extend_from_slice(&next.items);
            under_way.push(next);
            assert!(under_way.len() <= concurrency);
        }
    }
    drop(batch);
    for next in under_way {
        next.well();
    }
    while let Some(next) = soon(arrived.recv()).await {
        order.extend(next.well());
    }
    let is_sent = |item: &u32| keeps || order.contains(item) || !abandoned.contains(item);
    assert_eq!(order, (0..count).filter(is_sent).collect::<Vec<_>>());
    for (item, answer) in answers {
        match soon(answer).await {
            Ok(result) => assert_eq!(result, item.to_string()),
            Err(error) => assert!(error.is_service() && failed.contains(&item)),
        }
    }
}
