//! Levels, shedding periods and callbacks.

use std::sync::{Arc, Mutex};

use tokio::time::advance;
use tower_kit::pressure::{Level, PressureLayer};

use super::{ERRORS, Memory, REJECTED, SECOND, get, recording, while_called};
use crate::support::{Metrics, now};

#[tokio::test(start_paused = true)]
async fn critical_level_sheds_until_usage_falls() {
    let memory = Memory::new(899);
    let (layer, events) = recording(memory.layer());
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(events(), [(Level::Normal, Level::High, 899)]);
    memory.set(900);
    assert_eq!(get(&layer, "/").await, 200, "the next reading is not due");
    // The request that reads memory is shed itself.
    for (per_mille, status) in [(900, 503), (851, 503), (849, 200), (500, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        assert_eq!(get(&layer, "/").await, status, "{per_mille}");
    }
    let levels = [(Level::High, Level::Critical, 900), (Level::Critical, Level::High, 849)];
    assert_eq!(events(), [levels[0], levels[1], (Level::High, Level::Normal, 500)]);
}

#[tokio::test(start_paused = true)]
async fn shedding_and_admitting_periods_alternate() {
    let memory = Memory::new(950);
    // Periods end on time even if the interval is much longer.
    for interval in [SECOND, 3_600 * SECOND] {
        let layer = memory.layer().interval(interval).shed_duration(5 * SECOND);
        let (layer, events) = recording(layer);
        let mut admitted = Vec::new();
        for _ in 0..20 {
            admitted.push(get(&layer, "/").await == 200);
            advance(SECOND).await;
        }
        let (shed, admit) = ([false; 5], [true; 5]);
        assert_eq!(admitted, [shed, admit, shed, admit].concat(), "{interval:?}");
        let again = (Level::Critical, Level::Critical, 950);
        assert_eq!(events(), [(Level::Normal, Level::Critical, 950), again, again]);
    }
}

#[tokio::test(start_paused = true)]
async fn thresholds_can_be_set() {
    let memory = Memory::new(550);
    let (layer, events) = recording(memory.layer().thresholds(0.5, 0.6).unwrap());
    assert_eq!(get(&layer, "/").await, 200);
    memory.set(600);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 503);
    let levels = [(Level::Normal, Level::High, 550), (Level::High, Level::Critical, 600)];
    assert_eq!(events(), levels);
    PressureLayer::new().thresholds(0.9, 0.8).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn watch_only_never_sheds() {
    for first in [true, false] {
        let memory = Memory::new(500);
        let layer = memory.layer().priority(|_| tower_kit::pressure::Priority::Low);
        let layer = if first {
            layer.watch_only().shed_duration(60 * SECOND)
        } else {
            layer.shed_duration(60 * SECOND).watch_only()
        };
        let (layer, events) = recording(layer);
        for used in [500, 850, 950, 1000, 1000, 500] {
            memory.set(used);
            advance(SECOND).await;
            assert_eq!(get(&layer, "/").await, 200, "{used}");
        }
        let levels: Vec<_> = events().into_iter().map(|(_, level, _)| level).collect();
        assert_eq!(levels, [Level::High, Level::Critical, Level::Normal]);
    }
}

#[tokio::test(start_paused = true)]
async fn shedding_ends_while_a_callback_hangs() {
    let own = Arc::new(Mutex::new(None));
    let used = Arc::clone(&own);
    let metrics = Metrics::new();
    let layer = Memory::new(950).layer().recorder(metrics.recorder()).on_pressure(move |_| {
        let layer = used.lock().unwrap().take();
        while_called(layer.as_ref(), 12 * SECOND, 503);
        while_called(layer.as_ref(), 90 * SECOND, 200);
    });
    *own.lock().unwrap() = Some(layer.clone());
    // The request that runs the callback is judged by its time of arrival.
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[]), 0, "an assertion in the callback failed");
}

#[tokio::test(start_paused = true)]
async fn panic_of_a_callback_is_counted() {
    let memory = Memory::new(950);
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder()).on_pressure(|_| panic!("a callback"));
    let (layer, events) = recording(layer);
    assert_eq!(get(&layer, "/").await, 503);
    memory.set(100);
    advance(SECOND).await;
    assert_eq!(get(&layer, "/").await, 200);
    assert_eq!(metrics.counted(ERRORS, &[("operation", "handler")]), 2);
    assert_eq!(events().len(), 2, "the other callbacks are called");
}

#[tokio::test(start_paused = true)]
async fn callbacks_may_use_their_layer() {
    let metrics = Metrics::new();
    let own = Arc::new(Mutex::new(None::<PressureLayer>));
    let used = Arc::clone(&own);
    let layer = Memory::new(950).layer().recorder(metrics.recorder()).on_pressure(move |event| {
        let layer = used.lock().unwrap().clone().unwrap();
        assert_eq!(layer.memory_usage().unwrap().used(), 950);
        assert_eq!((layer.level(), event.level()), (Level::Critical, Level::Critical));
        assert!(format!("{layer:?}").starts_with("PressureLayer"));
        assert_eq!(now(get(&layer, "/")), 503);
    });
    *own.lock().unwrap() = Some(layer.clone());
    assert_eq!(get(&layer, "/").await, 503);
    assert_eq!(metrics.counted(ERRORS, &[]), 0, "an assertion in the callback failed");
    assert_eq!(metrics.counted(REJECTED, &[]), 2);
    *own.lock().unwrap() = None;
}

#[tokio::test(start_paused = true)]
async fn level_reads_memory_without_requests() {
    let memory = Memory::new(950);
    let layer = memory.layer();
    assert_eq!(memory.reads(), 0);
    assert_eq!((layer.level(), memory.reads()), (Level::Critical, 1));
    assert_eq!((layer.level(), memory.reads()), (Level::Critical, 1));
    // An admitting period does not change the level, and neither do failed readings.
    advance(10 * SECOND).await;
    assert_eq!((layer.level(), get(&layer, "/").await), (Level::Critical, 200));
    memory.set(super::BROKEN);
    advance(SECOND).await;
    assert_eq!(layer.level(), Level::Critical);
    for (per_mille, level) in [(100, Level::Normal), (850, Level::High), (700, Level::Normal)] {
        memory.set(per_mille);
        advance(SECOND).await;
        assert_eq!(layer.level(), level);
    }
}
