//! A cache in front of a slow axum service: clients wait once, and a change purges what it changed.
//!
//! ```sh
//! cargo run --example cache --features cache
//! curl -i http://127.0.0.1:3000/users/1
//! curl -i http://127.0.0.1:3000/users/1
//! curl -i -X PUT http://127.0.0.1:3000/users/1
//! curl -i http://127.0.0.1:3000/users
//! ```
//!
//! The second answer comes from memory: see its `cache-status` and `age`. A PUT drops its own URL by
//! itself; the list, which has the user too, is purged by a tag.

use std::error::Error;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower_kit::cache::{CacheHandle, CacheHint, CacheKey, CacheLayer, MemoryStore};
use tower_kit::{KIB, MIB};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = CacheLayer::with_ttl(MemoryStore::new(64 * MIB), Duration::from_secs(300))
        .key(CacheKey::new().without_tracking().sorted_query())
        .max_entry_size(256 * KIB)
        .etag();
    let handle = cache.handle();
    let app = Router::new()
        .route("/users", get(users))
        .route("/users/{id}", get(user).put(change))
        .with_state(handle)
        .layer(cache);

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn users() -> (Extension<CacheHint>, &'static str) {
    sleep(QUERY).await;
    (Extension(CacheHint::new().tag("user-1").tag("user-2")), "user 1\nuser 2\n")
}

async fn user(Path(id): Path<u32>) -> (Extension<CacheHint>, String) {
    sleep(QUERY).await;
    (Extension(CacheHint::new().tag(format!("user-{id}"))), format!("user {id}\n"))
}

async fn change(State(handle): State<CacheHandle>, Path(id): Path<u32>) -> &'static str {
    sleep(QUERY).await;
    handle.purge_tag(&format!("user-{id}"));
    "changed\n"
}

/// The response time of the database.
const QUERY: Duration = Duration::from_secs(1);
