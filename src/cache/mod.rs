//! Answers GET and HEAD from a store, as a shared cache by RFC 9111.
//!
//! ```
//! use axum::{Router, http::header::CACHE_CONTROL, routing::get};
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::MIB;
//!
//! let items = || async { ([(CACHE_CONTROL, "max-age=60")], "the list") };
//! let app: Router =
//!     Router::new().route("/items", get(items)).layer(CacheLayer::new(MemoryStore::new(64 * MIB)));
//! ```
//!
//! Here the service says for how long its responses may be kept. Where it says nothing,
//! [`aside`](CacheLayer::with_ttl) keeps any 200 to a GET for a time, and the layer can purge what has
//! changed:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Extension, Router, routing::get};
//! use tower_kit::cache::{CacheLayer, CacheHint, CacheKey, MemoryStore};
//! use tower_kit::MIB;
//!
//! # fn main() -> Result<(), tower_kit::cache::InvalidNumber> {
//! let layer = CacheLayer::with_ttl(MemoryStore::new(64 * MIB), Duration::from_secs(300))
//!     .key(CacheKey::new().without_tracking().sorted_query())
//!     .skip_if(|request| request.uri.path().starts_with("/admin/"))
//!     .jitter(0.1)?;
//! let handle = layer.handle();
//! let items = || async { (Extension(CacheHint::new().tag("items")), "the list") };
//! let app: Router = Router::new().route("/items", get(items)).layer(layer);
//!
//! handle.purge_tag("items");
//! # Ok(())
//! # }
//! ```
//!
//! Needs a Tokio runtime, with its timer.
//!
//! # What is kept
//!
//! Responses to GET that may be stored by what they, and their requests, say (RFC 9111 §3), and to
//! POST where they say that they are what a GET would get, unless processes share the store. By
//! default these statuses are stored:
//!
//! | status | why |
//! |---|---|
//! | 200, 203, 204, 300, 301, 308, 404, 410 | RFC 9110 §15.1 lets caches guess their lifetime; 404 and 410 are asked for often, and cost the service as much as a page |
//! | 302, 303, 307 | only with a lifetime that they state, or with `public` |
//!
//! Errors are often caused by parts of a request that no key has: stored, one client's 400 or 413
//! would take a page from all others (cache-poisoned denial of service). A 5xx outlasts its cause,
//! and RFC 6585 forbids to store 428, 429, 431 and 511. Any other final status than 206 and 304 is
//! stored only where the user names it, with [`ttl`](CacheLayer::ttl) or [`CacheHint::ttl`], or allows all
//! that state their lifetime with [`Exception::AnyStatus`]. Never stored are responses:
//!
//! - with `set-cookie`, `vary: *`, `cache-control: no-store` or `private`, or to a request with
//!   `authorization` unless it says that it is for all (§3.5): each can be allowed as an
//!   [`Exception`];
//! - whose `cache-control` cannot be read, or has these words in another spelling (`no-cache;
//!   no-store`, `"private"`, `no_store`), wherever their lifetime comes from; only a well-formed
//!   quoted argument of an extension may have them. So do `surrogate-control: no-store`, a
//!   `cdn-cache-control` that has these words and is malformed, and, without `cache-control`,
//!   `pragma: no-cache`;
//! - to a request with `cookie`, where the lifetime is the layer's own ([`aside`](CacheLayer::with_ttl),
//!   [`default_ttl`](CacheLayer::default_ttl), [`ttl`](CacheLayer::ttl)): what was made for one session
//!   is nobody else's. Nor does such a request get what was stored so. [`Exception::Cookie`] allows
//!   both, and a key with `cookie` has entries for each;
//! - with a nonce in `content-security-policy` or its `-report-only` form. A policy in a `<meta>`
//!   element is not looked at: a page that has one says `no-store`;
//! - that vary by more than 64 headers;
//! - of event streams and gRPC, with bodies over 1 MiB, or with trailers;
//! - a body that fails, ends early, or is not as long as its `content-length` says;
//! - what was purged while it was fetched;
//! - responses to requests with a body, or with a field that services take the URL or the method
//!   from, unless it is part of the [`key`](CacheLayer::key) or [trusted](CacheLayer::trust):
//!   `forwarded`, `x-forwarded-{host,port,proto,protocol,scheme,server,ssl,prefix,path}`, `x-host`,
//!   `x-original-{host,url}`, `x-rewrite-url`, `x-url-scheme`, `x-http-host-override`,
//!   `x-http-method`, `x-{http-,}method-override`. **Behind a proxy that sets such fields, say
//!   [`trust_forwarded`](CacheLayer::trust_forwarded)**, or nothing is kept.
//!
//! A request with `authorization` gets only what is for all. `no-cache` and `private` with names of
//! fields keep the rest without these. Extensions of a response are not kept: an answer from the
//! store has none.
//!
//! # For how long
//!
//! Of these the first that there is: the handler's [`CacheHint`]; in an [`aside`](CacheLayer::with_ttl)
//! layer its time; `cdn-cache-control` (RFC 9213), which takes the place of `cache-control` and
//! `expires`; `s-maxage`; `max-age`; `expires`, reckoned from `date`; [`ttl`](CacheLayer::ttl) by
//! status; and, where the status (RFC 9110 §15.1) or `public` allows to guess, a tenth of the time
//! since `last-modified`, a day at most, or [`default_ttl`](CacheLayer::default_ttl). A response
//! without any of these is not kept.
//!
//! What is stale is validated, if it has an `etag` or a `last-modified`: the service gets
//! `if-none-match` and `if-modified-since`, and its 304 makes the entry fresh again. Meanwhile, or
//! instead, a stale entry is the answer only
//!
//! - within `stale-while-revalidate`, while it is refreshed in the background;
//! - within `stale-if-error`, or else 600 s, if the service fails or answers 5xx;
//! - if the client takes it (`max-stale`);
//!
//! and never where the response says `must-revalidate`, `proxy-revalidate`, `s-maxage` or
//! `no-cache`. A time from a hint or an aside layer takes the place of `no-cache` too.
//!
//! # What clients get
//!
//! An entry answers GET and HEAD, `if-none-match` and `if-modified-since` with a 304, and a single
//! `range` with 206 or 416. A HEAD or a `range` that finds none goes on as it is, and fills nothing.
//! What comes from the store carries `age`. `cache-status` (RFC 9211) tells what happened:
//!
//! | `cache-status: tower-kit;` | |
//! |---|---|
//! | `hit; ttl=42` | from the store, fresh for 42 s more; stale if negative |
//! | `fwd=uri-miss; stored` | from the inner service, and stored |
//! | `fwd=uri-miss` | from the inner service; whether it is stored is not known yet, since its body is still being read, or the store has not confirmed it |
//! | `fwd=uri-miss; collapsed` | fetched by another request at the same time |
//! | `fwd=uri-miss; fwd-status=503; collapsed; detail=service-failed` | the failure of another request is [shared](#failures) |
//! | `fwd=stale; fwd-status=304; stored` | confirmed by the service |
//! | `fwd=vary-miss; detail=private` | other variants are kept; this one is not, for that reason |
//! | `fwd=uri-miss; detail=status` | its status is not one of those that are stored |
//! | `fwd=uri-miss; detail=malformed` | its `cache-control` cannot be read |
//! | `fwd=uri-miss; detail=for-one-request` | it has a nonce, or `Overrides` of `security_headers` that would be lost |
//! | `fwd=uri-miss; detail=budget` | from the service, and not kept: the [budget](#memory-and-time) is spent |
//! | `fwd=uri-miss; detail=override:x-forwarded-host` | from the service; the request has this header, which is neither trusted nor part of the key |
//! | `fwd=uri-miss; detail=spelling` | from the service; the request's URL is spelled otherwise than its key |
//! | `fwd=stale; fwd-status=503; detail=service-failed` | stale, in place of what the service said |
//! | `fwd=bypass; detail=cookie` | from the service: the layer's own lifetime is not for a request with `cookie` |
//! | `fwd=bypass; detail=upgrade` | past the cache, for that reason |
//!
//! `cache-control` and `pragma` of requests are ignored, so that clients cannot force misses. See
//! [`honor_request_control`](CacheLayer::honor_request_control).
//!
//! # Variants
//!
//! A URL has as many entries, up to 16, as requests differ in what `vary` names. Of codings, the
//! entry's own counts: `gzip, deflate, br` and `gzip;q=1.0, *;q=0` get the same copy of a service
//! that has only gzip, and nobody gets one that it does not take. The response to an
//! `accept-encoding` that has unregistered names, or is malformed, answers only requests with the
//! same one.
//!
//! # Keys
//!
//! Scheme, host, path and query, byte for byte. [`CacheKey`] tells what else counts, or does not.
//! Requests of HTTP/1 do not say their scheme: it is `http`, or what [`CacheKey::scheme`] says. Inside
//! of axum's `nest`, where a part of the path has been cut off, the key has the whole path with the
//! feature `axum`; without it, take the URI from the extensions by [`CacheKey::uri`]. A request with a
//! host that is malformed, or that is another one in its target, passes by, as one does whose key is
//! over 8 KiB.
//!
//! The service gets a request that may fill the cache as its key spells it: the host in lower case
//! and without its default port, and only the query parameters that count, in the key's order. So a
//! response is never stored for another spelling than the one that it answers. Other requests go on
//! as they are.
//!
//! # Coalescing
//!
//! Of the requests for the same response that miss at the same time, one goes to the inner service.
//! The others wait for the head of its response, for 10 s at most. If the response may be stored, they
//! get it, and read the body as it comes. All of them read the same memory, and a client that reads
//! slowly holds up nobody. If the body fails, it fails for all of them.
//!
//! If the response may not be stored, each of the others goes to the inner service, and so do the
//! requests of the next 10 s, without waiting (hit-for-miss), with their preconditions. A body turns
//! out to be too large, or to have trailers, only while it is read: the clients that read it read on,
//! and no further ones join. From then on a client that lags behind the fastest one by more than
//! [`max_entry_size`](CacheLayer::max_entry_size) gets a [`BodyError`].
//!
//! A client that leaves cancels nothing that others may use: its fetch goes on in the background,
//! unless [`cancel_on_disconnect`](CacheLayer::cancel_on_disconnect) is set. A body that may be stored
//! is read to its end by a task, for up to 60 s. If 256 such tasks run, the body is read as its client
//! reads, and shared with nobody. Other tasks refresh entries, 64 at most, wait for a store that is not
//! done at once, and free what a client that does not read has left after 60 s.
//!
//! A request with a nonce of `security_headers` in its extensions shares its response when the body
//! has been read: the nonce may turn up at its end.
//!
//! # Failures
//!
//! An error of the inner service, or a 5xx response, goes to its own client unchanged, and costs the
//! inner service one call:
//!
//! - If there is a stale entry that may be used, all clients get it, for 1 s
//!   ([`failure_ttl`](CacheLayer::failure_ttl)) without a call, and afterwards while one request in the
//!   background asks again.
//! - If there is none, the requests that waited get the status of the failure with an empty body, and
//!   so do the requests of the next second. Then one request asks again.
//!
//! A slow inner service is no reason to wait either: with a stale entry, a request waits for 1 s
//! ([`revalidate_timeout`](CacheLayer::revalidate_timeout)), and the next ones not at all.
//!
//! # Memory and time
//!
//! All responses on their way to the store share a budget of 64 MiB
//! ([`fill_budget`](CacheLayer::max_fill_bytes)). It is charged with what they hold: their heads, and
//! the buffers into which their bodies are copied, until the store has them and their clients have
//! read them. Clients that do not read hold half of it at most: the rest of their bodies is then read
//! only as the fastest of them reads. A response for which nothing is left passes as the
//! service sends it, with `detail=budget` in `cache-status`.
//!
//! A store has 1 s for each operation ([`store_timeout`](CacheLayer::store_timeout)). One that fails,
//! panics or takes longer is a miss, or an entry that is not kept.
//!
//! What is done worse for want of memory or time is counted by its reason in
//! `http_cache_fallbacks_total`. Nothing is remembered of it: the next request for the same finds
//! everything as if it had not been.
//!
//! # Changes
//!
//! A 2xx or 3xx to an unsafe method drops its URL, and what `location` and `content-location` name
//! on the same host (RFC 9111 §4.4). Safe are the methods that IANA's registry calls so, `QUERY`,
//! `PROPFIND`, `REPORT` and `SEARCH` among them; a method that is not registered is unsafe. A 200 to
//! HEAD that differs from an entry (§4.3.5) drops that variant alone. [`CacheHandle`] purges a URL, a prefix, a tag, or all. Either
//! wins over a fetch that began before it.
//!
//! # Stores
//!
//! [`MemoryStore`] keeps entries in a bounded number of bytes. Implement [`Store`] for others. A
//! store that fails, or takes too long, is a miss, and a counter. So is an entry that the layer could
//! not have stored (its status, its length, a header of a connection, a cookie): what an [`Entry`] was
//! read from may have been changed. Layers and values over clones of one `MemoryStore` share its
//! purges.
//!
//! With the feature `cache-redis`, [`RedisStore`][redis] keeps them in Redis or Valkey, for many processes,
//! and [`TieredStore`] puts a memory before it. There, what one process purges is purged in all:
//! within milliseconds, or a second if a message is lost. A purge costs the same whatever it hits,
//! and a hit costs no look for purges: each process has the list of what was purged when, and each
//! entry has the number of the last purge before it was fetched.
//!
//! Where the store is chosen at run time, [`BoxStore`] gives both arms one type.
//!
//! **Redis may be away.** No request fails of it, and none waits longer for a reply than 50 ms
//! ([`budget`][budget]). When five replies in a row are missing, Redis is not asked any
//! more, until a probe in the background gets a reply. Meanwhile each process goes on with its own
//! memory, where an entry is used for 5 s at most ([`unheard`][unheard]), since it may
//! have been purged elsewhere. Purges of that time are sent when Redis is back. If Redis has lost its
//! list of purges (a restart without persistence, a `FLUSHALL`), all that is older is dropped, in
//! memory too. Nothing is logged: see [`RedisStore::status`][status], and the [numbers](#numbers).
//!
//! **With other stores, purges are the layer's own.** A store that several processes share, or that
//! outlives one, does not learn of them: the others, and this one after a restart, give out again
//! what was purged by URL, prefix or tag. Only [`CacheHandle::purge_all`] empties the store itself.
//!
//! # Values
//!
//! With the feature `values`, [`ValueCache`][values] keeps values of any type in a store, as JSON:
//! `get`, `set`, `del`, `flush`, and `get_or_insert_with`, which lets one caller of a herd fetch for
//! all. It can share its store with a layer: their names differ, and a flush leaves what the layer
//! keeps. [`CacheHandle::purge_all`] empties the store, of values too.
//!
//! A response that is made of a value is kept from when it was made, whatever the value's age: their
//! lifetimes add up. Tags do not reach values. So after a change first drop the value, then purge the
//! responses: the other way round, a request in between makes a response of the old value.
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | lifetime | what the response states | RFC 9111; nothing is kept by accident |
//! | [`targeted`](CacheLayer::targeted) | `cdn-cache-control` | the one that RFC 9213 registers |
//! | [`grace`](CacheLayer::stale_if_error) | 600 s | a service that is down for minutes should not be seen |
//! | stale, to be validated | kept for 1 h more | a 304 is cheaper than a body |
//! | [`jitter`](CacheLayer::jitter), [`early_refresh`](CacheLayer::early_refresh) | 0 | what a response states is meant |
//! | [`entry_limit`](CacheLayer::max_entry_size) | 1 MiB of body | what is larger belongs to a file server |
//! | [`variants`](CacheLayer::max_variants) of a URL | 16 | clients choose the fields; they must not fill the store |
//! | length of a key | 8 KiB | what is longer is no resource that many ask for |
//! | [`wait`](CacheLayer::coalesce_timeout) for another | 10 s | longer than a service should take, shorter than clients wait |
//! | [`failure_ttl`](CacheLayer::failure_ttl) | 1 s | long enough to spare an inner service that is down, too short to be noticed after it has come back |
//! | [`revalidate_timeout`](CacheLayer::revalidate_timeout) | 1 s | a client that waits longer takes the old response |
//! | [`honor_request_control`](CacheLayer::honor_request_control) | off | any client could force misses, and browsers do with each reload |
//! | [`hit_for_miss`](CacheLayer::hit_for_miss) | 10 s | soon enough to see that a response may be kept now |
//! | [`fills`](CacheLayer::max_fills) | 256, of 60 s each | a service that has become slow is not read by more |
//! | [`fill_budget`](CacheLayer::max_fill_bytes) | 64 MiB | 64 bodies of the entry limit at once; clients that do not read cannot take more |
//! | [`store_timeout`](CacheLayer::store_timeout) | 1 s | longer than a store takes that is worth asking, shorter than clients wait |
//! | [`refreshes`](CacheLayer::max_refreshes) | 64, of 60 s each | a service that has become slow is not asked by more |
//! | [`cache_status`](CacheLayer::cache_status) | on | one look tells why; it names nothing secret |
//!
//! # Where it goes
//!
//! Outside of `compress`, so that it keeps what is compressed already, and inside of
//! authentication, rate limits, CORS and traces: a hit must not skip them. It is always ready, and
//! waits for the inner service only where it needs that: a layer outside of it that sheds load by
//! readiness sees none of the service's.
//!
//! The inner service has to be `Clone`, since each miss drives a clone of it. What is not, such as
//! tower's `rate_limit`, goes outside of the cache, or behind a `buffer`.
//!
//! # Numbers
//!
//! | name | labels | |
//! |---|---|---|
//! | `http_cache_requests_total` | `outcome`: `hit`, `stale`, `miss`, `revalidated`, `collapsed`, `failed` (shared the failure of another request), `bypass`; `reason` of a bypass: `method`, `upgrade`, `skipped`, `key`, `body`, `precondition`, `no-store`, `partial`, `override`, `spelling`, `cookie`, else empty | see [`Statistics`] |
//! | `http_cache_entries`, `http_cache_stored_bytes` | | gauges, as of the last entry that was put |
//! | `http_cache_evictions_total` | | entries that made place for others |
//! | `http_cache_store_errors_total` | `operation`: `get`, `put`, `remove`, `clear`, `purge`, `lease` | of a store that failed, panicked, or took too long |
//! | `http_cache_fallbacks_total` | `reason`: `budget` (not stored: no bytes left), `fills` (not shared: too many tasks read), `fill-time` (not stored: its body took over 60 s), `wait` (asked the service after waiting for another request), `lease` (asked it without knowing whose turn it is), `puts` (not stored: 256 entries are being put), `refreshes` (not refreshed: too many are) | what was done worse for want of memory or time |
//! | `http_cache_refreshes_total` | `outcome`: `done`, `failed`, `timeout` | in the background |
//! | `http_cache_panics_total` | | of functions that were given to the layer |
//! | `http_cache_redis_errors_total` | `reason`: `timeout`, `connection`, `refused`, `busy`, `damaged`, `version`, `too-large`, `breaker` (not asked, since it did not answer) | each is a miss, an entry that is not kept, or a look at the purges in the background that failed |
//! | `http_cache_redis_breaker_open` | | gauge: 1 while Redis is not asked, since it did not answer |
//! | `http_cache_redis_in_step` | | gauge: 1 while it is known what other processes have purged |
//!
//! # What it never does
//!
//! It never reads a request's body, and never keeps a response that it has not read to its end. It
//! never looks into cookies: a response that states its lifetime and depends on them says so, by
//! `vary: cookie` or `private`. It never joins parts (206) to a whole, answers several ranges, or
//! writes what it keeps to a disk.
//!
//! [redis]: https://docs.rs/tower-kit/latest/tower_kit/cache/struct.RedisStore.html
//! [status]: https://docs.rs/tower-kit/latest/tower_kit/cache/struct.RedisStore.html#method.status
//! [budget]: https://docs.rs/tower-kit/latest/tower_kit/cache/struct.RedisConfig.html#method.budget
//! [unheard]: https://docs.rs/tower-kit/latest/tower_kit/cache/struct.RedisConfig.html#method.unheard
//! [values]: https://docs.rs/tower-kit/latest/tower_kit/cache/struct.ValueCache.html

