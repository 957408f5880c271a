use std::error::Error;
use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::super::entry::Entry;
use super::super::purge::SharedPurges;
use super::lease::Lease;

/// Keeps entries under keys. What it has lost, forgotten, or cannot read is a miss, and an error is
/// one too: the layer asks the service, and counts the error.
///
/// An operation that is not done within [`store_timeout`](crate::CacheLayer::store_timeout), or
/// panics, has failed too; its future is dropped. One that blocks its thread is nothing that a layer
/// can end.
///
/// Keys are text of up to about 8 KiB, with any character in it. `contract`, a module of the feature
/// `test-util`, tests that a store does what the layer expects.
///
/// Outside of the process an entry is bytes: [`Entry::to_bytes`] makes them, and
/// [`Entry::from_bytes`] reads them, and refuses what is damaged, of another key, or of another
/// version of this crate.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// use tower_kit::cache::{Entry, Store, StoreError};
///
/// #[derive(Default)]
/// struct Elsewhere(Mutex<HashMap<String, Bytes>>);
///
/// impl Store for Elsewhere {
///     async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
///         let bytes = self.0.lock().map_err(|_| StoreError::new("poisoned"))?.get(key).cloned();
///         bytes.map(|bytes| Entry::from_bytes(bytes, key)).transpose().map_err(StoreError::new)
///     }
///
///     async fn put(&self, key: &str, entry: Entry, _ttl: Duration) -> Result<(), StoreError> {
///         let mut kept = self.0.lock().map_err(|_| StoreError::new("poisoned"))?;
///         kept.insert(key.to_owned(), entry.to_bytes(key));
///         Ok(())
///     }
///
///     async fn remove(&self, key: &str) -> Result<(), StoreError> {
///         self.0.lock().map_err(|_| StoreError::new("poisoned"))?.remove(key);
///         Ok(())
///     }
///
///     async fn clear(&self) -> Result<(), StoreError> {
///         self.0.lock().map_err(|_| StoreError::new("poisoned"))?.clear();
///         Ok(())
///     }
/// }
/// # #[cfg(feature = "test-util")]
/// # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(
/// #     tower_kit::cache::contract::check(async || Elsewhere::default())
/// # );
/// ```
pub trait Store: Send + Sync + 'static {
    /// The entry, if that can be told without waiting: it is called before anything is boxed. By
    /// default it cannot, and [`get`](Self::get) is called.
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        let _ = key;
        Poll::Pending
    }

    /// The entry of a key.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send;

    /// Keeps an entry, in place of the one before. After `ttl` it is of no use any more.
    fn put(
        &self,
        key: &str,
        entry: Entry,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets an entry.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Forgets all entries.
    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Returns the purges that all users of the store share: a store that wraps a
    /// [`MemoryStore`](super::MemoryStore) or a `RedisStore` gives theirs. By
    /// default there are none, and purges are the layer's own.
    fn purges(&self) -> Option<SharedPurges> {
        None
    }

    /// Whether [`get`](Self::get) may find what is newer than what [`get_now`](Self::get_now) found: where
    /// it looks further than that. By default it does not.
    fn is_tiered(&self) -> bool {
        false
    }

    /// Whose turn it is, of all processes that share the store, to fetch what it has not. By default
    /// each may.
    fn lease(&self, key: &str) -> impl Future<Output = Lease> + Send {
        let _ = key;
        ready(Lease::free())
    }

    /// How much is kept, where the store knows.
    fn usage(&self) -> Usage {
        Usage::default()
    }
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Entries.
    pub entries: u64,
    /// Bytes, the store's own bookkeeping included.
    pub bytes: u64,
    /// Entries that made place for others, ever.
    pub evictions: u64,
}

/// A store that did not do what it was asked for.
#[derive(Debug)]
pub struct StoreError {
    reason: Box<dyn Error + Send + Sync>,
    later: bool,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Any store.
pub(crate) trait Erased: Send + Sync {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>>;
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>>;
    fn put<'a>(&'a self, key: &'a str, entry: Entry, ttl: Duration) -> Answer<'a, ()>;
    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()>;
    fn clear(&self) -> Answer<'_, ()>;
    fn purges(&self) -> Option<SharedPurges>;
    fn is_tiered(&self) -> bool;
    fn lease<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Lease> + Send + 'a>>;
    fn usage(&self) -> Usage;
}

impl Usage {
    /// Of a store that keeps this much.
    #[must_use]
    pub const fn new(entries: u64, bytes: u64, evictions: u64) -> Self {
        Self { entries, bytes, evictions }
    }
}

impl StoreError {
    /// For this reason.
    pub fn new(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason: reason.into(), later: false }
    }

    /// That it will be done when that is possible, for this reason.
    #[cfg(feature = "cache-redis")]
    pub(crate) fn later(reason: &'static str) -> Self {
        Self { reason: reason.into(), later: true }
    }

    /// Whether it will be done as soon as that is possible: a purge that holds in this process, and
    /// that Redis could not be told of in time.
    #[must_use]
    pub const fn is_deferred(&self) -> bool {
        self.later
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cache's store failed: {}", self.reason)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl<T: Store> Erased for T {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        Store::get_now(self, key)
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(Store::get(self, key))
    }

    fn put<'a>(&'a self, key: &'a str, entry: Entry, ttl: Duration) -> Answer<'a, ()> {
        Box::pin(Store::put(self, key, entry, ttl))
    }

    fn remove<'a>(&'a self, key: &'a str) -> Answer<'a, ()> {
        Box::pin(Store::remove(self, key))
    }

    fn clear(&self) -> Answer<'_, ()> {
        Box::pin(Store::clear(self))
    }

    fn purges(&self) -> Option<SharedPurges> {
        Store::purges(self)
    }

    fn is_tiered(&self) -> bool {
        Store::is_tiered(self)
    }

    fn lease<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Lease> + Send + 'a>> {
        Box::pin(Store::lease(self, key))
    }

    fn usage(&self) -> Usage {
        Store::usage(self)
    }
}
