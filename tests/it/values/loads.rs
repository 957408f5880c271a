//! Loads that fail.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_kit::MIB;
use tower_kit::cache::{Entry, MemoryStore, Store, StoreError};

use super::{Down, Remote, Rig, SECOND, down, idle, keeping_stores, stores};

const HERD: usize = 200;

#[tokio::test]
async fn failure_is_shared_by_a_herd() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        rig.database.is_down(true);
        for round in 1..=2 {
            let mut herd: JoinSet<_> = (0..HERD / 2).map(|_| rig.asks("key")).collect();
            (0..HERD / 2).for_each(|_| drop(herd.spawn(rig.asks_borrowed("key"))));
            idle().await;
            rig.database.answers(1);
            assert_eq!(herd.join_all().await, [Err(Down); HERD]);
            assert_eq!(rig.database.begun(), round);
            assert_eq!(rig.errors("load"), round as u64);
        }
        assert_eq!((rig.requests("miss"), rig.requests("failed")), (2, 2 * (HERD as u64 - 1)));
        rig.database.is_down(false);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(2), "nobody remembers the failure");
    }
}

/// A store whose first lookups wait for the test.
#[derive(Clone)]
struct Slow {
    inner: MemoryStore,
    lookups: Arc<AtomicUsize>,
    may_end: Arc<Semaphore>,
}

impl Store for Slow {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if self.lookups.fetch_add(1, Ordering::SeqCst) < HERD {
            self.may_end.acquire().await.unwrap().forget();
        }
        self.inner.get(key).await
    }

    async fn put(&self, key: &str, entry: Entry, ttl: Duration) -> Result<(), StoreError> {
        self.inner.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.inner.remove(key).await
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.inner.clear().await
    }
}

#[tokio::test]
async fn failure_during_a_lookup_is_shared() {
    let inner = MemoryStore::new(16 * MIB);
    let store = Slow { inner, lookups: Arc::default(), may_end: Arc::new(Semaphore::new(0)) };
    let rig = Rig::with(store.clone(), |cache| cache);
    let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
    idle().await;
    rig.database.is_down(true);
    rig.database.answers(1);
    // The load fails while the other callers wait for the store.
    assert_eq!(rig.asks("key").await, Err(Down));
    store.may_end.add_permits(HERD);
    assert_eq!(herd.join_all().await, [Err(Down); HERD]);
    assert_eq!(rig.database.begun(), 1);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Err(Down));
    assert_eq!(rig.database.begun(), 2, "a later caller tries again");
}

#[tokio::test]
async fn future_of_a_call_has_the_loader_once() {
    let rig = Rig::new();
    let size = |bytes: &[u8]| bytes.len();
    let load = async || {
        let large = [0_u8; 16 * 1024];
        idle().await;
        Ok::<_, Down>(size(&large))
    };
    // Loads nest: each further copy would multiply with the depth.
    let call = rig.cache.get_or_insert_with("key", None, load);
    assert!(size_of_val(&call) < 20 * 1024, "{}", size_of_val(&call));
    drop(call);
}

#[tokio::test]
async fn failure_after_a_leader_left_is_shared() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let leader = {
            let mut leader = JoinSet::new();
            leader.spawn(rig.asks("key"));
            leader
        };
        idle().await;
        let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
        idle().await;
        drop(leader);
        idle().await;
        assert_eq!(rig.database.begun(), 2, "one of those who wait takes over");
        rig.database.is_down(true);
        rig.database.answers(1);
        assert_eq!(herd.join_all().await, [Err(Down); HERD]);
        assert_eq!(rig.database.begun(), 2);
    }
}

#[tokio::test]
async fn failure_is_remembered_by_choice() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache.failure_ttl(5 * SECOND));
        rig.database.is_down(true);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Err(Down));
        rig.pass(4);
        assert_eq!(rig.asks("key").await, Err(Down));
        assert_eq!(rig.asks_borrowed("key").await, Err(Down));
        assert_eq!((rig.database.begun(), rig.requests("failed")), (1, 2));
        rig.database.answers(1);
        assert_eq!(rig.asks("other").await, Err(Down));
        assert_eq!(rig.database.begun(), 2, "another key is loaded");
        rig.pass(1);
        rig.database.is_down(false);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(2));
    }
}

