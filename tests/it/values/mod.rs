//! Values of any type in the stores of the cache.

mod borrowed;
mod failures;
#[cfg(feature = "test-util")]
mod forged;
mod freshness;
mod herds;
mod invalidation;
mod links;
mod loads;
mod many;
mod options;
mod recursion;
mod refreshes;
mod tags;
mod timeouts;
mod typed;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::{BoxStore, Entry, MemoryStore, Store, StoreError, TieredStore};
use tower_kit::values::LoadError;

use crate::support::{Metrics, poll_once};

const SECOND: Duration = Duration::from_secs(1);
const REQUESTS: &str = "value_cache_requests_total";
const ERRORS: &str = "value_cache_errors_total";

type Answer = Result<usize, Down>;
type Asking<T = usize> = Pin<Box<dyn Future<Output = Result<T, Down>> + Send>>;

/// The error of a database that is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Down;

/// A database that answers each query with its number, when the test lets it.
#[derive(Clone)]
struct Database(Arc<Queries>);

struct Queries {
    begun: AtomicUsize,
    may_end: Semaphore,
    is_down: AtomicBool,
}

/// A service, its time, in seconds, and its numbers.
struct Rig {
    cache: ValueCache,
    seconds: Arc<AtomicU64>,
    metrics: Metrics,
    database: Database,
}

/// A store that cannot tell without waiting, whose next operations fail, and whose puts wait for
/// the test.
#[derive(Clone)]
struct Remote {
    inner: MemoryStore,
    failures: Arc<AtomicUsize>,
    tries: Arc<AtomicUsize>,
    puts: Arc<Semaphore>,
}

impl Database {
    fn new() -> Self {
        let (begun, is_down) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self(Arc::new(Queries { begun, may_end: Semaphore::new(0), is_down }))
    }

    fn query(&self) -> impl Future<Output = Answer> + Send + use<> {
        let Self(queries) = self.clone();
        async move {
            let number = queries.begun.fetch_add(1, Ordering::SeqCst);
            queries.may_end.acquire().await.unwrap().forget();
            if queries.is_down.load(Ordering::SeqCst) { Err(Down) } else { Ok(number) }
        }
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// So many queries come to their end, which may not have begun.
    fn answers(&self, queries: usize) {
        self.0.may_end.add_permits(queries);
    }

    fn is_down(&self, is_down: bool) {
        self.0.is_down.store(is_down, Ordering::SeqCst);
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(MemoryStore::new(16 * MIB), |cache| cache)
    }

    fn with(store: impl Store, choose: impl FnOnce(ValueCache) -> ValueCache) -> Self {
        let (seconds, metrics) = (Arc::new(AtomicU64::new(1_000_000)), Metrics::new());
        let read = Arc::clone(&seconds);
        let cache = choose(ValueCache::new(store))
            .recorder(metrics.recorder())
            .clock(move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst)));
        Self { cache, seconds, metrics, database: Database::new() }
    }

    fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn asks(&self, key: &'static str) -> Asking {
        self.asks_for(key, None)
    }

    fn asks_for(&self, key: &'static str, ttl: Option<Duration>) -> Asking {
        let (cache, database) = (self.cache.clone(), self.database.clone());
        Box::pin(async move {
            let load = move || database.query();
            cache.get_or_refresh_with(key, ttl, load).await.map_err(down)
        })
    }

    /// A caller whose loader may borrow.
    fn asks_borrowed(&self, key: &'static str) -> Asking {
        let (cache, database) = (self.cache.clone(), self.database.clone());
        Box::pin(async move {
            cache.get_or_insert_with(key, None, || database.query()).await.map_err(down)
        })
    }

    /// One who has come as far as they can, and is not answered.
    fn waits(&self, key: &'static str) -> Asking {
        let mut asking = self.asks(key);
        assert!(poll_once(asking.as_mut()).is_pending());
        asking
    }

    fn requests(&self, outcome: &str) -> u64 {
        self.metrics.counted(REQUESTS, &[("outcome", outcome)])
    }

    fn errors(&self, operation: &str) -> u64 {
        self.metrics.counted(ERRORS, &[("operation", operation)])
    }
}

impl Remote {
    fn new() -> Self {
        Self {
            inner: MemoryStore::new(16 * MIB),
            failures: Arc::default(),
            tries: Arc::default(),
            puts: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    fn fails(&self, times: usize) {
        self.failures.store(times, Ordering::SeqCst);
    }

    async fn works(&self) -> Result<(), StoreError> {
        yield_now().await;
        self.tries.fetch_add(1, Ordering::SeqCst);
        let less = |failures: usize| failures.checked_sub(1);
        match self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(StoreError::new("the connection broke")),
            Err(_) => Ok(()),
        }
    }
}

impl Store for Remote {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.works().await?;
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.works().await?;
        self.puts.acquire().await.unwrap().forget();
        self.inner.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.works().await?;
        self.inner.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.works().await?;
        self.inner.clear().await
    }
}

/// The failure of a loader, which is the only error of a call that has no timeout.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn down(error: LoadError<Down>) -> Down {
    *error.failure().unwrap_or_else(|| panic!("no failure: {error}"))
}

/// A store in memory, one that waits, and one that fails each time.
fn stores() -> [BoxStore; 3] {
    let failing = Remote::new();
    failing.fails(usize::MAX);
    [
        BoxStore::new(MemoryStore::new(16 * MIB)),
        BoxStore::new(Remote::new()),
        BoxStore::new(failing),
    ]
}

/// Stores that keep a value, one of them before a store that fails each time.
fn keeping_stores() -> [BoxStore; 2] {
    let failing = Remote::new();
    failing.fails(usize::MAX);
    let memory = || MemoryStore::new(16 * MIB);
    [BoxStore::new(memory()), BoxStore::new(TieredStore::new(memory(), failing))]
}

/// Lets the tasks that can run do so.
async fn idle() {
    for _ in 0..100 {
        yield_now().await;
    }
}
