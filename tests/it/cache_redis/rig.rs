//! Processes over one Redis and one service.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response, request};
use tower::{Layer, Service, ServiceExt};
use tower_kit::MIB;
use tower_kit::cache::{
    Cache, CacheHandle, CacheLayer, MemoryStore, RedisConfig, RedisStore, TieredStore,
};

use crate::cache::rig::{Fields, Got, got, reply, request};
use crate::redis_server::RedisServer;
use crate::support::{BoxBody, boxed, soon};

/// The service behind all processes, which counts its calls.
#[derive(Clone)]
pub(super) struct Origin(Arc<Answers>);

struct Answers {
    answers: Box<dyn Fn(request::Parts, usize) -> Boxed<Response<BoxBody>> + Send + Sync>,
    calls: AtomicUsize,
}

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Clone)]
pub(super) struct Process {
    cache: Cache<Origin>,
    pub(super) handle: CacheHandle,
    pub(super) redis: RedisStore,
}

/// Durations of an operation.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

impl Origin {
    /// Is asked with the head of the request, and the number of the call.
    pub(super) fn new<F>(
        answers: impl Fn(request::Parts, usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        let answers = Box::new(move |head, number| -> Boxed<Response<BoxBody>> {
            Box::pin(answers(head, number))
        });
        Self(Arc::new(Answers { answers, calls: AtomicUsize::new(0) }))
    }

    /// Answers with the number of the call, to be kept for ten minutes, and tagged `tag`.
    pub(super) fn counting() -> Self {
        Self::new(async |_, number| reply(200, TAGGED, &format!("answer {number}")))
    }

    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }
}

pub(super) const TAGGED: Fields<'static> =
    &[("cache-control", "max-age=600"), ("surrogate-key", "tag")];

impl Process {
    /// Starts a process with a memory in front of Redis, and waits for Redis.
    pub(super) async fn start(config: RedisConfig, origin: &Origin) -> Self {
        Self::with(config, origin, |layer| layer).await
    }

    pub(super) async fn with(
        config: RedisConfig,
        origin: &Origin,
        choose: impl FnOnce(CacheLayer) -> CacheLayer,
    ) -> Self {
        let this = Self::unready(config, origin, choose);
        soon(this.redis.ready()).await;
        this
    }

    /// Does not wait for Redis.
    pub(super) fn unready(
        config: RedisConfig,
        origin: &Origin,
        choose: impl FnOnce(CacheLayer) -> CacheLayer,
    ) -> Self {
        let redis = RedisStore::connect(config);
        let store = TieredStore::new(MemoryStore::new(64 * MIB), redis.clone());
        Self::over(redis, &choose(CacheLayer::new(store).honor_request_control()), origin)
    }

    /// Without a memory.
    pub(super) async fn bare(config: RedisConfig, origin: &Origin) -> Self {
        Self::bare_with(config, origin, |layer| layer).await
    }

    pub(super) async fn bare_with(
        config: RedisConfig,
        origin: &Origin,
        choose: impl FnOnce(CacheLayer) -> CacheLayer,
    ) -> Self {
        let redis = RedisStore::connect(config);
        soon(redis.ready()).await;
        Self::over(redis.clone(), &choose(CacheLayer::new(redis).honor_request_control()), origin)
    }

    pub(super) fn over(redis: RedisStore, layer: &CacheLayer, origin: &Origin) -> Self {
        Self { cache: layer.layer(origin.clone()), handle: layer.handle(), redis }
    }

    pub(super) fn get(&self, path: &str) -> Boxed<Got> {
        self.send("GET", path, &[])
    }

    /// Sends a request. The box keeps the type of the future small.
    pub(super) fn send(&self, method: &str, path: &str, fields: Fields<'_>) -> Boxed<Got> {
        let cache = self.cache.clone().map_response(|response| response.map(boxed));
        let answer: Boxed<Result<_, _>> = Box::pin(cache.oneshot(request(method, path, fields)));
        Box::pin(async move { got(soon(answer).await.unwrap()).await })
    }

    /// Returns the stored body without calling the service.
    pub(super) async fn kept(&self, path: &str) -> Option<String> {
        let got = self.send("GET", path, &[("cache-control", "only-if-cached")]).await;
        (got.status != 504).then_some(got.body)
    }
}

impl Service<Request<BoxBody>> for Origin {
    type Response = Response<BoxBody>;
    type Error = Infallible;
    type Future = Boxed<Result<Response<BoxBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<BoxBody>) -> Self::Future {
        let number = self.0.calls.fetch_add(1, Ordering::SeqCst);
        let answer = (self.0.answers)(request.into_parts().0, number);
        Box::pin(async move { Ok(answer.await) })
    }
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |part: f64| {
            let at = (sorted.len() as f64 * part) as usize;
            sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let (half, most) = (at(0.5), at(1.0));
        write!(f, "{:>5} times, half within {half:>9.2?}, all within {most:>9.2?}", sorted.len())
    }
}

/// Settings with a long timeout, for busy machines.
pub(super) fn config(server: &RedisServer) -> RedisConfig {
    impatient(server).command_timeout(Duration::from_secs(1))
}

pub(super) fn impatient(server: &RedisServer) -> RedisConfig {
    config_at(&server.url())
}

/// Settings with the client that the environment variable names, for each of which the tests run
/// once.
pub(crate) fn config_at(url: &str) -> RedisConfig {
    let config = RedisConfig::new(url).unwrap();
    match std::env::var("TOWER_KIT_REDIS_CLIENT").as_deref() {
        Ok("redis-rs") => config.use_redis_rs().unwrap(),
        Ok("fred") | Err(_) => config,
        Ok(other) => panic!("there is no client {other}"),
    }
}

/// Reads the real clock, by which other processes run.
#[expect(clippy::disallowed_methods, reason = "other processes run by the real clock")]
pub(super) fn clock() -> Instant {
    Instant::now()
}

/// Waits until it is so, and tells how long that took.
pub(super) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) -> Duration {
    let start = clock();
    while !is().await {
        assert!(start.elapsed() < Duration::from_secs(30), "it never comes about: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

/// Waits until all are as far as this one is: a purge is the last thing that they learn.
pub(super) async fn settled(processes: &[&Process]) {
    let stamp = "http://x.org/nothing-has-this-url";
    let (first, rest) = processes.split_first().expect("a process");
    assert_eq!(first.send("GET", "/nothing-has-this-url", &[]).await.status, 200);
    for process in rest {
        drop(process.get("/nothing-has-this-url").await);
    }
    first.handle.purge_url(stamp).unwrap().await.unwrap();
    for process in rest {
        until("all know of a purge", async || {
            process.kept("/nothing-has-this-url").await.is_none()
        })
        .await;
    }
}
