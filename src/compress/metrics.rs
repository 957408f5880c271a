use std::sync::{Arc, OnceLock};

use metrics::{Counter, Label, Unit};

use super::encoding::{Coding, Encoding};
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// The counters of a layer, for each coding.
#[derive(Debug, Default)]
pub(super) struct Counters {
    metrics: Metrics,
    handles: OnceLock<RefreshingHandle<Vec<Handles>>>,
    /// The counters of bodies with a dictionary, which most layers have none of.
    dictionary: OnceLock<RefreshingHandle<Handles>>,
}

/// The counters of one coding.
#[derive(Debug)]
struct Handles {
    input: Counter,
    output: Counter,
    failures: Counter,
    fallbacks: Counter,
}

/// The metrics of one response: its bytes are counted when it is dropped.
#[derive(Debug)]
pub(super) struct ResponseMetrics {
    pub(super) input: u64,
    pub(super) output: u64,
    coding: Coding,
    counters: Arc<Counters>,
}

impl Counters {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Records on the counters of a coding. The first call registers the counters of all
    /// encodings, so that an exporter shows each before its first count.
    fn with(&self, coding: Coding, record: impl FnOnce(&Handles)) {
        // Registered with the first response: the recorder of the process is often installed after
        // the layer is made.
        let now = clock::now();
        let Coding::Encoding(encoding) = coding else {
            let register = || self.register(coding);
            let handles = self.dictionary.get_or_init(|| RefreshingHandle::new(register(), now));
            return record(&handles.get(now, register).handle);
        };
        let register = || Encoding::all().map(|encoding| self.register(encoding.into())).collect();
        let handles =
            self.handles.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        if let Some(handles) = handles.handle.get(encoding.index()) {
            record(handles);
        }
    }

    fn register(&self, coding: Coding) -> Handles {
        let counter = |name| {
            let labels = vec![Label::from_static_parts("encoding", coding.as_str())];
            self.metrics.counter(name, labels)
        };
        Handles {
            input: counter(INPUT),
            output: counter(OUTPUT),
            failures: counter(FAILURES),
            fallbacks: counter(FALLBACKS),
        }
    }
}

impl ResponseMetrics {
    pub(super) fn new(coding: Coding, counters: Arc<Counters>) -> Self {
        Self { input: 0, output: 0, coding, counters }
    }

    /// Counts a codec that failed.
    pub(super) fn record_failure(&self) {
        self.counters.with(self.coding, |handles| handles.failures.increment(1));
    }

    /// Counts a response that is sent uncompressed for lack of a codec.
    pub(super) fn record_fallback(&self) {
        self.counters.with(self.coding, |handles| handles.fallbacks.increment(1));
    }
}

impl Drop for ResponseMetrics {
    fn drop(&mut self) {
        // Counted at the drop, since a client may leave at any time.
        self.counters.with(self.coding, |handles| {
            handles.input.increment(self.input);
            handles.output.increment(self.output);
        });
    }
}

const INPUT: Name = Name::new(
    "http_compression_input_bytes_total",
    Unit::Bytes,
    "Bytes of response bodies before compression, by encoding.",
);
const OUTPUT: Name = Name::new(
    "http_compression_output_bytes_total",
    Unit::Bytes,
    "Bytes of response bodies after compression, by encoding.",
);
const FAILURES: Name = Name::new(
    "http_compression_failures_total",
    Unit::Count,
    "Response bodies that were sent uncompressed or aborted because a codec failed, by encoding.",
);
const FALLBACKS: Name = Name::new(
    "http_compression_fallbacks_total",
    Unit::Count,
    "Responses sent uncompressed because max_streams was reached or a codec failed, by encoding.",
);
