use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, StatusCode, request};
use metrics::Recorder;
use tower::Layer;

use super::clock::Clock;
use super::config::Config;
use super::handle::CacheHandle;
use super::key_by::CacheKey;
use super::metrics::CacheMetrics;
use super::policy::{Exception, InvalidNumber, Rules};
use super::service::Cache;
use super::store::Store;
use crate::metrics::Metrics;

/// A layer that caches the responses to GET requests, as a shared cache by RFC 9111. See the
/// [module](crate::cache).
///
/// Clones share the store, the purges and the fetches that are under way.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct CacheLayer {
    config: Arc<Config>,
}

impl CacheLayer {
    /// Creates a layer that stores what RFC 9111 allows a shared cache to store, for as long as the
    /// response says.
    pub fn new(store: impl Store) -> Self {
        Self { config: Arc::new(Config::new(Rules::default(), store)) }
    }

    /// Creates a layer that stores every 200 to a GET for `ttl`, whatever lifetime the response states.
    /// Responses that must not be stored for other reasons are not stored here either: see
    /// [`Exception`]. Neither are responses whose `cache-control` cannot be read.
    ///
    /// A request with `cookie` passes by the cache, with `detail=cookie` in `cache-status`: the page
    /// may have been made for one session. It neither gets a stored response nor fills the cache,
    /// unless the layer allows [`Exception::Cookie`] or `cookie` is part of the [`key`](Self::key).
    /// Other headers that a session may come from, such as an `x-user` of a proxy, the cache does not
    /// know: make them part of the key. What is never to be kept, such as health checks and metrics, stands
    /// outside of the layer, or is [skipped](Self::skip_if).
    pub fn with_ttl(store: impl Store, ttl: Duration) -> Self {
        let rules = Rules { aside: Some(ttl), ..Rules::default() };
        Self { config: Arc::new(Config::new(rules, store)) }
    }

    /// Sets the lifetime of responses that state none and have no `last-modified` to guess it from,
    /// where their status allows that (RFC 9110 §15.1). By default such responses are not stored.
    ///
    /// Such a response is neither stored for nor given to a request with `cookie`, unless the layer
    /// allows [`Exception::Cookie`] or `cookie` is part of the [`key`](Self::key).
    pub fn default_ttl(self, ttl: Duration) -> Self {
        self.rules(|rules| rules.default_ttl = Some(ttl))
    }

    /// Sets how long to store responses of this status that state no freshness, or, in a layer made
    /// by [`aside`](Self::aside), whatever they state. A status that is not stored by
    /// [default](crate::cache#what-is-kept) is stored then, also with a lifetime of its own. Requests
    /// with `cookie` are excepted as for [`default_ttl`](Self::default_ttl).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use http::StatusCode;
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // Of what says nothing itself: pages for a minute, and for five seconds that there is none.
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .default_ttl(Duration::from_secs(60))
    ///     .ttl(StatusCode::NOT_FOUND, Duration::from_secs(5));
    /// # drop(layer);
    /// ```
    pub fn ttl(self, status: StatusCode, ttl: Duration) -> Self {
        self.rules(|rules| {
            rules.ttls.retain(|(of, _)| *of != status);
            rules.ttls.push((status, ttl));
        })
    }

    /// Shortens each lifetime by a random part of up to `fraction` of it, so that entries which were
    /// stored together do not expire together. The default is 0.
    ///
    /// # Errors
    ///
    /// Unless `0 <= fraction <= 1`.
    pub fn jitter(self, fraction: f64) -> Result<Self, InvalidNumber> {
        let fraction = InvalidNumber::check(fraction, 1.0)?;
        Ok(self.rules(|rules| rules.jitter = fraction))
    }

    /// Refreshes an entry in the background before its lifetime ends, at random: the likelier the
    /// nearer the end is and the longer the inner service took (XFetch). A `beta` of 1 is the optimum,
    /// and more refreshes earlier. The default of 0 never does.
    ///
    /// # Errors
    ///
    /// Unless `0 <= beta <= 1000`.
    pub fn early_refresh(self, beta: f64) -> Result<Self, InvalidNumber> {
        let beta = InvalidNumber::check(beta, 1000.0)?;
        Ok(self.rules(|rules| rules.early_refresh = beta))
    }

    /// Sets how long after its lifetime an entry may be served if the inner service fails, where the
    /// response states no `stale-if-error` (RFC 5861 §4) and does not forbid it. The default is 600 s.
    pub fn stale_if_error(self, grace: Duration) -> Self {
        self.rules(|rules| rules.grace = grace)
    }

