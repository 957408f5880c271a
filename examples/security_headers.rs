//! helmet's headers around an axum service, and a page with a policy of its own.
//!
//! ```sh
//! cargo run --example security_headers --features security-headers
//! curl -i http://127.0.0.1:3000/
//! curl -i http://127.0.0.1:3000/widget
//! ```
//!
//! Compare the two `content-security-policy` fields.

use std::error::Error;

use axum::Router;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;
use tower_kit::SecurityHeadersLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/", get(|| async { Html("<h1>hello</h1>") }))
        .route("/widget", get(widget))
        .layer(SecurityHeadersLayer::new());

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Other sites may frame this one: what a handler sets wins.
async fn widget() -> impl IntoResponse {
    // Browsers that know `frame-ancestors` do not look at `x-frame-options`.
    let policy = "default-src 'self';frame-ancestors *";
    ([(CONTENT_SECURITY_POLICY, policy)], Html("<h1>embed me</h1>"))
}
