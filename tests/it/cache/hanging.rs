//! Stores that never return, or panic.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use tower_kit::MIB;
use tower_kit::cache::{
    CacheLayer, Entry, Lease, MemoryStore, Store, StoreError, TieredStore, Usage,
};

use super::rig::{Fields, MINUTE, Rig, idle};
use crate::support::{Metrics, clock};

const ERRORS: &str = "http_cache_store_errors_total";

/// What a store does, or panics in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Peek,
    Get,
    Put,
    Remove,
    Clear,
    Lease,
    Usage,
}

#[derive(Clone)]
struct Bad {
    inner: MemoryStore,
    operation: Operation,
    panics: bool,
    on: Arc<AtomicBool>,
}

impl Bad {
    fn new(operation: Operation, panics: bool) -> Self {
        let on = Arc::new(AtomicBool::new(true));
        Self { inner: MemoryStore::new(MIB), operation, panics, on }
    }

    fn is_bad(&self, operation: Operation) -> bool {
        self.operation == operation && self.on.load(Ordering::SeqCst)
    }

    async fn reach(&self, operation: Operation) {
        if self.is_bad(operation) {
            assert!(!self.panics, "as a test has it");
            pending::<()>().await;
        }
    }
}

impl Store for Bad {
    fn get_now(&self, _: &str) -> Poll<Option<Entry>> {
        assert!(!self.is_bad(Operation::Peek), "as a test has it");
        Poll::Pending
    }

    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, StoreError>> + Send {
        // Before there is a future, too.
        assert!(!(self.panics && self.is_bad(Operation::Get)), "as a test has it");
        async {
            self.reach(Operation::Get).await;
            self.inner.get(key).await
        }
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.reach(Operation::Put).await;
        self.inner.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.reach(Operation::Remove).await;
        self.inner.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.reach(Operation::Clear).await;
        self.inner.clear().await
    }

    async fn lease(&self, _: &str) -> Lease {
        self.reach(Operation::Lease).await;
        Lease::free()
    }

    fn usage(&self) -> Usage {
        assert!(!self.is_bad(Operation::Usage), "as a test has it");
        self.inner.usage()
    }
}

fn rig(operation: Operation, panics: bool, metrics: &Metrics) -> (Rig, Arc<AtomicBool>) {
    let store = Bad::new(operation, panics);
    let on = Arc::clone(&store.on);
    let layer = CacheLayer::new(store).store_timeout(Duration::from_millis(300));
    let rig = Rig::over(layer.recorder(metrics.recorder()));
    rig.answers_with(200, MINUTE);
    (rig, on)
}

