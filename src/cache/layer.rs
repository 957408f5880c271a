use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, StatusCode, request};
use metrics::Recorder;
use tower::Layer;

use super::cache_status::{CacheName, InvalidName};
use super::clock::Clock;
use super::config::Config;
use super::handle::CacheHandle;
use super::key::CacheKey;
use super::policy::{Exception, InvalidNumber, Rules};
use super::service::Cache;
use super::store::Store;
use crate::metrics::Metrics;

/// A layer that serves `GET` and `HEAD` requests from a store, as a shared cache by RFC 9111. The
/// [module page](crate::cache) describes its behavior, metrics and defaults.
///
/// Clones share the store, the purges and the requests in flight. Setters take a layer and return
/// the changed layer; a [`handle`](Self::handle) refers to both.
#[doc(alias = "HTTP cache")]
#[doc(alias = "proxy_cache")]
#[doc(alias = "Varnish")]
#[doc(alias = "single flight")]
#[doc(alias = "thundering herd")]
#[doc(alias = "stampede")]
#[doc(alias = "dogpile")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct CacheLayer {
    config: Arc<Config>,
}

impl CacheLayer {
    /// Creates a layer that stores the responses that RFC 9111 permits a shared cache to store, for
    /// the lifetime that they state.
    pub fn new(store: impl Store) -> Self {
        Self { config: Arc::new(Config::new(Rules::default(), store)) }
    }

    /// Creates a layer that stores each 200 response to a `GET` for `ttl`, whatever lifetime it
    /// states.
    ///
    /// Responses that may not be stored for another reason are not stored: see [`Exception`].
    /// Neither is a response whose `cache-control` cannot be parsed.
    ///
    /// A request with `cookie` passes by the cache, with `detail=cookie` in `cache-status`, since
    /// the page may be made for one session. This does not apply if the layer allows
    /// [`Exception::Cookie`], or if all cookies are part of the [`key`](Self::key) or ignored by it
    /// ([`CacheKey::cookie`], [`CacheKey::without_cookies`]). The cache does not know other headers
    /// that identify a session, such as an `x-user` set by a proxy: add them to the key. Responses
    /// that must not be stored, such as health checks and metrics, need
    /// [`skip_if`](Self::skip_if), or routes outside the layer.
    #[doc(alias = "apicache")]
    #[doc(alias = "memoize")]
    #[doc(alias = "cacheResponse")]
    #[doc(alias = "cache_page")]
    #[doc(alias = "aside")]
    pub fn with_ttl(store: impl Store, ttl: Duration) -> Self {
        let rules = Rules { aside: Some(ttl), ..Rules::default() };
        Self { config: Arc::new(Config::new(rules, store)) }
    }

    /// Sets the lifetime of responses that state none and have no `last-modified` to derive it
    /// from, if their status permits a guess (RFC 9110 §15.1). None by default: such responses are
    /// not stored. Errors, including 404, have no default lifetime: set it with [`ttl`](Self::ttl).
    ///
    /// Requests with `cookie` neither fill the cache with such a response nor get one, unless the
    /// layer allows [`Exception::Cookie`], or all cookies are part of the [`key`](Self::key) or ignored
    /// by it.
    #[doc(alias = "ttl")]
    #[doc(alias = "max-age")]
    pub fn default_ttl(self, ttl: Duration) -> Self {
        self.rules(|rules| rules.default_ttl = Some(ttl))
    }

    /// Sets the lifetime of responses with this status that state none. In a layer made by
    /// [`with_ttl`](Self::with_ttl) this lifetime also replaces the one that a response states.
    ///
    /// Responses with this status are stored even if the status is not one of those that are stored
    /// by [default](crate::cache::guide::storage#responses-that-are-stored). Requests with `cookie`
    /// are excepted as for [`default_ttl`](Self::default_ttl).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use http::StatusCode;
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // Responses that state no lifetime are stored for a minute, and a 404 for five seconds.
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .default_ttl(Duration::from_secs(60))
    ///     .ttl(StatusCode::NOT_FOUND, Duration::from_secs(5));
    /// # drop(layer);
    /// ```
    #[doc(alias = "negative caching")]
    #[doc(alias = "max-age")]
    pub fn ttl(self, status: StatusCode, ttl: Duration) -> Self {
        self.rules(|rules| {
            rules.ttls.retain(|(of, _)| *of != status);
            rules.ttls.push((status, ttl));
        })
    }

