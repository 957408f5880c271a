use std::sync::{Arc, OnceLock};

use metrics::{Counter, Label, Recorder, SharedString, Unit};

use crate::cache::cache_status::CacheName;
use crate::cache::counters::count_named;
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The metrics of a cache of values.
#[derive(Debug)]
pub(super) struct ValueMetrics {
    metrics: Metrics,
    /// The name of the cache, which tells the caches of a process apart.
    cache: SharedString,
    handles: OnceLock<RefreshingHandle<Handles>>,
}

/// The handles, which are registered together, so that each label exists, at 0, before it is
/// counted.
#[derive(Debug)]
struct Handles {
    requests: [Counter; OUTCOMES.len()],
    errors: [Counter; OPERATIONS.len()],
}

/// The outcome of a lookup.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Hit,
    Stale,
    Miss,
    Collapsed,
    /// The failure of another caller was shared.
    Failed,
}

impl ValueMetrics {
    fn new(metrics: Metrics, cache: SharedString) -> Self {
        Self { metrics, cache, handles: OnceLock::new() }
    }

    /// Counts anew, for a cache with this name.
    pub(super) fn named(&self, cache: SharedString) -> Self {
        Self::new(self.metrics.clone(), cache)
    }

    /// Counts anew, on another recorder.
    pub(super) fn recorded_by(&self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self::new(Metrics::to(recorder), self.cache.clone())
    }

    /// Counts a lookup.
    pub(super) fn count(&self, outcome: Outcome) {
        self.with(|handles| handles.requests[outcome as usize].increment(1));
    }

    /// Counts a failure: one of [`OPERATIONS`].
    pub(super) fn failed(&self, operation: &'static str) {
        self.with(|handles| count_named(&OPERATIONS, &handles.errors, operation));
    }

    fn with(&self, record: impl FnOnce(&Handles)) {
        let now = clock::now();
        let labeled = |name, label, value| {
            let labels = vec![
                Label::new("cache", self.cache.clone()),
                Label::from_static_parts(label, value),
            ];
            self.metrics.counter(name, labels)
        };
        let register = || Handles {
            requests: OUTCOMES.map(|outcome| labeled(REQUESTS, "outcome", outcome)),
            errors: OPERATIONS.map(|operation| labeled(ERRORS, "operation", operation)),
        };
        let handles =
            self.handles.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        record(&handles.handle);
    }
}

impl Default for ValueMetrics {
    fn default() -> Self {
        Self::new(Metrics::default(), CacheName::default().label())
    }
}

/// The labels of each [`Outcome`].
const OUTCOMES: [&str; 5] = ["hit", "stale", "miss", "collapsed", "failed"];

/// The operations that can fail, time out, or exceed a maximum.
const OPERATIONS: [&str; 14] = [
    "get",
    "put",
    "remove",
    "purge",
    "lease",
    "encode",
    "decode",
    "too-large",
    "load",
    "load-timeout",
    "recursion",
    "refreshes",
    "puts",
    "wait",
];

const REQUESTS: Name =
    Name::new("value_cache_requests_total", Unit::Count, "Lookups of cached values, by outcome.");
const ERRORS: Name = Name::new(
    "value_cache_errors_total",
    Unit::Count,
    "Failed operations on cached values, by operation.",
);
