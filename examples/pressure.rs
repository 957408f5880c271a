//! A server that shrinks its cache when memory is short, and sheds requests if that is not enough.
//!
//! ```sh
//! LIMIT_MIB=256 cargo run --example pressure --features cache,pressure
//! curl -s 'http://127.0.0.1:3000/pages/[1-400]' -o /dev/null   # 50 MiB in the cache
//! curl -X POST http://127.0.0.1:3000/hold/160                  # 160 MiB more
//! curl -i http://127.0.0.1:3000/reports                        # low priority: 503 from 80% on
//! curl -X POST http://127.0.0.1:3000/hold/70
//! curl -i http://127.0.0.1:3000/                               # 503 from 90% on
//! curl -i http://127.0.0.1:3000/healthz                        # never shed, nor is /metrics
//! curl -i http://127.0.0.1:3000/readyz                         # 503 while memory is short
//! curl -X DELETE http://127.0.0.1:3000/hold
//! ```
//!
//! The server prints each change of the level. In a container, leave out `LIMIT_MIB`: the limit of the
//! container applies.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower_kit::cache::{CacheKey, MemoryStore, Store};
use tower_kit::pressure::{Level, MemoryUsage, PressureEvent, PressureLayer, Priority};
use tower_kit::{CacheLayer, MIB};

/// Memory that requests allocate and free.
type Held = Arc<Mutex<Vec<Vec<u8>>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new().install_recorder()?;
    let store = MemoryStore::new(64 * MIB);
    let cache = CacheLayer::new(store.clone()).key(CacheKey::new().any_host());

    let pressure = PressureLayer::new()
        .memory_limit(limit_mib()? * MIB)
        .on_pressure(move |event| shrink_cache(event, &store))
        // DELETE frees memory.
        .skip_if(|request| request.method == Method::DELETE)
        .priority(|request| match request.uri.path() {
            "/reports" => Priority::Low,
            _ => Priority::Normal,
        });

    let layer = pressure.clone();
    let app = Router::new()
        .route("/pages/{number}", get(page))
        .layer(cache)
        .route("/", get(|| async { "hello\n" }))
        .route("/reports", get(|| async { "a report\n" }))
        .route("/hold", delete(release))
        .route("/hold/{mib}", post(hold))
        .with_state(Held::default())
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(async move || ready(layer.level())))
        .route("/metrics", get(move || metrics(prometheus)))
        .layer(pressure.clone());

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    // Later failures of a reading only show in the metrics.
    let memory = format_usage(pressure.memory_usage()?);
    println!("listening on http://{}, memory: {memory}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        // Calls the callback even while there are no requests.
        () = pressure.watch() => {}
    }
    Ok(())
}

/// Takes the process out of rotation before it has to shed.
fn ready(level: Level) -> StatusCode {
    if level == Level::Normal { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Shrinks the cache, the only memory that the server can do without.
fn shrink_cache(event: &PressureEvent, store: &MemoryStore) {
    match event.level() {
        Level::Normal => {}
        Level::High => store.shrink_to(8 * MIB),
        _ => store.shrink_to(0),
    }
    let (level, memory) = (event.level(), format_usage(event.memory_usage()));
    println!("{level:?}: {memory}, {} MiB in the cache", store.usage().bytes / MIB);
}

/// Returns the memory limit of the environment, or 0 for none.
fn limit_mib() -> Result<u64, Box<dyn Error>> {
    match std::env::var("LIMIT_MIB") {
        Ok(mib) => mib.parse().map_err(|error| format!("LIMIT_MIB {mib:?}: {error}").into()),
        Err(_) => Ok(0),
    }
}

async fn page(Path(number): Path<u64>) -> impl IntoResponse {
    ([(CACHE_CONTROL, "max-age=600")], format!("page {number:3}").repeat(16 * 1024))
}

async fn hold(State(held): State<Held>, Path(mib): Path<u8>) -> String {
    // Not zeroes: the kernel allocates pages only when they are written.
    let bytes = vec![1; usize::from(mib) * 1024 * 1024];
    held.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    format!("holding {mib} MiB more\n")
}

async fn release(State(held): State<Held>) -> &'static str {
    held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    "holding nothing\n"
}

async fn metrics(prometheus: PrometheusHandle) -> String {
    prometheus.render()
}

fn format_usage(usage: MemoryUsage) -> String {
    format!("{} of {} MiB", usage.used() / MIB, usage.limit() / MIB)
}
