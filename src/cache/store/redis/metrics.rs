use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use super::super::super::counters::count_named;
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The metrics of a Redis store.
#[derive(Debug)]
pub(super) struct RedisMetrics {
    metrics: Metrics,
    errors: OnceLock<RefreshingHandle<[Counter; REASONS.len()]>>,
}

impl RedisMetrics {
    pub(super) const fn new(metrics: Metrics) -> Self {
        Self { metrics, errors: OnceLock::new() }
    }

    /// Counts a command that was not performed, by its reason: one of [`REASONS`].
    pub(super) fn failed(&self, reason: &'static str) {
        let now = clock::now();
        // All counters at once, so that each exists, at 0, before it is incremented: Prometheus sees
        // no increase from nothing to 1.
        let register = || {
            REASONS.map(|reason| {
                self.metrics.counter(ERRORS, vec![Label::from_static_parts("reason", reason)])
            })
        };
        let new = || RefreshingHandle::new(register(), now);
        let errors = self.errors.get_or_init(new).get(now, register);
        count_named(&REASONS, &errors.handle, reason);
    }

    /// Sets the gauge of the circuit breaker.
    pub(super) fn set_breaker_open(&self, open: bool) {
        self.set(BREAKER_OPEN, open);
    }

    /// Sets the gauge of the synchronization with other processes.
    pub(super) fn set_synced(&self, synced: bool) {
        self.set(SYNCED, synced);
    }

    /// Counts clients that were replaced. None at all registers the counter.
    pub(super) fn add_replaced_clients(&self, count: u64) {
        self.metrics.counter(REPLACED_CLIENTS, Vec::new()).increment(count);
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
    "Redis commands that failed, were not sent, or got an unusable reply, by reason.",
);
const BREAKER_OPEN: Name = Name::new(
    "http_cache_redis_breaker_open",
    Unit::Count,
    "1 while no commands are sent to Redis because it does not respond, else 0.",
);
const REPLACED_CLIENTS: Name = Name::new(
    "http_cache_redis_replaced_clients_total",
    Unit::Count,
    "Clients of Redis that were replaced by a new one because they ended or got no replies.",
);
const SYNCED: Name = Name::new(
    "http_cache_redis_synced",
    Unit::Count,
    "1 while this process learns of purges by other processes, else 0.",
);
