use std::fmt;
use std::future::{Future, ready};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::super::entry::Entry;
use super::super::error::StoreError;
use super::super::purge::SharedPurges;
use super::api::{Store, Usage};

/// A store in the memory of this process, with a bounded number of bytes.
///
/// A full store evicts entries: those that were requested once before those that were requested
/// again. Entries that have expired or were purged stay until they are evicted.
///
/// Clones share the entries and the purges. Each [`CacheLayer`](crate::CacheLayer) over a clone has
/// a [namespace](crate::CacheLayer::namespace) of its own by default.
#[derive(Clone)]
pub struct MemoryStore {
    entries: Arc<Entries>,
    purges: SharedPurges,
    /// Held during an update: the cache below can read and insert, but not both in one step.
    updates: Arc<Mutex<()>>,
    capacity: u64,
    max_entry_size: u64,
    counts: Arc<Counts>,
}

type Entries = Cache<Arc<str>, Entry, BySize, DefaultHashBuilder, Counted>;

/// Weighs an entry by its bytes.
#[derive(Clone)]
struct BySize;

/// The usage of the store. `quick_cache` would have to lock each of its shards to tell.
///
/// An entry is counted after it is in the store, so that the counts never exceed what is there. Another
/// thread may remove the entry before that, and so a count may be negative for a moment.
#[derive(Debug, Default)]
struct Counts {
    entries: AtomicI64,
    bytes: AtomicI64,
    /// The entries that were evicted, other than those that were replaced or refused.
    evictions: AtomicU64,
}

/// Counts the entries that leave the store.
#[derive(Clone)]
struct Counted(Arc<Counts>);

impl MemoryStore {
    /// Creates a store of up to `bytes` of headers, bodies and bookkeeping, for entries of up to
    /// 1 MiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self::with_max_entry_size(bytes, 1024 * 1024)
    }

    /// Creates a store of up to `bytes`, for entries of up to `max_entry_size` bytes: for layers
    /// whose [`max_entry_size`](crate::CacheLayer::max_entry_size) is not the default of 1 MiB.
    ///
    /// The store consists of up to 64 shards of at least four times `max_entry_size`. An entry that
    /// does not fit into a shard is not stored.
    ///
    /// ```
    /// use tower_kit::MIB;
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // Bodies of up to 8 MiB, and some space for their headers.
    /// let store = MemoryStore::with_max_entry_size(256 * MIB, 9 * MIB);
    /// let layer = CacheLayer::new(store).max_entry_size(8 * MIB);
    /// # drop(layer);
    /// ```
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the options are complete, and every value is accepted"
    )]
    pub fn with_max_entry_size(bytes: u64, max_entry_size: u64) -> Self {
        // `quick_cache` silently refuses an entry that is heavier than nearly all of a shard.
        let shards = (bytes / max_entry_size.max(1).saturating_mul(4)).clamp(1, 64);
        // `quick_cache` rounds the number of shards up; fewer and larger ones are needed.
        let shards = (shards + 1).next_power_of_two() / 2;
        // `shrink_to` halves the shards without a remainder.
        let bytes = bytes - bytes % (shards << HALVINGS);
        // An estimate that is too low costs a few reallocations, one that is too high costs memory.
        let items = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        let counts = Arc::new(Counts::default());
        let mut options = OptionsBuilder::new();
        options.weight_capacity(bytes).estimated_items_capacity(items);
        options.shards(usize::try_from(shards).unwrap_or(1));
        let options = options.build().expect("the capacity and the number of items are set");
        let hasher = DefaultHashBuilder::default();
        let counted = Counted(Arc::clone(&counts));
        let entries = Cache::with_options(options, BySize, hasher, counted);
        let capacity = entries.capacity();
        Self {
            entries: Arc::new(entries),
            purges: SharedPurges::new(),
            updates: Arc::default(),
            capacity,
            // A store that is smaller than one such entry takes no entry that fills it.
            max_entry_size: max_entry_size.min(capacity / 2),
            counts,
        }
    }

    /// Evicts entries until at most `bytes` are left, for when memory is short. The capacity of the
    /// store stays the same.
    ///
    /// The shards are halved as often as necessary, so that at least about half of `bytes` stays if
    /// entries are small compared to a shard. Below a 32nd of the capacity all entries are evicted.
    /// Access to a shard blocks while it is shrunk, and an entry that is stored in it at that time
    /// may be lost.
    pub fn shrink_to(&self, bytes: u64) {
        if self.entries.weight() <= bytes {
            return;
        }
        let halvings = (0..=HALVINGS).find(|halvings| self.capacity >> halvings <= bytes);
        let Some(halvings) = halvings else {
            let evicted = self.drain();
            self.counts.evictions.fetch_add(evicted, Ordering::Relaxed);
            return;
        };
        // The number of evicted keys that `quick_cache` remembers changes in proportion and is
        // rounded down. Only a power of two restores it exactly.
        self.entries.set_capacity(self.capacity >> halvings);
        self.entries.set_capacity(self.capacity);
    }

    fn insert(&self, key: &str, entry: Entry) {
        let key = Arc::from(key);
        // A slice would keep all of its buffer alive, and be counted by its own length.
        let entry = entry.into_owned_memory();
        let weight = BySize.weight(&key, &entry);
        self.entries.insert_with_lifecycle(Arc::clone(&key), entry, &mut Some(key));
        self.counts.add(weight);
    }

    /// Removes all entries, and returns their number.
    fn drain(&self) -> u64 {
        let mut number = 0;
        for (key, entry) in self.entries.drain() {
            self.counts.subtract(BySize.weight(&key, &entry));
            number += 1;
        }
        number
    }
}

