use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Recorder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Kind, ValueCacheError};
use super::fetch;
use super::metrics::{Outcome, ValueMetrics};
use super::policy;
use super::shared::Shared;
use crate::cache::clock::Clock;
use crate::cache::layer::SHORTEST_TIMEOUT;
use crate::cache::policy::InvalidNumber;
use crate::cache::purge::Purge;
use crate::cache::store::Store;
use crate::metrics::Metrics;

/// A cache of values in a [`Store`]. The [module page](crate::values) describes its behavior, metrics and
/// defaults.
///
/// Clones are the same cache; a setter on a clone affects only that clone.
#[derive(Clone)]
#[doc(alias = "CacheService")]
#[must_use = "a setter returns the changed cache"]
pub struct ValueCache {
    shared: Arc<Shared>,
}

impl ValueCache {
    /// Creates a cache over a store.
    pub fn new(store: impl Store) -> Self {
        Self { shared: Arc::new(Shared::new(store)) }
    }

    /// Sets the time for which a value is fresh, for calls that do not give one. 3600 s by default.
    #[doc(alias = "expiration")]
    pub fn ttl(self, ttl: Duration) -> Self {
        self.edit(|shared| shared.rules.ttl = ttl)
    }

    /// Shortens each ttl by a random part, of up to `fraction` of it, so that values that were stored
    /// together do not expire together. 0 by default.
    ///
    /// # Errors
    ///
    /// Returns an error unless `0 <= fraction <= 1`.
    pub fn jitter(self, fraction: f64) -> Result<Self, InvalidNumber> {
        let fraction = InvalidNumber::check(fraction, 1.0)?;
        Ok(self.edit(|shared| shared.rules.jitter = fraction))
    }

