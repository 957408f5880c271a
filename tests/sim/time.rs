//! The clocks of a world: the paused one of the runtime, and the wall clock, which is set now and then.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct Time {
    start: Instant,
    /// The sum of the steps of the wall clock, in milliseconds.
    steps: AtomicI64,
    /// The sum of its steps forward alone.
    forward: AtomicU64,
}

impl Time {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), steps: AtomicI64::new(0), forward: AtomicU64::new(0) }
    }

    /// Returns the milliseconds since the world began.
    pub(crate) fn elapsed(&self) -> u64 {
        Instant::now().duration_since(self.start).as_millis() as u64
    }

    /// Returns the time that ages are measured by, in milliseconds: it follows the steps of the wall
    /// clock forward, and not those back.
    pub(crate) fn now(&self) -> u64 {
        self.elapsed() + self.forward.load(Ordering::Relaxed)
    }

    pub(crate) fn wall(&self) -> SystemTime {
        let now = 1_800_000_000_000 + self.elapsed() as i64 + self.steps.load(Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_millis(now as u64)
    }

    pub(crate) fn step(&self, by: i64) {
        self.steps.fetch_add(by, Ordering::Relaxed);
        self.forward.fetch_add(by.max(0) as u64, Ordering::Relaxed);
    }
}
