//! A response cache that follows RFC 9111. It serves `GET` and `HEAD` requests from a store: the memory
//! of the process, or Redis.
//!
//! [`CacheLayer`] is for services whose responses are the same for many clients. A response states
//! its lifetime in `cache-control`, or the layer sets one. Concurrent requests for one response are
//! coalesced into one call of the inner service. The layer needs a Tokio runtime with its timer
//! enabled.
//!
//! ```
//! use axum::{Router, http::header::CACHE_CONTROL, routing::get};
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::MIB;
//!
//! let items = || async { ([(CACHE_CONTROL, "max-age=60")], "the list") };
//! let app: Router =
//!     Router::new().route("/items", get(items)).layer(CacheLayer::new(MemoryStore::new(64 * MIB)));
//! # drop(app);
//! ```
//!
//! [`with_ttl`](CacheLayer::with_ttl) stores each 200 response to a `GET` for a fixed time, whatever
//! lifetime it states, unless it may not be stored for another reason. A handle purges the responses that have changed:
//!
//! ```
//! use std::time::Duration;
//!
//! use axum::{Extension, Router, routing::get};
//! use tower_kit::cache::{CacheHint, CacheKey, CacheLayer, InvalidNumber, MemoryStore};
//! use tower_kit::MIB;
//!
//! # fn main() -> Result<(), InvalidNumber> {
//! let layer = CacheLayer::with_ttl(MemoryStore::new(64 * MIB), Duration::from_secs(300))
//!     .key(CacheKey::new().without_tracking().sorted_query())
//!     .skip_if(|request| request.uri.path().starts_with("/admin/"))
//!     .jitter(0.1)?;
//! let handle = layer.handle();
//! let items = || async { (Extension(CacheHint::new().tag("items")), "the list") };
//! let app: Router = Router::new().route("/items", get(items)).layer(layer);
//!
//! handle.purge_tag("items");
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! Each topic has a page of its own, with all details, in the [`guide`].
//!
//! ## Storage and freshness
//!
//! The cache stores what RFC 9111 permits a shared cache to store, and no errors other than 404 and
//! 410. Responses with `set-cookie`, `private` or `no-store` are not stored; an [`Exception`]
//! allows each of these. A stale response is validated with its `etag` or `last-modified`, or
//! served within `stale-while-revalidate`. If the inner service fails, a stale response is served
//! for up to 600 s. By default the cache ignores `cache-control` of requests, so that no client can
//! force misses. A range is answered from a whole response, or from a part (206) that was stored for the
//! same range. See [storage and freshness](guide::storage).
//!
//! ## Variants and keys
//!
//! A key is the scheme, the host, the path and the query; [`CacheKey`] changes that. A URL has a
//! variant for each combination of the request headers that `vary` names; `no-vary-search` makes URLs
//! share a response. Requests with `cookie`
//! pass by the cache if the lifetime is the layer's own (`with_ttl`, `ttl`, `default_ttl`), unless the key
//! has or ignores their cookies. **Behind a proxy that sets `forwarded` or
//! `x-forwarded-host`, use [`trust_forwarded`](CacheLayer::trust_forwarded)**, or nothing is
//! stored. See [variants and keys](guide::keys).
//!
//! ## Coalescing
//!
//! Of the requests that miss the same response, one calls the inner service. The others follow the
//! body as it comes, and share a failure, which is remembered for 1 s. If there is a
//! stale response to fall back on, a client waits for at most 1 s. A fetch goes on if its client leaves. See
//! [coalescing](guide::coalescing).
//!
//! ## Invalidation
//!
//! [`CacheHandle`] purges a URL, a prefix, a tag, or everything; a soft purge makes it stale. A
//! successful response to an unsafe method purges its URL, and the groups that it names (RFC 9875). A
//! purge also hits the responses that are being fetched. See [invalidation](guide::invalidation).
//!
//! ## Redis
//!
//! With the feature `cache-redis` or `cache-redis-rs`, processes share their entries and purges through
//! Redis or Valkey. If Redis does not respond, each process continues with its own memory. See
//! [Redis][redis].
//!
//! ## Values
//!
//! The feature `values` adds a cache of values of any type, such as the results of queries, in the
//! same stores. See [`values`][values].
//!
//! # Metrics
//!
//! Each response has a `cache-status` header (RFC 9211), which tells why it was or was not stored. The
//! [`name`](CacheLayer::name) of the cache is its first item, and the label `cache` of each metric.
//!
//! | name | labels besides `cache` |
//! |---|---|
//! | `http_cache_requests_total` | `outcome`, `reason` |
//! | `http_cache_entries`, `http_cache_stored_bytes` | |
//! | `http_cache_evictions_total` | |
//! | `http_cache_store_errors_total` | `operation` |
//! | `http_cache_fallbacks_total` | `reason` |
//! | `http_cache_refreshes_total` | `outcome` |
//! | `http_cache_panics_total` | |
//!
//! The page on [observability](guide::observability) has the meaning of each label.
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | lifetime | stated by the response | nothing is stored by accident |
//! | [`stale_while_revalidate`](CacheLayer::stale_while_revalidate) | 0 | nothing is served stale by accident |
//! | [`stale_if_error`](CacheLayer::stale_if_error) | 600 s | hides a failure of some minutes |
//! | [`revalidate_timeout`](CacheLayer::revalidate_timeout) | 1 s | no client waits longer than it has to |
//! | [`failure_ttl`](CacheLayer::failure_ttl) | 1 s | a failing service is not called by everyone |
//! | [`coalesce_timeout`](CacheLayer::coalesce_timeout) | 10 s | longer than a service should take, shorter than clients wait |
//! | [`hit_for_miss`](CacheLayer::hit_for_miss) | 10 s | soon notices that a response can be stored now |
//! | [`jitter`](CacheLayer::jitter), [`early_refresh`](CacheLayer::early_refresh) | 0 | stated lifetimes are exact |
//! | [`targeted`](CacheLayer::targeted) | `cdn-cache-control` | the header that RFC 9213 registers |
//! | [`max_entry_size`](CacheLayer::max_entry_size) | 1 MiB | larger files belong on a file server |
//! | [`max_variants`](CacheLayer::max_variants) | 16 | clients choose the headers, and must not fill the store |
//! | [`max_parts`](CacheLayer::max_parts) | 1024 | the segments of a video of an hour |
//! | [`max_fill_bytes`](CacheLayer::max_fill_bytes) | 64 MiB | 64 of the largest entries |
//! | [`max_fills`](CacheLayer::max_fills), [`max_refreshes`](CacheLayer::max_refreshes) | 256, 64 | a slow service gets no more load |
//! | [`store_timeout`](CacheLayer::store_timeout) | 1 s | longer than a useful store takes |
//! | [`fill_on_head`](CacheLayer::fill_on_head) | off | the service makes no body that nobody asked for |
//! | [`honor_request_control`](CacheLayer::honor_request_control) | off | no client can force misses |
//! | [`cancel_on_disconnect`](CacheLayer::cancel_on_disconnect) | off | the next request needs the response |
//!
//! # Placement
//!
//! Place the cache outside `compress`, so that it stores compressed responses, and inside
//! authentication, rate limits, CORS and tracing, which a hit must not skip.
//!
//! The cache is always ready, and waits inside the response future for an inner service that is not. The
//! inner service therefore has to be `Clone`, and a layer outside that sheds load by readiness does not
//! see the readiness of the inner service. A layer whose service is not `Clone`, such as
//! `rate_limit` of tower, goes outside the cache or behind a `buffer`. The error of the inner body
//! has to convert into `Box<dyn Error + Send + Sync>`, as hyper requires.
//!
//! # What it does not do
//!
//! - It does not read request bodies, nor cookies that its key does not name, and does not look into
//!   response bodies. `QUERY` and chosen `POST` requests are cached by their content with the feature
//!   `cache-query`: see [`content_key`][content_key].
//! - It does not combine parts (206), and does not answer several ranges at once.
//! - It does not write entries to a disk.
//! - It does not log.
//!
//! [content_key]: https://docs.rs/tower-kit/latest/tower_kit/cache/content_key/index.html
//! [redis]: https://docs.rs/tower-kit/latest/tower_kit/cache/guide/redis/index.html
//! [values]: https://docs.rs/tower-kit/latest/tower_kit/values/index.html

