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
//! With namespaces, several caches share a store, and stale values bridge the time of a query:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_kit::ValueCache;
//! use tower_kit::cache::{InvalidNumber, MemoryStore};
//!
//! # fn main() -> Result<(), InvalidNumber> {
//! let store = MemoryStore::new(64 * tower_kit::MIB);
//! let users = ValueCache::new(store.clone()).namespace("users");
//! let rates = ValueCache::new(store)
//!     .namespace("rates")
//!     .ttl(Duration::from_secs(60))
//!     .stale_while_revalidate(Duration::from_secs(600))
//!     .jitter(0.1)?;
//! # drop((users, rates));
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! ## Coalescing
//!
//! Of the callers that miss the same key, one fetches the value and the others wait for it, for at
//! most 10 s. If the fetching caller leaves or panics, a waiting one takes its place. If its fetch
//! fails, it alone gets the error; each of the others then fetches for itself at once. Errors are not
//! stored.
//!
//! ## Invalidation
//!
//! A [`remove`](ValueCache::remove) or a [`clear`](ValueCache::clear) wins over a fetch that started
//! earlier, and so does an [`insert`](ValueCache::insert) in the same process: the caller gets the
//! value that it fetched, and the value is not stored.
//!
//! Clones of a `ValueCache` are the same cache. Two that were made separately over clones of a
//! [`MemoryStore`](crate::cache::MemoryStore), or over Redis, see each other's `remove` and `clear`.
//!
//! A response that contains a value is stored from the time at which it was made: its lifetime and that
//! of the value add up. After a change first remove the value, then purge the responses. In the other
//! order a request in between could make a response of the old value.
//!
//! ## Failures
//!
//! A store that fails, and a value that does not decode as the requested type, are misses, and are
//! counted. A failing operation is tried again at once, up to
//! [`max_attempts`](ValueCache::max_attempts) times within
//! [`store_timeout`](ValueCache::store_timeout).
//!
//! # Metrics
//!
//! | name | labels |
//! |---|---|
//! | `value_cache_requests_total` | `outcome`: `hit`, `stale`, `miss`, `collapsed` (another caller fetched the value) |
//! | `value_cache_errors_total` | `operation`: `get`, `put`, `remove`, `purge`, `lease` of the store, after the last attempt; `encode`, `decode`, `too-large` of values and keys; `refresh` that failed; `wait` for another caller that timed out; `refreshes` and `puts` over their maxima |
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`ttl`](ValueCache::ttl) | 3600 s | for values that are removed when they change |
//! | [`negative_ttl`](ValueCache::negative_ttl) | 60 s | what comes into being is seldom removed first |
//! | [`stale_while_revalidate`](ValueCache::stale_while_revalidate), [`jitter`](ValueCache::jitter) | 0 | the `ttl` of a call is exact |
//! | [`max_attempts`](ValueCache::max_attempts) | 3 | a broken connection works the next time |
//! | [`store_timeout`](ValueCache::store_timeout) | 1 s | longer than a useful store takes |
//! | size of a value | 1 MiB of JSON | a larger one costs too much to decode at each hit |
//! | size of a key | 8 KiB, with its namespace | the maximum of a store |
//! | wait for another caller | 10 s | longer than a query should take |
//! | background refreshes | 64, of 60 s each | a database that has become slow gets no more load |
//!
//! # What it does not do
//!
//! The cache has no tags, and does not purge responses when a value changes. It encodes values as JSON
//! only, also in memory.

mod error;
mod fetch;
mod metrics;
mod policy;
mod service;
mod shared;

pub use error::ValueCacheError;
pub use service::ValueCache;
