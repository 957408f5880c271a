use std::time::Duration;

/// The choices of a handler for its own response, which it adds to the extensions of the response.
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
#[doc(alias = "Hint")]
pub struct CacheHint {
    pub(crate) no_store: bool,
    pub(crate) ttl: Option<Duration>,
    pub(crate) tags: Vec<String>,
}

impl CacheHint {
    /// Creates a hint that changes nothing: no lifetime, and no tags.
    #[must_use]
    pub const fn new() -> Self {
        Self { no_store: false, ttl: None, tags: Vec::new() }
    }

    /// Creates a hint that keeps the response from being stored.
    #[must_use]
    pub const fn no_store() -> Self {
        Self { no_store: true, ttl: None, tags: Vec::new() }
    }

    /// Sets the lifetime of the response in this cache, whatever lifetime its headers state to others,
    /// and whatever final status it has.
    ///
    /// A response that may not be stored for another reason, such as `no-store` or `set-cookie`, is not stored. The
    /// response is for all clients then, also for those with other cookies; only a layer made by
    /// [`with_ttl`](crate::CacheLayer::with_ttl) still passes requests with `cookie` by.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// Adds a tag. [`CacheHandle::purge_tag`](crate::cache::CacheHandle::purge_tag) purges all
    /// responses with the tag. The headers `surrogate-key` and `cache-tag` of the response add tags
    /// too.
    #[doc(alias = "surrogate-key")]
    #[doc(alias = "apicacheGroup")]
    #[doc(alias = "Cache-Tag")]
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
