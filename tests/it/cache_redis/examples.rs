//! The examples `cache_redis` and `quickstart`, as two processes each, over one Redis.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::rig::{clock, until};
use crate::quickstart::built;
use crate::redis_server::RedisServer;
use crate::support::Raw;

struct Example {
    process: Child,
    addr: String,
    /// Of its first line, behind where it listens.
    said: String,
    stdout: BufReader<ChildStdout>,
}

impl Example {
    fn start(name: &str, redis: Option<&RedisServer>) -> Self {
        let mut command = Command::new(built(name));
        command.env("ADDR", "127.0.0.1:0").env_remove("REDIS_URL").stdout(Stdio::piped());
        let mut process =
            command.envs(redis.map(|redis| ("REDIS_URL", redis.url()))).spawn().unwrap();
        let mut said = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut said).unwrap();
        let (_, listens) = said.split_once("http://").expect("it says where it listens");
        let (addr, said) = listens.split_once(',').unwrap();
        Self { process, addr: addr.to_owned(), said: said.trim().to_owned(), stdout }
    }

    async fn ask(&self, request: &str) -> (String, String) {
        let mut raw = Raw::connect(self.addr.parse().unwrap()).await;
        raw.send(&format!("{request} HTTP/1.1\r\nhost: {}\r\n\r\n", self.addr)).await;
        raw.response().await
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_of_the_example_purges_is_purged_in_the_other() {
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| Example::start("cache_redis", Some(&redis)));
    assert_eq!(one.said, "with a cache in memory and Redis");
    let is_hit = |head: &str| head.contains("\r\ncache-status: tower-kit; hit;");
    for path in ["/items/1", "/items"] {
        // Until both are connected, each asks its own service.
        until("one keeps for the other", async || {
            let first = one.ask(&format!("GET {path}")).await.1;
            let (head, second) = other.ask(&format!("GET {path}")).await;
            is_hit(&head) && first == second
        })
        .await;
    }
    let ours = format!("of {}\n", one.addr);
    let (_, before) = other.ask("GET /items/1").await;
    assert!(before.starts_with("item 1, by query "), "{before}");

    let (head, said) = other.ask("PUT /items/1").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(said, "changed, as all are told\n");
    let start = clock();
    for path in ["/items/1", "/items"] {
        let purged = until("the other sees it", async || {
            let (head, body) = one.ask(&format!("GET {path}")).await;
            !is_hit(&head) && body.ends_with(&ours)
        });
        purged.await;
    }
    println!("seen, with two queries of a second: {:?}", start.elapsed());
    let (head, again) = other.ask("GET /items/1").await;
    assert!(is_hit(&head) && again.ends_with(&ours) && again != before, "{head}{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_says_when_it_has_no_redis() {
    let alone = Example::start("cache_redis", None);
    assert_eq!(alone.said, "with a cache in memory alone");
    let (_, said) = alone.ask("PUT /items/1").await;
    assert_eq!(said, "changed, as all are told\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_quickstart_shares_its_cache_where_it_has_a_redis() {
    let redis = RedisServer::start();
    let [mut one, other] = [(); 2].map(|()| Example::start("quickstart", Some(&redis)));
    let mut said = String::new();
    while !said.ends_with("its cache is in memory and Redis\n") {
        assert!(one.stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    until("one keeps for the other", async || {
        one.ask("GET /items?n=7").await;
        let (head, body) = other.ask("GET /items?n=7").await;
        assert!(body.contains("Item 7") && !body.contains("Item 8"), "{body}");
        // Fetched by itself until it is connected, and then what the first one fetched.
        head.contains("cache-status: tower-kit; hit")
            && !redis.command(&["KEYS", "*n=7"]).array().is_empty()
    })
    .await;
}
