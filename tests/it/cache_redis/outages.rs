//! Purges, and entries in memory, while Redis is away.

use std::time::Duration;

use super::rig::{Origin, Process, TAGGED, clock, impatient, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;

fn take_away(server: &mut RedisServer, how: &str) {
    if how == "killed" { server.kill() } else { server.freeze() }
}

fn bring_back(server: &mut RedisServer, how: &str) {
    if how == "killed" { server.restart() } else { server.thaw() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_of_an_outage_are_sent_afterwards() {
    for how in ["killed", "frozen"] {
        let mut server = RedisServer::start();
        let origin = Origin::counting();
        let patient = || impatient(&server).offline_ttl(Duration::from_secs(600));
        let one = Process::start(patient(), &origin).await;
        let other = Process::start(patient(), &origin).await;
        for kind in ["tag", "url", "prefix", "all", "PUT"] {
            // One copy for both: neither keeps one that it fetched in the last outage.
            until("it is told", async || one.handle.purge_all().await.is_ok()).await;
            settled(&[&one, &other]).await;
            let body = one.get("/a").await.body;
            until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
            take_away(&mut server, how);
            let start = clock();
            let told = match kind {
                "tag" => one.handle.purge_tag("tag").await,
                "url" => one.handle.purge_url("http://x.org/a").unwrap().await,
                "prefix" => one.handle.purge_prefix("http://x.org/").await,
                "all" => one.handle.purge_all().await,
                _ => Err(tower_kit::cache::StoreError::new(
                    one.send("PUT", "/a", &[]).await.status.to_string(),
                )),
            };
            println!("{how}, {kind}: not told after {:?}", start.elapsed());
            assert!(told.is_err_and(|error| kind == "PUT" || error.is_deferred()));
            let start = clock();
            assert_ne!(one.get("/a").await.body, body, "it holds at once");
            println!("{how}, {kind}: a miss takes {:?}", start.elapsed());
            until("it is known", async || {
                !one.redis.status().synced && !other.redis.status().synced
            })
            .await;
            assert_ne!(one.kept("/a").await, Some(body.clone()));
            assert_eq!(other.kept("/a").await, Some(body.clone()), "it cannot know");
            bring_back(&mut server, how);
            let start = clock();
            until("it is seen", async || other.kept("/a").await != Some(body.clone())).await;
            println!("{how}, {kind}: seen {:?} after the end of the outage", start.elapsed());
            until("both are in step", async || {
                one.redis.status().synced && other.redis.status().synced
            })
            .await;
            assert_ne!(one.kept("/a").await, Some(body));
        }
    }
}

/// A thousand and more become a purge of all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_purges_of_an_outage_are_sent_as_one() {
    let mut server = RedisServer::start();
    let origin = Origin::counting();
    let one =
        Process::start(impatient(&server).offline_ttl(Duration::from_secs(600)), &origin).await;
    let other =
        Process::start(impatient(&server).offline_ttl(Duration::from_secs(600)), &origin).await;
    let body = one.get("/a").await.body;
    until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
    server.freeze();
    until("it is known", async || !one.redis.status().synced).await;
    drop(one.handle.purge_tag("tag"));
    for number in 0..2_000 {
        drop(one.handle.purge_tag(&format!("{number}")));
    }
    let new = one.get("/a").await.body;
    assert_ne!(new, body);
    server.thaw();
    until("it is seen", async || other.kept("/a").await != Some(body.clone())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offline_memory_is_used_for_the_offline_ttl() {
    for how in ["killed", "frozen"] {
        for unheard in [Duration::from_secs(2), Duration::ZERO] {
            let mut server = RedisServer::start();
            let origin = Origin::counting();
            let one = Process::start(impatient(&server).offline_ttl(unheard), &origin).await;
            let before = one.get("/a").await.body;
            assert!(one.get("/a").await.is_hit());
            let start = clock();
            take_away(&mut server, how);
            let ended =
                until("it is used no more", async || one.kept("/a").await != Some(before.clone()))
                    .await;
            let told = format!("{how}, {unheard:?}: used for {ended:?}");
            // Never before its time, counted from the last look into the log, a second before.
            assert!(start.elapsed() + Duration::from_secs(2) >= unheard, "{told}");
            println!("{told}");
            assert!(ended < unheard + Duration::from_secs(5), "{told}");
            let start = clock();
            let later = one.get("/a").await;
            assert!(later.cache().starts_with("fwd=uri-miss"), "{later:?}");
            if unheard.is_zero() {
                assert_eq!(one.kept("/a").await, None, "strict");
            } else {
                assert_eq!(one.kept("/a").await, Some(later.body.clone()), "it came later");
                until("it is used no more", async || one.kept("/a").await.is_none()).await;
                println!("{how}, {unheard:?}: one that came later, for {:?}", start.elapsed());
                assert!(start.elapsed() >= unheard, "it lives from when it came");
            }
            bring_back(&mut server, how);
            until("it is in step", async || one.redis.status().synced).await;
            until("what was not purged is used again", async || one.get("/a").await.is_hit()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_started_offline_learns_all_purges() {
    let mut server = RedisServer::down();
    let origin = Origin::counting();
    let one = Process::unready(impatient(&server), &origin, |layer| layer);
    let other = Process::unready(impatient(&server), &origin, |layer| layer);
    assert_eq!(one.get("/a").await.body, "answer 0");
    assert!(one.get("/a").await.is_hit(), "of its own memory");
    assert!(one.handle.purge_tag("tag").await.is_err());
    assert_eq!(one.get("/a").await.body, "answer 1");
    other.get("/a").await;
    server.restart();
    for process in [&one, &other] {
        until("it is in step", async || process.redis.status().synced).await;
    }
    // What each has fetched meanwhile is older than the log.
    assert_eq!((one.kept("/a").await, other.kept("/a").await), (None, None));
    let body = one.get("/a").await.body;
    until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
    until("it is told", async || one.handle.purge_tag("tag").await.is_ok()).await;
    until("it is seen", async || other.kept("/a").await.is_none()).await;
}

/// Requests wait for Redis until it is known that it does not answer: what that costs the first ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_requests_of_an_outage_wait_briefly() {
    for (name, method, fields) in [
        ("a miss", "GET", TAGGED),
        ("a miss that varies", "GET", &[("cache-control", "max-age=600"), ("vary", "x-a")][..]),
        ("a change", "PUT", &[("location", "/b"), ("content-location", "/c")][..]),
    ] {
        for lease in [false, true] {
            let mut server = RedisServer::start();
            let origin = Origin::new(async move |_, _| reply(200, fields, "a"));
            let redis = impatient(&server);
            let redis = if lease { redis.lease_ttl(Duration::from_secs(1)) } else { redis };
            let one = Process::start(redis, &origin).await;
            one.send("GET", "/a", &[("x-a", "0")]).await;
            server.freeze();
            let mut waits = Vec::new();
            for number in 0..6 {
                let start = clock();
                let value = number.to_string();
                one.send(method, &format!("/a?{number}"), &[("x-a", &value)]).await;
                waits.push(start.elapsed().as_millis());
            }
            println!("{name}, with a lease: {lease}: one after the other took {waits:?} ms");
            assert!(waits.iter().all(|wait| *wait < 2_000));
            assert!(one.redis.status().breaker_open || waits.iter().sum::<u128>() < 1_000);
        }
    }
}

/// Requests notice first that Redis does not respond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_requests_extend_no_offline_ttl() {
    for unheard in [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(1)] {
        let mut server = RedisServer::start();
        let origin = Origin::counting();
        let one = Process::start(impatient(&server).offline_ttl(unheard), &origin).await;
        let before = one.get("/a").await.body;
        let asleep = clock();
        until("it is nearly time to look into the log", async || {
            asleep.elapsed() > Duration::from_millis(800)
        })
        .await;
        server.freeze();
        let start = clock();
        let mut number = 0;
        until("it is used no more", async || {
            number += 1;
            one.get(&format!("/{number}")).await;
            one.kept("/a").await != Some(before.clone())
        })
        .await;
        println!("unheard {unheard:?}: used for {:?} while others miss", start.elapsed());
        assert!(start.elapsed() < unheard + Duration::from_secs(5));
    }
}
