use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// Why an item has no result.
///
/// All items of a batch share one, so that it can be cloned. What the service failed with is its
/// [`source`](Error::source).
#[derive(Clone, Debug)]
pub struct BatchError(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Service(Arc<dyn Error + Send + Sync>),
    Panic(Arc<str>),
    Count { items: usize, results: usize },
    Full,
    Closed,
}

impl BatchError {
    pub(super) fn service(error: Box<dyn Error + Send + Sync>) -> Self {
        Self(Kind::Service(error.into()))
    }

    pub(super) fn panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(Kind::Panic(text.unwrap_or("no text").into()))
    }

    pub(super) fn count(items: usize, results: usize) -> Self {
        Self(Kind::Count { items, results })
    }

    pub(super) fn full() -> Self {
        Self(Kind::Full)
    }

    pub(super) fn closed() -> Self {
        Self(Kind::Closed)
    }

    /// The service failed, or was not ready, with the item's batch.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self.0, Kind::Service(_))
    }

    /// The service panicked with the item's batch.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Kind::Panic(_))
    }

    /// The service answered with another number of results than there were items, so that nobody
    /// knows which is whose.
    #[must_use]
    pub fn is_count(&self) -> bool {
        matches!(self.0, Kind::Count { .. })
    }

    /// The queue was full, and the call did not wait for `poll_ready`. The item was not taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.0, Kind::Full)
    }

    /// It came after [`drain`](super::Batch::drain), and was not taken; or the runtime ended before
    /// there was a result.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.0, Kind::Closed)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Service(_) => f.write_str("the service failed with the batch"),
            Kind::Panic(text) => write!(f, "the service panicked with the batch: {text}"),
            Kind::Count { items, results } => {
                write!(f, "the service gave {results} results for a batch of {items} items")
            }
            Kind::Full => f.write_str("the queue is full"),
            Kind::Closed => f.write_str("batches have ended"),
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
