use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The error of a [`ResponseBody`](super::ResponseBody).
///
/// The error is nearly always that of the body of the inner service. Several clients may read the same
/// body; all of them get the same error, which is then the [`source`](Error::source) of each. Its text
/// is that of the inner error.
#[derive(Clone, Debug)]
pub struct BodyError(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Inner(Arc<dyn Error + Send + Sync>),
    Lagged,
    Panicked,
}

impl BodyError {
    pub(crate) fn inner(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Kind::Inner(error.into().into()))
    }

    pub(crate) const fn lagged() -> Self {
        Self(Kind::Lagged)
    }

    pub(crate) const fn panicked() -> Self {
        Self(Kind::Panicked)
    }

    /// Returns `true` if the client read a shared body more slowly than the other clients, by more
    /// than [`max_entry_size`](crate::CacheLayer::max_entry_size), and the body is not stored.
    #[must_use]
    pub const fn is_lagged(&self) -> bool {
        matches!(self.0, Kind::Lagged)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Inner(error) => error.fmt(f),
            Kind::Lagged => f.write_str(
                "the client read a shared response body too slowly, and the rest of it is gone",
            ),
            Kind::Panicked => f.write_str("the response body of the inner service panicked"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            Kind::Inner(error) => Some(&**error),
            Kind::Lagged | Kind::Panicked => None,
        }
    }
}
