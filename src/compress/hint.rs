/// The preference of a handler for its own response, as one of the response's extensions.
///
/// ```
/// use http::Response;
/// use tower_kit::compress::Hint;
///
/// let mut response = Response::new("already small");
/// response.extensions_mut().insert(Hint::forbid());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    pub(super) preference: Option<bool>,
    pub(super) padding: u8,
}

impl Hint {
    /// Compresses this response whatever its media type and its size, and whatever
    /// [`only_if`](super::CompressLayer::only_if) says, if the client takes a coding and HTTP allows it.
    #[must_use]
    pub const fn force() -> Self {
        Self { preference: Some(true), padding: 0 }
    }

    /// Leaves this response as it is.
    #[must_use]
    pub const fn forbid() -> Self {
        Self { preference: Some(false), padding: 0 }
    }

    /// Makes this response longer by a random number of bytes where it is compressed: by 2 to
    /// `most` + 1. Only gzip has a place for them: with this, no other coding is chosen.
    ///
    /// ```
    /// use tower_kit::compress::Hint;
    ///
    /// let padded_if_compressed = Hint::default().pad(100);
    /// # drop(padded_if_compressed);
    /// ```
    #[must_use]
    pub const fn pad(self, most: u8) -> Self {
        Self { padding: most, ..self }
    }
}
