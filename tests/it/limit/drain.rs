//! The drain of rejected bodies, which lets the client see the response.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, LengthLimitError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody, Size};
use tower_kit::{KIB, MIB};

use super::{is_closed, max_body, post, reads, scripted, send};
use crate::support::{
    BoxBody, BoxError, Metrics, Raw, Scripted, Server, Step, boxed, data, full, h1_client,
    h2_client, now, soon, text, trailers,
};

const DRAINS: &str = "http_request_drains_total";

/// Returns the status, and `true` if the response closes the connection.
async fn ask<B>(layer: &LimitLayer, request: Request<B>) -> (u16, bool)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let response = send(layer, request).await;
    (response.status().as_u16(), is_closed(response.headers()))
}

/// A request whose declared length exceeds the limit of 10 bytes.
fn declared<B>(body: B) -> Request<B> {
    post().header("content-length", 100).body(body).unwrap()
}

fn layer(metrics: &Metrics) -> LimitLayer {
    max_body(10).recorder(metrics.recorder())
}

fn drains(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.counted(DRAINS, &[("layer", "limit"), ("outcome", outcome)])
}

#[tokio::test]
async fn drains_are_counted_by_outcome() {
    type Row = (bool, u64, Vec<Step>, u64, &'static str);
    let table: [Row; 5] = [
        // (declared, maximum, steps, bytes read, outcome)
        (true, MIB, vec![data(6), Step::Pending, data(94), trailers()], 100, "complete"),
        (false, MIB, vec![data(6), data(6), Step::Pending, data(50)], 62, "complete"),
        (true, MIB, vec![data(1), Step::Error("gone".into()), data(1)], 1, "failed"),
        (true, 100, vec![data(60), data(41), data(1)], 101, "too_large"),
        // An empty frame counts as one byte.
        (true, 100, (0..500).map(|_| data(0)).collect(), 0, "too_large"),
    ];
    for (is_declared, max, steps, given, outcome) in table {
        let metrics = Metrics::new();
        let body = scripted(steps);
        let log = body.log();
        let request = if is_declared { declared(body) } else { post().body(body).unwrap() };
        let layer = layer(&metrics).max_drain(max);
        assert_eq!(ask(&layer, request).await, (413, false));
        log.until_dropped().await;
        assert_eq!(log.given(), given, "{outcome}");
        assert!(!log.polled_after_end());
        assert!(given > 0 || log.polls() == 101);
        assert_eq!(drains(&metrics, outcome), 1, "{outcome}");
    }
}

#[tokio::test]
async fn every_rejection_drains() {
    let long = format!("/{}", "a".repeat(9_000));
    let cases = [
        (413, post().header("content-length", 3_000_000)),
        (414, Request::post(long)),
        (431, post().header("x-a", "b".repeat(17_000))),
        (431, (0..101).fold(post(), |it, _| it.header("x-a", "b"))),
        (400, post().header("content-length", "-1")),
    ];
    for (status, request) in cases {
        let metrics = Metrics::new();
        let body = scripted([data(6), data(6)]);
        let log = body.log();
        let layer = LimitLayer::new().recorder(metrics.recorder());
        assert_eq!(ask(&layer, request.body(body).unwrap()).await, (status, false));
        log.until_dropped().await;
        assert_eq!(log.given(), 12, "{status}");
        assert_eq!(drains(&metrics, "complete"), 1, "{status}");
    }
}

/// The service may respond with 413 by itself while it holds the body.
#[tokio::test]
async fn a_held_body_does_not_delay_the_drain() {
    let metrics = Metrics::new();
    let body = scripted([data(11), data(50)]);
    let log = body.log();
    let (send, mut receive) = tokio::sync::mpsc::channel(1);
    let inner = service_fn(move |request: Request<RequestBody<Scripted>>| {
        let send = send.clone();
        async move {
            let mut body = request.into_body();
            let error = body.frame().await.unwrap().unwrap_err();
            assert!(error.is::<LengthLimitError>());
            send.send(body).await.unwrap();
            Ok::<_, Infallible>(Response::builder().status(413).body(full("own")).unwrap())
        }
    });
    let request = post().body(body).unwrap();
    let response = layer(&metrics).layer(inner).oneshot(request).await.unwrap();
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(text(response).await, "own");
    let held = receive.recv().await.unwrap();
    log.until_dropped().await;
    assert_eq!(log.given(), 61);
    assert!(held.is_end_stream());
}

/// A service with a limit of its own responds before it has read the whole body.
#[tokio::test]
async fn a_413_of_the_service_drains_the_rest() {
    // (the service polls, its status, the rest is drained)
    for (polls, status, drained) in [(true, 413, true), (true, 401, false), (false, 413, false)] {
        for declares in [true, false] {
            let metrics = Metrics::new();
            let body = scripted([data(1_000), data(4_000), data(4_000)]);
            let body = if declares { body.exact() } else { body };
            let log = body.log();
            let inner = service_fn(move |request: Request<RequestBody<Scripted>>| async move {
                let mut body = request.into_body();
                if polls {
                    assert!(body.frame().await.unwrap().is_ok());
                }
                drop(body);
                Ok::<_, Infallible>(Response::builder().status(status).body(full("own")).unwrap())
            });
            let layer = LimitLayer::new().recorder(metrics.recorder());
            let request = post().body(body).unwrap();
            let response = layer.layer(inner).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(text(response).await, "own");
            log.until_dropped().await;
            let read = if drained { 9_000 } else { 1_000 * u64::from(polls) };
            assert_eq!(log.given(), read, "{polls} {status} {declares}");
            assert_eq!(drains(&metrics, "complete"), u64::from(drained));
        }
    }
}

#[tokio::test]
async fn ended_bodies_are_not_polled_again() {
    let metrics = Metrics::new();
    let body = scripted([data(9_000)]);
    let log = body.log();
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        drop(request.into_body().collect().await);
        Ok::<_, Infallible>(Response::builder().status(413).body(full("")).unwrap())
    });
    let layer = LimitLayer::new().recorder(metrics.recorder());
    drop(layer.layer(inner).oneshot(post().body(body).unwrap()).await.unwrap());
    assert!(log.dropped() && !log.polled_after_end());
    assert_eq!(metrics.counted(DRAINS, &[]), 0);
}

