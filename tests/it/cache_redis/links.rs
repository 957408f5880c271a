//! Pages that are made of values, in several processes over one Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tower_kit::cache::{CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore};
use tower_kit::{MIB, ValueCache};

use super::rig::{Origin, Process, clock, config, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;
use crate::support::soon;

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=600")];

/// A process with pages, the values that they are made of, and the database behind the values.
struct Site {
    process: Process,
    values: ValueCache,
}

impl Site {
    async fn start(config: RedisConfig, database: &Arc<AtomicU64>) -> Self {
        let redis = RedisStore::connect(config);
        soon(redis.ready()).await;
        let store = TieredStore::new(MemoryStore::new(64 * MIB), redis.clone());
        let values = ValueCache::new(store.clone());
        let (of, database) = (values.clone(), Arc::clone(database));
        let origin = Origin::new(move |head, _| {
            let (values, database) = (of.clone(), Arc::clone(&database));
            async move {
                let load = async || Ok::<_, ()>(database.load(Ordering::SeqCst));
                let key = head.uri.path();
                let value = values.get_or_insert_with(key, None, load).await.unwrap();
                // The value may change between its read and the response.
                yield_now().await;
                reply(200, FRESH, &value.to_string())
            }
        });
        let layer = CacheLayer::new(store).honor_request_control();
        Self { process: Process::over(redis, &layer, &origin), values }
    }

    async fn get(&self) -> u64 {
        self.process.get("/").await.body.parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_the_values_of_all_processes() {
    let server = RedisServer::start();
    let database = Arc::new(AtomicU64::new(0));
    let one = Site::start(config(&server), &database).await;
    let other = Arc::new(Site::start(config(&server), &database).await);
    let ended = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let (site, ended) = (Arc::clone(&other), Arc::clone(&ended));
        readers.spawn(async move {
            while !ended.load(Ordering::SeqCst) {
                site.get().await;
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
        });
    }
    let mut late = Vec::new();
    for round in 1..=150 {
        database.store(round, Ordering::SeqCst);
        if round % 2 == 0 {
            one.values.insert("/", &round, None).await.unwrap();
        } else {
            one.values.remove("/").await.unwrap();
        }
        assert_eq!(one.get().await, round, "the process that made the change");
        let start = clock();
        until("the other process has the change", async || other.get().await == round).await;
        late.push(start.elapsed());
        assert_eq!(one.get().await, round);
    }
    ended.store(true, Ordering::SeqCst);
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
    late.sort();
    println!("median {:?}, longest {:?}", late[75], late[149]);
}

#[tokio::test]
async fn pages_of_redis_are_linked() {
    let server = RedisServer::start();
    let database = Arc::new(AtomicU64::new(1));
    let one = Site::start(config(&server), &database).await;
    assert_eq!(one.get().await, 1);
    until("Redis has the page", async || {
        let keys = server.command(&["KEYS", "*x.org*"]).array();
        !keys.is_empty()
    })
    .await;
    // A process that never ran the handler finds the page, and purges it.
    let later = Site::start(config(&server), &database).await;
    assert_eq!(later.process.kept("/").await.as_deref(), Some("1"));
    database.store(2, Ordering::SeqCst);
    later.values.remove("/").await.unwrap();
    assert_eq!(later.get().await, 2);
    until("the first process has the change", async || one.get().await == 2).await;
}
