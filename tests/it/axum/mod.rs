//! axum as the host.

mod extensions;
mod uploads;

use std::io;

use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio_stream::StreamExt;
use tower::ServiceExt;
use tower_kit::compress::CompressHint;
use tower_kit::{CompressLayer, LatencyLayer, LimitLayer, SecurityHeadersLayer};

use crate::support::{Metrics, Raw, Scripted, Server, Step, data, gunzip, poll_frame, prose, text};

const DURATION: &str = "http_request_duration_seconds";
const IN_FLIGHT: &str = "http_requests_in_flight";
const REJECTED: &str = "http_requests_rejected_total";

/// Three extractors of bodies; each takes a JSON string.
fn extractors(limit: LimitLayer) -> Router {
    Router::new()
        .route("/json", post(|Json(text): Json<String>| async move { text }))
        .route("/bytes", post(|bytes: Bytes| async move { bytes }))
        .route("/string", post(|text: String| async move { text }))
        .route("/none", post(|| async { "not read" }))
        .layer(limit)
}

/// A JSON string of so many bytes, in small frames and of unknown length.
fn chunked(len: usize) -> Body {
    let text = format!("\"{}\"", "x".repeat(len - 2));
    let frames: Vec<_> = text
        .as_bytes()
        .chunks(1_000)
        .map(|part| Step::Data(Bytes::copy_from_slice(part)))
        .collect();
    Body::new(Scripted::<io::Error>::new(frames))
}

