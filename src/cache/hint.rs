use std::time::Duration;

/// What a handler says of its own response, as one of the response's extensions.
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
    /// Says nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { no_store: false, ttl: None, tags: Vec::new() }
    }

    /// Do not keep this response.
    #[must_use]
    pub const fn no_store() -> Self {
        Self { no_store: true, ttl: None, tags: Vec::new() }
    }

    /// Keep this response for `ttl` here, whatever freshness its fields state to others, and
    /// whatever final status it has. What may not be kept is not kept. It is for all clients then,
    /// those with other cookies too; in a layer made by [`aside`](crate::CacheLayer::with_ttl), a request
    /// with `cookie` passes by all the same.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// A name to purge this response by, together with all others that have it.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }
}
