use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use metrics::{Counter, Gauge, Label, SharedString, Unit};

use super::counters::count_named;
use super::policy::Bypass;
use super::store::Usage;
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The metrics of a layer.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    metrics: Metrics,
    /// The name of the cache, which tells the layers of a process apart.
    cache: SharedString,
    requests: [Counts; SHARDS],
    handles: OnceLock<RefreshingHandle<Handles>>,
}

/// The requests of some threads by [`Outcome::index`]. Threads that count in one cache line wait for each
/// other at each hit. Some processors load lines in pairs, of 128 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counts([AtomicU64; OUTCOMES.len()]);

/// The handles of a recorder, registered together, so that each label is there at 0 before it is
/// counted.
#[derive(Debug)]
struct Handles {
    requests: [Counter; OUTCOMES.len()],
    entries: Gauge,
    bytes: Gauge,
    evictions: Counter,
    fallbacks: [Counter; Fallback::NAMES.len()],
    store_errors: [Counter; OPERATIONS.len()],
    refreshes: [Counter; REFRESHED.len()],
    panics: Counter,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Hit,
    Stale,
    Miss,
    Revalidated,
    Collapsed,
    /// The failure of another request was shared.
    Failed,
    Bypass(Bypass),
}

/// A reason why the cache did less than it could, for want of memory or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fallback {
    /// A response is not stored: what is on its way to the store takes all bytes that it may.
    Budget,
    /// A response is recorded as its client reads, and shared with nobody: too many bodies are read
    /// in the background.
    Fills,
    /// A response is not stored: its body took too long.
    FillTime,
    /// A request has waited too long for another one, and asks the service itself.
    Wait,
    /// Another process has fetched for too long, or the store does not tell whose turn it is.
    Lease,
    /// A response is not stored: the store has too many to put.
    Puts,
    /// A stale entry is not refreshed: too many are.
    Refreshes,
}

/// Requests by outcome, and the usage of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Requests that got a fresh entry.
    pub hits: u64,
    /// Requests that got a stale entry.
    pub stale: u64,
    /// Requests that got the response of the inner service.
    pub misses: u64,
    /// Requests that got an entry which the inner service confirmed.
    pub revalidated: u64,
    /// Requests that got the response which another request fetched at the same time.
    pub collapsed: u64,
    /// Requests that got the failure of another request for the same response: see
    /// [`failure_ttl`](crate::CacheLayer::failure_ttl).
    pub failures: u64,
    /// Requests that passed by the cache.
    pub bypasses: u64,
    /// The usage of the store.
    pub usage: Usage,
}

impl CacheMetrics {
    pub(crate) fn new(metrics: Metrics, cache: SharedString) -> Self {
        Self { metrics, cache, requests: Default::default(), handles: OnceLock::new() }
    }

    /// Counts anew, on the same recorder.
    pub(crate) fn another(&self) -> Self {
        self.named(self.cache.clone())
    }

    /// Counts anew, on the same recorder, for a cache with this name.
    pub(crate) fn named(&self, cache: SharedString) -> Self {
        Self::new(self.metrics.clone(), cache)
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        let index = outcome.index();
        self.requests[SHARD.with(|shard| *shard)].0[index].fetch_add(1, Ordering::Relaxed);
        self.with(|handles| handles.requests[index].increment(1));
    }

    /// Counts a fallback.
    pub(crate) fn fell_back(&self, fallback: Fallback) {
        self.with(|handles| handles.fallbacks[fallback as usize].increment(1));
    }

    /// Counts an operation of the store that failed: one of [`OPERATIONS`].
    pub(crate) fn store_failed(&self, operation: &'static str) {
        self.with(|handles| count_named(&OPERATIONS, &handles.store_errors, operation));
    }

    /// Counts a callback that panicked.
    pub(crate) fn panicked(&self) {
        self.with(|handles| handles.panics.increment(1));
    }

    /// Counts a background refresh by its outcome: one of [`REFRESHED`].
    pub(crate) fn refreshed(&self, outcome: &'static str) {
        self.with(|handles| count_named(&REFRESHED, &handles.refreshes, outcome));
    }

