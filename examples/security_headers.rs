//! A guest book whose comments are HTML, a widget of it that a partner may frame, and an API: each
//! with the security headers that it needs.
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
//! Open it in a browser, too: one comment brings scripts, and the console says that they were
//! blocked. `PARTNER` is the origin that may frame the widget.

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

/// Scripts run if they have the nonce of the answer, or if one that has it loads them.
const POLICY: Csp = Csp::from_static(
    "default-src 'self'; script-src 'nonce' 'strict-dynamic'; object-src 'none'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'self'; upgrade-insecure-requests",
);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let headers = SecurityHeadersLayer::new()
        .set(POLICY)?
        // A cache would send the same nonce to everybody.
        .custom("cache-control", "no-store")?
        // HTTPS ends at a proxy, which says so. Without one, as here, nothing asks for HTTPS.
        .https_only(forwarded_proto);

    // Added to the policy above. What comes from outside is checked, so that a typing error ends
    // the program here.
    let partner = std::env::var("PARTNER").unwrap_or_else(|_| "https://partner.example".to_owned());
    let framed = Csp::new().set(Directive::FrameAncestors, [Source::host(partner)]);
    let framed = Overrides::new().remove(X_FRAME_OPTIONS).extend(framed)?;

    // What it sets stands; the layer outside adds the rest.
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

/// Counts the comments and leaves the search out of the page: a template engine would escape it,
/// and this example has none. No script, no nonce: the policy allows none here.
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
    // A real one ends the session at the server, too.
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

/// Puts comments into the page as they are, since they may have markup. A sanitizer takes scripts out
/// of them when they are posted. The policy is the second line of defense: where a script gets past
/// the sanitizer, browsers do not run it.
fn comments(comments: &[&str]) -> String {
    comments.iter().map(|comment| format!("<article>{comment}</article>\n")).collect()
}

/// The second one got past the sanitizer.
const COMMENTS: [&str; 2] = [
    "<p>What a <b>lovely</b> place!</p>",
    r#"<p>Me too</p>
<script>document.getElementById("status").append("A comment ran a script. ")</script>
<img src="/none" onerror="document.getElementById('status').append('A comment ran a handler. ')">"#,
];

const SCRIPT: &str = r#"document.getElementById("status").append("The page ran its script. ")"#;

/// Tells the page around it how much room it takes.
const WIDGET_SCRIPT: &str = "parent.postMessage({ height: document.body.scrollHeight }, '*')";
