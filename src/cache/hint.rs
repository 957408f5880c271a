use std::time::Duration;

/// The choices of a handler for its own response, which it adds to the extensions of the response.
///
/// A choice precedes the headers of the response and the settings of the layer. Only tags outlive a
/// validation: a handler that responds with a 304 adds its hint to that too.
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
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) revalidate_timeout: Option<Duration>,
    pub(crate) tags: Vec<String>,
}

impl CacheHint {
    /// Creates a hint that changes nothing: no lifetime, no times of stale responses, and no tags.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            no_store: false,
            ttl: None,
            stale_while_revalidate: None,
            stale_if_error: None,
            revalidate_timeout: None,
            tags: Vec::new(),
        }
    }

    /// Creates a hint that keeps the response from being stored.
    #[must_use]
    pub const fn no_store() -> Self {
        let mut hint = Self::new();
        hint.no_store = true;
        hint
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

    /// Sets the time after the lifetime for which the cache serves the response stale while it is
    /// refreshed in the background (RFC 5861 §3), whatever `stale-while-revalidate` its headers state
    /// to others. Zero turns that off for the response. Otherwise the header counts, and then
    /// [`CacheLayer::stale_while_revalidate`](crate::CacheLayer::stale_while_revalidate).
    ///
    /// A response with `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache` is never served
    /// stale; [`Exception::StaleSMaxAge`](crate::cache::Exception::StaleSMaxAge) excepts `s-maxage`,
    /// and a [`ttl`](Self::ttl) overrides `no-cache`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use http::Response;
    /// use tower_kit::cache::CacheHint;
    ///
    /// // A minute fresh, five more minutes while a request refreshes the list, and a day if the
    /// // database is down. A client that needs the refreshed list waits for at most 200 ms.
    /// let hint = CacheHint::new()
    ///     .ttl(Duration::from_secs(60))
    ///     .stale_while_revalidate(Duration::from_secs(300))
    ///     .stale_if_error(Duration::from_secs(24 * 60 * 60))
    ///     .revalidate_timeout(Duration::from_millis(200));
    /// let mut response = Response::new("the list");
    /// response.extensions_mut().insert(hint);
    /// ```
    #[doc(alias = "swr")]
    #[doc(alias = "grace")]
    #[must_use]
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        Self { stale_while_revalidate: Some(time), ..self }
    }

    /// Sets the time after the lifetime for which the cache serves the response if the inner service
    /// fails (RFC 5861 §4), whatever `stale-if-error` its headers state to others. Zero turns that off
    /// for the response. Otherwise the header counts, and then
    /// [`CacheLayer::stale_if_error`](crate::CacheLayer::stale_if_error).
    ///
    /// The same directives forbid it as
    /// [`stale_while_revalidate`](Self::stale_while_revalidate).
    #[doc(alias = "grace")]
    #[must_use]
    pub fn stale_if_error(self, time: Duration) -> Self {
        Self { stale_if_error: Some(time), ..self }
    }

    /// Sets the maximum time for which a request waits for the inner service while it could get this
    /// response stale, in place of
    /// [`CacheLayer::revalidate_timeout`](crate::CacheLayer::revalidate_timeout). The entry keeps the
    /// time, also in a store that processes share.
    #[doc(alias = "soft timeout")]
    #[must_use]
    pub fn revalidate_timeout(self, time: Duration) -> Self {
        Self { revalidate_timeout: Some(time), ..self }
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
