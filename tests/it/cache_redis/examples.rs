//! The examples `cache_redis` and `quickstart`, as two processes each, over one Redis.

use super::rig::{clock, until};
use crate::program::Program;
use crate::redis_server::RedisServer;

fn start(example: &str, redis: Option<&RedisServer>) -> Program {
    let url = redis.map(RedisServer::url);
    let url = url.as_deref().map(|url| ("REDIS_URL", url));
    Program::start(example, url.as_slice())
}

async fn ask(program: &Program, request: &str) -> (String, String) {
    let mut raw = program.connect().await;
    raw.send(&format!("{request} HTTP/1.1\r\nhost: {}\r\n\r\n", program.addr)).await;
    raw.response().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn example_purges_in_both_processes() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| start("cache_redis", Some(&redis)));
    assert_eq!(one.said, "with a cache in memory and Redis");
    let is_hit = |head: &str| head.contains("\r\ncache-status: tower-kit; hit;");
    for path in ["/items/1", "/items"] {
        // Until both are connected, each asks its own service.
        until("one keeps for the other", async || {
            let first = ask(&one, &format!("GET {path}")).await.1;
            let (head, second) = ask(&other, &format!("GET {path}")).await;
            is_hit(&head) && first == second
        })
        .await;
    }
    let ours = format!("of {}\n", one.addr);
    let (_, before) = ask(&other, "GET /items/1").await;
    assert!(before.starts_with("item 1, by query "), "{before}");

    let (head, said) = ask(&other, "PUT /items/1").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(said, "changed, as all are told\n");
    let start = clock();
    for path in ["/items/1", "/items"] {
        let purged = until("the other sees it", async || {
            let (head, body) = ask(&one, &format!("GET {path}")).await;
            !is_hit(&head) && body.ends_with(&ours)
        });
        purged.await;
    }
    println!("seen, with two queries of a second: {:?}", start.elapsed());
    let (head, again) = ask(&other, "GET /items/1").await;
    assert!(is_hit(&head) && again.ends_with(&ours) && again != before, "{head}{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn example_runs_without_redis() {
    let alone = start("cache_redis", None);
    assert_eq!(alone.said, "with a cache in memory alone");
    let (_, said) = ask(&alone, "PUT /items/1").await;
    assert_eq!(said, "changed, as all are told\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quickstart_shares_its_cache_over_redis() {
    let redis = RedisServer::start();
    let [mut one, other] = [(); 2].map(|()| start("quickstart", Some(&redis)));
    while one.line() != "its cache is in memory and Redis" {}
    until("one keeps for the other", async || {
        ask(&one, "GET /items?n=7").await;
        let (head, body) = ask(&other, "GET /items?n=7").await;
        assert!(body.contains("Item 7") && !body.contains("Item 8"), "{body}");
        // Fetched by itself until it is connected, and then what the first one fetched.
        head.contains("cache-status: tower-kit; hit")
            && !redis.command(&["KEYS", "*n=7"]).array().is_empty()
    })
    .await;
}
