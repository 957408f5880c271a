/// The preference of a handler about dictionaries for its own response, set as an extension of the
/// response.
///
/// ```
/// use http::Response;
/// use tower_kit::compress::dictionary::DictionaryHint;
///
/// let mut response = Response::new("a secret beside user input");
/// response.extensions_mut().insert(DictionaryHint::forbid());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DictionaryHint {
    pub(super) is_forbidden: bool,
}

impl DictionaryHint {
    /// Creates a hint to compress this response without a dictionary, and not to keep it as one.
    ///
    /// [`CompressHint::forbid`](crate::compress::CompressHint::forbid) implies that.
    #[must_use]
    pub const fn forbid() -> Self {
        Self { is_forbidden: true }
    }
}
