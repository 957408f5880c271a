use std::error::Error;
use std::fmt;

/// An error for an operation that a [`Store`](super::Store) did not perform.
#[derive(Debug)]
pub struct StoreError {
    reason: Box<dyn Error + Send + Sync>,
    deferred: bool,
}

impl StoreError {
    /// Creates an error with this reason, such as the error of a client library.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason: reason.into(), deferred: false }
    }

    /// Creates an error for an operation that is performed later, as soon as that is possible.
    pub fn deferred(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason: reason.into(), deferred: true }
    }

    /// Returns `true` if the operation is performed later: a purge, for example, that holds in this
    /// process, and of which Redis could not be told in time.
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        self.deferred
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cache's store failed: {}", self.reason)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message has the reason itself.
        self.reason.source()
    }
}
