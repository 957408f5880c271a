//! The gauge and the counters.

use std::sync::Arc;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::time::advance;

use super::{ERRORS, Memory, RATIO, REJECTED, SECOND, get};
use crate::support::Metrics;

#[tokio::test(start_paused = true)]
async fn gauge_has_the_last_ratio() {
    let memory = Memory::new(250);
    let metrics = Metrics::new();
    let layer = memory.layer().recorder(metrics.recorder()).on_pressure(|_| panic!("a callback"));
    for (per_mille, ratio) in [(250, 0.25), (950, 0.95), (300, 0.3)] {
        memory.set(per_mille);
        advance(SECOND).await;
        get(&layer, "/").await;
        let [(labels, value)] = &metrics.gauges(RATIO)[..] else { panic!("one gauge") };
        assert!(labels.is_empty() && (value - ratio).abs() < 1e-9, "{labels:?} {value}");
    }
    let described = metrics.described();
    for name in [RATIO, REJECTED, ERRORS] {
        assert!(!described[name].1.is_empty(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn counters_start_at_zero() {
    let debugging = DebuggingRecorder::new();
    let snapshotter = debugging.snapshotter();
    let layer = Memory::new(100).layer().recorder(Arc::new(debugging));
    assert_eq!(get(&layer, "/").await, 200);
    let mut counters = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        if value == DebugValue::Counter(0) {
            let labels = key.key().labels().map(|label| label.value());
            counters.push(labels.collect::<Vec<_>>().join(" "));
        }
    }
    counters.sort();
    assert_eq!(counters, ["handler", "pressure memory_critical", "pressure memory_high", "read"]);
}