#[tokio::test]
async fn drains_end_at_their_maximum() {
    const CHUNK: usize = 64 * 1024;
    // (layer, declared, the maximum of the drain, the connection is closed)
    let table = [
        (max_body(10), true, 8 * MIB, true),
        (max_body(10), false, 8 * MIB, false),
        (max_body(9 * MIB), true, 9 * MIB, true),
        (max_body(10).max_drain(MIB), true, MIB, true),
        (max_body(10).max_drain(MIB), false, MIB, false),
        (max_body(10).max_drain(0), true, 0, true),
        (max_body(10).max_drain(0), false, 0, true),
    ];
    for (layer, declares, max, close) in table {
        let metrics = Metrics::new();
        let body = scripted((0..200).map(|_| data(CHUNK)));
        let log = body.log();
        let mut request = post();
        if declares {
            request = request.header("content-length", 10_u64 << 30);
        }
        let layer = layer.recorder(metrics.recorder());
        let found = ask(&layer, request.body(body).unwrap()).await;
        assert_eq!(found, (413, close), "{max} {declares}");
        log.until_dropped().await;
        // The service reads the chunk that exceeds its limit, and the drain one that exceeds its own.
        let read = log.given() - if declares { 0 } else { CHUNK as u64 };
        let expected = if max > 0 { max + CHUNK as u64 } else { 0 };
        assert_eq!(read, expected, "{max} {declares}");
        assert_eq!(drains(&metrics, "too_large"), u64::from(max > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn drains_end_after_five_seconds() {
    let metrics = Metrics::new();
    let body = scripted([data(1), Step::PendingForever]);
    let log = body.log();
    assert_eq!(ask(&layer(&metrics), declared(body)).await.0, 413);
    tokio::task::yield_now().await;
    advance(Duration::from_millis(4_990)).await;
    assert!(!log.dropped());
    advance(Duration::from_millis(20)).await;
    log.until_dropped().await;
    assert_eq!(drains(&metrics, "timed_out"), 1);
    // Data that keeps arriving does not extend a drain.
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    assert_eq!(ask(&layer(&metrics), declared(body)).await.0, 413);
    let mut seconds = 0;
    while sender.send(Frame::data(Bytes::from_static(b"x"))).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
    assert!((5..=6).contains(&seconds), "{seconds}");
    assert_eq!(drains(&metrics, "timed_out"), 2);
}

#[tokio::test(start_paused = true)]
async fn at_most_256_drains_run() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    let mut logs = Vec::new();
    for n in 0..257 {
        let body = scripted([data(11), Step::PendingForever]);
        logs.push(body.log());
        // Half of them declare a length over the limit, and half of them exceed the limit later.
        let request = if n % 2 == 0 { declared(body) } else { post().body(body).unwrap() };
        assert_eq!(ask(&layer, request).await, (413, n == 256), "{n}");
    }
    tokio::task::yield_now().await;
    assert!(logs[..256].iter().all(|log| !log.dropped()));
    assert!(logs[256].dropped());
    assert_eq!((drains(&metrics, "skipped"), drains(&metrics, "timed_out")), (1, 0));
    // Each drain releases its permit.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(drains(&metrics, "timed_out"), 256);
    assert_eq!(ask(&layer, declared(scripted([data(100)]))).await, (413, false));
}

#[tokio::test]
async fn expect_continue_is_not_drained() {
    for expect in ["100-continue", "100-Continue"] {
        let metrics = Metrics::new();
        let body = scripted([data(100)]);
        let log = body.log();
        let mut request = declared(body);
        request.headers_mut().insert("expect", expect.parse().unwrap());
        assert_eq!(ask(&layer(&metrics), request).await, (413, true));
        assert!(log.dropped());
        assert_eq!(log.polls(), 0);
        assert_eq!(metrics.counted(DRAINS, &[]), 0);
    }
}

#[test]
fn nothing_is_drained_outside_of_a_runtime() {
    let metrics = Metrics::new();
    let body = scripted([data(100)]);
    let log = body.log();
    let mut service = layer(&metrics).layer(service_fn(reads));
    let response = now(service.call(declared(body))).unwrap();
    assert_eq!(response.headers()["connection"], "close");
    assert!(log.dropped());

    let body = scripted([data(11), data(100)]);
    let response = now(service.call(post().body(body).unwrap())).unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn counters_are_registered_at_zero() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    assert_eq!(ask(&layer, post().body(scripted([data(1)])).unwrap()).await.0, 200);
    assert!(metrics.described().contains_key(super::REJECTED));
    assert_eq!(metrics.counted(super::REJECTED, &[]), 0);
    assert_eq!(ask(&layer, declared(scripted([data(1)]))).await.0, 413);
    assert!(!metrics.described()[DRAINS].1.is_empty());
}

async fn serve(layer: LimitLayer) -> Server {
    Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await
}

const NEXT: &str = "POST /next HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc";

#[tokio::test]
async fn the_connection_serves_the_next_request() {
    let server = serve(max_body(10)).await;
    let body = "x".repeat(20 * 1024);
    let chunked = format!("5000\r\n{body}\r\n0\r\nx-sum: 1\r\n\r\n");
    let declared = "content-length: 20480";
    let long = format!("/{}", "a".repeat(9_000));
    for (method, target, field, body, status) in [
        ("POST", "/", declared, &body, "413"),
        ("PUT", "/", declared, &body, "413"),
        ("GET", "/", declared, &body, "413"),
        ("POST", "/", "transfer-encoding: chunked", &chunked, "413"),
        ("POST", &*long, declared, &body, "414"),
    ] {
        let mut client = server.connect().await;
        // Alone, and with a pipelined request.
        for pipelined in [false, true] {
            let request = format!("{method} {target} HTTP/1.1\r\nhost: h\r\n{field}\r\n\r\n{body}");
            let next = if pipelined { NEXT } else { "" };
            client.send(&(request + next)).await;
            let (head, _) = client.response().await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{head}");
            assert!(!head.contains("\r\nconnection:"), "{head}");
            if !pipelined {
                client.send(NEXT).await;
            }
            let (head, body) = client.response().await;
            assert!(head.starts_with("http/1.1 200 "), "{field}: {head}");
            assert_eq!(body, "3");
        }
    }
}

#[tokio::test]
async fn the_response_does_not_wait_for_the_body() {
    let server = serve(max_body(10)).await;
    for field in ["content-length: 20480", "transfer-encoding: chunked"] {
        let mut client = server.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: h\r\n{field}\r\n\r\n")).await;
        let chunked = field.starts_with('t');
        if chunked {
            client.send("b\r\n01234567890\r\n").await;
        }
        let (head, body) = client.response().await;
        assert!(head.starts_with("http/1.1 413 "), "{head}");
        assert!(body.contains("10 bytes"), "{body}");
        // The rest may come later.
        let rest = if chunked { "1\r\nx\r\n0\r\n\r\n".to_owned() } else { "x".repeat(20_480) };
        client.send(&(rest + NEXT)).await;
        assert!(client.head().await.starts_with("http/1.1 200 "));
    }
}

#[tokio::test]
async fn http_1_0_clients_see_the_response() {
    let server = serve(max_body(10)).await;
    let mut client = server.connect().await;
    let body = "x".repeat(1024 * 1024);
    let length = body.len();
    client.send(&format!("POST / HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.0 413 "), "{all}");
    assert!(all.ends_with("10 bytes.\n"), "{all}");
}

/// A client that reads while it sends sees the response to a body of any size. A client that goes on
/// sending is cut off.
#[tokio::test]
async fn endless_uploads_are_cut_off() {
    let metrics = Metrics::new();
    let server = serve(max_body(10).recorder(metrics.recorder())).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10737418240\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 4096];
    let len = soon(stream.read(&mut read)).await.unwrap();
    let seen = String::from_utf8_lossy(&read[..len]).to_ascii_lowercase();
    assert!(seen.starts_with("http/1.1 413 "), "{seen}");
    assert!(seen.contains("\r\nconnection: close\r\n"), "{seen}");
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while soon(stream.write_all(&chunk)).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 64 << 20, "the server reads 8 MiB and the buffers of the sockets");
    }
    assert_eq!(drains(&metrics, "too_large"), 1);
}

