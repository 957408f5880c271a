//! Purges in one process, as the others see them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tower_kit::cache::{PurgeFuture, RedisConfig, StoreError};

use super::rig::{Origin, Process, TAGGED, Times, clock, config, config_at, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;
use crate::support::soon;

const URL: &str = "http://x.org/list/a";

async fn purge(process: &Process, kind: &str) -> Result<(), StoreError> {
    let handle = &process.handle;
    let purging: PurgeFuture = match kind {
        "url" => handle.purge_url(URL).unwrap(),
        "prefix" => handle.purge_prefix("http://x.org/list/"),
        "tag" => handle.purge_tag("tag"),
        "all" => return handle.purge_all().await,
        _ => {
            assert_eq!(process.send(kind, "/list/a", &[]).await.status, 200);
            return Ok(());
        }
    };
    purging.await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_reaches_all_processes() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let others = [
        Process::start(config(&server), &origin).await,
        Process::start(config(&server), &origin).await,
        Process::bare(config(&server), &origin).await,
    ];
    for kind in ["url", "prefix", "tag", "all", "PUT", "DELETE", "POST"] {
        let (mut told, mut seen) = (Times::default(), Times::default());
        for round in 0..50 {
            let first = if round % 2 == 0 { &one } else { &others[0] };
            let body = first.get("/list/a").await.body;
            until("it is in Redis", async || others[2].kept("/list/a").await.is_some()).await;
            for process in [&one, &others[0], &others[1]] {
                assert_eq!(process.get("/list/a").await.body, body);
            }
            let start = clock();
            soon(purge(&one, kind)).await.unwrap();
            told.add(start.elapsed());
            assert_eq!(one.kept("/list/a").await, None, "it holds at once in its process");
            for other in &others {
                until("the other sees it", async || other.kept("/list/a").await.is_none()).await;
            }
            seen.add(start.elapsed());
        }
        println!("{kind:>6}: told {told}; seen by three {seen}");
    }
}

async fn soft_purge(process: &Process, kind: &str) {
    let handle = &process.handle;
    let purging = match kind {
        "url" => handle.soft_purge_url(URL).unwrap(),
        "prefix" => handle.soft_purge_prefix("http://x.org/list/"),
        "tag" => handle.soft_purge_tag("tag"),
        _ => handle.soft_purge_all(),
    };
    soon(purging).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soft_purge_reaches_all_processes() {
    let server = RedisServer::start();
    let origin = Origin::new(async |head, number| {
        let control = match head.uri.path() {
            "/list/a" => "max-age=600, stale-while-revalidate=500",
            _ => "max-age=600",
        };
        let fields = [("cache-control", control), ("surrogate-key", "tag"), ("etag", "\"a\"")];
        match head.headers.contains_key("if-none-match") {
            true => reply(304, &fields, ""),
            false => reply(200, &fields, &format!("answer {number}")),
        }
    });
    let one = Process::start(config(&server), &origin).await;
    let others = [
        Process::start(config(&server), &origin).await,
        Process::bare(config(&server), &origin).await,
    ];
    for kind in ["url", "prefix", "tag", "all"] {
        let body = one.get("/list/a").await.body;
        for other in &others {
            until("it is in Redis", async || other.kept("/list/a").await.is_some()).await;
        }
        let calls = origin.calls();
        soft_purge(&one, kind).await;
        let left = async |process: &Process| {
            let got = process.send("GET", "/list/a", &[("cache-control", "max-stale=9999")]).await;
            assert_eq!(got.body, body, "{kind}: it is served while it is stale");
            got.cache().strip_prefix("hit; ttl=").unwrap().parse::<i64>().unwrap()
        };
        let mut stale = left(&one).await;
        assert!((-60..=0).contains(&stale), "{kind}: {stale} by the time of the purge");
        until("it is refreshed", async || origin.calls() > calls).await;
        for other in &others {
            until("the other has the refreshed one", async || {
                stale = left(other).await;
                // The offset of the clocks, and the stamps, are of another clock.
                assert!((-60..=0).contains(&stale) || stale > 500, "{kind}: {stale}");
                stale > 500
            })
            .await;
        }
        // What was fetched once is confirmed since, and was never fetched again.
        assert_eq!(one.kept("/list/a").await, Some(body));
    }
    // What is stale is validated first where nothing else is permitted.
    one.get("/b").await;
    until("it is in Redis", async || others[1].kept("/b").await.is_some()).await;
    for kind in ["prefix", "tag"] {
        if kind == "prefix" {
            soon(one.handle.soft_purge_prefix("http://x.org/b")).await.unwrap();
        } else {
            soft_purge(&one, kind).await;
        }
        assert_eq!(one.kept("/b").await, None, "{kind}");
        for other in &others {
            until("the other sees it", async || other.kept("/b").await.is_none()).await;
        }
        // A process that comes later reads it in the log.
        let later = Process::bare(config(&server), &origin).await;
        assert_eq!(later.kept("/b").await, None, "{kind}");
        let validated = later.get("/b").await;
        assert!(validated.cache().contains("fwd-status=304"), "{}", validated.cache());
        until("it is in Redis", async || others[1].kept("/b").await.is_some()).await;
        until("it is in the memory", async || one.kept("/b").await.is_some()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidated_groups_reach_all_processes() {
    let server = RedisServer::start();
    let origin = Origin::new(async |head, number| {
        let fields: &[_] = match head.method.as_str() {
            "POST" => &[("cache-group-invalidation", "\"b\"")],
            _ => &[("cache-control", "max-age=600"), ("cache-groups", "\"a\", \"b\"")],
        };
        reply(200, fields, &format!("answer {number}"))
    });
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let body = one.get("/list/a").await.body;
    let kept = async || other.kept("/list/a").await;
    until("it is in Redis", async || kept().await.as_ref() == Some(&body)).await;
    one.send("POST", "/import", &[]).await;
    assert_eq!(one.kept("/list/a").await, None, "at once in its process");
    until("the other sees it", async || kept().await.is_none()).await;
    let later = Process::bare(config(&server), &origin).await;
    assert_eq!(later.kept("/list/a").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soft_and_hard_purges_meet_in_the_log() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    for (first, second) in [(true, false), (false, true)] {
        let body = one.get("/list/a").await.body;
        until("it is in Redis", async || other.kept("/list/a").await.as_ref() == Some(&body)).await;
        for (process, soft) in [(&one, first), (&other, second)] {
            match soft {
                true => soft_purge(process, "tag").await,
                false => purge(process, "tag").await.unwrap(),
            }
        }
        settled(&[&other, &one]).await;
        for process in [&one, &other] {
            let got = process
                .send("GET", "/list/a", &[("cache-control", "max-stale, only-if-cached")])
                .await;
            assert_eq!(got.status, 504, "a hard purge wins: {}", got.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_holds_locally_before_it_is_sent() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let bare = Process::bare(config(&server), &origin).await;
    for _ in 0..100 {
        let body = one.get("/list/a").await.body;
        until("it is in Redis", async || bare.kept("/list/a").await.as_ref() == Some(&body)).await;
        assert_eq!(other.get("/list/a").await.body, body);
        drop(other.handle.purge_tag("tag"));
        assert_ne!(other.get("/list/a").await.body, body);
        other.handle.purge_tag("tag").await.unwrap();
        settled(&[&other, &one, &bare]).await;
    }
}

/// The settings of a user whose permissions the test changes.
async fn known_as(name: &str, server: &RedisServer) -> RedisConfig {
    let user = ["ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all"];
    assert_eq!(server.command(&user).text(), "OK");
    let url = format!("redis://{name}:secret@127.0.0.1:{}", server.port());
    let config = config_at(&url).command_timeout(Duration::from_secs(1));
    config.offline_ttl(Duration::from_secs(600))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_holds_against_entries_of_later_stamps() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let behind = Process::start(known_as("behind", &server).await, &origin).await;
    settled(&[&one, &behind]).await;
    // It reads entries still, and no purges.
    server.command(&["ACL", "SETUSER", "behind", "-eval"]);
    until("it is out of step", async || !behind.redis.status().synced).await;
    for _ in 0..5 {
        one.handle.purge_tag("other").await.unwrap();
    }
    let body = one.get("/list/a").await.body;
    let kept = async || behind.kept("/list/a").await.as_ref() == Some(&body);
    until("it is from Redis", kept).await;
    drop(behind.handle.purge_tag("tag"));
    assert_ne!(behind.kept("/list/a").await, Some(body.clone()), "it holds at once");
    assert_ne!(behind.get("/list/a").await.body, body, "and for as long as nothing is told");

    server.command(&["ACL", "SETUSER", "behind", "+eval"]);
    until("it is in step", async || behind.redis.status().synced).await;
    until("the first one sees it", async || one.kept("/list/a").await != Some(body.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_wins_over_a_fetch() {
    let server = RedisServer::start();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let version = Arc::new(AtomicUsize::new(0));
    let (waits, reads) = (Arc::clone(&gate), Arc::clone(&version));
    let origin = Origin::new(move |head, _| {
        let (waits, read) = (Arc::clone(&waits), reads.load(Ordering::SeqCst));
        async move {
            if head.uri.path() == "/held" && head.headers.contains_key("x-held") {
                waits.acquire().await.unwrap().forget();
            }
            reply(200, TAGGED, &format!("version {read}"))
        }
    });
    let one = Process::start(config(&server), &origin).await;
    let others = [
        Process::start(config(&server), &origin).await,
        Process::bare(config(&server), &origin).await,
    ];
    for round in 0..40 {
        let calls = origin.calls();
        let fetching = {
            let one = one.clone();
            let held = async move { one.send("GET", "/held", &[("x-held", "1")]).await };
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(held);
            tasks
        };
        until("it is asked", async || origin.calls() == calls + 1).await;
        let old = format!("version {}", version.fetch_add(1, Ordering::SeqCst));
        let other = &others[round % 2];
        match round % 4 {
            0 => other.handle.purge_tag("tag").await.unwrap(),
            1 => other.handle.purge_all().await.unwrap(),
            2 => drop(other.send("PUT", "/held", &[]).await),
            _ => other.handle.purge_prefix("http://x.org/he").await.unwrap(),
        }
        // Half of them before the first process knows of the purge.
        if round % 8 > 3 {
            settled(&[other, &one]).await;
        }
        gate.add_permits(1);
        let got = soon(fetching.join_all()).await.remove(0);
        assert_eq!(got.body, old, "the client itself asked before the purge");
        assert_ne!(other.kept("/held").await, Some(old.clone()), "it knows of its own purge");
        settled(&[other, &one, &others[0], &others[1]]).await;
        for process in [&one, &others[0], &others[1]] {
            assert_ne!(process.kept("/held").await, Some(old.clone()));
        }
        one.handle.purge_tag("tag").await.unwrap();
        settled(&[&one, &others[0], &others[1]]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_process_learns_of_purges() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    for kind in ["url", "prefix", "tag", "all", "PUT"] {
        let body = one.get("/list/a").await.body;
        one.get("/list/b").await;
        purge(&one, kind).await.unwrap();
        let later = Process::bare(config(&server), &origin).await;
        assert_ne!(later.kept("/list/a").await, Some(body), "{kind}");
        let spared = kind == "url" || kind == "PUT";
        assert_eq!(later.kept("/list/b").await.is_some(), spared, "{kind}");
        one.handle.purge_all().await.unwrap();
    }
}

fn log_length(server: &RedisServer) -> i64 {
    server.command(&["ZCARD", "tower-kit:{purges}:names"]).int()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_forgets_purges_more() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::bare(config(&server), &origin).await;
    let paths = ["/list/a", "/b", "/c"];
    for path in paths {
        one.get(path).await;
    }
    one.handle.purge_url(URL).unwrap().await.unwrap();
    let start = clock();
    let mut slowest = Duration::ZERO;
    let mut told = Times::default();
    for batch in 0..1_200 {
        let began = clock();
        let purgings: Vec<_> =
            (0..100).map(|at| one.handle.purge_tag(&format!("tag {batch} {at}"))).collect();
        for purging in purgings {
            // Late is no matter: it is written down.
            drop(purging.await);
        }
        told.add(began.elapsed());
        let began = clock();
        drop(other.kept("/none").await);
        slowest = slowest.max(began.elapsed());
        assert!(one.get("/c").await.is_hit(), "it is looked at in time");
    }
    println!("120,000 names in {:?}; a hundred of them: {told}", start.elapsed());
    println!("the slowest look of another process meanwhile: {slowest:?}");
    settled(&[&one, &other]).await;
    let length = log_length(&server);
    assert!((90_000..=100_000).contains(&length), "{length}");
    let bytes = server.command(&["MEMORY", "USAGE", "tower-kit:{purges}:names"]);
    println!("{length} names, {bytes:?}");

    let began = clock();
    let later = Process::bare(config(&server), &origin).await;
    println!("a new process has read them after {:?}", began.elapsed());
    for process in [&one, &other, &later] {
        for path in ["/list/a", "/b"] {
            assert_eq!(process.kept(path).await, None, "purged, or as old as what is forgotten");
        }
    }
    assert!(one.get("/c").await.is_hit());
    let body = one.get("/list/a").await.body;
    until("it is there", async || later.kept("/list/a").await.as_ref() == Some(&body)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_are_kept_as_long_as_entries() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let short = || config(&server).max_ttl(Duration::from_secs(1));
    let one = Process::start(short(), &origin).await;
    let other = Process::start(short(), &origin).await;
    let body = one.get("/list/a").await.body;
    until("both have it", async || other.kept("/list/a").await.as_ref() == Some(&body)).await;
    let start = clock();
    one.handle.purge_tag("tag").await.unwrap();
    until("the name is forgotten", async || {
        one.handle.purge_tag("other").await.unwrap();
        log_length(&server) == 1
    })
    .await;
    println!("forgotten after {:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_millis(990));
    let later = Process::bare(short(), &origin).await;
    for process in [&one, &other, &later] {
        assert_eq!(process.kept("/list/a").await, None);
    }
}
