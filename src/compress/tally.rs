use std::sync::{Arc, OnceLock};
use std::time::Instant;

use metrics::{Counter, Label, Unit};

use super::coding::Coding;
use crate::fresh::Fresh;
use crate::meter::{Meter, Name};

/// Counts what went into the codecs and what came out.
#[derive(Debug, Default)]
pub(super) struct Counters {
    meter: Meter,
    by_coding: [OnceLock<Fresh<InAndOut>>; Coding::COUNT],
}

#[derive(Debug)]
struct InAndOut {
    input: Counter,
    output: Counter,
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
    pub(super) fn new(meter: Meter) -> Self {
        Self { meter, ..Self::default() }
    }

    /// Counts a codec that failed.
    pub(super) fn failed(&self, coding: Coding) {
        self.meter.count(FAILURES, vec![Label::from_static_parts("encoding", coding.as_str())]);
    }

    fn register(&self, coding: Coding) -> InAndOut {
        let labels = || vec![Label::from_static_parts("encoding", coding.as_str())];
        InAndOut {
            input: self.meter.counter(INPUT, labels()),
            output: self.meter.counter(OUTPUT, labels()),
        }
    }
}

impl Tally {
    pub(super) fn new(coding: Coding, counters: Arc<Counters>) -> Self {
        Self { input: 0, output: 0, coding, counters }
    }

    pub(super) fn failed(&self) {
        self.counters.failed(self.coding);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let now = clock();
        let register = || self.counters.register(self.coding);
        let counters = self.counters.by_coding[self.coding.index()]
            .get_or_init(|| Fresh::new(register(), now))
            .get(now, register);
        counters.handle.input.increment(self.input);
        counters.handle.output.increment(self.output);
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge of this room, where it reads the clock")]
fn clock() -> Instant {
    Instant::now()
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
    "Response bodies that were sent as they are, or cut, because a codec failed.",
);
