use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use metrics::Recorder;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Kind, ValueCacheError};
use super::fetch;
use super::form::{Encoded, OwnedForm, Read};
use super::load_error::LoadError;
use super::loaded::{Loaded, ValueEntry};
use super::metrics::Outcome;
use super::options::ValueOptions;
use super::policy;
use super::shared::{Found, Shared, Typed};
use crate::cache::cache_status::{CacheName, InvalidName};
use crate::cache::clock::Clock;
use crate::cache::entry::Entry;
use crate::cache::layer::SHORTEST_TIMEOUT;
use crate::cache::policy::InvalidNumber;
use crate::cache::purge::Purge;
use crate::cache::store::Store;

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

    /// Sets the time after its ttl for which a stale value stands in for one that cannot be loaded:
    /// because the load fails, exceeds [`hard_timeout`](Self::hard_timeout), or takes longer than
    /// [`soft_timeout`](Self::soft_timeout) (`stale-if-error`, RFC 5861 §4). 0 by default. The time
    /// is stored with each value, as that of
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) is, and runs beside it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower_kit::ValueCache;
    /// use tower_kit::cache::MemoryStore;
    ///
    /// // A value that expired up to 6 hours ago is better than an error, or than a wait of 200 ms.
    /// let products = ValueCache::new(MemoryStore::new(64 * tower_kit::MIB))
    ///     .ttl(Duration::from_secs(300))
    ///     .stale_if_error(Duration::from_secs(6 * 3600))
    ///     .soft_timeout(Duration::from_millis(200))
    ///     .hard_timeout(Duration::from_secs(5));
    /// # drop(products);
    /// ```
    #[doc(alias = "fail-safe")]
    #[doc(alias = "FailSafeMaxDuration")]
    #[doc(alias = "grace")]
    pub fn stale_if_error(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.if_error = time)
    }

    /// Sets the time after a failed load for which stale values are returned without another load of
    /// the same key in this process. 1 s by default: long enough that a failing database does not get
    /// every query, and short enough to notice that it is back.
    #[doc(alias = "throttle")]
    #[doc(alias = "backoff")]
    #[doc(alias = "graceBackoff")]
    #[doc(alias = "FailSafeThrottleDuration")]
    pub fn retry_delay(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.retry_delay = time)
    }

    /// Sets the time for which the failure of a load is remembered in this process: callers that have
    /// no stale value get the same error, without another load. 0 by default: a failure is for those
    /// who waited for that load, and the next caller tries again.
    #[doc(alias = "negative caching")]
    #[doc(alias = "circuit breaker")]
    pub fn failure_ttl(self, ttl: Duration) -> Self {
        self.edit(|shared| shared.rules.failure_ttl = ttl)
    }

    /// Sets the maximum time for which a caller waits for a load while a stale value could
    /// [stand in](Self::stale_if_error). The caller then gets the stale value, and the load goes on in
    /// the background. Without a maximum by default: a caller waits for the current value.
    ///
    /// A loader of [`get_or_insert_with`](Self::get_or_insert_with) may borrow from its caller, and
    /// cannot go on without it: its own caller waits until it ends. Other callers that wait for the
    /// same load do not.
    #[doc(alias = "timeout")]
    #[doc(alias = "FactorySoftTimeout")]
    #[doc(alias = "revalidate_timeout")]
    pub fn soft_timeout(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.soft_timeout = Some(time))
    }

    /// Sets the maximum duration of a load. A load that takes longer is dropped, and is a failure
    /// ([`LoadError::is_timeout`]). By default a load has no maximum while a caller waits, and 60 s in
    /// the background.
    #[doc(alias = "timeout")]
    #[doc(alias = "hardTimeout")]
    #[doc(alias = "FactoryHardTimeout")]
    pub fn hard_timeout(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.hard_timeout = Some(time))
    }

    /// Sets the part of its ttl after which a value is loaded again in the background while it is
    /// still fresh: the first caller of [`get_or_refresh_with`](Self::get_or_refresh_with) or
    /// [`get_or_revalidate_with`](Self::get_or_revalidate_with) after that time starts the load. 1 by
    /// default: no value is loaded before it is stale. 0.8 suits values that are in constant use.
    ///
    /// # Errors
    ///
    /// Returns an error unless `0 <= fraction <= 1`.
    #[doc(alias = "eager refresh")]
    #[doc(alias = "EagerRefreshThreshold")]
    #[doc(alias = "refresh ahead")]
    pub fn refresh_after(self, fraction: f64) -> Result<Self, InvalidNumber> {
        let fraction = InvalidNumber::check(fraction, 1.0)?;
        Ok(self.edit(|shared| shared.rules.refresh_after = fraction))
    }

    /// Sets the maximum time for which a caller waits for another one that loads the same value. The
    /// caller then gets a stale value that [stands in](Self::stale_if_error), or loads the value
    /// itself. 10 s by default: longer than a load should take, and shorter than clients wait.
    #[doc(alias = "single flight")]
    #[doc(alias = "lockTimeout")]
    pub fn coalesce_timeout(self, time: Duration) -> Self {
        self.edit(|shared| shared.rules.coalesce_timeout = time)
    }

    /// Sets the maximum number of loads in the background at a time. 64 by default, so that a database
    /// that has become slow gets no more load. Beyond that a value stays stale, which is counted.
    pub fn max_refreshes(self, max: usize) -> Self {
        self.edit(|shared| shared.rules.max_refreshes = max)
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

    /// Sets the label `cache` of the metrics, `tower-kit` by default. It tells the caches of a process
    /// apart.
    ///
    /// # Errors
    ///
    /// Returns an error for a name that [`CacheLayer::name`](crate::CacheLayer::name) would not take.
    #[doc(alias = "label")]
    pub fn name(self, name: &str) -> Result<Self, InvalidName> {
        let name = CacheName::parse(name)?;
        Ok(self.edit(|shared| shared.metrics = Arc::new(shared.metrics.named(name.label()))))
    }

    /// Sets the recorder of the metrics, in place of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|shared| shared.metrics = Arc::new(shared.metrics.recorded_by(recorder)))
    }

    /// Sets the clock that lifetimes are measured by, for tests. Timeouts use the timer of tokio.
    pub fn clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.edit(|shared| shared.clock = Clock::of(clock))
    }

    /// Returns the value of a key if it is fresh. [`get_entry`](Self::get_entry) returns a stale one
    /// too.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.look(&OwnedForm::new(), key, false).await.map(|found| found.value)
    }

    /// Returns the value of a key with its age, ttl and tags. A stale value is returned as long as it
    /// may be used: see [`stale_while_revalidate`](Self::stale_while_revalidate) and
    /// [`stale_if_error`](Self::stale_if_error).
    #[doc(alias = "AllowStaleOnReadOnly")]
    pub async fn get_entry<T: DeserializeOwned>(&self, key: &str) -> Option<ValueEntry<T>> {
        self.look(&OwnedForm::new(), key, true).await.map(|found| self.shared.value_entry(found))
    }

    /// Stores a value under a key. `options` are its ttl, or [`ValueOptions`], or `None` for the
    /// [default](Self::ttl) ttl without tags.
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
    /// # Several processes
    ///
    /// Over a `RedisStore`, with or without a memory in front of it, this process returns the new value as
    /// soon as the future is polled, and goes on with the insert if the future is dropped. `Ok` means that
    /// Redis has the value, and that all processes learn that the previous one is gone.
    ///
    /// If Redis does not respond within `RedisConfig::command_timeout`, the error
    /// [is deferred](ValueCacheError::is_deferred): this process has the new value, and writes it when
    /// Redis responds again. After that all processes have the new value or none. After 60 s, or beyond
    /// 16 MiB of such values, the key is dropped everywhere instead.
    ///
    /// # Errors
    ///
    /// Returns an error if the value cannot be encoded as JSON, or if it, the key or the tags are too
    /// large: the previous value is then still there.
    ///
    /// Returns an error if the store fails. Over a `RedisStore` the key is then dropped in all processes,
    /// unless the error is deferred. In other stores the previous value may still be there.
    #[doc(alias = "set")]
    #[doc(alias = "put")]
    pub async fn insert<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: impl Into<ValueOptions>,
    ) -> Result<(), ValueCacheError> {
        // Encoded first: an error of the type must not depend on the state of the store.
        let encoded = self.shared.encoded(Encoded::json(value))?;
        self.insert_encoded(key, encoded, options.into()).await
    }

    /// Removes the value of a key. The removal takes effect in this process when the future is first
    /// polled, also for values that are being fetched. `Ok` means that the other processes that share
    /// the store learn of it too. Over a `RedisStore` the removal goes on if the future is dropped.
    ///
    /// The number of keys that are removed or inserted does not matter to others: their values stay.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. This process does not return the value any more; others may,
    /// until they learn of the removal if the error [is deferred](ValueCacheError::is_deferred).
    #[doc(alias = "del")]
    #[doc(alias = "delete")]
    #[doc(alias = "invalidate")]
    pub async fn remove(&self, key: &str) -> Result<(), ValueCacheError> {
        // A key that is too long was never stored.
        let Some(name) = self.shared.rules.name(key) else { return Ok(()) };
        Ok(self.shared.remove(&name).await.map_err(Kind::from)?)
    }

    /// Removes all values of this [namespace](Self::namespace) that have a tag: those that
    /// [`ValueOptions::tag`] or [`Loaded::tag`](super::Loaded::tag) gave it to. The removal takes effect
    /// when the future is first polled, as that of [`remove`](Self::remove) does, also for values that
    /// are being loaded. Its cost does not depend on the number of values.
    ///
    /// The tags of a cache of values are not those of responses.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. This process does not return the values any more; others
    /// may.
    #[doc(alias = "deleteByTag")]
    #[doc(alias = "RemoveByTag")]
    #[doc(alias = "purge_tag")]
    pub async fn remove_by_tag(&self, tag: &str) -> Result<(), ValueCacheError> {
        let Some(tag) = self.shared.rules.tag(tag) else { return Ok(()) };
        Ok(self.shared.purge(Purge::Tag(&tag)).await.map_err(Kind::from)?)
    }

    /// Makes the value of a key stale, as if its ttl had passed: the next caller that loads gets a new
    /// value, and the stale one is of use for
    /// [`stale_while_revalidate`](Self::stale_while_revalidate) and
    /// [`stale_if_error`](Self::stale_if_error) from now on. If both are 0, this removes the value.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. The value is stale in this process; in others it may not
    /// be.
    #[doc(alias = "soft purge")]
    pub async fn expire(&self, key: &str) -> Result<(), ValueCacheError> {
        let Some(name) = self.shared.rules.name(key) else { return Ok(()) };
        Ok(self.shared.soft_purge(Purge::Url(&name)).await.map_err(Kind::from)?)
    }

    /// Makes all values of this [namespace](Self::namespace) that have a tag stale, as
    /// [`expire`](Self::expire) does for one key.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. The values are stale in this process; in others they may
    /// not be.
    #[doc(alias = "ExpireByTag")]
    #[doc(alias = "soft_purge_tag")]
    pub async fn expire_by_tag(&self, tag: &str) -> Result<(), ValueCacheError> {
        let Some(tag) = self.shared.rules.tag(tag) else { return Ok(()) };
        Ok(self.shared.soft_purge(Purge::Tag(&tag)).await.map_err(Kind::from)?)
    }

    /// Removes all values of this [namespace](Self::namespace), and nothing else from the store. The
    /// removal takes effect when the future is first polled, as that of [`remove`](Self::remove) does.
    /// Their memory is freed when other entries need it.
    ///
    /// A store remembers the last 100,000 namespaces that were cleared. If more are cleared within 7 days,
    /// entries from before the oldest of them are dropped too.
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

    /// Returns the value of a key, or calls `load` and stores its value. `options` are its ttl, or
    /// [`ValueOptions`], or `None` for the [default](Self::ttl) ttl without tags. `load` returns a value,
    /// or [`Loaded`] with options of its own. One of several callers
    /// [loads the value](crate::values#coalescing).
    ///
    /// `load` runs within the call, and may borrow. The caller does not wait until the store has the
    /// value.
    ///
    /// ```
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// # use tower_kit::values::LoadError;
    /// # struct Database;
    /// # impl Database {
    /// #     async fn name(&self, _: &str) -> Result<String, std::io::Error> { Ok("Ada".to_owned()) }
    /// # }
    /// async fn name(
    ///     cache: &ValueCache,
    ///     database: &Database,
    ///     user: &str,
    /// ) -> Result<String, LoadError<std::io::Error>> {
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
    /// Returns the error of the load, of this caller or of the one that it waited for, unless a stale
    /// value [stands in](Self::stale_if_error). A value that cannot be stored is returned all the same,
    /// and a store that fails is no error.
    #[doc(alias = "get_or_load")]
    #[doc(alias = "get_or_set")]
    #[doc(alias = "getOrSet")]
    #[doc(alias = "try_get_with")]
    #[doc(alias = "single flight")]
    #[doc(alias = "stampede")]
    pub async fn get_or_insert_with<T, L, E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<T, LoadError<E>>
    where
        T: Serialize + DeserializeOwned,
        L: Into<Loaded<T>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        // A key that is too long has no entry to share: each caller loads for itself.
        let Some(name) = self.shared.named(key) else { return Ok(load().await?.into().value) };
        fetch::get_or_insert(self.typed_as(&OwnedForm::new()), name, options.into(), load).await
    }

    /// Returns the value of a key as [`get_or_insert_with`](Self::get_or_insert_with) does, but no
    /// caller waits within [`stale_while_revalidate`](Self::stale_while_revalidate), nor for longer than
    /// [`soft_timeout`](Self::soft_timeout) while a stale value can stand in: `load` then runs in a
    /// background task, and has to own what it needs.
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of the one that it waited for, unless a stale
    /// value [stands in](Self::stale_if_error). A value that cannot be stored is returned all the same,
    /// and a store that fails is no error.
    pub async fn get_or_refresh_with<T, L, E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<T, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: Into<Loaded<T>> + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let Some(name) = self.shared.named(key) else { return Ok(load().await?.into().value) };
        let form = OwnedForm::new();
        fetch::get_or_refresh(self.typed_as(&form), name, options.into(), |_| load()).await
    }

    /// Returns the value of a key as [`get_or_refresh_with`](Self::get_or_refresh_with) does, with a
    /// `load` that gets the value that it replaces, and may find that it is
    /// [unchanged](ValueEntry::unchanged): a conditional request.
    ///
    /// `load` gets a value for as long as that may be used stale: see
    /// [`stale_if_error`](Self::stale_if_error).
    ///
    /// ```
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// use tower_kit::values::{Loaded, ValueEntry};
    /// # struct Response { etag: String, text: Option<String> }
    /// # async fn request(_: Option<&str>) -> Result<Response, std::io::Error> {
    /// #     Ok(Response { etag: "1".to_owned(), text: Some("a page".to_owned()) })
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = ValueCache::new(MemoryStore::new(tower_kit::MIB));
    /// // The value is the entity tag with the text that it stands for.
    /// let load = async |stale: Option<ValueEntry<(String, String)>>| {
    ///     let etag = stale.as_ref().map(|stale| stale.value().0.as_str());
    ///     let response = request(etag).await?;
    ///     Ok::<_, std::io::Error>(match (response.text, stale) {
    ///         // 304 (Not Modified)
    ///         (None, Some(stale)) => stale.unchanged(),
    ///         (text, _) => Loaded::new((response.etag, text.unwrap_or_default())),
    ///     })
    /// };
    /// let (_, text) = cache.get_or_revalidate_with("page", None, load).await?;
    /// # assert_eq!(text, "a page");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the same errors as [`get_or_refresh_with`](Self::get_or_refresh_with).
    #[doc(alias = "conditional refresh")]
    #[doc(alias = "NotModified")]
    #[doc(alias = "gracedEntry")]
    pub async fn get_or_revalidate_with<T, L, E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<T, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: Into<Loaded<T>> + 'static,
        E: Send + Sync + 'static,
        F: FnOnce(Option<ValueEntry<T>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let Some(name) = self.shared.named(key) else { return Ok(load(None).await?.into().value) };
        let shared = Arc::clone(&self.shared);
        let load = move |stale: Option<Entry>| {
            // Decoded again: the caller may need the stale value too.
            let shared = Typed { shared: &shared, form: &OwnedForm::new() };
            let found = stale.and_then(|entry| shared.decoded(entry));
            load(found.map(|found| shared.value_entry(found)))
        };
        fetch::get_or_refresh(self.typed_as(&OwnedForm::new()), name, options.into(), load).await
    }

    pub(super) async fn look<F: Read>(
        &self,
        form: &F,
        key: &str,
        or_stale: bool,
    ) -> Option<Found<F::Value>> {
        let mut lookup = self.shared.lookup();
        let name = self.shared.rules.name(key)?;
        let found = self.typed_as(form).look(&name, or_stale).await;
        // A purge since the lookup hits the response by its watermark, which is older.
        self.shared.link_found(&name, found.as_ref().map(|found| &found.entry));
        let found = found?;
        lookup.end(if found.age.is_fresh() { Outcome::Hit } else { Outcome::Stale });
        Some(found)
    }

    /// Stores an encoded value.
    pub(super) async fn insert_encoded(
        &self,
        key: &str,
        encoded: Encoded,
        options: ValueOptions,
    ) -> Result<(), ValueCacheError> {
        let ValueOptions { ttl, tags } = options;
        let fits = self.shared.fits(&encoded) && self.shared.tags_fit(&tags);
        let name = self.shared.rules.name(key).filter(|_| fits).ok_or(Kind::TooLarge)?;
        let tags = self.shared.rules.tags(&tags);
        Ok(self.shared.insert(&name, ttl, tags, encoded).await.map_err(Kind::from)?)
    }

    /// Returns this cache, with values of a form.
    pub(super) fn typed_as<'a, F>(&'a self, form: &'a F) -> Typed<'a, F> {
        Typed { shared: &self.shared, form }
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
