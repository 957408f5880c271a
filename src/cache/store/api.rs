use std::future::{Future, ready};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::super::entry::Entry;
use super::super::error::StoreError;
use super::super::purge::SharedPurges;
use super::lease::Lease;

/// A store of entries under keys.
///
/// # Contract
///
/// - **Keys** are text of up to about 8 KiB with any character in it. Keys that differ in one byte
///   are different keys.
/// - **[`get`](Self::get)** returns the last entry that was put under the key, unchanged, or `None`.
///   A store may forget an entry at any time, and need not return it after its `ttl`: the cache
///   checks the age of each entry itself.
/// - **[`remove`](Self::remove)** and **[`clear`](Self::clear)** hold for every `get` that starts
///   after they are done. Removing what is not there is no error.
/// - **[`update`](Self::update)** changes an entry atomically. The default is not atomic: of variants
///   of a URL that are stored at the same time, some may then be stored in vain.
/// - **Errors and panics** are misses, or entries that are not stored; the cache counts them and
///   calls the inner service. So does an operation that takes longer than
///   [`store_timeout`](crate::CacheLayer::store_timeout): its future is dropped. The cache cannot end
///   an operation that blocks its thread.
/// - **Concurrency**: all methods are called from many tasks at the same time.
/// - **Clones** of a store share their entries. They also share [`purges`](Self::purges), if the
///   store has them, and then each [`CacheLayer`](crate::CacheLayer) over a clone has a namespace of
///   its own. Without them, two layers over one store answer with each other's responses, unless
///   [`namespace`](crate::CacheLayer::namespace) separates them, and purges by URL, prefix or tag hold
///   for one layer, and until the process ends.
///
/// The module `cache::contract` of the feature `test-util` tests a store against this contract.
///
/// # Stores outside of the process
///
/// [`Entry::to_bytes`] encodes an entry, and [`Entry::from_bytes`] decodes it and refuses bytes that
/// are damaged, belong to another key, or have the format of another version of this crate.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use tower_kit::cache::{Entry, SharedPurges, Store, StoreError};
///
/// #[derive(Clone, Default)]
/// struct BytesStore {
///     bytes: Arc<Mutex<HashMap<String, Bytes>>>,
///     purges: SharedPurges,
/// }
///
/// impl BytesStore {
///     fn lock(&self) -> MutexGuard<'_, HashMap<String, Bytes>> {
///         self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
///     }
/// }
///
/// impl Store for BytesStore {
///     async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
///         let bytes = self.lock().get(key).cloned();
///         bytes.map(|bytes| Entry::from_bytes(bytes, key)).transpose().map_err(StoreError::new)
///     }
///
///     async fn put(&self, key: &str, entry: Entry, _ttl: Duration) -> Result<(), StoreError> {
///         self.lock().insert(key.to_owned(), entry.to_bytes(key));
///         Ok(())
///     }
///
///     async fn remove(&self, key: &str) -> Result<(), StoreError> {
///         self.lock().remove(key);
///         Ok(())
///     }
///
///     async fn clear(&self) -> Result<(), StoreError> {
///         self.lock().clear();
///         Ok(())
///     }
///
///     fn purges(&self) -> Option<SharedPurges> {
///         Some(self.purges.clone())
///     }
/// }
/// # #[cfg(feature = "test-util")]
/// # tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap().block_on(
/// #     tower_kit::cache::contract::check(async || BytesStore::default())
/// # );
/// ```
pub trait Store: Send + Sync + 'static {
    /// Returns the entry of a key if the store knows it without waiting. The cache calls this first,
    /// and then allocates nothing for a hit.
    ///
    /// The default returns [`Poll::Pending`], upon which the cache calls [`get`](Self::get). A store
    /// that returns `Poll::Ready(None)` has no entry.
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        let _ = key;
        Poll::Pending
    }

    /// Returns the entry of a key.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Returns the entries of several keys, in their order, each as [`get`](Self::get) does. A
    /// `ValueCache` calls this with up to 1,000 keys.
    ///
    /// A store that needs a round trip for each `get` should read all keys in one, and return `None`
    /// for an entry that it cannot read. The default calls [`get`](Self::get) for one key after the
    /// other, and fails with the first error.
    #[doc(alias = "MGET")]
    fn get_many(
        &self,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, StoreError>> + Send {
        async move {
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                entries.push(self.get(key).await?);
            }
            Ok(entries)
        }
    }

    /// Stores an entry in place of the previous one. The entry is of no use after `ttl`, which may
    /// be [`Duration::MAX`].
    fn put(
        &self,
        key: &str,
        entry: Entry,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Stores what `change` makes of the current entry. The cache keeps the list of a URL's variants
    /// by this method.
    ///
    /// The operation is atomic: of several updates of one key each sees the result of the one before.
    /// A store that detects a conflict calls `change` again with the new entry. The default calls
    /// [`get`](Self::get) and [`put`](Self::put), and is not atomic.
    fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        // An entry that cannot be read is not replaced: it may be a list of variants that is needed.
        async move {
            let entry = change(self.get(key).await?);
            self.put(key, entry, ttl).await
        }
    }

    /// Removes the entry of a key.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Removes all entries, of all users of the store.
    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the state that the users of all clones of the store have in common. A store has one
    /// [`SharedPurges`] from its creation on, and a store that wraps others returns that of the
    /// innermost one.
    ///
    /// The default is `None`: each layer has purges of its own.
    fn purges(&self) -> Option<SharedPurges> {
        None
    }

    /// Returns `true` if [`get`](Self::get) may find a newer entry than [`get_now`](Self::get_now):
    /// a memory in front of another store. The default is `false`.
    fn is_tiered(&self) -> bool {
        false
    }

    /// Asks for the permission to fetch what the store lacks, so that one of all processes that share
    /// the store does. While the lease of a key is held, others get [`Lease::taken`] for it, and the
    /// cache asks again until the entry is there, for half a second at most.
    ///
    /// A lease must end even if its holder never drops it, since that may be another process. The cache
    /// does not ask a store whose [`get_now`](Self::get_now) has answered, unless the store
    /// [is tiered](Self::is_tiered). The default grants [`Lease::free`].
    fn lease(&self, key: &str) -> impl Future<Output = Lease> + Send {
        let _ = key;
        ready(Lease::free())
    }

    /// Returns the size in bytes of the largest body whose entry the store takes. A layer stores no
    /// larger one, whatever its [`max_entry_size`](crate::CacheLayer::max_entry_size) is. The default
    /// is [`u64::MAX`].
    fn max_entry_size(&self) -> u64 {
        u64::MAX
    }

    /// Returns how much the store holds, as far as it knows. The default is all zeros.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// The contents of a store, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The number of entries.
    pub entries: u64,
    /// The bytes of all entries, with the store's own bookkeeping.
    pub bytes: u64,
    /// The number of entries that were evicted to make space for others, since the store was made.
    pub evictions: u64,
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A [`Store`] of any type.
// The methods of `Store` return `impl Future`, so that the stores of others need no boxes and no
// macro; a trait object needs them. A hit of `get_now` has no box.
pub(crate) trait DynStore: Send + Sync {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>>;
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>>;
    fn get_many<'a>(
        &'a self,
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StoreError>>;
    fn put<'a>(
        &'a self,
        key: &'a str,
        entry: Entry,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn update<'a>(
        &'a self,
        key: &'a str,
        ttl: Duration,
        change: &'a mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>>;
    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
    fn clear(&self) -> BoxFuture<'_, Result<(), StoreError>>;
    fn purges(&self) -> Option<SharedPurges>;
    fn is_tiered(&self) -> bool;
    fn lease<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Lease>;
    fn max_entry_size(&self) -> u64;
    fn usage(&self) -> Usage;
}

