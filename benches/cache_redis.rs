//! The cost of a hit from Redis, compared with a GET of the same bytes through the same client, for
//! each client, and of a hit from the memory before Redis, compared with memory alone.
//!
//! The bench starts and stops redis-server. It counts the processor time of this process, which runs
//! in one thread, so that neither Redis nor the wait for Redis is measured.

use std::convert::Infallible;
use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::task::JoinSet;
use tower::util::BoxCloneService;
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tower_kit::MIB;
use tower_kit::cache::fred::clients::Client;
use tower_kit::cache::fred::interfaces::{ClientLike, KeysInterface};
use tower_kit::cache::fred::types::config::{Config, Options, ReconnectPolicy};
use tower_kit::cache::{CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore};

const SIZES: [(&str, usize); 2] = [("1 KiB", 1024), ("100 KiB", 102_400)];
const CONCURRENCY: [usize; 3] = [1, 64, 256];

/// Killed when it is dropped.
struct Server(Child);

/// Requests for one path.
#[derive(Clone)]
struct Hits {
    service: BoxCloneService<Request<Empty<Bytes>>, Response<Bytes>, BoxError>,
    path: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let requests = if std::env::args().any(|word| word == "--quick") { 4_000 } else { 40_000 };
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _server = Server::start(port)?;
    let url = format!("redis://127.0.0.1:{port}");
    // On a busy machine a hit may take longer than the default.
    let budget = Duration::from_secs(1);
    let config = RedisConfig::new(&url)?.command_timeout(budget);
    let behind = RedisStore::connect(config.clone());
    behind.ready().await;
    println!("microseconds on a processor for each request, the least of five");
    println!(
        "{:<8}{:<9}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}",
        "client", "body", "at once", "GET", "by hand", "layer", "% of GET", "% by hand"
    );
    let client = bare_client(&url).await?;
    let bare = client.with_options(&Options { timeout: Some(budget), ..Options::default() });
    let get = move |key| {
        let bare = bare.clone();
        async move { bare.get::<Bytes, _>(key).await.map_err(BoxError::from) }
    };
    let other = redis::AsyncConnectionConfig::new().set_response_timeout(Some(budget));
    let opened = redis::Client::open(&*url)?;
    let other = opened.get_multiplexed_async_connection_with_config(&other).await?;
    let get_by_other = move |key| {
        let mut other = other.clone();
        async move { Ok(redis::cmd("GET").arg(key).query_async::<Bytes>(&mut other).await?) }
    };
    for (title, size) in SIZES {
        let body = Bytes::from(vec![b'x'; size]);
        client.set::<(), _, _>(title, body, None, None, false).await?;
    }
    through("fred", config.clone().prefix("fred:"), get, requests).await?;
    through("redis", config.clone().prefix("redis:").use_redis_rs()?, get_by_other, requests)
        .await?;

    println!("{:<17}{:>9}{:>9}{:>9}{:>13}", "body", "at once", "memory", "tiered", "% of memory");
    for (title, size) in SIZES {
        let memory = Hits::of(CacheLayer::new(MemoryStore::new(64 * MIB)), size).await?;
        let tiers = TieredStore::new(MemoryStore::new(64 * MIB), behind.clone());
        let tiered = Hits::of(CacheLayer::new(tiers), size).await?;
        for concurrency in CONCURRENCY {
            let mut least = [f64::MAX; 2];
            for _ in 0..5 {
                for (least, hits) in least.iter_mut().zip([&memory, &tiered]) {
                    let cost = load(requests, concurrency, || hits.clone().hit()).await;
                    *least = least.min(cost);
                }
            }
            let [memory, tiered] = least;
            let share = tiered / memory * 100.0;
            println!("{title:<17}{concurrency:>9}{memory:>9.2}{tiered:>9.2}{share:>13.0}");
        }
    }
    println!("bars: layer 130 % of a GET, tiered 110 % of memory");
    Ok(client.quit().await?)
}

