//! A plain hyper service with every layer around it, over HTTP/1 and HTTP/2 without TLS.
//!
//! ```sh
//! cargo run --example quickstart --features full
//! ```
//!
//! It listens on `127.0.0.1:3000`; the environment variable `ADDR` changes that. With `REDIS_URL`, such
//! as `redis://127.0.0.1:6379`, its cache is in Redis too, and one for all processes that have the
//! same; `cache_redis` shows more of that. Ctrl-C or SIGTERM stops it: open requests are finished
//! first, for ten seconds at most.
//!
//! Clients that mean harm are bounded by the layers, and what no layer sees by [`server`] and
//! [`hold`]. There are `CONNECTIONS` at a time, 1,000 by default, and a client has `PATIENCE_MS`,
//! 10,000 by default, to ask for something: a body may take three times that, and a connection
//! sixty times.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{IntervalStream, WatchStream};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::timeout::RequestBodyDeadlineLayer;
use tower_kit::cache::{KeyBy, MemoryStore, RedisConfig, RedisStore, TieredStore};
use tower_kit::latency::{DURATION_BUCKETS, SIZE_BUCKETS};
use tower_kit::pressure::{Event, Level};
use tower_kit::{
    CacheLayer, CompressLayer, KIB, LatencyLayer, LimitLayer, MIB, PressureLayer,
    SecurityHeadersLayer,
};

type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// What the routes share.
#[derive(Clone)]
struct App {
    prometheus: PrometheusHandle,
    stopping: watch::Receiver<bool>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &SIZE_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let (stop, stopping) = watch::channel(false);
    let app = App { prometheus, stopping: stopping.clone() };
    let patience = Duration::from_millis(number("PATIENCE_MS", 10_000)?);
    let most = u32::try_from(number("CONNECTIONS", 1_000)?)?;

    let memory = MemoryStore::new(64 * MIB);
    let kept = memory.clone();
    let (cache, store) = match std::env::var("REDIS_URL") {
        Ok(url) => {
            let redis = RedisStore::connect(RedisConfig::new(&url)?);
            (CacheLayer::new(TieredStore::new(memory, redis)), "memory and Redis")
        }
        Err(_) => (CacheLayer::new(memory), "memory alone"),
    };

    let stack = ServiceBuilder::new()
        // How long clients wait, by route; outermost, so that it sees what the others answer.
        .layer(LatencyLayer::new().routes(ROUTES).first_byte().sizes().skip(is_health_check))
        // 503 while memory is nearly full, before the kernel kills the process: but not for
        // /healthz, so that nobody restarts it for that. Outside of all that works more.
        .layer(PressureLayer::new().on_pressure(move |event| make_room(event, &kept)))
        // The headers that helmet sends.
        .layer(SecurityHeadersLayer::new())
        // 10 KiB of JSON or form, 2 MiB of anything else.
        .layer(LimitLayer::new())
        // Keeps what says for how long: /items does, for five seconds. No route looks at the host.
        .layer(cache.key(KeyBy::new().any_host()))
        // gzip, unless the request has a field x-no-compression.
        .layer(CompressLayer::new())
        // A body that takes longer fails: hyper waits for ever for the next byte.
        .layer(RequestBodyDeadlineLayer::new(3 * patience))
        .service_fn(move |request| serve(app.clone(), request));

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await.map_err(|error| format!("{addr}: {error}"))?;
    say_what_to_try(listener.local_addr()?);
    println!("its cache is in {store}");

