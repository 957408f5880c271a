use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;

use http::{HeaderMap, Request, Response, Uri, request};
use http_body::Body;
use tower::Service;

use super::body::{FRAMES_AT_ONCE, LONGEST_FILL};
use super::classify::Warm;
use super::config::Config;
use super::error::StoreError;
use super::fetch::Call;
use super::key::Key;
use super::metrics::Statistics;
use super::policy::user_tag;
use super::purge::{Purge, PurgeFuture, ScopedPurges};
use super::storage;

/// A handle to the entries of a layer: it purges, warms and counts them. Clones refer to the same
/// layer.
///
/// [`CacheLayer::handle`](super::CacheLayer::handle) returns it. The handle also refers to all layers
/// that setters make of that layer later, and to their clones. Only a
/// [`store_timeout`](super::CacheLayer::store_timeout) that is set later does not bound its
/// [`purge_all`](Self::purge_all).
///
/// A purge takes effect in this process as soon as the method returns, before any `await`, and also
/// hits the responses that are being fetched. Purged entries are never served; their memory is freed
/// when other entries need it. If processes share a store, await the [`PurgeFuture`] to know that the
/// purge is written down for all of them.
///
/// The page on [invalidation](super::guide::invalidation) has an example.
#[doc(alias = "PURGE")]
#[doc(alias = "BAN")]
#[doc(alias = "Varnish")]
#[derive(Clone, Debug)]
pub struct CacheHandle {
    config: Arc<Config>,
}

/// The error of [`CacheHandle::purge_url`]: a URL that no entry can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl {
    given: String,
}

