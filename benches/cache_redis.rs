//! The cost of a hit from Redis, compared with a GET of the same bytes through the same client, and of
//! a hit from the memory before Redis, compared with memory alone.
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
use tower_kit::cache::fred::clients::{Client, WithOptions};
use tower_kit::cache::fred::interfaces::{ClientLike, KeysInterface};
use tower_kit::cache::fred::types::config::{Config, Options, ReconnectPolicy};
use tower_kit::cache::{CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore};

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
    let config = RedisConfig::new(&format!("redis://127.0.0.1:{port}"))?;
    let connect = || RedisStore::connect(config.clone());
    let (redis, behind) = (connect(), connect());
    redis.ready().await;
    behind.ready().await;
    let client = bare_client(port).await?;
    let budget = Some(Duration::from_millis(50));
    let bare = client.with_options(&Options { timeout: budget, ..Options::default() });

    println!("microseconds on a processor for each request, the least of five");
    println!(
        "{:<9}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}{:>9}{:>9}{:>13}",
        "body",
        "at once",
        "GET",
        "by hand",
        "layer",
        "% of GET",
        "% by hand",
        "memory",
        "tiered",
        "% of memory"
    );
    for (title, size, requests) in [("1 KiB", 1024, requests), ("100 KiB", 102_400, requests / 4)] {
        let body = Bytes::from(vec![b'x'; size]);
        let hits = async |layer| Hits::of(layer, body.clone()).await;
        let layered = hits(CacheLayer::new(redis.clone())).await?;
        let memory = hits(CacheLayer::new(MemoryStore::new(64 * MIB))).await?;
        let tiers = TieredStore::new(MemoryStore::new(64 * MIB), behind.clone());
        let tiered = hits(CacheLayer::new(tiers)).await?;
        client.set::<(), _, _>(title, body.clone(), None, None, false).await?;
        let by_hand = Hits::by_hand(bare.clone(), title, size);
        for concurrency in [1, 64, 256] {
            let mut least = [f64::MAX; 5];
            for _ in 0..5 {
                let costs = [
                    load(requests, concurrency, || {
                        let bare = bare.clone();
                        async move {
                            let got: Result<Bytes, _> = bare.get(title).await;
                            got.is_ok_and(|got| got.len() == size)
                        }
                    })
                    .await,
                    load(requests, concurrency, || by_hand.clone().hit()).await,
                    load(requests, concurrency, || layered.clone().hit()).await,
                    load(requests, concurrency, || memory.clone().hit()).await,
                    load(requests, concurrency, || tiered.clone().hit()).await,
                ];
                for (least, cost) in least.iter_mut().zip(costs) {
                    *least = least.min(cost);
                }
            }
            let [bare, by_hand, layer, memory, tiered] = least;
            println!(
                "{title:<9}{concurrency:>9}{bare:>9.2}{by_hand:>9.2}{layer:>9.2}{:>11.0}{:>11.0}{memory:>9.2}{tiered:>9.2}{:>13.0}",
                layer / bare * 100.0,
                layer / by_hand * 100.0,
                tiered / memory * 100.0
            );
        }
    }
    println!("bars: layer 130 % of a GET, tiered 110 % of memory");
    Ok(client.quit().await?)
}

async fn bare_client(port: u16) -> Result<Client, BoxError> {
    let config = Config::from_url(&format!("redis://127.0.0.1:{port}"))?;
    let client = Client::new(config, None, None, Some(ReconnectPolicy::default()));
    client.init().await?;
    Ok(client)
}

impl Hits {
    /// A service written by hand: a GET, and a response with its reply.
    fn by_hand(client: WithOptions<Client>, key: &'static str, size: usize) -> Self {
        let service = service_fn(move |_: Request<Empty<Bytes>>| {
            let client = client.clone();
            async move {
                let mut response = Response::new(client.get::<Bytes, _>(key).await?);
                let status = HeaderValue::from_static("tower-kit; hit");
                response.headers_mut().insert("cache-status", status);
                Ok::<_, BoxError>(response)
            }
        });
        Self { service: BoxCloneService::new(service), path: format!("/{size}") }
    }

    /// Waits until it is one.
    async fn of(layer: CacheLayer, body: Bytes) -> Result<Self, BoxError> {
        let path = format!("/{}", body.len());
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