#[tokio::test]
async fn http_2_streams_are_drained_or_reset() {
    let metrics = Metrics::new();
    let server = serve(max_body(10).max_drain(MIB).recorder(metrics.recorder())).await;
    let client = h2_client();
    let chunks = |count: usize| {
        let body = scripted((0..count).map(|_| data(16 * 1024)));
        let log = body.log();
        (boxed(body), log)
    };
    for (count, outcome) in [(20, "complete"), (1_000, "too_large")] {
        let before = drains(&metrics, outcome);
        let (body, log) = chunks(count);
        let request = Request::post(server.url("/")).body(body).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(soon(text(response)).await.contains("10 bytes"), "the response is complete");
        log.until_dropped().await;
        while drains(&metrics, outcome) == before {
            tokio::task::yield_now().await;
        }
        // The connection serves the next request.
        let request = Request::post(server.url("/")).body(full("abc")).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(text(response).await, "3");
    }
}

#[tokio::test]
async fn hyper_clients_always_see_the_response() {
    let server = serve(LimitLayer::new().json(10 * KIB)).await;
    for size in [20 * KIB, 2 * MIB, 8 * MIB] {
        for (client, version) in [(h1_client(), "HTTP/1.1"), (h2_client(), "HTTP/2")] {
            for streamed in [false, true] {
                for attempt in 0..20 {
                    let request = Request::post(server.url("/"))
                        .header("content-type", "application/json")
                        .body(upload(size as usize, streamed))
                        .unwrap();
                    let what = format!("{size} bytes over {version}, {streamed}, try {attempt}");
                    let response = soon(client.request(request)).await.expect(&what);
                    assert_eq!(response.status(), 413, "{what}");
                    assert!(soon(text(response)).await.contains("10240 bytes"), "{what}");
                }
            }
        }
    }
}

