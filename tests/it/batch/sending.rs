//! The times at which batches are sent.

use std::time::Duration;

use tokio::task::JoinSet;
use tower::ServiceExt;
use tower_kit::batch::BatchLayer;

use super::{SECOND, call, clock, echo, next_batch, scripted, settle};

#[tokio::test(start_paused = true)]
async fn full_batch_is_sent() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    let start = clock();
    let futures: Vec<_> = (0..7).map(|item| call(&mut batch, item)).collect();
    for expected in [[0, 1, 2], [3, 4, 5]] {
        assert_eq!(next_batch(&mut arrived).await.succeed(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The last item waits for the delay.
    assert_eq!(next_batch(&mut arrived).await.succeed(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    for (future, item) in futures.into_iter().zip(0..) {
        assert_eq!(future.await.unwrap(), item.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn delay_counts_from_the_first_item() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_delay(4 * SECOND));
    let start = clock();
    let _first = call(&mut batch, 1);
    tokio::time::sleep(3 * SECOND).await;
    let _second = call(&mut batch, 2);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2]);
    assert_eq!(start.elapsed(), 4 * SECOND);
    let _third = call(&mut batch, 3);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [3]);
    assert_eq!(start.elapsed(), 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn defaults_are_100_items_and_5_seconds() {
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
async fn flush_sends_only_queued_items() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    batch.flush();
    let start = clock();
    let _held: Vec<_> = (0..5).map(|item| call(&mut batch, item)).collect();
    batch.flush();
    // The first batch is full. Three flushed items are left, and a sixth item comes.
    let first = next_batch(&mut arrived).await;
    let _sixth = call(&mut batch, 5);
    assert_eq!(first.succeed(), [0, 1]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2, 3]);
    // The sixth item is sent along with a flushed one.
    assert_eq!(next_batch(&mut arrived).await.succeed(), [4, 5]);
    let _seventh = call(&mut batch, 6);
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn concurrency_is_limited() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_concurrency(2));
    let _held: Vec<_> = (0..4).map(|item| call(&mut batch, item)).collect();
    let first = next_batch(&mut arrived).await;
    let second = next_batch(&mut arrived).await;
    settle().await;
    assert!(arrived.try_recv().is_err(), "a third batch");
    assert_eq!(second.succeed(), [1]);
    let third = next_batch(&mut arrived).await;
    settle().await;
    assert!(arrived.try_recv().is_err(), "a fourth batch");
    assert_eq!((first.succeed(), third.succeed()), (vec![0], vec![2]));
    assert_eq!(next_batch(&mut arrived).await.succeed(), [3]);
}

#[tokio::test(start_paused = true)]
async fn due_batch_grows_while_it_waits() {
    let (mut batch, mut arrived) =
        scripted(&BatchLayer::new().max_size(3).max_delay(Duration::ZERO));
    let _first = call(&mut batch, 0);
    let in_flight = next_batch(&mut arrived).await;
    let _held: Vec<_> = (1..6).map(|item| call(&mut batch, item)).collect();
    settle().await;
    assert_eq!(in_flight.succeed(), [0]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2, 3]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [4, 5]);
}
