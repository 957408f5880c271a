//! A Redis that has lost what was purged.

use std::time::Duration;

use super::rig::{Origin, Process, config, config_at, settled, until};
use crate::redis_server::RedisServer;

const NAMES: &str = "tower-kit:{purges}:names";
const STATE: &str = "tower-kit:{purges}:state";

/// Everything works, and nothing that was purged is given out.
async fn works_without(old: &[String], processes: &[&Process], server: &RedisServer) {
    for process in processes {
        until("it is in step", async || process.redis.status().synced).await;
    }
    settled(processes).await;
    for process in processes {
        for path in ["/a", "/b"] {
            let body = process.kept(path).await;
            assert!(body.as_ref().is_none_or(|body| !old.contains(body)), "{path}: {body:?}");
        }
    }
    let (first, last) = (processes[0], processes[processes.len() - 1]);
    let body = first.get("/a").await.body;
    assert!(!old.contains(&body));
    until("others have it", async || last.kept("/a").await.as_ref() == Some(&body)).await;
    last.handle.purge_tag("tag").await.unwrap();
    until("others see it", async || first.kept("/a").await.is_none()).await;
    assert!(server.command(&["EXISTS", STATE]).int() == 1);
}

/// Keeps something, keeps a copy of what Redis has of it, and purges it.
async fn purged(
    one: &Process,
    other: &Process,
    server: &RedisServer,
) -> (Vec<String>, Vec<[Vec<u8>; 2]>) {
    let mut old = Vec::new();
    for path in ["/a", "/b"] {
        let body = one.get(path).await.body;
        until("it is there", async || other.kept(path).await.as_ref() == Some(&body)).await;
        old.push(body);
    }
    let keys = server.command(&["KEYS", "tower-kit:1:*"]).array();
    let copies = keys.into_iter().map(|key| {
        let key = key.text();
        match server.command(&["GET", &key]) {
            crate::redis_server::Reply::Bulk(Some(bytes)) => [key.into_bytes(), bytes],
            other => panic!("{other:?}"),
        }
    });
    let copies = copies.collect();
    one.handle.purge_tag("tag").await.unwrap();
    (old, copies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_survive_the_loss_of_the_log() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    for lost in [&["DEL", NAMES][..], &["DEL", STATE], &["DEL", NAMES, STATE], &["FLUSHALL"]] {
        for purge_first in [false, true] {
            let one = Process::start(config(&server), &origin).await;
            let other = Process::bare(config(&server), &origin).await;
            let (old, copies) = purged(&one, &other, &server).await;
            server.command(lost);
            if lost == ["FLUSHALL"] {
                // As if the entries were in another part of a cluster.
                for [key, value] in copies {
                    server.command(&[&b"SET"[..], &key, &value, b"EX", b"60"]);
                }
            }
            if purge_first {
                other.handle.purge_url("http://x.org/other").unwrap().await.unwrap();
            }
            let later = Process::start(config(&server), &origin).await;
            works_without(&old, &[&later, &one, &other], &server).await;
            assert_eq!(server.command(&["TTL", STATE]).int(), -1, "{lost:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_survive_a_restart_without_data() {
    let mut server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let (old, _) = purged(&one, &other, &server).await;
    server.restart();
    until("it is out of step", async || {
        !one.redis.status().synced || server.command(&["EXISTS", STATE]).int() == 1
    })
    .await;
    let later = Process::start(config(&server), &origin).await;
    works_without(&old, &[&one, &later, &other], &server).await;
}

/// Redis saves what it has, and forgets a purge that comes after that. Whether or not somebody who
/// never heard of it writes into the log before those who did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_survive_a_restart_with_older_data() {
    for purge_first in [false, true] {
        let mut server = RedisServer::start_with(&["--dbfilename", "dump.rdb"]);
        let origin = Origin::counting();
        // Of a user who is not saved, and thus away until he is told of again.
        let user = ["ACL", "SETUSER", "away", "on", ">secret", "~*", "&*", "+@all"];
        server.command(&user);
        let url = format!("redis://away:secret@127.0.0.1:{}", server.port());
        let away = || config_at(&url).command_timeout(Duration::from_secs(1));
        let one = Process::start(away(), &origin).await;
        let other = Process::start(away(), &origin).await;
        settled(&[&one, &other]).await;
        let body = one.get("/a").await.body;
        until("it is there", async || other.kept("/a").await.as_ref() == Some(&body)).await;
        assert_eq!(server.command(&["SAVE"]).text(), "OK");
        one.handle.purge_tag("tag").await.unwrap();
        until("both know", async || other.kept("/a").await.is_none()).await;
        server.restart();
        let early = Process::start(config(&server), &origin).await;
        if purge_first {
            early.handle.purge_tag("other").await.unwrap();
        }
        until("the others are away", async || !one.redis.status().synced).await;
        server.command(&user);
        for process in [&one, &other] {
            until("it is in step", async || process.redis.status().synced).await;
        }
        let later = Process::bare(config(&server), &origin).await;
        settled(&[&one, &other, &later, &early]).await;
        for process in [&one, &other, &early, &later] {
            let kept = process.kept("/a").await;
            assert_ne!(kept, Some(body.clone()), "purged by one that knew less: {purge_first}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_the_log_fails_no_request() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server).offline_ttl(Duration::from_secs(60)), &origin).await;
    let body = one.get("/a").await.body;
    server.command(&["SET", STATE, "nonsense"]);
    let other = async || one.handle.purge_url("http://x.org/b").unwrap().await.is_ok();
    until("it works all the same", other).await;
    assert!(one.redis.status().synced);
    assert_ne!(one.get("/a").await.body, body, "what was lost may have purged it");
    for strange in [["HSET", STATE, "last", "x"], ["ZADD", NAMES, "1e300", "tx"]] {
        let strange: &[&str] = &strange;
        server.command(strange);
        drop(one.handle.purge_tag("other").await);
        let fine = tokio::time::timeout(Duration::from_secs(5), async {
            until("it is told", async || one.handle.purge_tag("other").await.is_ok()).await;
        });
        assert!(fine.await.is_ok(), "{strange:?} {:?}", one.redis.status());
        let body = one.get("/a").await.body;
        assert_eq!(one.get("/a").await.body, body, "{strange:?}");
    }
}
