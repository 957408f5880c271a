use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use crate::cache::counters::count_named;
use crate::clock;
use crate::metrics::RefreshingHandle;
use crate::metrics::{Metrics, Name};

/// Counts what the service did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    metrics: Metrics,
    handles: OnceLock<RefreshingHandle<Handles>>,
}

/// All of them are registered together, so that each label is there, at 0, before it is counted.
#[derive(Debug)]
struct Handles {
    requests: [Counter; OUTCOMES.len()],
    errors: [Counter; ERRORS_OF.len()],
}

/// How a value was come by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Hit,
    Stale,
    Miss,
    Collapsed,
}

impl Tally {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, handles: OnceLock::new() }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.with(|handles| handles.requests[outcome as usize].increment(1));
    }

    /// Counts what failed: one of [`ERRORS_OF`].
    pub(super) fn failed(&self, operation: &'static str) {
        self.with(|handles| count_named(&ERRORS_OF, &handles.errors, operation));
    }

    fn with(&self, record: impl FnOnce(&Handles)) {
        let now = clock::now();
        let labeled = |name, label, value| {
            self.metrics.counter(name, vec![Label::from_static_parts(label, value)])
        };
        let register = || Handles {
            requests: OUTCOMES.map(|outcome| labeled(REQUESTS, "outcome", outcome)),
            errors: ERRORS_OF.map(|operation| labeled(ERRORS, "operation", operation)),
        };
        let handles =
            self.handles.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        record(&handles.handle);
    }
}

/// By [`Outcome`].
const OUTCOMES: [&str; 4] = ["hit", "stale", "miss", "collapsed"];

/// What can fail, or is not done for want of a place or of time.
const ERRORS_OF: [&str; 12] = [
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

const REQUESTS: Name = Name::new(
    "value_cache_requests_total",
    Unit::Count,
    "Values that the cache was asked for, by how they were come by.",
);
const ERRORS: Name = Name::new(
    "value_cache_errors_total",
    Unit::Count,
    "What failed while values were looked up, kept or dropped.",
);
