//! Drains, and the end of the handles or of the runtime.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};

use super::{call, clock, next_batch, scripted, settle};
use crate::support::{now, poll_once, soon};

#[tokio::test(start_paused = true)]
async fn last_drop_sends_queued_items() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_queued(5));
    let mut clones = [batch.clone(), batch.clone()];
    let mut futures: Vec<_> = (0..2).map(|item| call(&mut clones[0], item)).collect();
    futures.extend((2..5).map(|item| call(&mut clones[1], item)));
    let start = clock();
    drop((batch, clones));
    for expected in [&[0, 1][..], &[2, 3], &[4]] {
        assert_eq!(next_batch(&mut arrived).await.succeed(), expected);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for future in futures {
        assert!(future.await.is_ok());
    }
    assert!(arrived.recv().await.is_none(), "the service is not dropped");
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_all_results() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    let futures: Vec<_> = (0..3).map(|item| call(&mut batch, item)).collect();
    let other = batch.clone();
    let mut drained = pin!(other.drain());
    assert!(poll_once(drained.as_mut()).is_pending());
    let in_flight = next_batch(&mut arrived).await;
    assert!(poll_once(drained.as_mut()).is_pending());
    assert_eq!(in_flight.succeed(), [0, 1]);
    let last = next_batch(&mut arrived).await;
    settle().await;
    assert!(poll_once(drained.as_mut()).is_pending());
    assert_eq!(last.succeed(), [2]);
    soon(drained).await;
    assert!(now(arrived.recv()).is_none(), "the service is dropped before the drain ends");
    for future in futures {
        assert!(now(future).is_ok());
    }
    // A second drain completes at once.
    now(batch.drain());
    assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn drained_batch_rejects_and_wakes_callers() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    let _first = call(&mut batch, 0);
    let in_flight = next_batch(&mut arrived).await;
    let mut reserved = batch.clone();
    now(reserved.ready()).unwrap();
    let mut waiting = batch.clone();
    let mut waiting = pin!(waiting.ready());
    assert!(poll_once(waiting.as_mut()).is_pending());
    let mut drained = pin!(batch.drain());
    assert!(poll_once(drained.as_mut()).is_pending());
    assert!(now(waiting).unwrap_err().is_closed());
    assert!(now(reserved.call(1)).unwrap_err().is_closed());
    assert!(now(batch.clone().oneshot(2)).unwrap_err().is_closed());
    assert_eq!(in_flight.succeed(), [0]);
    soon(drained).await;
    assert!(now(batch.call(3)).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn dropped_drain_goes_on() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    let future = call(&mut batch, 0);
    assert!(poll_once(pin!(batch.drain())).is_pending());
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0]);
    assert_eq!(future.await.unwrap(), "0");
}

#[test]
fn unused_batch_needs_no_runtime() {
    for drains in [true, false] {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let service = service_fn(move |items: Vec<u32>| {
            let _held = &held;
            ready(Ok::<_, Infallible>(items))
        });
        let mut batch: Batch<u32, u32> = BatchLayer::new().layer(service);
        if drains {
            batch.flush();
            now(batch.drain());
            assert!(now(batch.ready()).unwrap_err().is_closed());
            assert_eq!(Arc::strong_count(&token), 1, "the service is not dropped");
        }
        drop(batch);
        assert_eq!(Arc::strong_count(&token), 1, "the service is not dropped");
    }
}

#[test]
fn end_of_the_runtime_closes_the_batch() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let service = service_fn(|_: Vec<u32>| pending::<Result<Vec<u32>, Infallible>>());
    let mut batch = BatchLayer::new().max_size(1).max_queued(1).layer(service);
    let mut in_flight = Vec::new();
    runtime.block_on(async {
        in_flight.push(call(&mut batch, 0));
        settle().await;
    });
    let queued = call(&mut batch, 1);
    drop(runtime);
    for future in in_flight.into_iter().chain([queued]) {
        assert!(now(future).unwrap_err().is_closed());
    }
    assert!(now(batch.ready()).unwrap_err().is_closed());
    now(batch.drain());
}
