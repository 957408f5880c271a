use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body;
use http_body_util::{Full, Limited};

use super::failure::Failure;

/// The error of a [`RequestBody`](super::RequestBody): a box with the inner body's error as it was,
/// or with the one by which the layer has ended the body, which is
/// [`LengthLimitError`](http_body_util::LengthLimitError) or [`BodyError`].
///
/// It converts into the `Box<dyn Error + Send + Sync>` that it holds, as hyper and axum do with it:
/// axum's extractors answer 413 to a `LengthLimitError`.
///
/// ```
/// use http_body_util::LengthLimitError;
/// use tower_kit::limit::RequestBodyError;
///
/// fn is_too_large(error: &RequestBodyError) -> bool {
///     error.is::<LengthLimitError>()
/// }
/// ```
pub struct RequestBodyError {
    error: BoxError,
}

type BoxError = Box<dyn Error + Send + Sync>;

/// The error of a [`RequestBody`](super::RequestBody) that cannot be decoded, or arrives too slowly.
///
/// A body over its limit fails with
/// [`LengthLimitError`](http_body_util::LengthLimitError) instead.
#[derive(Clone, Debug)]
pub struct BodyError {
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Malformed,
    TooSlow,
}

impl RequestBodyError {
    pub(super) fn inner(error: impl Into<BoxError>) -> Self {
        Self { error: error.into() }
    }

    #[cold]
    pub(super) fn own(failure: Failure) -> Self {
        let error = match failure {
            Failure::TooLarge => length_limit_error(),
            Failure::Malformed => BodyError { kind: Kind::Malformed }.into(),
            Failure::TooSlow => BodyError { kind: Kind::TooSlow }.into(),
        };
        Self { error }
    }
}

impl Deref for RequestBodyError {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.error
    }
}

// `RequestBodyError` itself is no `Error`, so that this can unwrap the box: who looks for a type of
// error in it, as axum does for `LengthLimitError` and hyper for that of h2, finds it.
impl From<RequestBodyError> for BoxError {
    fn from(error: RequestBodyError) -> Self {
        error.error
    }
}

impl fmt::Debug for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.error, f)
    }
}

impl fmt::Display for RequestBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl BodyError {
    /// Returns `true` if the body is not valid in the coding that `content-encoding` names: it is
    /// corrupt, ends too early, or goes on after its end.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self.kind, Kind::Malformed)
    }

    /// Returns `true` if the body arrived at less than the minimum data rate.
    #[must_use]
    pub fn is_too_slow(&self) -> bool {
        matches!(self.kind, Kind::TooSlow)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Malformed => "the request body is not valid in its content-encoding",
            Kind::TooSlow => "the request body arrives at less than the minimum data rate",
        })
    }
}

impl Error for BodyError {}

/// `LengthLimitError` has no constructor outside of its crate, and axum answers 413 to that type
/// alone: so its own body makes one.
fn length_limit_error() -> BoxError {
    let mut over = Limited::new(Full::new(Bytes::from_static(b"1")), 0);
    match Pin::new(&mut over).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Err(error))) => error,
        _ => "length limit exceeded".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use http_body_util::LengthLimitError;

    use super::*;

    #[test]
    fn boxed_errors_have_the_types_that_are_looked_for() {
        let boxed = |error: RequestBodyError| -> BoxError { error.into() };
        assert!(boxed(RequestBodyError::own(Failure::TooLarge)).is::<LengthLimitError>());
        let malformed = boxed(RequestBodyError::own(Failure::Malformed));
        assert!(malformed.downcast_ref::<BodyError>().is_some_and(BodyError::is_malformed));
        let slow = RequestBodyError::own(Failure::TooSlow);
        assert!(slow.downcast_ref::<BodyError>().is_some_and(BodyError::is_too_slow));
        let inner = RequestBodyError::inner(io::Error::other("broken"));
        assert_eq!(inner.to_string(), "broken");
        // Of two layers, one inside of the other.
        assert!(boxed(RequestBodyError::inner(inner)).is::<io::Error>());
    }
}
