//! The cache in hyper, in axum, and among the other layers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use tower::util::BoxService;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::cache::{CacheLayer, MemoryStore};
use tower_kit::{CompressLayer, LatencyLayer, LimitLayer, SecurityHeadersLayer};

use crate::support::{
    BoxBody, BoxError, Metrics, Scripted, Server, Step, boxed, data, full, gunzip, h1_client,
    h2_client, prose, soon, text,
};

const INPUT: &str = "http_compression_input_bytes_total";

fn layer() -> CacheLayer {
    CacheLayer::new(MemoryStore::new(16 << 20))
}

/// Ten letters, in two pieces for `/stream`, and how often it was asked.
async fn letters() -> (Server, Arc<AtomicUsize>) {
    letters_under(layer()).await
}

async fn letters_under(layer: CacheLayer) -> (Server, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let inner = service_fn(move |request: Request<hyper::body::Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response =
            Response::builder().header("cache-control", "max-age=600").header("etag", "\"1\"");
        let pieces = || [Step::Data("abcde".into()), Step::Pending, Step::Data("fghij".into())];
        let response = match request.uri().path() {
            "/stream" => response.body(boxed(Scripted::<BoxError>::new(pieces()))),
            "/length" => response
                .header("content-length", "10")
                .body(boxed(Scripted::<BoxError>::new(pieces()))),
            "/short" => response
                .header("content-length", "20")
                .body(boxed(Scripted::<BoxError>::new([data(5)]))),
            _ => response.body(full("abcdefghij")),
        };
        async move { Ok::<_, Infallible>(response.unwrap()) }
    });
    (Server::start(ServiceBuilder::new().layer(layer).service(inner)).await, calls)
}

fn to(server: &Server, path: &str) -> http::request::Builder {
    Request::get(server.url(path))
}

#[tokio::test]
async fn miss_is_followed_by_hits_over_h1_and_h2() {
    for client in [h1_client(), h2_client()] {
        for path in ["/whole", "/stream", "/length"] {
            let (server, calls) = letters().await;
            let ask = |request: http::request::Builder| {
                soon(client.request(request.body(full("")).unwrap()))
            };
            let miss = ask(to(&server, path)).await.unwrap();
            let status = miss.headers()["cache-status"].to_str().unwrap();
            assert!(status.starts_with("tower-kit; fwd=uri-miss"), "{status}");
            assert_eq!(soon(text(miss)).await, "abcdefghij");

            let hit = ask(to(&server, path)).await.unwrap();
            assert!(hit.headers()["cache-status"].to_str().unwrap().starts_with("tower-kit; hit"));
            assert_eq!(hit.headers()["content-length"], "10");
            assert_eq!(hit.headers()["age"], "0");
            assert_eq!(soon(text(hit)).await, "abcdefghij");

            let head = ask(to(&server, path).method("HEAD")).await.unwrap();
            assert_eq!(
                (head.status(), &head.headers()["content-length"]),
                (http::StatusCode::OK, &"10".parse::<HeaderValue>().unwrap(),)
            );
            assert_eq!(soon(text(head)).await, "");

            let same = ask(to(&server, path).header("if-none-match", "\"1\"")).await.unwrap();
            assert_eq!(same.status(), 304);
            assert_eq!(same.headers()["etag"], "\"1\"");
            assert_eq!(soon(text(same)).await, "");

            let part = ask(to(&server, path).header("range", "bytes=2-4")).await.unwrap();
            assert_eq!(part.status(), 206);
            assert_eq!(part.headers()["content-range"], "bytes 2-4/10");
            assert_eq!(part.headers()["content-length"], "3");
            assert_eq!(soon(text(part)).await, "cde");

            let none = ask(to(&server, path).header("range", "bytes=10-")).await.unwrap();
            assert_eq!(none.status(), 416);
            assert_eq!(none.headers()["content-range"], "bytes */10");
            assert_eq!(soon(text(none)).await, "");
            assert_eq!(calls.load(Ordering::SeqCst), 1, "{path}");
        }
    }
}

