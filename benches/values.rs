//! The behavior of a cache of values beside that of bentocache: when a loader fails or is slow, when Redis
//! is slow, when there are many keys, and when values change while they are loaded.
//!
//! ```sh
//! cargo bench -p benches --bench values
//! ```
//!
//! It needs redis-server in `PATH`, and node 20 and npm for bentocache. Two caches over one Redis stand for
//! two processes. `values/peer.mjs` has the same cases for bentocache, in the same order.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::sleep;
use tower_kit::cache::{MemoryStore, RedisConfig, RedisStore, TieredStore};
use tower_kit::values::ValueCacheError;
use tower_kit::{MIB, ValueCache};

type BoxError = Box<dyn Error + Send + Sync>;

/// A redis-server, which is killed when this is dropped.
struct Server {
    child: Child,
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ours = tower_kit().await?;
    let theirs = bentocache().await.unwrap_or_else(|error| {
        println!("bentocache is left out: {error}");
        Vec::new()
    });
    let mut theirs = theirs.into_iter();
    println!("| case | tower-kit | bentocache |\n|---|---|---|");
    for (title, ours) in TITLES.iter().zip(ours) {
        println!("| {title} | {ours} | {} |", theirs.next().unwrap_or_default());
    }
    Ok(())
}

async fn tower_kit() -> Result<[String; TITLES.len()], BoxError> {
    let server = Server::start().await?;
    let (one, other) = (server.cache().await?, server.cache().await?);
    Ok([
        herd(&one).await,
        failing_loader(&one, "failing").await,
        failing_loader(&one.clone().failure_ttl(LONG), "remembered").await,
        stale_value(&one).await?,
        slow_loader(&one).await?,
        slow_redis(&one, &other, server.port).await?,
        many_sets(&one, &other).await?,
        many_clears(&one, &other).await?,
        races(&one, &other, async |key| other.remove(key).await).await?,
        races(&one, &other, async |key| other.insert(key, "new", None).await).await?,
    ])
}

