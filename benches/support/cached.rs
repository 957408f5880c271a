//! The requests and answers of benches/cache.rs and its peers, and what they are probed with.

use std::convert::Infallible;
use std::fmt::Write;
use std::future::{Ready, poll_fn, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use hyper::body::{Body, Buf};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::yield_now;
use tower::{Layer, Service};

use crate::support::Work;

/// A request, and the response of the service.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) title: &'static str,
    pub(crate) method: Verb,
    pub(crate) request: Fields,
    pub(crate) answer: Fields,
    pub(crate) size: usize,
    /// `true` if each request has a URL of its own.
    pub(crate) new: bool,
}

/// A method, since `http`'s is not `Copy`.
#[derive(Clone, Copy)]
pub(crate) enum Verb {
    Get,
    Post,
}

type Fields = &'static [(&'static str, &'static str)];

/// A service that gives always the same answer, and counts how often.
#[derive(Clone)]
pub(crate) struct Origin {
    headers: HeaderMap,
    body: Bytes,
    pub(crate) calls: Arc<AtomicU64>,
}

/// Requests whose answer is read to its end, on a runtime, since peers need one.
pub(crate) struct Requests<S, B> {
    runtime: Runtime,
    service: S,
    head: Request<()>,
    /// The number of new URLs so far.
    asked: Option<u64>,
    body: fn() -> B,
}

pub(crate) const PLAIN: Case = Case {
    title: "hit, 1 KiB of JSON with 6 fields",
    method: Verb::Get,
    request: CURL,
    answer: ANSWER,
    size: 1024,
    new: false,
};

pub(crate) const CASES: [Case; 8] = [
    PLAIN,
    Case { title: "hit, varying by accept-encoding", answer: VARYING, ..PLAIN },
    Case { title: "hit, a browser's 14 fields", request: BROWSER, ..PLAIN },
    Case { title: "hit, 100 KiB of JSON", size: 100 * 1024, ..PLAIN },
    Case { title: "304 from the cache", request: CONDITIONAL, ..PLAIN },
    Case { title: "miss, kept, another URL each time", new: true, ..PLAIN },
    Case { title: "POST", method: Verb::Post, ..PLAIN },
    Case { title: "no-store", answer: NO_STORE, ..PLAIN },
];

impl Origin {
    pub(crate) fn new(case: &Case) -> Self {
        let text = br#"{"id":48213,"name":"Wooden Lamp","price":49.95,"stock":12,"tags":["new"]},"#;
        let body: Vec<_> = text.iter().copied().cycle().take(case.size).collect();
        Self { headers: map(case.answer), body: body.into(), calls: Arc::default() }
    }
}

impl<B, R: From<Bytes>> Service<Request<B>> for On<R> {
    type Response = Response<R>;
    type Error = Infallible;
    type Future = Ready<Result<Response<R>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(R::from(self.0.body.clone()));
        *response.headers_mut() = self.0.headers.clone();
        ready(Ok(response))
    }
}

/// The service, with bodies of this kind.
pub(crate) struct On<R>(pub(crate) Origin, std::marker::PhantomData<fn() -> R>);

impl<R> On<R> {
    pub(crate) fn new(origin: Origin) -> Self {
        Self(origin, std::marker::PhantomData)
    }
}

impl<R> Clone for On<R> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<S, B, R> Requests<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Default,
    R: Body,
{
    pub(crate) fn new<L, A>(case: Case, layer: L) -> Self
    where
        L: Layer<On<A>, Service = S>,
    {
        Self::to(case, layer.layer(On::new(Origin::new(&case))))
    }

    pub(crate) fn to(case: Case, service: S) -> Self {
        let head = head(&case);
        let runtime = Builder::new_current_thread().enable_time().build();
        let Ok(runtime) = runtime else { panic!("there is no runtime") };
        Self { runtime, service, head, asked: case.new.then_some(0), body: B::default }
    }
}

impl<S, B, R> Work for Requests<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    #[expect(clippy::disallowed_methods, reason = "a bench is about time")]
    fn time(&mut self, times: u32) -> Duration {
        let Self { runtime, service, head, asked, body } = self;
        runtime.block_on(async {
            let start = Instant::now();
            for _ in 0..times {
                let mut request = black_box(head.clone()).map(|()| body());
                if let Some(asked) = asked {
                    *asked += 1;
                    *request.uri_mut() = numbered(*asked);
                }
                black_box(exchange(service, request).await);
                if asked.is_some() {
                    settle().await;
                }
            }
            let taken = start.elapsed();
            settle().await;
            taken
        })
    }
}

/// Sends the request, and reads the response to its end.
pub(crate) async fn exchange<S, B, R>(service: &mut S, request: Request<B>) -> (HeaderMap, u16, u64)
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    if poll_fn(|cx| service.poll_ready(cx)).await.is_err() {
        panic!("the service failed");
    }
    let Ok(response) = service.call(request).await else { panic!("the service failed") };
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut size = 0;
    // Not in one go: a task may have to run for what is next.
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        size += frame.data_ref().map_or(0, |data| data.remaining() as u64);
    }
    (head.headers, head.status.as_u16(), size)
}

