//! A cache of values: results of database queries, or of calls to other services.
//!
//! [`ValueCache`] keeps values of any type in a [`Store`](crate::cache::Store), encoded as JSON. Use
//! it inside handlers, with or without a [`CacheLayer`](crate::CacheLayer) over the same store.
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
//! A clone with other settings is the same cache: make one for each kind of value, at the start of the
//! program. The ttl and the tags of one value are [`ValueOptions`] of a call, or come from the loader
//! as [`Loaded`].
//!
//! | method | the loader |
//! |---|---|
//! | [`get_or_insert_with`](ValueCache::get_or_insert_with) | runs within the call, and may borrow |
//! | [`get_or_refresh_with`](ValueCache::get_or_refresh_with) | owns what it needs, and goes on in the background if no caller should wait |
//! | [`get_or_revalidate_with`](ValueCache::get_or_revalidate_with) | also gets the stale value, and may find it unchanged |
//!
//! The [guide] compares the behavior with that of other caches.
//!
//! [guide]: https://docs.rs/tower-kit/latest/tower_kit/values/guide/index.html
//!
//! # Behavior
//!
//! ## Coalescing
//!
//! Of the callers that miss the same key, one loads the value and the others wait for it, for at most
//! [`coalesce_timeout`](ValueCache::coalesce_timeout). If the loading caller leaves or panics, a
//! waiting one takes its place. If its load fails, all get the same error.
//!
//! A loader that asks for its own key, directly or through the loader of another key, gets an error at
//! once: [`LoadError::is_recursive`]. A loader that spawns a task and waits for it is not seen, and
//! waits for the `coalesce_timeout`.
//!
//! ## Failures
//!
//! A value of which the load fails is replaced by the stale one for
//! [`stale_if_error`](ValueCache::stale_if_error) after its ttl. Then the key is not loaded again for
//! [`retry_delay`](ValueCache::retry_delay). Without a stale value, a failure is remembered only with
//! [`failure_ttl`](ValueCache::failure_ttl).
//!
//! A load that takes longer than [`soft_timeout`](ValueCache::soft_timeout) is no failure: the caller
//! gets the stale value, and the load goes on. A load that takes longer than
//! [`hard_timeout`](ValueCache::hard_timeout) is one.
//!
//! A store that fails, and a value that does not decode as the requested type, are misses, and are
//! counted. A failing operation is tried again at once, up to
//! [`max_attempts`](ValueCache::max_attempts) times within
//! [`store_timeout`](ValueCache::store_timeout). A loaded value that cannot be encoded or is too large
//! is returned and not stored.
//!
//! ## Invalidation
//!
//! [`remove`](ValueCache::remove), [`remove_by_tag`](ValueCache::remove_by_tag) and
//! [`clear`](ValueCache::clear) win over a load that started earlier, and so does an
//! [`insert`](ValueCache::insert) in the same process: the caller gets the value that it loaded, and the
//! value is not stored, nor used stale. [`expire`](ValueCache::expire) and
//! [`expire_by_tag`](ValueCache::expire_by_tag) leave a stale value.
//!
//! Clones of a `ValueCache` are the same cache. Two that were made separately over clones of a
//! [`MemoryStore`](crate::cache::MemoryStore), or over Redis, see each other's removals.
//!
//! An [`insert`](ValueCache::insert) or a [`remove`](ValueCache::remove) drops no value of another key,
//! however many there are. Over a slow Redis an insert holds in its own process at once, and in the others
//! later.
//!
//! A response that contains a value is stored from the time at which it was made: its lifetime and that
//! of the value add up. After a change first remove the value, then purge the responses. In the other
//! order a request in between could make a response of the old value.
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
//! | size of a value | 1 MiB of JSON | a larger one costs too much to decode at each hit |
//! | size of a key | 8 KiB, with its namespace | the maximum of a store |
//! | tags of a value | 64, of 1 KiB each | each is compared with the purges |
//!
//! # What it does not do
//!
//! The cache does not purge responses when a value changes. Failures and the delays after them are those
//! of one process; other processes load for themselves. It encodes values as JSON only, also in memory.

mod error;
mod failures;
mod fetch;
#[cfg(doc)]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
#[doc = include_str!("guide.md")]
pub mod guide {}
mod insert;
mod load_error;
mod loaded;
mod metrics;
mod options;
mod policy;
mod recursion;
mod service;
mod shared;
mod since;
mod writes;

pub use error::ValueCacheError;
pub use load_error::LoadError;
pub use loaded::{Loaded, ValueEntry};
pub use options::ValueOptions;
pub use service::ValueCache;
