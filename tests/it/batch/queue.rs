//! Backpressure of a full queue.

use std::pin::pin;
use std::task::Poll;

use tower::load_shed::LoadShedLayer;
use tower::{Layer, Service, ServiceExt};
use tower_kit::batch::BatchLayer;

use super::{call, echo, next_batch, scripted};
use crate::support::{now, poll_once};

#[tokio::test(start_paused = true)]
async fn full_queue_is_not_ready() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_queued(3));
    let mut handles: Vec<_> = (0..6).map(|_| batch.clone()).collect();
    let mut futures = Vec::new();
    for (handle, item) in handles.iter_mut().take(3).zip(0..) {
        futures.push(call(handle, item));
    }
    // The queue is full before the worker has run.
    let mut late = handles.split_off(3);
    {
        let waiting: Vec<_> =
            late.iter_mut().map(|handle| poll_once(pin!(handle.ready()))).collect();
        assert!(waiting.iter().all(Poll::is_pending));
    }
    let first = next_batch(&mut arrived).await;
    assert_eq!(first.items, [0, 1]);
    // Two places are free, for those who waited first.
    for (handle, item) in late.iter_mut().take(2).zip(3..) {
        futures.push(call(handle, item));
    }
    assert!(poll_once(pin!(late[2].ready())).is_pending());
    assert_eq!(first.succeed(), [0, 1]);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2, 3]);
    futures.push(call(&mut late[2], 5));
    assert_eq!(next_batch(&mut arrived).await.succeed(), [4, 5]);
    for (future, item) in futures.into_iter().zip(0..) {
        assert_eq!(future.await.unwrap(), item.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn call_without_readiness_may_fail() {
    let (mut batch, _) = echo(&BatchLayer::new().max_size(1).max_queued(1));
    let taken = batch.call(1);
    let rejected = now(batch.call(2)).unwrap_err();
    assert!(rejected.is_full() && !rejected.is_closed(), "{rejected}");
    assert_eq!(taken.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn load_shed_outside_rejects() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    let mut shedding = LoadShedLayer::new().layer(batch);
    let kept = shedding.ready().await.unwrap().call(1);
    let shed = shedding.ready().await.unwrap().call(2);
    assert!(now(shed).unwrap_err().is::<tower::load_shed::error::Overloaded>());
    next_batch(&mut arrived).await.succeed();
    assert_eq!(kept.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn unused_reservation_is_released() {
    let (mut batch, _) = echo(&BatchLayer::new().max_size(1).max_queued(1));
    let mut idle = batch.clone();
    now(idle.ready()).unwrap();
    assert!(poll_once(pin!(batch.ready())).is_pending());
    drop(idle);
    assert_eq!(call(&mut batch, 1).await.unwrap(), 1);
}
