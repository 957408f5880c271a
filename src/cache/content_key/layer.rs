use std::sync::Arc;
use std::time::Duration;

use http::request;
use tower::Layer;

use super::config::Config;
use super::service::ContentKey;

/// A layer that makes the content of a `QUERY` a part of its key, so that the cache inside stores the
/// response (RFC 10008 §2.7). [`post_if`](Self::post_if) does the same for some `POST` requests.
///
/// The [module page](crate::cache::content_key) describes the behavior.
#[doc(alias = "QUERY")]
#[doc(alias = "RFC 10008")]
#[doc(alias = "GraphQL")]
#[doc(alias = "POST")]
#[doc(alias = "request body")]
#[derive(Clone, Debug, Default)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct ContentKeyLayer {
    config: Arc<Config>,
}

impl ContentKeyLayer {
    /// Creates a layer that reads the content of `QUERY` requests, of up to 64 KiB, for up to 5 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the `POST` requests that only read, such as queries of GraphQL. The cache treats them as
    /// `QUERY`: it looks their response up, and they purge nothing. None are chosen by default.
    ///
    /// `post` gets the head and the whole content. A request for which it returns `false` passes as
    /// without this layer, and a successful response purges the URL, with its responses to chosen
    /// requests (RFC 9111 §4.4). The same applies if `post` panics, or if the content is not known: it
    /// is over the [`max_content`](Self::max_content), or came too late.
    ///
    /// **A request that changes something must not be chosen**: the cache may respond to it in the
    /// place of the service. Content that cannot be parsed is best not chosen.
    ///
    /// The response to a chosen request is stored only if it states its lifetime itself, by
    /// `cache-control` or `expires` (RFC 9110 §9.3.3). No `content-location` is needed. A stale response
    /// is fetched anew without conditions, and a request with conditions or a range passes by the cache:
    /// these have another meaning for `POST`.
    ///
    /// ```
    /// use http::header::CONTENT_TYPE;
    /// use tower_kit::cache::content_key::ContentKeyLayer;
    ///
    /// // Searches only read, whatever their content.
    /// let layer = ContentKeyLayer::new().post_if(|request, _content| {
    ///     let json = request.headers.get(CONTENT_TYPE).is_some_and(|is| is == "application/json");
    ///     json && request.uri.path() == "/search"
    /// });
    /// # drop(layer);
    /// ```
    #[doc(alias = "GraphQL")]
    #[doc(alias = "proxy_cache_methods")]
    pub fn post_if<F>(self, post: F) -> Self
    where
        F: Fn(&request::Parts, &[u8]) -> bool + Send + Sync + 'static,
    {
        self.edit(|config| config.post = Some(Arc::new(post)))
    }

    /// Sets the maximum size of a content that is read, in bytes. 64 KiB by default, which is far more
    /// than a query that a person or a program writes. A request with more passes by the cache.
    #[doc(alias = "max_body")]
    pub fn max_content(self, bytes: u64) -> Self {
        self.edit(|config| config.max_content = bytes)
    }

    /// Sets the maximum memory of all contents together, in bytes: from the first byte that is read
    /// until the inner service has done with the request. 16 MiB by default, for 256 contents of the
    /// largest size. A request whose content finds no place passes by the cache.
    #[doc(alias = "memory limit")]
    pub fn max_buffered(self, bytes: u64) -> Self {
        self.edit(|config| config.max_buffered = bytes)
    }

    /// Sets the timeout of reading a content. 5 s by default, in which a phone sends 64 KiB. A request
    /// whose content has not ended by then passes by the cache, and the inner service reads the rest.
    #[doc(alias = "slowloris")]
    pub fn read_timeout(self, time: Duration) -> Self {
        self.edit(|config| config.read_timeout = time)
    }

    fn edit(mut self, edit: impl FnOnce(&mut Config)) -> Self {
        edit(Arc::make_mut(&mut self.config));
        self
    }
}

impl<S> Layer<S> for ContentKeyLayer {
    type Service = ContentKey<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ContentKey::new(inner, Arc::clone(&self.config))
    }
}
