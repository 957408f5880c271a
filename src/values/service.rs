use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Recorder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Fault, ValueCacheError};
use super::policy;
use super::shared::Shared;
use super::tally::{Outcome, Tally};
use crate::cache::clock::Clock;
use crate::cache::layer::SHORTEST_TIMEOUT;
use crate::cache::policy::InvalidNumber;
use crate::cache::purge::Purge;
use crate::cache::store::Store;
use crate::metrics::Metrics;

/// Keeps values of any type in a [`Store`], as JSON: results of queries, or of calls to other
/// services. It works without a [`CacheLayer`](crate::CacheLayer), or beside one over the same
/// store.
///
/// ```
/// use std::time::Duration;
///
/// use serde::{Deserialize, Serialize};
/// use tower_kit::MIB;
/// use tower_kit::cache::{ValueCache, MemoryStore};
/// # #[derive(Clone)] struct Database;
/// # impl Database {
/// #     async fn user(&self, id: u64) -> Result<Option<User>, std::io::Error> {
/// #         Ok(Some(User { id, name: "Ada".to_owned() }))
/// #     }
/// #     async fn rename(&self, _: u64, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # }
///
/// #[derive(Serialize, Deserialize)]
/// struct User {
///     id: u64,
///     name: String,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = Database;
/// let cache = ValueCache::new(MemoryStore::new(64 * MIB)).ttl(Duration::from_secs(300));
///
/// // To read: the cache is asked first, and the database once for all who miss.
/// let load = || database.user(7);
/// let user: Option<User> = cache.get_or_insert_with("user:7", None, load).await?;
/// # assert_eq!(user.unwrap().name, "Ada");
///
/// // To write: the database first, then the cache forgets.
/// database.rename(7, "Grace").await?;
/// cache.remove("user:7").await?;
/// # assert!(cache.get::<User>("user:7").await.is_none());
/// # Ok(())
/// # }
/// ```
///
/// Clones are the same cache, and setters on a clone change what that clone does. Two that were made
/// separately over clones of a [`MemoryStore`](crate::cache::MemoryStore), or over Redis, see each
/// other's [`remove`](Self::remove) and [`flush`](Self::clear).
///
/// # Herds
///
/// Of the callers that miss the same key, one fetches, and the others wait for what it gets, for
/// 10 s at most. If it leaves or panics, one of them takes its place. If it gets an error, that is
/// its own: the others fetch at once, each for itself, and none waits twice. Errors are not kept.
///
/// # Changes
///
/// A [`remove`](Self::remove) or a [`flush`](Self::clear) wins over a fetch that began before it, and a
/// [`set`](Self::insert) does in this process: what is fetched is given to its caller, and is not kept.
///
/// # Failures
///
/// A store that fails, and a value that is not what was asked for any more since its type has
/// changed, are misses, and counters. An operation of the store that fails is tried again at once,
/// for as long as [`store_timeout`](Self::store_timeout) says.
/// With a Redis that is silent, the first callers may wait for 3 × 50 ms, or for 300 ms if they fetch,
/// set or drop; later ones do not wait.
///
/// # Defaults
///
/// | what | default | why |
/// |---|---|---|
/// | [`ttl`](Self::ttl) | 3600 s | for what [`remove`](Self::remove) drops when it changes |
/// | [`negative_ttl`](Self::negative_ttl) | 60 s | what comes to be is seldom dropped first |
/// | [`stale_while_revalidate`](Self::stale_while_revalidate), [`jitter`](Self::jitter) | 0 | what a call says is meant |
/// | [`max_attempts`](Self::max_attempts) | 3 | a connection that broke is there again the next time |
/// | [`store_timeout`](Self::store_timeout) | 1 s | longer than a store takes that is worth asking |
/// | value | 1 MiB of JSON | what is larger is no result to parse at each hit |
/// | key, with its name space | 8 KiB | the most that stores take |
/// | wait for another | 10 s | longer than a query should take |
/// | refreshes | 64, of 60 s each | a database that has become slow is not asked by more |
///
/// # Numbers
///
/// | name | labels |
/// |---|---|
/// | `value_cache_requests_total` | `outcome`: `hit`, `stale`, `miss`, `collapsed` (another caller has fetched it) |
/// | `value_cache_errors_total` | `operation`: `get`, `put`, `remove`, `purge`, `lease` of the store, after its attempts; `encode`, `decode`, `too-large` of values and keys; `refresh` that failed; `wait` for another caller, `refreshes` and `puts` beyond their bounds |
#[derive(Clone)]
#[must_use = "a setter gives back the service that it changed"]
pub struct ValueCache {
    shared: Arc<Shared>,
}

