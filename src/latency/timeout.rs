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
mod tests {
    use super::*;

    type BoxError = Box<dyn Error + Send + Sync>;

    #[test]
    fn timeouts_are_found_in_the_sources() {
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        let boxed = |error: io::Error| -> BoxError { Box::new(error) };
        let in_axum = |error: BoxError| axum_core::Error::new(error);
        assert!(is_timeout(&timed_out()));
        assert!(is_timeout(&Elapsed::new()));
        assert!(is_timeout(&boxed(timed_out())));
        assert!(is_timeout(&boxed(io::Error::other(Elapsed::new()))));
        assert!(is_timeout(&boxed(io::Error::other(boxed(io::Error::other(timed_out()))))));
        assert!(is_timeout(&in_axum(Box::new(Elapsed::new()))));
        assert!(is_timeout(&in_axum(boxed(timed_out()))));
        assert!(is_timeout(&in_axum(Box::new(in_axum(boxed(io::Error::other(Elapsed::new())))))));
        assert!(is_timeout(&in_axum("operation timed out".into())));
        let unsendable: Box<dyn Error> = Box::new(timed_out());
        assert!(is_timeout(&unsendable));
        let sendable: Box<dyn Error + Send> = Box::new(timed_out());
        assert!(is_timeout(&sendable));
        assert!(!is_timeout(&in_axum("refused".into())));
        assert!(!is_timeout(&boxed(io::Error::other("refused"))));
        assert!(!is_timeout(&boxed(io::Error::other("the header `timeout` is no number"))));
        assert!(!is_timeout(&io::Error::from(io::ErrorKind::BrokenPipe)));
        assert!(!is_timeout(&"operation timed out"), "not an error type");
    }

    #[test]
    fn cyclic_sources_terminate() {
        #[derive(Debug)]
        struct Cyclic;
        impl std::fmt::Display for Cyclic {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("cyclic")
            }
        }
        impl Error for Cyclic {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        assert!(!is_timeout(&(Box::new(Cyclic) as BoxError)));
    }
}
