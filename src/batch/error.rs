use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The error of an item without a result.
///
/// The items of a failed batch share one error, so it is cheap to clone. If the service returned an
/// error, [`source`](Error::source) returns it.
#[derive(Clone, Debug)]
pub struct BatchError(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Service(Arc<dyn Error + Send + Sync>),
    Panic(Arc<str>),
    LengthMismatch { items: usize, results: usize },
    Full,
    Closed,
}

impl BatchError {
    pub(super) fn service(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Kind::Service(error.into()))
    }

    pub(super) fn panic(payload: &(dyn Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().copied();
        let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(Kind::Panic(message.unwrap_or("no message").into()))
    }

    pub(super) fn length_mismatch(items: usize, results: usize) -> Self {
        Self(Kind::LengthMismatch { items, results })
    }

    pub(super) fn full() -> Self {
        Self(Kind::Full)
    }

    pub(super) fn closed() -> Self {
        Self(Kind::Closed)
    }

    /// Returns `true` if the service returned an error for the batch, or failed to become ready.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.0, Kind::Service(_))
    }

    /// Returns `true` if the service panicked while it processed the batch.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panic(_))
    }

    /// Returns `true` if the service returned more or fewer results than the batch has items, so that
    /// no result can be assigned to its item.
    #[must_use]
    #[doc(alias = "is_count")]
    pub fn is_length_mismatch(&self) -> bool {
        matches!(self.0, Kind::LengthMismatch { .. })
    }

    /// Returns `true` if the queue was full. The item was not queued.
    ///
    /// A call after `poll_ready` returned ready never fails this way.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0, Kind::Full)
    }

    /// Returns `true` if the item came after [`drain`](super::Batch::drain) and was not queued, or if
    /// the runtime ended before there was a result.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Kind::Closed)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Service(_) => f.write_str("the service failed to process the batch"),
            Kind::Panic(message) => {
                write!(f, "the service panicked while it processed the batch: {message}")
            }
            Kind::LengthMismatch { items, results } => {
                write!(f, "the service returned {results} results for a batch of {items} items")
            }
            Kind::Full => f.write_str("the queue of the batch is full"),
            Kind::Closed => {
                f.write_str("the batch is closed: it was drained, or its runtime ended")
            }
        }
    }
}

impl Error for BatchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Service(error) => Some(&**error),
            _ => None,
        }
    }
}
