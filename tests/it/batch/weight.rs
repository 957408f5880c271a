//! Batches bounded by weight, and batches of an idle service.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::batch::BatchLayer;

use super::{SECOND, call, clock, echo, next_batch, scripted, settle};
use crate::support::{now, soon};

/// Returns a layer that weighs an item by its number.
fn weighted(max: usize) -> BatchLayer<u32> {
    BatchLayer::new().max_weight(max, |item: &u32| usize::try_from(*item).unwrap())
}

#[tokio::test(start_paused = true)]
async fn heavy_batch_is_sent() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let start = clock();
    let _held: Vec<_> = [4, 3, 3, 6, 5, 1].map(|item| call(&mut batch, item)).into();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [4, 3, 3]);
    // The next item, 5, does not fit.
    assert_eq!(next_batch(&mut arrived).await.succeed(), [6]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // The rest is too light, and waits for the delay.
    assert_eq!(next_batch(&mut arrived).await.succeed(), [5, 1]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn item_above_the_maximum_is_sent_alone() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let start = clock();
    let futures = [1, 99, 2, 8].map(|item| call(&mut batch, item));
    for expected in [&[1][..], &[99], &[2, 8]] {
        assert_eq!(next_batch(&mut arrived).await.succeed(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for future in futures {
        assert!(future.await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn size_applies_along_with_weight() {
    let (mut batch, mut arrived) = scripted(&weighted(10).max_size(2));
    let start = clock();
    let _held: Vec<_> = [0, 0, 0, 9, 0].map(|item| call(&mut batch, item)).into();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0, 0]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0, 9]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    batch.flush();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0]);
}

#[tokio::test(start_paused = true)]
async fn flush_and_drain_respect_the_weight() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let _held: Vec<_> = [3, 3, 3].map(|item| call(&mut batch, item)).into();
    batch.flush();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [3, 3, 3]);
    let _held: Vec<_> = [7, 7, 7].map(|item| call(&mut batch, item)).into();
    let drained = batch.drain();
    for _ in 0..3 {
        assert_eq!(next_batch(&mut arrived).await.succeed(), [7]);
    }
    soon(drained).await;
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_weight_queues_nothing() {
    let layer =
        BatchLayer::new().max_size(2).max_queued(2).max_weight(10, |item: &u32| match item {
            0 => panic!("no weight"),
            _ => usize::MAX,
        });
    let (mut batch, batches) = echo(&layer);
    for _ in 0..5 {
        now(batch.ready()).unwrap();
        let mut panics = batch.clone();
        now(panics.ready()).unwrap();
        let called = std::panic::AssertUnwindSafe(|| drop(tower::Service::call(&mut panics, 0)));
        assert!(std::panic::catch_unwind(called).is_err());
    }
    // The sum of the weights does not overflow.
    let both = [call(&mut batch, 1), call(&mut batch, 2)];
    for (future, item) in both.into_iter().zip([1, 2]) {
        assert_eq!(soon(future).await.unwrap(), item);
    }
    assert_eq!(*batches.lock().unwrap(), [[1], [2]]);
}

#[tokio::test(start_paused = true)]
async fn lone_item_is_as_fast_as_a_direct_call() {
    const CALL: Duration = Duration::from_millis(20);
    let service = service_fn(|items: Vec<u32>| async move {
        tokio::time::sleep(CALL).await;
        Ok::<_, Infallible>(items)
    });
    for (layer, expected) in [
        (BatchLayer::new().send_when_idle(), CALL),
        (BatchLayer::new().send_when_idle().max_concurrency(4), CALL),
        (BatchLayer::new().max_delay(Duration::ZERO), CALL),
        (BatchLayer::new(), CALL + 5 * SECOND),
    ] {
        let batch = layer.layer(service);
        for item in 0..3 {
            let start = clock();
            assert_eq!(batch.clone().oneshot(item).await.unwrap(), item);
            assert_eq!(start.elapsed(), expected, "{layer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn items_wait_while_a_batch_is_in_flight() {
    let (mut batch, mut arrived) =
        scripted(&BatchLayer::new().send_when_idle().max_concurrency(2).max_size(3));
    let start = clock();
    let _lone = call(&mut batch, 0);
    let lone = next_batch(&mut arrived).await;
    // A second batch is allowed, but two items are not a full batch.
    let _held: Vec<_> = [1, 2].map(|item| call(&mut batch, item)).into();
    settle().await;
    assert!(arrived.try_recv().is_err());
    // Once the first batch completes, the service is idle.
    lone.succeed();
    let both = next_batch(&mut arrived).await;
    assert_eq!(both.items, [1, 2]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // Otherwise a full batch is sent, and one at the end of the delay.
    let _held: Vec<_> = [3, 4, 5, 6].map(|item| call(&mut batch, item)).into();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [3, 4, 5]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    both.succeed();
}

#[tokio::test(start_paused = true)]
async fn concurrent_items_share_batches_when_idle() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let service = service_fn(move |items: Vec<u32>| {
        seen.lock().unwrap().push(items.len());
        ready(Ok::<_, Infallible>(items))
    });
    let batch = BatchLayer::new().send_when_idle().layer(service);
    let mut callers = JoinSet::new();
    for item in 0..250 {
        callers.spawn(batch.clone().oneshot(item));
    }
    while callers.join_next().await.is_some() {}
    let sizes = sizes.lock().unwrap();
    assert_eq!(sizes.iter().sum::<usize>(), 250);
    assert!(sizes.len() <= 5, "{sizes:?}");
}
