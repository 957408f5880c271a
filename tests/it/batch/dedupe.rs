//! Callers that share an item, since its key is that of theirs.

use std::convert::Infallible;
use std::future::ready;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::batch::{Batch, BatchLayer, Dedupe};

use super::{Arrived, SECOND, clock, next, put, settle};
use crate::support::{now, poll_once, soon};

/// Items are equal that have the same last digit.
fn digits() -> BatchLayer<u32, Dedupe> {
    BatchLayer::new().dedupe_by(|item: &u32| item % 10)
}

fn scripted(
    layer: &BatchLayer<u32, Dedupe>,
) -> (Batch<u32, String>, mpsc::UnboundedReceiver<Arrived>) {
    let (sender, arrived) = mpsc::unbounded_channel();
    let service = service_fn(move |items| {
        let (answer, answered) = oneshot::channel();
        sender.send(Arrived { items, answer }).unwrap();
        async move { answered.await.unwrap() }
    });
    (layer.layer(service), arrived)
}

#[tokio::test(start_paused = true)]
async fn callers_with_an_equal_key_share_one_item() {
    let (mut batch, mut arrived) = scripted(&digits().max_size(3));
    let answers = [1, 11, 2, 21, 12].map(|item| put(&mut batch, item));
    settle().await;
    assert!(arrived.try_recv().is_err(), "they are two items");
    let last = put(&mut batch, 3);
    assert_eq!(next(&mut arrived).await.well(), [1, 2, 3]);
    for (answer, expected) in answers.into_iter().zip(["1", "1", "2", "1", "2"]) {
        assert_eq!(answer.await.unwrap(), expected);
    }
    assert_eq!(last.await.unwrap(), "3");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_sent_is_not_shared() {
    let (mut batch, mut arrived) = scripted(&digits().max_size(1).max_concurrency(2));
    let first = put(&mut batch, 1);
    let under_way = next(&mut arrived).await;
    let second = put(&mut batch, 11);
    assert_eq!(next(&mut arrived).await.well(), [11]);
    assert_eq!(second.await.unwrap(), "11");
    under_way.well();
    assert_eq!(first.await.unwrap(), "1");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_too() {
    let (mut batch, mut arrived) = scripted(&digits());
    let both = [put(&mut batch, 1), put(&mut batch, 11)];
    batch.flush();
    next(&mut arrived).await.answer.send(Err(std::io::Error::other("fails"))).unwrap();
    for answer in both {
        assert!(answer.await.unwrap_err().is_service());
    }
    let both = [put(&mut batch, 1), put(&mut batch, 11)];
    batch.flush();
    next(&mut arrived).await.answer.send(Ok(vec![])).unwrap();
    for answer in both {
        assert!(answer.await.unwrap_err().is_length_mismatch());
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_stays_while_one_of_its_callers_waits() {
    let (mut batch, mut arrived) = scripted(&digits().max_size(2));
    let first = put(&mut batch, 1);
    let second = put(&mut batch, 11);
    drop(first);
    settle().await;
    let other = put(&mut batch, 2);
    // It is the first caller's item that is sent.
    assert_eq!(next(&mut arrived).await.well(), [1, 2]);
    assert_eq!((second.await.unwrap(), other.await.unwrap()), ("1".into(), "2".into()));
    // A caller that comes before it is removed keeps it.
    drop([put(&mut batch, 1), put(&mut batch, 11)]);
    let answers = [put(&mut batch, 2), put(&mut batch, 21)];
    assert_eq!(next(&mut arrived).await.well(), [1, 2]);
    for (answer, expected) in answers.into_iter().zip(["2", "1"]) {
        assert_eq!(answer.await.unwrap(), expected);
    }
    // Without callers it is removed, and its key with it.
    drop([put(&mut batch, 1), put(&mut batch, 11)]);
    batch.flush();
    settle().await;
    let answers = [put(&mut batch, 2), put(&mut batch, 21)];
    assert_eq!(next(&mut arrived).await.well(), [2, 21]);
    for (answer, expected) in answers.into_iter().zip(["2", "21"]) {
        assert_eq!(answer.await.unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_is_of_the_first_caller() {
    let (mut batch, mut arrived) = scripted(&digits());
    let start = clock();
    let _first = put(&mut batch, 1);
    tokio::time::sleep(3 * SECOND).await;
    let _second = put(&mut batch, 11);
    assert_eq!(next(&mut arrived).await.well(), [1]);
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn callers_that_share_fill_the_queue_and_send_it() {
    // A delay without end: only a full batch is sent.
    let (mut batch, mut arrived) = scripted(&digits().max_size(3).max_queued(4).max_delay(Duration::MAX));
    let answers: Vec<_> = [1, 11, 21].map(|item| put(&mut batch, item)).into();
    settle().await;
    assert!(arrived.try_recv().is_err());
    let last = put(&mut batch, 31);
    let mut more = batch.clone();
    let mut waits = std::pin::pin!(more.ready());
    assert!(poll_once(waits.as_mut()).is_pending(), "four callers are as many as may wait");
    assert_eq!(next(&mut arrived).await.well(), [1]);
    for answer in answers.into_iter().chain([last]) {
        assert_eq!(answer.await.unwrap(), "1");
    }
    let answer = soon(waits).await.unwrap().call(41);
    batch.flush();
    assert_eq!(next(&mut arrived).await.well(), [41]);
    assert_eq!(answer.await.unwrap(), "41");
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_all_who_share() {
    let (mut batch, mut arrived) = scripted(&digits());
    let answers = [1, 11, 2, 21].map(|item| put(&mut batch, item));
    let drained = batch.drain();
    assert!(batch.call(31).await.unwrap_err().is_closed(), "it does not join one that waits");
    assert_eq!(next(&mut arrived).await.well(), [1, 2]);
    soon(drained).await;
    for (answer, expected) in answers.into_iter().zip(["1", "1", "2", "1"]) {
        assert_eq!(answer.await.unwrap(), expected);
    }
}

/// A result that counts its copies, and does not let itself be copied more than once.
struct Result(Arc<AtomicUsize>);

impl Clone for Result {
    fn clone(&self) -> Self {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) == 0, "no more copies");
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_panics_is_its_own_callers() {
    let copies = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&copies);
    let service = service_fn(move |items: Vec<u32>| {
        let results = items.iter().map(|_| Result(Arc::clone(&count))).collect::<Vec<_>>();
        ready(Ok::<_, Infallible>(results))
    });
    let mut batch = digits().layer(service);
    let mut put = |item| now(batch.ready()).unwrap().call(item);
    let answers = [1, 11, 21, 2].map(&mut put);
    batch.flush();
    let mut outcomes = Vec::new();
    for answer in answers {
        outcomes.push(soon(answer).await.map_or_else(|error| error.is_panic(), |_| false));
    }
    assert_eq!(outcomes, [false, true, false, false]);
    assert_eq!(copies.load(Ordering::SeqCst), 2);
    // A lone caller gets the result itself.
    let lone = now(batch.ready()).unwrap().call(3);
    batch.flush();
    assert!(soon(lone).await.is_ok());
    assert_eq!(copies.load(Ordering::SeqCst), 2);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever callers do: each that waits gets a result of its own key, no key is twice in a batch,
    /// no batch is over its bounds, and a drain ends.
    #[test]
    fn each_caller_gets_a_result_of_its_key(
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
            let layer = digits().max_size(size).max_queued(100).max_weight(weight, |item| *item as usize);
            let layer = if idle { layer.send_when_idle() } else { layer };
            let mut batch = layer.layer(service);
            let mut answers = Vec::new();
            for (item, leaves) in items {
                let answer = now(batch.ready()).unwrap().call(item);
                if leaves {
                    drop(answer);
                    settle().await;
                } else {
                    answers.push((item, answer));
                }
            }
            soon(batch.drain()).await;
            for (item, answer) in answers {
                assert_eq!(soon(answer).await.unwrap() % 10, item % 10);
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
