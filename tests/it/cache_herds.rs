//! The cache under many requests at a time, and the bodies that it reads for them.

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
    Cache, CacheHandle, CacheLayer, Entry, MemoryStore, ResponseBody, Store, StoreError,
};
use tower_test::mock::{Mock, SendResponse, pair};

use crate::support::{
    BoxError, Metrics, Scripted, Step, data, poll_frame, poll_once, soon, text, trailers,
};

/// Of an error without a lifetime, which tasks could not be seen to be sendable with.
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

    /// Whether the service was called, and nobody has looked at it.
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

// Herds.

#[tokio::test]
async fn ten_thousand_misses_are_one_call_and_get_the_same_bytes() {
    let mut mocked = Mocked::new(&layer());
    let herd = mocked.herd(10_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(500), Step::Pending, data(500)])));
    let answers = answers(herd).await;
    assert_eq!(answers.len(), 10_000);
    assert!(answers.iter().all(|text| *text == "x".repeat(1_000)));
    assert!(!mocked.is_called());
    let statistics = mocked.handle.statistics();
    assert_eq!((statistics.misses, statistics.collapsed), (1, 9_999));
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_herd_on_several_threads_is_one_call() {
    for _ in 0..20 {
        let calls = Arc::new(AtomicUsize::new(0));
        let open = watch::Sender::new(false);
        let (counted, gate) = (Arc::clone(&calls), open.subscribe());
        let inner = service_fn(move |_: Request<Text>| {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut gate = gate.clone();
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                Ok::<_, Infallible>(fresh(full("the answer")))
            }
        });
        let layer = layer();
        let (handle, cache) = (layer.handle(), layer.layer(inner));
        let mut herd = JoinSet::new();
        for number in 0..500 {
            if number == 250 {
                // Those who come from now on race with the answer.
                open.send_replace(true);
            }
            herd.spawn(asks(&cache, "/"));
        }
        let answers = soon(herd.join_all()).await;
        assert!(answers.iter().all(|text| text == "the answer"));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn followers_get_the_entry_though_the_store_fails_to_keep_it() {
    let metrics = Metrics::new();
    let store = Slow { fails: true, ..Slow::default() };
    let layer = CacheLayer::new(store).clock(|| UNIX_EPOCH).recorder(metrics.recorder());
    let mut mocked = Mocked::new(&layer);
    let herd = mocked.herd(1_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, data(5)])));
    assert!(answers(herd).await.iter().all(|text| text == "xxxxxxxxxx"));
    assert!(!mocked.is_called());
    let failed = metrics.counted("http_cache_store_errors_total", &[("operation", "put")]);
    assert_eq!(failed, 1);
    assert_eq!(mocked.handle.in_flight(), 0);
    let _next = mocked.waits(get("/"));
    assert!(mocked.is_called(), "nothing was kept");
}

#[tokio::test]
async fn a_store_that_takes_long_keeps_nobody_waiting() {
    let puts = Arc::new(Semaphore::new(0));
    let store = Slow { puts: Some(Arc::clone(&puts)), ..Slow::default() };
    let mut mocked = Mocked::new(&CacheLayer::new(store).clock(|| UNIX_EPOCH));
    let herd = mocked.herd(1_000);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("the answer")));
    assert!(answers(herd).await.iter().all(|text| text == "the answer"));
    assert_eq!(mocked.handle.in_flight(), 1, "the put is under way");
    let late = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&late), "tower-kit; fwd=uri-miss; collapsed");
    assert!(!mocked.is_called());
    puts.add_permits(1);
    settle().await;
    assert_eq!(mocked.handle.in_flight(), 0);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
}

#[tokio::test]
async fn a_herd_whose_response_is_not_kept_is_not_served_one_by_one() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let mut herd = mocked.herd(50);
    let (_, call) = mocked.call().await;
    assert!(!mocked.is_called(), "the others wait");
    let (_sender, body) = channel();
    call.send_response(no_store(body));
    // All calls are there before one of them is answered, and before the leader's body ends.
    let followers = herd.split_off(1);
    let mut tasks = JoinSet::new();
    followers.into_iter().for_each(|asking| drop(tasks.spawn(asking)));
    let leader = soon(herd.remove(0)).await.unwrap();
    assert_eq!(status_of(&leader), "tower-kit; fwd=uri-miss; detail=no-store");
    let mut calls = Vec::new();
    for _ in 0..49 {
        calls.push(mocked.call().await.1);
    }

    // From now on nobody waits at all.
    let second = mocked.herd(50);
    for _ in 0..50 {
        assert!(mocked.is_called(), "a request waits for another one");
    }
    drop(second);

    seconds.store(9, Ordering::SeqCst);
    let third = mocked.herd(2);
    assert!(mocked.is_called() && mocked.is_called(), "it is remembered still");
    drop(third);

    seconds.store(10, Ordering::SeqCst);
    let _fourth = mocked.herd(50);
    assert!(mocked.is_called());
    assert!(!mocked.is_called(), "it is forgotten: they wait for the first one");

    calls.into_iter().for_each(|call| call.send_response(no_store(full("own"))));
    for answer in soon(tasks.join_all()).await {
        assert_eq!(text(answer.unwrap()).await, "own");
    }
}

