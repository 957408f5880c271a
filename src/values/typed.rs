use std::fmt::{self, Display};
use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{Codec, Json};
use super::error::ValueCacheError;
use super::fetch;
use super::form::{Form, SharedForm};
use super::load_error::LoadError;
use super::loaded::{Loaded, ValueEntry};
use super::many::{self, Many};
use super::options::ValueOptions;
use super::service::ValueCache;
use super::shared::Typed;
use crate::cache::entry::Entry;

/// A [`ValueCache`] of values of one type, which stay decoded in memory: a hit clones an `Arc`, and
/// parses nothing.
///
/// ```
/// use std::sync::Arc;
///
/// use serde::{Deserialize, Serialize};
/// use tower_kit::cache::MemoryStore;
/// use tower_kit::values::{LoadError, TypedCache};
/// use tower_kit::{MIB, ValueCache};
/// # #[derive(Clone)] struct Database;
/// # impl Database {
/// #     async fn user(&self, id: u64) -> Result<User, std::io::Error> {
/// #         Ok(User { id, name: "Ada".to_owned() })
/// #     }
/// # }
///
/// #[derive(Serialize, Deserialize)]
/// struct User {
///     id: u64,
///     name: String,
/// }
///
/// #[derive(Clone)]
/// struct App {
///     database: Database,
///     users: TypedCache<User>,
/// }
///
/// async fn user(app: &App, id: u64) -> Result<Arc<User>, LoadError<std::io::Error>> {
///     app.users.get_or_insert_with(&id.to_string(), None, || app.database.user(id)).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let database = Database;
/// let cache = ValueCache::new(MemoryStore::new(64 * MIB));
/// let app = App { database, users: cache.namespace("users").typed() };
/// let (first, hit) = (user(&app, 7).await?, user(&app, 7).await?);
/// assert!(Arc::ptr_eq(&first, &hit));
/// # Ok(())
/// # }
/// ```
///
/// # Behavior
///
/// The cache behaves as the `ValueCache` that it was made of, which it shares the values, removals and
/// metrics with. Only the form of the values differs:
///
/// - **Memory.** A [`MemoryStore`](crate::cache::MemoryStore), alone or in front of another store,
///   keeps a value together with its encoded bytes. The value counts as the size of its type and four
///   times its encoded bytes, or as [`Codec::decoded_size`] says, from the time on at which it is
///   stored. It leaves with its entry: when it is removed, replaced or evicted. Callers may hold their
///   `Arc` longer.
/// - **Other stores** keep the bytes. A value that is read from there is decoded once by each process
///   that has a memory in front, and otherwise at each hit.
/// - **Codecs.** Values are JSON, unless [`typed_with`](ValueCache::typed_with) chooses another
///   [`Codec`]. An entry has the name of its codec; an entry of another codec is a miss.
/// - **One type a key.** A `TypedCache` of another type, or a `ValueCache`, decodes an entry of the same
///   codec anew at each hit, and so does a `TypedCache` for entries of a `ValueCache`. Give each type a
///   [namespace](ValueCache::namespace).
///
/// A value in memory is shared and never changed in place: a type with interior mutability would show
/// the changes to some callers, and lose them with the entry.
///
/// Clones are the same cache.
#[doc(alias = "Arc")]
#[doc(alias = "memory tier")]
pub struct TypedCache<T> {
    cache: ValueCache,
    form: SharedForm<T>,
}

impl ValueCache {
    /// Returns this cache for values of one type, which stay decoded in memory. Each type needs a
    /// [namespace](Self::namespace) or keys of its own.
    ///
    /// ```
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// let cache = ValueCache::new(MemoryStore::new(64 * tower_kit::MIB));
    /// let names = cache.clone().namespace("names").typed::<String>();
    /// let ages = cache.namespace("ages").typed::<u8>();
    /// # drop((names, ages));
    /// ```
    #[must_use]
    pub fn typed<T>(&self) -> TypedCache<T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.typed_with(Json)
    }

    /// Returns this cache for values of one type, which stay decoded in memory, and are encoded by
    /// `codec` elsewhere. The type need not be one of `serde`: see [`Codec`].
    #[must_use]
    pub fn typed_with<T: Send + Sync + 'static>(&self, codec: impl Codec<T>) -> TypedCache<T> {
        TypedCache { cache: self.clone(), form: SharedForm::new(codec) }
    }
}

