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
mod tests {
    use std::sync::Mutex;

    use super::super::super::entry::EntryKind;
    use super::super::memory::MemoryStore;
    use super::*;

    /// Records which of its methods are called.
    struct Spy(Arc<Mutex<Vec<&'static str>>>, MemoryStore);

    impl Spy {
        fn note(&self, method: &'static str) {
            self.0.lock().unwrap().push(method);
        }
    }

    impl Store for Spy {
        fn get_now(&self, _: &str) -> Poll<Option<Entry>> {
            self.note("get_now");
            Poll::Ready(None)
        }

        async fn get(&self, _: &str) -> Result<Option<Entry>, StoreError> {
            self.note("get");
            Err(StoreError::new("inner"))
        }

        async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
            self.note("get_many");
            assert_eq!(keys, ["a", "b"]);
            Ok(vec![None, None])
        }

        async fn put(&self, _: &str, _: Entry, ttl: Duration) -> Result<(), StoreError> {
            self.note("put");
            assert_eq!(ttl, Duration::from_secs(7));
            Ok(())
        }

        async fn update(
            &self,
            _: &str,
            _: Duration,
            change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
        ) -> Result<(), StoreError> {
            self.note("update");
            drop(change(None));
            Ok(())
        }

        async fn remove(&self, _: &str) -> Result<(), StoreError> {
            self.note("remove");
            Ok(())
        }

        async fn clear(&self) -> Result<(), StoreError> {
            self.note("clear");
            Ok(())
        }

        fn purges(&self) -> Option<SharedPurges> {
            self.note("purges");
            Store::purges(&self.1)
        }

        fn is_tiered(&self) -> bool {
            self.note("is_tiered");
            true
        }

        fn max_entry_size(&self) -> u64 {
            self.note("max_entry_size");
            7
        }

        async fn lease(&self, _: &str) -> Lease {
            self.note("lease");
            Lease::free()
        }

        fn usage(&self) -> Usage {
            self.note("usage");
            Usage::new(1, 2, 3)
        }
    }

    #[tokio::test]
    async fn all_methods_reach_the_inner_store() {
        let called = Arc::default();
        let memory = MemoryStore::new(1 << 20);
        // A boxed store may be boxed again.
        let inner = BoxStore::new(Spy(Arc::clone(&called), memory.clone()));
        let store = BoxStore::new(inner.clone());
        let entry = Entry::new(EntryKind::Variants(Vec::new()));
        assert!(matches!(Store::get_now(&store, "a"), Poll::Ready(None)));
        let error = Store::get(&store, "a").await.unwrap_err();
        assert!(error.to_string().ends_with("inner"));
        assert_eq!(Store::get_many(&store, &["a", "b"]).await.unwrap().len(), 2);
        Store::put(&store, "a", entry.clone(), Duration::from_secs(7)).await.unwrap();
        Store::update(&store, "a", Duration::ZERO, &mut |_| entry.clone()).await.unwrap();
        Store::remove(&store, "a").await.unwrap();
        Store::clear(&store).await.unwrap();
        let (purges, own) = (Store::purges(&store).unwrap(), Store::purges(&memory).unwrap());
        assert!(Arc::ptr_eq(&purges.0, &own.0));
        assert!(Store::is_tiered(&store));
        assert!(!Store::lease(&store, "a").await.is_taken());
        assert_eq!(Store::max_entry_size(&store), 7);
        assert_eq!(Store::usage(&store), Usage::new(1, 2, 3));
        let expected = [
            "get_now",
            "get",
            "get_many",
            "put",
            "update",
            "remove",
            "clear",
            "purges",
            "is_tiered",
            "lease",
            "max_entry_size",
            "usage",
        ];
        assert_eq!(*called.lock().unwrap(), expected);
    }
}
