//! The keys in Redis, and their lifetimes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Origin, Process, config, config_at, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::{Cluster, RedisServer};

/// All keys with their times to live in milliseconds, -1 for none.
fn keys(server: &RedisServer) -> BTreeMap<String, i64> {
    let keys = server.command(&["KEYS", "*"]).array();
    let left = |key: &String| server.command(&["PTTL", key]).int();
    keys.into_iter().map(|key| key.text()).map(|key| (key.clone(), left(&key))).collect()
}

/// Returns `true` for the key of an entry: a response, or the list of variants.
fn is_entry(key: &str) -> bool {
    key.starts_with("tower-kit:1:") && !key.contains("lease:")
}

fn varying() -> Origin {
    Origin::new(async |_, number| {
        let fields = [("cache-control", "max-age=600"), ("vary", "x-a"), ("surrogate-key", "tag")];
        reply(200, &fields, &format!("answer {number}"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_expire_but_the_log() {
    let server = RedisServer::start();
    let origin = varying();
    let one = Process::start(config(&server).lease_ttl(Duration::from_secs(1)), &origin).await;
    for value in ["1", "2", "3"] {
        one.send("GET", "/a", &[("x-a", value)]).await;
    }
    one.handle.purge_tag("other").await.unwrap();
    one.send("PUT", "/b", &[]).await;
    until("all is there", async || keys(&server).keys().filter(|key| is_entry(key)).count() == 4)
        .await;
    let all = keys(&server);
    let (lasting, passing): (Vec<_>, Vec<_>) = all.iter().partition(|(_, left)| **left == -1);
    let lasting: Vec<_> = lasting.into_iter().map(|(key, _)| key.as_str()).collect();
    let log = ["names", "removed", "state"].map(|key| format!("tower-kit:{{purges}}:{key}"));
    assert_eq!(lasting, log);
    let week = 7 * 24 * 60 * 60 * 1000;
    assert!(passing.iter().all(|(_, left)| (1..=week).contains(*left)), "{passing:?}");
    // Leases are given back.
    until("no lease is left", async || !keys(&server).keys().any(|key| key.contains("lease:")))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_prefixes_and_keys_are_left_alone() {
    let server = RedisServer::start();
    server.command(&["SET", "theirs", "1"]);
    server.command(&["SET", "tower-kit", "2"]);
    let origins = [Origin::counting(), Origin::counting()];
    let one = Process::start(config(&server), &origins[0]).await;
    let near = Process::start(config(&server).prefix("tower-kit:2:"), &origins[1]).await;
    for round in 0..3 {
        for process in [&one, &near] {
            process.get("/a").await;
        }
        let other = Process::start(config(&server).prefix("tower-kit:2:"), &origins[1]).await;
        until("it is there", async || other.kept("/a").await.is_some()).await;
        assert_eq!([origins[0].calls(), origins[1].calls()], [round + 1, 1]);
        match round {
            0 => one.handle.purge_all().await.unwrap(),
            1 => one.handle.purge_tag("tag").await.unwrap(),
            _ => one.handle.purge_prefix("http://").await.unwrap(),
        }
        assert_eq!(one.kept("/a").await, None);
        assert!(near.kept("/a").await.is_some());
    }
    assert_eq!(server.command(&["GET", "theirs"]).text(), "1");
    assert_eq!(server.command(&["GET", "tower-kit"]).text(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_all_empties_redis() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    for theirs in ["theirs", "tower-kit", "tower-kit:1:theirs", "tower-kit:1:1:0{}:x"] {
        server.command(&["SET", theirs, "1"]);
    }
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let near = Process::start(config(&server).prefix("tower-kit:2:"), &origin).await;
    near.get("/a").await;
    let entries = || keys(&server).into_keys().filter(|key| key.contains("{}:http:")).count();
    until("the other prefix has its entry", async || entries() == 1).await;
    for number in 0..600 {
        one.get(&format!("/{number}")).await;
    }
    until("all are there", async || entries() == 601).await;
    one.handle.purge_all().await.unwrap();
    until("all are gone but the one of the other prefix", async || entries() == 1).await;
    assert_eq!(server.command(&["EXISTS", "theirs", "tower-kit"]).int(), 2);
    assert_eq!(server.command(&["EXISTS", "tower-kit:1:theirs", "tower-kit:1:1:0{}:x"]).int(), 2);
    assert!(near.kept("/a").await.is_some());
    until("the other sees it", async || other.kept("/1").await.is_none()).await;
    // New entries are of the new generation, which a later purge removes as well.
    one.get("/1").await;
    until("it is there", async || entries() == 2).await;
    other.handle.purge_all().await.unwrap();
    until("it is gone", async || entries() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_all_empties_all_nodes_of_a_cluster() {
    let mut cluster = Cluster::start();
    let config = config_at(&cluster.url()).command_timeout(Duration::from_secs(1));
    let one = Process::start(config, &Origin::counting()).await;
    let mut entries = || -> usize {
        // Slots of the three primaries: 12182, 5061 and 7365.
        let nodes = ["foo", "bar", "c"];
        let count = |key| {
            let node = cluster.primary_of(key);
            (node.port(), node.command(&["KEYS", "tower-kit:1:*"]).array().len())
        };
        BTreeMap::from(nodes.map(count)).into_values().sum()
    };
    for number in 0..100 {
        one.get(&format!("/{number}")).await;
    }
    until("all are there", async || entries() == 100).await;
    one.handle.purge_all().await.unwrap();
    until("all are gone", async || entries() == 0).await;
}

/// URLs that a hostile client may choose.
fn hostile() -> Vec<String> {
    let mut paths: Vec<String> = [
        "/{x}",
        "/}{",
        "/{}",
        "/{{}}",
        "/*",
        "/%20",
        "/%0d%0a",
        "/[a-z]",
        "/?{purges}:names",
        "/?:lease:",
        "/%7Bpurges%7D",
        "/a?b={c}&d=*",
        "/%00",
        "/\"",
        "/1:{}:http",
    ]
    .map(str::to_owned)
    .to_vec();
    paths.push(format!("/{}", "x".repeat(8 * 1024 - 20)));
    paths.push(format!("/{}", "{".repeat(4 * 1024)));
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_urls_are_stored_and_purged() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let paths: Vec<_> =
        hostile().into_iter().filter(|path| path.parse::<http::Uri>().is_ok()).collect();
    assert!(paths.len() > 10, "{paths:?}");
    let mut bodies = Vec::new();
    for path in &paths {
        let mine = one.get(path).await.body;
        until("it is there", async || other.kept(path).await.as_ref() == Some(&mine)).await;
        assert!(!bodies.contains(&mine));
        bodies.push(mine);
    }
    for path in &paths {
        one.handle.purge_url(&format!("http://x.org{path}")).unwrap().await.unwrap();
        until("the other sees it", async || other.kept(path).await.is_none()).await;
    }
    let longer = format!("/{}", "x".repeat(9 * 1024));
    assert_eq!(one.get(&longer).await.cache(), "fwd=bypass; detail=key");
    settled(&[&one, &other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_choose_the_slot_of_a_cluster() {
    let mut cluster = Cluster::start();
    for prefix in ["tower-kit:", "{mine}:", "a{", ""] {
        let origin = Origin::counting();
        let config =
            || config_at(&cluster.url()).prefix(prefix).command_timeout(Duration::from_secs(1));
        let store = tower_kit::cache::RedisStore::connect(config());
        let ready = tokio::time::timeout(Duration::from_secs(5), store.ready()).await;
        assert!(ready.is_ok(), "{prefix}: {:?}", store.status());
        let (one, other) =
            (Process::start(config(), &origin).await, Process::bare(config(), &origin).await);
        for number in 0..60 {
            let path = format!("/{{a}}?{number}");
            let got = one.get(&path).await;
            until("it is there", async || other.kept(&path).await.is_some()).await;
            assert_eq!(other.get(&path).await.body, got.body, "{prefix}{path}");
        }
        assert_eq!(origin.calls(), 60);
        one.handle.purge_prefix("http://x.org/").await.unwrap();
        until("the other sees it", async || other.kept("/{a}?1").await.is_none()).await;
    }
    // Counted for the default prefix, at each of the primaries.
    let counts = ["foo", "bar", "hello"].map(|key| {
        let node = cluster.primary_of(key);
        let keys = node.command(&["KEYS", "tower-kit:1:*"]).array();
        (node.port(), keys.len())
    });
    let counts = BTreeMap::from(counts);
    println!("keys by primary: {counts:?}");
    assert!(counts.len() < 3 || counts.values().all(|count| *count >= 5), "{counts:?}");
    assert!(counts.values().all(|count| *count < 60));
}
