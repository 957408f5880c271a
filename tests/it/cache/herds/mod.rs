//! The cache under many requests at a time, and the bodies that it reads for them.

mod bodies;
mod clients;
mod coalescing;
mod dead_origin;
mod failures;
mod heads;
mod leaders;
mod ranges;
mod readiness;
mod refreshes;
mod streams;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, yield_now};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_kit::cache::{
    Cache, CacheHandle, CacheHint, CacheLayer, Entry, MemoryStore, ResponseBody, Store, StoreError,
};
use tower_test::mock::{Mock, SendResponse, pair};

use crate::support::{
    BoxError, Metrics, Scripted, Step, data, poll_frame, poll_once, soon, text, trailers,
};

/// A body of an error without a lifetime, which tasks could not be seen to be sendable with.
type Text = UnsyncBoxBody<Bytes, io::Error>;
type Inner = Mock<Request<Text>, Response<Text>>;
type Answer = Result<Response<ResponseBody<Text>>, io::Error>;
type Asking = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Call = SendResponse<Response<Text>>;

/// The service under a cache, whose calls the test answers.
struct Mocked {
    calls: tower_test::mock::Handle<Request<Text>, Response<Text>>,
    cache: Cache<Inner>,
    handle: CacheHandle,
}

impl Mocked {
    fn new(layer: &CacheLayer) -> Self {
        let (inner, calls) = pair();
        Self { calls, handle: layer.handle(), cache: layer.layer(inner) }
    }

    fn ask(&self, request: Request<Text>) -> Asking {
        let cache = self.cache.clone().map_err(|error: BoxError| io::Error::other(error));
        Box::pin(cache.oneshot(request))
    }

    /// Requests for the same that have come as far as they can.
    fn herd(&self, size: usize) -> Vec<Asking> {
        (0..size).map(|_| self.waits(get("/"))).collect()
    }

    /// A request that has come as far as it can, and is not answered.
    fn waits(&self, request: Request<Text>) -> Asking {
        let mut asking = self.ask(request);
        assert!(poll_once(asking.as_mut()).is_pending());
        asking
    }

    /// The next call, which has to come.
    async fn call(&mut self) -> (Request<Text>, Call) {
        soon(self.calls.next_request()).await.expect("the service is there")
    }

    /// Returns `true` if the service was called, and nobody has looked at it.
    fn is_called(&mut self) -> bool {
        poll_once(pin!(self.calls.next_request())).is_ready()
    }
}

/// A request, in a box: the type of its future is too much for some of the tests.
fn asks<S, E>(cache: &S, path: &str) -> Pin<Box<dyn Future<Output = String> + Send>>
where
    S: Service<Request<Text>, Response = Response<ResponseBody<Text>>, Error = E>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    E: std::fmt::Debug + Send + 'static,
{
    let asking = cache.clone().oneshot(get(path));
    Box::pin(async move { text(asking.await.unwrap()).await })
}

fn layer() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(16 << 20)).clock(|| UNIX_EPOCH)
}

/// A clock that the test sets, in seconds.
fn clocked(layer: CacheLayer) -> (CacheLayer, Arc<AtomicU64>) {
    let seconds = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&seconds);
    let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
    (layer.clock(now), seconds)
}

fn boxed<B>(body: B) -> Text
where
    B: Body<Data = Bytes, Error = io::Error> + Send + 'static,
{
    body.boxed_unsync()
}

fn full(bytes: impl Into<Bytes>) -> Text {
    boxed(Full::new(bytes.into()).map_err(|never| match never {}))
}

fn get(path: &str) -> Request<Text> {
    Request::get(format!("http://x{path}")).body(full("")).unwrap()
}

/// A response that is kept for a minute.
fn fresh(body: Text) -> Response<Text> {
    Response::builder().header("cache-control", "max-age=60").body(body).unwrap()
}

fn no_store(body: Text) -> Response<Text> {
    Response::builder().header("cache-control", "no-store").body(body).unwrap()
}

fn streamed(steps: impl IntoIterator<Item = Step<io::Error>>) -> Text {
    boxed(Scripted::new(steps))
}

fn channel() -> (Sender<Bytes, io::Error>, Text) {
    let (sender, body) = Channel::new(64);
    (sender, boxed(body))
}

fn status_of(response: &Response<ResponseBody<Text>>) -> String {
    response.headers()["cache-status"].to_str().unwrap().to_owned()
}

#[expect(clippy::disallowed_methods, reason = "a test may start tasks")]
fn spawn<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(task)
}

/// Waits for all of them; the answers' texts.
async fn answers(herd: Vec<Asking>) -> Vec<String> {
    let mut tasks = JoinSet::new();
    for asking in herd {
        tasks.spawn(async move { text(asking.await.unwrap()).await });
    }
    soon(tasks.join_all()).await
}

/// Waits until a request is answered from the store.
async fn until_kept(mocked: &Mocked, path: &str) {
    let kept = async {
        loop {
            let mut asking = mocked.ask(get(path));
            if let Poll::Ready(response) = poll_once(asking.as_mut()) {
                if status_of(&response.unwrap()).contains("; hit") {
                    return;
                }
            }
            drop(asking);
            yield_now().await;
        }
    };
    soon(kept).await;
}

/// Lets all tasks that can go on do so.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// A store that cannot look without waiting, whose puts wait for permits, or fail.
#[derive(Clone, Default)]
struct Slow {
    entries: Arc<Mutex<std::collections::HashMap<String, Entry>>>,
    puts: Option<Arc<Semaphore>>,
    fails: bool,
}

impl Store for Slow {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.entries.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, key: &str, entry: Entry, _ttl: Duration) -> Result<(), StoreError> {
        if let Some(puts) = &self.puts {
            puts.acquire().await.unwrap().forget();
        }
        if self.fails {
            return Err(StoreError::new("full"));
        }
        self.entries.lock().unwrap().insert(key.to_owned(), entry);
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.entries.lock().unwrap().remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), StoreError> {
        self.entries.lock().unwrap().clear();
        Ok(())
    }
}
