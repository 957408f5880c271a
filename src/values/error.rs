use std::error::Error;
use std::fmt;

use crate::cache::error::StoreError;

/// An error for a value that was not stored, or not removed.
#[derive(Debug)]
pub struct ValueCacheError(Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Encode(Box<dyn Error + Send + Sync>),
    TooLarge,
    Store(StoreError),
}

impl ValueCacheError {
    /// Returns `true` if the codec cannot encode the value. JSON has no NaN and no infinity, also not
    /// inside of a value, and no maps whose keys are neither texts nor numbers.
    #[doc(alias = "is_json")]
    #[must_use]
    pub const fn is_encode(&self) -> bool {
        matches!(self.0, Kind::Encode(_))
    }

    /// Returns `true` if the value exceeds 1 MiB when it is encoded, or the key 8 KiB.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(self.0, Kind::TooLarge)
    }

    /// Returns `true` if the store failed in each attempt.
    #[must_use]
    pub const fn is_store(&self) -> bool {
        matches!(self.0, Kind::Store(_))
    }

    /// Returns `true` if the removal or the new value holds in this process, and other processes that
    /// share the store learn of it later:
    /// [`StoreError::is_deferred`](crate::cache::StoreError::is_deferred). An inserted value that the store
    /// then refuses is dropped in all processes.
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        matches!(&self.0, Kind::Store(error) if error.is_deferred())
    }
}

impl From<Kind> for ValueCacheError {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl From<StoreError> for Kind {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ValueCacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Encode(error) => write!(f, "the value for the cache cannot be encoded: {error}"),
            Kind::TooLarge => f.write_str(
                "the value for the cache exceeds 1 MiB when it is encoded, or its key 8 KiB",
            ),
            Kind::Store(error) => error.fmt(f),
        }
    }
}

impl Error for ValueCacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            // The message of this error has that of the codec in it.
            Kind::Encode(error) => error.source(),
            Kind::TooLarge => None,
            // The message of this error is that of the store.
            Kind::Store(error) => error.source(),
        }
    }
}