    /// Obeys `cache-control` and `pragma` of requests, as RFC 9111 §5.2.1 describes: `no-cache`,
    /// `no-store`, `max-age`, `max-stale`, `min-fresh` and `only-if-cached`. Requests that ask for a new
    /// response at the same time are coalesced.
    ///
    /// By default the cache ignores all of them, as other caches in front of a service do: any client
    /// could force misses otherwise, which browsers do with each reload. This is for a proxy that
    /// clients know, or a cache between services.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).honor_request_control();
    /// # drop(layer);
    /// ```
    #[doc(alias = "ignore_request_control")]
    pub fn honor_request_control(self) -> Self {
        self.rules(|rules| rules.heed_request = true)
    }

    /// Sets how long a failure of the inner service is remembered. The default is 1 s.
    ///
    /// A failure is an error, or a response with a 5xx status. The request itself gets the error or
    /// the response unchanged. The requests that wait for the same response share the failure: they
    /// get a stale entry, if one may be used, or else an empty response with the same status (503 for
    /// an error), with `retry-after`, and with `detail=service-failed` in `cache-status`.
    ///
    /// Requests of the next `ttl` are served in the same way, and do not reach the inner service. Then
    /// one request at a time asks again: in the background where there is a stale entry. `retry-after`
    /// of the response makes the time up to ten times longer. A failure that no other request waited
    /// for is not shared with later ones, since that request may have caused it.
    ///
    /// With a `ttl` of 0, failures are neither remembered nor shared.
    #[doc(alias = "negative caching")]
    pub fn failure_ttl(self, ttl: Duration) -> Self {
        self.edit(|config| config.limits.failure_ttl = ttl)
    }

    /// Sets how long a request waits for the inner service while there is a stale entry that could be
    /// served if the inner service failed. The request gets the stale entry then, and the fetch goes
    /// on in the background. So do requests of the next while, without waiting. The default is 1 s.
    #[doc(alias = "soft timeout")]
    pub fn revalidate_timeout(self, time: Duration) -> Self {
        self.edit(|config| config.limits.revalidate_timeout = time)
    }

    /// Cancels a fetch if its client leaves before the response has come. By default the fetch goes on
    /// in the background for the requests that wait for it, and for the next one, as long as fewer
    /// than [`max_fills`](Self::max_fills) bodies are read.
    pub fn cancel_on_disconnect(self) -> Self {
        self.edit(|config| config.limits.cancel_on_disconnect = true)
    }

    /// Sets the response headers that are for this cache alone (RFC 9213). The first one that a
    /// response has takes the place of its `cache-control`. The default is `cdn-cache-control`.
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
    pub fn targeted(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        let names = names.into_iter().collect();
        self.rules(|rules| rules.targeted = names)
    }

    /// Stores responses that are not stored otherwise. [`Exception`] tells the risk of each.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, Exception, CacheKey, MemoryStore};
    ///
    /// /// Whose request it is, from the layer outside that lets nobody in without.
    /// #[derive(Clone)]
    /// struct User(u64);
    ///
    /// // Each has entries of their own, so that answers to `authorization` may be kept.
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

    /// Sets what makes two requests the same. The default is scheme, host, path and query.
    pub fn key(self, key: CacheKey) -> Self {
        self.edit(|config| config.set_key(key))
    }

    /// Trusts a request header that the inner service may act upon, such as `x-forwarded-host`: a
    /// proxy in front sets it, and clients cannot. Requests with the header may fill the cache. Where
    /// the response depends on it, make it a part of the [`key`](Self::key) instead.
    ///
    /// ```
    /// use http::HeaderName;
    /// use tower_kit::cache::{CacheLayer, CacheKey, MemoryStore};
    ///
    /// // The proxy in front sets both. The service looks at the first alone.
    /// let [proto, port] = ["x-forwarded-proto", "x-forwarded-port"].map(HeaderName::from_static);
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .key(CacheKey::new().header(proto))
    ///     .trust(port);
    /// # drop(layer);
    /// ```
    pub fn trust(self, name: HeaderName) -> Self {
        self.rules(|rules| rules.trusted.push(name))
    }

    /// Trusts the usual headers about the URL that the client of a proxy in front asked for: requests
    /// with them may fill the cache. They are `forwarded`,
    /// `x-forwarded-{host,port,prefix,proto,protocol,scheme,server,ssl}` and `x-original-host`.
    ///
    /// What they say becomes part of the key, so that the responses for two sites or schemes do not
    /// mix, whichever of these headers the service looks at, and a header that a client got past the
    /// proxy spoils no other client's entry. Of `forwarded` (RFC 7239) the parameters `for` and `by`
    /// do not count: they differ by client. It does not matter whether [`key`](Self::key) is set before
    /// or after. [`CacheHandle::purge_url`] purges a URL whatever these headers say; its host and
    /// scheme are those of the request that the proxy sends.
    ///
    /// ```
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// let layer = CacheLayer::new(MemoryStore::new(64 * tower_kit::MIB)).trust_forwarded();
    /// # drop(layer);
    /// ```
    ///
    /// Without it, `cache-status` names the header that kept a response out:
    /// `detail=override:x-forwarded-host`.
    pub fn trust_forwarded(self) -> Self {
        self.edit(|config| {
            let key = CacheKey::clone(&config.key).with_forwarded(true);
            config.set_key(key);
        })
    }

