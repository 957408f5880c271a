//! Entries by `no-vary-search`, which a process finds or purges without knowing their rule.

use super::rig::{Origin, Process, config, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;

fn origin() -> Origin {
    let fields =
        &[("cache-control", "max-age=600"), ("no-vary-search", "params=(\"utm\"), key-order")];
    Origin::new(async |_, number| reply(200, fields, &format!("answer {number}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_is_learned_from_a_shared_entry() {
    let server = RedisServer::start();
    let origin = origin();
    let one = Process::start(config(&server), &origin).await;
    let two = Process::start(config(&server), &origin).await;
    let bare = Process::bare(config(&server), &origin).await;
    one.get("/a?c=1&utm=1&b=1").await;
    until("Redis has the entry", async || bare.kept("/a?b=1&c=1").await.is_some()).await;
    // The normalized URL leads to the entry, and that to the rule.
    assert_eq!(two.get("/a?b=1&c=1").await.body, "answer 0");
    for process in [&one, &two, &bare] {
        assert_eq!(process.get("/a?utm=2&b=1&c=1").await.body, "answer 0");
    }
    // A process that finds no such URL asks once.
    let late = Process::start(config(&server), &origin).await;
    assert_eq!(late.get("/a?b=1&c=1&utm=3").await.body, "answer 1");
    assert_eq!(late.get("/a?b=1&c=1&utm=4").await.body, "answer 1");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purge_without_the_rule_reaches_all_urls() {
    let server = RedisServer::start();
    let origin = origin();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    settled(&[&one, &other]).await;
    for purge in ["/a?b=1&utm=9", "/a?c=1", "/a", "POST /a?utm=8&b=1", "DELETE /a"] {
        one.get("/a?b=1&utm=1").await;
        assert!(one.kept("/a?b=1&utm=2").await.is_some(), "{purge}");
        match purge.split_once(' ') {
            Some((method, path)) => assert_eq!(other.send(method, path, &[]).await.status, 200),
            None => {
                other.handle.purge_url(&format!("http://x.org{purge}")).unwrap().await.unwrap();
            }
        }
        until(purge, async || one.kept("/a?b=1&utm=2").await.is_none()).await;
        assert!(one.kept("/a?b=1&utm=1").await.is_none(), "{purge}");
    }
    one.get("/a?b=1&utm=1").await;
    other.handle.purge_url("http://x.org/b?b=1").unwrap().await.unwrap();
    settled(&[&other, &one]).await;
    assert!(one.kept("/a?b=1&utm=2").await.is_some(), "of another path");
}
