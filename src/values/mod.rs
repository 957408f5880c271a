//! A cache of values: results of database queries, or of calls to other services.
//!
//! [`ValueCache`] keeps values of any type in a [`Store`](crate::cache::Store), encoded as JSON. Use
//! it inside handlers, with or without a [`CacheLayer`](crate::CacheLayer) over the same store.
//! [`TypedCache`] keeps the values of one type decoded in memory, and encodes them by any [`Codec`].
//!
//! ```
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use tower_kit::cache::MemoryStore;
//! use tower_kit::{MIB, ValueCache};
//! # #[derive(Clone)] struct Database;
//! # impl Database {
//! #     async fn user(&self, id: u64) -> Result<Option<User>, std::io::Error> {
//! #         Ok(Some(User { id, name: "Ada".to_owned() }))
//! #     }
//! #     async fn rename(&self, _: u64, _: &str) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//!
//! #[derive(Serialize, Deserialize)]
//! struct User {
//!     id: u64,
//!     name: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = Database;
//! let cache = ValueCache::new(MemoryStore::new(64 * MIB)).ttl(Duration::from_secs(300));
//!
//! // To read: the cache first, and on a miss one query for all callers.
//! let load = || database.user(7);
//! let user: Option<User> = cache.get_or_insert_with("user:7", None, load).await?;
//! # assert_eq!(user.unwrap().name, "Ada");
//!
//! // To write: the database first, then the cache.
//! database.rename(7, "Grace").await?;
//! cache.remove("user:7").await?;
//! # assert!(cache.get::<User>("user:7").await.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! Customized, a cache returns stale values rather than errors or long waits:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_kit::ValueCache;
//! use tower_kit::cache::MemoryStore;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new(64 * tower_kit::MIB);
//! let rates = ValueCache::new(store)
//!     .namespace("rates")
//!     .name("rates")?
//!     .ttl(Duration::from_secs(60))
//!     .jitter(0.1)?
//!     // A value in constant use is loaded again before it is stale.
//!     .refresh_after(0.8)?
//!     // A stale value is returned for 6 hours if the load fails or takes long.
//!     .stale_if_error(Duration::from_secs(6 * 3600))
//!     .soft_timeout(Duration::from_millis(200))
//!     .hard_timeout(Duration::from_secs(5));
//! # drop(rates);
//! # Ok(())
//! # }
//! ```
//!
//! A clone with other settings is the same cache: make one for each kind of value. The ttl and the tags
//! of one value are [`ValueOptions`] of a call, or come from the loader as [`Loaded`].
//!
//! The loader of [`get_or_insert_with`](ValueCache::get_or_insert_with) may borrow. That of
//! [`get_or_refresh_with`](ValueCache::get_or_refresh_with) goes on in the background if no caller
//! should wait. That of [`get_or_revalidate_with`](ValueCache::get_or_revalidate_with) also gets the
//! stale value, and may find it unchanged.
//! [`get_or_insert_many_with`](ValueCache::get_or_insert_many_with) loads all the missing ones of
//! several keys at once. The [guide] compares the behavior with that of other caches.
//!
//! [guide]: https://docs.rs/tower-kit/latest/tower_kit/values/guide/index.html
//!
//! # Behavior
//!
//! ## Coalescing
//!
//! One of the callers that miss the same key loads the value, and the others wait for it, for at most
//! [`coalesce_timeout`](ValueCache::coalesce_timeout). If the loading caller leaves or panics, a
//! waiting one takes its place. If its load fails, all get the same error.
//!
//! A loader that asks for its own key, directly or through the loader of another key, gets an error at
//! once ([`LoadError::is_recursive`]). The cache does not see this through a spawned task, whose wait
//! ends after `coalesce_timeout`.
//!
//! ## Failures
//!
//! If a load fails, the stale value is returned for [`stale_if_error`](ValueCache::stale_if_error)
//! after its ttl, and the key is not loaded again for [`retry_delay`](ValueCache::retry_delay).
//! Without a stale value, a failure is remembered for [`failure_ttl`](ValueCache::failure_ttl). A load
//! that exceeds [`hard_timeout`](ValueCache::hard_timeout) has failed. One that exceeds
//! [`soft_timeout`](ValueCache::soft_timeout) has not: the caller gets the stale value, and the load
//! goes on.
//!
//! A store that fails, and a value that does not decode as the requested type, are misses, and are
//! counted. A failing operation is tried again at once, up to
//! [`max_attempts`](ValueCache::max_attempts) times within
//! [`store_timeout`](ValueCache::store_timeout). A loaded value that is too large is returned and
//! not stored. Nor is one that cannot be encoded (NaN has no JSON), which each caller loads for itself.
//!
//! ## Invalidation
//!
//! [`remove`](ValueCache::remove), [`remove_by_tag`](ValueCache::remove_by_tag) and
//! [`clear`](ValueCache::clear) win over a load that started earlier, and so does an
//! [`insert`](ValueCache::insert) in the same process: the caller gets the value that it loaded, and the
//! value is not stored. [`expire`](ValueCache::expire) and
//! [`expire_by_tag`](ValueCache::expire_by_tag) leave a stale value.
//!
//! Clones of a `ValueCache` are the same cache. Two that were made separately over clones of a
//! [`MemoryStore`](crate::cache::MemoryStore), or over Redis, see each other's removals.
//!
//! An [`insert`](ValueCache::insert) or a [`remove`](ValueCache::remove) drops no value of another key,
//! however many there are. Over a slow Redis an insert holds in its own process at once, and in the others
//! later.
//!
//! ## Links
//!
//! A response that a [`CacheLayer`](crate::CacheLayer) over the same store keeps is linked to the values
//! that its handler reads:
//!
//! ```
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::{MIB, ValueCache};
//!
//! let store = MemoryStore::new(64 * MIB);
//! // A handler that calls `rates.get("EUR")` makes a page that the next `rates.insert("EUR", ..)` purges.
//! let rates = ValueCache::new(store.clone()).namespace("rates");
//! let pages = CacheLayer::new(store);
//! # drop((rates, pages));
//! ```
//!
//! - [`insert`](ValueCache::insert), [`remove`](ValueCache::remove),
//!   [`remove_by_tag`](ValueCache::remove_by_tag) and [`clear`](ValueCache::clear) purge the responses made of
//!   the values: in this process before they return, and in others with the purge of the value.
//!   [`expire`](ValueCache::expire) makes the responses stale.
//! - A key without a value is linked too. For a minute after its removal, responses made without it are not
//!   stored: the removal may be the first half of an insert.
//! - A response is fresh for no longer than its values. One that is made of a stale value, or of a value
//!   that is [not kept](Loaded::uncached), is not stored (`detail=stale-value` in `cache-status`), nor is one
//!   of more than 256 values, or of 16 KiB of keys and tags (`detail=values`).
//! - The scope of a handler is its task, until it has returned the response. For tasks that it spawns there
//!   is [`ReadScope`](crate::cache::ReadScope). Values that a body reads while it is sent are not linked.
//! - A value is not linked to the values that its own loader reads: remove both.
//!
//! [`CacheLayer::unlinked`](crate::CacheLayer::unlinked) turns the links of a layer off.
//!
//! # Metrics
//!
//! Each has the label `cache`, the [name](ValueCache::name) of the cache.
//!
//! | name | labels |
//! |---|---|
//! | `value_cache_requests_total` | `outcome`: `hit`, `stale`, `miss` (the caller loaded, or there was nothing), `collapsed` (another caller loaded the value), `failed` (the load of another caller failed) |
//! | `value_cache_errors_total` | `operation`: `get`, `put`, `remove`, `purge`, `lease` of the store, after the last attempt; `encode`, `decode`, `too-large` of values, keys and tags; `load` that failed, `load-timeout`, `recursion`; `wait` for another caller that timed out; `refreshes` and `puts` over their maxima |
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`ttl`](ValueCache::ttl) | 3600 s | for values that are removed when they change |
//! | [`negative_ttl`](ValueCache::negative_ttl) | 60 s | what comes into being is seldom removed first |
//! | [`stale_while_revalidate`](ValueCache::stale_while_revalidate), [`stale_if_error`](ValueCache::stale_if_error), [`jitter`](ValueCache::jitter) | 0 | the `ttl` of a call is exact |
//! | [`retry_delay`](ValueCache::retry_delay) | 1 s | a failing database does not get every query |
//! | [`failure_ttl`](ValueCache::failure_ttl) | 0 | the next caller may succeed |
//! | [`soft_timeout`](ValueCache::soft_timeout), [`hard_timeout`](ValueCache::hard_timeout) | none; 60 s in the background | the database has timeouts of its own |
//! | [`coalesce_timeout`](ValueCache::coalesce_timeout) | 10 s | longer than a load should take |
//! | [`max_refreshes`](ValueCache::max_refreshes) | 64 | a database that has become slow gets no more load |
//! | [`max_attempts`](ValueCache::max_attempts) | 3 | a broken connection works the next time |
//! | [`store_timeout`](ValueCache::store_timeout) | 1 s | longer than a useful store takes |
//! | size of a value | 1 MiB, encoded | a larger one costs too much to decode at each hit |
//! | keys of one load | 1,000 | bounds the values on their way into the store |
//! | size of a key | 8 KiB, with its namespace | the maximum of a store |
//! | tags of a value | 64, of 1 KiB each | each is compared with the purges |
//!
//! # What it does not do
//!
//! It links no responses of layers over another store. Failures and the delays after them are those of one
//! process; other processes load for themselves.

mod codec;
mod error;
mod failures;
mod fetch;
mod fetch_many;
mod finite;
mod form;
#[cfg(doc)]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod guide;
mod insert;
mod load_error;
mod loaded;
mod many;
mod metrics;
mod options;
mod policy;
mod recursion;
mod service;
mod shared;
mod since;
mod typed;
mod writes;

pub use codec::{Codec, Json};
pub use error::ValueCacheError;
pub use load_error::LoadError;
pub use loaded::{Loaded, ValueEntry};
pub use options::ValueOptions;
pub use service::ValueCache;
pub use typed::TypedCache;
