//! Stores, values and keys that fail.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;
use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::{MemoryStore, TieredStore};

use super::{Asking, Down, Remote, Rig, SECOND, down, idle};

#[tokio::test]
async fn value_of_another_type_is_a_miss() {
    let rig = Rig::new();
    rig.cache.insert("key", "a text", None).await.unwrap();
    assert_eq!(rig.cache.get::<usize>("key").await, None);
    assert_eq!(rig.errors("decode"), 1);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    assert_eq!(rig.cache.get("key").await, Some(0));
}

#[tokio::test]
async fn failing_store_fails_no_caller() {
    let store = Remote::new();
    let rig = Rig::with(store.clone(), |cache| cache);
    rig.cache.insert("key", &7, None).await.unwrap();
    store.fails(usize::MAX);
    rig.database.answers(2);
    for number in 0..2 {
        assert_eq!(rig.asks("key").await, Ok(number));
        idle().await;
    }
    assert_eq!(rig.cache.get::<usize>("key").await, None);
    assert!(rig.cache.insert("key", &1, None).await.unwrap_err().is_store());
    assert!(rig.cache.remove("key").await.unwrap_err().is_store());
    assert_eq!(rig.errors("put"), 3);
    store.fails(0);
    assert_eq!(rig.cache.get::<usize>("key").await, None, "what was not removed is not given out");
}

#[tokio::test]
async fn operations_are_tried_several_times() {
    for (attempts, failures, works) in
        [(None, 2, true), (None, 3, false), (Some(1), 1, false), (Some(0), 0, true)]
    {
        let store = Remote::new();
        let rig = Rig::with(store.clone(), |cache| {
            attempts.into_iter().fold(cache, ValueCache::max_attempts)
        });
        store.fails(failures);
        assert_eq!(
            rig.cache.insert("key", &1, None).await.is_ok(),
            works,
            "{attempts:?} {failures}"
        );
        assert_eq!(rig.errors("put"), u64::from(!works));
        let tries = attempts.map_or(3, |attempts| attempts.max(1));
        assert_eq!(store.tries.load(Ordering::SeqCst), tries);
        store.fails(failures);
        assert_eq!(rig.cache.get::<i32>("key").await.is_some(), works);
        store.fails(failures);
        assert_eq!(rig.cache.remove("key").await.is_ok(), works);
    }
}

#[tokio::test]
async fn large_value_is_shared_and_not_stored() {
    let rig = Rig::new();
    let large = "x".repeat(1024 * 1024);
    assert!(rig.cache.insert("key", &large, None).await.unwrap_err().is_too_large());
    rig.cache.insert("key", &large[2..], None).await.unwrap();
    rig.cache.remove("key").await.unwrap();
    let asks = || -> Asking<String> {
        let (cache, database, large) = (rig.cache.clone(), rig.database.clone(), large.clone());
        let fetch = async move || database.query().await.map(|_| large);
        Box::pin(async move { cache.get_or_insert_with("key", None, fetch).await.map_err(down) })
    };
    let herd: JoinSet<_> = (0..5).map(|_| asks()).collect();
    idle().await;
    rig.database.answers(1);
    assert_eq!(herd.join_all().await, vec![Ok(large); 5]);
    assert_eq!(rig.cache.get::<String>("key").await, None);
    assert_eq!((rig.database.begun(), rig.errors("too-large")), (1, 2));
}

#[tokio::test]
async fn value_without_json_is_not_stored() {
    let rig = Rig::new();
    let value = BTreeMap::from([(vec![1], 1)]);
    assert!(rig.cache.insert("key", &value, None).await.unwrap_err().is_encode());
    let fetched = value.clone();
    let fetch = move || ready(Ok::<_, Down>(fetched));
    assert_eq!(rig.cache.get_or_insert_with("key", None, fetch).await.unwrap(), value);
    assert_eq!(rig.errors("encode"), 2);
}

#[tokio::test]
async fn number_that_is_not_finite_is_not_stored() {
    let rig = Rig::new();
    for odd in [f64::NAN, f64::INFINITY] {
        let error = rig.cache.insert("key", &("EUR", Some(odd)), None).await.unwrap_err();
        assert!(error.is_encode());
        let text = "the value for the cache cannot be encoded: a number in it is NaN or infinite";
        assert_eq!(error.to_string(), text);
    }
    let load = || ready(Ok::<_, Down>(f64::NAN));
    let loaded = rig.cache.get_or_insert_with("key", None, load).await;
    assert!(loaded.is_ok_and(f64::is_nan));
    assert_eq!(rig.errors("encode"), 3);
    assert_eq!(rig.cache.get::<f64>("key").await, None);
    rig.cache.insert("key", &None::<f64>, None).await.unwrap();
    assert_eq!(rig.cache.get::<Option<f64>>("key").await, Some(None));
}

#[tokio::test]
async fn long_key_is_not_stored() {
    let rig = Rig::new();
    let long: &'static str = "k".repeat(8 * 1024).leak();
    assert!(rig.cache.insert(long, &1, None).await.unwrap_err().is_too_large());
    assert_eq!(rig.cache.get::<i32>(long).await, None);
    rig.cache.remove(long).await.unwrap();
    rig.database.answers(2);
    for number in 0..2 {
        assert_eq!(rig.asks(long).await, Ok(number));
    }
    assert_eq!(rig.requests("miss"), 3);
}

#[tokio::test]
async fn methods_can_be_called_by_a_task() {
    let cache = ValueCache::new(MemoryStore::new(16 * MIB));
    let mut task = JoinSet::new();
    task.spawn(async move {
        cache.insert("key", "a text", None).await.unwrap();
        cache.remove("key").await.unwrap();
        cache.clear().await.unwrap();
        cache.get::<String>("key").await
    });
    assert_eq!(task.join_all().await, [None]);
}

#[tokio::test]
async fn value_of_another_process_is_found() {
    let behind = Remote::new();
    let tiered = || TieredStore::new(MemoryStore::new(16 * MIB), behind.clone());
    let rig = Rig::with(tiered(), |cache| cache.ttl(10 * SECOND));
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    idle().await;
    rig.pass(10);
    let other = Rig::with(tiered(), |cache| cache);
    other.pass(10);
    other.cache.insert("key", &100, None).await.unwrap();
    assert_eq!(rig.asks("key").await, Ok(100));
    let tries = behind.tries.load(Ordering::SeqCst);
    assert_eq!(rig.asks("key").await, Ok(100));
    assert_eq!(behind.tries.load(Ordering::SeqCst), tries, "the memory has it now");
}
