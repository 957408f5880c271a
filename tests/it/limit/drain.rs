//! What is left of the body of a refused request is discarded, so that the client sees the refusal.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full, LengthLimitError};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody, Size};
use tower_kit::{KIB, MIB};

use crate::support::{
    BoxBody, BoxError, Log, Metrics, Raw, Scripted, Server, Step, boxed, data, full, h1_client,
    h2_client, now, soon, text, trailers,
};

const DRAINS: &str = "http_request_drains_total";

/// Reads the body: 200 with its length, or 400 with the error.
async fn reads<B>(request: Request<RequestBody<B>>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (status, says) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes().len().to_string()),
        Err(error) => (400, error.to_string()),
    };
    Ok(Response::builder().status(status).body(says.into()).unwrap())
}

async fn ask<B>(layer: &LimitLayer, request: Request<B>) -> http::response::Parts
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let service = layer.layer(service_fn(reads::<B>));
    service.oneshot(request).await.unwrap().into_parts().0
}

/// A request whose declared length is over the limit of 10 bytes.
fn declared<B>(body: B) -> Request<B> {
    Request::post("/").version(Version::HTTP_11).header("content-length", 100).body(body).unwrap()
}

fn layer(metrics: &Metrics) -> LimitLayer {
    LimitLayer::new().default_body(10).recorder(metrics.recorder())
}

fn drains(metrics: &Metrics, outcome: &str) -> u64 {
    metrics.counted(DRAINS, &[("layer", "limit"), ("outcome", outcome)])
}

/// Waits until a body has been dropped.
async fn dropped(log: &Arc<Log>) {
    while !log.dropped() {
        tokio::task::yield_now().await;
    }
}

fn closes(head: &http::response::Parts) -> bool {
    head.headers.get("connection").is_some_and(|value| value == "close")
}

// A mock service and scripted bodies.

#[tokio::test]
async fn a_refused_body_is_read_to_its_end() {
    let metrics = Metrics::new();
    let steps = [data(6), Step::Pending, data(94), trailers()];
    let body = Scripted::<BoxError>::new(steps);
    let log = body.log();
    let head = ask(&layer(&metrics), declared(body)).await;
    assert_eq!((head.status.as_u16(), closes(&head)), (413, false));
    soon(dropped(&log)).await;
    assert_eq!(log.given(), 100);
    assert!(!log.polled_after_end());
    assert_eq!(drains(&metrics, "complete"), 1);
}

#[tokio::test]
async fn every_refusal_with_a_body_discards_it() {
    let long = format!("/{}", "a".repeat(9_000));
    let post = || Request::post("/");
    let cases = [
        (413, post().header("content-length", 3_000_000)),
        (414, Request::post(long)),
        (431, post().header("x-a", "b".repeat(17_000))),
        (431, (0..101).fold(post(), |it, _| it.header("x-a", "b"))),
        (400, post().header("content-length", "-1")),
    ];
    for (status, request) in cases {
        let metrics = Metrics::new();
        let body = Scripted::<BoxError>::new([data(6), data(6)]);
        let log = body.log();
        let layer = LimitLayer::new().recorder(metrics.recorder());
        let head = ask(&layer, request.body(body).unwrap()).await;
        assert_eq!((head.status.as_u16(), closes(&head)), (status, false));
        soon(dropped(&log)).await;
        assert_eq!(log.given(), 12, "{status}");
        assert_eq!(drains(&metrics, "complete"), 1, "{status}");
    }
}

#[tokio::test]
async fn a_body_that_crosses_is_read_to_its_end() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(6), data(6), Step::Pending, data(50)]);
    let log = body.log();
    let head = ask(&layer(&metrics), Request::post("/").body(body).unwrap()).await;
    assert_eq!((head.status.as_u16(), closes(&head)), (413, false));
    soon(dropped(&log)).await;
    assert_eq!(log.given(), 62);
    assert_eq!(drains(&metrics, "complete"), 1);
}

