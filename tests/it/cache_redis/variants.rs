//! Variants that several processes store.

use tokio::task::JoinSet;
use tower_kit::cache::{RedisStore, contract};

use super::rig::{Origin, Process, config, until};
use crate::cache::rig::reply;
use crate::redis_server::RedisServer;

const FIELDS: &[(&str, &str)] = &[("cache-control", "max-age=600"), ("vary", "accept-language")];

fn languages() -> Origin {
    Origin::new(async |head, _| {
        let language = head.headers["accept-language"].to_str().unwrap().to_owned();
        reply(200, FIELDS, &language)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_are_atomic() {
    let server = RedisServer::start();
    let store = RedisStore::connect(config(&server));
    store.ready().await;
    contract::check_atomic_updates(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_stored_at_once_are_all_found() {
    let server = RedisServer::start();
    let origin = languages();
    let mut processes = Vec::new();
    for _ in 0..8 {
        processes.push(Process::bare(config(&server), &origin).await);
    }
    for round in 0..20 {
        let path = format!("/{round}");
        let mut tasks = JoinSet::new();
        for (number, process) in processes.iter().enumerate() {
            let language = format!("x-{number}");
            tasks.spawn(process.send("GET", &path, &[("accept-language", &language)]));
        }
        tasks.join_all().await;
        let names = |number: usize| format!("x-{number}");
        until("all variants are found", async || {
            let mut found = 0;
            for number in 0..processes.len() {
                let language = names(number);
                let fields = [("accept-language", &*language), ("cache-control", "only-if-cached")];
                let got = processes[0].send("GET", &path, &fields).await;
                found += usize::from(got.status == 200 && got.body == language);
            }
            found == processes.len()
        })
        .await;
    }
    assert_eq!(origin.calls(), 20 * 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evicted_variants_leave_redis() {
    let server = RedisServer::start();
    let one = Process::start(config(&server), &languages()).await;
    for number in 0..200 {
        let language = format!("x-{number}");
        one.send("GET", "/", &[("accept-language", &language)]).await;
    }
    let entries = || server.command(&["KEYS", "*{}:http:*"]).array().len();
    until("16 variants and their list are left", async || entries() == 17).await;
    let kept = [("accept-language", "x-199"), ("cache-control", "only-if-cached")];
    assert_eq!(one.send("GET", "/", &kept).await.status, 200);
}