#[tokio::test]
async fn a_leader_that_leaves_before_the_service_is_ready_hands_over() {
    let mut mocked = Mocked::new(&layer());
    mocked.calls.allow(0);
    let mut herd = mocked.herd(21);
    drop(herd.remove(0));
    mocked.calls.allow(1);
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_leader_that_leaves_during_the_call_hands_over() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, first) = mocked.call().await;
    drop(herd.remove(0));
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    first.send_response(fresh(full("first")));
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_leader_that_leaves_before_it_has_seen_the_head_hands_over() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, first) = mocked.call().await;
    first.send_response(fresh(full("first")));
    drop(herd.remove(0));
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn leaders_that_leave_one_after_the_other_all_hand_over() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    for _ in 0..20 {
        let (_, call) = mocked.call().await;
        drop(herd.remove(0));
        drop(call);
        assert!(!mocked.is_called(), "it was not polled yet");
        assert!(poll_once(herd[0].as_mut()).is_pending());
    }
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("last")));
    assert_eq!(answers(herd).await, ["last"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_leader_that_leaves_while_its_body_comes_is_one_call_for_all() {
    for polls_first in [false, true] {
        let mut mocked = Mocked::new(&layer());
        let mut herd = mocked.herd(21);
        let (_, call) = mocked.call().await;
        let (mut sender, body) = channel();
        call.send_response(fresh(body));
        let mut leader = soon(herd.remove(0)).await.unwrap();
        sender.send_data("first ".into()).await.unwrap();
        if polls_first {
            assert!(soon(leader.body_mut().frame()).await.unwrap().is_ok());
        }
        drop(leader);
        let answers = spawn(answers(herd));
        settle().await;
        assert!(!mocked.is_called(), "its body is read on");
        sender.send_data("second".into()).await.unwrap();
        drop(sender);
        let answers = answers.await.unwrap();
        assert!(answers.len() == 20 && answers.iter().all(|text| text == "first second"));
        assert!(!mocked.is_called());
        assert_eq!(mocked.handle.in_flight(), 0);
    }
}

/// Of a herd, the first one could hold up all others by reading slowly, or not at all.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_client_to_read_an_attached_body() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    let (_sender, body) = channel();
    call.send_response(fresh(body));
    let slow = soon(herd.remove(0)).await.unwrap();
    herd.push(mocked.waits(get("/")));
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    for _ in 0..2 {
        let call = poll_once(pin!(mocked.calls.next_request()));
        let Poll::Ready(Some((_, call))) = call else { panic!("they wait") };
        call.send_response(no_store(full("alone")));
    }
    assert_eq!(answers(herd).await, ["alone", "alone"]);
    drop(slow);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn where_the_service_fails_exactly_one_takes_over_and_the_others_wait() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, call) = mocked.call().await;
    call.send_error("broken");
    let error = soon(herd.remove(0)).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "broken");
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    settle().await;
    assert!(!mocked.is_called(), "the others wait");
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn a_leader_that_panics_hands_over() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |_: Request<Text>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            yield_now().await;
            assert!(number > 0, "the first one panics");
            Ok::<_, Infallible>(fresh(full("second")))
        }
    });
    let cache = layer().layer(inner);
    let mut herd = JoinSet::new();
    for _ in 0..21 {
        herd.spawn(asks(&cache, "/"));
    }
    let mut panicked = 0;
    while let Some(answer) = soon(herd.join_next()).await {
        match answer {
            Ok(text) => assert_eq!(text, "second"),
            Err(error) => panicked += usize::from(error.is_panic()),
        }
    }
    assert_eq!((panicked, calls.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_body_that_fails_midway_is_its_own_clients_and_the_others_get_a_second_call() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let leader = soon(herd.remove(0)).await.unwrap();
    let leader = spawn(leader.into_body().collect());
    sender.send_data("half of".into()).await.unwrap();
    let answers = spawn(answers(herd));
    settle().await;
    assert!(!mocked.is_called());
    sender.abort(io::Error::other("broken"));
    let (_, call) = mocked.call().await;
    assert_eq!(leader.await.unwrap().unwrap_err().to_string(), "broken");
    settle().await;
    assert!(!mocked.is_called(), "one took over, the others wait");
    call.send_response(fresh(full("second")));
    let answers = answers.await.unwrap();
    assert!(answers.len() == 20 && answers.iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn variants_of_a_herd_are_one_call_each() {
    let mut mocked = Mocked::new(&layer());
    let asks = |language| {
        let request = Request::get("http://x/").header("accept-language", language);
        mocked.waits(request.body(full("")).unwrap())
    };
    let herd = (0..100).map(|number| asks(["de", "en", "fr"][number % 3]));
    let herd = herd.collect::<Vec<_>>();
    let answers = spawn(answers(herd));
    let mut calls = 0;
    while !answers.is_finished() {
        settle().await;
        while let Poll::Ready(Some((request, call))) = poll_once(pin!(mocked.calls.next_request()))
        {
            calls += 1;
            let language = request.headers()["accept-language"].to_str().unwrap().to_owned();
            let mut response = fresh(full(language));
            response.headers_mut().insert("vary", "accept-language".parse().unwrap());
            call.send_response(response);
        }
    }
    let answers = answers.await.unwrap();
    let count = |language| answers.iter().filter(|text| *text == language).count();
    assert_eq!((count("de") + count("en"), count("fr")), (67, 33));
    assert_eq!(calls, 3);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_another_longer_than_the_wait() {
    let mut mocked = Mocked::new(&layer().coalesce_timeout(Duration::from_secs(3)));
    let mut herd = mocked.herd(3);
    let (_, first) = mocked.call().await;
    tokio::time::advance(Duration::from_millis(2_999)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    assert!(!mocked.is_called());
    tokio::time::advance(Duration::from_millis(2)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    let calls = [mocked.call().await.1, mocked.call().await.1];
    assert!(!mocked.is_called());
    calls.into_iter().for_each(|call| call.send_response(no_store(full("alone"))));
    first.send_response(fresh(full("first")));
    assert_eq!(answers(herd).await, ["first", "alone", "alone"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_over_does_not_prolong_the_wait_of_the_others() {
    let mut mocked = Mocked::new(&layer().coalesce_timeout(Duration::from_secs(3)));
    let mut herd = mocked.herd(3);
    let (_, _first) = mocked.call().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(herd.remove(0));
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    let (_, _second) = mocked.call().await;
    assert!(!mocked.is_called());
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert!(herd.iter_mut().all(|asking| poll_once(asking.as_mut()).is_pending()));
    assert!(mocked.is_called(), "the last one goes alone");
}

// Readiness.

#[tokio::test]
async fn a_cache_is_ready_and_hits_though_the_service_never_is() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("kept")));
    assert_eq!(answers(vec![asking]).await, ["kept"]);
    mocked.calls.allow(0);
    assert!(poll_once(pin!(mocked.cache.ready())).is_ready());
    let mut hit = mocked.ask(get("/"));
    let Poll::Ready(hit) = poll_once(hit.as_mut()) else { panic!("a hit waits") };
    assert_eq!(text(hit.unwrap()).await, "kept");
    let miss = mocked.waits(get("/other"));
    assert!(!mocked.is_called());
    mocked.calls.allow(1);
    let answers = spawn(answers(vec![miss]));
    mocked.call().await.1.send_response(fresh(full("other")));
    assert_eq!(answers.await.unwrap(), ["other"]);
}

#[tokio::test]
async fn an_error_of_readiness_is_the_answer_and_the_next_one_takes_over() {
    let mut mocked = Mocked::new(&layer());
    mocked.calls.allow(0);
    let mut herd = mocked.herd(3);
    mocked.calls.send_error("closed");
    assert_eq!(soon(herd.remove(0)).await.map(drop).unwrap_err().to_string(), "closed");
    mocked.calls.allow(1);
    let answers = spawn(answers(herd));
    mocked.call().await.1.send_response(fresh(full("second")));
    assert_eq!(answers.await.unwrap(), ["second", "second"]);
    assert_eq!(mocked.handle.in_flight(), 0);
}

/// Counts its readiness: a call without one panics.
#[derive(Debug, Default)]
struct Readied(bool);

impl Clone for Readied {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl Service<Request<Text>> for Readied {
    type Response = Response<Text>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Text>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "it was not made ready");
        let response = match request.uri().path() {
            "/fresh" => fresh(full("")),
            "/stale" => Response::builder()
                .header("cache-control", "max-age=1, stale-while-revalidate=60")
                .body(full(""))
                .unwrap(),
            _ => no_store(full("")),
        };
        std::future::ready(Ok(response))
    }
}

#[tokio::test]
async fn the_service_that_was_made_ready_is_the_one_that_is_called() {
    let (layer, seconds) = clocked(layer());
    let handle = layer.handle();
    let mut cache = layer.layer(Readied::default());
    for path in ["/fresh", "/stale", "/no-store"] {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let request = Request::builder().method(method).uri(format!("http://x{path}"));
            let request = request.body(full("")).unwrap();
            drop(cache.ready().await.unwrap().call(request).await.unwrap());
        }
    }
    drop(cache.ready().await.unwrap().call(get("/stale")).await.unwrap());
    seconds.store(2, Ordering::SeqCst);
    let refreshed = cache.ready().await.unwrap().call(get("/stale")).await.unwrap();
    assert_eq!(status_of(&refreshed), "tower-kit; hit; ttl=-1");
    settle().await;
    let hit = cache.ready().await.unwrap().call(get("/stale")).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=1");
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn over_a_concurrency_limit_a_client_that_holds_its_body_stops_nobody() {
    for fills in [0, 256] {
        let inner = service_fn(|request: Request<Text>| async move {
            let path = request.uri().path().to_owned();
            let body = match path.as_str() {
                "/stuck" => streamed([data(5), Step::PendingForever]),
                _ => streamed([data(5), Step::Pending, data(5)]),
            };
            Ok::<_, Infallible>(fresh(body))
        });
        let layers = (layer().max_fills(fills), ConcurrencyLimitLayer::new(1));
        let cache = layers.layer(inner);
        let stuck = soon(cache.clone().oneshot(get("/stuck"))).await.unwrap();
        let mut herd = JoinSet::new();
        for number in 0..100 {
            herd.spawn(asks(&cache, &format!("/{}", number % 10)));
        }
        assert!(soon(herd.join_all()).await.iter().all(|text| text == "xxxxxxxxxx"));
        drop(stuck);
    }
}

// Bodies.

#[tokio::test]
async fn a_client_that_does_not_read_stalls_nobody() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(50_000), Step::Pending, data(50_000)])));
    let slow = soon(herd.remove(0)).await.unwrap();
    assert_eq!(answers(herd).await[0].len(), 100_000);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
    assert_eq!(text(slow).await.len(), 100_000);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_the_fill() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    drop(soon(asking).await.unwrap());
    sender.send_data("all".into()).await.unwrap();
    drop(sender);
    settle().await;
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
    assert_eq!(text(hit).await, "all");
}

