use std::sync::OnceLock;

use metrics::{Counter, Label, Unit};

use super::super::tally::clock;
use crate::fresh::Fresh;
use crate::meter::{Meter, Name};

/// Counts what the service did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    meter: Meter,
    requests: OnceLock<Fresh<[Counter; OUTCOMES.len()]>>,
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
    pub(super) fn new(meter: Meter) -> Self {
        Self { meter, requests: OnceLock::new() }
    }

    pub(super) fn count(&self, outcome: Outcome) {
        let now = clock();
        let register = || {
            OUTCOMES.map(|outcome| {
                let label = Label::from_static_parts("outcome", outcome);
                self.meter.counter(REQUESTS, vec![label])
            })
        };
        let handles = self.requests.get_or_init(|| Fresh::new(register(), now)).get(now, register);
        handles.handle[outcome as usize].increment(1);
    }

    pub(super) fn failed(&self, operation: &'static str) {
        self.meter.count(ERRORS, vec![Label::from_static_parts("operation", operation)]);
    }
}

/// By [`Outcome`].
const OUTCOMES: [&str; 4] = ["hit", "stale", "miss", "collapsed"];

const REQUESTS: Name = Name::new(
    "cache_service_requests_total",
    Unit::Count,
    "Values that the cache was asked for, by how they were come by.",
);
const ERRORS: Name = Name::new(
    "cache_service_errors_total",
    Unit::Count,
    "What failed while values were looked up, kept or dropped.",
);