#[tokio::test]
async fn removal_ends_a_remembered_failure() {
    for is_cleared in [false, true] {
        let rig = Rig::with(Remote::new(), |cache| cache.failure_ttl(5 * SECOND));
        rig.database.is_down(true);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Err(Down));
        if is_cleared {
            rig.cache.clear().await.unwrap();
        } else {
            rig.cache.remove("key").await.unwrap();
        }
        rig.database.is_down(false);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(1));
    }
}

#[tokio::test]
async fn failure_of_another_type_is_not_shared() {
    let rig = Rig::with(Remote::new(), |cache| cache.failure_ttl(5 * SECOND));
    rig.database.is_down(true);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Err(Down));
    let load = || ready(Err::<usize, _>("another error"));
    let error = rig.cache.get_or_insert_with("key", None, load).await.unwrap_err();
    assert_eq!(error.failure(), Some(&"another error"));
}

#[tokio::test]
async fn stale_value_stands_in_within_its_bound() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| {
            cache.ttl(10 * SECOND).stale_if_error(20 * SECOND).retry_delay(5 * SECOND)
        });
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        idle().await;
        rig.database.is_down(true);
        // The seconds that pass, and the loads until then.
        for (seconds, begun) in [(9, 1), (1, 2), (4, 2), (1, 3), (14, 4)] {
            rig.pass(seconds);
            rig.database.answers(begun - rig.database.begun());
            assert_eq!(rig.asks("key").await, Ok(0), "{begun}");
            assert_eq!(rig.asks_borrowed("key").await, Ok(0), "{begun}");
            assert_eq!(rig.database.begun(), begun);
        }
        assert_eq!((rig.requests("hit"), rig.requests("stale")), (2, 8));
        rig.pass(1);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Err(Down), "it is too old by now");
        rig.database.is_down(false);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(5));
        idle().await;
        assert_eq!(rig.asks("key").await, Ok(5));
    }
}

#[tokio::test]
async fn herd_gets_the_stale_value() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.ttl(10 * SECOND).stale_if_error(20 * SECOND));
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        idle().await;
        rig.pass(10);
        let mut leader = JoinSet::new();
        leader.spawn(rig.asks_borrowed("key"));
        idle().await;
        let herd: JoinSet<_> = (0..HERD).map(|_| rig.asks("key")).collect();
        idle().await;
        drop(leader);
        idle().await;
        rig.database.is_down(true);
        rig.database.answers(1);
        assert_eq!(herd.join_all().await, [Ok(0); HERD]);
        assert_eq!(rig.database.begun(), 3, "the first, the one that left, and its successor");
    }
}

#[tokio::test]
async fn removed_value_does_not_stand_in() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.ttl(10 * SECOND).stale_if_error(20 * SECOND));
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        idle().await;
        rig.pass(10);
        let mut caller = JoinSet::new();
        caller.spawn(rig.asks("key"));
        idle().await;
        drop(rig.cache.remove("key").await);
        rig.database.is_down(true);
        rig.database.answers(1);
        assert_eq!(caller.join_all().await, [Err(Down)]);
    }
}

#[tokio::test]
async fn absence_does_not_stand_in() {
    let rig = Rig::with(Remote::new(), |cache| cache.stale_if_error(1000 * SECOND));
    let ask = async |loaded: Result<Option<i32>, Down>| {
        rig.cache.get_or_insert_with("key", None, || ready(loaded)).await.map_err(down)
    };
    assert_eq!(ask(Ok(None)).await, Ok(None));
    idle().await;
    rig.pass(60);
    assert_eq!(ask(Err(Down)).await, Err(Down));
}

#[tokio::test]
async fn inserted_value_stands_in() {
    let rig = Rig::with(Remote::new(), |cache| cache.stale_if_error(20 * SECOND));
    rig.cache.insert("key", &7_usize, 10 * SECOND).await.unwrap();
    rig.database.is_down(true);
    rig.pass(10);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(7));
    rig.cache.insert("key", &8_usize, 10 * SECOND).await.unwrap();
    assert_eq!(rig.asks("key").await, Ok(8));
    assert_eq!((rig.requests("hit"), rig.database.begun()), (1, 1));
}
