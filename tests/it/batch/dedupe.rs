//! Callers that share an item by its key.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{BatchLayer, Dedupe};

use super::{SECOND, call, clock, next_batch, scripted, settle};
use crate::support::{now, poll_once, soon};

/// Returns a layer that deduplicates items by their last digit.
fn by_digit() -> BatchLayer<u32, Dedupe> {
    BatchLayer::new().dedupe_by(|item: &u32| item % 10)
}

#[tokio::test(start_paused = true)]
async fn equal_keys_share_an_item() {
    let (mut batch, mut arrived) = scripted(&by_digit().max_size(3));
    let futures = [1, 11, 2, 21, 12].map(|item| call(&mut batch, item));
    settle().await;
    assert!(arrived.try_recv().is_err(), "two items are not a full batch");
    let last = call(&mut batch, 3);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2, 3]);
    for (future, expected) in futures.into_iter().zip(["1", "1", "2", "1", "2"]) {
        assert_eq!(future.await.unwrap(), expected);
    }
    assert_eq!(last.await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn sent_item_is_not_shared() {
    let (mut batch, mut arrived) = scripted(&by_digit().max_size(1).max_concurrency(2));
    let first = call(&mut batch, 1);
    let in_flight = next_batch(&mut arrived).await;
    let second = call(&mut batch, 11);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [11]);
    assert_eq!(second.await.unwrap(), "11");
    in_flight.succeed();
    assert_eq!(first.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn failures_are_shared() {
    let (mut batch, mut arrived) = scripted(&by_digit());
    let both = [call(&mut batch, 1), call(&mut batch, 11)];
    batch.flush();
    next_batch(&mut arrived).await.fail("fails");
    for future in both {
        assert!(future.await.unwrap_err().is_service());
    }
    let both = [call(&mut batch, 1), call(&mut batch, 11)];
    batch.flush();
    next_batch(&mut arrived).await.respond.send(Ok(vec![])).unwrap();
    for future in both {
        assert!(future.await.unwrap_err().is_length_mismatch());
    }
}

#[tokio::test(start_paused = true)]
async fn item_stays_while_a_caller_waits() {
    let (mut batch, mut arrived) = scripted(&by_digit().max_size(2));
    let first = call(&mut batch, 1);
    let second = call(&mut batch, 11);
    drop(first);
    settle().await;
    let other = call(&mut batch, 2);
    // The item of the first caller is sent.
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2]);
    assert_eq!((second.await.unwrap(), other.await.unwrap()), ("1".into(), "2".into()));
    // A new caller keeps an abandoned item that is still queued.
    drop([call(&mut batch, 1), call(&mut batch, 11)]);
    let futures = [call(&mut batch, 2), call(&mut batch, 21)];
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2]);
    for (future, expected) in futures.into_iter().zip(["2", "1"]) {
        assert_eq!(future.await.unwrap(), expected);
    }
    // An item without callers is removed together with its key.
    drop([call(&mut batch, 1), call(&mut batch, 11)]);
    batch.flush();
    settle().await;
    let futures = [call(&mut batch, 2), call(&mut batch, 21)];
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2, 21]);
    for (future, expected) in futures.into_iter().zip(["2", "21"]) {
        assert_eq!(future.await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn delay_counts_from_the_first_caller() {
    let (mut batch, mut arrived) = scripted(&by_digit());
    let start = clock();
    let _first = call(&mut batch, 1);
    tokio::time::sleep(3 * SECOND).await;
    let _second = call(&mut batch, 11);
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn sharing_callers_fill_and_send_the_queue() {
    // Without a delay, only a full batch is sent.
    let (mut batch, mut arrived) =
        scripted(&by_digit().max_size(3).max_queued(4).max_delay(Duration::MAX));
    let futures: Vec<_> = [1, 11, 21].map(|item| call(&mut batch, item)).into();
    settle().await;
    assert!(arrived.try_recv().is_err());
    let last = call(&mut batch, 31);
    let mut more = batch.clone();
    let mut waits = std::pin::pin!(more.ready());
    assert!(poll_once(waits.as_mut()).is_pending(), "the queue is not full");
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1]);
    for future in futures.into_iter().chain([last]) {
        assert_eq!(future.await.unwrap(), "1");
    }
    let future = soon(waits).await.unwrap().call(41);
    batch.flush();
    assert_eq!(next_batch(&mut arrived).await.succeed(), [41]);
    assert_eq!(future.await.unwrap(), "41");
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_sharing_callers() {
    let (mut batch, mut arrived) = scripted(&by_digit());
    let futures = [1, 11, 2, 21].map(|item| call(&mut batch, item));
    let drained = batch.drain();
    assert!(
        batch.call(31).await.unwrap_err().is_closed(),
        "the call shares an item of a drained queue"
    );
    assert_eq!(next_batch(&mut arrived).await.succeed(), [1, 2]);
    soon(drained).await;
    for (future, expected) in futures.into_iter().zip(["1", "1", "2", "1"]) {
        assert_eq!(future.await.unwrap(), expected);
    }
}

/// A result that counts its clones, and panics at the second one.
struct CloneOnce(Arc<AtomicUsize>);

impl Clone for CloneOnce {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) == 0, "a second clone");
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_clone_fails_one_caller() {
    let clones = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&clones);
    let service = service_fn(move |items: Vec<u32>| {
        let results = items.iter().map(|_| CloneOnce(Arc::clone(&count))).collect::<Vec<_>>();
        ready(Ok::<_, Infallible>(results))
    });
    let mut batch = by_digit().layer(service);
    let mut call = |item| now(batch.ready()).unwrap().call(item);
    let futures = [1, 11, 21, 2].map(&mut call);
    batch.flush();
    let mut outcomes = Vec::new();
    for future in futures {
        outcomes.push(soon(future).await.map_or_else(|error| error.is_panic(), |_| false));
    }
    assert_eq!(outcomes, [false, true, false, false]);
    assert_eq!(clones.load(Ordering::SeqCst), 2);
    // A single caller gets the result itself.
    let lone = now(batch.ready()).unwrap().call(3);
    batch.flush();
    assert!(soon(lone).await.is_ok());
    assert_eq!(clones.load(Ordering::SeqCst), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each caller that stays gets a result of its key, no batch has a key twice or exceeds its bounds,
    /// and the drain ends.
    #[test]
    fn callers_get_results_of_their_keys(
        items in prop::collection::vec((0..40_u32, any::<bool>()), 0..60),
        size in 1..5_usize,
        weight in 1..30_usize,
        idle in any::<bool>(),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async move {
            let batches = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&batches);
            let service = service_fn(move |items: Vec<u32>| {
                seen.lock().unwrap().push(items.clone());
                ready(Ok::<_, Infallible>(items))
            });
            let layer = by_digit().max_size(size).max_queued(100).max_weight(weight, |item| *item as usize);
            let layer = if idle { layer.send_when_idle() } else { layer };
            let mut batch = layer.layer(service);
            let mut futures = Vec::new();
            for (item, leaves) in items {
                let future = now(batch.ready()).unwrap().call(item);
                if leaves {
                    drop(future);
                    settle().await;
                } else {
                    futures.push((item, future));
                }
            }
            soon(batch.drain()).await;
            for (item, future) in futures {
                assert_eq!(soon(future).await.unwrap() % 10, item % 10);
            }
            for items in batches.lock().unwrap().iter() {
                assert!((1..=size).contains(&items.len()));
                assert!(items.len() == 1 || items.iter().sum::<u32>() as usize <= weight);
                let mut digits: Vec<_> = items.iter().map(|item| item % 10).collect();
                digits.sort_unstable();
                digits.dedup();
                assert_eq!(digits.len(), items.len());
            }
        });
    }
}