#[tokio::test]
async fn without_fills_an_entry_is_kept_only_if_its_client_reads_it_all() {
    for reads_all in [false, true] {
        let mut mocked = Mocked::new(&layer().max_fills(0));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        call.send_response(fresh(streamed([data(5), Step::Pending, data(5), Step::Pending])));
        let mut body = soon(asking).await.unwrap().into_body();
        for _ in 0..2 {
            assert!(soon(body.frame()).await.unwrap().is_ok());
        }
        if reads_all {
            assert!(soon(body.frame()).await.is_none());
        }
        drop(body);
        let mut next = mocked.ask(get("/"));
        assert_eq!(poll_once(next.as_mut()).is_ready(), reads_all);
        assert_eq!(mocked.is_called(), !reads_all);
    }
}

#[tokio::test]
async fn without_fills_a_reader_that_stops_at_the_declared_length_has_read_all() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let mut response = fresh(streamed([Step::Pending, data(10), Step::PendingForever]));
    response.headers_mut().insert("content-length", "10".parse().unwrap());
    call.send_response(response);
    let mut body = soon(asking).await.unwrap().into_body();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    drop(body);
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=60");
}

#[tokio::test]
async fn bytes_come_as_they_are_produced() {
    for fills in [0, 256] {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let (mut sender, body) = channel();
        call.send_response(fresh(body));
        let mut body = soon(asking).await.unwrap().into_body();
        for number in 0..3 {
            assert!(poll_frame(&mut body).is_pending(), "nothing is produced yet");
            sender.send_data(format!("piece {number}").into()).await.unwrap();
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), format!("piece {number}"));
        }
        drop(sender);
        assert!(soon(body.frame()).await.is_none());
        assert!(body.is_end_stream() || fills == 0);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_passes_whole_and_is_not_kept() {
    for (fills, declares) in [(0, false), (0, true), (256, false), (256, true)] {
        let mut mocked = Mocked::new(&layer().max_fills(fills).max_entry_size(1_000));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let steps = [data(600), Step::Pending, data(600), Step::Pending, data(600)];
        let scripted = Scripted::<io::Error>::new(steps);
        let mut response = fresh(boxed(if declares { scripted.exact() } else { scripted }));
        if declares {
            response.headers_mut().insert("content-length", "1800".parse().unwrap());
        }
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let detail = status_of(&response).contains("detail=too-large");
        assert_eq!(detail, declares);
        assert_eq!(text(response).await.len(), 1_800);
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called());
        assert_eq!(mocked.handle.statistics().usage.entries, 0);
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_kept() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(500), Step::Pending, data(500)])));
    assert_eq!(answers(vec![asking]).await[0].len(), 1_000);
    until_kept(&mocked, "/").await;
}

