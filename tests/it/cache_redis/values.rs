//! Values that processes share, several of them at once.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tower_kit::cache::{MemoryStore, RedisStore, Store, TieredStore};
use tower_kit::values::TypedCache;
use tower_kit::{MIB, ValueCache};

use super::rig::{config, until};
use crate::redis_server::{Cluster, RedisServer};
use crate::support::soon;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

fn user(id: u64) -> User {
    User { id, name: format!("user {id}") }
}

async fn connect(config: tower_kit::cache::RedisConfig) -> RedisStore {
    let redis = RedisStore::connect(config);
    soon(redis.ready()).await;
    redis
}

fn process(redis: &RedisStore) -> TypedCache<User> {
    ValueCache::new(TieredStore::new(MemoryStore::new(16 * MIB), redis.clone()))
        .namespace("users")
        .store_timeout(Duration::from_secs(10))
        .typed()
}

/// Loads these keys by one process and reads them by another one.
async fn share(one: TypedCache<User>, other: TypedCache<User>, behind: impl Store) {
    let (keys, loads) = ((0..200).collect::<Vec<u64>>(), AtomicUsize::new(0));
    let load = |keys: Vec<u64>| {
        loads.fetch_add(keys.len(), Ordering::SeqCst);
        ready(Ok::<_, ()>(keys.into_iter().filter(|id| id % 2 == 0).map(|id| (id, user(id)))))
    };
    let loaded = one.get_or_insert_many_with(&keys, None, load).await.unwrap();
    let names: Vec<_> = keys.iter().map(|id| format!("value=users:{id}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    until("Redis has all", async || {
        let found = behind.get_many(&names).await.unwrap_or_default();
        found.iter().flatten().count() == 100
    })
    .await;
    let found = other.get_many(&keys).await;
    assert_eq!(found, loaded);
    for (id, found) in keys.iter().zip(&found) {
        assert_eq!(found.as_deref(), (id % 2 == 0).then(|| user(*id)).as_ref());
    }
    // A hit in memory is the same value, and not decoded again.
    let again = other.get_many(&keys).await;
    let same = |(one, other): (&Option<Arc<User>>, &Option<Arc<User>>)| match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    assert!(again.iter().zip(&found).all(same));
    assert_eq!(loads.load(Ordering::SeqCst), keys.len());
    one.remove("0").await.unwrap();
    until("the removal is known", async || other.get("0").await.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_many_typed_values() {
    let server = RedisServer::start();
    let redis = [connect(config(&server)).await, connect(config(&server)).await];
    share(process(&redis[0]), process(&redis[1]), redis[1].clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_share_many_values() {
    let cluster = Cluster::start();
    let config = || {
        let config = tower_kit::cache::RedisConfig::new(&cluster.url()).unwrap();
        config.command_timeout(Duration::from_secs(1))
    };
    let redis = [connect(config()).await, connect(config()).await];
    share(process(&redis[0]), process(&redis[1]), redis[1].clone()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unusable_bytes_of_one_key_leave_the_others() {
    let server = RedisServer::start();
    let redis = connect(config(&server)).await;
    let cache = ValueCache::new(redis).store_timeout(Duration::from_secs(10));
    for key in ["a", "b", "c"] {
        cache.insert(key, key, None).await.unwrap();
    }
    let keys = server.command(&["KEYS", "*value=:b"]).array();
    let name = keys.into_iter().next().expect("it is stored").text();
    server.command(&["SET", &name, "tkce\u{2}the format of an older version"]);
    let found = cache.get_many::<String, _>(&["a", "b", "c", "d"]).await;
    let expected = [Some("a"), None, Some("c"), None];
    assert_eq!(found.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    assert_eq!(server.command(&["EXISTS", &name]).int(), 1, "others may need it");
}
