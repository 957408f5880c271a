use std::error::Error;
use std::fmt;

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

impl BodyError {
    pub(super) fn malformed() -> Self {
        Self { kind: Kind::Malformed }
    }

    pub(super) fn too_slow() -> Self {
        Self { kind: Kind::TooSlow }
    }

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
