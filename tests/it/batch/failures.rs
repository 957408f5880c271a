//! Failures of batches and of single items.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::io;

use tower::{Layer, service_fn};
use tower_kit::batch::{Batch, BatchLayer};

use super::{call, next_batch, scripted};

#[tokio::test(start_paused = true)]
async fn failure_stays_in_its_batch() {
    let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2).max_concurrency(2));
    let mut futures: Vec<_> = (0..6).map(|item| call(&mut batch, item)).collect();
    let failing = next_batch(&mut arrived).await;
    assert_eq!(next_batch(&mut arrived).await.succeed(), [2, 3]);
    failing.fail("the disk is full");
    assert_eq!(next_batch(&mut arrived).await.succeed(), [4, 5]);
    for (future, item) in futures.drain(2..).zip(2..) {
        assert_eq!(future.await.unwrap(), item.to_string());
    }
    for future in futures {
        let error = future.await.unwrap_err();
        assert!(error.is_service() && !error.is_panic() && !error.is_length_mismatch());
        assert_eq!(error.to_string(), "the service failed to process the batch");
        let source = error.source().and_then(|it| it.downcast_ref::<io::Error>()).unwrap();
        assert_eq!(source.to_string(), "the disk is full");
    }
}

#[tokio::test(start_paused = true)]
async fn panic_stays_in_its_batch() {
    let service = service_fn(|items: Vec<u32>| {
        assert!(items[0] != 1, "one in the call");
        async move {
            assert!(items[0] != 2, "one in the {}", "future");
            Ok::<_, Infallible>(items)
        }
    });
    let mut batch = BatchLayer::new().max_size(1).layer(service);
    let futures: Vec<_> = (0..4).map(|item| call(&mut batch, item)).collect();
    let mut said = Vec::new();
    for future in futures {
        said.push(future.await.map_err(|error| {
            assert!(error.is_panic());
            error.to_string()
        }));
    }
    let panicked = |text| Err(format!("the service panicked while it processed the batch: {text}"));
    let expected = [Ok(0), panicked("one in the call"), panicked("one in the future"), Ok(3)];
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn length_mismatch_fails_each_item() {
    for given in [0, 1, 3] {
        let (mut batch, mut arrived) = scripted(&BatchLayer::new().max_size(2));
        let futures = [call(&mut batch, 0), call(&mut batch, 1)];
        let batch = next_batch(&mut arrived).await;
        batch.respond.send(Ok(vec![String::new(); given])).unwrap();
        for future in futures {
            let error = future.await.unwrap_err();
            assert!(error.is_length_mismatch());
            let expected = format!("the service returned {given} results for a batch of 2 items");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn items_can_fail_one_by_one() {
    let service = service_fn(|items: Vec<u32>| {
        let even = |item: u32| if item % 2 == 0 { Ok(item) } else { Err("odd") };
        ready(Ok::<_, Infallible>(items.into_iter().map(even).collect()))
    });
    let mut batch: Batch<u32, Result<u32, &str>> = BatchLayer::new().max_size(2).layer(service);
    let (one, two) = (call(&mut batch, 1), call(&mut batch, 2));
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Err("odd"), Ok(2)));
}
