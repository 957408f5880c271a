//! The routes: what a service has inside of the layers.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;
use tokio::time::{interval, sleep};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{IntervalStream, WatchStream};
use tower_kit::batch::Batch;
use tower_kit::cache::CacheHandle;
use tower_kit::security_headers::Nonce;

use crate::demo;

/// The state that the routes share.
#[derive(Clone)]
pub(crate) struct App {
    prometheus: PrometheusHandle,
    cache: CacheHandle,
    stopping: watch::Receiver<bool>,
    reports: Arc<AtomicU64>,
    pub(crate) views: Batch<u64, u64>,
}

impl App {
    pub(crate) fn new(
        prometheus: PrometheusHandle,
        cache: CacheHandle,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { prometheus, cache, stopping, reports: Arc::default(), views: demo::views() }
    }
}

/// Responds to a request. A body that crosses its limit fails to be read, and the limit layer then
/// sends 413 in place of the response to that.
pub(crate) async fn serve<B>(
    app: App,
    request: Request<B>,
) -> Result<Response<ReplyBody>, Infallible>
where
    B: Body<Data = Bytes>,
{
    let path = request.uri().path().to_owned();
    let is_post = POSTED.contains(&path.as_str());
    let is_head = *request.method() == Method::HEAD;
    let is_allowed = if is_post {
        *request.method() == Method::POST
    } else {
        is_head || *request.method() == Method::GET
    };
    if ROUTES.contains(&path.as_str()) && !is_allowed {
        let allow = if is_post { "POST" } else { "GET, HEAD" };
        let response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "wrong method\n");
        return Ok(with_header(response, ALLOW, allow));
    }
    let response = match path.as_str() {
        "/" => page(&request),
        "/page.css" => reply(StatusCode::OK, "text/css; charset=utf-8", STYLE),
        "/page.js" => reply(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        "/items" => list(&request).map_or_else(bad_request, |items| {
            with_header(reply(StatusCode::OK, JSON, items), CACHE_CONTROL, "max-age=5")
        }),
        "/report" => report(&app).await,
        "/purge" => match app.cache.purge_tag("report").await {
            Ok(()) => reply(StatusCode::OK, TEXT, "purged\n"),
            Err(error) => reply(StatusCode::BAD_GATEWAY, TEXT, format!("{error}\n")),
        },
        "/views" => match number(&request, "n", 50, 500) {
            Ok(n) => demo::record_views(&app.views, n).await.map_or_else(
                |error| reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n")),
                |batches| reply(StatusCode::OK, JSON, batches),
            ),
            Err(message) => bad_request(message),
        },
        "/rehearsal" => match number(&request, "used", 93, 100) {
            Ok(used) => reply(StatusCode::OK, JSON, demo::rehearse(used, &ROUTES).await),
            Err(message) => bad_request(message),
        },
        "/echo" => echo(request).await,
        "/events" => events(app.stopping),
        "/slow" => match number(&request, "ms", 1_000, 60_000) {
            Ok(ms) => {
                sleep(Duration::from_millis(ms)).await;
                reply(StatusCode::OK, TEXT, format!("waited {ms} ms\n"))
            }
            Err(message) => bad_request(message),
        },
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", app.prometheus.render()),
        _ => reply(StatusCode::NOT_FOUND, TEXT, "no such page\n"),
    };
    // Over HTTP/2, hyper would send the body.
    let none = || Empty::new().boxed_unsync();
    Ok(if is_head { response.map(|_| none()) } else { response })
}

/// The page, with the nonce of this response on its script and style.
fn page<B>(request: &Request<B>) -> Response<ReplyBody> {
    let nonce = request.extensions().get().map_or("", Nonce::as_str);
    let page = reply(StatusCode::OK, "text/html; charset=utf-8", PAGE.replace("{nonce}", nonce));
    // Sent a second time, a nonce is one that somebody can know.
    with_header(page, CACHE_CONTROL, "no-store")
}

