//! The extensions of axum that the layers read, and those that its extractors read from the layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, OriginalUri, Request};
use axum::middleware::{Next, from_fn, map_request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_kit::cache::{CacheHandle, CacheKey, CacheLayer, MemoryStore};
use tower_kit::latency::Route;
use tower_kit::limit::Size;
use tower_kit::security_headers::{Csp, Nonce};
use tower_kit::{KIB, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};

use super::chunked;
use crate::support::{Metrics, Server, h1_client, h2_client, text};

const DURATION: &str = "http_request_duration_seconds";
const FRESH: [(&str, &str); 1] = [("cache-control", "max-age=60")];

fn get_request(uri: &str) -> Request {
    Request::get(uri).body(Body::empty()).unwrap()
}

fn cache() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(MIB))
}

/// Two nested routers under one cache, each with pages that say which one they are of.
fn shop_and_blog(cache: &CacheLayer) -> (Router, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let pages = |name: &'static str| {
        let calls = Arc::clone(&calls);
        let page = move |uri: Uri, original: OriginalUri| async move {
            calls.fetch_add(1, Ordering::SeqCst);
            (FRESH, format!("{name} {uri} {}", original.0.path_and_query().unwrap()))
        };
        let changed = || async { "changed" };
        let page = get(page).post(changed);
        Router::new().route("/", page.clone()).route("/list", page).layer(cache.clone())
    };
    let app = Router::new().nest("/shop", pages("shop")).nest("/blog", pages("blog"));
    (app, calls)
}

#[tokio::test]
async fn nested_routers_have_pages_of_their_own() {
    let (app, calls) = shop_and_blog(&cache());
    let server = Server::start(app).await;
    for (client, http) in [(h1_client(), 1), (h2_client(), 2)] {
        for path in ["/shop/list", "/blog/list", "/shop", "/blog", "/shop/list?page=2"] {
            let name = &path[1..5];
            let before = calls.load(Ordering::SeqCst);
            for _ in 0..2 {
                let uri: Uri = server.url(path).parse().unwrap();
                let request = http::Request::get(uri).body(crate::support::full("")).unwrap();
                let response = client.request(request).await.unwrap();
                let says = text(response).await;
                assert!(says.starts_with(name) && says.ends_with(path), "{path}: {says}");
            }
            let asked = calls.load(Ordering::SeqCst) - before;
            assert_eq!(asked, if http == 1 { 1 } else { 0 }, "{path} is stored once");
        }
    }
}