#[tokio::test]
async fn a_body_that_is_not_kept_any_more_is_read_no_further_than_its_client_reads() {
    let mut mocked = Mocked::new(&layer().max_entry_size(100_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let steps = std::iter::once(Step::Pending).chain((0..1_000).map(|_| data(10_000)));
    let body = Scripted::<io::Error>::new(steps);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    let mut body = soon(asking).await.unwrap().into_body();
    settle().await;
    let ahead = log.given();
    assert!((100_000..=110_000).contains(&ahead), "{ahead}");
    for read in 1..=11 {
        assert!(soon(body.frame()).await.unwrap().is_ok());
        settle().await;
        assert_eq!(log.given(), ahead, "after {read}");
    }
    assert!(soon(body.frame()).await.unwrap().is_ok());
    assert_eq!(log.given(), ahead + 10_000, "it polls the body itself");
    drop(body);
    assert!(log.dropped());
}

#[tokio::test]
async fn a_body_that_nobody_reads_and_that_is_not_kept_is_dropped() {
    let mut mocked = Mocked::new(&layer().max_entry_size(1_000));
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let steps = std::iter::once(Step::Pending).chain((0..100).map(|_| data(300)));
    let body = Scripted::<io::Error>::new(steps);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    drop(soon(asking).await.unwrap());
    settle().await;
    assert!(log.dropped() && log.given() <= 1_500, "{}", log.given());
}

#[tokio::test]
async fn an_endless_stream_passes_if_it_is_not_kept() {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("content-type", "text/event-stream"),
        ("content-type", "application/grpc"),
    ] {
        let mut mocked =
            Mocked::new(&CacheLayer::with_ttl(MemoryStore::new(1 << 20), Duration::from_secs(60)));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let body = Scripted::<io::Error>::new([data(5), data(5), Step::PendingForever]);
        let log = body.log();
        let response = Response::builder().header(name, value).body(boxed(body));
        call.send_response(response.unwrap());
        let mut body = soon(asking).await.unwrap().into_body();
        assert_eq!(log.polls(), 0, "it is untouched: {value}");
        for _ in 0..2 {
            assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Ok(_)))), "{value}");
        }
        assert!(poll_frame(&mut body).is_pending(), "{value}");
        assert_eq!(log.polls(), 3, "{value}");
    }
}