impl<T: Send + Sync + 'static> TypedCache<T> {
    /// Returns the cache that this one was made of: for removals by tag, and all else that does not
    /// depend on the type.
    pub fn untyped(&self) -> &ValueCache {
        &self.cache
    }

    /// Returns the value of a key if it is fresh.
    pub async fn get(&self, key: &str) -> Option<Arc<T>> {
        self.cache.look(&self.form, key, false).await.map(|found| found.value)
    }

    /// Returns the value of a key with its age, ttl and tags, as [`ValueCache::get_entry`] does.
    pub async fn get_entry(&self, key: &str) -> Option<ValueEntry<Arc<T>>> {
        let found = self.cache.look(&self.form, key, true).await;
        found.map(|found| self.access().value_entry(found))
    }

    /// Returns the values of several keys, as [`ValueCache::get_many`] does.
    pub async fn get_many<K: Display>(&self, keys: &[K]) -> Vec<Option<Arc<T>>> {
        many::get_many(&self.cache, &self.form, keys).await
    }

    /// Stores a value under a key, as [`ValueCache::insert`] does. The value is moved into the memory,
    /// and an `Arc` is shared with it.
    ///
    /// # Errors
    ///
    /// Returns an error if the codec cannot encode the value, if the value, the key or the tags are too
    /// large, or if the store fails. The previous value may still be there.
    #[doc(alias = "set")]
    #[doc(alias = "put")]
    pub async fn insert(
        &self,
        key: &str,
        value: impl Into<Arc<T>>,
        options: impl Into<ValueOptions>,
    ) -> Result<(), ValueCacheError> {
        let encoded = self.access().encoded(self.form.encode(&value.into()))?;
        self.cache.insert_encoded(key, encoded, options.into()).await
    }

    /// Removes the value of a key, as [`ValueCache::remove`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if the store fails. This process does not return the value any more; others
    /// may.
    #[doc(alias = "del")]
    #[doc(alias = "invalidate")]
    pub async fn remove(&self, key: &str) -> Result<(), ValueCacheError> {
        self.cache.remove(key).await
    }

    /// Returns the value of a key, or calls `load` and stores its value, as
    /// [`ValueCache::get_or_insert_with`] does. A `load` of a type without `serde` returns
    /// [`Loaded::new`].
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of the one that it waited for, unless a stale
    /// value [stands in](ValueCache::stale_if_error).
    #[doc(alias = "get_or_load")]
    #[doc(alias = "get_or_set")]
    pub async fn get_or_insert_with<L, E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<Arc<T>, LoadError<E>>
    where
        L: Into<Loaded<T>>,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<L, E>>,
    {
        let load = async || Ok(load().await?.into().into_shared());
        let Some(name) = self.access().named(key) else { return Ok(load().await?.value) };
        fetch::get_or_insert(self.access(), name, options.into(), load).await
    }

    /// Returns the value of a key, and loads it in the background while it is stale, as
    /// [`ValueCache::get_or_refresh_with`] does.
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of the one that it waited for, unless a stale
    /// value [stands in](ValueCache::stale_if_error).
    pub async fn get_or_refresh_with<L, E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<Arc<T>, LoadError<E>>
    where
        L: Into<Loaded<T>> + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<L, E>> + Send + 'static,
    {
        let load = async || Ok(load().await?.into().into_shared());
        let Some(name) = self.access().named(key) else { return Ok(load().await?.value) };
        fetch::get_or_refresh(self.access(), name, options.into(), |_| load()).await
    }

    /// Returns the value of a key, with a `load` that gets the stale value and may find that it is
    /// [unchanged](ValueEntry::unchanged), as [`ValueCache::get_or_revalidate_with`] does.
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of the one that it waited for, unless a stale
    /// value [stands in](ValueCache::stale_if_error).
    #[doc(alias = "conditional refresh")]
    pub async fn get_or_revalidate_with<E, F, Fut>(
        &self,
        key: &str,
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<Arc<T>, LoadError<E>>
    where
        E: Send + Sync + 'static,
        F: FnOnce(Option<ValueEntry<Arc<T>>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Loaded<Arc<T>>, E>> + Send + 'static,
    {
        let Some(name) = self.access().named(key) else { return Ok(load(None).await?.value) };
        let this = self.clone();
        // The stale value stays decoded in its entry: no bytes are read again.
        let load = move |stale: Option<Entry>| {
            let found = stale.and_then(|entry| this.access().decoded(entry));
            load(found.map(|found| this.access().value_entry(found)))
        };
        fetch::get_or_refresh(self.access(), name, options.into(), load).await
    }

    /// Returns the values of several keys, and calls `load` for those that are missing, as
    /// [`ValueCache::get_or_insert_many_with`] does.
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of one that it waited for, unless stale values
    /// [stand in](ValueCache::stale_if_error) for all keys of that load.
    #[doc(alias = "get_or_load_many")]
    pub async fn get_or_insert_many_with<K, R, Q, L, E, F, Fut>(
        &self,
        keys: &[K],
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<Vec<Option<Arc<T>>>, LoadError<E>>
    where
        K: Display + Clone,
        R: IntoIterator<Item = (Q, L)>,
        Q: Display,
        L: Into<Loaded<T>>,
        E: Send + Sync + 'static,
        F: FnMut(Vec<K>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let mut load = load;
        let load = |keys: Vec<K>| {
            let loading = load(keys);
            async move {
                let values = loading.await?.into_iter();
                Ok(values.map(|(key, loaded)| (key, loaded.into().into_shared())))
            }
        };
        let many = Many { cache: &self.cache, form: &self.form, options: options.into() };
        many::get_or_insert_many(&many, keys, load).await
    }

    fn access(&self) -> Typed<'_, SharedForm<T>> {
        self.cache.typed_as(&self.form)
    }
}

impl<T> Clone for TypedCache<T> {
    fn clone(&self) -> Self {
        Self { cache: self.cache.clone(), form: self.form.clone() }
    }
}

impl<T> fmt::Debug for TypedCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedCache").field("cache", &self.cache).finish_non_exhaustive()
    }
}
