//! Values that one process inserts or removes, and URLs that clients change, as the other processes see
//! them, and as long as the log remembers them.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tower_kit::cache::{MemoryStore, RedisConfig, RedisStore, Store, TieredStore};
use tower_kit::{MIB, ValueCache};

use super::rig::{Origin, Process, clock, config, impatient, settled, until};
use crate::redis_server::RedisServer;
use crate::support::{Metrics, poll_once, soon};

const SCRIPT: &str = include_str!("../../../src/cache/store/redis/purge_log.lua");
const KEYS: [&str; 3] =
    ["tower-kit:{purges}:names", "tower-kit:{purges}:state", "tower-kit:{purges}:removed"];

/// A process with values.
#[derive(Clone)]
struct Node {
    values: ValueCache,
    redis: RedisStore,
    metrics: Arc<Metrics>,
}

impl Node {
    /// With a memory in front of Redis.
    async fn start(config: RedisConfig) -> Self {
        Self::with(config, |redis| {
            ValueCache::new(TieredStore::new(MemoryStore::new(64 * MIB), redis))
        })
        .await
    }

    /// Without a memory.
    async fn bare(config: RedisConfig) -> Self {
        Self::with(config, ValueCache::new).await
    }

    async fn with(config: RedisConfig, over: impl FnOnce(RedisStore) -> ValueCache) -> Self {
        let metrics = Arc::new(Metrics::new());
        let redis = RedisStore::connect(config.recorder(metrics.recorder()));
        soon(redis.ready()).await;
        Self { values: over(redis.clone()), redis, metrics }
    }

    async fn get(&self, key: &str) -> Option<u64> {
        self.values.get(key).await
    }

    async fn insert(&self, key: &str, value: u64) {
        self.values.insert(key, &value, None).await.unwrap();
    }
}

/// Waits until all have learned of the purges so far: one that comes later holds in all of them.
async fn all_know(nodes: &[&Node]) {
    let (first, rest) = nodes.split_first().expect("a process");
    for node in rest {
        // It may have much to read first.
        let inserted = async || first.values.insert("all-know", &1_u64, None).await.is_ok();
        until("it is in step", inserted).await;
        let seen = async || node.get("all-know").await == Some(1);
        if tokio::time::timeout(Duration::from_secs(20), until("it is there", seen)).await.is_err()
        {
            let of = |node: &Node| {
                (node.redis.status(), node.metrics.samples("value_cache_errors_total"))
            };
            panic!("{:?} {:?} {:?}", first.get("all-know").await, of(first), of(node));
        }
        first.values.remove("all-know").await.unwrap();
        until("it is gone", async || node.get("all-know").await.is_none()).await;
    }
}

/// Writes names to the log as another process does that removes them.
fn flood(server: &RedisServer, names: std::ops::Range<u64>) {
    let names: Vec<_> = names.collect();
    for batch in names.chunks(5_000) {
        let week = (7 * 24 * 3600 * 1_000_000_u64).to_string();
        let mut command: Vec<String> = ["EVAL", SCRIPT, "3"].map(str::to_owned).to_vec();
        command.extend(KEYS.map(str::to_owned));
        // Nothing is known, and nothing but the last name is to be returned.
        let known = ["0", "0", "1", "100000", &week, "0", "", "0", "", "0"];
        command.extend(known.map(str::to_owned));
        command.push("tower-kit:{purges}:news".to_owned());
        command.extend(batch.iter().map(|name| format!("r{name:032x}")));
        server.command(&command).array();
    }
}

/// Waits until a process has read what the log has.
async fn caught_up(process: &Process) {
    until("it is in step", async || process.handle.purge_tag("nothing has it").await.is_ok()).await;
}