mod body;
mod cache_status;
mod classify;
pub(crate) mod clock;
pub(crate) mod coalesce;
mod config;
pub(crate) mod control;
pub(crate) mod counters;
mod decide;
mod detach;
mod directive;
pub(crate) mod entry;
mod exchange;
mod fetch;
mod flight_key;
mod frame;
mod handle;
mod hash;
mod head;
mod hint;
mod invalidate;
mod key;
mod key_by;
pub(crate) mod layer;
pub(crate) mod lookup;
mod markers;
pub(crate) mod metrics;
pub(crate) mod policy;
pub(crate) mod purge;
mod refresh;
mod response;
mod service;
pub(crate) mod state;
mod storage;
pub(crate) mod store;
mod sync;
mod targeted;
pub(crate) mod task;
pub(crate) mod timeout;
pub(crate) mod vary;

pub use body::{BodyError, ResponseBody};
pub use entry::Entry;
pub use frame::InvalidEntry;
#[cfg(feature = "cache-redis-fred")]
pub use fred;
pub use handle::{CacheHandle, InvalidUrl};
pub use hint::CacheHint;
pub use key_by::CacheKey;
pub use layer::CacheLayer;
pub use metrics::Statistics;
pub use policy::{Exception, InvalidNumber};
pub use purge::{PurgeFuture, SharedPurges};
pub use service::{Cache, ResponseFuture};
#[cfg(feature = "test-util")]
pub use store::contract;
pub use store::{BoxStore, Lease, MemoryStore, Store, StoreError, TieredStore, Usage};
#[cfg(feature = "cache-redis")]
pub use store::{InvalidRedisConfig, RedisConfig, RedisStatus, RedisStore};