/// The service may answer 413 by itself, and may still hold the body.
#[tokio::test]
async fn a_service_that_holds_the_failed_body_delays_nothing() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(11), data(50)]);
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
    let request = Request::post("/").body(body).unwrap();
    let response = layer(&metrics).layer(inner).oneshot(request).await.unwrap();
    assert!(!response.headers().contains_key("connection"));
    assert_eq!(text(response).await, "own");
    let held = receive.recv().await.unwrap();
    soon(dropped(&log)).await;
    assert_eq!(log.given(), 61);
    assert!(held.is_end_stream());
}

/// A limit of the service's own: 413 with the rest of the body unread.
#[tokio::test]
async fn a_413_of_the_service_discards_the_rest() {
    // (the service polls, its status, the rest is read)
    for (polls, status, discards) in [(true, 413, true), (true, 401, false), (false, 413, false)] {
        for declares in [true, false] {
            let metrics = Metrics::new();
            let body = Scripted::<BoxError>::new([data(1_000), data(4_000), data(4_000)]);
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
            let request = Request::post("/").body(body).unwrap();
            let response = layer.layer(inner).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(text(response).await, "own");
            soon(dropped(&log)).await;
            let read = if discards { 9_000 } else { 1_000 * u64::from(polls) };
            assert_eq!(log.given(), read, "{polls} {status} {declares}");
            assert_eq!(drains(&metrics, "complete"), u64::from(discards));
        }
    }
}

#[tokio::test]
async fn a_body_that_was_read_is_not_polled_again() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(9_000)]);
    let log = body.log();
    let inner = service_fn(|request: Request<RequestBody<Scripted>>| async move {
        drop(request.into_body().collect().await);
        Ok::<_, Infallible>(Response::builder().status(413).body(full("")).unwrap())
    });
    let layer = LimitLayer::new().recorder(metrics.recorder());
    drop(layer.layer(inner).oneshot(Request::post("/").body(body).unwrap()).await.unwrap());
    assert!(log.dropped() && !log.polled_after_end());
    assert_eq!(metrics.counted(DRAINS, &[]), 0);
}

#[tokio::test]
async fn no_more_is_discarded_than_the_maximum() {
    const PIECE: usize = 64 * 1024;
    // (layer, declared, the most that is read, the connection is closed)
    let table = [
        (LimitLayer::new().default_body(10), true, 8 * MIB, true),
        (LimitLayer::new().default_body(10), false, 8 * MIB, false),
        (LimitLayer::new().default_body(9 * MIB), true, 9 * MIB, true),
        (LimitLayer::new().default_body(10).max_drain(MIB), true, MIB, true),
        (LimitLayer::new().default_body(10).max_drain(MIB), false, MIB, false),
        (LimitLayer::new().default_body(10).max_drain(0), true, 0, true),
        (LimitLayer::new().default_body(10).max_drain(0), false, 0, true),
    ];
    for (layer, declares, most, close) in table {
        let metrics = Metrics::new();
        let body = Scripted::<BoxError>::new((0..200).map(|_| data(PIECE)));
        let log = body.log();
        let mut request = Request::post("/");
        if declares {
            request = request.header("content-length", 10_u64 << 30);
        }
        let layer = layer.recorder(metrics.recorder());
        let head = ask(&layer, request.body(body).unwrap()).await;
        assert_eq!((head.status.as_u16(), closes(&head)), (413, close), "{most} {declares}");
        soon(dropped(&log)).await;
        // The piece that crosses is read, and so is the one that the service crossed with.
        let read = log.given() - if declares { 0 } else { PIECE as u64 };
        let expected = if most > 0 { most + PIECE as u64 } else { 0 };
        assert_eq!(read, expected, "{most} {declares}");
        assert_eq!(drains(&metrics, "too_large"), u64::from(most > 0));
    }
}