    let (server, mut stopped) = (server(patience), pin!(stop_signal()?));
    // What a connection takes, times their number, is what all of them can take.
    let seats = Arc::new(Semaphore::new(most as usize));
    loop {
        let next = async { (Arc::clone(&seats).acquire_owned().await, listener.accept().await) };
        let (seat, accepted) = tokio::select! {
            next = next => next,
            () = &mut stopped => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: existing connections go on, and make room.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let asked = Arc::new(AtomicBool::new(false));
        let service = stack.clone().map_request({
            let asked = Arc::clone(&asked);
            move |request| {
                asked.store(true, Ordering::Relaxed);
                request
            }
        });
        let service = TowerToHyperService::new(service);
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let held = hold(connection.into_owned(), asked, patience, stopping.clone());
        tokio::spawn(async move {
            held.await;
            drop(seat);
        });
    }

    println!("stopping");
    stop.send_replace(true);
    if timeout(Duration::from_secs(10), seats.acquire_many(most)).await.is_err() {
        println!("some requests were still open after ten seconds");
    }
    Ok(())
}

/// What hyper bounds, since no layer sees it.
fn server(patience: Duration) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // For a header section, and for the next request: without a timer, both may take for ever.
        .header_read_timeout(patience)
        // Of a header section that does not end, and of a response that is not read: room for what
        // the limit layer lets through. 400 KiB by default.
        .max_buf_size(64 * KIB as usize);
    server
        .http2()
        .timer(TokioTimer::new())
        // A client that is gone does not answer. One that is there may stay idle.
        .keep_alive_interval(2 * patience)
        // Each may hold a response that its client does not read. 200 by default.
        .max_concurrent_streams(100)
        // Of requests that no handler reads, on each connection. 1 MiB by default.
        .initial_connection_window_size(256 * KIB as u32)
        .initial_stream_window_size(256 * KIB as u32);
    // Floods of resets, pings, settings and empty frames, and header sections over 16 KiB, are
    // bounded by default.
    server
}

/// Serves a connection, and ends it where hyper would not: it waits for ever for the first bytes,
/// and for a client to read what it asked for.
async fn hold(
    connection: impl GracefulConnection,
    asked: Arc<AtomicBool>,
    patience: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let too_long = async {
        sleep(patience).await;
        if asked.load(Ordering::Relaxed) {
            // Whoever means well opens another one, event streams too.
            sleep(59 * patience).await;
        }
    };
    tokio::select! {
        // An error here is a client that left or does not speak HTTP: nothing to tell.
        _ = connection.as_mut() => return,
        () = too_long => {}
        _ = stopping.changed() => {}
    }
    // What is idle ends now, and the rest with its responses.
    connection.as_mut().graceful_shutdown();
    drop(timeout(patience, connection).await);
}

/// Routes a request. Its body fails when it crosses its limit, and the layer then answers 413 in
/// place of what is answered here.
async fn serve<B>(app: App, request: Request<B>) -> Result<Response<ReplyBody>, Infallible>
where
    B: Body<Data = Bytes>,
{
    let path = request.uri().path().to_owned();
    let expected = if path == "/echo" { Method::POST } else { Method::GET };
    let head_only = *request.method() == Method::HEAD;
    let known = ROUTES.contains(&path.as_str());
    let allowed = *request.method() == expected || head_only && expected == Method::GET;
    if known && !allowed {
        let mut response = reply(StatusCode::METHOD_NOT_ALLOWED, TEXT, "wrong method\n");
        let allow = if path == "/echo" { "POST" } else { "GET, HEAD" };
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        return Ok(response);
    }
    let response = match path.as_str() {
        "/" => reply(StatusCode::OK, "text/html; charset=utf-8", PAGE),
        "/page.js" => reply(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
        "/items" => match query_number(&request, "n", 100, 10_000) {
            Ok(n) => {
                let mut response = reply(StatusCode::OK, "application/json", items(n));
                let kept = HeaderValue::from_static("max-age=5");
                response.headers_mut().insert(CACHE_CONTROL, kept);
                response
            }
            Err(message) => reply(StatusCode::BAD_REQUEST, TEXT, message),
        },
        "/echo" => {
            let content_type = request.headers().get(CONTENT_TYPE).cloned();
            match read(request.into_body()).await {
                Ok(body) => {
                    let mut response = reply(StatusCode::OK, TEXT, body);
                    content_type.map(|value| response.headers_mut().insert(CONTENT_TYPE, value));
                    response
                }
                Err(_) => reply(StatusCode::BAD_REQUEST, TEXT, "the body cannot be read\n"),
            }
        }
        "/events" => events(app.stopping),
        "/slow" => match query_number(&request, "ms", 1_000, 60_000) {
            Ok(ms) => {
                sleep(Duration::from_millis(ms)).await;
                reply(StatusCode::OK, TEXT, format!("waited {ms} ms\n"))
            }
            Err(message) => reply(StatusCode::BAD_REQUEST, TEXT, message),
        },
        "/healthz" => reply(StatusCode::OK, TEXT, "ok\n"),
        "/metrics" => reply(StatusCode::OK, "text/plain; version=0.0.4", app.prometheus.render()),
        _ => reply(StatusCode::NOT_FOUND, TEXT, "no such page\n"),
    };
    // Over HTTP/2, hyper would send the body.
    let none = || Empty::new().boxed_unsync();
    Ok(if head_only { response.map(|_| none()) } else { response })
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

/// One event a second, until the client leaves or the server stops.
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

/// A catalogue of `n` items as JSON.
fn items(n: u64) -> String {
    let item = |id: u64| {
        let price = (id * 7_919 % 10_000) as f64 / 100.0;
        serde_json::json!({
            "id": id, "name": format!("Item {id}"), "price": price, "tags": ["new", "in stock"],
        })
    };
    serde_json::json!({ "items": (1..=n).map(item).collect::<Vec<_>>() }).to_string()
}

/// The number `name` of the query, at most `most`, or `default` where there is none.
fn query_number<B>(
    request: &Request<B>,
    name: &str,
    default: u64,
    most: u64,
) -> Result<u64, String> {
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

/// What the cache keeps is made again when it is asked for.
fn make_room(event: &Event, cache: &MemoryStore) {
    if event.level() > Level::Normal {
        cache.shrink_to(8 * MIB);
    }
}

fn is_health_check(head: &http::request::Parts) -> bool {
    head.uri.path() == "/healthz"
}

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        prometheus.run_upkeep();
    }
}

/// A number from the environment.
fn number(name: &str, default: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name}={text}: {error}")),
        Err(_) => Ok(default),
    }
}

