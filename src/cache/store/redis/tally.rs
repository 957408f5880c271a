//! Counts what Redis did not do.

use metrics::{Label, Unit};

use crate::meter::{Meter, Name};

#[derive(Clone, Debug)]
pub(super) struct Tally(pub(super) Meter);

impl Tally {
    pub(super) fn failed(&self, reason: &'static str) {
        self.0.count(ERRORS, vec![Label::from_static_parts("reason", reason)]);
    }

    /// Whether commands are withheld.
    pub(super) fn open(&self, open: bool) {
        self.set(OPEN, open);
    }

    /// Whether it is known what was purged.
    pub(super) fn in_step(&self, is: bool) {
        self.set(IN_STEP, is);
    }

    fn set(&self, name: Name, is: bool) {
        self.0.gauge(name, Vec::new()).set(f64::from(u8::from(is)));
    }
}

const ERRORS: Name = Name::new(
    "http_cache_redis_errors_total",
    Unit::Count,
    "Commands that Redis did not do, or whose reply was of no use.",
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
