use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fetch_many;
use super::form::{Form, OwnedForm, Read};
use super::load_error::LoadError;
use super::loaded::Loaded;
use super::metrics::Outcome;
use super::options::ValueOptions;
use super::service::ValueCache;

impl ValueCache {
    /// Returns the values of several keys, in the order of the keys, as [`get`](Self::get) does for
    /// one: `None` for a key without a fresh value. A key is the text that its `Display` writes.
    ///
    /// The values that are not in the memory of this process are read from the store together.
    ///
    /// ```
    /// # use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let names = ValueCache::new(MemoryStore::new(64 * tower_kit::MIB)).namespace("names");
    /// names.insert("7", "Ada", None).await?;
    /// let found: Vec<Option<String>> = names.get_many(&[7, 8]).await;
    /// assert_eq!(found, [Some("Ada".to_owned()), None]);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "MGET")]
    pub async fn get_many<T, K>(&self, keys: &[K]) -> Vec<Option<T>>
    where
        T: DeserializeOwned,
        K: Display,
    {
        get_many(self, &OwnedForm::new(), keys).await
    }

    /// Returns the values of several keys, in the order of the keys, and calls `load` for all those
    /// that are missing: one lookup in the store, and one query for the database. A key is the text
    /// that its `Display` writes.
    ///
    /// `load` gets the keys to load, each once, and returns pairs of a key and its value, in any
    /// order: a `HashMap`, or an iterator. A key that it leaves out has no value: `None`, which is not
    /// stored. To store the absence for [`negative_ttl`](Self::negative_ttl), let the values be
    /// options, and return `None` for the key.
    ///
    /// Of the callers that miss the same key, [one loads the value](crate::values#coalescing), and the
    /// others wait, as those of [`get_or_insert_with`](Self::get_or_insert_with) do for one key. `load`
    /// gets only the keys that nobody loads yet. It is called again, for the rest, if another caller
    /// leaves before its own load has ended, and once for each 1,000 keys.
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use tower_kit::ValueCache;
    /// # use tower_kit::cache::MemoryStore;
    /// # struct Database;
    /// # impl Database {
    /// #     async fn names(&self, ids: &[u64]) -> Result<HashMap<u64, String>, std::io::Error> {
    /// #         Ok(ids.iter().filter(|id| **id < 9).map(|id| (*id, format!("user {id}"))).collect())
    /// #     }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let (cache, database) = (ValueCache::new(MemoryStore::new(tower_kit::MIB)), Database);
    /// let names = cache.namespace("names");
    /// // SELECT id, name FROM users WHERE id IN (..)
    /// let load = async |missing: Vec<u64>| database.names(&missing).await;
    /// let found: Vec<Option<String>> =
    ///     names.get_or_insert_many_with(&[7, 9, 8], None, load).await?;
    /// assert_eq!(found, [Some("user 7".to_owned()), None, Some("user 8".to_owned())]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Between processes nothing is coordinated: two that miss the same key at the same time both load
    /// it.
    ///
    /// # Errors
    ///
    /// Returns the error of the load, of this caller or of one that it waited for, unless stale values
    /// [stand in](Self::stale_if_error) for all keys of that load. Values that were loaded are stored
    /// nevertheless.
    #[doc(alias = "get_or_load_many")]
    #[doc(alias = "MGET")]
    #[doc(alias = "batch")]
    #[doc(alias = "dataloader")]
    pub async fn get_or_insert_many_with<T, K, R, Q, L, E, F, Fut>(
        &self,
        keys: &[K],
        options: impl Into<ValueOptions>,
        load: F,
    ) -> Result<Vec<Option<T>>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Clone,
        K: Display + Clone,
        R: IntoIterator<Item = (Q, L)>,
        Q: Display,
        L: Into<Loaded<T>>,
        E: Send + Sync + 'static,
        F: FnMut(Vec<K>) -> Fut,
        Fut: Future<Output = Result<R, E>>,
    {
        let form = OwnedForm::new();
        get_or_insert_many(&Many { cache: self, form: &form, options: options.into() }, keys, load)
            .await
    }
}

/// A call for several keys, beside the keys.
pub(super) struct Many<'a, F> {
    pub(super) cache: &'a ValueCache,
    pub(super) form: &'a F,
    pub(super) options: ValueOptions,
}

/// Returns the fresh values of keys.
pub(super) async fn get_many<F: Read, K: Display>(
    cache: &ValueCache,
    form: &F,
    keys: &[K],
) -> Vec<Option<F::Value>> {
    let shared = cache.typed_as(form);
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_KEYS) {
        let lookups = keys.iter().map(|_| shared.shared.lookup());
        let names: Vec<_> = keys.iter().map(|key| shared.rules.name(&key.to_string())).collect();
        let known: Vec<_> = names.iter().flatten().map(|name| &**name).collect();
        let mut found = shared.look_many(&known, false).await.into_iter();
        for (mut lookup, name) in lookups.zip(&names) {
            let found = name.as_ref().and_then(|name| {
                let found = found.next().flatten();
                shared.link_found(name, found.as_ref().map(|found| &found.entry));
                found
            });
            values.push(found.map(|found| {
                lookup.end(Outcome::Hit);
                found.value
            }));
        }
    }
    values
}

/// Returns the values of keys, and loads those that are missing.
pub(super) async fn get_or_insert_many<V, K, R, Q, L, E, Fut>(
    many: &Many<'_, impl Form<Value = V>>,
    keys: &[K],
    mut load: impl FnMut(Vec<K>) -> Fut,
) -> Result<Vec<Option<V>>, LoadError<E>>
where
    V: Clone,
    K: Display + Clone,
    R: IntoIterator<Item = (Q, L)>,
    Q: Display,
    L: Into<Loaded<V>>,
    E: Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>>,
{
    let shared = many.cache.typed_as(many.form);
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_KEYS) {
        let (mut places, mut distinct) = (HashMap::with_capacity(keys.len()), Vec::new());
        // Keys are compared as texts, which is what the store does.
        let place = |key: &K| {
            let next = distinct.len();
            let place = *places.entry(key.to_string()).or_insert(next);
            if place == next {
                distinct.push(key.clone());
            }
            place
        };
        let order: Vec<_> = keys.iter().map(place).collect();
        let load = |places: &[usize]| load(places.iter().map(|at| distinct[*at].clone()).collect());
        let found = fetch_many::get_or_insert_many(shared, &places, &many.options, load).await?;
        // Mostly no key occurs twice, and no value is cloned.
        if found.len() == order.len() {
            values.extend(found);
        } else {
            values.extend(order.into_iter().map(|at| found[at].clone()));
        }
    }
    Ok(values)
}

/// The maximum number of keys of one lookup and one load, which bounds the values that a call holds
/// on their way into the store.
const MAX_KEYS: usize = 1_000;
