//! Counts what Redis did not do.

use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use super::super::super::counters::count_named;
use crate::clock;
use crate::metrics::RefreshingHandle;
use crate::metrics::{Metrics, Name};

#[derive(Debug)]
pub(super) struct Tally {
    metrics: Metrics,
    errors: OnceLock<RefreshingHandle<[Counter; REASONS.len()]>>,
}

impl Tally {
    pub(super) const fn new(metrics: Metrics) -> Self {
        Self { metrics, errors: OnceLock::new() }
    }

    /// Counts what Redis did not do: one of [`REASONS`].
    pub(super) fn failed(&self, reason: &'static str) {
        let now = clock::now();
        // All at once, so that each is there, at 0, before it is counted.
        let register = || {
            REASONS.map(|reason| {
                self.metrics.counter(ERRORS, vec![Label::from_static_parts("reason", reason)])
            })
        };
        let errors =
            self.errors.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        count_named(&REASONS, &errors.handle, reason);
    }

    /// Whether commands are withheld.
    pub(super) fn open(&self, open: bool) {
        self.set(OPEN, open);
    }

    /// Whether it is known what was purged.
    pub(super) fn synced(&self, is: bool) {
        self.set(IN_STEP, is);
    }

    fn set(&self, name: Name, is: bool) {
        self.metrics.gauge(name, Vec::new()).set(f64::from(u8::from(is)));
    }
}

const REASONS: [&str; 8] =
    ["timeout", "connection", "refused", "busy", "damaged", "version", "too-large", "breaker"];

const ERRORS: Name = Name::new(
    "http_cache_redis_errors_total",
    Unit::Count,
    "Commands that Redis did not do, that it was not sent, or whose reply was of no use.",
);
const OPEN: Name = Name::new(
    "http_cache_redis_breaker_open",
    Unit::Count,
    "Whether Redis is not asked, since it did not answer.",
);
const IN_STEP: Name = Name::new(
    "http_cache_redis_in_step",
    Unit::Count,
    "Whether it is known what other processes have purged.",
);
