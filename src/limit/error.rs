use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Body;
use http_body_util::{Full, LengthLimitError, Limited};

use super::body_status::BodyFailure;

/// The error of a [`RequestBody`](super::RequestBody): an error of the layer, or the error of the
/// wrapped body.
///
/// The error derefs to the `dyn Error` that it holds, and converts into a
/// `Box<dyn Error + Send + Sync>` of it, without a wrapper around it. An error that hyper or axum has
/// boxed can be recognized by its type:
///
/// | question | type in the box |
/// |---|---|
/// | [`is_too_large`](Self::is_too_large) | [`http_body_util::LengthLimitError`], to which axum's extractors respond with 413 |
/// | [`is_malformed`](Self::is_malformed) | [`MalformedBodyError`] |
/// | [`is_too_slow`](Self::is_too_slow) | [`SlowBodyError`] |
/// | none of them | the error of the wrapped body |
///
/// ```
/// use http::StatusCode;
/// use tower_kit::limit::RequestBodyError;
///
/// fn status(error: &RequestBodyError) -> StatusCode {
///     if error.is_too_large() {
///         StatusCode::PAYLOAD_TOO_LARGE
///     } else if error.is_too_slow() {
///         StatusCode::REQUEST_TIMEOUT
///     } else {
///         StatusCode::BAD_REQUEST
///     }
/// }
/// # let _ = status;
/// ```
// The type does not implement `Error`: `From` for the box would overlap with the standard library's,
// and a box around the wrapper would hide the types that axum and hyper look for.
pub struct RequestBodyError {
    error: BoxError,
}

/// The boxed error of a request body that is not valid in its `content-encoding`: the body is
/// corrupt, truncated, or followed by further data.
///
/// See [`RequestBodyError::is_malformed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MalformedBodyError;

/// The boxed error of a request body that arrived below the minimum data rate.
///
/// See [`RequestBodyError::is_too_slow`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlowBodyError;

type BoxError = Box<dyn Error + Send + Sync>;

impl RequestBodyError {
    /// Returns `true` if the body is larger than its limit.
    ///
    /// The limit is the layer's, or that of an [`http_body_util::Limited`] that the layer wraps.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.error.is::<LengthLimitError>()
    }

    /// Returns `true` if the body is not valid in its `content-encoding`.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.error.is::<MalformedBodyError>()
    }

    /// Returns `true` if the body arrived below the minimum data rate.
    #[must_use]
    pub fn is_too_slow(&self) -> bool {
        self.error.is::<SlowBodyError>()
    }

    pub(super) fn inner(error: impl Into<BoxError>) -> Self {
        Self { error: error.into() }
    }

    #[cold]
    pub(super) fn of_failure(failure: BodyFailure) -> Self {
        let error = match failure {
            BodyFailure::TooLarge => length_limit_error(),
            BodyFailure::Malformed => MalformedBodyError.into(),
            BodyFailure::TooSlow => SlowBodyError.into(),
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

impl fmt::Display for MalformedBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body is not valid in its content-encoding")
    }
}

impl Error for MalformedBodyError {}

impl fmt::Display for SlowBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request body arrives below the minimum data rate")
    }
}

impl Error for SlowBodyError {}

/// Creates a [`LengthLimitError`]. axum responds with 413 to this type only, and the type has no
/// public constructor, so a [`Limited`] body produces the error.
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

    use super::*;

    #[test]
    fn boxed_errors_keep_their_types() {
        let boxed = |error: RequestBodyError| -> BoxError { error.into() };
        let large = RequestBodyError::of_failure(BodyFailure::TooLarge);
        assert!(large.is_too_large() && !large.is_malformed() && !large.is_too_slow());
        assert!(boxed(large).is::<LengthLimitError>());
        let malformed = RequestBodyError::of_failure(BodyFailure::Malformed);
        assert!(malformed.is_malformed() && !malformed.is_too_large() && !malformed.is_too_slow());
        assert!(boxed(malformed).is::<MalformedBodyError>());
        let slow = RequestBodyError::of_failure(BodyFailure::TooSlow);
        assert!(slow.is_too_slow() && !slow.is_too_large() && !slow.is_malformed());
        assert!(boxed(slow).is::<SlowBodyError>());
        let inner = RequestBodyError::inner(io::Error::other("broken"));
        assert_eq!(inner.to_string(), "broken");
        // An inner layer wraps the error of an outer one.
        assert!(boxed(RequestBodyError::inner(inner)).is::<io::Error>());
    }
}