/// Runs the same cases in node, which prints a line for each.
async fn bentocache() -> Result<Vec<String>, BoxError> {
    let server = Server::start().await?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("values");
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
    if !Command::new("npm").args(install).current_dir(&here).status()?.success() {
        return Err("npm ci failed".into());
    }
    let mut node = Command::new("node");
    node.arg("peer.mjs").arg(server.port.to_string()).current_dir(&here).stderr(Stdio::inherit());
    let output = node.output()?;
    if !output.status.success() {
        return Err("node failed".into());
    }
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

async fn herd(one: &ValueCache) -> String {
    let calls = AtomicUsize::new(0);
    let ask = |_| one.get_or_insert_with("herd", None, || load(&calls, Ok("new")));
    join_all((0..CALLERS).map(ask)).await;
    calls.into_inner().to_string()
}

async fn failing_loader(one: &ValueCache, key: &str) -> String {
    let calls = AtomicUsize::new(0);
    let ask = |_| one.get_or_insert_with(key, None, || load(&calls, Err(())));
    join_all((0..CALLERS).map(ask)).await;
    let first = calls.swap(0, Ordering::Relaxed);
    join_all((0..CALLERS).map(ask)).await;
    format!("{first}, {}", calls.into_inner())
}

async fn stale_value(one: &ValueCache) -> Result<String, BoxError> {
    let one = one.clone().stale_if_error(LONG).retry_delay(Duration::from_secs(10));
    insert_stale(&one, "stale").await?;
    let calls = AtomicUsize::new(0);
    let ask = |_| one.get_or_insert_with("stale", None, || load(&calls, Err(())));
    let mut values = join_all((0..CALLERS).map(ask)).await;
    values.extend(join_all((0..CALLERS).map(ask)).await);
    let stale = values.iter().filter(|value| value.as_deref().ok() == Some("old")).count();
    Ok(format!("{stale}, {}", calls.into_inner()))
}

#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
async fn slow_loader(one: &ValueCache) -> Result<String, BoxError> {
    let one = one.clone().stale_if_error(LONG).soft_timeout(Duration::from_millis(100));
    insert_stale(&one, "slow-loader").await?;
    let calls = Arc::new(AtomicUsize::new(0));
    let ask = |_| {
        let calls = Arc::clone(&calls);
        one.get_or_refresh_with("slow-loader", None, async move || {
            calls.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            Ok::<_, ()>("new".to_owned())
        })
    };
    let start = Instant::now();
    let values = join_all((0..CALLERS).map(ask)).await;
    let wait = start.elapsed().as_millis();
    let stale = values.iter().filter(|value| value.as_deref().ok() == Some("old")).count();
    sleep(Duration::from_millis(1500)).await;
    let then = text(one.get("slow-loader").await);
    Ok(format!("{stale}, {wait} ms, {}, {then}", calls.load(Ordering::Relaxed)))
}

#[expect(clippy::disallowed_methods, reason = "a bench is about time")]
async fn slow_redis(one: &ValueCache, other: &ValueCache, port: u16) -> Result<String, BoxError> {
    confirmed(&one.insert("slow-redis", "old", LONG).await)?;
    eventually(async || other.get::<String>("slow-redis").await.as_deref() == Some("old")).await;
    let mut admin = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    admin.write_all(b"CLIENT PAUSE 1500 ALL\r\n").await?;
    admin.read_exact(&mut [0; 5]).await?;
    let start = Instant::now();
    let set = confirmed(&one.insert("slow-redis", "new", LONG).await)?;
    let set =
        format!("{} in {} ms", if set { "done" } else { "late" }, start.elapsed().as_millis());
    let near = text(one.get("slow-redis").await);
    sleep(Duration::from_secs(3)).await;
    Ok(format!("{set}, {near}, {}", text(other.get("slow-redis").await)))
}

async fn many_sets(one: &ValueCache, other: &ValueCache) -> Result<String, BoxError> {
    let of = |cache: &ValueCache| cache.clone().namespace("untouched");
    confirmed(&of(one).insert("1", "kept", LONG).await)?;
    let mut late = 0;
    for at in (0..150_000).step_by(1000) {
        let set = async |key: u32| one.insert(&format!("other:{key}"), &key, LONG).await;
        for set in join_all((at..at + 1000).map(set)).await {
            late += usize::from(!confirmed(&set)?);
        }
    }
    Ok(format!("{}, {late}", text(of(other).get("1").await)))
}

async fn many_clears(one: &ValueCache, other: &ValueCache) -> Result<String, BoxError> {
    let of = |cache: &ValueCache| cache.clone().namespace("stranger");
    confirmed(&of(one).insert("1", "kept", LONG).await)?;
    for number in 0..101 {
        let cleared = one.clone().namespace(&format!("n{number}"));
        confirmed(&cleared.insert("1", &number, LONG).await)?;
        confirmed(&cleared.clear().await)?;
    }
    Ok(text(of(other).get("1").await))
}

/// Changes values in another process while this one loads them, and counts the old values afterwards.
async fn races(
    one: &ValueCache,
    other: &ValueCache,
    change: impl AsyncFn(&str) -> Result<(), ValueCacheError>,
) -> Result<String, BoxError> {
    let mut stale = 0;
    for race in 0..150 {
        let key = format!("race:{race}");
        let begun = Notify::new();
        let load_old = async || {
            begun.notify_one();
            sleep(Duration::from_millis(race % 30)).await;
            Ok::<_, ()>("old".to_owned())
        };
        let change = async {
            begun.notified().await;
            change(&key).await
        };
        let (_, changed) = tokio::join!(one.get_or_insert_with(&key, None, load_old), change);
        confirmed(&changed)?;
        sleep(Duration::from_millis(50)).await;
        for cache in [one, other] {
            let load_new = async || Ok::<_, ()>("new".to_owned());
            let value = cache.get_or_insert_with(&key, None, load_new).await;
            stale += usize::from(value.as_deref().ok() == Some("old"));
        }
        confirmed(&one.remove(&key).await)?;
    }
    Ok(stale.to_string())
}

async fn load(calls: &AtomicUsize, result: Result<&str, ()>) -> Result<String, ()> {
    calls.fetch_add(1, Ordering::Relaxed);
    sleep(Duration::from_millis(50)).await;
    result.map(str::to_owned)
}

async fn insert_stale(cache: &ValueCache, key: &str) -> Result<(), BoxError> {
    confirmed(&cache.insert(key, "old", Duration::from_millis(50)).await)?;
    sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// Returns `false` if a change holds here, and other processes learn of it later.
fn confirmed(change: &Result<(), ValueCacheError>) -> Result<bool, BoxError> {
    match change {
        Err(error) if !error.is_deferred() => Err(error.to_string().into()),
        change => Ok(change.is_ok()),
    }
}

fn text(value: Option<String>) -> String {
    value.unwrap_or_else(|| "none".to_owned())
}

/// Waits until a condition holds, for 5 s at most.
async fn eventually(holds: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if holds().await {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

impl Server {
    async fn start() -> Result<Self, BoxError> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        let child = command.stdout(Stdio::null()).spawn()?;
        let server = Self { child, port };
        eventually(async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
        Ok(server)
    }

    /// Returns a cache as a process of its own would have it.
    async fn cache(&self) -> Result<ValueCache, BoxError> {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let redis = RedisStore::connect(RedisConfig::new(&url)?);
        redis.ready().await;
        Ok(ValueCache::new(TieredStore::new(MemoryStore::new(64 * MIB), redis)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the server has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const CALLERS: usize = 200;
const LONG: Duration = Duration::from_secs(3600);

const TITLES: [&str; 10] = [
    "200 callers of a missing key: calls of the loader",
    "the loader fails: its calls for 200 callers, and for the next 200",
    "the same with `failure_ttl`",
    "the loader fails, and there is a stale value: stale values for 400 callers, calls of the loader",
    "the loader takes 1 s, and a stale value stands in after 100 ms: stale values for 200 callers, the \
     longest wait, calls of the loader, the value afterwards",
    "a set while Redis stands still for 1.5 s: when it returns, the value in this process at once, in \
     another process afterwards",
    "150,000 other keys are set, 1,000 at once: an untouched value, late sets",
    "101 other namespaces are cleared: an untouched value",
    "150 removals while another process loads the value: stale values in 300 reads",
    "150 sets while another process loads the value: stale values in 300 reads",
];
