//! Whether Redis is asked at all.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Opens when one command after the other fails: then none is sent, and no request waits for one,
/// until a probe in the background succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open: AtomicBool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// A command was answered.
    pub(super) fn succeeded(&self) {
        // Nearly always it is so already, and nobody need wait for the write.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// A command was not answered. Whether that opens it.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= MOST_FAILURES && self.open()
    }

    /// Whether it was closed before.
    pub(super) fn open(&self) -> bool {
        !self.open.swap(true, Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }
}

/// One after the other.
const MOST_FAILURES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_when_enough_commands_in_a_row_have_failed() {
        let breaker = Breaker::default();
        for _ in 1..MOST_FAILURES {
            assert!(!breaker.failed());
        }
        breaker.succeeded();
        for _ in 1..MOST_FAILURES {
            assert!(!breaker.failed());
            assert!(!breaker.is_open());
        }
        assert!(breaker.failed());
        assert!(breaker.is_open());
        assert!(!breaker.failed(), "it is open already");
        breaker.succeeded();
        assert!(breaker.is_open(), "a late answer does not close it");
        breaker.close();
        assert!(!breaker.is_open());
        assert!(!breaker.failed(), "it counts anew");
    }
}