/// Ready at Ctrl-C or SIGTERM.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn say_what_to_try(addr: std::net::SocketAddr) {
    println!("listening on http://{addr}, over HTTP/1 and HTTP/2; open it in a browser, or try:");
    println!("  curl -i --compressed 'http://{addr}/items?n=30'");
    println!("  head -c 20000 /dev/zero | tr '\\0' 1 |");
    println!("    curl -i -H 'content-type: application/json' --data-binary @- http://{addr}/echo");
    println!("  curl http://{addr}/metrics");
}

const TEXT: &str = "text/plain; charset=utf-8";

const ROUTES: [&str; 8] =
    ["/", "/page.js", "/items", "/echo", "/events", "/slow", "/healthz", "/metrics"];

// The script stands in a file of its own, since the policy allows none in the page.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>tower-kit quickstart</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
  pre { background: #8881; padding: .75rem; overflow-x: auto; white-space: pre-wrap }
</style>
<h1>tower-kit quickstart</h1>
<p>This page came through every layer. Its own security headers allow what it does.</p>
<h2>Headers of <a href="/items?n=3">/items?n=3</a></h2>
<pre id="headers">waiting</pre>
<h2>A 20 KB JSON body posted to /echo</h2>
<pre id="refused">waiting</pre>
<h2>Events of <a href="/events">/events</a></h2>
<pre id="events">waiting</pre>
<h2>Latency, from <a href="/metrics">/metrics</a></h2>
<pre id="metrics">waiting</pre>
<script type="module" src="/page.js"></script>
</html>
"#;

const SCRIPT: &str = r#"const show = (id, text) => { document.getElementById(id).textContent = text; };

const items = await fetch("/items?n=3");
show("headers", [...items.headers].map(([name, value]) => `${name}: ${value}`).join("\n"));

const json = { "content-type": "application/json" };
const refused = await fetch("/echo", { method: "POST", headers: json, body: "1".repeat(20000) });
show("refused", `${refused.status} ${await refused.text()}`);

new EventSource("/events").onmessage = (event) => show("events", event.data);

const metrics = await (await fetch("/metrics")).text();
show("metrics", metrics.split("\n").filter((line) => line.includes("_count{")).join("\n"));
"#;
