//! A cache over a service whose answers a test writes down, at a time that it sets.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, request};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceExt};
use tower_kit::cache::{Cache, CacheHandle, CacheLayer, MemoryStore, ResponseBody};

use crate::support::{BoxBody, BoxError, boxed, full, status};

/// Names and values.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

pub(super) type Answer = Result<Response<BoxBody>, BoxError>;

/// Puts a layer outside of a cache.
type Through = Box<dyn Fn(Cache<Origin>) -> Outer + Send + Sync>;

/// A cache with a layer outside.
pub(super) type Outer =
    BoxCloneService<Request<BoxBody>, Response<ResponseBody<BoxBody>>, BoxError>;

type Answers = Box<dyn FnMut(&request::Parts) -> Answer + Send>;

/// When the tests begin: Sun, 06 Nov 1994 08:49:37 GMT, in seconds since 1970.
pub(super) const START: u64 = 784_111_777;

pub(super) const MINUTE: Fields<'static> = &[("cache-control", "max-age=60")];

/// The service, which writes down what it was asked.
#[derive(Clone)]
pub(super) struct Origin(Arc<Mutex<State>>);

struct State {
    answers: Answers,
    seen: Vec<request::Parts>,
    /// The last request body, as far as it was there with its head.
    body: String,
}

/// The time, in milliseconds since 1970.
#[derive(Clone)]
pub(super) struct Clock(Arc<AtomicU64>);

pub(super) struct Rig {
    cache: Cache<Origin>,
    through: Option<Through>,
    origin: Origin,
    pub(super) clock: Clock,
    pub(super) handle: CacheHandle,
}

/// What a client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Rig {
    /// Over a service that answers 200 with these fields, `answer 0` first, then `answer 1`.
    pub(super) fn new(fields: Fields<'_>) -> Self {
        Self::with(fields, |layer| layer)
    }

    pub(super) fn with(fields: Fields<'_>, choose: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        let layer = CacheLayer::new(MemoryStore::new(1 << 24)).honor_request_control();
        let rig = Self::over(choose(layer));
        rig.answers_with(200, fields);
        rig
    }

    /// A layer with its defaults, which ignores `cache-control` of requests.
    pub(super) fn ignoring(fields: Fields<'_>) -> Self {
        let rig = Self::over(CacheLayer::new(MemoryStore::new(1 << 24)));
        rig.answers_with(200, fields);
        rig
    }

    /// An aside layer that keeps for a minute.
    pub(super) fn aside(fields: Fields<'_>, choose: impl FnOnce(CacheLayer) -> CacheLayer) -> Self {
        let layer = CacheLayer::with_ttl(MemoryStore::new(1 << 24), Duration::from_secs(60));
        let rig = Self::over(choose(layer));
        rig.answers_with(200, fields);
        rig
    }

    pub(super) fn over(layer: CacheLayer) -> Self {
        let clock = Clock(Arc::new(AtomicU64::new(START * 1000)));
        let read = clock.clone();
        let layer = layer.clock(move || read.now());
        let state = State {
            answers: Box::new(|_| Ok(reply(200, &[], ""))),
            seen: Vec::new(),
            body: String::new(),
        };
        let origin = Origin(Arc::new(Mutex::new(state)));
        let cache = layer.layer(origin.clone());
        Self { cache, through: None, handle: layer.handle(), origin, clock }
    }

    /// Sends requests through a layer outside of the cache.
    pub(super) fn through(
        self,
        outer: impl Fn(Cache<Origin>) -> Outer + Send + Sync + 'static,
    ) -> Self {
        Self { through: Some(Box::new(outer)), ..self }
    }

    /// From now on the service answers so.
    pub(super) fn answers(&self, answers: impl FnMut(&request::Parts) -> Answer + Send + 'static) {
        self.origin.0.lock().unwrap().answers = Box::new(answers);
    }

    /// From now on the service answers with this status and these fields, and the number of the
    /// answer as the body.
    pub(super) fn answers_with(&self, status: u16, fields: Fields<'_>) {
        let fields = owned(fields);
        let mut number = 0;
        self.answers(move |_| {
            let body = format!("answer {number}");
            number += 1;
            let body = if matches!(status, 204 | 304) { "" } else { &*body };
            let mut response = reply(status, &[], body);
            response.headers_mut().extend(fields.clone());
            Ok(response)
        });
    }

    pub(super) fn fails(&self) {
        self.answers(|_| Err("the service is gone".into()));
    }

    /// How often the service was asked.
    pub(super) fn calls(&self) -> usize {
        self.origin.0.lock().unwrap().seen.len()
    }

    /// The head of the last request that the service got.
    pub(super) fn last(&self) -> request::Parts {
        self.origin.0.lock().unwrap().seen.last().unwrap().clone()
    }

    /// The body of the last request that the service got.
    pub(super) fn last_body(&self) -> String {
        self.origin.0.lock().unwrap().body.clone()
    }

    /// The heads of the requests that the service got after its first `calls`.
    pub(super) fn calls_since(&self, calls: usize) -> Vec<request::Parts> {
        self.origin.0.lock().unwrap().seen[calls..].to_vec()
    }

    /// What the service's last request had in a field.
    pub(super) fn asked(&self, name: &str) -> Option<String> {
        self.last().headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    pub(super) async fn get(&self, path: &str, fields: Fields<'_>) -> Got {
        self.send("GET", path, fields).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, fields: Fields<'_>) -> Got {
        self.ask(request(method, path, fields)).await.unwrap()
    }

    pub(super) async fn ask(&self, request: Request<BoxBody>) -> Result<Got, BoxError> {
        Ok(got(self.open(request).await?).await)
    }

    /// A response whose body has not been read.
    pub(super) async fn open(
        &self,
        request: Request<BoxBody>,
    ) -> Result<Response<ResponseBody<BoxBody>>, BoxError> {
        match &self.through {
            Some(outer) => outer(self.cache.clone()).oneshot(request).await,
            None => self.cache.clone().oneshot(request).await,
        }
    }

    pub(super) fn service(&self) -> Cache<Origin> {
        self.cache.clone()
    }
}

