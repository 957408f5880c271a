//! Queued items, and items in flight.

use std::convert::Infallible;
use std::future::pending;

use tower::{Layer, Service, service_fn};
use tower_kit::KIB;
use tower_kit::batch::{Batch, BatchLayer};

use super::adversary::settled;
use super::{alone, held};

type Item = Vec<u8>;

const SIZE: usize = 16 * 1024;

/// The bytes of an item, and of its entry in the queue.
const EACH: u64 = SIZE as u64 + KIB;

/// A service that holds its batch and never responds.
async fn hangs(batch: Vec<Item>) -> Result<Vec<()>, Infallible> {
    pending::<()>().await;
    drop(batch);
    Ok(Vec::new())
}

/// Calls `batch` until the worker can do no more, and returns the bytes that are then allocated. The
/// callers stay, or drop their future at once.
async fn flood(batch: &mut Batch<Item, ()>, calls: usize, stay: bool) -> u64 {
    let before = held();
    let mut callers = Vec::with_capacity(calls);
    let own = held() - before;
    for number in 0..calls {
        let mut item = vec![0; SIZE];
        item[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let future = batch.call(item);
        if stay {
            callers.push(future);
        }
        // Lets the worker run.
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    settled().await.saturating_sub(before + own)
}

#[test]
fn queue_and_batches_in_flight_are_bounded() {
    for (max_concurrency, max_queued) in [(1, 1_000), (4, 1_000), (1, 10)] {
        alone(async {
            let layer = BatchLayer::new().max_concurrency(max_concurrency).max_queued(max_queued);
            let mut batch = layer.layer(service_fn(hangs));
            let taken = flood(&mut batch, 4_000, true).await;
            let items = (max_queued.max(100) + 100 * max_concurrency) as u64;
            assert!(taken <= items * EACH, "{taken} for {max_concurrency} batches");
            assert!(
                taken >= items * SIZE as u64,
                "{taken} for {max_concurrency} batches: the bound is tight"
            );
        });
    }
}

#[test]
fn items_of_abandoned_callers_are_bounded() {
    alone(async {
        let mut batch = BatchLayer::new().layer(service_fn(hangs));
        let taken = flood(&mut batch, 10_000, false).await;
        assert!(taken <= 1_100 * EACH, "{taken}");
    });
    alone(async {
        let mut batch = BatchLayer::new().keep_abandoned().layer(service_fn(hangs));
        let taken = flood(&mut batch, 10_000, false).await;
        assert!(taken <= 1_100 * EACH, "{taken} with abandoned items");
        assert!(taken >= 1_100 * SIZE as u64, "{taken}: the bound is tight");
    });
}

#[test]
fn shared_item_is_held_once() {
    alone(async {
        let layer = BatchLayer::new().dedupe_by(|_: &Item| 0_u8);
        let mut batch = layer.layer(service_fn(hangs));
        let taken = flood(&mut batch, 4_000, true).await;
        // A full queue of callers is sent, and then fills again.
        assert!(taken <= 2 * SIZE as u64 + 2_000 * KIB, "{taken}");
    });
    alone(async {
        // Keys as large as their items.
        let layer = BatchLayer::new().dedupe_by(|item: &Item| item.clone());
        let mut batch = layer.layer(service_fn(hangs));
        let taken = flood(&mut batch, 4_000, true).await;
        assert!(taken <= 2 * 1_100 * EACH, "{taken} with keys");
    });
}

#[test]
fn weight_bounds_a_batch_in_bytes() {
    alone(async {
        let layer = BatchLayer::new().max_weight(4 * SIZE, Vec::len).max_queued(100);
        let mut batch = layer.layer(service_fn(hangs));
        let taken = flood(&mut batch, 2_000, true).await;
        assert!(taken <= 104 * EACH, "{taken}");
    });
}
