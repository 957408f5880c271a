//! What outlives what: stores, runtimes, purges that nobody waits for, and values.

use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tower_kit::MIB;
use tower_kit::ValueCache;
use tower_kit::cache::{CacheLayer, MemoryStore, RedisStore, TieredStore};
use tower_kit::values::{Loaded, ValueOptions};

use super::rig::{Origin, Process, clock, config, impatient, settled, until};
use crate::redis_server::RedisServer;

#[tokio::test]
async fn dropped_store_leaves_nothing() {
    let mut server = RedisServer::start();
    let connections =
        |server: &RedisServer| server.command(&["CLIENT", "LIST"]).text().lines().count();
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let (before, alone) = (tasks(), connections(&server));
    for state in ["well", "frozen", "gone"] {
        let store = RedisStore::connect(config(&server));
        store.ready().await;
        match state {
            "frozen" => server.freeze(),
            "gone" => server.kill(),
            _ => {}
        }
        let layer = CacheLayer::new(store);
        drop(layer.handle().purge_tag("a"));
        drop(layer);
        until(state, async || tasks() == before).await;
        if state == "frozen" {
            server.thaw();
        }
        if state != "gone" {
            until(state, async || connections(&server) == alone).await;
        }
    }
    // One that never was connected.
    drop(RedisStore::connect(config(&server)));
    until("never connected", async || tasks() == before).await;
}

#[tokio::test]
async fn unawaited_purge_outlives_its_store() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    one.get("/a").await;
    until("both have it", async || other.kept("/a").await.is_some()).await;
    drop(one.handle.purge_tag("tag"));
    drop(one);
    until("it is purged", async || other.kept("/a").await.is_none()).await;
}

#[tokio::test]
async fn store_without_its_runtime_uses_no_entries() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = config(&server);
    let started = clock();
    let one = runtime.spawn(async move {
        let process = Process::start(config, &origin).await;
        process.get("/a").await;
        process
    });
    let one = one.await.unwrap();
    assert!(one.kept("/a").await.is_some());
    runtime.shutdown_background();
    until("it is not trusted", async || one.kept("/a").await.is_none()).await;
    assert!(!one.redis.status().synced);
    assert!(one.handle.purge_tag("tag").await.is_err(), "nobody is told");
    println!("after {:?}", started.elapsed());
}

#[tokio::test]
async fn many_purges_purge_nothing_else() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let body = one.get("/a").await.body;
    until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
    for number in 0..5_000 {
        drop(one.handle.purge_url(&format!("http://x.org/{number}")).unwrap());
    }
    settled(&[&one, &other]).await;
    for process in [&one, &other] {
        assert_eq!(process.kept("/a").await.as_ref(), Some(&body));
    }
}

#[tokio::test]
async fn many_prefixes_purge_nothing_else() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let body = one.get("/a").await.body;
    until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
    for number in 0..300 {
        drop(one.handle.purge_prefix(&format!("http://x.org/{number}/")).await);
    }
    settled(&[&one, &other]).await;
    let later = Process::bare(config(&server), &origin).await;
    for process in [&one, &other, &later] {
        assert_eq!(process.kept("/a").await.as_ref(), Some(&body));
    }
}

async fn values(server: &RedisServer) -> ValueCache {
    let redis = RedisStore::connect(config(server));
    redis.ready().await;
    ValueCache::new(TieredStore::new(MemoryStore::new(64 * MIB), redis))
}

#[tokio::test]
async fn value_changes_reach_all_processes() {
    let server = RedisServer::start();
    let (one, other) = (values(&server).await, values(&server).await);
    let is = async |value: Option<u32>| {
        until("it is so", async || other.get::<u32>("key").await == value).await;
    };
    for round in 0..20 {
        one.insert("key", &round, None).await.unwrap();
        is(Some(round)).await;
        one.insert("key", &(round + 100), None).await.unwrap();
        is(Some(round + 100)).await;
        match round % 2 {
            0 => one.remove("key").await.unwrap(),
            _ => one.clear().await.unwrap(),
        }
        assert_eq!(one.get::<u32>("key").await, None);
        is(None).await;
    }
}

#[tokio::test]
async fn tags_of_values_reach_all_processes() {
    let server = RedisServer::start();
    let minute = Duration::from_secs(60);
    let (one, other) = (values(&server).await, values(&server).await.stale_if_error(minute));
    let options = || ValueOptions::new().tag("odd");
    let load = async || Ok::<_, ()>(Loaded::new(1).tag("odd"));
    for by_tag in [false, true] {
        // The tags and the times of a value are those with which it was stored.
        assert_eq!(other.get_or_insert_with("key", None, load).await.unwrap(), 1);
        other.insert("other", &2, options()).await.unwrap();
        until("one has them", async || {
            one.get::<u32>("key").await.is_some() && one.get::<u32>("other").await.is_some()
        })
        .await;
        if by_tag {
            other.expire_by_tag("odd").await.unwrap();
        } else {
            other.expire("key").await.unwrap();
        }
        until("the value is stale", async || one.get::<u32>("key").await.is_none()).await;
        assert_eq!(one.get::<u32>("other").await.is_none(), by_tag);
        let stale = one.get_entry::<u32>("key").await.unwrap();
        assert!(stale.is_stale() && stale.tags().eq(["odd"]));
        one.remove_by_tag("odd").await.unwrap();
        until("the values are gone", async || {
            other.get_entry::<u32>("key").await.is_none()
                && other.get_entry::<u32>("other").await.is_none()
        })
        .await;
    }
}

#[tokio::test]
async fn lease_fetches_a_value_once() {
    let server = RedisServer::start();
    let fetched = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let redis = RedisStore::connect(impatient(&server).lease_ttl(Duration::from_secs(1)));
        redis.ready().await;
        let service = ValueCache::new(redis);
        for _ in 0..50 {
            let (service, fetched) = (service.clone(), fetched.clone());
            callers.spawn(async move {
                let fetch = async move || {
                    fetched.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok::<_, ()>(7_u32)
                };
                service.get_or_insert_with("key", None, fetch).await
            });
        }
    }
    let got = callers.join_all().await;
    assert!(got.iter().all(|got| matches!(got, Ok(7))), "{got:?}");
    assert_eq!(fetched.load(std::sync::atomic::Ordering::SeqCst), 1);
}
