use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::super::entry::Entry;
use super::super::error::StoreError;
use super::super::purge::SharedPurges;
use super::api::{DynStore, Store, Usage};
use super::lease::Lease;

/// A [`Store`] of any type: for a store that is chosen at run time, and for fields and functions that
/// should not name its type. Clones share the store.
///
/// ```
/// use tower_kit::MIB;
/// use tower_kit::cache::{BoxStore, CacheLayer, MemoryStore};
///
/// fn store(redis_url: Option<&str>) -> Result<BoxStore, Box<dyn std::error::Error>> {
///     let memory = MemoryStore::new(64 * MIB);
///     Ok(match redis_url {
///         None => BoxStore::new(memory),
/// #       #[cfg(not(any(feature = "cache-redis", feature = "cache-redis-rs")))]
/// #       Some(_) => BoxStore::new(memory),
/// #       #[cfg(any(feature = "cache-redis", feature = "cache-redis-rs"))]
///         Some(url) => {
/// #           use tower_kit::cache::{RedisConfig, RedisStore, TieredStore};
///             let redis = RedisStore::connect(RedisConfig::new(url)?);
///             BoxStore::new(TieredStore::new(memory, redis))
///         }
///     })
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let url = std::env::var("REDIS_URL").ok();
/// let layer = CacheLayer::new(store(url.as_deref())?);
/// # drop(layer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct BoxStore(Arc<dyn DynStore>);

impl BoxStore {
    /// Creates a store that passes all calls to `store`.
    pub fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }
}

impl Store for BoxStore {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        self.0.get_now(key)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.0.get(key).await
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        self.0.get_many(keys).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        self.0.update(key, ttl, change).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.0.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.0.clear().await
    }

    fn purges(&self) -> Option<SharedPurges> {
        self.0.purges()
    }

    fn is_tiered(&self) -> bool {
        self.0.is_tiered()
    }

    async fn lease(&self, key: &str) -> Lease {
        self.0.lease(key).await
    }

    fn max_entry_size(&self) -> u64 {
        self.0.max_entry_size()
    }

    fn usage(&self) -> Usage {
        self.0.usage()
    }
}

impl fmt::Debug for BoxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxStore").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
