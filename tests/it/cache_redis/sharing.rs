//! What one process keeps, others use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tower_kit::MIB;
use tower_kit::cache::fred::clients::Pool;
use tower_kit::cache::fred::interfaces::ClientLike;
use tower_kit::cache::fred::types::config::Config;
use tower_kit::cache::{
    BoxStore, CacheHint, CacheLayer, MemoryStore, RedisConfig, RedisStore, Store, TieredStore,
    contract,
};

use super::rig::{Origin, Process, clock, config, config_at, settled, until};
use crate::cache::rig::reply;
use crate::redis_server::{Cluster, RedisServer, Reply, Sentinels};

async fn check_contract(name: &str, connect: impl Fn() -> RedisConfig) {
    let start = clock();
    let made = AtomicUsize::new(0);
    let store = async || {
        let prefix = format!("{}:", made.fetch_add(1, Ordering::Relaxed));
        let config = connect()
            .prefix(prefix)
            .max_entry_size(8 * MIB)
            .command_timeout(Duration::from_secs(5));
        let store = RedisStore::connect(config);
        store.ready().await;
        store
    };
    contract::check(store).await;
    let bare = start.elapsed();
    let tiered = async || TieredStore::new(MemoryStore::new(64 * MIB), store().await);
    contract::check(tiered).await;
    contract::check(async || BoxStore::new(tiered().await)).await;
    println!("{name}: {bare:.2?}, with a memory {:.2?}", start.elapsed() - bare);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds_over_tcp_and_unix_sockets() {
    let server = RedisServer::start();
    for url in [server.url(), server.unix_url()] {
        check_contract(&url, || config_at(&url)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds_with_password_and_database() {
    let server = RedisServer::start_with(&["--requirepass", "s@cret/?"]);
    let url = format!("redis://:s%40cret%2F%3F@127.0.0.1:{}/3", server.port());
    check_contract("password", || config_at(&url)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds_over_a_cluster() {
    let cluster = Cluster::start();
    check_contract("cluster", || config_at(&cluster.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds_over_sentinels() {
    let sentinels = Sentinels::start();
    check_contract("sentinels", || config_at(&sentinels.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds_over_a_pool_of_the_user() {
    let server = RedisServer::start();
    let pool = Pool::new(Config::from_url(&server.url()).unwrap(), None, None, None, 2).unwrap();
    let connecting = pool.init().await.unwrap();
    check_contract("a user's pool", || RedisConfig::from_client(pool.clone())).await;
    // The other client has no address to connect to.
    assert!(RedisConfig::from_client(pool.clone()).use_redis_rs().is_err());
    let store = RedisStore::from_client(pool.clone());
    store.ready().await;
    drop(store);
    assert_eq!(server.command(&["PING"]).text(), "PONG");
    assert!(pool.ping::<String>(None).await.is_ok(), "the user's connections stay open");
    drop(connecting);
}

/// A time that tests set, for all processes.
fn set_clock() -> (Arc<AtomicU64>, impl Fn() -> SystemTime + Clone) {
    let millis = Arc::new(AtomicU64::new(1_700_000_000_000));
    let read = Arc::clone(&millis);
    (millis, move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::SeqCst)))
}

/// Answers by path: what varies, what is validated, what is stale for a while.
fn library() -> Origin {
    Origin::new(async |head, number| {
        let body = format!("answer {number}");
        let asked =
            |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        match head.uri.path() {
            "/vary" if asked("accept-encoding").contains("gzip") => {
                let fields = [
                    ("cache-control", "max-age=60"),
                    ("vary", "accept-encoding"),
                    ("content-encoding", "gzip"),
                ];
                reply(200, &fields, &format!("{body} zipped"))
            }
            "/vary" => {
                reply(200, &[("cache-control", "max-age=60"), ("vary", "accept-encoding")], &body)
            }
            "/etag" if asked("if-none-match") == "\"1\"" => {
                reply(304, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], "")
            }
            "/etag" => reply(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")], &body),
            "/stale" => {
                let fields = [("cache-control", "max-age=60, stale-while-revalidate=600")];
                reply(200, &fields, &body)
            }
            "/gone" => reply(404, &[("cache-control", "max-age=60")], &body),
            _ => reply(200, &[("cache-control", "max-age=60"), ("x-a", "1"), ("x-a", "2")], &body),
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_parts() {
    let server = RedisServer::start();
    let origin = Origin::new(async |head, number| {
        let range = head.headers.get("range").map_or("", |range| range.to_str().unwrap());
        let stated = match range {
            "bytes=0-3" => "bytes 0-3/1000000000",
            _ => "bytes 4-7/1000000000",
        };
        let fields =
            [("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-range", stated)];
        reply(206, &fields, &format!("{number:04}"))
    });
    let one = Process::start(config(&server), &origin).await;
    let honors = |layer: CacheLayer| layer.honor_request_control();
    let other = Process::with(config(&server), &origin, honors).await;
    let (first, second) = ([("range", "bytes=0-3")], [("range", "bytes=4-7")]);
    let got = one.send("GET", "/", &first).await;
    assert_eq!((got.status, &*got.body), (206, "0000"));
    let kept = [first[0], ("cache-control", "only-if-cached")];
    let is_kept = async || other.send("GET", "/", &kept).await.status == 206;
    until("the part is there", is_kept).await;
    let hit = other.send("GET", "/", &first).await;
    assert_eq!((hit.status, &*hit.body, hit.is_hit()), (206, "0000", true));
    assert_eq!(hit.field("content-range"), Some("bytes 0-3/1000000000"));
    let next = other.send("GET", "/", &second).await;
    assert_eq!((&*next.body, next.is_hit()), ("0001", false));
    // A purge of one process reaches the parts of the other.
    one.handle.purge_url("http://x.org/").unwrap().await.unwrap();
    until("the purge has come", async || !is_kept().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_responses() {
    let server = RedisServer::start();
    let (origin, (time, clock)) = (library(), set_clock());
    let start = |clock: &_| {
        let read = Clone::clone(clock);
        Process::with(config(&server), &origin, move |layer: CacheLayer| layer.clock(read))
    };
    let (one, other) = (start(&clock).await, start(&clock).await);
    let bare = Process::bare_with(config(&server), &origin, |layer| layer.clock(clock)).await;
    let hit = |left: u64| format!("hit; ttl={left}");

    // As it is, and any status.
    for path in ["/a", "/gone"] {
        let first = one.get(path).await;
        assert!(first.cache().starts_with("fwd=uri-miss"), "{first:?}");
        until("it is there", async || bare.kept(path).await.is_some()).await;
        time.fetch_add(1000, Ordering::SeqCst);
        let second = other.get(path).await;
        assert_eq!((second.status, second.cache()), (first.status, &*hit(59)), "{path}");
        assert_eq!((&second.body, second.field("age")), (&first.body, Some("1")));
        let lines = |got: &crate::cache::rig::Got| {
            got.headers.get_all("x-a").iter().cloned().collect::<Vec<_>>()
        };
        assert_eq!(lines(&second), lines(&first));
    }
    assert_eq!(origin.calls(), 2);

    // Heads, parts and preconditions.
    let whole = one.get("/etag").await;
    until("it is there", async || bare.kept("/etag").await.is_some()).await;
    let head = other.send("HEAD", "/etag", &[]).await;
    assert_eq!((head.cache(), &*head.body), (&*hit(60), ""));
    assert_eq!(head.field("content-length"), Some(&*whole.body.len().to_string()));
    let part = bare.send("GET", "/etag", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, &*part.body), (206, &whole.body[2..5]));
    let same = other.send("GET", "/etag", &[("if-none-match", "\"1\"")]).await;
    assert_eq!((same.status, &*same.body), (304, ""));
    assert_eq!(origin.calls(), 3);

    // What one has found to be right still is fresh in the other.
    time.fetch_add(61_000, Ordering::SeqCst);
    let confirmed = one.get("/etag").await;
    // `stored` follows if Redis has replied before the head is sent.
    assert!(confirmed.cache().starts_with("fwd=stale; fwd-status=304"), "{confirmed:?}");
    until("it is there", async || bare.kept("/etag").await.is_some()).await;
    let second = other.get("/etag").await;
    assert_eq!((second.cache(), &second.body), (&*hit(60), &whole.body));
    assert_eq!(origin.calls(), 4);

    // Variants of either.
    let zipped = &[("accept-encoding", "gzip")];
    let plain = one.get("/vary").await;
    until("the first is there", async || bare.kept("/vary").await.is_some()).await;
    let small = other.send("GET", "/vary", zipped).await;
    assert_eq!(origin.calls(), 6);
    until("the second is there", async || {
        let only = [("accept-encoding", "gzip"), ("cache-control", "only-if-cached")];
        bare.send("GET", "/vary", &only).await.status == 200
    })
    .await;
    let after = one.send("GET", "/vary", zipped).await;
    assert_eq!((after.cache(), &after.body), (&*hit(60), &small.body));
    assert_eq!(after.field("content-encoding"), Some("gzip"));
    let after = other.get("/vary").await;
    assert_eq!((after.cache(), &after.body), (&*hit(60), &plain.body));
    assert_eq!(origin.calls(), 6);

    // What is stale for both is refreshed by one.
    one.get("/stale").await;
    until("it is there", async || bare.kept("/stale").await.is_some()).await;
    assert!(other.get("/stale").await.is_hit());
    time.fetch_add(61_000, Ordering::SeqCst);
    let stale = one.get("/stale").await;
    assert_eq!(stale.cache(), "hit; ttl=-1");
    until("it is refreshed", async || one.get("/stale").await.cache() == hit(60)).await;
    let refreshed = one.get("/stale").await.body;
    assert_ne!(refreshed, stale.body);
    let name = server.command(&["KEYS", "*/stale"]).array().remove(0).text();
    until("it is in Redis", async || match server.command(&["GET", &name]) {
        Reply::Bulk(Some(bytes)) => {
            bytes.windows(refreshed.len()).any(|part| part == refreshed.as_bytes())
        }
        _ => false,
    })
    .await;
    // Its own is stale; the look for a newer one is in the background.
    until("the other finds that", async || other.get("/stale").await.body == refreshed).await;
    assert_eq!(origin.calls(), 8);
    let all = bare.redis.status();
    assert_eq!((all.synced, all.breaker_open, all.error), (true, false, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soft_limit_of_a_hint_is_shared() {
    let server = RedisServer::start();
    let (time, clock) = set_clock();
    let origin = Origin::new(async |_, number| {
        if number > 0 {
            std::future::pending::<()>().await;
        }
        let mut response = reply(200, &[("cache-control", "max-age=60")], "old");
        response.extensions_mut().insert(CacheHint::new().revalidate_timeout(Duration::ZERO));
        response
    });
    // A process that did not find the limit of the entry would wait for longer than the test.
    let start = || {
        let clock = clock.clone();
        Process::bare_with(config(&server), &origin, |layer| {
            layer.revalidate_timeout(Duration::from_secs(3600)).clock(clock)
        })
    };
    let (one, other) = (start().await, start().await);
    one.get("/").await;
    until("it is there", async || other.kept("/").await.is_some()).await;
    time.fetch_add(61_000, Ordering::SeqCst);
    assert_eq!(other.get("/").await.cache(), "hit; ttl=-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_all_sizes_are_shared() {
    let server = RedisServer::start();
    let origin = Origin::new(async |head, _| {
        let size = head.uri.path()[1..].parse().unwrap();
        reply(200, &[("cache-control", "max-age=60")], &"x".repeat(size))
    });
    let one =
        Process::start(config(&server).command_timeout(Duration::from_secs(1)), &origin).await;
    let other =
        Process::bare(config(&server).command_timeout(Duration::from_secs(1)), &origin).await;
    for size in [0, 1, 100, 65_536, 65_537, 1_048_576] {
        let path = format!("/{size}");
        one.get(&path).await;
        let start = clock();
        until("it is there", async || other.kept(&path).await.is_some()).await;
        let got = other.get(&path).await;
        assert!(got.is_hit() && got.body.len() == size);
        println!("{size} bytes: {:?}", start.elapsed());
    }
    let usage = one.redis.usage();
    assert_eq!(usage.entries, 0, "what is in Redis is not counted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purged_memory_does_not_hide_redis() {
    let server = RedisServer::start();
    let origin = Origin::counting();
    let one = Process::start(config(&server), &origin).await;
    let other = Process::start(config(&server), &origin).await;
    let once: [(&str, &[_]); 4] = [
        ("GET", &[("cache-control", "only-if-cached")]),
        ("HEAD", &[]),
        ("GET", &[("range", "bytes=0-2")]),
        ("GET", &[]),
    ];
    for (method, fields) in once {
        let before = one.get("/a").await.body;
        until("both have it", async || other.kept("/a").await.as_ref() == Some(&before)).await;
        assert_eq!(other.get("/a").await.body, before);
        one.handle.purge_tag("tag").await.unwrap();
        settled(&[&one, &other]).await;
        let new = one.get("/a").await.body;
        let bare = Process::bare(config(&server), &origin).await;
        until("it is in Redis", async || bare.kept("/a").await.as_ref() == Some(&new)).await;
        let calls = origin.calls();
        let got = other.send(method, "/a", fields).await;
        assert!(got.is_hit(), "{method} {fields:?}: {got:?}");
        assert_eq!(origin.calls(), calls);
        assert_eq!(other.get("/a").await.body, new);
    }
}
