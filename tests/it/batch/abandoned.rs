//! Items whose callers have left before they were sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer};
use tower_test::mock;

use super::{SECOND, clock, next, put, scripted, settle};
use crate::support::{now, soon};

#[tokio::test(start_paused = true)]
async fn the_item_of_a_caller_that_left_is_skipped() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    let first = put(&mut batch, 0);
    drop(put(&mut batch, 1));
    let third = put(&mut batch, 2);
    settle().await;
    assert!(arrived.try_recv().is_err(), "two items are no full batch");
    let last = put(&mut batch, 3);
    assert_eq!(next(&mut arrived).await.well(), [0, 2, 3]);
    for (answer, item) in [first, third, last].into_iter().zip(["0", "2", "3"]) {
        assert_eq!(answer.await.unwrap(), item);
    }
}

#[tokio::test(start_paused = true)]
async fn no_batch_is_sent_for_nobody() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
    for item in 0..7 {
        drop(put(&mut batch, item));
    }
    batch.flush();
    settle().await;
    tokio::time::sleep(6 * SECOND).await;
    assert!(arrived.try_recv().is_err());
    // The delay is of the first item that somebody waits for.
    let start = clock();
    let _held = put(&mut batch, 7);
    assert_eq!(next(&mut arrived).await.well(), [7]);
    assert_eq!(start.elapsed(), 5 * SECOND);
    soon(batch.drain()).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_where_all_callers_have_left() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    let waits = put(&mut batch, 0);
    drop(put(&mut batch, 1));
    let drained = batch.drain();
    assert_eq!(next(&mut arrived).await.well(), [0]);
    soon(drained).await;
    assert_eq!(waits.await.unwrap(), "0");
    let (mut batch, mut arrived) = scripted(&BatchLayer::new());
    drop(put(&mut batch, 0));
    soon(batch.drain()).await;
    assert!(arrived.recv().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_sent_is_sent() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1));
    let caller = put(&mut batch, 0);
    let first = next(&mut arrived).await;
    drop(caller);
    assert_eq!(first.well(), [0]);
    // The next batch is as ever.
    let caller = put(&mut batch, 1);
    assert_eq!(next(&mut arrived).await.well(), [1]);
    assert_eq!(caller.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_leave_while_the_service_is_not_ready() {
    let (service, mut handle) = mock::pair::<Vec<u32>, Vec<u32>>();
    handle.allow(0);
    let layer = BatchLayer::new().max_size(2);
    let mut batch = layer.layer(service);
    let both = [put(&mut batch, 0), put(&mut batch, 1)];
    settle().await;
    let [left, waits] = both;
    drop(left);
    handle.allow(1);
    let (items, answer) = soon(handle.next_request()).await.unwrap();
    assert_eq!(items, [1]);
    answer.send_response(items);
    assert_eq!(soon(waits).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn callers_that_left_do_not_fill_the_queue() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(3));
    let _hangs = put(&mut batch, 0);
    let hangs = next(&mut arrived).await;
    let mut answers: Vec<_> = (1..4).map(|item| put(&mut batch, item)).collect();
    // A call that does not wait for a place is refused, and has not been before.
    let full = batch.clone().call(9);
    assert!(full.await.unwrap_err().is_full());
    drop(answers.remove(1));
    let fourth = put(&mut batch, 4);
    assert!(batch.call(9).await.unwrap_err().is_full());
    hangs.well();
    for expected in [1, 3, 4] {
        assert_eq!(next(&mut arrived).await.well(), [expected]);
    }
    assert_eq!(fourth.await.unwrap(), "4");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_leaves_nothing_to_send() {
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

/// An item that counts when it is dropped, and panics if it is to.
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
async fn a_skipped_item_that_panics_hurts_no_others() {
    let drops = Arc::new(AtomicUsize::new(0));
    let item = |panics| Item { drops: Arc::clone(&drops), panics };
    let count =
        service_fn(|items: Vec<Item>| async move { Ok::<_, std::io::Error>(vec![1; items.len()]) });
    let mut batch: Batch<Item, u32> =
        BatchLayer::new().max_delay(Duration::from_millis(1)).layer(count);
    let mut put = |item| now(batch.ready()).unwrap().call(item);
    for _ in 0..3 {
        drop(put(item(true)));
        let waits = put(item(false));
        drop(put(item(true)));
        assert_eq!(soon(waits).await.unwrap(), 1);
    }
    assert_eq!(drops.load(Ordering::SeqCst), 9);
}
