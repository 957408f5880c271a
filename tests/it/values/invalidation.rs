//! Removal, and what it affects.

use std::convert::Infallible;
use std::future::ready;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::{CacheLayer, MemoryStore, Store};

use super::{Remote, Rig, SECOND, idle};

#[tokio::test]
async fn removal_during_a_fetch_wins() {
    for flush in [false, true] {
        let rig = Rig::new();
        let (leader, follower) = (rig.waits("key"), rig.waits("key"));
        if flush {
            rig.cache.clear().await.unwrap();
        } else {
            rig.cache.remove("key").await.unwrap();
        }
        rig.database.answers(2);
        assert_eq!(leader.await, Ok(0), "its caller began before");
        assert_eq!(rig.cache.get::<usize>("key").await, None);
        assert_eq!(follower.await, Ok(1));
        assert_eq!(rig.asks("key").await, Ok(1));
    }
}

#[tokio::test]
async fn removal_during_a_put_wins() {
    let store = Remote::new();
    let rig = Rig::with(store.clone(), |cache| cache);
    store.puts.forget_permits(Semaphore::MAX_PERMITS);
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0), "nobody waits for the store");
    assert_eq!(rig.asks("key").await, Ok(0), "until it is there, it is given as what was fetched");
    rig.cache.remove("key").await.unwrap();
    store.puts.add_permits(1);
    idle().await;
    assert_eq!(store.inner.usage().entries, 0);
}

#[tokio::test]
async fn insert_during_a_fetch_wins() {
    let rig = Rig::new();
    let (leader, follower) = (rig.waits("key"), rig.waits("key"));
    rig.cache.insert("key", &100, None).await.unwrap();
    rig.database.answers(1);
    assert_eq!(leader.await, Ok(0));
    assert_eq!(follower.await, Ok(100));
    assert_eq!(rig.cache.get("key").await, Some(100));
    rig.cache.insert("key", &101, None).await.unwrap();
    assert_eq!(rig.cache.get("key").await, Some(101));
}

#[tokio::test]
async fn namespaces_are_cleared_separately() {
    let all = Rig::new().cache;
    let users = all.clone().namespace("users");
    let odd = all.clone().namespace("users:a");
    all.insert("users:a", &1, None).await.unwrap();
    users.insert("a", &2, None).await.unwrap();
    odd.insert("", &3, None).await.unwrap();
    let kept = async || {
        let odd = odd.get::<i32>("").await;
        (all.get::<i32>("users:a").await, users.get::<i32>("a").await, odd)
    };
    assert_eq!(kept().await, (Some(1), Some(2), Some(3)));
    users.clear().await.unwrap();
    assert_eq!(kept().await, (Some(1), None, Some(3)));
    all.clear().await.unwrap();
    assert_eq!(kept().await, (None, None, Some(3)));
    users.insert("a", &4, None).await.unwrap();
    assert_eq!(kept().await, (None, Some(4), Some(3)));
}

#[tokio::test]
async fn clear_leaves_the_responses_of_a_layer() {
    let store = MemoryStore::new(16 * MIB);
    let cache = ValueCache::new(store.clone());
    let service = service_fn(|_: Request<Empty<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a page")))))
    });
    let service = CacheLayer::with_ttl(store, 60 * SECOND).layer(service);
    let status = async || {
        let request = Request::get("http://x.org/").body(Empty::new()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        response.headers()["cache-status"].to_str().unwrap().to_owned()
    };
    // The client reads nothing: a body of one piece is kept all the same.
    drop(status().await);
    idle().await;
    cache.insert("http://x.org/", "a value", None).await.unwrap();
    cache.clear().await.unwrap();
    assert!(status().await.starts_with("tower-kit; hit"));
    assert_eq!(cache.get::<String>("http://x.org/").await, None);
}

#[tokio::test]
async fn clearing_many_namespaces_leaves_others() {
    let all = Rig::new().cache;
    all.insert("key", &1, None).await.unwrap();
    let kept = all.clone().namespace("kept");
    kept.insert("key", &2, None).await.unwrap();
    for number in 0..10_000 {
        all.clone().namespace(&number.to_string()).clear().await.unwrap();
    }
    assert_eq!(all.get("key").await, Some(1));
    assert_eq!(kept.get("key").await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn soft_purge_makes_values_stale() {
    let store = MemoryStore::new(16 * MIB);
    let handle = CacheLayer::new(store.clone()).handle();
    let rig = Rig::with(store, |cache| cache.stale_while_revalidate(60 * SECOND));
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0));
    // A URL, a tag and another prefix are no names of values.
    handle.soft_purge_url("http://key/").unwrap().await.unwrap();
    handle.soft_purge_tag("key").await.unwrap();
    handle.soft_purge_prefix("http").await.unwrap();
    assert_eq!(rig.cache.get::<usize>("key").await, Some(0));

    handle.soft_purge_all().await.unwrap();
    assert_eq!(rig.cache.get::<usize>("key").await, None, "it is not fresh");
    rig.database.answers(1);
    assert_eq!(rig.asks("key").await, Ok(0), "it may be used while it is fetched again");
    idle().await;
    assert_eq!(rig.cache.get::<usize>("key").await, Some(1));
}