/// A report that takes a quarter of a second to make. Only shared caches may keep it, so that a
/// browser asks each time.
async fn report(app: &App) -> Response<ReplyBody> {
    sleep(Duration::from_millis(250)).await;
    let number = app.reports.fetch_add(1, Ordering::Relaxed) + 1;
    let report = serde_json::json!({ "report": number }).to_string();
    let response = reply(StatusCode::OK, JSON, report);
    let response = with_header(response, CACHE_CONTROL, "max-age=0, s-maxage=60");
    with_header(response, HeaderName::from_static("cache-tag"), "report")
}

/// Sends a body back.
async fn echo<B: Body<Data = Bytes>>(request: Request<B>) -> Response<ReplyBody> {
    let content_type = request.headers().get(CONTENT_TYPE).cloned();
    let Ok(body) = read(request.into_body()).await else {
        return bad_request("the body cannot be read\n");
    };
    let mut response = reply(StatusCode::OK, TEXT, body);
    content_type.map(|value| response.headers_mut().insert(CONTENT_TYPE, value));
    response
}

/// All of a body, in one piece. As frames, which a client can make of a byte each, it would take
/// fifty times as much memory.
async fn read<B: Body<Data = Bytes>>(body: B) -> Result<BytesMut, B::Error> {
    let (mut body, mut whole) = (pin!(body), BytesMut::new());
    while let Some(frame) = body.frame().await {
        whole.extend_from_slice(frame?.data_ref().map_or(&[], |data| data));
    }
    Ok(whole)
}

fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ReplyBody> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sends an event a second, until the client leaves or the server stops.
fn events(stopping: watch::Receiver<bool>) -> Response<ReplyBody> {
    let ticks = IntervalStream::new(interval(Duration::from_secs(1))).map(|_| false);
    let stops = WatchStream::from_changes(stopping);
    let mut number = 0;
    let events = ticks.merge(stops).take_while(|stop| !stop).map(move |_| {
        number += 1;
        Ok(Frame::data(Bytes::from(format!("id: {number}\ndata: event {number}\n\n"))))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// A catalogue of `n` items as JSON, of which one has the price that the query names in cents, if it
/// does.
fn list<B>(request: &Request<B>) -> Result<String, String> {
    let n = number(request, "n", 100, 10_000)?;
    let changed = number(request, "price", 0, 1_000_000)?;
    let item = |id: u64| {
        let is_changed = changed > 0 && id == n / 2;
        let cents = if is_changed { changed } else { id * 7_919 % 10_000 };
        let price = cents as f64 / 100.0;
        serde_json::json!({
            "id": id, "name": format!("Item {id}"), "price": price, "tags": ["new", "in stock"],
        })
    };
    Ok(serde_json::json!({ "items": (1..=n).map(item).collect::<Vec<_>>() }).to_string())
}

/// The number `name` of the query, at most `most`, or `default` where there is none.
fn number<B>(request: &Request<B>, name: &str, default: u64, most: u64) -> Result<u64, String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let Some(value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
    else {
        return Ok(default);
    };
    match value.1.parse() {
        Ok(number) if number <= most => Ok(number),
        _ => Err(format!("{name} must be a number of at most {most}\n")),
    }
}

fn bad_request(message: impl Into<Bytes>) -> Response<ReplyBody> {
    reply(StatusCode::BAD_REQUEST, TEXT, message)
}

fn with_header(
    mut response: Response<ReplyBody>,
    name: HeaderName,
    value: &'static str,
) -> Response<ReplyBody> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}

pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// The paths of all routes, which are labels in the metrics.
pub(crate) const ROUTES: [&str; 13] = [
    "/",
    "/page.css",
    "/page.js",
    "/items",
    "/report",
    "/purge",
    "/views",
    "/rehearsal",
    "/echo",
    "/events",
    "/slow",
    "/healthz",
    "/metrics",
];

/// The routes of POST; the others are of GET. Anybody may purge here: a real service authenticates.
const POSTED: [&str; 3] = ["/purge", "/views", "/echo"];

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
