//! Items without a caller that waits for the result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::time::Duration;

use tokio::runtime::Builder;
use tower_kit::batch::BatchLayer;

use super::{call, clock, echo, next_batch, scripted, settle};
use crate::support::poll_once;

#[tokio::test(start_paused = true)]
async fn submitted_item_is_sent() {
    for layer in [BatchLayer::new(), BatchLayer::new().max_delay(Duration::MAX).max_size(2)] {
        let (batch, batches) = echo(&layer);
        let start = clock();
        batch.submit(1).unwrap();
        batch.submit(2).unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        settle().await;
        batch.drain().await;
        assert_eq!(*batches.lock().unwrap(), [[1, 2]]);
    }
}

#[tokio::test(start_paused = true)]
async fn submitted_and_called_items_share_batches() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(3));
    batch.submit(1).unwrap();
    let future = call(&mut batch, 2);
    batch.submit(3).unwrap();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2, 3]);
    assert_eq!(future.await.unwrap(), "2");
}

#[tokio::test(start_paused = true)]
async fn last_drop_sends_submitted_items() {
    let (batch, mut arrived) = scripted(&BatchLayer::new());
    batch.submit(1).unwrap();
    drop(batch);
    settle().await;
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1]);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_submitted_items() {
    let (batch, mut arrived) = scripted(&BatchLayer::new());
    batch.submit(1).unwrap();
    let mut drained = pin!(batch.drain());
    settle().await;
    assert!(poll_once(drained.as_mut()).is_pending());
    let batch_of_one = next_batch(&mut arrived).await;
    assert!(poll_once(drained.as_mut()).is_pending());
    batch_of_one.succeed();
    drained.await;
}

#[tokio::test(start_paused = true)]
async fn submit_fails_when_full_or_closed() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1).max_queued(1));
    batch.submit(1).unwrap();
    let first = next_batch(&mut arrived).await;
    batch.submit(2).unwrap();
    assert!(batch.submit(3).unwrap_err().is_full());
    first.succeed();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2]);
    batch.drain().await;
    assert!(batch.submit(4).unwrap_err().is_closed());
}

#[tokio::test(start_paused = true)]
async fn failed_batch_does_not_stop_submits() {
    let (batch, mut arrived) = scripted(&BatchLayer::new().max_size(1));
    batch.submit(1).unwrap();
    next_batch(&mut arrived).await.fail("down");
    settle().await;
    batch.submit(2).unwrap();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2]);
}

#[test]
fn submit_outside_of_a_runtime_panics() {
    let (batch, batches) = echo(&BatchLayer::new());
    assert!(catch_unwind(AssertUnwindSafe(|| batch.submit(1))).is_err());
    Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
        batch.submit(2).unwrap();
        batch.drain().await;
    });
    assert_eq!(*batches.lock().unwrap(), [[2]]);
}
