use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The counters of lookups.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    metrics: Metrics,
    handles: OnceLock<RefreshingHandle<Handles>>,
}

#[derive(Debug)]
struct Handles {
    hits: Counter,
    misses: Counter,
}

impl Lookups {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Counts a request that offers a dictionary.
    pub(super) fn record(&self, is_hit: bool) {
        // Registered with the first offer: the recorder of the process is often installed after the
        // layer is made.
        let now = clock::now();
        let register = || {
            let counter = |result| {
                let labels = vec![Label::from_static_parts("result", result)];
                self.metrics.counter(LOOKUPS, labels)
            };
            Handles { hits: counter("hit"), misses: counter("miss") }
        };
        let handles = self.handles.get_or_init(|| RefreshingHandle::new(register(), now));
        let handles = handles.get(now, register);
        if is_hit { &handles.handle.hits } else { &handles.handle.misses }.increment(1);
    }
}

const LOOKUPS: Name = Name::new(
    "http_compression_dictionary_lookups_total",
    Unit::Count,
    "Requests that offer a compression dictionary, by result.",
);
