//! Recognizes errors that report a timeout.

use std::any::Any;
use std::error::Error;
use std::io;

use tower::timeout::error::Elapsed;

/// Returns `true` if `error` or one of its sources reports a timeout.
// The parameter is `Any` because body and service errors need not implement `Error`: boxed ones do
// not. There is no bound that gives access to the sources of every error type, so `as_error` lists
// the types whose sources are searched.
pub(super) fn is_timeout(error: &dyn Any) -> bool {
    let mut next = as_error(error);
    for _ in 0..MAX_SOURCES {
        let Some(error) = next else { return false };
        if reports_timeout(error) {
            return true;
        }
        // `io::Error::source` skips the error that the I/O error wraps, and returns its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn as_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    fn of<T: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        error.downcast_ref::<T>().map(|error| error as &(dyn Error + 'static))
    }
    if let Some(error) = error.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return Some(&**error);
    }
    if let Some(error) = error.downcast_ref::<Box<dyn Error + Send>>() {
        return Some(&**error);
    }
    if let Some(error) = error.downcast_ref::<Box<dyn Error>>() {
        return Some(&**error);
    }
    of::<axum_core::Error>(error)
        .or_else(|| of::<io::Error>(error))
        .or_else(|| of::<hyper::Error>(error))
        .or_else(|| of::<Elapsed>(error))
        .or_else(|| of::<tokio::time::error::Elapsed>(error))
}

fn reports_timeout(error: &(dyn Error + 'static)) -> bool {
    error.is::<Elapsed>()
        || error.is::<tokio::time::error::Elapsed>()
        || error.downcast_ref().is_some_and(|it: &io::Error| it.kind() == io::ErrorKind::TimedOut)
        || error.downcast_ref().is_some_and(hyper::Error::is_timeout)
        || TIMEOUT_TEXTS.contains(&error.to_string().as_str())
}

/// The messages of timeout errors whose types are private, or whose crates would be a dependency
/// for the type alone: `TimeoutError` of tower-http, `TimedOut` of reqwest and `TimeoutExpired` of
/// tonic.
const TIMEOUT_TEXTS: [&str; 3] = [
    "data was not received within the designated timeout",
    "operation timed out",
    "Timeout expired",
];

/// The maximum number of errors in a chain of sources, since an error can be its own source.
const MAX_SOURCES: usize = 16;

#[cfg(test)]
mod tests;
