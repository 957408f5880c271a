/// The preference of a handler for its own response, set as an extension of the response.
///
/// ```
/// use http::Response;
/// use tower_kit::compress::CompressHint;
///
/// let mut response = Response::new("already small");
/// response.extensions_mut().insert(CompressHint::forbid());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[doc(alias = "Hint")]
pub struct CompressHint {
    pub(super) preference: Option<bool>,
    pub(super) max_padding: u8,
}

impl CompressHint {
    /// Creates a hint to compress this response whatever its media type, its size and the result of
    /// [`only_if`](super::CompressLayer::only_if), if the client accepts an encoding and HTTP
    /// allows it.
    #[must_use]
    pub const fn force() -> Self {
        Self { preference: Some(true), max_padding: 0 }
    }

    /// Creates a hint to leave this response uncompressed.
    #[must_use]
    pub const fn forbid() -> Self {
        Self { preference: Some(false), max_padding: 0 }
    }

    /// Sets the maximum number of random padding bytes in a compressed response: it becomes 2 to
    /// `bytes` + 1 bytes longer. 0, the default, adds none.
    ///
    /// Padding makes [BREACH](super#secrets) take longer. Only gzip has a place for it, so that no
    /// other encoding is chosen.
    ///
    /// ```
    /// use tower_kit::compress::CompressHint;
    ///
    /// let hint = CompressHint::default().max_padding(100);
    /// # drop(hint);
    /// ```
    #[must_use]
    #[doc(alias = "pad")]
    #[doc(alias = "BREACH")]
    pub const fn max_padding(self, bytes: u8) -> Self {
        Self { max_padding: bytes, ..self }
    }
}
