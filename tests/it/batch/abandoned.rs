//! Items whose callers dropped the future before the batch was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};
use tower_test::mock;

use super::{SECOND, call, clock, next_batch, scripted, settle};
use crate::support::{now, soon};

#[tokio::test(start_paused = true)]
async fn abandoned_item_is_skipped() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    let first = call(&mut batch, 0);
    drop(call(&mut batch, 1));
    let third = call(&mut batch, 2);
    settle().await;
    assert!(arrived.try_recv().is_err(), "the batch is not full");
    let last = call(&mut batch, 3);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0, 2, 3]);
    for (future, item) in [first, third, last].into_iter().zip(["0", "2", "3"]) {
        assert_eq!(future.await.unwrap(), item);
    }
}

#[tokio::test(start_paused = true)]
async fn keep_abandoned_sends_the_item() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3).keep_abandoned());
    let first = call(&mut batch, 0);
    drop(call(&mut batch, 1));
    let third = call(&mut batch, 2);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0, 1, 2]);
    assert_eq!((first.await.unwrap(), third.await.unwrap()), ("0".into(), "2".into()));
}

#[tokio::test(start_paused = true)]
async fn batch_without_callers_is_not_sent() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    for item in 0..7 {
        drop(call(&mut batch, item));
    }
    batch.flush();
    settle().await;
    tokio::time::sleep(6 * SECOND).await;
    assert!(arrived.try_recv().is_err());
    // The delay counts from the first item with a caller.
    let start = clock();
    let _held = call(&mut batch, 7);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [7]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    soon(batch.drain()).await;
}

#[tokio::test(start_paused = true)]
async fn drain_ends_without_callers() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    let waits = call(&mut batch, 0);
    drop(call(&mut batch, 1));
    let drained = batch.drain();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [0]);
    soon(drained).await;
    assert_eq!(waits.await.unwrap(), "0");
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    drop(call(&mut batch, 0));
    soon(batch.drain()).await;
    assert!(arrived.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn sent_item_is_not_taken_back() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1));
    let caller = call(&mut batch, 0);
    let first = next_batch(&mut arrived).await;
    drop(caller);
    assert_eq!(first.succeed(), [0]);
    // The next batch is not affected.
    let caller = call(&mut batch, 1);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1]);
    assert_eq!(caller.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn caller_may_leave_before_readiness() {
    let (service, mut handle) = mock::pair::<Vec<u32>, Vec<u32>>();
    handle.allow(0);
    let layer = BatchLayer::new().max_size(2);
    let mut batch = layer.layer(service);
    let both = [call(&mut batch, 0), call(&mut batch, 1)];
    settle().await;
    let [left, waits] = both;
    drop(left);
    handle.allow(1);
    let (items, respond) = soon(handle.next_request()).await.unwrap();
    assert_eq!(items, [1]);
    respond.send_response(items);
    assert_eq!(soon(waits).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn abandoned_items_free_their_places() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(3));
    let _hangs = call(&mut batch, 0);
    let hangs = next_batch(&mut arrived).await;
    let mut futures: Vec<_> = (1..4).map(|item| call(&mut batch, item)).collect();
    let full = batch.clone().call(9);
    assert!(full.await.unwrap_err().is_full());
    drop(futures.remove(1));
    let fourth = call(&mut batch, 4);
    assert!(batch.call(9).await.unwrap_err().is_full());
    hangs.succeed();
    for expected in [1, 3, 4] {
        assert_eq!(next_batch(&mut arrived).await.succeed(), [expected]);
    }
    assert_eq!(fourth.await.unwrap(), "4");
}

#[tokio::test(start_paused = true)]
async fn timeout_outside_abandons_the_item() {
    let (sender, mut arrived) = mpsc::unbounded_channel();
    let rows: Batch<u32, u32> =
        BatchLayer::new().max_delay(2 * SECOND).layer(service_fn(move |items: Vec<u32>| {
            sender.send(items.clone()).unwrap();
            async { Ok::<_, std::io::Error>(items) }
        }));
    let mut caller = ServiceBuilder::new().timeout(SECOND).service(rows);
    let timed_out = caller.ready().await.unwrap().call(1).await.unwrap_err();
    assert!(timed_out.is::<tower::timeout::error::Elapsed>());
    tokio::time::sleep(5 * SECOND).await;
    assert!(arrived.try_recv().is_err());
}

/// An item that counts its drop, and may panic then.
struct Item {
    drops: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Item {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics || std::thread::panicking(), "an item panics");
    }
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_skipped_item_is_contained() {
    let drops = Arc::new(AtomicUsize::new(0));
    let item = |panics| Item { drops: Arc::clone(&drops), panics };
    let count =
        service_fn(|items: Vec<Item>| async move { Ok::<_, std::io::Error>(vec![1; items.len()]) });
    let mut batch: Batch<Item, u32> =
        BatchLayer::new().max_delay(Duration::from_millis(1)).layer(count);
    let mut call = |item| now(batch.ready()).unwrap().call(item);
    for _ in 0..3 {
        drop(call(item(true)));
        let waits = call(item(false));
        drop(call(item(true)));
        assert_eq!(soon(waits).await.unwrap(), 1);
    }
    assert_eq!(drops.load(Ordering::SeqCst), 9);
}
