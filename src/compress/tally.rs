use std::sync::{Arc, OnceLock};

use metrics::{Counter, Label, Unit};

use super::coding::Coding;
use crate::clock;
use crate::metrics::{Metrics, Name};
use crate::refreshing_handle::RefreshingHandle;

/// Counts what went into the codecs and what came out, and what did not.
#[derive(Debug, Default)]
pub(super) struct Counters {
    metrics: Metrics,
    handles: OnceLock<RefreshingHandle<Vec<Handles>>>,
}

/// The counters of one coding.
#[derive(Debug)]
struct Handles {
    input: Counter,
    output: Counter,
    failures: Counter,
    fallbacks: Counter,
}

/// The bytes of one response, counted when it is dropped.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) input: u64,
    pub(super) output: u64,
    coding: Coding,
    counters: Arc<Counters>,
}

impl Counters {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// The first call registers all counters, so that each is there before it counts anything.
    fn with(&self, coding: Coding, record: impl FnOnce(&Handles)) {
        let now = clock::now();
        let register = || Coding::ALL.iter().map(|coding| self.register(*coding)).collect();
        let handles =
            self.handles.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register);
        let index = Coding::ALL.iter().position(|it| *it == coding);
        if let Some(handles) = index.and_then(|index| handles.handle.get(index)) {
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

impl Tally {
    pub(super) fn new(coding: Coding, counters: Arc<Counters>) -> Self {
        Self { input: 0, output: 0, coding, counters }
    }

    /// Counts a codec that failed.
    pub(super) fn failed(&self) {
        self.counters.with(self.coding, |handles| handles.failures.increment(1));
    }

    /// Counts a response that was sent as it is for want of a codec.
    pub(super) fn fell_back(&self) {
        self.counters.with(self.coding, |handles| handles.fallbacks.increment(1));
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.counters.with(self.coding, |handles| {
            handles.input.increment(self.input);
            handles.output.increment(self.output);
        });
    }
}

const INPUT: Name = Name::new(
    "http_compression_input_bytes_total",
    Unit::Bytes,
    "Bytes of response bodies that were compressed.",
);
const OUTPUT: Name = Name::new(
    "http_compression_output_bytes_total",
    Unit::Bytes,
    "Bytes that came out of compressing response bodies.",
);
const FAILURES: Name = Name::new(
    "http_compression_failures_total",
    Unit::Count,
    "Response bodies that were sent uncompressed, or ended by an error, because a codec failed.",
);
const FALLBACKS: Name = Name::new(
    "http_compression_fallbacks_total",
    Unit::Count,
    "Responses that were sent uncompressed because all streams were in use or a codec failed.",
);
