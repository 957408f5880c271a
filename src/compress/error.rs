use std::error::Error;
use std::fmt;

/// The error of a response body under [`CompressLayer`](super::CompressLayer): the inner body's
/// own, or that the body could not be compressed to its end.
///
/// It converts into a `Box<dyn Error + Send + Sync>`, as hyper and axum do with it; the inner
/// body's error is then boxed as it was, and downcasts to its own type.
#[derive(Debug)]
pub struct BodyError<E> {
    kind: Kind<E>,
}

#[derive(Debug)]
enum Kind<E> {
    Inner(E),
    Own(Failure),
}

/// Why a compressed body ends before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Short { declared: u64, received: u64 },
    Long { declared: u64 },
    Codec,
}

/// What a boxed error is made of.
type BoxError = Box<dyn Error + Send + Sync>;

impl<E> BodyError<E> {
    /// Returns `true` if the inner body had fewer or more bytes than its `content-length`, or its
    /// exact size hint, had promised.
    #[must_use]
    pub const fn is_length_mismatch(&self) -> bool {
        matches!(self.kind, Kind::Own(Failure::Short { .. } | Failure::Long { .. }))
    }

    /// Returns `true` if the codec failed.
    #[must_use]
    pub const fn is_codec_failure(&self) -> bool {
        matches!(self.kind, Kind::Own(Failure::Codec))
    }

    /// Returns the inner body's error, if it was that which failed.
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

impl<E: fmt::Display> fmt::Display for BodyError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Inner(error) => error.fmt(f),
            Kind::Own(failure) => failure.fmt(f),
        }
    }
}

// `BodyError` itself is no `Error`, so that this can unwrap the inner error: who looks for a type
// of error in a box, as hyper does for that of h2, finds it where it was without the layer.
impl<E: Into<BoxError>> From<BodyError<E>> for BoxError {
    fn from(error: BodyError<E>) -> Self {
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
                write!(f, "the response body has more than the {declared} declared bytes")
            }
            Self::Codec => f.write_str("the response body could not be compressed"),
        }
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn inner_errors_are_boxed_as_they_were() {
        let error = BodyError::inner(io::Error::other("broken"));
        assert_eq!(error.to_string(), "broken");
        let boxed: BoxError = error.into();
        assert!(boxed.is::<io::Error>());
        let twice: BoxError = BodyError::inner(boxed).into();
        assert!(twice.is::<io::Error>());
        assert_eq!(BodyError::inner(7).into_inner(), Some(7));
    }

    #[test]
    fn own_errors_tell_what_failed() {
        let short = BodyError::<io::Error>::own(Failure::Short { declared: 5, received: 3 });
        assert!(short.is_length_mismatch() && !short.is_codec_failure());
        assert_eq!(short.to_string(), "the response body ended after 3 of 5 declared bytes");
        let codec = BodyError::<io::Error>::own(Failure::Codec);
        assert!(codec.is_codec_failure() && codec.into_inner().is_none());
    }
}