impl Usage {
    /// Creates the usage of a store with these numbers of entries, of bytes and of evictions.
    #[must_use]
    pub const fn new(entries: u64, bytes: u64, evictions: u64) -> Self {
        Self { entries, bytes, evictions }
    }
}

impl<T: Store> DynStore for T {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        Store::get_now(self, key)
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Entry>, StoreError>> {
        Box::pin(Store::get(self, key))
    }

    fn get_many<'a>(
        &'a self,
        keys: &'a [&'a str],
    ) -> BoxFuture<'a, Result<Vec<Option<Entry>>, StoreError>> {
        Box::pin(Store::get_many(self, keys))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        entry: Entry,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Store::put(self, key, entry, ttl))
    }

    fn update<'a>(
        &'a self,
        key: &'a str,
        ttl: Duration,
        change: &'a mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Store::update(self, key, ttl, change))
    }

    fn remove<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(Store::remove(self, key))
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(Store::clear(self))
    }

    fn purges(&self) -> Option<SharedPurges> {
        Store::purges(self)
    }

    fn is_tiered(&self) -> bool {
        Store::is_tiered(self)
    }

    fn lease<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Lease> {
        Box::pin(Store::lease(self, key))
    }

    fn max_entry_size(&self) -> u64 {
        Store::max_entry_size(self)
    }

    fn usage(&self) -> Usage {
        Store::usage(self)
    }
}

/// Returns the entries of several keys, of which a failure may have left out some. An error is for a
/// failure that left none: some of the entries are better than that.
pub(super) fn some_or(
    entries: Vec<Option<Entry>>,
    failure: Option<StoreError>,
) -> Result<Vec<Option<Entry>>, StoreError> {
    match failure {
        Some(error) if entries.iter().all(Option::is_none) => Err(error),
        _ => Ok(entries),
    }
}
