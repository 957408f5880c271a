//! The contract with the inner service, and the handles.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchError, BatchLayer, ResponseFuture};

use super::{call, echo, settle};
use crate::support::{poll_once, soon};

#[tokio::test(start_paused = true)]
async fn ready_instance_is_called() {
    // `ConcurrencyLimit` panics if the instance that is called was not ready.
    let free = Arc::new(Semaphore::new(0));
    let gate = Arc::clone(&free);
    let mut batch = ServiceBuilder::new()
        .layer(BatchLayer::new().max_size(1).max_concurrency(9))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(move |items: Vec<u32>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(items)
            }
        });
    let futures: Vec<_> = (0..3).map(|item| call(&mut batch, item)).collect();
    for (future, item) in futures.into_iter().zip(0..) {
        let mut future = pin!(future);
        settle().await;
        assert!(poll_once(future.as_mut()).is_pending());
        free.add_permits(1);
        assert_eq!(soon(future).await.unwrap(), item);
    }
}

#[tokio::test(start_paused = true)]
async fn batch_grows_until_the_service_is_ready() {
    let (mock, mut handle) = tower_test::mock::pair::<Vec<u32>, Vec<u32>>();
    handle.allow(0);
    let mut batch = BatchLayer::new().max_size(2).layer(mock);
    let first = call(&mut batch, 1);
    batch.flush();
    settle().await;
    let second = call(&mut batch, 2);
    handle.allow(1);
    let (items, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(items, [1, 2]);
    respond.send_response(vec![10, 20]);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (10, 20));
}

#[tokio::test(start_paused = true)]
async fn failed_readiness_fails_one_batch() {
    let (mock, mut handle) = tower_test::mock::pair::<Vec<u32>, Vec<u32>>();
    let mut batch = BatchLayer::new().max_size(1).layer(mock);
    handle.send_error("not now");
    let error = soon(call(&mut batch, 0)).await.unwrap_err();
    assert!(error.is_service() && error.source().unwrap().to_string() == "not now");
    let future = call(&mut batch, 1);
    soon(handle.next_request()).await.unwrap().1.send_response(vec![10]);
    assert_eq!(soon(future).await.unwrap(), 10);
}

#[tokio::test(start_paused = true)]
async fn clones_share_a_queue() {
    let layer = BatchLayer::new().max_size(2);
    let (mut one, ones) = echo(&layer);
    let (mut two, twos) = echo(&layer);
    let futures = [call(&mut one, 1), call(&mut one.clone(), 2), call(&mut two, 3)];
    for future in futures {
        future.await.unwrap();
    }
    assert_eq!(*ones.lock().unwrap(), [[1, 2]]);
    assert_eq!(*twos.lock().unwrap(), [[3]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_callers_get_their_results() {
    let largest = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&largest);
    let service = service_fn(move |items: Vec<u64>| {
        seen.fetch_max(items.len(), Ordering::SeqCst);
        async move {
            yield_now().await;
            Ok::<_, Infallible>(items.into_iter().map(|item| item * 3).collect::<Vec<_>>())
        }
    });
    let layer =
        BatchLayer::new().max_size(64).max_queued(200).max_delay(Duration::ZERO).max_concurrency(3);
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
fn types_are_send_and_sync() {
    fn anywhere<T: Send + Sync + Clone + 'static>() {}
    fn sent<T: Send + Unpin>() {}
    anywhere::<BatchError>();
    anywhere::<BatchLayer<std::rc::Rc<()>>>();
    anywhere::<Batch<u32, u32>>();
    anywhere::<Batch<std::cell::Cell<u32>, std::cell::Cell<u32>>>();
    sent::<Batch<u32, u32>>();
    sent::<ResponseFuture<u32>>();
}