/// Measures the hits through one client, beside its own GET.
async fn through<F>(
    client: &str,
    config: RedisConfig,
    get: impl Fn(&'static str) -> F + Clone + Send + 'static,
    requests: usize,
) -> Result<(), BoxError>
where
    F: Future<Output = Result<Bytes, BoxError>> + Send + 'static,
{
    let redis = RedisStore::connect(config);
    redis.ready().await;
    for (title, size) in SIZES {
        let requests = if size > 10_000 { requests / 4 } else { requests };
        let layered = Hits::of(CacheLayer::new(redis.clone()), size).await?;
        let by_hand = Hits::by_hand(get.clone(), title, size);
        for concurrency in CONCURRENCY {
            let mut least = [f64::MAX; 3];
            for _ in 0..5 {
                let costs = [
                    load(requests, concurrency, || {
                        let got = get(title);
                        async move { got.await.is_ok_and(|got| got.len() == size) }
                    })
                    .await,
                    load(requests, concurrency, || by_hand.clone().hit()).await,
                    load(requests, concurrency, || layered.clone().hit()).await,
                ];
                for (least, cost) in least.iter_mut().zip(costs) {
                    *least = least.min(cost);
                }
            }
            let [bare, by_hand, layer] = least;
            println!(
                "{client:<8}{title:<9}{concurrency:>9}{bare:>9.2}{by_hand:>9.2}{layer:>9.2}{:>11.0}{:>11.0}",
                layer / bare * 100.0,
                layer / by_hand * 100.0,
            );
        }
    }
    Ok(())
}

async fn bare_client(url: &str) -> Result<Client, BoxError> {
    let client = Client::new(Config::from_url(url)?, None, None, Some(ReconnectPolicy::default()));
    client.init().await?;
    Ok(client)
}

impl Hits {
    /// A service written by hand: a GET, and a response with its reply.
    fn by_hand<F>(
        get: impl Fn(&'static str) -> F + Clone + Send + 'static,
        key: &'static str,
        size: usize,
    ) -> Self
    where
        F: Future<Output = Result<Bytes, BoxError>> + Send + 'static,
    {
        let service = service_fn(move |_: Request<Empty<Bytes>>| {
            let got = get(key);
            async move {
                let mut response = Response::new(got.await?);
                let status = HeaderValue::from_static("tower-kit; hit");
                response.headers_mut().insert("cache-status", status);
                Ok::<_, BoxError>(response)
            }
        });
        Self { service: BoxCloneService::new(service), path: format!("/{size}") }
    }

    /// Waits until it is one.
    async fn of(layer: CacheLayer, size: usize) -> Result<Self, BoxError> {
        let path = format!("/{size}");
        let body = Bytes::from(vec![b'x'; size]);
        let origin = service_fn(move |_: Request<Empty<Bytes>>| {
            let mut response = Response::new(Full::new(body.clone()));
            let kept = HeaderValue::from_static("max-age=3600");
            response.headers_mut().insert("cache-control", kept);
            async { Ok::<_, Infallible>(response) }
        });
        let whole = async |response: Response<_>| {
            let (head, body) = Response::into_parts(response);
            Ok(Response::from_parts(head, BodyExt::collect(body).await?.to_bytes()))
        };
        let service =
            layer.layer(origin).map_err(|never| -> BoxError { match never {} }).and_then(whole);
        let hits = Self { service: BoxCloneService::new(service), path };
        while !hits.clone().hit().await {
            tokio::task::yield_now().await;
        }
        Ok(hits)
    }

    async fn hit(self) -> bool {
        let request = Request::get(&self.path).header("host", "x.org").body(Empty::new());
        let Ok(request) = request else { return false };
        let Ok(response) = self.service.oneshot(request).await else { return false };
        response.headers()["cache-status"].as_bytes().starts_with(b"tower-kit; hit")
    }
}

/// Makes `requests` requests, `concurrency` of them at a time. Returns the processor time of a
/// request, in microseconds.
async fn load<F>(requests: usize, concurrency: usize, request: impl Fn() -> F) -> f64
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let before = on_processor();
    for started in 0..requests {
        if started >= concurrency {
            assert!(matches!(tasks.join_next().await, Some(Ok(true))), "each request is a hit");
        }
        tasks.spawn(request());
    }
    while let Some(done) = tasks.join_next().await {
        assert!(matches!(done, Ok(true)), "each request is a hit");
    }
    (on_processor() - before) / requests as f64
}

/// Returns the CPU time of the main thread, in microseconds.
#[expect(clippy::expect_used, reason = "without it there is nothing to measure")]
fn on_processor() -> f64 {
    // The count is brought up to date when the thread leaves the processor.
    std::thread::sleep(Duration::from_millis(1));
    let schedule = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = schedule.split(' ').next().and_then(|first| first.parse::<f64>().ok());
    nanoseconds.expect("Linux counts a thread's time on a processor") / 1000.0
}

impl Server {
    fn start(port: u16) -> Result<Self, BoxError> {
        let options = ["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()];
        let server = Command::new("redis-server").args(options).stdout(Stdio::null()).spawn()?;
        Ok(Self(server))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
