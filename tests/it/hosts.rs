//! The layers on each host: the examples `axum`, `hyper`, `tonic` and `client`, as processes.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_parse::{Scrape, Value};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Server as GrpcServer};
use tonic::{Code, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::service_fn;
use tower_kit::cache::MemoryStore;
use tower_kit::limit::Size;
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};

use super::program::{Program, built};
use super::support::{
    BoxBody, Metrics, Server, boxed, empty, full, gunzip, h1_client, h2_client, soon, text,
};

const DURATION: &str = "http_request_duration_seconds";
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

async fn get(program: &Program, path: &str, over_h2: bool) -> Response<Incoming> {
    let request = Request::get(program.url(path)).header("accept-encoding", "gzip");
    let client = if over_h2 { h2_client() } else { h1_client() };
    soon(client.request(request.body(boxed(empty())).unwrap())).await.unwrap()
}

async fn post(program: &Program, path: &str, body: BoxBody) -> Response<Incoming> {
    let request = Request::post(program.url(path)).header("content-type", "application/json");
    soon(h1_client().request(request.body(body).unwrap())).await.unwrap()
}

/// What a cached page has of every layer: `latency` is looked at by the numbers.
async fn every_layer_has_been_there(program: &Program, path: &str) {
    // Before there is anything to answer it with, and after.
    let head = async || {
        let head = Request::head(program.url(path)).body(boxed(empty())).unwrap();
        let head = soon(h2_client().request(head)).await.unwrap();
        assert_eq!((head.status(), text(head).await), (StatusCode::OK, String::new()));
    };
    head().await;
    for (over_h2, cache) in [(false, "fwd=uri-miss; stored"), (true, "hit;"), (false, "hit;")] {
        let (head, body) = get(program, path, over_h2).await.into_parts();
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers["x-content-type-options"], "nosniff");
        let said = head.headers["cache-status"].to_str().unwrap();
        assert!(said.contains(cache), "{said}");
        assert_eq!(head.headers["content-encoding"], "gzip");
        let body = soon(body.collect()).await.unwrap().to_bytes();
        assert!(gunzip(&body).len() > body.len());
    }
    head().await;
}

/// A head that does not come to its end closes its connection; a body that does not gets an answer.
async fn neither_heads_nor_bodies_are_waited_for(program: &Program, path: &str, status: &str) {
    let mut half = program.connect().await;
    half.send("GET / HTTP/1.1\r\nhost: a\r\nx-half: ").await;
    let mut slow = program.connect().await;
    let head = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{";
    slow.send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}")).await;
    let answer = slow.head().await;
    assert!(answer.starts_with(&format!("http/1.1 {status} ")), "{answer}");
    assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
    half.rest().await;
}