#[tokio::test]
async fn frames_of_no_data_count_as_a_byte() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new((0..500).map(|_| data(0)));
    let log = body.log();
    let layer = layer(&metrics).max_drain(100);
    assert_eq!(ask(&layer, declared(body)).await.status, 413);
    soon(dropped(&log)).await;
    assert_eq!(log.polls(), 101);
    assert_eq!(drains(&metrics, "too_large"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_lasts_for_five_seconds() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(1), Step::PendingForever]);
    let log = body.log();
    let head = ask(&layer(&metrics), declared(body)).await;
    assert_eq!(head.status, 413);
    tokio::task::yield_now().await;
    advance(Duration::from_millis(4_990)).await;
    assert!(!log.dropped());
    advance(Duration::from_millis(20)).await;
    soon(dropped(&log)).await;
    assert_eq!(drains(&metrics, "timed_out"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_is_not_waited_for() {
    let metrics = Metrics::new();
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let head = ask(&layer(&metrics), declared(body)).await;
    assert_eq!(head.status, 413);
    let mut seconds = 0;
    while sender.send(Frame::data(Bytes::from_static(b"x"))).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
        seconds += 1;
    }
    assert!((5..=6).contains(&seconds), "{seconds}");
    assert_eq!(drains(&metrics, "timed_out"), 1);
}

#[tokio::test(start_paused = true)]
async fn at_most_256_bodies_are_discarded_at_a_time() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    let mut logs = Vec::new();
    for n in 0..257 {
        let body = Scripted::<BoxError>::new([data(11), Step::PendingForever]);
        logs.push(body.log());
        // Half of them cross, and half are refused by what they declare.
        let streamed = |body| Request::post("/").body(body).unwrap();
        let request = if n % 2 == 0 { declared(body) } else { streamed(body) };
        let head = ask(&layer, request).await;
        assert_eq!((head.status.as_u16(), closes(&head)), (413, n == 256), "{n}");
    }
    tokio::task::yield_now().await;
    assert!(logs[..256].iter().all(|log| !log.dropped()));
    assert!(logs[256].dropped());
    assert_eq!((drains(&metrics, "skipped"), drains(&metrics, "timed_out")), (1, 0));
    // Each gives its place back.
    sleep(Duration::from_secs(6)).await;
    assert_eq!(drains(&metrics, "timed_out"), 256);
    let body = Scripted::<BoxError>::new([data(100)]);
    let head = ask(&layer, declared(body)).await;
    assert!(!closes(&head));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_drain() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(1), Step::Error("gone".into()), data(1)]);
    let log = body.log();
    assert_eq!(ask(&layer(&metrics), declared(body)).await.status, 413);
    soon(dropped(&log)).await;
    assert_eq!(drains(&metrics, "failed"), 1);
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_not_read() {
    for expect in ["100-continue", "100-Continue"] {
        let metrics = Metrics::new();
        let body = Scripted::<BoxError>::new([data(100)]);
        let log = body.log();
        let mut request = declared(body);
        request.headers_mut().insert("expect", expect.parse().unwrap());
        let head = ask(&layer(&metrics), request).await;
        assert_eq!((head.status.as_u16(), closes(&head)), (413, true));
        assert!(log.dropped());
        assert_eq!(log.polls(), 0);
        assert_eq!(metrics.counted(DRAINS, &[]), 0);
    }
}

#[test]
fn outside_of_a_runtime_nothing_is_discarded() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(100)]);
    let log = body.log();
    let mut service = layer(&metrics).layer(service_fn(reads::<Scripted>));
    let response = now(service.call(declared(body))).unwrap();
    assert_eq!(response.headers()["connection"], "close");
    assert!(log.dropped());

    let body = Scripted::<BoxError>::new([data(11), data(100)]);
    let response = now(service.call(Request::post("/").body(body).unwrap())).unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.headers()["connection"], "close");
}

