//! The example `from_express`, as a process, behaves as the stack of Express does.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt};
use tower_kit::CompressLayer;
use tower_kit::compress::Encoding;

use super::program::Program;
use super::support::{boxed, empty, full, gunzip, h1_client, soon, text};

fn start() -> Program {
    Program::start("from_express", &[])
}

async fn get(server: &Program, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    let request = Request::get(server.url(path));
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    soon(h1_client().request(request.body(boxed(empty())).unwrap())).await.unwrap()
}

async fn post(server: &Program, body: String) -> Response<Incoming> {
    let request = Request::post(server.url("/items")).header("content-type", "application/json");
    soon(h1_client().request(request.body(full(body)).unwrap())).await.unwrap()
}

async fn bytes(response: Response<Incoming>) -> Bytes {
    soon(response.into_body().collect()).await.unwrap().to_bytes()
}

/// An item whose JSON has so many bytes.
fn item(length: usize) -> String {
    let without = json!({ "id": "large", "name": "" }).to_string().len();
    json!({ "id": "large", "name": "x".repeat(length - without) }).to_string()
}

/// Compresses `plain` with `CompressLayer` at a level.
async fn gzip(plain: &Bytes, level: u32) -> Bytes {
    let plain = plain.clone();
    let service = ServiceBuilder::new()
        .layer(CompressLayer::new().level(Encoding::Gzip, level).unwrap())
        .service_fn(move |_: Request<()>| {
            let json = Response::builder().header("content-type", "application/json");
            std::future::ready(json.body(Full::new(plain.clone())))
        });
    let request = Request::get("/").header("accept-encoding", "gzip").body(()).unwrap();
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
}