/// A request that is open when it is asked to stop gets its answer.
async fn it_stops_when_open_requests_are_answered(program: Program, path: &str, status: &str) {
    let mut open = program.connect().await;
    let head = "expect: 100-continue\r\ncontent-type: application/json\r\ncontent-length: 2\r\n";
    open.send(&format!("POST {path} HTTP/1.1\r\nhost: a\r\n{head}\r\n")).await;
    // It waits for the body then.
    assert!(open.head().await.starts_with("http/1.1 100 "));
    program.signal("TERM");
    let addr = program.addr;
    soon(async { while tokio::net::TcpStream::connect(addr).await.is_ok() {} }).await;
    open.send("{}").await;
    let answer = open.rest().await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.ends_with("\r\n\r\n{}"), "{answer}");
    assert!(program.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn axum_has_every_layer_by_route_with_time_outs_and_a_graceful_stop() {
    let program = Program::start("axum", &[]);
    every_layer_has_been_there(&program, "/items/7").await;
    let made = post(&program, "/items", full("{\"name\":1}")).await;
    assert_eq!((made.status(), text(made).await), (StatusCode::CREATED, "{\"name\":1}".into()));
    let large = post(&program, "/items", full(vec![b' '; 20_000])).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&program, "/nowhere", false).await.status(), StatusCode::NOT_FOUND);
    neither_heads_nor_bodies_are_waited_for(&program, "/items", "503").await;
    let numbers = text(program.get("/metrics").await).await;
    for (method, route, code, count) in [
        ("GET", "/items/{id}", 200, 3),
        ("HEAD", "/items/{id}", 200, 2),
        ("POST", "/items", 201, 1),
        ("POST", "/items", 413, 1),
        ("POST", "/items", 503, 1),
        ("GET", "unmatched", 404, 1),
    ] {
        // The parser takes no braces in labels.
        let labels = format!("method=\"{method}\",route=\"{route}\",status_code=\"{code}\"");
        let line = format!("{DURATION}_count{{{labels},outcome=\"ok\"}} {count}\n");
        assert!(numbers.contains(&line), "no {line} in {numbers}");
    }
    it_stops_when_open_requests_are_answered(program, "/items", "201").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn hyper_has_every_layer_with_time_outs_and_a_graceful_stop() {
    let program = Program::start("hyper", &[]);
    every_layer_has_been_there(&program, "/").await;
    let echo = post(&program, "/", full("{}")).await;
    assert_eq!((echo.status(), text(echo).await), (StatusCode::OK, "{}".into()));
    let large = post(&program, "/", full(vec![b' '; 20_000])).await;
    assert_eq!(large.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(get(&program, "/nowhere", true).await.status(), StatusCode::NOT_FOUND);
    neither_heads_nor_bodies_are_waited_for(&program, "/", "408").await;
    for (labels, count) in [
        ([("route", "/"), ("status_code", "200")], 6.0),
        ([("route", "/"), ("status_code", "413")], 1.0),
        ([("route", "/"), ("status_code", "408")], 1.0),
        ([("route", "unmatched"), ("status_code", "404")], 1.0),
    ] {
        assert_eq!(program.metric(DURATION, &labels).await, count, "{labels:?}");
    }
    it_stops_when_open_requests_are_answered(program, "/", "200").await;
}

async fn channel(url: String) -> Channel {
    soon(Channel::from_shared(url).unwrap().connect()).await.unwrap()
}

fn of(service: impl Into<String>) -> tonic::Request<HealthCheckRequest> {
    tonic::Request::new(HealthCheckRequest { service: service.into() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tonic_has_every_layer_and_calls_streams_and_statuses_pass_them() {
    let program = Program::start("tonic", &[]);
    let channel = channel(program.url("")).await;
    let mut client = HealthClient::new(channel.clone());

    // What a browser would say changes nothing.
    let mut check = of("");
    check.metadata_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let answer = soon(client.check(check)).await.unwrap();
    assert_eq!(answer.get_ref().status, SERVING);
    assert_eq!(answer.metadata().get("content-encoding"), None);
    assert_eq!(answer.metadata().get("cache-status").unwrap(), "tower-kit; fwd=method");
    assert_eq!(answer.metadata().get("x-content-type-options").unwrap(), "nosniff");

    // Messages that tonic compresses, both ways.
    let mut gzip = HealthClient::new(channel)
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let answer = soon(gzip.check(of(""))).await.unwrap();
    assert_eq!(answer.get_ref().status, SERVING);
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip");
    assert_eq!(answer.metadata().get("content-encoding"), None);

    // Larger than any default of the layers, and than tonic's own.
    let unknown = soon(client.check(of("x".repeat(3 << 20)))).await.unwrap_err();
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "service not registered"));
    let large = soon(client.check(of("x".repeat(5 << 20)))).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");

    let mut watch = soon(client.watch(of(""))).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, SERVING);
    for (labels, count) in [
        (&[("route", "/grpc.health.v1.Health/Check"), ("outcome", "ok")], 4.0),
        // Not before it ends.
        (&[("route", "/grpc.health.v1.Health/Watch"), ("outcome", "ok")], 0.0),
    ] {
        assert_eq!(program.metric(DURATION, labels).await, count, "{labels:?}");
    }
    let passed = [("outcome", "bypass"), ("reason", "method")];
    assert_eq!(program.metric("http_cache_requests_total", &passed).await, 5.0);
    for name in ["http_cache_entries", "http_requests_rejected_total"] {
        assert_eq!(program.metric(name, &[]).await, 0.0, "{name}");
    }
    // The watch, and the one that asks.
    assert_eq!(program.metric("http_requests_in_flight", &[]).await, 2.0);

    program.signal("TERM");
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, NOT_SERVING);
    drop((watch, client, gzip));
    assert!(program.stop().success());
}

/// A service whose streams break off.
struct Breaks;

type Statuses = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Health for Breaks {
    type WatchStream = Statuses;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        Err(Status::with_details(Code::Aborted, request.into_inner().service, "why".into()))
    }

    async fn watch(
        &self,
        _: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Statuses>, Status> {
        let broken = Status::with_details(Code::DataLoss, "it broke", "why".into());
        let all = [Ok(HealthCheckResponse { status: SERVING }), Err(broken)];
        Ok(tonic::Response::new(Box::pin(tokio_stream::iter(all))))
    }
}

