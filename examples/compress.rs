//! An axum service that compresses its responses, except for one that contains a secret.
//!
//! ```sh
//! cargo run --example compress --features compress-br
//! curl -i --compressed http://127.0.0.1:3000/ -o /dev/null -D -
//! curl -i --compressed -H 'x-no-compression: 1' http://127.0.0.1:3000/ -o /dev/null -D -
//! curl -i --compressed http://127.0.0.1:3000/token
//! ```
//!
//! Compare `content-encoding`, `content-length` and `vary` of the three responses.

use std::error::Error;

use axum::routing::get;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tower_kit::compress::{CompressHint, CompressLayer, Encoding};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // br for clients that accept it, gzip for all others.
    let compress = CompressLayer::new()
        .encodings([Encoding::Brotli, Encoding::Gzip])
        .level(Encoding::Brotli, 5)?
        .threshold(512);
    let app = Router::new()
        .route("/", get(|| async { "It was a dark and stormy night. ".repeat(100) }))
        // Beside text from the request, the compressed size of a secret would reveal it.
        .route("/token", get(|| async { (Extension(CompressHint::forbid()), "x".repeat(2_000)) }))
        .layer(compress);

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
