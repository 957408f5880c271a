use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A circuit breaker, which opens after several consecutive failures of commands. While it is open no
/// command is sent, and no request waits for one, until a background probe succeeds.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open: AtomicBool,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Records a command that got a reply.
    pub(super) fn succeeded(&self) {
        // The count is nearly always 0: a read does not contend for the cache line.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Records a command that got no reply. Returns `true` if that opens the breaker.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= MAX_FAILURES && self.open()
    }

    /// Opens the breaker. Returns `true` if it was closed.
    pub(super) fn open(&self) -> bool {
        !self.open.swap(true, Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }
}

/// The number of consecutive failures that opens the breaker.
const MAX_FAILURES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_once_after_consecutive_failures() {
        let breaker = Breaker::default();
        for _ in 1..MAX_FAILURES {
            assert!(!breaker.failed());
        }
        breaker.succeeded();
        for _ in 1..MAX_FAILURES {
            assert!(!breaker.failed());
            assert!(!breaker.is_open());
        }
        assert!(breaker.failed());
        assert!(breaker.is_open());
        assert!(!breaker.failed(), "it is open already");
        breaker.succeeded();
        assert!(breaker.is_open(), "a late reply does not close it");
        breaker.close();
        assert!(!breaker.is_open());
        assert!(!breaker.failed(), "the count starts again");
    }
}
