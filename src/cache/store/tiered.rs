use std::future::Future;
use std::task::{Poll, ready};
use std::time::Duration;

use super::super::entry::{Entry, Kept};
use super::super::purge::SharedPurges;
use super::api::{Store, StoreError, Usage};
use super::lease::Lease;
use super::memory::MemoryStore;

/// Looks into memory first, and into another store behind it, such as a
/// `RedisStore`, which several processes share. What is found there is kept in
/// memory too; what is put goes to both. Clones share both: a layer and a
/// `ValueCache` may have one each.
///
/// An entry in memory answers for as long as it is fresh and was not purged, in any process; then
/// the store behind is asked, where another process may have put a newer one. While it cannot be
/// told what others have purged, memory answers for a short time only: see
/// `RedisConfig::offline_ttl`.
#[derive(Clone, Debug)]
pub struct TieredStore<S> {
    memory: MemoryStore,
    behind: S,
}

impl<S: Store> TieredStore<S> {
    /// With `memory` in front of `behind`.
    pub const fn new(memory: MemoryStore, behind: S) -> Self {
        Self { memory, behind }
    }
}

impl<S: Store> Store for TieredStore<S> {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        match ready!(self.memory.get_now(key)) {
            Some(entry) => Poll::Ready(Some(entry)),
            None => self.behind.get_now(key),
        }
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let near = self.memory.get(key).await?;
        match self.behind.get(key).await {
            Ok(Some(far)) if !near.as_ref().is_some_and(|near| is_newer(near, &far)) => {
                // What was read may be a slice of a connection's buffer.
                let far = far.to_owned_memory();
                self.memory.put(key, far.clone(), Duration::MAX).await?;
                Ok(Some(far))
            }
            Ok(_) => Ok(near),
            Err(error) => near.map(Some).ok_or(error),
        }
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.memory.put(key, entry.clone(), ttl).await?;
        self.behind.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.memory.remove(key).await?;
        self.behind.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.memory.clear().await?;
        self.behind.clear().await
    }

    fn purges(&self) -> Option<SharedPurges> {
        self.behind.purges().or_else(|| self.memory.purges())
    }

    fn is_tiered(&self) -> bool {
        true
    }

    fn lease(&self, key: &str) -> impl Future<Output = Lease> + Send {
        self.behind.lease(key)
    }

    /// Of the memory.
    fn usage(&self) -> Usage {
        self.memory.usage()
    }
}

/// Whether a response came later: what was put last may not have reached the store behind.
fn is_newer(near: &Entry, far: &Entry) -> bool {
    match (near.kept(), far.kept()) {
        (Kept::Response(near), Kept::Response(far)) => {
            near.freshness.received > far.freshness.received
        }
        _ => false,
    }
}
