use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use crate::cache::counters::count_named;
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The metrics of a cache of values.
#[derive(Debug, Default)]
pub(super) struct ValueMetrics {
    metrics: Metrics,
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
}

impl ValueMetrics {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, handles: OnceLock::new() }
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
            self.metrics.counter(name, vec![Label::from_static_parts(label, value)])
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

/// The labels of each [`Outcome`].
const OUTCOMES: [&str; 4] = ["hit", "stale", "miss", "collapsed"];

/// The operations that can fail, time out, or exceed a maximum.
const OPERATIONS: [&str; 12] = [
    "get",
    "put",
    "remove",
    "purge",
    "lease",
    "encode",
    "decode",
    "too-large",
    "refresh",
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
