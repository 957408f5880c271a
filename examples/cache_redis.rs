//! A cache in Redis that several processes share: they all serve a response that one of them has
//! fetched, and a purge in one of them holds in all.
//!
//! ```sh
//! redis-server --port 6379 --save ''     # or: docker run --rm -p 6379:6379 redis
//!
//! export REDIS_URL=redis://127.0.0.1:6379
//! ADDR=127.0.0.1:3000 cargo run --example cache_redis --features cache-redis &
//! ADDR=127.0.0.1:3001 cargo run --example cache_redis --features cache-redis &
//!
//! curl -i http://127.0.0.1:3000/items/1
//! curl -i http://127.0.0.1:3001/items/1
//! curl -i -X PUT http://127.0.0.1:3001/items/1
//! curl -i http://127.0.0.1:3000/items/1
//! curl -i http://127.0.0.1:3000/items
//! ```
//!
//! The second response comes from Redis: its text names the first process. The PUT to the second
//! process purges the item, and by a tag the list, so that the first process calls its service again.
//! Stop Redis: each process goes on with its own memory, where an entry is used for five seconds.
//! Without `REDIS_URL` a process caches in memory only.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_kit::MIB;
use tower_kit::cache::{
    BoxStore, CacheHandle, CacheHint, CacheKey, CacheLayer, MemoryStore, RedisConfig, RedisStore,
    TieredStore,
};

/// The state of the routes.
#[derive(Clone)]
struct App {
    cache: CacheHandle,
    addr: Arc<str>,
    queries: Arc<AtomicU32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    let addr = listener.local_addr()?.to_string();

    let (memory, kept) = (MemoryStore::new(64 * MIB), Duration::from_secs(300));
    let (store, name) = match std::env::var("REDIS_URL") {
        Ok(url) => {
            // It connects in the background, and again whenever the connection ends.
            let redis = RedisStore::connect(RedisConfig::new(&url)?);
            (BoxStore::new(TieredStore::new(memory, redis)), "memory and Redis")
        }
        Err(_) => (BoxStore::new(memory), "memory alone"),
    };
    // Here processes differ in their ports, and what they answer does not.
    let cache = CacheLayer::with_ttl(store, kept).key(CacheKey::new().any_host());
    let app = App { cache: cache.handle(), addr: addr.as_str().into(), queries: Arc::default() };
    let router = Router::new()
        .route("/items", get(items))
        .route("/items/{id}", get(item).put(change))
        .with_state(app)
        .layer(cache);

    println!("listening on http://{addr}, with a cache in {name}");
    Ok(axum::serve(listener, router).await?)
}

async fn items(State(app): State<App>) -> (Extension<CacheHint>, String) {
    let query = app.query().await;
    (Extension(CacheHint::new().tag("item-1").tag("item-2")), format!("items 1 and 2{query}"))
}

async fn item(State(app): State<App>, Path(id): Path<u32>) -> (Extension<CacheHint>, String) {
    let query = app.query().await;
    (Extension(CacheHint::new().tag(format!("item-{id}"))), format!("item {id}{query}"))
}

async fn change(State(app): State<App>, Path(id): Path<u32>) -> (StatusCode, &'static str) {
    drop(app.query().await);
    // It holds here in any case; awaited, it tells whether the others know of it.
    match app.cache.purge_tag(&format!("item-{id}")).await {
        Ok(()) => (StatusCode::OK, "changed, as all are told\n"),
        Err(_) => (StatusCode::ACCEPTED, "changed, as others will be told when Redis is back\n"),
    }
}

impl App {
    /// The database, which takes a second.
    async fn query(&self) -> String {
        sleep(Duration::from_secs(1)).await;
        let number = self.queries.fetch_add(1, Ordering::Relaxed) + 1;
        format!(", by query {number} of {}\n", self.addr)
    }
}
