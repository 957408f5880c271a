use std::time::Duration;

/// A hint of a handler about its own response, in the extensions of the response.
///
/// ```
/// use std::time::Duration;
///
/// use http::Response;
/// use tower_kit::cache::CacheHint;
///
/// let mut response = Response::new("the list");
/// response.extensions_mut().insert(CacheHint::new().ttl(Duration::from_secs(60)).tag("items"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheHint {
    pub(crate) no_store: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<String>,
}

impl CacheHint {
    /// Creates a hint without effect, to be extended.
    #[must_use]
    pub const fn new() -> Self {
        Self { no_store: false, ttl: None, tags: Vec::new() }
    }

    /// Creates a hint that the response must not be stored.
    #[must_use]
    pub const fn no_store() -> Self {
        Self { no_store: true, ttl: None, tags: Vec::new() }
    }

    /// Stores the response for `ttl`, whatever lifetime its headers state to others, and whatever final
    /// status it has. A response that must not be stored is not stored. It is for all clients then,
    /// those with other cookies too; in a layer made by [`aside`](crate::CacheLayer::with_ttl), a request
    /// with `cookie` passes by all the same.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Adds a tag, by which the response can be purged together with all others that have it.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
