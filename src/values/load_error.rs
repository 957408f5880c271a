use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An error for a value that could not be loaded. `E` is the error of the loader. The callers that
/// wait for the same load share it, and clones are cheap.
///
/// In a handler, `?` converts it as any other error: its `source` is the error of the loader.
/// [`failure`](Self::failure) tells what the loader returned:
///
/// ```
/// use http::StatusCode;
/// use tower_kit::values::LoadError;
/// # #[derive(Debug)] enum DatabaseError { NoSuchTable, Busy }
///
/// fn status(error: &LoadError<DatabaseError>) -> StatusCode {
///     match error.failure() {
///         Some(DatabaseError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
///         None if error.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
///         _ => StatusCode::INTERNAL_SERVER_ERROR,
///     }
/// }
/// # assert_eq!(status(&DatabaseError::Busy.into()), StatusCode::SERVICE_UNAVAILABLE);
/// # assert_eq!(status(&DatabaseError::NoSuchTable.into()), StatusCode::INTERNAL_SERVER_ERROR);
/// ```
pub struct LoadError<E>(Kind<E>);

enum Kind<E> {
    Failed(Arc<E>),
    TimedOut(Duration),
    /// The key that the loader asked for.
    Recursive(Arc<str>),
}

/// A failed load, for callers whose loaders may return another type of error.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Failed(Arc<dyn Any + Send + Sync>),
    /// The load exceeded this time.
    TimedOut(Duration),
}

impl<E> LoadError<E> {
    /// Creates the error of a loader that asked for its own key.
    pub(super) fn recursive(key: Arc<str>) -> Self {
        Self(Kind::Recursive(key))
    }

    /// Creates the error of a load that took longer than `time`.
    pub(super) fn timed_out(time: Duration) -> Self {
        Self(Kind::TimedOut(time))
    }

    /// Returns the error that the loader returned.
    #[must_use]
    pub fn failure(&self) -> Option<&E> {
        match &self.0 {
            Kind::Failed(failure) => Some(failure),
            Kind::TimedOut(_) | Kind::Recursive(_) => None,
        }
    }

    /// Returns `true` if the load exceeded [`hard_timeout`](super::ValueCache::hard_timeout).
    #[must_use]
    #[doc(alias = "SyntheticTimeoutException")]
    #[doc(alias = "E_FACTORY_HARD_TIMEOUT")]
    pub const fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut(_))
    }

    /// Returns `true` if the loader of a key asked for the value of the same key, directly or through
    /// the loader of another key: none of them would ever return.
    #[must_use]
    #[doc(alias = "deadlock")]
    pub const fn is_recursive(&self) -> bool {
        matches!(self.0, Kind::Recursive(_))
    }
}

impl<E: Send + Sync + 'static> LoadError<E> {
    /// Returns the error of a failed load, unless its loader returned another type of error.
    pub(super) fn of(failure: &Failure) -> Option<Self> {
        let kind = match failure {
            Failure::Failed(failure) => Kind::Failed(Arc::clone(failure).downcast().ok()?),
            Failure::TimedOut(time) => Kind::TimedOut(*time),
        };
        Some(Self(kind))
    }

    /// Returns the failed load, if the loader was called.
    pub(super) fn to_failure(&self) -> Option<Failure> {
        match &self.0 {
            Kind::Failed(failure) => Some(Failure::Failed(Arc::clone(failure) as _)),
            Kind::TimedOut(time) => Some(Failure::TimedOut(*time)),
            Kind::Recursive(_) => None,
        }
    }
}

impl<E> From<E> for LoadError<E> {
    fn from(failure: E) -> Self {
        Self(Kind::Failed(Arc::new(failure)))
    }
}

// By hand: the error of the loader need not be `Clone`.
impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Kind::Failed(failure) => Kind::Failed(Arc::clone(failure)),
            Kind::TimedOut(time) => Kind::TimedOut(*time),
            Kind::Recursive(key) => Kind::Recursive(Arc::clone(key)),
        })
    }
}

impl<E: fmt::Debug> fmt::Debug for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
            Kind::TimedOut(time) => f.debug_tuple("TimedOut").field(time).finish(),
            Kind::Recursive(key) => f.debug_tuple("Recursive").field(key).finish(),
        }
    }
}

impl<E> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Failed(_) => f.write_str("the loader of a cached value failed"),
            Kind::TimedOut(time) => {
                write!(f, "the loader of a cached value took longer than its timeout of {time:?}")
            }
            Kind::Recursive(key) => write!(
                f,
                "the loader of the cached value {key:?} asked for that value itself, directly or \
                 through the loader of another one"
            ),
        }
    }
}

impl<E: Error + 'static> Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure().map(|failure| failure as &(dyn Error + 'static))
    }
}