    /// Passes the requests for which `skip` returns `true` by the cache, and those for which it
    /// panics. None by default.
    #[doc(alias = "skip")]
    pub fn skip_if<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|config| config.skip = Some(Arc::new(skip)))
    }

    /// Adds a strong `etag` of their bytes to stored responses that have neither `etag` nor
    /// `last-modified`, so that clients can revalidate them. The client whose request filled the entry
    /// gets none: its head has gone before the bytes are known.
    pub fn etag(self) -> Self {
        self.rules(|rules| rules.etag = true)
    }

    /// Sets the maximum size of a stored body, in bytes. The default is 1 MiB. For more, a
    /// [`MemoryStore`](super::MemoryStore) has to be made
    /// [`with_max_entry_size`](super::MemoryStore::with_max_entry_size).
    #[doc(alias = "entry_limit")]
    pub fn max_entry_size(self, bytes: u64) -> Self {
        self.rules(|rules| rules.entry_limit = bytes)
    }

    /// Sets the maximum number of variants of one URL (RFC 9111 §4.1). A further one takes the place of
    /// the oldest. The default is 16, and 0 is taken as 1.
    pub fn max_variants(self, most: usize) -> Self {
        self.rules(|rules| rules.variants = most.max(1))
    }

    /// Sets the maximum number of bodies that are read to their end in the background, for 60 s each.
    /// A further body is stored only if its client reads all of it within that time, and is shared
    /// with nobody. The default is 256.
    pub fn max_fills(self, most: usize) -> Self {
        self.edit(|config| config.limits.max_fills = most)
    }

    /// Sets the maximum number of bytes that all responses on their way to the store take together:
    /// what was read of their bodies, for the store and for clients that have not read it yet, and
    /// their heads. The default is 64 MiB.
    ///
    /// A response for which no bytes are left is passed on as the service sends it. It is not
    /// stored and not shared, and it is counted as `budget` in
    /// `http_cache_fallbacks_total`. Clients that do not read hold half of the budget at most; a
    /// body is then read only as fast as its fastest client reads.
    ///
    /// A budget below a few times the [`entry_limit`](Self::entry_limit) stores no large bodies.
    pub fn max_fill_bytes(self, bytes: u64) -> Self {
        self.edit(|config| config.limits.max_fill_bytes = bytes)
    }

    /// Sets how long one operation of the store may take before it counts as failed. A lookup is a miss
    /// then, and a response is not stored. The default is 1 s, and less than 1 ms is taken as 1 ms.
    ///
    /// This is for stores that hang. One that answers late each time makes each miss late; for
    /// Redis, `RedisConfig::command_timeout` is the shorter bound.
    pub fn store_timeout(self, time: Duration) -> Self {
        self.edit(|config| config.limits.store_timeout = time.max(SHORTEST_TIMEOUT))
    }

    /// Sets the maximum number of background refreshes at a time. The default is 64.
    pub fn max_refreshes(self, most: usize) -> Self {
        self.edit(|config| config.limits.max_refreshes = most)
    }

    /// Sets how long a request waits for another one that fetches the same, before it goes to the
    /// inner service itself. The default is 10 s.
    #[doc(alias = "single flight")]
    #[doc(alias = "proxy_cache_lock_timeout")]
    pub fn coalesce_timeout(self, most: Duration) -> Self {
        self.edit(|config| config.limits.coalesce_timeout = most)
    }

    /// Sets how long the cache remembers that a response was not stored, so that requests for it do not
    /// wait for each other. The default is 10 s.
    #[doc(alias = "hit-for-pass")]
    pub fn hit_for_miss(self, time: Duration) -> Self {
        self.edit(|config| config.limits.hit_for_miss = time)
    }

    /// Sends no `cache-status` (RFC 9211) with responses. By default each has one.
    pub fn hide_cache_status(self) -> Self {
        self.edit(|config| config.cache_status = false)
    }

    /// Removes `surrogate-key` and `cache-tag` from what clients get.
    pub fn strip_tags(self) -> Self {
        self.rules(|rules| rules.strip_tags = true)
    }

    /// Records metrics with `recorder` instead of the global recorder.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|config| config.set_metrics(CacheMetrics::new(Metrics::to(recorder))))
    }

    /// Reads the time from `clock`, for tests of expiry. Timeouts are by tokio's timer all the same.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.edit(|config| config.clock = Clock::of(clock))
    }

    /// Returns a handle to purge entries, to warm them and to see how many there are. It is also that
    /// of the layers that setters make of this one later on.
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
