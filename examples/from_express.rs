//! A production stack of Express, ported to axum. Comments quote the JavaScript that is replaced.
//!
//! ```sh
//! cargo run --example from_express --features full
//! curl -i --compressed http://127.0.0.1:3000/items     # twice: the second response is a hit
//! curl -i --json '{"id": "101", "name": "new"}' http://127.0.0.1:3000/items
//! curl -i -X DELETE http://127.0.0.1:3000/items/7
//! curl http://127.0.0.1:3000/metrics
//! ```
//!
//! With `REDIS_URL`, the caches are in Redis. A Bull queue is the example `job_queue`, OpenTelemetry is
//! `tracing`, and `cluster` is `workers`. `axum` adds timeouts, and upkeep of metrics without a scraper.

use std::{collections::BTreeMap, convert::Infallible, error::Error, sync::Arc, time::Duration};

use axum::extract::{Path, State, rejection::JsonRejection};
use axum::{Json, Router, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{net::TcpListener, signal::unix, sync::Mutex};
use tower::{Layer, service_fn};
use tower_kit::ValueCache;
use tower_kit::batch::{Batch, BatchLayer};
use tower_kit::cache::{BoxStore, MemoryStore, RedisConfig, RedisStore};
use tower_kit::values::LoadError;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB};
use tower_kit::{PressureLayer, SecurityHeadersLayer, latency::DURATION_BUCKETS};

type Database = Arc<Mutex<BTreeMap<String, Item>>>;
type Body = Result<Json<Item>, JsonRejection>;
type Problem = (StatusCode, Json<Value>);

#[derive(Clone, Deserialize, Serialize)]
struct Item {
    id: String,
    name: String,
}

#[derive(Clone)]
struct App {
    database: Database,
    cache: ValueCache,
    inserts: Batch<Item, ()>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS)?.install_recorder()?;
    let store = match std::env::var("REDIS_URL") {
        Ok(url) => BoxStore::new(RedisStore::connect(RedisConfig::new(&url)?)),
        Err(_) => BoxStore::new(MemoryStore::new(64 * MIB)),
    };
    let items = (1..=100).map(|id| Item { id: format!("{id}"), name: format!("item {id}") });
    let database = Database::new(Mutex::new(items.map(|item| (item.id.clone(), item)).collect()));
    let table = database.clone();
    // new BatchProcessor({ batchSize: 100, flushInterval: 5000 })
    let inserts = BatchLayer::new().layer(service_fn(move |items| insert(table.clone(), items)));
    let app = App { database, cache: ValueCache::new(store.clone()), inserts: inserts.clone() };
    // setInterval(() => { if (memoryIsHigh()) console.warn(..) }, 60000)
    let pressure = PressureLayer::new().watch_only().on_pressure(|event| eprintln!("{event:?}"));
    tokio::spawn(pressure.watch());
    // cacheResponse(60), which stores what is compressed already: a hit costs no codec
    let cached = (CacheLayer::with_ttl(store, Duration::from_secs(60)), CompressLayer::new());
    let router = Router::new()
        .route("/items", get(list).layer(cached).post(create))
        .route("/items/{id}", get(show).delete(remove))
        .route("/metrics", get(async move || prometheus.render()))
        .fallback(async || problem(StatusCode::NOT_FOUND, &"no such route"))
        .with_state(app)
        .layer((
            LatencyLayer::new(), // app.use(metricsMiddleware)
            pressure,
            SecurityHeadersLayer::new(),      // app.use(helmet())
            LimitLayer::new().problem_json(), // express.json({ limit: '10kb' })
            CompressLayer::new(),             // compression({ level: 6, filter })
        ));
    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminate = unix::signal(unix::SignalKind::terminate())?;
    let stop = async move { _ = terminate.recv().await };
    axum::serve(listener, router).with_graceful_shutdown(stop).await?;
    inserts.drain().await;
    Ok(())
}

async fn list(State(app): State<App>) -> Json<Vec<Item>> {
    Json(app.database.lock().await.values().cloned().collect())
}

/// `cacheService.get(key)`, and `set` after a miss: one caller asks the database for all.
async fn show(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Item>, Problem> {
    let missing = || problem(StatusCode::NOT_FOUND, &"no such item");
    let find = async || app.database.lock().await.get(&id).cloned().ok_or_else(missing);
    let item = app.cache.get_or_insert_with(&format!("item:{id}"), None, find).await;
    // The callers that waited for the same query share its error.
    let shared = |error: LoadError<Problem>| {
        let own = || problem(StatusCode::SERVICE_UNAVAILABLE, &error);
        error.failure().cloned().unwrap_or_else(own)
    };
    item.map(Json).map_err(shared)
}

/// `batchProcessor.add(item)`: the response does not wait for the batch.
async fn create(State(app): State<App>, item: Body) -> Result<StatusCode, Problem> {
    let Json(item) = item.map_err(|error| problem(error.status(), &error))?;
    let queued = app.inserts.submit(item).map(|()| StatusCode::ACCEPTED);
    queued.map_err(|error| problem(StatusCode::SERVICE_UNAVAILABLE, &error))
}

async fn remove(State(app): State<App>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let row = app.database.lock().await.remove(&id);
    row.ok_or_else(|| problem(StatusCode::NOT_FOUND, &"no such item"))?;
    let removed = app.cache.remove(&format!("item:{id}")).await.map(|()| StatusCode::NO_CONTENT);
    removed.map_err(|error| problem(StatusCode::INTERNAL_SERVER_ERROR, &error))
}

/// Inserts all rows with one statement, `on conflict do nothing`.
async fn insert(database: Database, items: Vec<Item>) -> Result<Vec<()>, Infallible> {
    let mut rows = database.lock().await;
    println!("inserting {} items", items.len());
    Ok(items.into_iter().map(|item| _ = rows.entry(item.id.clone()).or_insert(item)).collect())
}

fn problem(status: StatusCode, error: &dyn std::fmt::Display) -> Problem {
    (status, Json(json!({ "error": error.to_string() })))
}
