//! Items whose result nobody waits for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Builder;
use tower_kit::batch::BatchLayer;

use super::{clock, echo, next, poll_once, put, scripted, settle};

#[tokio::test(start_paused = true)]
async fn a_submitted_item_is_sent_without_its_caller() {
    for layer in [BatchLayer::new(), BatchLayer::new().max_delay(Duration::MAX).max_size(2)] {
        let (batch, batches) = echo(&layer);
        let start = clock();
        batch.submit(1).unwrap();
        batch.submit(2).unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        // The caller lets others run, and has left.
        settle().await;
        batch.drain().await;
        assert_eq!(*batches.lock().unwrap(), [[1, 2]]);
    }
}

#[tokio::test(start_paused = true)]
async fn submitted_items_share_batches_with_called_ones() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    batch.submit(1).unwrap();
    let answer = put(&mut batch, 2);
    batch.submit(3).unwrap();
    assert_eq!(next(&mut arrived).await.well(), [1, 2, 3]);
    assert_eq!(answer.await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn items_are_sent_though_all_handles_are_dropped() {
    let (batch, mut arrived) = scripted(&BatchLayer::new());
    batch.submit(1).unwrap();
    drop(batch);
    settle().await;
    assert_eq!(next(&mut arrived).await.well(), [1]);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_submitted_items() {
    let (batch, mut arrived) = scripted(&BatchLayer::new());
    batch.submit(1).unwrap();
    let mut drained = pin!(batch.drain());
    settle().await;
    assert!(poll_once(drained.as_mut()).is_pending());
    let batch_of_one = next(&mut arrived).await;
    assert!(poll_once(drained.as_mut()).is_pending());
    batch_of_one.well();
    drained.await;
}

#[tokio::test(start_paused = true)]
async fn submit_tells_a_full_queue_and_a_closed_one() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    batch.submit(1).unwrap();
    let first = next(&mut arrived).await;
    batch.submit(2).unwrap();
    assert!(batch.submit(3).unwrap_err().is_full());
    first.well();
    assert_eq!(next(&mut arrived).await.well(), [2]);
    batch.drain().await;
    assert!(batch.submit(4).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_failed_batch_fails_no_later_submit() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1));
    batch.submit(1).unwrap();
    next(&mut arrived).await.answer.send(Err(io::Error::other("down"))).unwrap();
    settle().await;
    batch.submit(2).unwrap();
    assert_eq!(next(&mut arrived).await.well(), [2]);
}

#[test]
fn submit_outside_of_a_runtime_panics_and_queues_nothing() {
    let (batch, batches) = echo(&BatchLayer::new());
    assert!(catch_unwind(AssertUnwindSafe(|| batch.submit(1))).is_err());
    Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        batch.submit(2).unwrap();
        batch.drain().await;
    });
    assert_eq!(*batches.lock().unwrap(), [[2]]);
}