#[tokio::test]
async fn nested_page_is_stored_as_its_key_spells_it() {
    let by = CacheKey::new().without_tracking().sorted_query();
    let (app, calls) = shop_and_blog(&cache().key(by));
    for uri in ["http://H.org:80/shop/list?b=2&utm_id=1&a=1", "http://h.org/shop/list?a=1&b=2"] {
        let response = app.clone().oneshot(get_request(uri)).await.unwrap();
        let says = text(response).await;
        assert!(says.ends_with("/list?a=1&b=2 /shop/list?a=1&b=2"), "{says}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nested_page_is_purged_by_its_public_url() {
    let cache = cache();
    let handle: CacheHandle = cache.handle();
    let (app, calls) = shop_and_blog(&cache);
    let list = || app.clone().oneshot(get_request("http://h/shop/list"));
    let asked = || calls.load(Ordering::SeqCst);
    drop(text(list().await.unwrap()).await);
    handle.purge_url("http://h/shop/list").unwrap().await.unwrap();
    drop(text(list().await.unwrap()).await);
    assert_eq!(asked(), 2);
    // A change through the nested router purges as well.
    let post = Request::post("http://h/shop/list").body(Body::empty()).unwrap();
    assert_eq!(text(app.clone().oneshot(post).await.unwrap()).await, "changed");
    drop(text(list().await.unwrap()).await);
    assert_eq!(asked(), 3);
}

/// Serves `/b` to some, by a middleware between the router and the cache.
async fn experiment(mut request: Request, next: Next) -> Response {
    if let Some(to) = request.headers().get("x-to") {
        *request.uri_mut() = to.to_str().unwrap().parse().unwrap();
    }
    next.run(request).await
}

#[tokio::test]
async fn rewritten_uri_is_another_key() {
    let handler = |uri: Uri| async move { (FRESH, uri.to_string()) };
    let app = Router::new().route("/{*rest}", get(handler)).layer((from_fn(experiment), cache()));
    let app = Router::new().nest("/x", app);
    for to in ["/a", "/", "/b", "/a?c", "http://other/a"] {
        for _ in 0..2 {
            let mut request = get_request("http://h/x/a");
            request.headers_mut().insert("x-to", to.parse().unwrap());
            let response = app.clone().oneshot(request).await.unwrap();
            assert_eq!(text(response).await, to);
        }
        let plain = app.clone().oneshot(get_request("http://h/x/a")).await.unwrap();
        assert_eq!(text(plain).await, "http://h/a");
    }
}

#[tokio::test]
async fn matched_path_is_the_route_without_a_closure() {
    let metrics = Metrics::new();
    let named = |mut request: Request, next: Next| async move {
        request.extensions_mut().insert(Route::new("named"));
        next.run(request).await
    };
    let layer = LatencyLayer::new().recorder(metrics.recorder()).route_templates(["/items/{own}"]);
    let item = || async { "an item" };
    let inner = Router::new().route("/{id}", get(item));
    let app = Router::new()
        .route("/items/{id}", get(item))
        .route("/files/{*path}", get(item))
        .nest("/users", inner)
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(layer.clone());
    let named = Router::new().route("/named/{id}", get(item)).layer((from_fn(named), layer));
    let server = Server::start(app.merge(named)).await;
    for path in ["/items/1", "/files/a/b", "/users/7", "/named/1", "/nowhere"] {
        let request = http::Request::get(server.url(path)).body(crate::support::full("")).unwrap();
        drop(text(h1_client().request(request).await.unwrap()).await);
    }
    metrics.wait_for(DURATION, 5).await;
    let mut routes: Vec<_> =
        metrics.samples(DURATION).into_iter().map(|(labels, _)| labels["route"].clone()).collect();
    routes.sort();
    let expected = ["/files/{*path}", "/items/{own}", "/users/{id}", "named", "unmatched"];
    assert_eq!(routes, expected, "templates of the layer's own stay first");
}

#[tokio::test]
async fn nonce_is_an_extractor() {
    const POLICY: Csp = Csp::from_static("default-src 'self'; script-src 'nonce'");
    let page = |nonce: Nonce| async move { nonce.to_string() };
    let maybe = |nonce: Option<Nonce>| async move { nonce.is_some().to_string() };
    let routes = || Router::new().route("/", get(page)).route("/maybe", get(maybe));
    let layer = SecurityHeadersLayer::none().set(POLICY).unwrap();
    let response = routes().layer(layer.clone()).oneshot(get_request("/")).await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let nonce = text(response).await;
    assert_eq!(
        (nonce.len(), policy),
        (22, format!("default-src 'self';script-src 'nonce-{nonce}'"))
    );
    let response = routes().layer(layer).oneshot(get_request("/maybe")).await.unwrap();
    assert_eq!(text(response).await, "true");
    // Without the layer.
    let response = routes().oneshot(get_request("/")).await.unwrap();
    assert_eq!(response.status(), 500);
    assert!(text(response).await.contains("security_headers::nonce::Nonce"));
    let response = routes().oneshot(get_request("/maybe")).await.unwrap();
    assert_eq!(text(response).await, "false");
}

#[tokio::test]
async fn inner_layer_sets_the_policy_of_one_route() {
    const POLICY: Csp = Csp::from_static("default-src 'self'; script-src 'nonce'");
    let page = |nonce: Nonce| async move { nonce.to_string() };
    let inner = SecurityHeadersLayer::none().set(POLICY).unwrap();
    let app = Router::new()
        .route("/page", get(page).layer(inner))
        .route("/", get(|| async { "other" }))
        .layer((SecurityHeadersLayer::new(), cache()));
    let mut nonces = Vec::new();
    for _ in 0..2 {
        let response = app.clone().oneshot(get_request("http://h/page")).await.unwrap();
        let policies: Vec<_> =
            response.headers().get_all("content-security-policy").iter().cloned().collect();
        assert_eq!(response.headers()["x-frame-options"], "SAMEORIGIN");
        let nonce = text(response).await;
        assert_eq!(policies, [format!("default-src 'self';script-src 'nonce-{nonce}'")]);
        nonces.push(nonce);
    }
    assert_ne!(nonces[0], nonces[1]);
    let other = app.oneshot(get_request("http://h/")).await.unwrap();
    let policy = other.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("script-src 'self'"), "{policy}");
}

/// Extractors of bodies; each answers with the number of bytes that it has read.
fn reads() -> Router {
    Router::new()
        .route("/json", post(|Json(text): Json<String>| async move { text.len().to_string() }))
        .route("/bytes", post(|bytes: Bytes| async move { bytes.len().to_string() }))
        .route("/string", post(|text: String| async move { text.len().to_string() }))
}

/// A JSON string of so many bytes: of declared length, or streamed.
fn json(path: &str, len: u64, streamed: bool) -> Request {
    let len = usize::try_from(len).unwrap();
    let declared = || Body::from(format!("\"{}\"", "x".repeat(len - 2)));
    let body = if streamed { chunked(len) } else { declared() };
    Request::post(path).header("content-type", "application/json").body(body).unwrap()
}

async fn status(app: &Router, request: Request) -> u16 {
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    drop(response.into_body().collect().await.unwrap());
    status
}

#[tokio::test]
async fn extractors_read_up_to_the_limit_of_the_layer() {
    let app = reads().layer(LimitLayer::new().json(5 * MIB));
    for path in ["/json", "/bytes", "/string"] {
        for streamed in [false, true] {
            assert_eq!(status(&app, json(path, 5 * MIB, streamed)).await, 200, "{path}");
            assert_eq!(status(&app, json(path, 5 * MIB + 1, streamed)).await, 413, "{path}");
        }
    }
    let unlimited = reads().layer(LimitLayer::new().json(Size::UNLIMITED));
    for streamed in [false, true] {
        assert_eq!(status(&unlimited, json("/bytes", 6 * MIB, streamed)).await, 200);
    }
}

#[tokio::test]
async fn body_limit_of_the_application_still_counts() {
    let own = DefaultBodyLimit::max(1024);
    let limit = || LimitLayer::new().json(5 * MIB);
    for app in [reads().layer((own, limit())), reads().layer((limit(), own))] {
        for streamed in [false, true] {
            assert_eq!(status(&app, json("/json", KIB, streamed)).await, 200);
            assert_eq!(status(&app, json("/json", KIB + 1, streamed)).await, 413);
        }
    }
    let off = DefaultBodyLimit::disable();
    for app in [reads().layer((off, limit())), reads().layer((limit(), off))] {
        assert_eq!(status(&app, json("/json", 5 * MIB, true)).await, 200);
        assert_eq!(status(&app, json("/json", 5 * MIB + 1, true)).await, 413);
    }
}

#[tokio::test]
async fn inner_limit_sets_that_of_the_extractors() {
    let app = reads().layer((LimitLayer::new().json(MIB), LimitLayer::new().json(4 * MIB)));
    assert_eq!(status(&app, json("/json", MIB, true)).await, 200);
    assert_eq!(status(&app, json("/json", MIB + 1, true)).await, 413);
    // A layer in between may lengthen the body, as an inflater does.
    let grow = |request: Request| async { request.map(|_| chunked(3 * 1024 * 1024)) };
    let app = reads()
        .layer(LimitLayer::new().json(4 * MIB))
        .layer(map_request(grow))
        .layer(LimitLayer::new().json(MIB));
    assert_eq!(status(&app, json("/json", KIB, true)).await, 200);
}

#[tokio::test]
async fn for_paths_sees_whole_paths_in_nested_routers() {
    let uploads = LimitLayer::new().json(MIB);
    let layer = LimitLayer::new().for_paths(["/shop/bytes"], &uploads);
    let nested = || reads().layer(layer.clone());
    let app = Router::new().nest("/shop", nested()).nest("/blog", nested());
    assert_eq!(status(&app, json("/shop/bytes", MIB, true)).await, 200);
    for path in ["/shop/json", "/blog/bytes"] {
        assert_eq!(status(&app, json(path, MIB, true)).await, 413, "{path}");
    }
}
