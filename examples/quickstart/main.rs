//! A plain hyper service with every layer around it, over HTTP/1 and HTTP/2 without TLS, and a page
//! that shows what each layer does.
//!
//! ```sh
//! cargo run --example quickstart --features full
//! ```
//!
//! Then open `http://127.0.0.1:3000` in a browser. The environment variable `ADDR` changes the
//! address. With `REDIS_URL`, such as `redis://127.0.0.1:6379`, the cache is also in Redis, and
//! shared by all processes with the same URL; `cache_redis` shows more of that. Ctrl-C or SIGTERM
//! stops the server: open requests are finished first, for ten seconds at most.
//!
//! The layers bound what a hostile client can do, and [`server`] and [`hold`] bound what no layer
//! sees. The server accepts `CONNECTIONS` connections at a time, 1,000 by default. A client has
//! `PATIENCE_MS` milliseconds, 10,000 by default, to send a request: a body may take three times as
//! long, and a connection sixty times.

mod demo;
mod routes;

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tower::{ServiceBuilder, ServiceExt};
use tower_http::timeout::RequestBodyDeadlineLayer;
use tower_kit::cache::{CacheKey, MemoryStore, RedisConfig, RedisStore, TieredStore};
use tower_kit::compress::Encoding;
use tower_kit::compress::dictionary::Dictionaries;
use tower_kit::latency::BODY_SIZE_BUCKETS;
use tower_kit::pressure::{Level, PressureEvent};
use tower_kit::security_headers::Csp;
use tower_kit::{
    CacheLayer, CompressLayer, KIB, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer,
};

use routes::{App, ROUTES, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BODY_SIZE_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let (stop, stopping) = watch::channel(false);
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
    // No route looks at the host, and none at the parameter `client`.
    let cache = cache.key(CacheKey::new().any_host().without_query(["client"]));
    let app = App::new(prometheus, cache.handle(), stopping.clone());
    let views = app.views.clone();
    let dictionaries = Dictionaries::new();

    let stack = ServiceBuilder::new()
        // Outermost, so that it measures what clients wait for, and counts every response.
        .layer(
            LatencyLayer::new()
                .route_templates(ROUTES)
                .record_time_to_first_byte()
                .record_body_sizes()
                .skip_if(is_health_check),
        )
        // Responds with 503 while memory is nearly full, before the kernel kills the process. Never
        // to /healthz, so that nobody restarts the process for that.
        .layer(demo::pressure().on_pressure(move |event| make_room(event, &kept)))
        // The headers that helmet sends, with a stricter policy.
        .layer(SecurityHeadersLayer::new().set(POLICY)?)
        // 10 KiB of JSON or form, 2 MiB of anything else.
        .layer(LimitLayer::new())
        // Outside of the cache, which keeps a variant for each coding.
        .map_request(demo::narrow_codings)
        // Likewise: a dictionary that is gone is as none.
        .layer(dictionaries.filter())
        // Stores responses that state a lifetime: /items and /report.
        .layer(cache)
        // The best coding that the client accepts, unless the request has x-no-compression. A browser
        // that has an earlier list of items gets only what has changed.
        .layer(CompressLayer::new().encodings(ENCODINGS).dictionaries(dictionaries))
        // A body that takes longer fails: hyper would wait forever for the next byte.
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
    // Items whose requests are gone may still be queued.
    views.drain().await;
    Ok(())
}

/// The bounds that hyper sets, since no layer sees these.
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

/// Shrinks the cache: its entries can be fetched again.
fn make_room(event: &PressureEvent, cache: &MemoryStore) {
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

/// The page's script and style have the nonce of its response. Nothing else may run, and nothing is
/// loaded from elsewhere.
const POLICY: Csp = Csp::from_static(
    "default-src 'none'; script-src 'nonce' 'report-sample'; style-src 'nonce'; img-src data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The encodings, in the order that decides between equal preferences of the client.
const ENCODINGS: [Encoding; 4] =
    [Encoding::Zstd, Encoding::Brotli, Encoding::Gzip, Encoding::Deflate];

/// Buckets in seconds, finer than `latency::DURATION_BUCKETS`, which begin at 5 ms: over loopback, most of
/// the responses take less.
const BUCKETS: [f64; 20] = [
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5,
    1.0, 2.0, 5.0, 10.0, 60.0,
];
