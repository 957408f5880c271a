//! A random story of calls, departures, flushes and responses.

use proptest::prelude::*;
use tokio::runtime::Builder;
use tower_kit::batch::BatchLayer;

use super::{Arrived, SECOND, call, scripted, settle};
use crate::support::soon;

#[derive(Clone, Debug)]
enum Step {
    Call,
    Leave,
    Flush,
    Respond { ok: bool },
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Call),
        1 => Just(Step::Leave),
        1 => Just(Step::Flush),
        2 => any::<bool>().prop_map(|ok| Step::Respond { ok }),
        1 => (0..7_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each item arrives exactly once, in order, and gets its own result. Without `keep_abandoned` the
    /// item of a caller that has left may be skipped.
    #[test]
    fn items_are_not_lost_doubled_or_reordered(
        size in 1..5_usize,
        concurrency in 1..4_usize,
        keep in any::<bool>(),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(play(size, concurrency, keep, steps));
    }
}

async fn play(size: usize, concurrency: usize, keep: bool, steps: Vec<Step>) {
    let layer = BatchLayer::new().max_size(size).max_concurrency(concurrency).max_queued(100);
    let layer = if keep { layer.keep_abandoned() } else { layer };
    let mut abandoned = Vec::new();
    let (mut batch, mut arrived) = scripted(&layer);
    let (mut futures, mut in_flight, mut order) = (Vec::new(), Vec::new(), Vec::new());
    let mut failed = Vec::new();
    let mut count = 0;
    for step in steps {
        match step {
            Step::Call => {
                futures.push((count, call(&mut batch, count)));
                count += 1;
            }
            Step::Leave => abandoned.extend(futures.pop().map(|(item, _)| item)),
            Step::Flush => batch.flush(),
            Step::Respond { ok } => {
                if in_flight.is_empty() {
                    continue;
                }
                let next: Arrived = in_flight.remove(0);
                if ok {
                    next.succeed();
                } else {
                    failed.extend_from_slice(&next.items);
                    next.fail("fails");
                }
            }
            Step::Wait(seconds) => tokio::time::sleep(seconds * SECOND).await,
        }
        settle().await;
        while let Ok(next) = arrived.try_recv() {
            assert!((1..=size).contains(&next.items.len()));
            order.extend_from_slice(&next.items);
            in_flight.push(next);
            assert!(in_flight.len() <= concurrency);
        }
    }
    drop(batch);
    for next in in_flight {
        next.succeed();
    }
    while let Some(next) = soon(arrived.recv()).await {
        order.extend(next.succeed());
    }
    let is_sent = |item: &u32| keep || order.contains(item) || !abandoned.contains(item);
    assert_eq!(order, (0..count).filter(is_sent).collect::<Vec<_>>());
    for (item, future) in futures {
        match soon(future).await {
            Ok(result) => assert_eq!(result, item.to_string()),
            Err(error) => assert!(error.is_service() && failed.contains(&item)),
        }
    }
}