fn reads(server: &RedisServer) -> u64 {
    let statistics = server.command(&["INFO", "commandstats"]).text();
    let calls =
        statistics.split("cmdstat_getrange:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn million_removed_names_drop_nothing_else() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let values = Node::start(config(&server)).await;
    let day = Duration::from_secs(24 * 3600);
    values.values.insert("untouched", &7_u64, day).await.unwrap();
    values.insert("removed", 8).await;
    let page = one.get("/untouched").await.body;
    let tagged = one.get("/purged").await.body;
    let is_there = |path: &str| !server.command(&["KEYS", &format!("*{path}")]).array().is_empty();
    until("all is there", async || is_there("/untouched") && is_there("/purged")).await;
    one.handle.purge_url("http://x.org/purged").unwrap().await.unwrap();
    values.values.remove("removed").await.unwrap();

    let start = clock();
    flood(&server, 0..1_000_000);
    println!("a million names in {:?}", start.elapsed());
    caught_up(&one).await;
    let bare = Process::bare(config(&server), &origin).await;
    settled(&[&one, &bare]).await;
    all_know(&[&Node::bare(config(&server)).await, &values]).await;
    let length = server.command(&["ZCARD", KEYS[2]]).int();
    println!("{length} names: {:?}", server.command(&["MEMORY", "USAGE", KEYS[2]]));
    assert!((80_000..=100_000).contains(&length), "{length}");
    assert!(server.command(&["ZCARD", KEYS[0]]).int() < 20, "the others have a set of their own");

    let later = Process::bare(config(&server), &origin).await;
    let calls = origin.calls();
    for process in [&one, &bare, &later] {
        assert_eq!(process.kept("/untouched").await.as_ref(), Some(&page));
        assert_ne!(process.kept("/purged").await.as_ref(), Some(&tagged));
    }
    assert_eq!(origin.calls(), calls);
    let (tiered, bare) = (Node::start(config(&server)).await, Node::bare(config(&server)).await);
    all_know(&[&values, &tiered, &bare]).await;
    for node in [&values, &tiered, &bare] {
        assert_eq!(node.get("untouched").await, Some(7));
        assert_eq!(node.get("removed").await, None);
    }
    // What was read again is in memory again.
    let before = reads(&server);
    for _ in 0..10 {
        assert_eq!(one.kept("/untouched").await.as_ref(), Some(&page));
        assert_eq!(values.get("untouched").await, Some(7));
    }
    assert_eq!(reads(&server), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_change_urls_purge_nothing_else() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let tagged = one.get("/tagged").await.body;
    one.handle.purge_tag("tag").await.unwrap();
    let page = one.get("/a").await.body;
    until("it is there", async || other.kept("/a").await.as_ref() == Some(&page)).await;
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let one = one.clone();
        clients.spawn(async move {
            for number in 0..250 {
                let path = format!("/changed?{client}-{number}");
                assert_eq!(one.send("PUT", &path, &[]).await.status, 200);
            }
        });
    }
    clients.join_all().await;
    // A change of a URL with a query has two names.
    let length = server.command(&["ZCARD", KEYS[2]]).int();
    assert_eq!(length, 2_001, "each URL, and their path");
    flood(&server, 0..120_000);
    caught_up(&one).await;
    settled(&[&one, &other]).await;
    for process in [&one, &other] {
        assert_eq!(process.kept("/a").await.as_ref(), Some(&page));
        assert_ne!(process.kept("/tagged").await.as_ref(), Some(&tagged));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgotten_changes_stay_changes() {
    let server = RedisServer::start();
    let origin = Origin::new(async |_, number| {
        let fields = [("cache-control", "max-age=600"), ("vary", "x-a")];
        crate::cache::rig::reply(200, &fields, &format!("answer {number}"))
    });
    let one = Process::start(config(&server), &origin).await;
    let others = [
        Process::start(config(&server), &origin).await,
        Process::bare(config(&server), &origin).await,
    ];
    let mut old = HashSet::new();
    for value in ["1", "2"] {
        let got = one.send("GET", "/a", &[("x-a", value)]).await;
        for other in &others {
            until("it is there", async || {
                let fields = [("x-a", value), ("cache-control", "only-if-cached")];
                other.send("GET", "/a", &fields).await.body == got.body
            })
            .await;
        }
        old.insert(got.body);
    }
    assert_eq!(one.send("PUT", "/a", &[]).await.status, 200);
    settled(&[&one, &others[0], &others[1]]).await;
    flood(&server, 0..120_000);
    caught_up(&one).await;
    settled(&[&one, &others[0], &others[1]]).await;
    for round in 0..2 {
        for process in [&one, &others[0], &others[1]] {
            for value in ["1", "2"] {
                // The variants are in Redis still, and their list is not.
                let fields = [("x-a", value), ("cache-control", "only-if-cached")];
                let got = process.send("GET", "/a", &fields).await;
                assert!(!old.contains(&got.body), "{round} {value}");
            }
        }
        // With a new list that has one of them.
        assert!(!old.contains(&one.send("GET", "/a", &[("x-a", "1")]).await.body));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_and_removal_reach_all_processes() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let others = [Node::start(config(&server)).await, Node::bare(config(&server)).await];
    for round in 0..100 {
        let first = if round % 2 == 0 { &one } else { &others[0] };
        first.insert("key", round).await;
        assert_eq!(first.get("key").await, Some(round), "at once in its process");
        // One that learns of the purge while it reads the value misses it once.
        for node in [&others[1], &one, &others[0]] {
            until("the other sees it", async || node.get("key").await == Some(round)).await;
        }
        if round % 3 == 0 {
            first.values.remove("key").await.unwrap();
            assert_eq!((first.get("key").await, others[1].get("key").await), (None, None));
            for node in [&one, &others[0]] {
                until("the other sees it", async || node.get("key").await.is_none()).await;
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Write {
    Insert(u64),
    Remove,
    Fetch,
}

/// Writes the same keys by several processes at the same time. A fetch gets what the database has.
async fn write_at_once(
    nodes: &[Node],
    database: &Arc<Vec<AtomicU64>>,
    write: impl Fn(usize, usize) -> Write,
) {
    let mut writers = JoinSet::new();
    for (who, node) in nodes.iter().enumerate() {
        for key in 0..database.len() {
            let (node, name, database) = (node.clone(), format!("key {key}"), Arc::clone(database));
            let write = write(who, key);
            writers.spawn(async move {
                match write {
                    Write::Insert(value) => drop(node.values.insert(&name, &value, None).await),
                    Write::Remove => {
                        database[key].fetch_add(1, Ordering::SeqCst);
                        drop(node.values.remove(&name).await);
                    }
                    Write::Fetch => {
                        let load = async || {
                            let value = database[key].load(Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            Ok::<_, Infallible>(value)
                        };
                        let fetched = node.values.get_or_insert_with(&name, None, load).await;
                        assert!(fetched.is_ok());
                    }
                }
            });
        }
    }
    writers.join_all().await;
}

/// The values of a key that the processes have.
async fn seen(nodes: &[Node], key: usize) -> HashSet<u64> {
    let mut seen = HashSet::new();
    for node in nodes {
        seen.extend(node.get(&format!("key {key}")).await);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_agree_after_writes_at_once() {
    let server = RedisServer::start();
    let nodes = [
        Node::start(config(&server)).await,
        Node::start(config(&server)).await,
        Node::bare(config(&server)).await,
    ];
    let all: Vec<_> = nodes.iter().collect();
    let database: Arc<Vec<_>> = Arc::new((0..20).map(|_| AtomicU64::new(0)).collect());
    for round in 1..=20_usize {
        let write = |who: usize, key: usize| match (who + key + round) % 4 {
            0 => Write::Remove,
            _ => Write::Insert((round * 100 + who * 10) as u64),
        };
        // Two in each process.
        write_at_once(&nodes, &database, write).await;
        let twice: Vec<_> = nodes.iter().chain(&nodes).cloned().collect();
        write_at_once(&twice, &database, write).await;
        all_know(&all).await;
        let mut known = Vec::new();
        for key in 0..database.len() {
            let values = seen(&nodes, key).await;
            assert!(values.len() <= 1, "{round} {key}: {values:?}");
            known.push(values);
        }
        // Whatever is hidden in Redis must not come back when the log has forgotten why.
        if round % 10 == 0 {
            let round = round as u64;
            flood(&server, round * 1_000_000..round * 1_000_000 + 120_000);
            all_know(&all).await;
            for (key, known) in known.iter().enumerate() {
                let values = seen(&nodes, key).await;
                assert!(values.is_subset(known), "{round} {key}: {values:?} {known:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removal_wins_over_fetches_at_once() {
    let server = RedisServer::start();
    let nodes = [
        Node::start(config(&server)).await,
        Node::start(config(&server)).await,
        Node::bare(config(&server)).await,
    ];
    let all: Vec<_> = nodes.iter().collect();
    let database: Arc<Vec<_>> = Arc::new((0..20).map(|_| AtomicU64::new(0)).collect());
    for round in 1..=20_usize {
        let many: Vec<_> = (0..4).flat_map(|_| nodes.iter().cloned()).collect();
        let write = |who: usize, key: usize| match (who + key + round) % 5 {
            0 => Write::Remove,
            _ => Write::Fetch,
        };
        write_at_once(&many, &database, write).await;
        all_know(&all).await;
        let is_current = async || {
            for (key, now) in database.iter().enumerate() {
                let now = HashSet::from([now.load(Ordering::SeqCst)]);
                let values = seen(&nodes, key).await;
                assert!(values.is_subset(&now), "{round} {key}: {values:?} {now:?}");
            }
        };
        is_current().await;
        if round % 10 == 0 {
            let round = round as u64;
            flood(&server, round * 1_000_000..round * 1_000_000 + 120_000);
            all_know(&all).await;
            is_current().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_fill_does_not_outlive_the_log() {
    let server = RedisServer::start();
    let user = ["ACL", "SETUSER", "behind", "on", ">secret", "~*", "&*", "+@all"];
    assert_eq!(server.command(&user).text(), "OK");
    let url = format!("redis://behind:secret@127.0.0.1:{}", server.port());
    let behind = RedisConfig::new(&url).unwrap().command_timeout(Duration::from_secs(1));
    let behind = Node::start(behind.offline_ttl(Duration::from_secs(600))).await;
    let one = Node::bare(config(&server)).await;
    one.insert("other", 1).await;
    let (begin, begun) = tokio::sync::oneshot::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let mut fetching = JoinSet::new();
    let fetches = behind.clone();
    fetching.spawn(async move {
        let load = async || {
            begin.send(()).unwrap();
            ended.await.unwrap();
            Ok::<_, Infallible>(7_u64)
        };
        fetches.values.get_or_insert_with("key", None, load).await
    });
    soon(begun).await.unwrap();
    // It puts entries still, and learns of no removal.
    server.command(&["ACL", "SETUSER", "behind", "-eval"]);
    until("it is out of step", async || !behind.redis.status().synced).await;
    one.values.remove("key").await.unwrap();
    end.send(()).unwrap();
    assert_eq!(soon(fetching.join_all()).await.remove(0).unwrap(), 7);
    let is_there = || !server.command(&["KEYS", "*value=:key"]).array().is_empty();
    until("it is in Redis", async || is_there()).await;
    assert_eq!(one.get("key").await, None, "the log knows better");
    server.command(&["ACL", "SETUSER", "behind", "+eval"]);
    until("it is removed", async || !is_there()).await;
    flood(&server, 0..120_000);
    all_know(&[&one, &behind]).await;
    assert_eq!((one.get("key").await, behind.get("key").await), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_survives_a_redis_that_pauses() {
    let server = RedisServer::start();
    for (millis, round) in [(120, 1_u64), (120, 2), (400, 3), (1500, 4)] {
        let one = Node::start(impatient(&server)).await;
        let bare = Node::bare(impatient(&server)).await;
        let others = [Node::start(config(&server)).await, Node::bare(config(&server)).await];
        let writers = [(&one, "of one"), (&bare, "of bare")];
        let all = [&one, &bare, &others[0], &others[1]];
        for (writer, key) in writers {
            let inserted = async || writer.values.insert(key, &0_u64, None).await.is_ok();
            until("the old one is there", inserted).await;
            for node in all {
                until("all have the old one", async || node.get(key).await == Some(0)).await;
            }
        }
        server.command(&["CLIENT", "PAUSE", &millis.to_string()]);
        for (writer, key) in writers {
            let inserted = writer.values.insert(key, &round, None).await;
            assert!(inserted.is_ok() || inserted.unwrap_err().is_deferred());
            assert_eq!(writer.get(key).await, Some(round), "{millis} ms: at once");
        }
        for (_, key) in writers {
            for node in all {
                until("all have the new one", async || node.get(key).await == Some(round)).await;
            }
            for node in all {
                assert_eq!(node.get(key).await, Some(round), "{millis} ms: and keep it");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_survives_a_redis_that_hangs() {
    let mut server = RedisServer::start();
    let one = Node::start(impatient(&server)).await;
    let other = Node::start(impatient(&server)).await;
    for key in ["inserted", "removed", "cleared"] {
        until("it is there", async || one.values.insert(key, &1_u64, None).await.is_ok()).await;
        until("both have it", async || other.get(key).await == Some(1)).await;
    }
    server.freeze();
    for key in ["inserted", "removed", "cleared"] {
        assert!(one.values.insert(key, &2_u64, None).await.unwrap_err().is_deferred());
        assert_eq!(one.get(key).await, Some(2));
    }
    assert!(one.values.remove("removed").await.unwrap_err().is_deferred());
    assert_eq!(one.get("removed").await, None);
    until("it is known", async || one.redis.status().breaker_open).await;
    assert_eq!(one.get("inserted").await, Some(2));
    server.thaw();
    until("the other has it", async || other.get("inserted").await == Some(2)).await;
    until("the other has none", async || other.get("removed").await.is_none()).await;
    assert_eq!(one.get("inserted").await, Some(2));
    assert_eq!(one.get("removed").await, None);

    // What is cleared after it was inserted does not come back, whenever Redis is told of both.
    server.freeze();
    assert!(one.values.insert("cleared", &3_u64, None).await.unwrap_err().is_deferred());
    assert!(one.values.clear().await.unwrap_err().is_deferred());
    assert_eq!(one.get("cleared").await, None);
    server.thaw();
    until("the other knows", async || other.get("inserted").await.is_none()).await;
    until("it is told", async || one.values.insert("last", &1_u64, None).await.is_ok()).await;
    for node in [&one, &other] {
        assert_eq!(node.get("cleared").await, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_that_redis_refuses_drops_the_key() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let others = [Node::start(config(&server)).await, Node::bare(config(&server)).await];
    one.insert("key", 1).await;
    for other in &others {
        until("all have it", async || other.get("key").await == Some(1)).await;
    }
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = one.values.insert("key", &2_u64, None).await.unwrap_err();
    assert!(refused.is_store() && !refused.is_deferred(), "{refused}");
    for node in others.iter().chain([&one]) {
        until("none has either", async || node.get("key").await.is_none()).await;
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    flood(&server, 0..120_000);
    all_know(&[&one, &others[0], &others[1]]).await;
    for node in others.iter().chain([&one]) {
        assert_eq!(node.get("key").await, None, "although the log forgets removals");
    }
    one.insert("key", 3).await;
    for other in &others {
        until("all have it", async || other.get("key").await == Some(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_future_does_not_stop_a_write() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let other = Node::bare(config(&server)).await;
    for round in 0..20 {
        let mut insert = Box::pin(one.values.insert("key", &round, None));
        drop(poll_once(insert.as_mut()));
        drop(insert);
        assert_eq!(one.get("key").await, Some(round));
        until("the other has it", async || other.get("key").await == Some(round)).await;
        let mut remove = Box::pin(one.values.remove("key"));
        drop(poll_once(remove.as_mut()));
        drop(remove);
        assert_eq!(one.get("key").await, None);
        let is_there = || !server.command(&["KEYS", "*value=:key"]).array().is_empty();
        until("Redis has it no more", async || !is_there()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_many_namespaces_leaves_others() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let other = Node::bare(config(&server)).await;
    let kept = |node: &Node| node.values.clone().namespace("kept");
    one.insert("key", 1).await;
    kept(&one).insert("key", &2_u64, None).await.unwrap();
    let mut clears = JoinSet::new();
    for worker in 0..10 {
        let values = one.values.clone();
        clears.spawn(async move {
            for number in 0..1_000 {
                let namespace = values.clone().namespace(&format!("{worker}-{number}"));
                // Late is no matter: it is written down.
                drop(namespace.clear().await);
            }
        });
    }
    soon(clears.join_all()).await;
    all_know(&[&one, &other]).await;
    assert!(server.command(&["ZCARD", KEYS[0]]).int() >= 10_000);
    for node in [&one, &other, &Node::start(config(&server)).await] {
        assert_eq!(node.get("key").await, Some(1));
        assert_eq!(kept(node).get::<u64>("key").await, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_inserts_at_once_all_hold() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let other = Node::bare(config(&server)).await;
    one.insert("untouched", 1).await;
    let mut writes = JoinSet::new();
    let start = clock();
    for number in 0..10_000_u64 {
        let values = one.values.clone();
        writes.spawn(async move {
            (number, values.insert(&format!("key {number}"), &number, None).await)
        });
    }
    let results = writes.join_all().await;
    let (done, late): (Vec<_>, Vec<_>) = results.into_iter().partition(|(_, done)| done.is_ok());
    // On a busy machine some are late, and may be dropped.
    println!("10,000 inserts at once in {:?}, {} of them late", start.elapsed(), late.len());
    for (number, _) in done.into_iter().step_by(97) {
        let key = format!("key {number}");
        until("the other has it", async || other.get(&key).await == Some(number)).await;
    }
    for node in [&one, &other] {
        until("it is there still", async || node.get("untouched").await == Some(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn older_versions_are_told_to_purge_everything() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    one.insert("key", 1).await;
    one.values.remove("other").await.unwrap();
    // They know the first set alone, and take a target that they do not know for everything.
    let marker = server.command(&["ZSCORE", KEYS[0], "r"]).text();
    assert_eq!(marker, server.command(&["HGET", KEYS[1], "last"]).text());
    // Their state lacks the floor of the second set.
    server.command(&["HDEL", KEYS[1], "removed"]);
    one.insert("third", 1).await;
    let later = Node::bare(config(&server)).await;
    all_know(&[&later, &one]).await;
    for node in [&one, &later] {
        assert_eq!(node.get("key").await, Some(1), "nothing was lost");
    }
    // They write a changed URL to the first set, with a new state if the log was lost.
    server.command(&["DEL", KEYS[0], KEYS[1]]);
    let time = server.command(&["TIME"]).array().remove(0).text();
    let now = format!("{}000000", time.parse::<u64>().unwrap() + 1);
    server.command(&["HSET", KEYS[1], "epoch", &now, "floor", &now, "last", &now, "flushed", &now]);
    let later = Node::bare(config(&server)).await;
    all_know(&[&later, &one]).await;
    for node in [&one, &later] {
        assert_eq!(node.get("key").await, None, "it may have been purged");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn healthy_start_counts_no_error() {
    let server = RedisServer::start();
    let mut healthy = 0;
    for round in 0..20 {
        let metrics = Metrics::new();
        let redis = RedisStore::connect(config(&server).recorder(metrics.recorder()));
        let values = ValueCache::new(redis.clone());
        if round % 2 == 0 {
            assert_eq!(values.get::<u64>("key").await, None, "not connected yet");
        }
        soon(redis.ready()).await;
        let inserted = async || values.insert("key", &1_u64, None).await.is_ok();
        until("it works", inserted).await;
        let errors = metrics.counted("http_cache_redis_errors_total", &[]);
        healthy += u32::from(errors == 0 && redis.status().error.is_none());
    }
    // On a busy machine an attempt to connect may take longer than it may.
    assert!(healthy >= 10, "{healthy} of 20");
    let down = RedisServer::down();
    let metrics = Metrics::new();
    let redis = RedisStore::connect(config(&down).recorder(metrics.recorder()));
    let counted = || metrics.counted("http_cache_redis_errors_total", &[("reason", "connection")]);
    until("one that is away is counted", async || counted() > 0).await;
    drop(redis);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_redis_are_readable() {
    let server = RedisServer::start();
    let one = Node::start(config(&server)).await;
    let other = Node::bare(config(&server)).await;
    let keys = ["a\nb", r"a\nb", "a\r\n\0\u{1b}[31m", "ä 'b' {c} *", "a\u{7f}\u{85}", r"a\\nb"];
    for (number, key) in (0..).zip(keys) {
        one.insert(key, number).await;
    }
    for (number, key) in (0..).zip(keys) {
        until("the other has it", async || other.get(key).await == Some(number)).await;
    }
    let names = server.command(&["KEYS", "*value=*"]).array();
    let names: Vec<_> = names.into_iter().map(|name| name.text()).collect();
    assert_eq!(names.len(), keys.len(), "{names:?}");
    for name in &names {
        assert!(!name.contains(char::is_control), "{name:?}");
    }
    assert!(names.iter().any(|name| name.ends_with(r"value=:a\nb")), "{names:?}");
    one.values.remove("a\nb").await.unwrap();
    assert_eq!(other.get("a\nb").await, None);
    until("the other one stays", async || other.get(r"a\nb").await == Some(1)).await;
    let errors = other.metrics.counted("http_cache_redis_errors_total", &[]);
    assert_eq!((errors, other.redis.usage().entries), (0, 0));
}
