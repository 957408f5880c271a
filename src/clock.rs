//! The one place that reads the monotonic clock. Everything else takes the time as an argument.

#![expect(clippy::disallowed_methods, reason = "the edge of the crate, where it reads the clock")]

/// Returns the monotonic time.
#[inline]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// Returns the monotonic time of tokio's timer, which stands still where a test pauses it.
#[inline]
pub(crate) fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