    /// Shortens each lifetime by a random part of it, of up to `fraction`, so that responses that
    /// were stored together do not expire together. 0 by default: the lifetime that a response
    /// states is exact.
    ///
    /// # Errors
    ///
    /// Returns an error unless `0 <= fraction <= 1`.
    #[doc(alias = "stampede")]
    pub fn jitter(self, fraction: f64) -> Result<Self, InvalidNumber> {
        let fraction = InvalidNumber::check(fraction, 1.0)?;
        Ok(self.rules(|rules| rules.jitter = fraction))
    }

    /// Refreshes entries in the background before they expire: at random, and the likelier the
    /// nearer the end is and the slower the inner service was (XFetch). A `beta` of 1 is the
    /// optimum, and a greater one refreshes earlier. 0 by default: entries are not refreshed early.
    ///
    /// # Errors
    ///
    /// Returns an error unless `0 <= beta <= 1000`.
    #[doc(alias = "XFetch")]
    #[doc(alias = "probabilistic early expiration")]
    #[doc(alias = "stampede")]
    #[doc(alias = "dogpile")]
    #[doc(alias = "prefetch")]
    pub fn early_refresh(self, beta: f64) -> Result<Self, InvalidNumber> {
        let beta = InvalidNumber::check(beta, 1000.0)?;
        Ok(self.rules(|rules| rules.early_refresh = beta))
    }

