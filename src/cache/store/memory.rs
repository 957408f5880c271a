use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::super::entry::Entry;
use super::super::purge::{Purges, SharedPurges};
use super::api::{Store, StoreError, Usage};

/// Keeps entries in this process's memory, in a bounded number of bytes. What is asked for once
/// makes way for what is asked for again; what has ended, or was purged, stays until then. Clones
/// share it, and what was purged: a layer does not give out what another one over a clone purged.
#[derive(Clone)]
pub struct MemoryStore {
    entries: Arc<Entries>,
    purges: Arc<Purges>,
    capacity: u64,
    evictions: Arc<AtomicU64>,
}

type Entries = Cache<Arc<str>, Entry, BySize, DefaultHashBuilder, Evictions>;

#[derive(Clone)]
struct BySize;

/// Counts what made place for others: all that goes but what is replaced or refused.
#[derive(Clone)]
struct Evictions(Arc<AtomicU64>);

impl MemoryStore {
    /// Keeps up to `bytes` of heads, bodies and bookkeeping, for entries of up to 1 MiB.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self::with_max_entry_size(bytes, 1024 * 1024)
    }

    /// For entries of up to `largest` bytes, where a layer's
    /// [`entry_limit`](crate::CacheLayer::max_entry_size) is not the default of 1 MiB. The store is in
    /// parts of at least four times that, up to 64 of them; what does not fit into one is not kept.
    ///
    /// ```
    /// use tower_kit::MIB;
    /// use tower_kit::cache::{CacheLayer, MemoryStore};
    ///
    /// // Bodies of up to 8 MiB, with a little for their heads.
    /// let layer = CacheLayer::new(MemoryStore::with_max_entry_size(256 * MIB, 9 * MIB)).max_entry_size(8 * MIB);
    /// # drop(layer);
    /// ```
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the options are complete, and no value is refused"
    )]
    pub fn with_max_entry_size(bytes: u64, largest: u64) -> Self {
        // An entry that is heavier than nearly all of a shard would be refused in silence.
        let shards = (bytes / largest.max(1).saturating_mul(4)).clamp(1, 64);
        // Rounded up by `quick_cache`, and to be rounded down.
        let shards = (shards + 1).next_power_of_two() / 2;
        // Of parts that are halved to the end without a remainder: see `shrink_to`.
        let bytes = bytes - bytes % (shards << HALVINGS);
        let items = usize::try_from(bytes / TYPICAL).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        let evictions = Arc::new(AtomicU64::new(0));
        let mut options = OptionsBuilder::new();
        options.weight_capacity(bytes).estimated_items_capacity(items);
        options.shards(usize::try_from(shards).unwrap_or(1));
        let options = options.build().expect("both of what is needed is set");
        let hasher = DefaultHashBuilder::default();
        let counted = Evictions(Arc::clone(&evictions));
        let entries = Cache::with_options(options, BySize, hasher, counted);
        let capacity = entries.capacity();
        Self { entries: Arc::new(entries), purges: Arc::default(), capacity, evictions }
    }

    /// Evicts until at most `bytes` are kept, what was asked for once before what was asked for
    /// again; what may be kept from then on is as much as before. For when memory is short.
    ///
    /// Each part of the store is halved until that is enough, so that about half of `bytes` stays
    /// at least, where entries are small beside such a part; of less than a 32nd of the store
    /// nothing stays. Whoever needs a part waits while it is shrunk, and an entry that is put there
    /// meanwhile may not be kept.
    pub fn shrink_to(&self, bytes: u64) {
        if self.entries.weight() <= bytes {
            return;
        }
        let halvings = (0..=HALVINGS).find(|halvings| self.capacity >> halvings <= bytes);
        let Some(halvings) = halvings else {
            let before = self.entries.len() as u64;
            self.entries.clear();
            self.evictions.fetch_add(before, Ordering::Relaxed);
            return;
        };
        // What is remembered of evicted entries changes in proportion, and is rounded down. Only
        // where the proportion is exactly a power of two is it what it was afterwards.
        self.entries.set_capacity(self.capacity >> halvings);
        self.entries.set_capacity(self.capacity);
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
        let key = Arc::from(key);
        self.entries.insert_with_lifecycle(Arc::clone(&key), entry, &mut Some(key));
        ready(Ok(()))
    }

    fn remove(&self, key: &str) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.entries.remove(key);
        ready(Ok(()))
    }

    fn clear(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        self.entries.clear();
        ready(Ok(()))
    }

    fn purges(&self) -> Option<SharedPurges> {
        Some(SharedPurges(Arc::clone(&self.purges)))
    }

    fn usage(&self) -> Usage {
        let entries = self.entries.len() as u64;
        Usage::new(entries, self.entries.weight(), self.evictions.load(Ordering::Relaxed))
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

impl Lifecycle<Arc<str>, Entry> for Evictions {
    /// The key that is put.
    type RequestState = Option<Arc<str>>;

    fn on_evict(&self, put: &mut Option<Arc<str>>, key: Arc<str>, _entry: Entry) {
        if put.as_ref() != Some(&key) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// In bytes, of an entry.
const TYPICAL: u64 = 4 * 1024;

/// How often a part of the store can be halved: the smallest one remembers 32 evicted entries.
const HALVINGS: u32 = 5;