/// Reads what the program prints until it has inserted so many items, and returns in how many batches.
fn batches(server: &mut Program, items: usize) -> usize {
    let (mut inserted, mut batches) = (0, 0);
    while inserted < items {
        let line = server.line();
        let count = line.strip_prefix("inserting ").and_then(|line| line.strip_suffix(" items"));
        inserted += count.expect(&line).parse::<usize>().unwrap();
        batches += 1;
    }
    assert_eq!(inserted, items);
    batches
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn gzip_has_level_6_unless_a_client_opts_out() {
    let server = start();
    for path in ["/items", "/items"] {
        let packed = get(&server, path, &[("accept-encoding", "gzip")]).await;
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let packed = bytes(packed).await;
        let headers = [("accept-encoding", "gzip"), ("x-no-compression", "1")];
        let plain = get(&server, path, &headers).await;
        assert!(!plain.headers().contains_key("content-encoding"), "{plain:?}");
        let plain = bytes(plain).await;
        assert_eq!(gunzip(&packed), plain);
        assert_eq!(packed, gzip(&plain, 6).await);
        assert_ne!(packed, gzip(&plain, 1).await);
    }
    let metrics = get(&server, "/metrics", &[("accept-encoding", "gzip")]).await;
    assert_eq!(metrics.headers()["content-encoding"], "gzip", "a route without a cache");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_response_has_the_headers_of_helmet() {
    let server = start();
    for (path, status) in [("/items", 200), ("/items", 200), ("/items/1", 200), ("/nowhere", 404)] {
        let response = get(&server, path, &[]).await;
        assert_eq!(response.status(), status);
        for (name, value) in [
            ("strict-transport-security", "max-age=31536000; includeSubDomains"),
            ("cross-origin-opener-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(response.headers()[name], value, "{path}");
        }
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self';base-uri 'self';"), "{policy}");
        assert!(!response.headers().contains_key("x-powered-by"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn json_of_more_than_10_kib_gets_413() {
    let server = start();
    assert_eq!(post(&server, item(10 * 1024)).await.status(), StatusCode::ACCEPTED);
    let refused = post(&server, item(10 * 1024 + 1)).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_str(&text(refused).await).unwrap();
    assert_eq!(problem["status"], 413);

    // Without a length that tells.
    let mut raw = server.connect().await;
    let item = item(10 * 1024 + 1);
    raw.send("POST /items HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n").await;
    raw.send(&format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{item}\r\n0\r\n\r\n", item.len()))
        .await;
    assert!(raw.response().await.0.starts_with("http/1.1 413 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn only_the_cached_route_hits_without_cookies() {
    let server = start();
    let status = async |path, headers: &[(&str, &str)]| {
        let response = get(&server, path, headers).await;
        let status = response.headers().get("cache-status");
        let status = status.map(|status| status.to_str().unwrap().to_owned());
        drop(bytes(response).await);
        status
    };
    let first = status("/items", &[]).await.unwrap();
    assert!(first.ends_with("fwd=uri-miss; stored"), "{first}");
    let second = status("/items", &[]).await.unwrap();
    assert!(second.starts_with("tower-kit; hit; ttl="), "{second}");
    let other_url = status("/items?page=2", &[]).await.unwrap();
    assert!(other_url.contains("fwd=uri-miss"), "{other_url}");
    let cookie = status("/items", &[("cookie", "session=1")]).await.unwrap();
    assert!(cookie.contains("fwd=bypass") && cookie.ends_with("detail=cookie"), "{cookie}");
    assert_eq!(status("/items/1", &[]).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_removed_item_leaves_the_cache_service() {
    let server = start();
    for hits in [0.0, 1.0] {
        let found: Value = serde_json::from_str(&text(server.get("/items/7").await).await).unwrap();
        assert_eq!(found, json!({ "id": "7", "name": "item 7" }));
        let hit = [("outcome", "hit")];
        assert_eq!(server.metric("value_cache_requests_total", &hit).await, hits);
    }
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let remove = Request::delete(server.url("/items/7")).body(boxed(empty())).unwrap();
        assert_eq!(soon(h1_client().request(remove)).await.unwrap().status(), status);
    }
    assert_eq!(server.get("/items/7").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn errors_are_json_and_metrics_have_the_route() {
    let server = start();
    for (path, error) in [
        ("/nowhere", "no such route"),
        ("/items/none", "no such item"),
        ("/items/0", "no such item"),
    ] {
        let response = server.get(path).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body, json!({ "error": error }));
    }
    for (body, status) in [("{", 400), ("{}", 422)] {
        let response = post(&server, body.to_owned()).await;
        assert_eq!(response.status(), status);
        let body: Value = serde_json::from_str(&text(response).await).unwrap();
        assert!(!body["error"].as_str().unwrap().is_empty(), "{body}");
    }
    let duration = "http_request_duration_seconds";
    let missed = [("method", "GET"), ("route", "/items/{id}"), ("status_code", "404")];
    assert_eq!(server.metric(duration, &missed).await, 2.0);
    let refused = [("method", "POST"), ("route", "/items")];
    assert_eq!(server.metric(duration, &refused).await, 2.0);
    let bucket = [("route", "/items"), ("le", "0.5")];
    assert!(server.metric("http_request_duration_seconds_bucket", &bucket).await > 0.0);
    // Watched, and nothing shed.
    assert!(server.metric("process_memory_usage_ratio", &[]).await > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn inserts_go_in_batches_and_a_stop_loses_none() {
    let mut server = start();
    let new = |number| json!({ "id": format!("new-{number}"), "name": "new" }).to_string();
    for number in 0..100 {
        assert_eq!(post(&server, new(number)).await.status(), StatusCode::ACCEPTED);
    }
    let batches_of_100 = batches(&mut server, 100);
    // One, unless the posts took longer than the five seconds after which a batch is sent.
    assert!(batches_of_100 < 50, "{batches_of_100}");
    // The line is printed under the lock of the rows, for which this request waits.
    let inserted: Value =
        serde_json::from_str(&text(server.get("/items?after").await).await).unwrap();
    assert_eq!(inserted.as_array().unwrap().len(), 200);

    for number in 100..102 {
        assert_eq!(post(&server, new(number)).await.status(), StatusCode::ACCEPTED);
    }
    server.signal("TERM");
    batches(&mut server, 2);
    assert!(server.ended().success());
}