    /// Sets the time for which a stale entry is served while one request refreshes it in the
    /// background, from the end of its lifetime on (RFC 5861 §3). This time is for responses that
    /// state no `stale-while-revalidate` and do not forbid it, and that come fresh: a response with
    /// `max-age=0` wants to be validated. Zero by default, so that no response is served stale unless
    /// the response or the layer says so.
    ///
    /// [`CacheHint::stale_while_revalidate`](super::CacheHint::stale_while_revalidate) sets it for one
    /// response. The guide has a [table](super::guide::storage#stale-responses) of what precedes
    /// what.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // No client waits for an entry that expired less than a minute ago.
    /// let layer = CacheLayer::with_ttl(MemoryStore::new(64 * tower_kit::MIB), Duration::from_secs(300))
    ///     .stale_while_revalidate(Duration::from_secs(60));
    /// # drop(layer);
    /// ```
    #[doc(alias = "swr")]
    #[doc(alias = "grace")]
    #[doc(alias = "proxy_cache_background_update")]
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        self.rules(|rules| rules.while_revalidate = time)
    }

    /// Sets the time for which a stale entry is served if the inner service fails or responds with
    /// 5xx, from the end of its lifetime on. This time is for responses that state no
    /// `stale-if-error` and do not forbid it. 600 s by default, to hide failures of some minutes. A
    /// stored error is never served in this way.
    #[doc(alias = "grace")]
    #[doc(alias = "serve stale")]
    #[doc(alias = "keep stale")]
    pub fn stale_if_error(self, grace: Duration) -> Self {
        self.rules(|rules| rules.grace = grace)
    }

    /// Obeys `cache-control` and `pragma` of requests, as RFC 9111 §5.2.1 describes: `no-cache`,
    /// `no-store`, `max-age`, `max-stale`, `min-fresh` and `only-if-cached`. Requests that ask for
    /// a new response at the same time are coalesced.
    ///
    /// Off by default, as in other caches in front of a service: browsers send these directives
    /// with each reload, and any client could force misses. Turn it on for a proxy that clients
    /// know, or for a cache between services.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).honor_request_control();
    /// # drop(layer);
    /// ```
    #[doc(alias = "ignore_request_control")]
    #[doc(alias = "no-cache")]
    #[doc(alias = "only-if-cached")]
    pub fn honor_request_control(self) -> Self {
        self.rules(|rules| rules.heed_request = true)
    }

    /// Sets the time for which a failure of the inner service is remembered. 1 s by default: long
    /// enough that a failing service is not called by every request, and short enough to notice
    /// that it is back.
    ///
    /// A failure is an error, or a response with a 5xx status. The request that called the inner
    /// service gets it unchanged. The requests that wait for the same response share the failure:
    /// they get a stale entry, or, if there is none, an empty response with the same status (503
    /// for an error), with `retry-after`, and with `detail=service-failed` in `cache-status`.
    ///
    /// Requests of the next `ttl` are served in the same way, without a call of the inner service.
    /// Then one request at a time calls it again, in the background if there is a stale entry.
    /// `retry-after` of the response makes the time up to ten times as long. A failure that no
    /// other request waited for is not shared with later ones, since its request may have caused
    /// it.
    ///
    /// With a `ttl` of 0, failures are neither remembered nor shared.
    #[doc(alias = "negative caching")]
    #[doc(alias = "circuit breaker")]
    pub fn failure_ttl(self, ttl: Duration) -> Self {
        self.edit(|config| config.limits.failure_ttl = ttl)
    }

    /// Sets the maximum time for which a request waits for the inner service while there is a stale
    /// entry that could be served on an error. The request then gets the stale entry, and the fetch
    /// goes on in the background; other requests get the stale entry without waiting for a while. 1
    /// s by default. [`CacheHint::revalidate_timeout`](super::CacheHint::revalidate_timeout) sets it
    /// for one response.
    #[doc(alias = "soft timeout")]
    #[doc(alias = "grace")]
    #[doc(alias = "fastcgi_cache_use_stale")]
    pub fn revalidate_timeout(self, time: Duration) -> Self {
        self.edit(|config| config.limits.revalidate_timeout = time)
    }

    /// Cancels a fetch if its client leaves before the response has come. Off by default: the fetch
    /// goes on in the background, for the requests that wait for it and for the next one. Such
    /// fetches count towards [`max_fills`](Self::max_fills).
    #[doc(alias = "background fetch")]
    pub fn cancel_on_disconnect(self) -> Self {
        self.edit(|config| config.limits.cancel_on_disconnect = true)
    }

    /// Fills the cache also for a `HEAD` that finds no entry: the inner service gets it as a `GET`,
    /// the body goes to the store, and the client gets the head as soon as that comes. Such requests
    /// are coalesced with each other and with `GET`, and their responses are refreshed and shared in
    /// the same way.
    ///
    /// Off by default: a `HEAD` then goes to the inner service as it is, which need not make a body
    /// for that. Turn it on if clients send `HEAD` before `GET`, as some download managers and link
    /// checkers do, or if the inner service makes the body in any case. While the cache remembers that the response
    /// could not be stored ([`hit_for_miss`](Self::hit_for_miss)), a `HEAD` stays a `HEAD`.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).fill_on_head();
    /// # drop(layer);
    /// ```
    #[doc(alias = "HEAD")]
    #[doc(alias = "proxy_cache_convert_head")]
    #[doc(alias = "Varnish")]
    pub fn fill_on_head(self) -> Self {
        self.rules(|rules| rules.fill_on_head = true)
    }

    /// Links no responses to values. By default a response is linked to the values of a
    /// `ValueCache` over the same store that its handler reads: a change of one of them purges the
    /// response, which is fresh for no longer than they are. See [links].
    ///
    /// This is for responses that may be older than the values, such as a page that shows a counter.
    ///
    /// [links]: https://docs.rs/tower-kit/latest/tower_kit/values/index.html#links
    pub fn unlinked(self) -> Self {
        self.rules(|rules| rules.links = false)
    }

    /// Sets the response headers that address this cache alone (RFC 9213). The first of them that a
    /// response has replaces its `cache-control` and `expires`. `cdn-cache-control` by default.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // `shop-cache-control: max-age=600` is for this cache, before `cdn-cache-control`.
    /// let names = ["shop-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).targeted(names);
    /// # drop(layer);
    /// ```
    #[doc(alias = "cdn-cache-control")]
    #[doc(alias = "surrogate-control")]
    pub fn targeted(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        self.rules(|rules| rules.targeted = names)
    }

    /// Stores a kind of responses that is not stored otherwise, or serves it stale. [`Exception`]
    /// describes the risk of each kind. None is allowed by default.
    ///
    /// ```
    /// use tower_kit::cache::{CacheKey, CacheLayer, Exception, MemoryStore};
    ///
    /// /// The user of a request, set by a layer outside that authenticates.
    /// #[derive(Clone)]
    /// struct User(u64);
    ///
    /// // Each user has entries of their own, so that responses to `authorization` may be stored.
    /// let users = CacheKey::new()
    ///     .with(|request| request.extensions.get::<User>().map(|user| user.0.to_string()));
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .key(users)
    ///     .allow(Exception::Authorization);
    /// # drop(layer);
    /// ```
    pub fn allow(self, exception: Exception) -> Self {
        self.rules(|rules| rules.exceptions.push(exception))
    }

    /// Sets the parts of a request that make its key. The scheme, the host, the path and the query
    /// by default. Requests with the same key get the same response, except for what `vary` names.
    #[doc(alias = "cache_key")]
    #[doc(alias = "vcl_hash")]
    pub fn key(self, key: CacheKey) -> Self {
        self.edit(|config| config.set_key(key))
    }

    /// Trusts a request header that the service may act upon, such as `x-forwarded-host`: a proxy
    /// in front sets it, and clients cannot. Requests with the header may then fill the cache. None
    /// is trusted by default. If the response depends on the header, add it to the
    /// [`key`](Self::key) instead.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore};
    ///
    /// // The proxy in front sets both. The response depends only on the first.
    /// let [proto, port] = ["x-forwarded-proto", "x-forwarded-port"].map(HeaderName::from_static);
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .key(CacheKey::new().header(proto))
    ///     .trust(port);
    /// # drop(layer);
    /// ```
    #[doc(alias = "X-Forwarded-Host")]
    #[doc(alias = "cache poisoning")]
    pub fn trust(self, name: HeaderName) -> Self {
        self.rules(|rules| rules.trusted.push(name))
    }

    /// Trusts the usual headers of a proxy about the URL that its client asked for: `forwarded`,
    /// `x-forwarded-{host,port,prefix,proto,protocol,scheme,server,ssl}` and `x-original-host`.
    /// Requests with these headers may then fill the cache. Off by default, since clients can send
    /// them too.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).trust_forwarded();
    /// # drop(layer);
    /// ```
    ///
    /// The values become part of the key, whether [`key`](Self::key) is called before or after. So
    /// the responses of two sites or schemes do not mix, and a header that a client got past the
    /// proxy spoils no other client's entry. The parameters `for` and `by` of `forwarded` (RFC
    /// 7239) do not count: they differ by client. [`CacheHandle::purge_url`] purges a URL whatever
    /// these headers say; its host and scheme are those of the request that the proxy sends.
    ///
    /// Without this setter, `cache-status` names the header that kept a response from being stored:
    /// `detail=override:x-forwarded-host`.
    #[doc(alias = "trust proxy")]
    #[doc(alias = "X-Forwarded-Host")]
    #[doc(alias = "reverse proxy")]
    pub fn trust_forwarded(self) -> Self {
        self.edit(|config| {
            let key = CacheKey::clone(&config.key).with_forwarded(true);
            config.set_key(key);
        })
    }

    /// Passes the requests for which `skip` returns `true` by the cache, and those for which it
    /// panics. None by default.
    #[doc(alias = "skip")]
    #[doc(alias = "proxy_cache_bypass")]
    pub fn skip_if<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|config| config.skip = Some(Arc::new(skip)))
    }

    /// Adds a strong `etag` to stored responses that have neither `etag` nor `last-modified`: a
    /// hash of their bytes, with which clients can validate their copy. Off by default.
    ///
    /// The client whose request fills the entry gets no `etag`: the headers are sent before the
    /// body is known.
    #[doc(alias = "ETag")]
    pub fn etag(self) -> Self {
        self.rules(|rules| rules.etag = true)
    }

    /// Sets the maximum size of the body of an entry, in bytes. 1 MiB by default: larger files
    /// belong on a file server. A larger response passes to its client and is not stored.
    ///
    /// The size is at most that of the store ([`Store::max_entry_size`]): a
    /// [`MemoryStore`](super::MemoryStore) for more than 1 MiB is made by
    /// [`with_max_entry_size`](super::MemoryStore::with_max_entry_size).
    #[doc(alias = "max object size")]
    pub fn max_entry_size(self, bytes: u64) -> Self {
        self.edit(|config| config.set_max_entry_size(bytes))
    }

    /// Sets the maximum number of variants of a URL (RFC 9111 §4.1). A new one takes the place of
    /// the oldest. 16 by default, since clients choose the headers; at least 1.
    #[doc(alias = "vary")]
    pub fn max_variants(self, most: usize) -> Self {
        self.rules(|rules| rules.variants = most.max(1))
    }

    /// Sets the maximum number of parts (206) of a URL that are stored. 1024 by default, as many as a
    /// video of an hour has segments; with 0 the cache stores no parts. Each is at most as large as an
    /// entry ([`max_entry_size`](Self::max_entry_size)), and counts as one.
    ///
    /// A part answers requests for the same range (RFC 9111 §3.3). It is stored if it is what was
    /// asked for and has a strong validator. A new part may take the place of another one.
    #[doc(alias = "range")]
    #[doc(alias = "slice")]
    pub fn max_parts(self, most: u32) -> Self {
        self.rules(|rules| rules.parts = most.into())
    }

    /// Sets the maximum number of bodies that are read to their end in the background, whether or
    /// not their client stays, for at most 60 s each. 256 by default, so that a service that has
    /// become slow is not read by more. Beyond that, a body is stored only if its client reads all
    /// of it within 60 s.
    pub fn max_fills(self, most: usize) -> Self {
        self.edit(|config| config.limits.max_fills = most)
    }

    /// Sets the maximum memory that all responses on their way to the store take together, in
    /// bytes: their heads, and the parts of their bodies that the store or their clients have not
    /// got yet. 64 MiB by default, as much as 64 of the largest entries.
    ///
    /// A response that does not fit passes as the inner service sends it. It is not stored, no
    /// request waits for it, and it is counted as `budget` in `http_cache_fallbacks_total`. Clients
    /// that do not read hold at most half of the budget; a body is then read only as fast as its
    /// client reads. A budget below a few times the [`max_entry_size`](Self::max_entry_size) stores
    /// no large bodies.
    #[doc(alias = "memory limit")]
    pub fn max_fill_bytes(self, bytes: u64) -> Self {
        self.edit(|config| config.limits.max_fill_bytes = bytes)
    }

    /// Sets the timeout of one operation of the store. A read that takes longer is a miss, and an
    /// entry whose write takes longer is not stored. 1 s by default, which is longer than a useful
    /// store takes; at least 1 ms.
    ///
    /// This is for stores that hang. A store that is slow each time makes each miss slow;
    /// `RedisConfig::command_timeout` is the shorter bound for Redis.
    #[doc(alias = "timeout")]
    pub fn store_timeout(self, time: Duration) -> Self {
        self.edit(|config| config.limits.store_timeout = time.max(SHORTEST_TIMEOUT))
    }

    /// Sets the maximum number of background refreshes at a time, of at most 60 s each. 64 by
    /// default, so that a service that has become slow gets no more load. Beyond that, an entry is
    /// not refreshed, and is counted as `refreshes` in `http_cache_fallbacks_total`.
    #[doc(alias = "stale-while-revalidate")]
    pub fn max_refreshes(self, most: usize) -> Self {
        self.edit(|config| config.limits.max_refreshes = most)
    }

    /// Sets the maximum time for which a request waits for another one that fetches the same
    /// response. It then calls the inner service itself. 10 s by default: longer than a service
    /// should take, and shorter than clients wait.
    #[doc(alias = "request collapsing")]
    #[doc(alias = "request coalescing")]
    #[doc(alias = "single flight")]
    #[doc(alias = "stampede")]
    #[doc(alias = "thundering herd")]
    #[doc(alias = "dogpile")]
    #[doc(alias = "proxy_cache_lock")]
    pub fn coalesce_timeout(self, most: Duration) -> Self {
        self.edit(|config| config.limits.coalesce_timeout = most)
    }

    /// Sets the time for which the cache remembers that a response could not be stored, so that
    /// requests for it neither wait for each other nor are looked up. 10 s by default, so that a
    /// response that another process has stored is soon found.
    #[doc(alias = "hit-for-pass")]
    #[doc(alias = "Varnish")]
    pub fn hit_for_miss(self, time: Duration) -> Self {
        self.edit(|config| config.limits.hit_for_miss = time)
    }

    /// Sets the name of this cache: the first item of `cache-status` (RFC 9211 §2), and the label
    /// `cache` of all metrics of the layer. `tower-kit` by default. Layers in one process, or caches
    /// one behind another, are told apart by their names.
    ///
    /// A name that is no token (RFC 9651 §3.3.4) is written as a string, with quotes: an IP address,
    /// or a name with spaces. The name does not separate the entries of layers over one store; the
    /// [`namespace`](Self::namespace) does.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, InvalidName, MemoryStore};
    ///
    /// # fn main() -> Result<(), InvalidName> {
    /// // `cache-status: shop; hit; ttl=42`, and `http_cache_requests_total{cache="shop", ..}`.
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).name("shop")?;
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the name is empty, has characters other than printable ASCII, or has more
    /// than 64 bytes with the quotes and backslashes of a string.
    #[doc(alias = "cache-status")]
    #[doc(alias = "label")]
    pub fn name(self, name: &str) -> Result<Self, InvalidName> {
        let name = CacheName::parse(name)?;
        Ok(self.edit(|config| config.set_name(name)))
    }

    /// Leaves out the `cache-status` header (RFC 9211) of responses. By default each response has
    /// it: it tells why the response was or was not stored, and contains nothing secret.
    #[doc(alias = "X-Cache")]
    #[doc(alias = "cache-status")]
    pub fn hide_cache_status(self) -> Self {
        self.edit(|config| config.cache_status = false)
    }

    /// Removes the headers `surrogate-key` and `cache-tag` from responses, after their tags are
    /// known. By default clients, and caches in front, see them. `cache-groups` stays, since RFC 9875
    /// is for these caches too.
    #[doc(alias = "surrogate-key")]
    #[doc(alias = "Cache-Tag")]
    #[doc(alias = "xkey")]
    pub fn strip_tags(self) -> Self {
        self.rules(|rules| rules.strip_tags = true)
    }

    /// Sets the namespace of this layer: the part of the store that has its responses. Layers of the
    /// same namespace share their responses, in this process and over Redis.
    ///
    /// By default each layer that [`new`](Self::new) or [`with_ttl`](Self::with_ttl) makes over clones
    /// of a store has a namespace of its own: the first layer the empty one, the second `2`, the third
    /// `3`. Clones of a layer have the same, so clone a layer to use it in several places. Set the
    /// namespaces of several layers over Redis by name, so that the order in which each process makes
    /// them does not matter. Layers over a store that has no [`purges`](super::Store::purges) cannot be
    /// told apart, and all have the empty namespace.
    ///
    /// A [`CacheHandle`] purges in the namespace of its layer, and in those that setters give to clones
    /// of that layer. [`CacheHandle::purge_all`] empties the store, for all namespaces.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let store = MemoryStore::new(64 * tower_kit::MIB);
    /// let shop = CacheLayer::new(store.clone()).namespace("shop");
    /// let blog = CacheLayer::new(store).namespace("blog");
    /// # drop((shop, blog));
    /// ```
    #[doc(alias = "prefix")]
    pub fn namespace(self, name: &str) -> Self {
        self.edit(|config| config.set_namespace(name))
    }

    /// Sets the recorder of the metrics. The recorder of the process by default.
    #[doc(alias = "metrics")]
    #[doc(alias = "prometheus")]
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|config| config.set_recorder(Metrics::to(recorder)))
    }

    /// Sets the clock that lifetimes and ages are measured by, for tests. The clock of the system
    /// by default. Timeouts use the timer of tokio.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.edit(|config| config.clock = Clock::of(clock))
    }

    /// Returns a handle that purges, warms and counts the entries of this layer, and of those that
    /// setters make of it later.
    #[doc(alias = "purge")]
    #[doc(alias = "invalidate")]
    #[doc(alias = "BAN")]
    #[doc(alias = "Varnish")]
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        CacheHandle::new(Arc::clone(&self.config))
    }

    fn rules(self, edit: impl FnOnce(&mut Rules)) -> Self {
        self.edit(|config| edit(&mut config.rules))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Config)) -> Self {
        edit(Arc::make_mut(&mut self.config));
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Cache::new(inner, Arc::clone(&self.config))
    }
}