/// All that a layer does with its store.
async fn uses_all(rig: &Rig) {
    rig.get("/", &[]).await;
    idle().await;
    assert_eq!(rig.send("POST", "/", &[]).await.status, 200);
    let varies: Fields<'_> = &[("cache-control", "max-age=60"), ("vary", "x-one")];
    rig.answers_with(200, varies);
    rig.get("/v", &[("x-one", "a")]).await;
    idle().await;
    rig.get("/v", &[("x-one", "b")]).await;
    idle().await;
    drop(rig.handle.purge_all().await);
    rig.answers_with(200, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn store_that_hangs_is_waited_for_a_bounded_time() {
    for (operation, counted) in [
        (Operation::Get, "get"),
        (Operation::Put, "put"),
        (Operation::Remove, "remove"),
        (Operation::Clear, "clear"),
    ] {
        let metrics = Metrics::new();
        let (rig, on) = rig(operation, false, &metrics);
        let before = clock();
        uses_all(&rig).await;
        let took = before.elapsed();
        assert!(took <= Duration::from_secs(5), "{operation:?} took {took:?}");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let errors = metrics.counted(ERRORS, &[("operation", counted)]);
        assert!(errors > 0, "{operation:?} is counted");
        // The default update of the list of variants reads it.
        let puts = metrics.counted(ERRORS, &[("operation", "put")]);
        let others = if operation == Operation::Get { puts } else { 0 };
        assert_eq!(metrics.counted(ERRORS, &[]), errors + others, "{operation:?}");
        assert_eq!(rig.handle.in_flight(), 0);
        on.store(false, Ordering::SeqCst);
        rig.get("/again", &[]).await;
        idle().await;
        assert!(rig.get("/again", &[]).await.is_hit(), "{operation:?}: it works again");
    }
}

#[tokio::test(start_paused = true)]
async fn lease_that_hangs_is_waited_for_a_bounded_time() {
    let metrics = Metrics::new();
    let (rig, _) = rig(Operation::Lease, false, &metrics);
    let before = clock();
    rig.get("/", &[]).await;
    assert!(before.elapsed() <= Duration::from_secs(1));
    assert_eq!(metrics.counted("http_cache_fallbacks_total", &[("reason", "lease")]), 1);
    idle().await;
    assert!(rig.get("/", &[]).await.is_hit(), "what was fetched without a lease is good");
}

#[tokio::test(start_paused = true)]
async fn herd_over_a_store_that_hangs_is_answered() {
    let metrics = Metrics::new();
    let (rig, _) = rig(Operation::Get, false, &metrics);
    let herd = [(); 20].map(|()| rig.get("/", &[]));
    let before = clock();
    for asking in herd {
        assert_eq!(asking.await.status, 200);
    }
    assert!(before.elapsed() <= Duration::from_secs(20));
}

#[tokio::test]
async fn store_that_panics_is_a_store_that_fails() {
    for operation in [
        Operation::Peek,
        Operation::Get,
        Operation::Put,
        Operation::Remove,
        Operation::Clear,
        Operation::Lease,
        Operation::Usage,
    ] {
        let metrics = Metrics::new();
        let (rig, on) = rig(operation, true, &metrics);
        uses_all(&rig).await;
        let statistics = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            rig.handle.statistics().misses
        }));
        assert!(statistics.is_ok(), "{operation:?}");
        if operation != Operation::Usage && operation != Operation::Lease {
            assert!(metrics.counted(ERRORS, &[]) > 0, "{operation:?} is counted");
        }
        assert_eq!(rig.handle.in_flight(), 0);
        on.store(false, Ordering::SeqCst);
        rig.get("/again", &[]).await;
        idle().await;
        assert!(rig.get("/again", &[]).await.is_hit(), "{operation:?}: it works again");
    }
}

#[tokio::test(start_paused = true)]
async fn memory_stands_in_while_the_store_behind_hangs() {
    let metrics = Metrics::new();
    let behind = Bad::new(Operation::Get, false);
    behind.on.store(false, Ordering::SeqCst);
    let on = Arc::clone(&behind.on);
    let store = TieredStore::new(MemoryStore::new(MIB), behind);
    let rig = Rig::over(CacheLayer::new(store).recorder(metrics.recorder()));
    rig.answers_with(200, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    rig.get("/", &[]).await;
    idle().await;
    on.store(true, Ordering::SeqCst);
    assert!(rig.get("/", &[]).await.is_hit());
    rig.clock.pass(61);
    rig.fails();
    let stale = rig.get("/", &[]).await;
    assert_eq!(stale.body, "answer 0", "what the memory has stands in for the service");
}

#[cfg(feature = "values")]
mod values {
    use tower_kit::ValueCache;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn values_are_given_though_the_store_hangs() {
        for (operation, counted) in [
            (Operation::Get, "get"),
            (Operation::Put, "put"),
            (Operation::Remove, "remove"),
            (Operation::Lease, "lease"),
        ] {
            for panics in [false, true] {
                let metrics = Metrics::new();
                let store = Bad::new(operation, panics);
                let cache = ValueCache::new(store).recorder(metrics.recorder());
                let before = clock();
                let fetch = || async { Ok::<_, StoreError>(7) };
                assert_eq!(cache.get_or_insert_with("key", None, fetch).await.unwrap(), 7);
                cache.get::<i32>("key").await;
                let set = cache.insert("key", &8, None).await;
                assert_eq!(set.is_err(), operation == Operation::Put);
                let del = cache.remove("key").await;
                assert_eq!(del.is_err(), operation == Operation::Remove);
                let took = before.elapsed();
                assert!(took <= Duration::from_secs(6), "{operation:?} took {took:?}");
                tokio::time::sleep(Duration::from_secs(2)).await;
                let errors = metrics.counted("value_cache_errors_total", &[("operation", counted)]);
                assert!(errors > 0, "{operation:?} is counted");
            }
        }
    }
}