    /// Sets the time after its ttl for which a value is returned while it is fetched again: by one of
    /// its callers ([`get_or_insert_with`](Self::get_or_insert_with)) or in the background
    /// ([`get_or_refresh_with`](Self::get_or_refresh_with)). 0 by default.
    #[doc(alias = "grace")]
    pub fn stale_while_revalidate(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.while_revalidate = time)
    }

    /// Sets the maximum time for which an absent value is stored: a `None`, or anything else that is
    /// `null` in JSON. 60 s by default. Absent values are never used stale.
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        self.edit(|shared| shared.rules.negative_ttl = ttl)
    }

    /// Sets the maximum number of attempts of an operation of the store, one right after the other.
    /// 3 by default; at least 1.
    #[doc(alias = "retry")]
    pub fn max_attempts(self, attempts: usize) -> Self {
        self.edit(|shared| shared.attempts = attempts.max(1))
    }

    /// Sets the timeout of an operation of the store, with all of its
    /// [attempts](Self::max_attempts). 1 s by default; at least 1 ms.
    pub fn store_timeout(self, time: Duration) -> Self {
        self.edit(|shared| shared.store_timeout = time.max(SHORTEST_TIMEOUT))
    }

    /// Sets the name of the part of the store that this cache uses. Caches of different names may use
    /// the same keys, and [`clear`](Self::clear) removes the values of one name. The name is empty by
    /// default: caches over one store share their values unless their names differ.
    #[doc(alias = "prefix")]
    pub fn namespace(self, name: &str) -> Self {
        self.edit(|shared| shared.rules.namespace = policy::namespace(name))
    }

    /// Sets the recorder of the metrics, in place of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.metrics = Arc::new(ValueMetrics::new(Metrics::to(recorder))))
    }

    /// Sets the clock that lifetimes are measured by, for tests. Timeouts use the timer of tokio.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.edit(|shared| shared.clock = Clock::of(clock))
    }

    /// Returns the value of a key if it is fresh.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let found = match self.shared.rules.name(key) {
            Some(name) => self.shared.look(&name, false).await,
            None => None,
        };
        self.shared.metrics.count(if found.is_some() { Outcome::Hit } else { Outcome::Miss });
        found.map(|found| found.value)
    }

    /// Stores a value under a key, for `ttl`, or for the [default](Self::ttl) time.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ValueCache::new(MemoryStore::new(tower_kit::MIB));
    /// cache.insert("rate:EUR", &1.08, Duration::from_secs(60)).await?;
    /// cache.insert("rate:CHF", &1.13, None).await?;
    /// assert_eq!(cache.get("rate:EUR").await, Some(1.08));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be encoded as JSON, if it or the key is too large, or if
    /// the store fails. The previous value may still be there.
    #[doc(alias = "set")]
    #[doc(alias = "put")]
    pub async fn insert<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        ttl: impl Into<Option<Duration>>,
    ) -> Result<(), ValueCacheError> {
        // Encoded first: an error of the type must not depend on the state of the store.
        let json = self.shared.encode(value)?;
        let name = self.shared.rules.name(key).filter(|_| self.shared.fits(&json));
        let name = name.ok_or(Kind::TooLarge)?;
        Ok(self.shared.insert(&name, ttl.into(), json).await.map_err(Kind::from)?)
    }

    /// Removes the value of a key. The removal takes effect in this process when the future is first
    /// polled, also for values that are being fetched. `Ok` means that the other processes that share
    /// the store learn of it too.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. This process does not return the value any more; others
    /// may.
    #[doc(alias = "del")]
    #[doc(alias = "delete")]
    #[doc(alias = "invalidate")]
    pub async fn remove(&self, key: &str) -> Result<(), ValueCacheError> {
        // A key that is too long was never stored.
        let Some(name) = self.shared.rules.name(key) else { return Ok(()) };
        Ok(self.shared.remove(&name).await.map_err(Kind::from)?)
    }

    /// Removes all values of this [namespace](Self::namespace), and nothing else from the store. The
    /// removal takes effect when the future is first polled, as that of [`remove`](Self::remove) does.
    /// Their memory is freed when other entries need it.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails to tell other processes: these may still return the values.
    #[doc(alias = "flush")]
    pub async fn clear(&self) -> Result<(), ValueCacheError> {
        let shared = &self.shared;
        let purged = shared.purge(Purge::Prefix(&shared.rules.namespace)).await;
        Ok(purged.map_err(Kind::from)?)
    }

    /// Returns the value of a key, or calls `load` and stores its value for `ttl`, or for the
    /// [default](Self::ttl) time. One of several callers [loads the value](crate::values#coalescing).
    ///
    /// `load` runs within the call, and may borrow. The caller does not wait until the store has the
    /// value. A `load` that cannot fail returns `Ok::<_, std::convert::Infallible>(value)`.
    ///
    /// ```
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
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
    /// Within [`stale_while_revalidate`](Self::stale_while_revalidate) one caller loads the value, and
    /// gets the new one, or the stale one if its `load` fails. The others get the stale one at once.
    /// [`get_or_refresh_with`](Self::get_or_refresh_with) loads in the background instead.
    ///
    /// # Errors
    ///
    /// Returns the error of this caller's `load`, and no other: a value that cannot be stored is
    /// returned all the same.
    #[doc(alias = "get_or_load")]
    #[doc(alias = "get_or_set")]
    #[doc(alias = "single flight")]
    #[doc(alias = "stampede")]
    pub async fn get_or_insert_with<T, E, F, Fut>(
        &self,
        key: &str,
        ttl: impl Into<Option<Duration>>,
        load: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        // A key that is too long has no entry to share: each caller loads for itself.
        let Some(name) = self.named(key) else { return load().await };
        fetch::get_or_fetch(&self.shared, name, ttl.into(), load).await
    }

    /// Returns the value of a key as [`get_or_insert_with`](Self::get_or_insert_with) does, but no
    /// caller waits within [`stale_while_revalidate`](Self::stale_while_revalidate): `load` then runs
    /// in a background task, and has to own what it needs.
    ///
    /// # Errors
    ///
    /// Returns the error of this caller's `load`, and no other: a value that cannot be stored is
    /// returned all the same.
    pub async fn get_or_refresh_with<T, E, F, Fut>(
        &self,
        key: &str,
        ttl: impl Into<Option<Duration>>,
        load: F,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let Some(name) = self.named(key) else { return load().await };
        fetch::get_or_refresh(&self.shared, name, ttl.into(), load).await
    }

    /// Returns the name of a key. A key that is too long has none, and is counted as a miss.
    fn named(&self, key: &str) -> Option<Arc<str>> {
        let name = self.shared.rules.name(key);
        if name.is_none() {
            self.shared.metrics.failed("too-large");
            self.shared.metrics.count(Outcome::Miss);
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
    fn numbers_out_of_range_are_clamped() {
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
