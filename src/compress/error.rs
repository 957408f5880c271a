use std::error::Error;
use std::fmt;

use super::codec::CodecError;

/// The error of a response body: the inner body failed, or it could not be compressed to its end.
///
/// The error converts into a `Box<dyn Error + Send + Sync>`, as hyper and axum convert it. The
/// error of the inner body is then boxed as it was, and can be downcast to its own type.
#[derive(Debug)]
#[doc(alias = "BodyError")]
pub struct CompressError<E> {
    kind: Kind<E>,
}

#[derive(Debug)]
enum Kind<E> {
    Inner(E),
    Own(Failure),
}

/// The reason why a compressed body ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Short { declared: u64, received: u64 },
    Long { declared: u64 },
    Codec,
}

type BoxError = Box<dyn Error + Send + Sync>;

impl<E> CompressError<E> {
    /// Returns `true` if the inner body had fewer or more bytes than its `content-length`, or its
    /// exact size hint, declared.
    #[must_use]
    pub const fn is_length_mismatch(&self) -> bool {
        matches!(self.kind, Kind::Own(Failure::Short { .. } | Failure::Long { .. }))
    }

    /// Returns `true` if the codec failed.
    #[must_use]
    pub const fn is_codec_failure(&self) -> bool {
        matches!(self.kind, Kind::Own(Failure::Codec))
    }

    /// Returns the error of the inner body, or `None` if the layer itself failed.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        match self.kind {
            Kind::Inner(error) => Some(error),
            Kind::Own(_) => None,
        }
    }

    pub(super) const fn inner(error: E) -> Self {
        Self { kind: Kind::Inner(error) }
    }

    pub(super) const fn own(failure: Failure) -> Self {
        Self { kind: Kind::Own(failure) }
    }
}

impl<E: fmt::Display> fmt::Display for CompressError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inner(error) => error.fmt(f),
            Kind::Own(failure) => failure.fmt(f),
        }
    }
}

// `CompressError` is not an `Error` itself: the blanket conversion into a box would wrap the inner
// error, and code that downcasts it, as hyper does for errors of h2, would not find it.
impl<E: Into<BoxError>> From<CompressError<E>> for BoxError {
    fn from(error: CompressError<E>) -> Self {
        match error.kind {
            Kind::Inner(error) => error.into(),
            Kind::Own(failure) => failure.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { declared, received } => {
                write!(f, "the response body ended after {received} of {declared} declared bytes")
            }
            Self::Long { declared } => {
                write!(f, "the response body has more than its {declared} declared bytes")
            }
            Self::Codec => f.write_str("the codec that compresses the response body failed"),
        }
    }
}

impl Error for Failure {}

impl From<CodecError> for Failure {
    fn from(_: CodecError) -> Self {
        Self::Codec
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn inner_errors_are_boxed_as_they_were() {
        let error = CompressError::inner(io::Error::other("broken"));
        assert_eq!(error.to_string(), "broken");
        let boxed: BoxError = error.into();
        assert!(boxed.is::<io::Error>());
        let twice: BoxError = CompressError::inner(boxed).into();
        assert!(twice.is::<io::Error>());
        assert_eq!(CompressError::inner(7).into_inner(), Some(7));
    }

    #[test]
    fn own_errors_name_the_failure() {
        let short = CompressError::<io::Error>::own(Failure::Short { declared: 5, received: 3 });
        assert!(short.is_length_mismatch() && !short.is_codec_failure());
        assert_eq!(short.to_string(), "the response body ended after 3 of 5 declared bytes");
        let codec = CompressError::<io::Error>::own(Failure::Codec);
        assert!(codec.is_codec_failure() && codec.into_inner().is_none());
    }
}