impl Clock {
    pub(super) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    /// Returns the time in seconds since the tests began.
    pub(super) fn seconds(&self) -> i64 {
        i64::try_from(self.0.load(Ordering::SeqCst) / 1000).unwrap() - i64::try_from(START).unwrap()
    }

    /// Moves the clock by so many seconds, back if negative.
    pub(super) fn step(&self, seconds: i64) {
        let now = i64::try_from(self.0.load(Ordering::SeqCst)).unwrap() + seconds * 1000;
        self.0.store(u64::try_from(now).unwrap(), Ordering::SeqCst);
    }

    /// Lets so many seconds pass.
    pub(super) fn pass(&self, seconds: u64) {
        self.pass_millis(seconds * 1000);
    }

    pub(super) fn pass_millis(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl<B: Body<Data = Bytes>> Service<Request<B>> for Origin {
    type Response = Response<BoxBody>;
    type Error = BoxError;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        let body = read_now(body);
        let mut state = self.0.lock().unwrap();
        let answer = (state.answers)(&head);
        state.seen.push(head);
        state.body = body;
        ready(answer)
    }
}

impl Got {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// What `cache-status` says behind the name of this cache.
    pub(crate) fn cache(&self) -> &str {
        let last = self.headers.get_all("cache-status").iter().next_back().unwrap();
        last.to_str().unwrap().strip_prefix("tower-kit; ").unwrap()
    }

    pub(crate) fn is_hit(&self) -> bool {
        self.cache().starts_with("hit")
    }

    /// For how many seconds the hit is fresh still.
    pub(super) fn ttl(&self) -> i64 {
        let ttl = self.cache().strip_prefix("hit; ttl=").expect("a hit");
        ttl.parse().unwrap()
    }
}

pub(crate) async fn got<B>(response: Response<B>) -> Got
where
    B: Body,
    B::Error: fmt::Debug,
{
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body that does not fail").to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Got { status: head.status.as_u16(), headers: head.headers, body }
}

fn owned(fields: Fields<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    headers
}

/// Returns the part of a body that is there without waiting.
fn read_now(body: impl Body<Data = Bytes>) -> String {
    let mut body = pin!(body);
    let mut read = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
        frame.into_data().into_iter().for_each(|data| read.extend_from_slice(&data));
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// Of the host `x.org`, unless it names another one.
pub(crate) fn request(method: &str, path: &str, fields: Fields<'_>) -> Request<BoxBody> {
    let host = if path.starts_with('/') { "http://x.org" } else { "" };
    let mut request = Request::new(boxed(Empty::<Bytes>::new()));
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = format!("{host}{path}").parse().unwrap();
    *request.headers_mut() = owned(fields);
    request
}

pub(crate) fn reply(code: u16, fields: Fields<'_>, body: &str) -> Response<BoxBody> {
    let mut response = Response::new(full(body.to_owned()));
    *response.status_mut() = status(code);
    *response.headers_mut() = owned(fields);
    response
}

/// So many seconds after the tests begin.
pub(super) fn date(after: i64) -> String {
    let seconds = START.checked_add_signed(after).unwrap();
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Lets other tasks run until something has come about.
pub(super) async fn until(is: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if is() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never comes about");
}

/// Lets the tasks that can run do so.
pub(super) async fn idle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
