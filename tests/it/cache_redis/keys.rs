//! What is in Redis, under which names and for how long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rig::{Origin, Process, config, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::{Cluster, RedisServer};
use tower_kit::cache::RedisConfig;

/// All keys, and for how many milliseconds they are kept, -1 for ever.
fn keys(server: &RedisServer) -> BTreeMap<String, i64> {
    let keys = server.command(&["KEYS", "*"]).array();
    let left = |key: &String| server.command(&["PTTL", key]).int();
    keys.into_iter().map(|key| key.text()).map(|key| (key.clone(), left(&key))).collect()
}

/// Of three variants there are as many, and their list.
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
async fn all_that_is_kept_has_an_end_but_the_log() {
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
    assert_eq!(lasting, ["tower-kit:{purges}:names", "tower-kit:{purges}:state"]);
    let week = 7 * 24 * 60 * 60 * 1000;
    assert!(passing.iter().all(|(_, left)| (1..=week).contains(*left)), "{passing:?}");
    // Leases are given back.
    until("no lease is left", async || !keys(&server).keys().any(|key| key.contains("lease:")))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_with_another_prefix_and_keys_of_others_are_left_alone() {
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
async fn an_emptied_cache_leaves_keys_that_end_by_themselves() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::bare(config(&server), &origin).await;
    one.get("/a").await;
    until("it is there", async || other.kept("/a").await.is_some()).await;
    let before = keys(&server);
    one.handle.purge_all().await.unwrap();
    until("the other sees it", async || other.kept("/a").await.is_none()).await;
    one.get("/a").await;
    until("it is there", async || other.kept("/a").await.is_some()).await;
    let after = keys(&server);
    // A put that the purge overtook in its last step takes back what it has put.
    let left = after.len() - before.len();
    assert!(left <= 1, "{before:?} {after:?}");
}

/// URLs that clients may choose to do harm.
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
async fn strange_urls_are_kept_apart_and_purged() {
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
        let config = || {
            RedisConfig::new(&cluster.url())
                .unwrap()
                .prefix(prefix)
                .command_timeout(Duration::from_secs(1))
        };
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