async fn send(app: Router, path: &str, body: Body) -> Response<Body> {
    let request = Request::post(path).header("content-type", "application/json").body(body);
    app.oneshot(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn extractors_send_413_for_a_streamed_body() {
    for path in ["/json", "/bytes", "/string"] {
        let metrics = Metrics::new();
        let app = extractors(LimitLayer::new().recorder(metrics.recorder()));
        let response = send(app, path, chunked(10_241)).await;
        assert_eq!(response.status(), 413, "{path}");
        let says = text(response).await;
        assert!(says.contains("length limit exceeded"), "not axum's own answer, {path}: {says}");
        assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1, "{path}");
    }
}

#[tokio::test]
async fn extractors_read_a_body_of_exactly_the_limit() {
    for path in ["/json", "/bytes", "/string"] {
        let response = send(extractors(LimitLayer::new()), path, chunked(10_240)).await;
        assert_eq!(response.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn layer_rejects_a_declared_body_first() {
    for path in ["/json", "/bytes", "/string", "/none"] {
        let response = send(extractors(LimitLayer::new()), path, Body::from(vec![b'1'; 10_241]));
        let response = response.await;
        assert_eq!(response.status(), 413, "{path}");
        assert!(text(response).await.contains("10240 bytes"), "{path}");
    }
}

#[tokio::test]
async fn handler_may_ignore_a_streamed_body() {
    let response = send(extractors(LimitLayer::new()), "/none", chunked(20_000)).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn layer_responds_if_a_handler_hides_the_error() {
    let hides = |body: Body| async move {
        match body.collect().await {
            Ok(_) => (http::StatusCode::OK, "fine"),
            Err(_) => (http::StatusCode::INTERNAL_SERVER_ERROR, "oops"),
        }
    };
    let app = Router::new().route("/", post(hides)).layer(LimitLayer::new());
    let response = send(app, "/", chunked(10_241)).await;
    assert_eq!(response.status(), 413);
    assert!(text(response).await.contains("10240 bytes"));
}

#[tokio::test]
async fn matched_path_is_the_route_for_one_layer() {
    let metrics = Metrics::new();
    let app = Router::new()
        .route("/items/{id}", get(|| async { "an item" }))
        .route("/files/{*path}", get(|| async { "a file" }))
        .layer(
            LatencyLayer::new()
                .recorder(metrics.recorder())
                .route(|request| request.extensions.get().map(MatchedPath::as_str)),
        );
    for path in ["/items/1", "/items/2", "/files/a/b", "/nowhere"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        drop(text(response).await);
    }
    let mut routes: Vec<_> =
        metrics.samples(DURATION).into_iter().map(|(labels, _)| labels["route"].clone()).collect();
    routes.sort();
    assert_eq!(routes, ["/files/{*path}", "/items/{id}", "/items/{id}", "unmatched"]);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

#[tokio::test]
async fn a_handlers_own_field_wins() {
    let widget = || async { ([("content-security-policy", "frame-ancestors *")], "embed me") };
    let app = Router::new().route("/", get(widget)).layer(SecurityHeadersLayer::new());
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let policies: Vec<_> = response.headers().get_all("content-security-policy").iter().collect();
    assert_eq!(policies, ["frame-ancestors *"]);
    assert_eq!(response.headers()["x-frame-options"], "SAMEORIGIN");
}

/// Routes as the page shows them.
fn pages() -> Router {
    let event = |number: u8| Ok::<_, io::Error>(Event::default().data(number.to_string()));
    let events = move || async move { Sse::new(tokio_stream::iter([1, 2]).map(event)) };
    let secret = || async { (Extension(CompressHint::forbid()), page()) };
    Router::new()
        .route("/", get(|| async { page() }))
        .route("/json", get(|| async { Json(vec!["an item"; 1_000]) }))
        .route("/events", get(events))
        .route("/secret", get(secret))
        .layer(CompressLayer::new())
}

fn page() -> String {
    String::from_utf8(prose(5_000, 1).to_vec()).unwrap()
}

fn asks(method: &str, path: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header("accept-encoding", "gzip");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn handlers_control_their_compression() {
    let json = serde_json::to_string(&vec!["an item"; 1_000]).unwrap();
    for (path, expected) in [
        ("/", Some(page())),
        ("/json", Some(json)),
        ("/events", Some("data: 1\n\ndata: 2\n\n".to_owned())),
        ("/secret", None),
    ] {
        let (head, body) = pages().oneshot(asks("GET", path)).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(head.headers.contains_key("content-encoding"), expected.is_some(), "{path}");
        match expected {
            Some(expected) => assert_eq!(gunzip(&body), expected.as_bytes(), "{path}"),
            None => assert_eq!(body, page()),
        }
        if let Some(length) = head.headers.get("content-length") {
            assert_eq!(length.to_str().unwrap(), body.len().to_string(), "{path}");
        }
    }
}

#[tokio::test]
async fn head_of_a_get_route_has_no_plain_length() {
    let response = pages().oneshot(asks("HEAD", "/")).await.unwrap();
    assert_eq!(response.headers()["vary"], "accept-encoding");
    assert_eq!(response.headers().get("content-length"), None);
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn a_timeout_that_axum_wraps_is_a_timeout() {
    let metrics = Metrics::new();
    let handler = || async {
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        Body::new(Scripted::new([data(1), Step::Error(timed_out)]))
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(LatencyLayer::new().recorder(metrics.recorder()));
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(metrics.sample(DURATION).0["outcome"], "timeout");
}

#[tokio::test]
async fn body_dropped_by_axum_is_a_disconnect() {
    let metrics = Metrics::new();
    let handler =
        || async { Body::new(Scripted::<io::Error>::new([data(1), Step::PendingForever])) };
    let app = Router::new()
        .route("/", get(handler))
        .layer(LatencyLayer::new().recorder(metrics.recorder()));
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!(metrics.gauge(IN_FLIGHT), 1.0);
    drop(body);
    assert_eq!(metrics.sample(DURATION).0["outcome"], "disconnect");
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

#[tokio::test]
async fn all_layers_in_one_tuple_serve_connections() {
    let metrics = Metrics::new();
    let app = Router::new()
        .route("/items/{id}", get(|| async { "an item" }))
        .route("/json", post(|Json(text): Json<String>| async move { text }))
        .layer((
            LatencyLayer::new()
                .recorder(metrics.recorder())
                .route(|request| request.extensions.get().map(MatchedPath::as_str)),
            SecurityHeadersLayer::new(),
            LimitLayer::new().json(10).recorder(metrics.recorder()),
        ));
    let server = Server::start(app).await;
    let mut client = server.connect().await;

    client.send("GET /items/1 HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("x-frame-options: sameorigin"));
    assert_eq!(body, "an item");

    post_json(&mut client, "content-length: 4\r\n\r\n\"ab\"").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "ab");

    post_json(&mut client, "content-length: 11\r\n\r\n").await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert!(head.contains("x-frame-options: sameorigin"), "refusals carry the fields too");
    assert_eq!(client.rest().await, "", "the connection is closed");

    let mut client = server.connect().await;
    let chunks = "transfer-encoding: chunked\r\n\r\n6\r\n\"abcde\r\n6\r\nfghij\"\r\n0\r\n\r\n";
    post_json(&mut client, chunks).await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert!(body.contains("length limit exceeded"), "not axum's own answer: {body}");

    metrics.wait_for(DURATION, 4).await;
    let samples = metrics.samples(DURATION);
    assert!(samples.iter().all(|(labels, _)| labels["outcome"] == "ok"), "{samples:?}");
    let refused = samples.iter().filter(|(labels, _)| labels["status_code"] == "413");
    assert_eq!(refused.count(), 2);
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 2);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

async fn post_json(client: &mut Raw, rest: &str) {
    let head = "POST /json HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\n";
    client.send(&format!("{head}{rest}")).await;
}
