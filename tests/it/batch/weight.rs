//! Batches that are bounded by weight, and lone items that wait for nobody.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::batch::BatchLayer;

use super::{SECOND, clock, echo, next, put, scripted, settle};
use crate::support::{now, soon};

/// An item weighs as much as its number says.
fn weighted(max: usize) -> BatchLayer<u32> {
    BatchLayer::new().max_weight(max, |item: &u32| usize::try_from(*item).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_when_it_is_heavy() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let start = clock();
    let _held: Vec<_> = [4, 3, 3, 6, 5, 1].map(|item| put(&mut batch, item)).into();
    assert_eq!(next(&mut arrived).await.well(), [4, 3, 3]);
    // With the five it would be too heavy.
    assert_eq!(next(&mut arrived).await.well(), [6]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // These are not heavy enough, and wait for others.
    assert_eq!(next(&mut arrived).await.well(), [5, 1]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_too_heavy_goes_alone() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let start = clock();
    let answers = [1, 99, 2, 8].map(|item| put(&mut batch, item));
    for expected in [&[1][..], &[99], &[2, 8]] {
        assert_eq!(next(&mut arrived).await.well(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for answer in answers {
        assert!(answer.await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn the_size_holds_beside_the_weight() {
    let (mut batch, mut arrived) = scripted(&weighted(10).max_size(2));
    let start = clock();
    let _held: Vec<_> = [0, 0, 0, 9, 0].map(|item| put(&mut batch, item)).into();
    assert_eq!(next(&mut arrived).await.well(), [0, 0]);
    assert_eq!(next(&mut arrived).await.well(), [0, 9]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    batch.flush();
    assert_eq!(next(&mut arrived).await.well(), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_drain_keep_the_weight() {
    let (mut batch, mut arrived) = scripted(&weighted(10));
    let _held: Vec<_> = [3, 3, 3].map(|item| put(&mut batch, item)).into();
    batch.flush();
    assert_eq!(next(&mut arrived).await.well(), [3, 3, 3]);
    let _held: Vec<_> = [7, 7, 7].map(|item| put(&mut batch, item)).into();
    let drained = batch.drain();
    for _ in 0..3 {
        assert_eq!(next(&mut arrived).await.well(), [7]);
    }
    soon(drained).await;
}

#[tokio::test(start_paused = true)]
async fn a_weight_that_panics_queues_nothing() {
    let layer = BatchLayer::new().max_size(2).max_queued(2).max_weight(10, |item: &u32| match item {
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
    // Sums of weights do not overflow.
    let both = [put(&mut batch, 1), put(&mut batch, 2)];
    for (answer, item) in both.into_iter().zip([1, 2]) {
        assert_eq!(soon(answer).await.unwrap(), item);
    }
    assert_eq!(*batches.lock().unwrap(), [[1], [2]]);
}

#[tokio::test(start_paused = true)]
async fn a_lone_item_costs_what_a_direct_call_costs() {
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
async fn items_share_a_batch_while_one_is_under_way() {
    let (mut batch, mut arrived) =
        scripted(&BatchLayer::new().send_when_idle().max_concurrency(2).max_size(3));
    let start = clock();
    let _lone = put(&mut batch, 0);
    let lone = next(&mut arrived).await;
    // A second batch may begin, but not for two items.
    let _held: Vec<_> = [1, 2].map(|item| put(&mut batch, item)).into();
    settle().await;
    assert!(arrived.try_recv().is_err());
    // When the first has ended nothing is under way, and they wait no more.
    lone.well();
    let both = next(&mut arrived).await;
    assert_eq!(both.items, [1, 2]);
    assert_eq!(start.elapsed(), Duration::ZERO);
    // While one is, a full batch goes, and an old one does.
    let _held: Vec<_> = [3, 4, 5, 6].map(|item| put(&mut batch, item)).into();
    assert_eq!(next(&mut arrived).await.well(), [3, 4, 5]);
    assert_eq!(next(&mut arrived).await.well(), [6]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    both.well();
}

#[tokio::test(start_paused = true)]
async fn a_herd_shares_batches_of_an_idle_service() {
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