impl ValueCache {
    /// Keeps values in this store.
    pub fn new(store: impl Store) -> Self {
        Self { shared: Arc::new(Shared::new(store)) }
    }

    /// How long values are fresh where a call does not say. 3600 s by default.
    pub fn ttl(self, ttl: Duration) -> Self {
        self.edit(|shared| shared.rules.ttl = ttl)
    }

    /// Shortens each ttl by a random part of up to `fraction` of it, so that what was kept together
    /// does not end together. 0 by default.
    ///
    /// # Errors
    ///
    /// Unless `0 <= fraction <= 1`.
    pub fn jitter(self, fraction: f64) -> Result<Self, InvalidNumber> {
        let fraction = InvalidNumber::check(fraction, 1.0)?;
        Ok(self.edit(|shared| shared.rules.jitter = fraction))
    }

    /// Sets how long after its ttl a value is given all the same, while it is fetched anew: by one of
    /// its callers ([`get_or_insert_with`](Self::get_or_insert_with)) or in the background
    /// ([`get_or_refresh_with`](Self::get_or_refresh_with)). 0 by default.
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.while_revalidate = time)
    }

    /// How long a missing value is remembered, at most: an [`Option`] that is `None`, or what else is
    /// `null` in JSON. It is never used stale. 60 s by default.
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.edit(|shared| shared.rules.negative_ttl = ttl)
    }

    /// How often an operation of the store is tried, one right after the other, before it has
    /// failed. 3 by default; 0 is taken as 1.
    pub fn max_attempts(self, attempts: usize) -> Self {
        self.edit(|shared| shared.attempts = attempts.max(1))
    }

    /// Sets how long an operation of the store may take, with all of its [`max_attempts`](Self::max_attempts),
    /// before it has failed. 1 s by default; less than 1 ms is taken as 1 ms.
    pub fn store_timeout(self, time: Duration) -> Self {
        self.edit(|shared| shared.store_timeout = time.max(SHORTEST_TIMEOUT))
    }

    /// Keys are in a space of this name: others may have the same ones, and
    /// [`flush`](Self::clear) leaves theirs. It is empty by default.
    pub fn namespace(self, name: &str) -> Self {
        self.edit(|shared| shared.rules.space = policy::space(name))
    }

    /// Counts on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.tally = Arc::new(Tally::new(Metrics::to(recorder))))
    }

    /// Reads the time from `clock`, for tests of what expires. Waits are not by it, but by tokio's
    /// timer.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.edit(|shared| shared.clock = Clock::of(clock))
    }

    /// The value of a key, if it is fresh.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let found = match self.shared.rules.name(key) {
            Some(name) => self.shared.look(&name, false).await,
            None => None,
        };
        self.shared.tally.count(if found.is_some() { Outcome::Hit } else { Outcome::Miss });
        found.map(|found| found.value)
    }

    /// Keeps a value under a key, for `ttl`, or for the [default](Self::ttl) one.
    ///
    /// # Errors
    ///
    /// If the value is no JSON, it or the key is too large, or the store failed. What was kept before
    /// may be there still.
    pub async fn insert<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: impl Into<Option<Duration>>,
    ) -> Result<(), ValueCacheError> {
        let json = self.shared.encode(value)?;
        let name = self.shared.rules.name(key).filter(|_| self.shared.fits(&json));
        let name = name.ok_or(Fault::TooLarge)?;
        Ok(self.shared.set(&name, ttl.into(), json).await.map_err(Fault::from)?)
    }

    /// Forgets the value of a key. It takes effect here when it is first polled, also for what is being
    /// fetched, and is nothing if it is not awaited; `Ok` means that other processes are told too.
    ///
    /// # Errors
    ///
    /// If the store failed. This process does not give the value out any more; others may.
    pub async fn remove(&self, key: &str) -> Result<(), ValueCacheError> {
        // What has no name was never kept.
        let Some(name) = self.shared.rules.name(key) else { return Ok(()) };
        Ok(self.shared.del(&name).await.map_err(Fault::from)?)
    }

    /// Forgets all values of this [name space](Self::namespace), and nothing else that the store
    /// keeps. It holds from the first poll on, as [`remove`](Self::remove) does. Their memory is free when
    /// others take their place.
    ///
    /// # Errors
    ///
    /// If the store failed to tell other processes: they may give the values out still.
    pub async fn clear(&self) -> Result<(), ValueCacheError> {
        let shared = &self.shared;
        Ok(shared.purge(Purge::Prefix(&shared.rules.space)).await.map_err(Fault::from)?)
    }

    /// The value of a key, or else what `fetch` gets, which is then kept for `ttl`, or for the
    /// [default](Self::ttl) one. See [Herds](Self#herds) for who fetches.
    ///
    /// A fetch that cannot fail says so: `Ok::<_, std::convert::Infallible>(value)`.
    ///
    /// The caller does not wait until the store has the value. `fetch` runs within the call, and may
    /// borrow:
    ///
    /// ```
    /// # use tower_kit::cache::{ValueCache, MemoryStore};
    /// # struct Database;
    /// # impl Database {
    /// #     async fn name(&self, _: &str) -> Result<String, std::io::Error> { Ok("Ada".to_owned()) }
    /// # }
    /// async fn name(
    ///     cache: &ValueCache,
    ///     database: &Database,
    ///     user: &str,
    /// ) -> Result<String, std::io::Error> {
    ///     cache.get_or_insert_with(&format!("name:{user}"), None, || database.name(user)).await
    /// }
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// #     let cache = ValueCache::new(MemoryStore::new(1 << 20));
    /// #     assert_eq!(name(&cache, &Database, "7").await.unwrap(), "Ada");
    /// # });
    /// ```
    ///
    /// Within [`stale_while_revalidate`](Self::stale_while_revalidate) one caller fetches, and gets the
    /// new value, or the stale one if its `fetch` fails; the others get the stale one at once.
    /// [`get_or_refresh_with`](Self::get_or_refresh_with) fetches in the background instead.
    ///
    /// # Errors
    ///
    /// Those of this caller's `fetch`, and no others: what cannot be kept is given all the same.
    pub async fn get_or_insert_with<T, E, F, Fut>(
        &self,
        key: &str,
        ttl: impl Into<Option<Duration>>,
        fetch: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let Some(name) = self.named(key) else { return fetch().await };
        self.shared.get_or_fetch(name, ttl.into(), fetch).await
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), but no caller waits within
    /// [`stale_while_revalidate`](Self::stale_while_revalidate): `fetch` then runs in the background,
    /// in a task of its own. So it owns what it needs; clone that into it.
    ///
    /// # Errors
    ///
    /// Those of this caller's `fetch`, and no others: what cannot be kept is given all the same.
    pub async fn get_or_refresh_with<T, E, F, Fut>(
        &self,
        key: &str,
        ttl: impl Into<Option<Duration>>,
        fetch: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(name) = self.named(key) else { return fetch().await };
        self.shared.get_or_refresh(name, ttl.into(), fetch).await
    }

    /// The name of a key. One that is too long has none, and is a miss.
    fn named(&self, key: &str) -> Option<Arc<str>> {
        let name = self.shared.rules.name(key);
        if name.is_none() {
            self.shared.tally.failed("too-large");
            self.shared.tally.count(Outcome::Miss);
        }
        name
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        edit(Arc::make_mut(&mut self.shared));
        self
    }
}

impl fmt::Debug for ValueCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueCache").field("rules", &self.shared.rules).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::store::MemoryStore;

    #[test]
    fn numbers_out_of_range_are_the_nearest() {
        let cache = || ValueCache::new(MemoryStore::new(1));
        for (given, taken) in [(0, 1), (1, 1), (7, 7)] {
            assert_eq!(cache().max_attempts(given).shared.attempts, taken);
        }
        let ms = Duration::from_millis;
        for (given, taken) in [(ms(0), ms(1)), (ms(1), ms(1)), (Duration::MAX, Duration::MAX)] {
            assert_eq!(cache().store_timeout(given).shared.store_timeout, taken);
        }
    }

    #[test]
    fn fractions_out_of_range_are_errors() {
        let fits = |fraction| ValueCache::new(MemoryStore::new(1)).jitter(fraction).is_ok();
        for (fraction, expected) in
            [(0.0, true), (0.5, true), (1.0, true), (1.5, false), (-0.5, false), (f64::NAN, false)]
        {
            assert_eq!(fits(fraction), expected, "{fraction}");
        }
    }
}
