//! Loads before a value is stale, and loads that find it unchanged.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tower_kit::ValueCache;
use tower_kit::values::{Loaded, ValueEntry, ValueOptions};

use super::{Down, Rig, SECOND, down, idle, keeping_stores};
use crate::support::now;

fn eager(cache: ValueCache) -> ValueCache {
    cache.ttl(10 * SECOND).refresh_after(0.8).unwrap()
}

#[tokio::test]
async fn hit_late_in_a_lifetime_starts_a_load() {
    for store in keeping_stores() {
        let rig = Rig::with(store, eager);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        idle().await;
        rig.pass(7);
        assert_eq!(now(rig.asks("key")), Ok(0));
        idle().await;
        assert_eq!(rig.database.begun(), 1);
        rig.pass(1);
        assert_eq!(now(rig.asks_borrowed("key")), Ok(0), "it cannot load in the background");
        for _ in 0..3 {
            assert_eq!(now(rig.asks("key")), Ok(0));
            idle().await;
        }
        assert_eq!((rig.database.begun(), rig.requests("hit")), (2, 5));
        rig.database.answers(1);
        idle().await;
        assert_eq!(now(rig.asks("key")), Ok(1));
        rig.pass(7);
        assert_eq!(now(rig.asks("key")), Ok(1));
        idle().await;
        assert_eq!(rig.database.begun(), 2);
    }
}

#[tokio::test]
async fn failed_eager_load_leaves_the_value() {
    for store in keeping_stores() {
        let rig = Rig::with(store, eager);
        rig.database.answers(1);
        assert_eq!(rig.asks("key").await, Ok(0));
        idle().await;
        rig.database.is_down(true);
        rig.pass(8);
        for _ in 0..3 {
            rig.database.answers(1);
            assert_eq!(now(rig.asks("key")), Ok(0));
            idle().await;
        }
        assert_eq!((rig.database.begun(), rig.errors("load")), (2, 1));
        rig.pass(1);
        assert_eq!(now(rig.asks("key")), Ok(0));
        idle().await;
        assert_eq!(rig.database.begun(), 3, "the next try is a second later");
    }
}

#[tokio::test]
async fn eager_load_outlives_its_caller() {
    let [store, _] = keeping_stores();
    let rig = Rig::with(store, eager);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    rig.pass(8);
    let mut caller = JoinSet::new();
    caller.spawn(rig.asks("key"));
    idle().await;
    drop(caller);
    rig.database.answers(1);
    idle().await;
    assert_eq!(now(rig.asks("key")), Ok(1));
}

#[test]
fn fractions_of_a_lifetime_are_checked() {
    let [store, _] = keeping_stores();
    let cache = ValueCache::new(store);
    for (fraction, is_ok) in
        [(0.0, true), (1.0, true), (1.1, false), (-0.1, false), (f64::NAN, false)]
    {
        assert_eq!(cache.clone().refresh_after(fraction).is_ok(), is_ok, "{fraction}");
    }
}

#[tokio::test]
async fn unchanged_value_is_fresh_again() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.ttl(10 * SECOND).stale_if_error(100 * SECOND));
        let calls = Arc::new(AtomicUsize::new(0));
        let ask = async |seconds: u64| {
            rig.pass(seconds);
            let calls = Arc::clone(&calls);
            let load = move |stale: Option<ValueEntry<String>>| {
                calls.fetch_add(1, Ordering::SeqCst);
                let loaded = match stale {
                    Some(stale) => {
                        assert!(stale.is_stale());
                        assert_eq!((stale.value().as_str(), stale.age()), ("a page", 10 * SECOND));
                        stale.unchanged()
                    }
                    None => Loaded::new("a page".to_owned()).tag("pages"),
                };
                ready(Ok::<_, Down>(loaded))
            };
            let page = rig.cache.get_or_revalidate_with("key", None, load).await;
            idle().await;
            page.map_err(down)
        };
        // The seconds that pass, and the calls until then.
        for (seconds, called) in [(0, 1), (9, 1), (1, 2), (9, 2), (1, 3)] {
            assert_eq!(ask(seconds).await.as_deref(), Ok("a page"));
            assert_eq!(calls.load(Ordering::SeqCst), called);
        }
        rig.cache.remove_by_tag("pages").await.unwrap();
        assert_eq!(rig.cache.get::<String>("key").await, None, "it has the same tags");
    }
}

#[tokio::test]
async fn conditional_load_fails_as_others_do() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.ttl(10 * SECOND).stale_if_error(10 * SECOND));
        let options = ValueOptions::new().tag("pages");
        rig.cache.insert("key", "a page", options).await.ok();
        let ask = async || {
            let load = |stale: Option<ValueEntry<String>>| {
                assert!(stale.is_none_or(|stale| stale.tags().eq(["pages"])));
                ready(Err::<String, _>(Down))
            };
            rig.cache.get_or_revalidate_with("key", None, load).await.map_err(down)
        };
        rig.pass(10);
        assert_eq!(ask().await.as_deref(), Ok("a page"));
        rig.pass(10);
        assert_eq!(ask().await, Err(Down));
    }
}
