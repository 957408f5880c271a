use std::future::Future;
use std::task::{Poll, ready};
use std::time::Duration;

use super::super::entry::{Entry, EntryKind};
use super::super::error::StoreError;
use super::super::purge::SharedPurges;
use super::api::{Store, Usage, some_or};
use super::lease::Lease;
use super::memory::MemoryStore;

/// A memory in front of another store, such as a `RedisStore` that several processes share.
///
/// An entry that is found behind the memory is also stored in the memory, and a new entry is stored
/// in both. An entry in memory is used while it is fresh and no process has purged it. After that the
/// store behind is read, where another process may have stored a newer entry. While this process
/// cannot learn of purges by others, the memory is used for a short time only: see
/// `RedisConfig::offline_ttl`.
///
/// Clones share both stores: a layer and a `ValueCache` may have one each. Give the memory to nothing
/// else: a layer over the memory alone does not see the purges of the store behind.
#[derive(Clone, Debug)]
pub struct TieredStore<S> {
    memory: MemoryStore,
    behind: S,
}

impl<S: Store> TieredStore<S> {
    /// Creates a store of `memory` in front of `behind`.
    pub const fn new(memory: MemoryStore, behind: S) -> Self {
        Self { memory, behind }
    }

    /// Returns the newer one of two entries, which the memory has then too.
    async fn newer(
        &self,
        key: &str,
        near: Option<Entry>,
        far: Result<Option<Entry>, StoreError>,
    ) -> Result<Option<Entry>, StoreError> {
        match far {
            Ok(Some(far)) if !near.as_ref().is_some_and(|near| is_newer(near, &far)) => {
                // The same entry as in the memory: a value that a caller decodes stays there, and the
                // caller compares the entry with the purges for both.
                let far = far.into_owned_memory();
                self.memory.put(key, far.clone(), Duration::MAX).await?;
                Ok(Some(far))
            }
            // Another process has removed the list, and its variants may still be in the store behind. The
            // memory keeps its own ones. A store that is away has removed nothing.
            Ok(None) if near.as_ref().is_some_and(is_list) => {
                Ok(near.filter(|_| self.behind.get_now(key).is_ready()))
            }
            Ok(_) => Ok(near),
            Err(error) => near.map(Some).ok_or(error),
        }
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
        // Called only if `get_now` found nothing of use: the memory alone does not tell whether another
        // process has a newer entry.
        let near = self.memory.get(key).await?;
        let far = self.behind.get(key).await;
        self.newer(key, near, far).await
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        // A failure behind leaves what the memory has, as in `get`.
        let (mut failure, mut far) = (None, Vec::new());
        match self.behind.get_many(keys).await {
            Ok(found) => far = found,
            Err(error) => failure = Some(error),
        }
        let (mut entries, mut far) = (Vec::with_capacity(keys.len()), far.into_iter());
        for key in keys {
            let near = self.memory.get(key).await?;
            entries.push(self.newer(key, near, Ok(far.next().flatten())).await?);
        }
        some_or(entries, failure)
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.memory.put(key, entry.clone(), ttl).await?;
        self.behind.put(key, entry, ttl).await
    }

    async fn update(
        &self,
        key: &str,
        ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> Result<(), StoreError> {
        // The store behind has what other processes have stored. While it fails, the memory goes on by
        // itself.
        let mut changed = None;
        let mut noting = |entry| changed.insert(change(entry)).clone();
        let updated = self.behind.update(key, ttl, &mut noting).await;
        match changed.filter(|_| updated.is_ok()) {
            Some(entry) => self.memory.put(key, entry, ttl).await?,
            None => self.memory.update(key, ttl, change).await?,
        }
        updated
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

    /// Returns the larger size: an entry that one of the stores does not take is in the other.
    fn max_entry_size(&self) -> u64 {
        self.memory.max_entry_size().max(self.behind.max_entry_size())
    }

    /// Returns the usage of the memory.
    fn usage(&self) -> Usage {
        self.memory.usage()
    }
}

fn is_list(entry: &Entry) -> bool {
    matches!(entry.kind(), EntryKind::Variants(_))
}

/// Returns `true` if `near` was received later: the last entry may not have reached the store behind.
fn is_newer(near: &Entry, far: &Entry) -> bool {
    match (near.freshness(), far.freshness()) {
        (Some(near), Some(far)) => near.received > far.received,
        _ => false,
    }
}