#[tokio::test]
async fn h1_connection_takes_misses_hits_and_heads() {
    let (server, calls) = letters().await;
    let mut client = server.connect().await;
    for path in ["/length", "/length", "/whole", "/whole"] {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let (head, body) = client.response().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        assert_eq!(body, "abcdefghij");
    }
    client.send("HEAD /whole HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(client.head().await.contains("\r\ncontent-length: 10\r\n"));
    client.send("GET /whole HTTP/1.1\r\nhost: h\r\nif-none-match: \"1\"\r\n\r\n").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 304 ") && body.is_empty(), "{head}");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_head_fills_for_the_next_get_over_h1() {
    let (server, calls) = letters_under(layer().fill_on_head()).await;
    let mut client = server.connect().await;
    for (path, length) in [("/whole", Some(10)), ("/length", Some(10)), ("/stream", None)] {
        client.send(&format!("HEAD {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let head = client.head().await;
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        // What is not known yet is not stated, and not as 0.
        let stated = length.map(|length| format!("\r\ncontent-length: {length}\r\n"));
        assert_eq!(head.contains("content-length"), stated.is_some(), "{head}");
        assert!(stated.is_none_or(|stated| head.contains(&stated)), "{head}");
        // No byte of a body is on the connection.
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        let (head, body) = client.response().await;
        assert!(head.contains("; hit") || head.contains("; collapsed"), "{head}");
        assert_eq!(body, "abcdefghij");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    // A body that ends short of its length is none to store, and the head is right.
    for asked in 4..=5 {
        client.send("HEAD /short HTTP/1.1\r\nhost: h\r\n\r\n").await;
        assert!(client.head().await.contains("\r\ncontent-length: 20\r\n"));
        assert_eq!(calls.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn a_head_fills_for_the_next_get_over_h2() {
    let client = h2_client();
    let (server, calls) = letters_under(layer().fill_on_head()).await;
    for path in ["/whole", "/stream", "/length"] {
        for method in ["HEAD", "GET", "HEAD"] {
            let request = to(&server, path).method(method).body(full("")).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(response.status(), 200);
            let expected = if method == "GET" { "abcdefghij" } else { "" };
            assert_eq!(soon(text(response)).await, expected, "{method} {path}");
        }
    }
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn short_body_breaks_the_h1_connection() {
    let (server, calls) = letters().await;
    for asked in 1..=2 {
        let mut client = server.connect().await;
        client.send("GET /short HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let all = client.rest().await;
        // The server may break off before it has sent the head.
        let cut = all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\nxxxxx");
        assert!(all.is_empty() || cut, "{all:?}");
        assert_eq!(calls.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn a_herd_over_h2_is_one_call() {
    let (server, calls) = letters().await;
    let client = h2_client();
    let mut herd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let asking = client.request(to(&server, "/stream").body(full("")).unwrap());
        herd.spawn(async move { asking.await.unwrap().into_body().collect().await.unwrap() });
    }
    for body in soon(herd.join_all()).await {
        assert_eq!(body.to_bytes(), "abcdefghij");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn router_serves_get_routes_from_the_cache() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let page = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { ([(CACHE_CONTROL, "max-age=600"), (ETAG, "\"1\"")], "the page") }
    };
    let app = Router::new().route("/", get(page)).layer(layer());
    for (method, field, status, body) in [
        ("GET", ("accept", "*/*"), 200, "the page"),
        ("GET", ("accept", "*/*"), 200, "the page"),
        ("HEAD", ("accept", "*/*"), 200, ""),
        ("GET", ("if-none-match", "\"1\""), 304, ""),
        ("GET", ("range", "bytes=-4"), 206, "page"),
    ] {
        let request = Request::builder().method(method).uri("http://x/").header(field.0, field.1);
        let request = request.body(axum::body::Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status);
        if method == "HEAD" {
            assert_eq!(response.headers()["content-length"], "8");
        }
        assert_eq!(text(response).await, body);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

// Among the other layers.

type Stack = BoxService<Request<Scripted>, Response<BoxBody>, Infallible>;

/// A page that shrinks well.
async fn page<B>(_: Request<B>) -> Result<Response<BoxBody>, Infallible> {
    let response =
        Response::builder().header(CONTENT_TYPE, "text/html").header(CACHE_CONTROL, "max-age=600");
    Ok(response.header(ETAG, "\"1\"").body(full(prose(5_000, 1))).unwrap())
}

/// The layers in the order that the documentation recommends, and in others.
fn orders(metrics: &Metrics) -> Vec<(&'static str, Stack)> {
    let cache = layer;
    let compress = || CompressLayer::new().recorder(metrics.recorder());
    let latency = || LatencyLayer::new().recorder(metrics.recorder());
    let limit = || LimitLayer::new().recorder(metrics.recorder());
    let headers = SecurityHeadersLayer::new;
    let stack = ServiceBuilder::new;
    vec![
        ("latency headers limit cache compress", {
            let stack = stack().layer(latency()).layer(headers()).layer(limit());
            let stack = stack.layer(cache()).layer(compress());
            BoxService::new(stack.service_fn(page).map_response(|it| it.map(boxed)))
        }),
        ("cache compress limit headers latency", {
            let stack = stack().layer(cache()).layer(compress()).layer(limit());
            let stack = stack.layer(headers()).layer(latency());
            BoxService::new(stack.service_fn(page).map_response(|it| it.map(boxed)))
        }),
        ("compress cache latency headers limit", {
            let stack = stack().layer(compress()).layer(cache()).layer(latency());
            let stack = stack.layer(headers()).layer(limit());
            BoxService::new(stack.service_fn(page).map_response(|it| it.map(boxed)))
        }),
        ("limit cache headers latency compress", {
            let stack = stack().layer(limit()).layer(cache()).layer(headers());
            let stack = stack.layer(latency()).layer(compress());
            BoxService::new(stack.service_fn(page).map_response(|it| it.map(boxed)))
        }),
    ]
}

fn asks(coding: Option<&str>) -> Request<Scripted> {
    let request = Request::get("http://x/");
    let request = match coding {
        Some(coding) => request.header("accept-encoding", coding),
        None => request,
    };
    request.body(Scripted::new([]).tells_end()).unwrap()
}

#[tokio::test]
async fn hit_is_compressed_once_outside_compress() {
    for number in 0..4 {
        let metrics = Metrics::new();
        let (order, mut stack) = orders(&metrics).remove(number);
        let cache_outside = order.find("cache") < order.find("compress");
        for round in 0..3 {
            for coding in [Some("gzip"), None, Some("gzip;q=1.0, br;q=0.5"), Some("identity")] {
                let ready = stack.ready().await.unwrap();
                let response = ready.call(asks(coding)).await.unwrap();
                let (head, body) = response.into_parts();
                assert_eq!(head.status, 200, "{order}");
                assert_eq!(head.headers["x-frame-options"], "SAMEORIGIN", "{order}");
                let zipped = coding.is_some_and(|coding| coding.contains("gzip"));
                let encoded = head.headers.get("content-encoding").is_some();
                assert_eq!(encoded, zipped, "{order} {coding:?}");
                assert_eq!(head.headers["vary"], "accept-encoding", "{order}");
                let body = body.collect().await.unwrap().to_bytes();
                if let Some(length) = head.headers.get("content-length") {
                    assert_eq!(length.to_str().unwrap(), body.len().to_string(), "{order}");
                }
                let body = if zipped { Bytes::from(gunzip(&body)) } else { body };
                assert_eq!(body, prose(5_000, 1), "{order} {coding:?}");
                let status = head.headers["cache-status"].to_str().unwrap();
                assert!(round == 0 || status.contains("; hit"), "{order} {coding:?}: {status}");
            }
        }
        let runs = metrics.counted(INPUT, &[("encoding", "gzip")]) / 5_000;
        assert_eq!(runs, if cache_outside { 1 } else { 6 }, "{order}");
    }
}

#[tokio::test]
async fn heads_and_compressed_bodies_are_one_response() {
    for (fills, first) in [(true, "HEAD"), (false, "GET")] {
        let time = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&time);
        let now = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
        let cache = if fills { layer().fill_on_head() } else { layer() };
        let stack = ServiceBuilder::new().layer(cache.clock(now)).layer(CompressLayer::new());
        let stack = stack.service_fn(page);
        let ask = async |method: &str| {
            let mut request = asks(Some("gzip"));
            *request.method_mut() = method.parse().unwrap();
            let (head, body) = stack.clone().oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert_eq!(body.is_empty(), method == "HEAD");
            let field = |name| {
                head.headers.get(name).map(|it: &HeaderValue| it.to_str().unwrap().to_owned())
            };
            assert_eq!(field("content-encoding").as_deref(), Some("gzip"), "{method}");
            if method == "GET" {
                assert_eq!(gunzip(&body), prose(5_000, 1));
            }
            (field("cache-status").unwrap(), field("content-length"))
        };
        ask(first).await;
        let (status, length) = ask("GET").await;
        assert!(status.contains("; hit"), "{status}");
        // The service ignores conditions: the tag of its 200 shows that the body is the same.
        time.store(601, Ordering::SeqCst);
        let (status, of_head) = ask("HEAD").await;
        let expected = "tower-kit; fwd=stale; stored";
        assert_eq!(status, expected);
        assert!(of_head.is_none() || of_head == length, "{of_head:?} {length:?}");
        let (status, after) = ask("GET").await;
        assert_eq!((&*status, after), ("tower-kit; hit; ttl=600", length));
    }
}
