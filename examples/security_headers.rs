//! A guest book with HTML comments, a widget that a partner may frame, and an API. Each of the three
//! has the security headers that it needs.
//!
//! ```sh
//! cargo run --example security_headers --features security-headers
//! curl -i http://127.0.0.1:3000/
//! curl -i -H 'x-forwarded-proto: https' http://127.0.0.1:3000/
//! curl -i -G --data-urlencode 'q=<b>' http://127.0.0.1:3000/search
//! curl -i http://127.0.0.1:3000/widget
//! curl -i http://127.0.0.1:3000/api/comments
//! curl -i -X POST http://127.0.0.1:3000/logout
//! ```
//!
//! Open the guest book in a browser, too: one comment has scripts, and the console reports that the
//! policy blocked them. The variable `PARTNER` names the origin that may frame the widget.

use std::error::Error;

use axum::extract::{Query, State};
use axum::http::header::X_FRAME_OPTIONS;
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{
    ClearSiteData, Csp, Directive, Nonce, Overrides, Source, forwarded_proto,
};

/// Allows scripts with the nonce of the response, and scripts that such a script loads.
const POLICY: Csp = Csp::from_static(
    "default-src 'self'; script-src 'nonce' 'strict-dynamic'; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'self'; upgrade-insecure-requests",
);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let headers = SecurityHeadersLayer::new()
        .set(POLICY)?
        // A shared cache would send one nonce to all clients.
        .custom("cache-control", "no-store")?
        // A proxy terminates HTTPS and sends `x-forwarded-proto`. Without a proxy, as here, the
        // layer asks no browser for HTTPS.
        .https_if(forwarded_proto);

    // The widget extends the policy above. A wrong origin in the variable stops the program here.
    let partner = std::env::var("PARTNER").unwrap_or_else(|_| "https://partner.example".to_owned());
    let framed = Csp::new().set(Directive::FRAME_ANCESTORS, [Source::host(partner)?]);
    let framed = Overrides::new().remove(X_FRAME_OPTIONS).extend(framed)?;

    // The layer outside adds its headers to those of the API, and replaces none.
    let api = Router::new().route("/comments", get(list)).layer(SecurityHeadersLayer::api());
    let app = Router::new()
        .route("/", get(guest_book))
        .route("/search", get(search))
        .route("/widget", get(widget))
        .route("/logout", post(log_out))
        .nest("/api", api)
        .with_state(framed)
        .layer(headers);

    let addr = std::env::var("ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(&addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

async fn guest_book(Extension(nonce): Extension<Nonce>) -> Html<String> {
    let comments = comments(&COMMENTS);
    document(&format!(
        r#"<h1>Guest book</h1>
<p id="status"></p>
<form action="/search"><input name="q"><button>Search</button></form>
{comments}
<form action="/logout" method="post"><button>Log out</button></form>
<script nonce="{nonce}">{SCRIPT}</script>"#
    ))
}

#[derive(Deserialize)]
struct Search {
    q: String,
}

/// Counts the comments that match. The page does not repeat the query: this example has no template
/// engine to escape it. The handler asks for no nonce, so the policy allows no script.
async fn search(Query(Search { q }): Query<Search>) -> Html<String> {
    let found: Vec<_> = COMMENTS.into_iter().filter(|comment| comment.contains(&q)).collect();
    document(&format!("<h1>Comments found: {}</h1>\n{}", found.len(), comments(&found)))
}

async fn widget(
    State(framed): State<Overrides>,
    Extension(nonce): Extension<Nonce>,
) -> impl IntoResponse {
    let page = document(&format!(
        r#"<p>The guest book has {} comments.</p>
<script nonce="{nonce}">{WIDGET_SCRIPT}</script>"#,
        COMMENTS.len()
    ));
    (Extension(framed), page)
}

async fn list() -> Json<[&'static str; 2]> {
    Json(COMMENTS)
}

async fn log_out() -> impl IntoResponse {
    // A real service also ends the session on the server.
    let forget = ClearSiteData::COOKIES.and(ClearSiteData::STORAGE);
    ([(ClearSiteData::NAME, forget)], Redirect::to("/"))
}

fn document(body: &str) -> Html<String> {
    Html(format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Guest book</title></head>
<body>
{body}
</body>
</html>
"#
    ))
}

/// Writes the comments into the page unescaped, because they may have markup. A sanitizer removes
/// scripts when a comment is posted. The policy is the second line of defense: browsers do not run a
/// script that gets past the sanitizer.
fn comments(comments: &[&str]) -> String {
    comments.iter().map(|comment| format!("<article>{comment}</article>\n")).collect()
}

/// The second comment got past the sanitizer.
const COMMENTS: [&str; 2] = [
    "<p>What a <b>lovely</b> place!</p>",
    r#"<p>Me too</p>
<script>document.getElementById("status").append("A comment ran a script. ")</script>
<img src="/none" onerror="document.getElementById('status').append('A comment ran a handler. ')">"#,
];

const SCRIPT: &str = r#"document.getElementById("status").append("The page ran its script. ")"#;

/// Sends the height of the widget to the page that frames it.
const WIDGET_SCRIPT: &str = "parent.postMessage({ height: document.body.scrollHeight }, '*')";