/// The least time that an operation of a store has: with none, only what needs no waiting succeeds.
pub(crate) const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::super::store::MemoryStore;
    use super::*;

    #[test]
    fn numbers_out_of_range_are_the_nearest() {
        let layer = || CacheLayer::new(MemoryStore::new(1));
        for (given, taken) in [(0, 1), (1, 1), (7, 7)] {
            assert_eq!(layer().max_variants(given).config.rules.variants, taken);
        }
        let ms = Duration::from_millis;
        for (given, taken) in [(ms(0), ms(1)), (ms(1), ms(1)), (Duration::MAX, Duration::MAX)] {
            assert_eq!(layer().store_timeout(given).config.limits.store_timeout, taken);
        }
    }

    #[test]
    fn fractions_out_of_range_are_errors() {
        let layer = || CacheLayer::new(MemoryStore::new(1));
        for (number, jitter, beta) in [
            (0.0, true, true),
            (-0.0, true, true),
            (1.0, true, true),
            (1.001, false, true),
            (1000.0, false, true),
            (1000.5, false, false),
            (-0.1, false, false),
            (f64::NAN, false, false),
            (f64::INFINITY, false, false),
        ] {
            assert_eq!(layer().jitter(number).is_ok(), jitter, "{number}");
            assert_eq!(layer().early_refresh(number).is_ok(), beta, "{number}");
        }
        let error = layer().jitter(10.0).map(drop).unwrap_err();
        assert_eq!(error.to_string(), "10 is not from 0 to 1");
    }
}
