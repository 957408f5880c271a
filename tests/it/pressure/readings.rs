//! The times at which memory is read, and failed readings.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

use http::Request;
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::pressure::{Level, MemoryUsage, PressureLayer};

use super::{
    BROKEN, ERRORS, MILLISECOND, Memory, RATIO, REJECTED, SECOND, get, hello, recording,
    while_called,
};
use crate::support::{Metrics, empty, now};

#[tokio::test(start_paused = true)]
async fn requests_read_once_per_interval() {
    let memory = Memory::new(500);
    let layer = memory.layer();
    assert_eq!(memory.reads(), 0);
    for seconds in 1..4 {
        for _ in 0..100 {
            assert_eq!(get(&layer, "/").await, 200);
        }
        assert_eq!(memory.reads(), seconds);
        advance(SECOND - MILLISECOND).await;
        assert_eq!(get(&layer, "/").await, 200);
        assert_eq!(memory.reads(), seconds, "the interval is not over");
        advance(MILLISECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn interval_can_be_set_down_to_10_ms() {
    let memory = Memory::new(500);
    let minute = memory.layer().interval(60 * SECOND);
    let endless = memory.layer().interval(Duration::MAX);
    let shortest = memory.layer().interval(Duration::ZERO);
    for (layer, wait, reads) in [
        (&minute, Duration::ZERO, 1),
        (&endless, Duration::ZERO, 2),
        (&shortest, Duration::ZERO, 3),
        (&minute, 59 * SECOND, 3),
        (&minute, SECOND, 4),
        (&endless, 1_000_000 * SECOND, 4),
        (&shortest, Duration::ZERO, 5),
        (&shortest, 9 * MILLISECOND, 5),
        (&shortest, MILLISECOND, 6),
    ] {
        advance(wait).await;
        for _ in 0..10 {
            assert_eq!(get(layer, "/").await, 200);
        }
        assert_eq!(memory.reads(), reads, "{layer:?} after {wait:?}");
    }
}

#[test]
fn one_of_concurrent_requests_reads() {
    let memory = Memory::new(500);
    let layer = memory.layer().interval(3_600 * SECOND);
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut service = layer.layer(service_fn(hello));
                barrier.wait();
                for _ in 0..1_000 {
                    let request = Request::new(empty());
                    assert_eq!(now(service.call(request)).unwrap().status(), 200);
                }
            });
        }
    });
    assert_eq!(memory.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn requests_do_not_wait_for_a_slow_reading() {
    let reads = Arc::new(AtomicUsize::new(0));
    let own = Arc::new(Mutex::new(None));
    let (count, used) = (Arc::clone(&reads), Arc::clone(&own));
    let layer = PressureLayer::new().memory_source(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let layer = used.lock().unwrap().take();
        while_called(layer.as_ref(), 3 * SECOND, 200);
        Ok(MemoryUsage::new(95, 100))
    });
    *own.lock().unwrap() = Some(layer.clone());
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(reads.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn watch_reads_without_requests() {
    let memory = Memory::new(500);
    let (layer, events) = recording(memory.layer());
    let mut watch = pin!(layer.watch());
    assert_eq!(memory.reads(), 0, "a future does nothing before it is polled");
    let mut wait = async |time| {
        let waited = tokio::time::timeout(time, watch.as_mut()).await;
        assert!(waited.is_err(), "`watch` has completed");
    };
    wait(SECOND / 2).await;
    assert_eq!(memory.reads(), 1);
    wait(10 * SECOND).await;
    assert_eq!(memory.reads(), 11);
    memory.set(850);
    wait(SECOND).await;
    assert_eq!(events(), [(Level::Normal, Level::High, 850)]);
    // Requests and `watch` share the interval.
    let reads = memory.reads();
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    wait(SECOND / 10).await;
    assert_eq!(memory.reads(), reads + 1);
    memory.set(950);
    wait(SECOND).await;
    let reads = memory.reads();
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(memory.reads(), reads);
}

#[tokio::test(start_paused = true)]
async fn clones_share_readings() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    let service = layer.clone().layer(service_fn(hello));
    for service in [service.clone(), service, layer.layer(service_fn(hello))] {
        let response = service.oneshot(Request::new(empty())).await.unwrap();
        assert_eq!(response.status(), 503);
    }
    assert_eq!(memory.reads(), 1);
    let changed = layer.clone().shed_duration(Duration::ZERO);
    assert_eq!((get(&layer, "/").await, get(&changed, "/").await), (503, 200));
    assert_eq!(memory.reads(), 2, "a changed layer has readings of its own");
}

#[tokio::test(start_paused = true)]
async fn two_layers_share_nothing() {
    let metrics = [Metrics::new(), Metrics::new()];
    let full = Memory::new(950).layer().recorder(metrics[0].recorder());
    let free = Memory::new(100).layer().recorder(metrics[1].recorder());
    assert_eq!((get(&full, "/").await, get(&free, "/").await), (503, 200));
    assert_eq!((metrics[0].gauge(RATIO), metrics[1].gauge(RATIO)), (0.95, 0.1));
    assert_eq!((metrics[0].counted(REJECTED, &[]), metrics[1].counted(REJECTED, &[])), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn failed_reading_is_counted_and_changes_nothing() {
    let memory = Memory::new(BROKEN);
    let metrics = Metrics::new();
    let (layer, events) = recording(memory.layer().recorder(metrics.recorder()));
    assert_eq!(layer.memory_usage().unwrap_err().to_string(), "broken");
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[("operation", "read")]), 1);
    assert!(metrics.gauges(RATIO).is_empty(), "there is no reading yet");
    assert!(format!("{layer:?}").contains("failed_readings: 1"), "{layer:?}");
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    memory.set(BROKEN);
    // The shedding period ends, and no other one starts.
    for (seconds, expected) in [(1, 503), (8, 503), (1, 200), (10, 200), (100, 200)] {
        advance(seconds * SECOND).await;
        assert_eq!(get(&layer, "/").await, expected);
    }
    assert_eq!(events(), [(Level::Normal, Level::Critical, 950)]);
    memory.set(950);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    assert!(format!("{layer:?}").contains("level: Critical"), "{layer:?}");
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_source_is_a_failed_reading() {
    let metrics = Metrics::new();
    let layer = PressureLayer::new().recorder(metrics.recorder());
    let layer = layer.memory_source(|| panic!("no reading"));
    for _ in 0..3 {
        assert_eq!(get(&layer, "/").await, 200);
        advance(SECOND).await;
    }
    assert_eq!(metrics.counted(ERRORS, &[("operation", "read")]), 3);
}

#[tokio::test(start_paused = true)]
async fn lower_one_of_two_limits_applies() {
    let memory = Memory::new(500);
    for (limit, expected, status) in [(0, 1_000, 200), (510, 510, 503), (5_000, 1_000, 200)] {
        let layer = memory.layer().memory_limit(limit);
        assert_eq!(layer.memory_usage().unwrap(), MemoryUsage::new(500, expected), "{limit}");
        assert_eq!(get(&layer, "/").await, status);
    }
}

#[tokio::test]
async fn system_can_be_read() {
    let layer = PressureLayer::new();
    let usage = layer.memory_usage().unwrap();
    assert!(usage.used() > 0 && usage.used() < usage.limit(), "{usage:?}");
    let limit = |bytes| layer.clone().memory_limit(bytes).memory_usage().unwrap().limit();
    assert_eq!((limit(u64::MAX), limit(4_096)), (usage.limit(), 4_096));
    let tight = layer.clone().memory_limit(4_096);
    assert!(tight.memory_usage().unwrap().ratio() > 1.0);
    assert_eq!(get(&tight, "/").await, 503);
}