    /// Sets the gauges of the store.
    pub(crate) fn record_usage(&self, usage: Usage) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        self.with(|handles| {
            handles.entries.set(usage.entries as f64);
            handles.bytes.set(usage.bytes as f64);
            handles.evictions.absolute(usage.evictions);
        });
    }

    /// Adds the requests of this layer to a sum.
    pub(crate) fn add_to(&self, sum: Statistics) -> Statistics {
        let of = |index: usize| -> u64 {
            self.requests.iter().map(|counts| counts.0[index].load(Ordering::Relaxed)).sum()
        };
        Statistics {
            hits: sum.hits + of(Outcome::Hit.index()),
            stale: sum.stale + of(Outcome::Stale.index()),
            misses: sum.misses + of(Outcome::Miss.index()),
            revalidated: sum.revalidated + of(Outcome::Revalidated.index()),
            collapsed: sum.collapsed + of(Outcome::Collapsed.index()),
            failures: sum.failures + of(Outcome::Failed.index()),
            bypasses: sum.bypasses + (FIRST_BYPASS..OUTCOMES.len()).map(of).sum::<u64>(),
            ..sum
        }
    }

    fn with(&self, record: impl FnOnce(&Handles)) {
        let now = clock::now();
        let register = || self.register();
        let handles =
            self.handles.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        record(&handles.handle);
    }

    fn register(&self) -> Handles {
        let label = Label::from_static_parts;
        let labels = |more: &[Label]| {
            let mut labels = vec![Label::new("cache", self.cache.clone())];
            labels.extend_from_slice(more);
            labels
        };
        let requests = OUTCOMES.map(|(outcome, reason)| {
            let more = [label("outcome", outcome), label("reason", reason)];
            self.metrics.counter(REQUESTS, labels(&more))
        });
        let labeled = |name, of, value| self.metrics.counter(name, labels(&[label(of, value)]));
        Handles {
            requests,
            fallbacks: Fallback::NAMES.map(|name| labeled(FALLBACKS, "reason", name)),
            store_errors: OPERATIONS.map(|name| labeled(STORE_ERRORS, "operation", name)),
            refreshes: REFRESHED.map(|name| labeled(REFRESHES, "outcome", name)),
            panics: self.metrics.counter(PANICS, labels(&[])),
            entries: self.metrics.gauge(ENTRIES, labels(&[])),
            bytes: self.metrics.gauge(BYTES, labels(&[])),
            evictions: self.metrics.counter(EVICTIONS, labels(&[])),
        }
    }
}

impl Outcome {
    const fn index(self) -> usize {
        match self {
            Self::Hit => 0,
            Self::Stale => 1,
            Self::Miss => 2,
            Self::Revalidated => 3,
            Self::Collapsed => 4,
            Self::Failed => 5,
            Self::Bypass(bypass) => FIRST_BYPASS + bypass as usize,
        }
    }
}

impl Fallback {
    pub(crate) const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    /// The labels, in the order of the variants.
    pub(crate) const NAMES: [&'static str; 7] =
        ["budget", "fills", "fill-time", "wait", "lease", "puts", "refreshes"];
}

thread_local! {
    /// The index of the counts of this thread.
    static SHARD: usize = {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS
    };
}

/// The number of threads that count without a shared cache line.
const SHARDS: usize = 8;

const FIRST_BYPASS: usize = 6;

/// The labels `outcome` and `reason`, by [`Outcome::index`].
const OUTCOMES: [(&str, &str); FIRST_BYPASS + Bypass::NAMES.len()] = {
    let mut outcomes = [("bypass", ""); FIRST_BYPASS + Bypass::NAMES.len()];
    let others = ["hit", "stale", "miss", "revalidated", "collapsed", "failed"];
    let mut at = 0;
    while at < outcomes.len() {
        outcomes[at] = if at < FIRST_BYPASS {
            (others[at], "")
        } else {
            ("bypass", Bypass::NAMES[at - FIRST_BYPASS])
        };
        at += 1;
    }
    outcomes
};

/// The labels of operations that can fail.
const OPERATIONS: [&str; 6] = ["get", "put", "remove", "clear", "purge", "lease"];

/// The labels of refreshes.
const REFRESHED: [&str; 3] = ["done", "failed", "timeout"];

const REQUESTS: Name =
    Name::new("http_cache_requests_total", Unit::Count, "Requests by the outcome of the cache.");
const ENTRIES: Name =
    Name::new("http_cache_entries", Unit::Count, "Entries that the cache's store keeps.");
const BYTES: Name =
    Name::new("http_cache_stored_bytes", Unit::Bytes, "Bytes that the cache's store keeps.");
const EVICTIONS: Name = Name::new(
    "http_cache_evictions_total",
    Unit::Count,
    "Entries that the cache's store evicted to make space for others.",
);
const STORE_ERRORS: Name = Name::new(
    "http_cache_store_errors_total",
    Unit::Count,
    "Operations of the cache's store that failed, panicked or timed out.",
);
const FALLBACKS: Name = Name::new(
    "http_cache_fallbacks_total",
    Unit::Count,
    "Responses that the cache did not store, share or refresh for want of memory or time, by reason.",
);
const REFRESHES: Name = Name::new(
    "http_cache_refreshes_total",
    Unit::Count,
    "Background refreshes of cache entries, by outcome.",
);
const PANICS: Name = Name::new(
    "http_cache_panics_total",
    Unit::Count,
    "Requests that passed by the cache because a callback of the layer panicked.",
);