mod body;
pub(crate) mod cache_status;
mod classify;
pub(crate) mod clock;
pub(crate) mod coalesce;
mod config;
#[cfg(feature = "cache-query")]
pub mod content_key;
pub(crate) mod counters;
mod decide;
mod detach;
pub(crate) mod entry;
pub(crate) mod error;
mod exchange;
mod fetch;
mod flight_key;
#[cfg(doc)]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod guide;
mod handle;
pub(crate) mod hash;
mod hint;
mod hit_for_miss;
mod invalidate;
mod key;
pub(crate) mod layer;
pub(crate) mod lookup;
mod markers;
pub(crate) mod metrics;
pub(crate) mod namespace;
pub(crate) mod policy;
pub(crate) mod purge;
mod ranges;
#[cfg_attr(not(feature = "values"), expect(dead_code, unreachable_pub, reason = "for values"))]
pub(crate) mod read_scope;
mod refresh;
mod response;
mod search_rules;
mod service;
pub(crate) mod state;
mod storage;
pub(crate) mod store;
mod structured;
mod sync;
pub(crate) mod task;
pub(crate) mod timeout;
mod uncached;
pub(crate) mod vary;
mod vary_value;

pub use body::{BodyError, ResponseBody};
pub use cache_status::InvalidName;
pub use entry::{Entry, InvalidEntry};
pub use error::StoreError;
#[cfg(feature = "cache-redis-fred")]
pub use fred;
pub use handle::{CacheHandle, InvalidUrl};
pub use hint::CacheHint;
pub use key::CacheKey;
pub use layer::CacheLayer;
pub use metrics::Statistics;
pub use policy::{Exception, InvalidNumber};
pub use purge::{PurgeFuture, SharedPurges};
#[cfg(feature = "values")]
pub use read_scope::ReadScope;
pub use service::{Cache, ResponseFuture};
#[cfg(feature = "test-util")]
pub use store::contract;
#[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
pub use store::redis::{InvalidRedisConfig, RedisConfig, RedisStatus, RedisStore};
pub use store::{BoxStore, Lease, MemoryStore, Store, TieredStore, Usage};