/// axum's extractors have a limit of their own, which may be lower than the layer's.
#[tokio::test]
async fn a_413_of_an_extractor_is_seen() {
    let app = axum::Router::new()
        .route("/", axum::routing::post(|body: Bytes| async move { body.len().to_string() }))
        .layer(axum::extract::DefaultBodyLimit::max(2 << 20))
        .layer(max_body(100 * MIB));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await });
    let body = "x".repeat(8 << 20);
    for field in ["content-length: 8388608", "transfer-encoding: chunked"] {
        let mut client = Raw::connect(addr).await;
        for _ in 0..2 {
            client.send(&format!("POST / HTTP/1.1\r\nhost: h\r\n{field}\r\n\r\n")).await;
            if field.starts_with('t') {
                client.send(&format!("800000\r\n{body}\r\n0\r\n\r\n")).await;
            } else {
                client.send(&body).await;
            }
            let (head, _) = client.response().await;
            assert!(head.starts_with("http/1.1 413 "), "{head}");
        }
    }
}

fn upload(size: usize, streamed: bool) -> BoxBody {
    if !streamed {
        return full(vec![b' '; size]);
    }
    boxed(scripted((0..size / 4096).map(|_| data(4096))))
}

#[tokio::test]
async fn grpc_clients_see_the_status() {
    let server =
        serve(LimitLayer::new().media_type("application/grpc", Size::new(10)).unwrap()).await;
    let client = h2_client();
    for streamed in [false, true] {
        let request = Request::post(server.url("/"))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .body(upload(2 << 20, streamed))
            .unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(response.headers()["grpc-status"], "8");
        soon(response.into_body().collect()).await.unwrap();
    }
}