#[tokio::test]
async fn statuses_of_grpc_pass_every_layer_and_a_limit_has_one_of_its_own() {
    for limit in [Size::UNLIMITED, Size::new(100)] {
        let metrics = Metrics::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let limits = LimitLayer::new().recorder(metrics.recorder());
        let server = GrpcServer::builder()
            .layer((
                LatencyLayer::new()
                    .recorder(metrics.recorder())
                    .routes(["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"]),
                SecurityHeadersLayer::new(),
                limits.media_type("application/grpc", limit).unwrap(),
                CacheLayer::new(MemoryStore::new(MIB)),
                CompressLayer::new(),
            ))
            .add_service(HealthServer::new(Breaks));
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let mut client = HealthClient::new(channel(format!("http://{addr}")).await);

        let alone = soon(client.check(of("a reason"))).await.unwrap_err();
        assert_eq!((alone.code(), alone.message()), (Code::Aborted, "a reason"));
        assert_eq!(alone.details(), b"why");
        let mut watch = soon(client.watch(of(""))).await.unwrap().into_inner();
        assert_eq!(soon(watch.message()).await.unwrap().unwrap().status, SERVING);
        let broken = soon(watch.message()).await.unwrap_err();
        assert_eq!((broken.code(), broken.message()), (Code::DataLoss, "it broke"));
        assert_eq!(broken.details(), b"why");

        let limited = limit != Size::UNLIMITED;
        // The second time, most of the message is still to come when the answer is there.
        let sizes = if limited { [200, 1 << 20] } else { [200, 300] };
        for size in sizes {
            let long = soon(client.check(of("x".repeat(size)))).await.unwrap_err();
            let expected = if limited {
                (Code::ResourceExhausted, "The request body is larger than 100 bytes.".to_owned())
            } else {
                (Code::Aborted, "x".repeat(size))
            };
            assert_eq!((long.code(), long.message().to_owned()), expected);
        }
        let counted = metrics.counted("http_requests_rejected_total", &[("layer", "limit")]);
        assert_eq!(counted, if limited { 2 } else { 0 });

        metrics.wait_for(DURATION, 4).await;
        let samples = metrics.samples(DURATION);
        let of =
            |route: &str| samples.iter().filter(|(labels, _)| labels["route"] == route).count();
        assert_eq!(of("/grpc.health.v1.Health/Check"), 3);
        assert_eq!(of("/grpc.health.v1.Health/Watch"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_has_the_times_of_its_requests_and_a_hit_does_not_reach_the_server() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = Server::start(service_fn(move |request: Request<Incoming>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let control = match request.uri().path() {
            "/for-all" => "max-age=60",
            _ => "private, max-age=60",
        };
        let never = request.uri().path() == "/never";
        let response = Response::builder().header("cache-control", control);
        async move {
            if never {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(response.body(full("an answer")).unwrap())
        }
    }));
    let server = server.await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (all, one, never) = (server.url("/for-all"), server.url("/for-one"), server.url("/never"));
    let gone = format!("http://localhost:{}/", gone.port());
    let mut command = tokio::process::Command::new(built("client"));
    command.args([&all, &all, &one, &one, &gone, &never]).kill_on_drop(true);
    let output = soon(command.output()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 4);

    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = printed.lines().collect();
    let miss = "200 OK, 9 bytes, tower-kit; fwd=uri-miss";
    assert_eq!(lines[0], format!("{all}: {miss}; stored"));
    assert!(lines[1].starts_with(&format!("{all}: 200 OK, 9 bytes, tower-kit; hit;")), "{printed}");
    for line in &lines[2..4] {
        assert!(line.starts_with(&format!("{one}: {miss}; detail=private")), "{printed}");
    }
    assert!(lines[4].starts_with(&gone) && lines[4].contains("Connect"), "{printed}");
    assert_eq!(lines[5], format!("{never}: Elapsed(())"));

    let scrape = Scrape::parse(lines[6..].iter().map(|line| Ok((*line).to_owned()))).unwrap();
    let count = |name: &str, labels: &[(&str, &str)]| {
        let samples = scrape.samples.iter().filter(|sample| {
            sample.metric == name
                && labels.iter().all(|(name, value)| sample.labels.get(name) == Some(*value))
        });
        let counts = samples.map(|sample| match &sample.value {
            Value::Counter(count) => *count,
            Value::Histogram(buckets) => buckets.last().unwrap().count,
            other => panic!("{other:?}"),
        });
        counts.sum::<f64>()
    };
    let (duration, requests) = (&*format!("client_{DURATION}"), "client_http_cache_requests_total");
    assert_eq!(count(duration, &[("route", "127.0.0.1"), ("outcome", "ok")]), 4.0);
    assert_eq!(count(duration, &[("route", "localhost"), ("outcome", "service_error")]), 1.0);
    assert_eq!(count(duration, &[("route", "127.0.0.1"), ("outcome", "timeout")]), 1.0);
    assert_eq!(count(requests, &[("outcome", "hit")]), 1.0);
    assert_eq!(count(requests, &[("outcome", "miss")]), 3.0);
}
