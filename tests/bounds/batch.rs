//! Items that wait, and those of batches under way.

use std::convert::Infallible;
use std::future::pending;

use tower::{Layer, Service, service_fn};
use tower_kit::KIB;
use tower_kit::batch::{Batch, BatchLayer};

use super::adversary::settled;
use super::{alone, held};

type Item = Vec<u8>;

const SIZE: usize = 16 * 1024;

/// An item, and what the queue takes for it and its caller.
const EACH: u64 = SIZE as u64 + KIB;

/// Never returns a result.
async fn hangs(batch: Vec<Item>) -> Result<Vec<()>, Infallible> {
    pending::<()>().await;
    drop(batch);
    Ok(Vec::new())
}

/// Calls `batch` so many times, waits until the worker has done what it can, and returns what is
/// then held. The callers stay, or leave at once.
async fn flood(batch: &mut Batch<Item, ()>, calls: usize, stay: bool) -> u64 {
    let before = held();
    let mut callers = Vec::with_capacity(calls);
    let own = held() - before;
    for number in 0..calls {
        let mut item = vec![0; SIZE];
        item[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let answer = batch.call(item);
        if stay {
            callers.push(answer);
        }
        // The worker gets a turn.
        if number % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    settled().await.saturating_sub(before + own)
}

#[test]
fn queue_and_batches_under_way_are_bounded() {
    for (concurrency, queue) in [(1, 1_000), (4, 1_000), (1, 10)] {
        alone(async {
            let layer = BatchLayer::new().max_concurrency(concurrency).max_queued(queue);
            let mut batch = layer.layer(service_fn(hangs));
            let taken = flood(&mut batch, 4_000, true).await;
            let items = (queue.max(100) + 100 * concurrency) as u64;
            assert!(taken <= items * EACH, "{taken} for {concurrency} batches");
            assert!(taken >= items * SIZE as u64, "{taken} for {concurrency} batches: it is used");
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
        assert!(taken <= 1_100 * EACH, "{taken} with items that are kept");
        assert!(taken >= 1_100 * SIZE as u64, "{taken}: it is used");
    });
}

#[test]
fn a_shared_item_is_kept_once() {
    alone(async {
        let layer = BatchLayer::new().dedupe_by(|_: &Item| 0_u8);
        let mut batch = layer.layer(service_fn(hangs));
        let taken = flood(&mut batch, 4_000, true).await;
        // A full queue of callers is sent; then it fills again.
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