impl Store for MemoryStore {
    fn get_now(&self, key: &str) -> Poll<Option<Entry>> {
        Poll::Ready(self.entries.get(key))
    }

    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send {
        ready(Ok(self.entries.get(key)))
    }

    fn put(
        &self,
        key: &str,
        entry: Entry,
        _ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.insert(key, entry);
        ready(Ok(()))
    }

    fn update(
        &self,
        key: &str,
        _ttl: Duration,
        change: &mut (dyn FnMut(Option<Entry>) -> Entry + Send),
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        let _updating = self.updates.lock().unwrap_or_else(PoisonError::into_inner);
        self.insert(key, change(self.entries.get(key)));
        ready(Ok(()))
    }

    fn remove(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send {
        if let Some((key, entry)) = self.entries.remove(key) {
            self.counts.subtract(BySize.weight(&key, &entry));
        }
        ready(Ok(()))
    }

    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.drain();
        ready(Ok(()))
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(self.purges.clone())
    }

    fn max_entry_size(&self) -> u64 {
        self.max_entry_size
    }

    fn usage(&self) -> Usage {
        let Counts { entries, bytes, evictions } = &*self.counts;
        let [entries, bytes] =
            [entries, bytes].map(|count| u64::try_from(count.load(Ordering::Relaxed)).unwrap_or(0));
        Usage::new(entries, bytes, evictions.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("capacity", &self.entries.capacity())
            .field("usage", &self.usage())
            .finish()
    }
}

impl Weighter<Arc<str>, Entry> for BySize {
    fn weight(&self, key: &Arc<str>, entry: &Entry) -> u64 {
        entry.size() + key.len() as u64
    }
}

impl Counts {
    fn add(&self, bytes: u64) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    fn subtract(&self, bytes: u64) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl Lifecycle<Arc<str>, Entry> for Counted {
    /// The key that is inserted.
    type RequestState = Option<Arc<str>>;

    fn on_evict(&self, inserted: &mut Option<Arc<str>>, key: Arc<str>, entry: Entry) {
        self.0.subtract(BySize.weight(&key, &entry));
        if inserted.as_ref() != Some(&key) {
            self.0.evictions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The estimated size of an entry, in bytes.
const TYPICAL: u64 = 4 * 1024;

/// The number of times that a shard can be halved: the smallest one remembers 32 evicted keys.
const HALVINGS: u32 = 5;