/// A hard or a soft purge.
type PurgeBy = fn(&ScopedPurges, Purge<'_>, u64) -> PurgeFuture;

impl CacheHandle {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self { config }
    }

    /// Purges all variants of a URL: `https://host/path?query`, or `/path?query` if the key has no host.
    ///
    /// The query counts as far as the [`CacheKey`](super::CacheKey) of the layer uses it. If the URL has
    /// one, the responses to other queries of its path that state a `no-vary-search` are purged too, since
    /// they may answer this URL. The scheme
    /// is `http` for requests of HTTP/1, also behind a proxy that speaks TLS, unless
    /// [`CacheKey::scheme`](super::CacheKey::scheme) sets another one.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    /// use tower_kit::MIB;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = CacheLayer::new(MemoryStore::new(64 * MIB)).handle();
    /// handle.purge_url("http://example.org/items?page=2")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the text is no URL, such as a host without a scheme, or has no host although
    /// the key has one.
    #[doc(alias = "PURGE")]
    pub fn purge_url(&self, url: &str) -> Result<PurgeFuture, InvalidUrl> {
        self.all_urls(url, ScopedPurges::purge)
    }

    /// Makes all variants of a URL stale, which is written as for [`purge_url`](Self::purge_url).
    ///
    /// A stale response is never served as a fresh one. It is validated with its `etag` or
    /// `last-modified`, which costs no body if nothing has changed. It is served within
    /// `stale-while-revalidate` while it is refreshed, and within
    /// [`stale_if_error`](super::CacheLayer::stale_if_error) if the inner service fails; both times
    /// begin with the purge. A response that must not be served stale, such as one with
    /// `must-revalidate`, is validated first in any case. Its `age` and `cache-control` stay as they
    /// are: caches of clients do not learn of the purge.
    ///
    /// Use it where an old response does little harm, and [`purge_url`](Self::purge_url) where it must
    /// not be served again. A purge by the other method wins over a soft purge, whichever comes first.
    /// A response that was asked for before the purge is stored as stale.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    /// use tower_kit::MIB;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let handle = CacheLayer::new(MemoryStore::new(64 * MIB)).handle();
    /// handle.soft_purge_url("http://example.org/items?page=2")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error as [`purge_url`](Self::purge_url) does.
    #[doc(alias = "Fastly-Soft-Purge")]
    #[doc(alias = "mark stale")]
    #[doc(alias = "expire")]
    pub fn soft_purge_url(&self, url: &str) -> Result<PurgeFuture, InvalidUrl> {
        self.all_urls(url, ScopedPurges::soft_purge)
    }

    /// Purges all variants of the URL of a request, such as that of a `PURGE` to a proxy. The URL is the
    /// one that the [`CacheKey`](super::CacheKey) of the layer takes from such a request: the method
    /// does not count, and neither do the other parts of the key.
    ///
    /// The layer itself passes `PURGE` to the inner service like any method that it does not know. Call
    /// this method outside of the layer instead, and **only for clients that may purge**:
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_kit::cache::CacheHandle;
    ///
    /// async fn purge<B>(handle: &CacheHandle, request: Request<B>, may_purge: bool) -> StatusCode {
    ///     if !may_purge {
    ///         return StatusCode::FORBIDDEN;
    ///     }
    ///     match handle.purge_request(&request.into_parts().0) {
    ///         // An error is told to other processes later.
    ///         Ok(purge) => drop(purge.await),
    ///         Err(_) => return StatusCode::BAD_REQUEST,
    ///     }
    ///     StatusCode::OK
    /// }
    /// # drop(purge::<()>);
    /// ```
    ///
    /// A purge does not tell if there was an entry: it also hits the responses that are being fetched, and
    /// the entries of other processes.
    ///
    /// # Errors
    ///
    /// Returns an error if no entry can have such a request: its host is malformed or stated twice, its
    /// key is over 8 KiB, or a callback of the key panics.
    #[doc(alias = "PURGE")]
    #[doc(alias = "Varnish")]
    #[doc(alias = "proxy_cache_purge")]
    pub fn purge_request(&self, request: &request::Parts) -> Result<PurgeFuture, InvalidUrl> {
        self.all_urls_of(request, ScopedPurges::purge)
    }

    /// Makes all variants of the URL of a request stale: [`purge_request`](Self::purge_request) as
    /// [`soft_purge_url`](Self::soft_purge_url) does it.
    ///
    /// # Errors
    ///
    /// Returns an error as [`purge_request`](Self::purge_request) does.
    #[doc(alias = "PURGE")]
    #[doc(alias = "Fastly-Soft-Purge")]
    pub fn soft_purge_request(&self, request: &request::Parts) -> Result<PurgeFuture, InvalidUrl> {
        self.all_urls_of(request, ScopedPurges::soft_purge)
    }

    /// Purges all URLs that start with `prefix`: `http://host/path` purges `http://host/path2` too.
    ///
    /// The prefix is compared byte for byte with URLs as keys have them: with the scheme as for
    /// [`purge_url`](Self::purge_url), and with the host in lower case and without its default port.
    #[doc(alias = "BAN")]
    pub fn purge_prefix(&self, prefix: &str) -> PurgeFuture {
        self.purge(Purge::Prefix(prefix), ScopedPurges::purge)
    }

    /// Makes all URLs that start with `prefix` stale, as [`soft_purge_url`](Self::soft_purge_url) does.
    /// The prefix is compared as by [`purge_prefix`](Self::purge_prefix).
    #[doc(alias = "Fastly-Soft-Purge")]
    #[doc(alias = "mark stale")]
    pub fn soft_purge_prefix(&self, prefix: &str) -> PurgeFuture {
        self.purge(Purge::Prefix(prefix), ScopedPurges::soft_purge)
    }

    /// Purges all responses with a tag: of a [`CacheHint`](super::CacheHint), or of the headers
    /// `surrogate-key` and `cache-tag`.
    #[doc(alias = "BAN")]
    #[doc(alias = "surrogate-key")]
    #[doc(alias = "Cache-Tag")]
    pub fn purge_tag(&self, tag: &str) -> PurgeFuture {
        self.purge(Purge::Tag(&user_tag(tag)), ScopedPurges::purge)
    }

    /// Makes all responses with a tag stale, as [`soft_purge_url`](Self::soft_purge_url) does.
    #[doc(alias = "Fastly-Soft-Purge")]
    #[doc(alias = "mark stale")]
    #[doc(alias = "surrogate-key")]
    #[doc(alias = "Cache-Tag")]
    pub fn soft_purge_tag(&self, tag: &str) -> PurgeFuture {
        self.purge(Purge::Tag(&user_tag(tag)), ScopedPurges::soft_purge)
    }

    /// Purges everything, and empties the store, for all layers and values that share it. Unlike the
    /// other purges, it has to be awaited. Redis removes the entries in the background.
    ///
    /// # Errors
    ///
    /// Returns an error if the store does not remove its entries or does not tell the other processes
    /// within [`store_timeout`](super::CacheLayer::store_timeout). This process does not serve the
    /// entries any more.
    #[doc(alias = "flush")]
    pub async fn purge_all(&self) -> Result<(), StoreError> {
        drop(self.purge(Purge::All, ScopedPurges::purge));
        storage::clear(&self.config).await
    }

    /// Makes everything in the store stale, for all layers and values that share it, as
    /// [`soft_purge_url`](Self::soft_purge_url) does: after a deployment, say. The store keeps its
    /// entries.
    #[doc(alias = "Fastly-Soft-Purge")]
    #[doc(alias = "mark stale")]
    pub fn soft_purge_all(&self) -> PurgeFuture {
        self.purge(Purge::All, ScopedPurges::soft_purge)
    }

    /// Returns the number of requests by outcome, since the layer was made, and the usage of the store.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let usage = storage::usage(&self.config).unwrap_or_default();
        let states = self.config.state.family.states();
        let none = Statistics { usage, ..Statistics::default() };
        states.iter().fold(none, |sum, state| state.metrics.add_to(sum))
    }

    /// Returns the number of fetches that other requests may wait for, including validations.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.config.state.family.states().iter().map(|state| state.coalescer.len()).sum()
    }

    /// Sends a request through `service`, which has this layer, and reads the response to its end. The
    /// response takes the place of a stored one, even of a fresh one.
    ///
    /// The request has to be like those of clients: with the host, in its URI or in `host`, and with
    /// the headers that `vary` names. The body is read for at most 60 s; a body that takes longer is
    /// not stored. The time until the response comes has no limit here.
    ///
    /// # Errors
    ///
    /// Returns the error of the service. An error of the response body is no error: the response is
    /// not stored then.
    #[doc(alias = "preload")]
    pub async fn warm<S, B, ResBody>(
        &self,
        service: S,
        mut request: Request<B>,
    ) -> Result<(), S::Error>
    where
        S: Service<Request<B>, Response = Response<ResBody>>,
        ResBody: Body,
    {
        request.extensions_mut().insert(Warm);
        let response = Call::new(service, request).await?;
        let mut body = std::pin::pin!(response.into_body());
        let reading = async {
            let mut frames = 0;
            while let Some(Ok(_)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                frames += 1;
                // A body that is always ready would keep other tasks from running, and the timer too.
                if frames % FRAMES_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        };
        drop(tokio::time::timeout(LONGEST_FILL, reading).await);
        Ok(())
    }

    fn all_urls(&self, url: &str, purge: PurgeBy) -> Result<PurgeFuture, InvalidUrl> {
        let invalid = || InvalidUrl { given: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        // A word alone is a URI too, that of CONNECT: a host without a path.
        if uri.path().is_empty() {
            return Err(invalid());
        }
        // Entries may be under a key that the layer got after this handle was taken.
        let keys = self.config.state.family.keys();
        let keys = keys.iter().filter(|key| key.is_complete(&uri));
        let keys = keys.filter_map(|key| key.url(&uri, &HeaderMap::new()).ok());
        self.urls(keys, purge).ok_or_else(invalid)
    }

    fn all_urls_of(
        &self,
        request: &request::Parts,
        purge: PurgeBy,
    ) -> Result<PurgeFuture, InvalidUrl> {
        let keys = self.config.state.family.keys();
        let keys = keys.iter().filter_map(|key| key.of(request).ok());
        self.urls(keys, purge).ok_or_else(|| InvalidUrl { given: request.uri.to_string() })
    }

    fn urls(&self, keys: impl Iterator<Item = Key>, purge: PurgeBy) -> Option<PurgeFuture> {
        let urls: BTreeSet<_> = keys.map(|key| key.url().to_owned()).collect();
        let purgings = urls.iter().map(|url| self.purge(Purge::Url(url), purge));
        all(purgings.collect())
    }

    fn purge(&self, what: Purge<'_>, by: PurgeBy) -> PurgeFuture {
        // Entries may be in a namespace that the layer got after this handle was taken.
        let now = self.config.clock.now();
        let states = self.config.state.family.states();
        let mut namespaces: Vec<&ScopedPurges> = vec![&self.config.state.purges];
        for state in &states {
            if namespaces.iter().all(|known| known.namespace() != state.purges.namespace()) {
                namespaces.push(&state.purges);
            }
        }
        let purgings = namespaces.iter().map(|purges| by(purges, what, now)).collect();
        let Some(purging) = all(purgings) else { return PurgeFuture::done() };
        if !self.config.state.purges.is_shared() {
            return purging;
        }
        let config = Arc::clone(&self.config);
        PurgeFuture::new(async move { storage::confirm_purge(&config, purging).await })
    }
}

/// Returns a purge that succeeds if all of them do, or `None` if there are none.
fn all(mut purgings: Vec<PurgeFuture>) -> Option<PurgeFuture> {
    let last = purgings.pop()?;
    if purgings.is_empty() {
        return Some(last);
    }
    Some(PurgeFuture::new(async move {
        let mut written = last.await;
        for purging in purgings {
            written = purging.await.and(written);
        }
        written
    }))
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "not the URL of an entry: {:?}; give scheme, host and path, or the path alone if the key has \
             no host",
            self.given
        )
    }
}

impl Error for InvalidUrl {}