#[tokio::test]
async fn every_series_exists_before_it_counts() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    let passes = Scripted::<BoxError>::new([data(1)]);
    assert_eq!(ask(&layer, Request::post("/").body(passes).unwrap()).await.status, 200);
    let described = metrics.described();
    assert!(described.contains_key("http_requests_rejected_total"));
    assert_eq!(metrics.counted("http_requests_rejected_total", &[]), 0);
    assert_eq!(ask(&layer, declared(Scripted::<BoxError>::new([data(1)]))).await.status, 413);
    assert!(!metrics.described()[DRAINS].1.is_empty());
}

// Real sockets.

async fn serve(layer: LimitLayer) -> Server {
    Server::start(ServiceBuilder::new().layer(layer).service_fn(reads::<Incoming>)).await
}

const NEXT: &str = "POST /next HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc";

#[tokio::test]
async fn the_connection_is_kept_for_the_next_request() {
    let server = serve(LimitLayer::new().default_body(10)).await;
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
        // Alone, and with the next request right behind.
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
async fn the_refusal_does_not_wait_for_the_body() {
    let server = serve(LimitLayer::new().default_body(10)).await;
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
async fn a_client_of_http_1_0_sees_the_refusal() {
    let server = serve(LimitLayer::new().default_body(10)).await;
    let mut client = server.connect().await;
    let body = "x".repeat(1024 * 1024);
    let length = body.len();
    client.send(&format!("POST / HTTP/1.0\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.0 413 "), "{all}");
    assert!(all.ends_with("10 bytes.\n"), "{all}");
}

/// A client that reads while it sends sees the refusal of a body of any size, and one that goes on
/// is cut off.
#[tokio::test]
async fn an_endless_upload_is_told_and_cut_off() {
    let metrics = Metrics::new();
    let server = serve(LimitLayer::new().default_body(10).recorder(metrics.recorder())).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10737418240\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 4096];
    let len = soon(stream.read(&mut read)).await.unwrap();
    let seen = String::from_utf8_lossy(&read[..len]).to_ascii_lowercase();
    assert!(seen.starts_with("http/1.1 413 "), "{seen}");
    assert!(seen.contains("\r\nconnection: close\r\n"), "{seen}");
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while soon(stream.write_all(&piece)).await.is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "8 MiB and what sockets hold are all that is taken");
    }
    assert_eq!(drains(&metrics, "too_large"), 1);
}

#[tokio::test]
async fn over_h2_a_stream_is_drained_or_reset_without_an_error() {
    let metrics = Metrics::new();
    let server =
        serve(LimitLayer::new().default_body(10).max_drain(MIB).recorder(metrics.recorder())).await;
    let client = h2_client();
    let pieces = |count: usize| {
        let body = Scripted::<BoxError>::new((0..count).map(|_| data(16 * 1024)));
        let log = body.log();
        (boxed(body), log)
    };
    for (count, outcome) in [(20, "complete"), (1_000, "too_large")] {
        let before = drains(&metrics, outcome);
        let (body, log) = pieces(count);
        let request = Request::post(server.url("/")).body(body).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(response.status(), 413);
        assert!(soon(text(response)).await.contains("10 bytes"), "the body is whole");
        soon(dropped(&log)).await;
        while drains(&metrics, outcome) == before {
            tokio::task::yield_now().await;
        }
        // The connection lives on.
        let request = Request::post(server.url("/")).body(full("abc")).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(text(response).await, "3");
    }
}

#[tokio::test]
async fn hyper_clients_see_the_refusal_every_time() {
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

/// axum's extractors have a limit of their own, which the application may have set below the layer's.
#[tokio::test]
async fn a_413_of_an_extractor_is_seen() {
    let app = axum::Router::new()
        .route("/", axum::routing::post(|body: Bytes| async move { body.len().to_string() }))
        .layer(axum::extract::DefaultBodyLimit::max(2 << 20))
        .layer(LimitLayer::new().default_body(100 * MIB));
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
    boxed(Scripted::<BoxError>::new((0..size / 4096).map(|_| data(4096))))
}

#[tokio::test]
async fn a_refused_call_of_grpc_is_seen() {
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
