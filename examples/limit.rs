//! Body limits by media type around an axum service, whose extractors have a limit of their own.
//!
//! ```sh
//! cargo run --example limit --features limit
//! curl -i --json '{"name": "a short one"}' http://127.0.0.1:3000/
//! head -c 2000 /dev/zero | curl -i --json @- http://127.0.0.1:3000/
//! head -c 2000 /dev/zero | curl -i --json @- -H 'transfer-encoding: chunked' http://127.0.0.1:3000/
//! ```
//!
//! The second request is rejected by its `content-length`, and the third request while it streams:
//! axum's extractor responds to the failed read with a 413 of its own.

use std::error::Error;

use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tower_kit::limit::Size;
use tower_kit::{KIB, LimitLayer, MIB};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let limit = LimitLayer::new()
        .json(KIB)
        .media_type("image/*", 5 * MIB)?
        .media_type("video/*", Size::UNLIMITED)?;
    let app = Router::new()
        .route("/", post(|Json(body): Json<serde_json::Value>| async move { Json(body) }))
        // axum's own limit of 2 MiB would still apply, to images as well.
        .layer((limit, DefaultBodyLimit::disable()));

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
