//! Every layer around an axum router, as the one tuple that `Router::layer` takes, with the
//! time-outs and the stop that a server needs.
//!
//! ```sh
//! cargo run --example axum --features full
//! curl -i --compressed http://127.0.0.1:3000/items/7
//! curl -i --json '{"name": "a new one"}' http://127.0.0.1:3000/items
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! Send the first one twice, and look at `cache-status`, and at the label `route` of the numbers.
//! Ctrl-C or SIGTERM stops it: open requests have ten seconds to finish.
//!
//! `axum::serve` would be shorter, and has no time-out: a client that sends half of a head could
//! keep its connection for ever. So hyper-util's server is here, which gives it five seconds.
//! Requests have five seconds too, in which a handler gets their body and makes its response, by
//! tower's `TimeoutLayer`: innermost, so that its answer is measured and has the security headers.

use std::error::Error;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{MatchedPath, Path, State};
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{BoxError, Json, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};
use tower::timeout::TimeoutLayer;
use tower_kit::cache::MemoryStore;
use tower_kit::latency::DURATION_BUCKETS;
use tower_kit::{
    CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, PressureLayer, SecurityHeadersLayer,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(prometheus.clone()));
    let app = Router::new()
        .route("/items/{id}", get(item))
        .route(
            "/items",
            post(|Json(item): Json<Value>| async { (StatusCode::CREATED, Json(item)) }),
        )
        .route("/metrics", get(|State(all): State<PrometheusHandle>| async move { all.render() }))
        .layer((
            LatencyLayer::new().route(|request| request.extensions.get().map(MatchedPath::as_str)),
            PressureLayer::new(),
            SecurityHeadersLayer::new(),
            LimitLayer::new(),
            CacheLayer::new(MemoryStore::new(64 * MIB)),
            CompressLayer::new(),
            HandleErrorLayer::new(|_: BoxError| async { StatusCode::SERVICE_UNAVAILABLE }),
            TimeoutLayer::new(PATIENCE),
        ))
        .with_state(prometheus);
    let service = TowerToHyperService::new(app);

    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    server.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(20));

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, say: existing connections go on, and make room.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let io = TokioIo::new(stream);
        let connection = server.serve_connection_with_upgrades(io, service.clone());
        // An error here is a client that left or does not speak HTTP: nothing to tell.
        let connection = connections.watch(connection.into_owned());
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    if timeout(Duration::from_secs(10), connections.shutdown()).await.is_err() {
        println!("some requests were still open after ten seconds");
    }
    Ok(())
}

async fn item(Path(id): Path<u64>) -> impl IntoResponse {
    let text = "What there is to say of it. ".repeat(100);
    ([(CACHE_CONTROL, "max-age=60")], Json(json!({ "id": id, "text": text })))
}

/// The exporter keeps every sample until it is drained.
async fn upkeep(prometheus: PrometheusHandle) {
    loop {
        sleep(Duration::from_secs(5)).await;
        prometheus.run_upkeep();
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