/// Probes a cache with responses that are for one client only: for each of [`PROBES`], returns
/// `true` if the service was called again.
pub(crate) fn probe<L, S, B, R, A>(layer: impl Fn() -> L) -> [bool; PROBES.len()]
where
    L: Layer<On<A>, Service = S>,
    S: Service<Request<B>, Response = Response<R>>,
    B: Default,
    R: Body,
{
    PROBES.map(|(_, answer, first, second)| {
        let case = Case { answer, request: first, ..PLAIN };
        let origin = Origin::new(&case);
        let calls = Arc::clone(&origin.calls);
        let mut requests: Requests<S, B> = Requests::to(case, layer().layer(On::new(origin)));
        requests.time(1);
        let before = calls.load(Ordering::Relaxed);
        requests.head = head(&Case { request: second, ..case });
        let (headers, ..) = requests.runtime.block_on(async {
            let request = requests.head.clone().map(|()| B::default());
            exchange(&mut requests.service, request).await
        });
        let kept_cookie = headers.contains_key("set-cookie");
        // What has lost the cookie may be anybody's.
        let told = ["age", "x-cache-age"].iter().any(|name| headers.contains_key(*name));
        let says_hit = ["x-cache", "x-cache-status"]
            .iter()
            .any(|name| headers.get(*name).is_some_and(|value| value == "HIT"));
        let from_cache = told || says_hit || calls.load(Ordering::Relaxed) == before;
        !from_cache || answer == COOKIE && !kept_cookie
    })
}

/// Lets the tasks run that were started, of a cache that keeps what it got in one.
async fn settle() {
    let metrics = Handle::current().metrics();
    while metrics.num_alive_tasks() > 0 {
        yield_now().await;
    }
}

pub(crate) fn head(case: &Case) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = match case.method {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
    };
    *request.uri_mut() = Uri::from_static("/items/48213?page=2");
    *request.headers_mut() = map(case.request);
    request
}

fn numbered(number: u64) -> Uri {
    let mut text = String::with_capacity(32);
    let written = write!(text, "/items/{number}?page=2");
    match (written, Uri::from_maybe_shared(Bytes::from(text))) {
        (Ok(()), Ok(uri)) => uri,
        failed => panic!("that is no URL: {failed:?}"),
    }
}

fn map(fields: Fields) -> HeaderMap {
    let fields = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    fields.collect()
}

const CURL: Fields = &[
    ("host", "shop.example"),
    ("user-agent", "curl/8.5.0"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip"),
];
const CONDITIONAL: Fields = &[
    ("host", "shop.example"),
    ("user-agent", "curl/8.5.0"),
    ("accept", "*/*"),
    ("accept-encoding", "gzip"),
    ("if-none-match", "\"5f3a9c01\""),
];
const BROWSER: Fields = &[
    ("host", "shop.example"),
    ("connection", "keep-alive"),
    ("sec-ch-ua", "\"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0.0.0"),
    ("accept", "application/json, text/plain, */*"),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-dest", "empty"),
    ("referer", "https://shop.example/lamps?page=2"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "de-DE,de;q=0.9,en;q=0.8"),
    ("cookie", "session=5f0c1f0e9a7d4d60; theme=dark; consent=all"),
];
const ANSWER: Fields = &[
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"5f3a9c01\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-language", "en"),
    ("x-request-cost", "12"),
];
const VARYING: Fields = &[
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=3600"),
    ("etag", "\"5f3a9c01\""),
    ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ("content-language", "en"),
    ("vary", "accept-encoding"),
];
const NO_STORE: Fields = &[("content-type", "application/json"), ("cache-control", "no-store")];
const PRIVATE: Fields =
    &[("content-type", "application/json"), ("cache-control", "private, max-age=3600")];
const COOKIE: Fields = &[
    ("content-type", "application/json"),
    ("cache-control", "max-age=3600"),
    ("set-cookie", "session=1"),
];
const KEEP: Fields = &[("content-type", "application/json"), ("cache-control", "max-age=3600")];
const BY_LANGUAGE: Fields = &[
    ("content-type", "application/json"),
    ("cache-control", "max-age=3600"),
    ("vary", "accept-language"),
];

/// The name, the fields of the answer, and those of the first and the second request. A cache that
/// answers the second one itself is wrong.
pub(crate) const PROBES: [(&str, Fields, Fields, Fields); 5] = [
    ("no-store", NO_STORE, CURL, CURL),
    ("private", PRIVATE, CURL, CURL),
    ("set-cookie", COOKIE, CURL, CURL),
    ("authorization", KEEP, &[("host", "a"), ("authorization", "Bearer 1")], &[("host", "a")]),
    ("vary", BY_LANGUAGE, &[("host", "a"), ("accept-language", "de")], &[("host", "a")]),
];

/// The peers, as their cases are named.
pub(crate) const PEERS: [&str; 4] =
    ["http-cache-tower-server", "axum-response-cache", "tower-http-cache", "hitbox"];
