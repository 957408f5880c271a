//! Removal and expiry by tag, and expiry by key.

use std::future::ready;

use tokio::task::JoinSet;
use tower_kit::MIB;
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::values::{Loaded, ValueOptions};

use super::{Down, Remote, Rig, SECOND, idle, keeping_stores, stores};

#[tokio::test]
async fn values_are_removed_by_tag() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache);
        let tagged = |tag: &str| ValueOptions::new().tag(tag).tag("all");
        rig.cache.insert("a", &1, tagged("odd")).await.ok();
        rig.cache.insert("b", &2, None).await.ok();
        let load = || ready(Ok::<_, Down>(Loaded::new(3).tag("odd")));
        assert_eq!(rig.cache.get_or_insert_with("c", tagged("three"), load).await.unwrap(), 3);
        idle().await;
        let kept = async || {
            let get = async |key| rig.cache.get::<i32>(key).await;
            [get("a").await, get("b").await, get("c").await]
        };
        for (tag, expected) in [
            ("even", [Some(1), Some(2), Some(3)]),
            ("three", [Some(1), Some(2), None]),
            ("odd", [None, Some(2), None]),
            ("all", [None, Some(2), None]),
        ] {
            rig.cache.remove_by_tag(tag).await.unwrap();
            assert_eq!(kept().await, expected, "{tag}");
        }
    }
}

#[tokio::test]
async fn tags_are_those_of_a_namespace() {
    let store = MemoryStore::new(16 * MIB);
    let handle = CacheLayer::new(store.clone()).handle();
    let all = Rig::with(store, |cache| cache).cache;
    let users = all.clone().namespace("users");
    let tag = || ValueOptions::new().tag("tag");
    all.insert("key", &1, tag()).await.unwrap();
    users.insert("key", &2, tag()).await.unwrap();
    handle.purge_tag("tag").await.unwrap();
    assert_eq!(all.get("key").await, Some(1), "a layer has tags of its own");
    users.remove_by_tag("tag").await.unwrap();
    assert_eq!((all.get("key").await, users.get::<i32>("key").await), (Some(1), None));
    all.remove_by_tag("tag").await.unwrap();
    assert_eq!(all.get::<i32>("key").await, None);
}

#[tokio::test]
async fn removal_by_tag_wins_over_a_load() {
    for store in stores() {
        let rig = Rig::with(store, |cache| cache);
        let (cache, database) = (rig.cache.clone(), rig.database.clone());
        let load = async move || Ok::<_, Down>(Loaded::new(database.query().await?).tag("tag"));
        let mut leader = JoinSet::new();
        leader.spawn(async move { cache.get_or_insert_with("key", None, load).await.unwrap() });
        idle().await;
        let mut follower = JoinSet::new();
        follower.spawn(rig.asks("key"));
        idle().await;
        rig.cache.remove_by_tag("tag").await.unwrap();
        rig.database.answers(1);
        assert_eq!(leader.join_all().await, [0], "its caller began before");
        idle().await;
        assert_eq!(rig.cache.get::<usize>("key").await, None);
        rig.database.answers(1);
        assert_eq!(follower.join_all().await, [Ok(1)]);
    }
}

#[tokio::test]
async fn expired_value_is_stale() {
    for store in keeping_stores() {
        for by_tag in [false, true] {
            let rig = Rig::with(store.clone(), |cache| cache.stale_if_error(10 * SECOND));
            let options = ValueOptions::new().tag("tag");
            rig.cache.insert("key", &7_usize, options).await.ok();
            rig.pass(100);
            if by_tag {
                rig.cache.expire_by_tag("tag").await.unwrap();
            } else {
                rig.cache.expire("key").await.unwrap();
            }
            assert_eq!(rig.cache.get::<usize>("key").await, None);
            let stale = rig.cache.get_entry::<usize>("key").await.unwrap();
            assert_eq!((*stale.value(), stale.is_stale()), (7, true));
            rig.database.is_down(true);
            rig.database.answers(1);
            assert_eq!(rig.asks("key").await, Ok(7), "it stands in");
            rig.pass(1);
            rig.database.is_down(false);
            rig.database.answers(1);
            assert_eq!(rig.asks("key").await, Ok(1));
            idle().await;
            assert_eq!(rig.cache.get("key").await, Some(1_usize));
            drop(rig.cache.remove("key").await);
        }
    }
}

#[tokio::test]
async fn expired_value_has_a_bound() {
    let rig = Rig::with(Remote::new(), |cache| cache.stale_if_error(10 * SECOND));
    rig.cache.insert("key", &7_usize, None).await.unwrap();
    rig.cache.expire("key").await.unwrap();
    rig.pass(9);
    assert!(rig.cache.get_entry::<usize>("key").await.is_some());
    rig.pass(1);
    assert!(rig.cache.get_entry::<usize>("key").await.is_none());
    let plain = Rig::new();
    plain.cache.insert("key", &7_usize, None).await.unwrap();
    plain.cache.expire("key").await.unwrap();
    assert!(
        plain.cache.get_entry::<usize>("key").await.is_none(),
        "it has no time as a stale value"
    );
}

#[tokio::test]
async fn expiry_during_a_load_wins() {
    for store in keeping_stores() {
        let rig = Rig::with(store, |cache| cache.stale_if_error(10 * SECOND));
        let mut leader = JoinSet::new();
        leader.spawn(rig.asks("key"));
        idle().await;
        let mut follower = JoinSet::new();
        follower.spawn(rig.asks("key"));
        idle().await;
        rig.cache.expire("key").await.unwrap();
        rig.database.answers(1);
        assert_eq!(leader.join_all().await, [Ok(0)], "its caller began before");
        idle().await;
        assert_eq!(rig.cache.get::<usize>("key").await, None);
        rig.database.answers(1);
        assert_eq!(follower.join_all().await, [Ok(1)]);
    }
}

#[tokio::test]
async fn tags_have_bounds() {
    for (number, length, fits) in [(64, 1024, true), (65, 1, false), (1, 1025, false)] {
        let rig = Rig::new();
        let tagged = || {
            let tags = (0..number).map(|_| "x".repeat(length));
            tags.fold(ValueOptions::new(), ValueOptions::tag)
        };
        let inserted = rig.cache.insert("a", &1, tagged()).await;
        assert_eq!(inserted.is_ok(), fits);
        assert!(inserted.is_ok() || inserted.is_err_and(|error| error.is_too_large()));
        let load = || ready(Ok::<i32, Down>(2));
        assert_eq!(rig.cache.get_or_insert_with("b", tagged(), load).await.unwrap(), 2);
        assert_eq!(rig.cache.get::<i32>("b").await.is_some(), fits);
        assert_eq!(rig.errors("too-large"), if fits { 0 } else { 2 });
        rig.cache.remove_by_tag(&"x".repeat(length)).await.unwrap();
        assert_eq!(rig.cache.get::<i32>("b").await, None);
    }
}

#[tokio::test]
async fn failing_store_keeps_no_removed_value() {
    let store = Remote::new();
    let rig = Rig::with(store.clone(), |cache| cache);
    rig.cache.insert("key", &1, ValueOptions::new().tag("tag")).await.unwrap();
    store.fails(usize::MAX);
    // The purge is a mark in this process: the store is not asked.
    rig.cache.remove_by_tag("tag").await.unwrap();
    store.fails(0);
    assert_eq!(rig.cache.get::<i32>("key").await, None);
}
