//! Lifetimes of values.

use std::future::ready;
use std::time::Duration;

use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::MemoryStore;

use super::{Down, Rig, SECOND, idle};
use crate::support::now;

#[tokio::test]
async fn value_expires_with_its_ttl() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.ttl(20 * SECOND));
    let cache = &rig.cache;
    cache.insert("own", "a text", 10 * SECOND).await.unwrap();
    cache.insert("default", &[1, 2], None).await.unwrap();
    cache.insert("none", &1, Duration::ZERO).await.unwrap();
    assert_eq!(cache.get::<i32>("none").await, None);
    rig.pass(9);
    assert_eq!(cache.get("own").await, Some("a text".to_owned()));
    rig.pass(1);
    assert_eq!(cache.get::<String>("own").await, None);
    rig.pass(9);
    assert_eq!(cache.get("default").await, Some(vec![1, 2]));
    rig.pass(1);
    assert_eq!(cache.get::<Vec<i32>>("default").await, None);
    assert_eq!((rig.requests("hit"), rig.requests("miss")), (2, 3));
}

#[tokio::test]
async fn jitter_spreads_expirations() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| cache.jitter(1.0).unwrap());
    let keys: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for key in &keys {
        rig.cache.insert(key, &1, 100 * SECOND).await.unwrap();
    }
    rig.pass(50);
    for key in &keys {
        rig.cache.get::<i32>(key).await;
    }
    assert!(rig.requests("hit") > 0 && rig.requests("miss") > 0);
}

#[tokio::test]
async fn absence_has_a_shorter_ttl() {
    for (chosen, seconds) in [(None, 60), (Some(5 * SECOND), 5)] {
        let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
            let cache = cache.stale_while_revalidate(1000 * SECOND);
            chosen.into_iter().fold(cache, ValueCache::negative_ttl)
        });
        let asks = async |found: Option<i32>| {
            let fetch = move || ready(Ok::<_, Down>(found));
            rig.cache.get_or_insert_with("key", 3600 * SECOND, fetch).await.unwrap()
        };
        assert_eq!(asks(None).await, None);
        rig.pass(seconds - 1);
        assert_eq!(asks(Some(1)).await, None);
        assert_eq!(rig.cache.get::<Option<i32>>("key").await, Some(None));
        rig.pass(1);
        assert_eq!(asks(Some(2)).await, Some(2));
        rig.pass(3599);
        assert_eq!(asks(None).await, Some(2));
    }
}

#[tokio::test]
async fn stale_value_is_refreshed_once() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    });
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.pass(10);
    for _ in 0..3 {
        assert_eq!(now(rig.asks("key")), Ok(0));
        idle().await;
    }
    assert_eq!(rig.cache.get::<usize>("key").await, None, "only what may be refreshed is stale");
    assert_eq!((rig.database.begun(), rig.requests("stale")), (2, 3));
    rig.database.answers(1);
    idle().await;
    assert_eq!(now(rig.asks("key")), Ok(1));
    rig.pass(20);
    drop(rig.waits("key"));
    assert_eq!(rig.requests("miss"), 3);
}

#[tokio::test(start_paused = true)]
async fn failed_refresh_leaves_the_stale_value() {
    let rig = Rig::with(MemoryStore::new(16 * MIB), |cache| {
        cache.ttl(10 * SECOND).stale_while_revalidate(10 * SECOND)
    });
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.pass(10);
    rig.database.is_down(true);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    assert_eq!(rig.errors("load"), 1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    assert_eq!(rig.database.begun(), 2, "it is not tried again at once");
    rig.pass(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    tokio::time::advance(61 * SECOND).await;
    idle().await;
    assert_eq!((rig.errors("load-timeout"), rig.database.begun()), (1, 3));
    rig.pass(1);
    rig.database.is_down(false);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    assert_eq!(rig.asks("key").await, Ok(3));
}