#[tokio::test]
async fn trailers_pass_and_mean_that_it_is_not_kept() {
    for (fills, declares, waits) in
        [(0, false, false), (256, false, false), (0, false, true), (256, false, true)]
    {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let pause = waits.then_some(Step::Pending);
        let steps = [data(5)].into_iter().chain(pause).chain([trailers()]);
        let mut response = fresh(streamed(steps));
        if declares {
            response.headers_mut().insert("content-length", "5".parse().unwrap());
        }
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes(), "xxxxx");
        settle().await;
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called());
    }
}

#[tokio::test]
async fn trailers_after_a_declared_length_mean_that_it_is_not_kept() {
    for (fills, waits) in [(0, false), (256, false), (0, true), (256, true)] {
        let mut mocked = Mocked::new(&layer().max_fills(fills));
        let asking = mocked.waits(get("/"));
        let (_, call) = mocked.call().await;
        let pause = waits.then_some(Step::Pending);
        let steps = [data(5)].into_iter().chain(pause).chain([trailers()]);
        let mut response = fresh(streamed(steps));
        response.headers_mut().insert("content-length", "5".parse().unwrap());
        call.send_response(response);
        let response = soon(asking).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        settle().await;
        let _next = mocked.waits(get("/"));
        assert!(mocked.is_called(), "fills {fills}, waits {waits}");
    }
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_declared_is_not_kept() {
    let scripts: [fn() -> Vec<Step<io::Error>>; 5] = [
        || vec![data(5)],
        || vec![Step::Pending, data(5)],
        || vec![data(15)],
        || vec![Step::Pending, data(5), data(10)],
        || vec![],
    ];
    for (number, script) in scripts.into_iter().enumerate() {
        for fills in [0, 256] {
            let mut mocked = Mocked::new(&layer().max_fills(fills));
            let asking = mocked.waits(get("/"));
            let (_, call) = mocked.call().await;
            let mut response = fresh(streamed(script()));
            response.headers_mut().insert("content-length", "10".parse().unwrap());
            call.send_response(response);
            let passed = answers(vec![asking]).await;
            let given = [5, 5, 15, 15, 0][number];
            assert_eq!(passed[0].len(), given, "script {number}");
            settle().await;
            let _next = mocked.waits(get("/"));
            assert!(mocked.is_called(), "script {number}, fills {fills}");
        }
    }
}

#[tokio::test]
async fn a_body_that_goes_on_after_its_declared_length_is_not_kept() {
    for fills in [0, 256] {
        for pause in [false, true] {
            let mut mocked = Mocked::new(&layer().max_fills(fills));
            let asking = mocked.waits(get("/"));
            let (_, call) = mocked.call().await;
            let pause = pause.then_some(Step::Pending);
            let steps = [data(10)].into_iter().chain(pause).chain([data(5)]);
            let mut response = fresh(streamed(steps));
            response.headers_mut().insert("content-length", "10".parse().unwrap());
            call.send_response(response);
            assert_eq!(answers(vec![asking]).await[0].len(), 15);
            settle().await;
            let _next = mocked.waits(get("/"));
            assert!(mocked.is_called(), "fills {fills}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_shorter_than_declared_keeps_its_size_hint() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let mut response = fresh(streamed([data(5)]));
    response.headers_mut().insert("content-length", "10".parse().unwrap());
    call.send_response(response);
    let response = soon(asking).await.unwrap();
    // A server would take a length that is known for the truth, and not end the message as broken.
    assert_ne!(response.body().size_hint().exact(), Some(5));
    assert_eq!(text(response).await.len(), 5);
}

#[tokio::test]
async fn a_panic_of_a_body_in_a_detached_fill_is_its_readers_and_later_requests_work() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(21);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, data(5), Step::Panic])));
    let mut body = soon(herd.remove(0)).await.unwrap().into_body();
    for _ in 0..2 {
        assert!(soon(body.frame()).await.unwrap().is_ok());
    }
    let reading = spawn(async move { body.frame().await.is_none() });
    assert!(soon(reading).await.unwrap_err().is_panic());
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("second")));
    assert!(answers.await.unwrap().iter().all(|text| text == "second"));
    assert!(!mocked.is_called());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn a_panic_of_a_body_in_an_attached_fill_is_its_clients_alone() {
    let mut mocked = Mocked::new(&layer().max_fills(0));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    call.send_response(fresh(streamed([data(5), Step::Pending, Step::Panic])));
    let mut body = soon(herd.remove(0)).await.unwrap().into_body();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    let reading = spawn(async move { body.frame().await.is_none() });
    assert!(soon(reading).await.unwrap_err().is_panic());
    let answers = spawn(answers(herd));
    mocked.call().await.1.send_response(fresh(full("second")));
    assert_eq!(answers.await.unwrap(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_takes_too_long_goes_back_to_its_client() {
    let mut mocked = Mocked::new(&layer().coalesce_timeout(Duration::from_secs(600)));
    let mut herd = mocked.herd(2);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let mut body = soon(herd.remove(0)).await.unwrap().into_body();
    sender.send_data("first".into()).await.unwrap();
    assert!(soon(body.frame()).await.unwrap().is_ok());
    tokio::time::advance(Duration::from_secs(59)).await;
    settle().await;
    assert!(poll_once(herd[0].as_mut()).is_pending());
    assert!(!mocked.is_called());
    tokio::time::advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(poll_once(herd[0].as_mut()).is_pending());
    assert!(mocked.is_called(), "nobody waits for it any more");
    sender.send_data("second".into()).await.unwrap();
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "second");
    drop(sender);
    assert!(soon(body.frame()).await.is_none());
    assert_eq!(mocked.handle.statistics().usage.entries, 0);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_its_client_has_left_ends_after_a_while() {
    let mut mocked = Mocked::new(&layer());
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    let body = Scripted::<io::Error>::new([data(5), Step::PendingForever]);
    let log = body.log();
    call.send_response(fresh(boxed(body)));
    drop(soon(asking).await.unwrap());
    settle().await;
    assert!(!log.dropped());
    tokio::time::advance(Duration::from_secs(61)).await;
    settle().await;
    assert!(log.dropped());
    assert_eq!(mocked.handle.in_flight(), 0);
}

#[tokio::test]
async fn beyond_the_most_fills_bodies_are_attached() {
    let mut mocked = Mocked::new(&layer().max_fills(2));
    let mut logs = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let asking = mocked.waits(get(path));
        let (_, call) = mocked.call().await;
        let body = Scripted::<io::Error>::new([data(5), Step::Pending, data(5), Step::Pending]);
        logs.push(body.log());
        call.send_response(fresh(boxed(body)));
        // It is not polled on before all three have their answers.
        drop(soon(asking).await.unwrap());
    }
    settle().await;
    assert!(logs.iter().all(|log| log.dropped()));
    for (path, kept) in [("/a", true), ("/b", true), ("/c", false)] {
        let mut next = mocked.ask(get(path));
        assert_eq!(poll_once(next.as_mut()).is_ready(), kept, "{path}");
    }
}

/// Bodies that a fill has read, and no client: clients that do not read must not fill the memory.
#[tokio::test]
async fn clients_that_do_not_read_hold_half_of_the_budget_at_most() {
    let mut mocked = Mocked::new(&layer().max_fill_bytes(2 << 20));
    let mut stuck = Vec::new();
    let mut logs = Vec::new();
    for number in 0..10 {
        let asking = mocked.waits(get(&format!("/{number}")));
        let (_, call) = mocked.call().await;
        let steps = std::iter::once(Step::Pending).chain((0..50).map(|_| data(10_000)));
        let body = Scripted::<io::Error>::new(steps);
        logs.push(body.log());
        call.send_response(fresh(boxed(body)));
        stuck.push(soon(asking).await.unwrap());
        settle().await;
    }
    let held: u64 = logs.iter().map(|log| log.given()).sum();
    // One frame more than what may be, and for each a little that always may.
    assert!((1_000_000..=(1 << 20) + 10_000 + 10 * 26_000).contains(&held), "{held}");
}

// Refreshes.

fn swr(body: Text) -> Response<Text> {
    let control = "max-age=1, stale-while-revalidate=1000";
    Response::builder().header("cache-control", control).body(body).unwrap()
}

/// Keeps a response to each of these, which is stale then.
async fn stale(layer: CacheLayer, paths: &[&str]) -> (Mocked, Arc<AtomicU64>) {
    let (layer, seconds) = clocked(layer);
    let mut mocked = Mocked::new(&layer);
    for path in paths {
        let asking = mocked.waits(get(path));
        mocked.call().await.1.send_response(swr(full("old")));
        assert_eq!(answers(vec![asking]).await, ["old"]);
    }
    seconds.store(5, Ordering::SeqCst);
    (mocked, seconds)
}

async fn is_stale_hit(mocked: &Mocked, path: &str) {
    let hit = soon(mocked.ask(get(path))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=-4");
    assert_eq!(text(hit).await, "old");
}

#[tokio::test]
async fn refreshes_are_one_for_each_key_and_bounded_in_number() {
    let (mut mocked, _) = stale(layer().max_refreshes(2), &["/a", "/b", "/c"]).await;
    for path in ["/a", "/a", "/a", "/b", "/c", "/c", "/a"] {
        is_stale_hit(&mocked, path).await;
    }
    settle().await;
    let (a, call_a) = mocked.call().await;
    let (b, call_b) = mocked.call().await;
    assert_eq!((a.uri().path(), b.uri().path()), ("/a", "/b"));
    assert!(!mocked.is_called(), "no third one");
    call_a.send_response(swr(full("new")));
    settle().await;
    let hit = soon(mocked.ask(get("/a"))).await.unwrap();
    assert_eq!(status_of(&hit), "tower-kit; hit; ttl=1");
    assert_eq!(text(hit).await, "new");
    is_stale_hit(&mocked, "/c").await;
    assert_eq!(mocked.call().await.0.uri().path(), "/c");
    drop(call_b);
    settle().await;
    assert_eq!(mocked.handle.in_flight(), 0, "the mock's calls were dropped");
}

#[tokio::test]
async fn a_refresh_goes_on_though_its_client_leaves_and_one_that_misses_waits_for_it() {
    let (mut mocked, seconds) = stale(layer(), &["/"]).await;
    is_stale_hit(&mocked, "/").await;
    let (_, call) = mocked.call().await;
    seconds.store(2_000, Ordering::SeqCst);
    let waits = mocked.waits(get("/"));
    assert!(!mocked.is_called());
    let mut response = fresh(streamed([data(5), Step::Pending, data(5)]));
    // Its age is at least the time that it took.
    response.headers_mut().insert("cache-control", "max-age=3600".parse().unwrap());
    call.send_response(response);
    assert_eq!(answers(vec![waits]).await, ["xxxxxxxxxx"]);
}

#[tokio::test]
async fn a_refresh_without_fills_reads_its_body_itself() {
    let (mut mocked, _) = stale(layer().max_fills(0), &["/"]).await;
    is_stale_hit(&mocked, "/").await;
    let (_, call) = mocked.call().await;
    call.send_response(swr(streamed([data(5), Step::Pending, data(5)])));
    settle().await;
    let hit = soon(mocked.ask(get("/"))).await.unwrap();
    assert_eq!(text(hit).await, "xxxxxxxxxx");
}

#[tokio::test]
async fn a_refresh_that_panics_frees_its_place() {
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let inner = service_fn(move |_: Request<Text>| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            assert!(number == 0 || number == 3, "call {number}");
            Ok::<_, Infallible>(swr(full("kept")))
        }
    });
    let (layer, seconds) = clocked(layer().max_refreshes(1));
    let handle = layer.handle();
    let mut cache = layer.layer(inner);
    drop(cache.ready().await.unwrap().call(get("/")).await.unwrap());
    seconds.store(5, Ordering::SeqCst);
    for _ in 0..3 {
        drop(cache.ready().await.unwrap().call(get("/")).await.unwrap());
        settle().await;
        assert_eq!(handle.in_flight(), 0);
    }
    assert_eq!(panics.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_never_ends_does_not_keep_its_place_for_ever() {
    for (fills, answers_head) in [(256, false), (0, true)] {
        let (mut mocked, _) = stale(layer().max_fills(fills).max_refreshes(1), &["/"]).await;
        is_stale_hit(&mocked, "/").await;
        let (_, call) = mocked.call().await;
        let mut call = Some(call);
        let (_sender, body) = channel();
        if answers_head {
            call.take().unwrap().send_response(swr(body));
        }
        settle().await;
        tokio::time::advance(Duration::from_secs(600)).await;
        settle().await;
        is_stale_hit(&mocked, "/").await;
        settle().await;
        assert!(mocked.is_called(), "a second refresh, fills {fills}");
    }
}

#[tokio::test]
async fn what_is_purged_does_not_stand_in_for_a_service_that_fails() {
    let (layer, seconds) = clocked(layer());
    let mut mocked = Mocked::new(&layer);
    let asking = mocked.waits(get("/"));
    let mut response = fresh(full("purged"));
    response.headers_mut().insert("etag", "\"1\"".parse().unwrap());
    mocked.call().await.1.send_response(response);
    assert_eq!(answers(vec![asking]).await, ["purged"]);
    seconds.store(100, Ordering::SeqCst);
    let asking = mocked.waits(get("/"));
    let (_, call) = mocked.call().await;
    mocked.handle.purge_all().await.unwrap();
    call.send_error("broken");
    assert_eq!(soon(asking).await.map(drop).unwrap_err().to_string(), "broken");
}

#[tokio::test]
async fn what_is_purged_while_it_is_fetched_is_nobodys_but_those_who_asked_before() {
    let mut mocked = Mocked::new(&layer());
    let mut herd = mocked.herd(3);
    let (_, call) = mocked.call().await;
    let (mut sender, body) = channel();
    call.send_response(fresh(body));
    let leader = soon(herd.remove(0)).await.unwrap();
    mocked.handle.purge_url("http://x/").unwrap();
    sender.send_data("old".into()).await.unwrap();
    drop(sender);
    assert_eq!(text(leader).await, "old");
    let answers = spawn(answers(herd));
    let (_, call) = mocked.call().await;
    call.send_response(fresh(full("new")));
    assert_eq!(answers.await.unwrap(), ["new", "new"]);
    assert!(!mocked.is_called());
}

#[tokio::test]
async fn a_permit_for_the_answer_is_free_while_the_response_is_read() {
    let service = service_fn(async |_: Request<Text>| Ok::<_, io::Error>(no_store(full("own"))));
    let mut cache = layer().layer(ConcurrencyLimitLayer::new(1).layer(service));
    // From the second on it is known that nothing is kept.
    cache.call(get("/")).await.unwrap();
    let mut asking = pin!(cache.call(get("/")));
    let Poll::Ready(Ok(response)) = poll_once(asking.as_mut()) else { panic!("no answer") };
    let next = poll_once(pin!(cache.call(get("/"))));
    assert!(matches!(next, Poll::Ready(Ok(_))), "the one permit is held");
    assert_eq!(text(response).await, "own");
}
