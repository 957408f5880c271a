//! Clients that are replaced because they got no reply.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::runtime::Handle;
use tower_kit::cache::RedisConfig;
use tower_kit::cache::fred::clients::Pool;
use tower_kit::cache::fred::interfaces::ClientLike;
use tower_kit::cache::fred::types::config::{Config, ReconnectPolicy};

use super::rig::{Origin, Process, impatient, until};
use crate::redis_server::{Cluster, RedisServer};
use crate::support::Metrics;

const CHANNEL: &str = "tower-kit:{purges}:news";

/// The connections of clients to a server, by their numbers: those for commands, and those for messages.
fn connections(server: &RedisServer) -> [BTreeSet<String>; 2] {
    let list = server.command(&["CLIENT", "LIST"]).text();
    // Neither this one nor those of other nodes, which are primaries and replicas.
    let clients = list.lines().filter(|line| !line.contains(" cmd=client"));
    let clients = clients.filter(|line| !line.contains(" flags=S") && !line.contains(" flags=M"));
    let (commands, messages): (Vec<_>, Vec<_>) = clients.partition(|line| line.contains(" sub=0"));
    let numbers = |lines: Vec<&str>| {
        lines.into_iter().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
    };
    [numbers(commands), numbers(messages)]
}

fn counts(server: &RedisServer) -> [usize; 2] {
    connections(server).map(|numbers| numbers.len())
}

fn replaced(metrics: &Metrics) -> u64 {
    metrics.counted("http_cache_redis_replaced_clients_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_client_leaves_no_connection() {
    let mut server = RedisServer::start();
    let origin = Origin::counting();
    let metrics = Metrics::new();
    let patient = || impatient(&server).offline_ttl(Duration::from_secs(600));
    let one = Process::start(patient().recorder(metrics.recorder()), &origin).await;
    let other = Process::start(patient(), &origin).await;
    assert_eq!(replaced(&metrics), 0);
    let body = one.get("/a").await.body;
    until("both have it", async || other.kept("/a").await.as_ref() == Some(&body)).await;
    until("both are subscribed", async || counts(&server) == [2, 2]).await;
    let before = connections(&server);
    let tasks = Handle::current().metrics().num_alive_tasks();

    server.freeze();
    assert!(one.handle.purge_tag("tag").await.is_err_and(|error| error.is_deferred()));
    until("a client is replaced", async || replaced(&metrics) > 0).await;
    server.thaw();
    until("the purge is sent", async || other.kept("/a").await.as_ref() != Some(&body)).await;
    until("both are in step", async || one.redis.status().synced && other.redis.status().synced)
        .await;
    until("the old connections are closed", async || counts(&server) == [2, 2]).await;
    assert_ne!(connections(&server), before);
    let subscribers = server.command(&["PUBSUB", "NUMSUB", CHANNEL]).array().remove(1).int();
    assert_eq!(subscribers, 2, "the subscription moves to the new client");
    until("the old tasks have ended", async || {
        Handle::current().metrics().num_alive_tasks() <= tasks
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_cluster_client_leaves_nothing() {
    let mut cluster = Cluster::start();
    let metrics = Metrics::new();
    let config = RedisConfig::new(&cluster.url()).unwrap().recorder(metrics.recorder());
    let one = Process::start(config, &Origin::counting()).await;
    let all = |cluster: &mut Cluster| -> usize {
        cluster.nodes().iter().map(|node| counts(node).iter().sum::<usize>()).sum()
    };
    assert!(all(&mut cluster) > 0);
    for node in cluster.nodes() {
        node.freeze();
    }
    until("the client is replaced", async || replaced(&metrics) > 0).await;
    for node in cluster.nodes() {
        node.thaw();
    }
    cluster.wait_until_whole();
    until("it is in step", async || one.redis.status().synced).await;
    assert_eq!(one.get("/a").await.body, one.get("/a").await.body);
    drop(one);
    until("all connections are closed", async || all(&mut cluster) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_of_a_user_is_not_replaced() {
    let mut server = RedisServer::start();
    let metrics = Metrics::new();
    let config = Config::from_url(&server.url()).unwrap();
    let policy = ReconnectPolicy::new_constant(0, 100);
    let pool = Pool::new(config, None, None, Some(policy), 2).unwrap();
    let connecting = pool.init().await.unwrap();
    let config = RedisConfig::from_client(pool.clone()).recorder(metrics.recorder());
    let one = Process::start(config, &Origin::counting()).await;
    until("it is subscribed", async || counts(&server) == [2, 1]).await;
    let before = connections(&server);
    server.freeze();
    until("the client is replaced", async || replaced(&metrics) > 0).await;
    server.thaw();
    until("it is in step", async || one.redis.status().synced).await;
    until("it is subscribed", async || counts(&server) == [2, 1]).await;
    let after = connections(&server);
    assert_eq!(after[0], before[0], "the pool is that of the user");
    assert_ne!(after[1], before[1], "the connection for messages is that of the store");
    drop(connecting);
}
