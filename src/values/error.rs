use std::error::Error;
use std::fmt;

use crate::cache::store::StoreError;

/// A value that was not kept, or not dropped.
#[derive(Debug)]
pub struct ValueCacheError(Fault);

#[derive(Debug)]
pub(super) enum Fault {
    Json(serde_json::Error),
    TooLarge,
    Store(StoreError),
}

impl ValueCacheError {
    /// Whether the value cannot be written as JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        matches!(self.0, Fault::Json(_))
    }

    /// Whether the value is over 1 MiB of JSON, or the key over 8 KiB.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self.0, Fault::TooLarge)
    }

    /// Whether the store failed, as often as it was tried.
    #[must_use]
    pub const fn is_store(&self) -> bool {
        matches!(self.0, Fault::Store(_))
    }
}

impl ValueCacheError {
    /// Whether this process has done it, and others that share the store will be told later:
    /// [`StoreError::is_deferred`](crate::cache::StoreError::is_deferred).
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        matches!(&self.0, Fault::Store(error) if error.is_deferred())
    }
}

impl From<Fault> for ValueCacheError {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ValueCacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Fault::Json(_) => f.write_str("a value for the cache cannot be written as JSON"),
            Fault::TooLarge => f.write_str("a value or a key is too large for the cache"),
            Fault::Store(error) => error.fmt(f),
        }
    }
}

impl Error for ValueCacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Fault::Json(error) => Some(error),
            Fault::TooLarge => None,
            // It says the same as this one.
            Fault::Store(error) => error.source(),
        }
    }
}
