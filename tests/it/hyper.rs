//! hyper as the host, over real sockets.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tower::{Service, ServiceBuilder, service_fn};
use tower_kit::CompressLayer;
use tower_kit::latency::LatencyLayer;
use tower_kit::limit::LimitLayer;

use crate::support::{
    BoxBody, BoxError, Metrics, Scripted, Server, Step, boxed, data, full, gunzip, h1_client,
    h2_client, noise, prose, reads, soon, text, trailers,
};

const DURATION: &str = "http_request_duration_seconds";
const RESPONSE_SIZE: &str = "http_response_size_bytes";
const IN_FLIGHT: &str = "http_requests_in_flight";
const REJECTED: &str = "http_requests_rejected_total";
const STREAMS: &str = "http_streams_total";

// limit

async fn limited(metrics: &Metrics) -> Server {
    let layer = LimitLayer::new().default_body(10).recorder(metrics.recorder());
    Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await
}

#[tokio::test]
async fn expect_continue_gets_413_and_sends_no_body() {
    let metrics = Metrics::new();
    let server = limited(&metrics).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 11\r\nexpect: 100-continue\r\n\r\n")
        .await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
    assert!(!all.contains("100"), "{all}");
    assert!(all.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{all}");
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
}

#[tokio::test]
async fn expect_continue_within_the_limit_gets_100() {
    let server = limited(&Metrics::new()).await;
    let mut client = server.connect().await;
    client
        .send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("http/1.1 100 "));
    client.send("0123456789").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "10");
}

#[tokio::test]
async fn chunked_413_keeps_the_connection() {
    let metrics = Metrics::new();
    let server = limited(&metrics).await;
    let mut client = server.connect().await;
    client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n").await;
    client.send("6\r\n012345\r\n").await;
    client.send("6\r\n012345\r\n").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 413 "), "{head}");
    assert!(!head.contains("\r\nconnection:"), "{head}");
    assert!(body.contains("10 bytes"), "{body}");
    client.send("0\r\n\r\nPOST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "3");
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 1);
}

#[tokio::test]
async fn rejection_without_body_keeps_the_connection() {
    let metrics = Metrics::new();
    let server = limited(&metrics).await;
    let mut client = server.connect().await;
    let target = "a".repeat(9_000);
    client.send(&format!("GET /{target} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("http/1.1 414 "), "{head}");
    assert!(!head.contains("\r\nconnection:"), "{head}");

    client.send(&format!("GET / HTTP/1.1\r\nhost: h\r\nx-a: {}\r\n\r\n", "b".repeat(17_000))).await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");

    client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "3");
    assert_eq!(metrics.counted(REJECTED, &[]), 2);
}

#[tokio::test]
async fn head_rejection_keeps_the_connection() {
    let server = limited(&Metrics::new()).await;
    let mut client = server.connect().await;
    let target = "a".repeat(9_000);
    let head = format!("POST /{target} HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n");
    client.send(&head).await;
    let (head, _) = client.response().await;
    assert!(head.starts_with("http/1.1 414 "), "{head}");
    assert!(!head.contains("\r\nconnection:"), "{head}");
    client.send("12345POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc").await;
    let (head, body) = client.response().await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, "3");
}

#[tokio::test]
async fn h2_bodies_get_413_and_keep_the_connection() {
    let metrics = Metrics::new();
    let server = limited(&metrics).await;
    let client = h2_client();
    let streamed = || boxed(Scripted::<BoxError>::new([data(6), Step::Pending, data(6)]));
    for (body, expected) in [
        (full(vec![b'x'; 11]), 413),
        (streamed(), 413),
        (full(vec![b'x'; 10]), 200),
        (boxed(Scripted::<BoxError>::new([data(5), data(5)])), 200),
    ] {
        let request = Request::post(server.url("/")).body(body).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(response.status(), expected);
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert!(!response.headers().contains_key("connection"));
        let says = soon(text(response)).await;
        assert_eq!(says, if expected == 200 { "10" } else { says.as_str() });
    }
    assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), 2);
}

#[tokio::test]
async fn rejected_head_request_has_no_content() {
    let server = limited(&Metrics::new()).await;
    for client in [h1_client(), h2_client()] {
        let target = format!("/{}", "a".repeat(9_000));
        let request = Request::head(server.url(&target)).body(full("")).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(response.status(), 414);
        let version = response.version();
        let body = soon(response.into_body().collect()).await;
        let body = body.unwrap_or_else(|error| panic!("{version:?}: {error:?}"));
        assert_eq!(body.to_bytes(), "", "{version:?}");
    }
}

// latency

fn measured<S>(metrics: &Metrics, service: S) -> tower_kit::latency::Latency<S>
where
    S: Service<Request<Incoming>>,
{
    let layer = LatencyLayer::new().record_body_sizes().recorder(metrics.recorder());
    ServiceBuilder::new().layer(layer).service(service)
}

/// The answers that a server gives every day; the path says which.
async fn daily(request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let parts = || [data(3), Step::Pending, data(4)];
    let response = Response::builder();
    let response = match request.uri().path() {
        "/full" => response.body(full("0123456")),
        "/empty" => response.body(full("")),
        "/204" => response.status(204).body(full("")),
        "/304" => response.status(304).header("etag", "\"1\"").body(full("")),
        // The length is in the head alone: the body neither states it nor tells its end.
        "/header" => {
            response.header("content-length", 7).body(boxed(Scripted::<BoxError>::new(parts())))
        }
        "/exact" => response.body(boxed(Scripted::<BoxError>::new(parts()).exact())),
        "/chunked" => response.body(boxed(Scripted::<BoxError>::new(parts()))),
        "/trailers" => {
            let steps = parts().into_iter().chain([trailers()]);
            response.header("trailer", "x-sum").body(boxed(Scripted::<BoxError>::new(steps)))
        }
        "/500" => response.status(500).body(full("oops")),
        path => panic!("{path}"),
    };
    Ok(response.unwrap())
}

const DAILY: [&str; 9] =
    ["/full", "/empty", "/204", "/304", "/header", "/exact", "/chunked", "/trailers", "/500"];

fn assert_all_ok(metrics: &Metrics, count: usize) {
    let samples = metrics.samples(DURATION);
    let outcomes: Vec<_> =
        samples.iter().map(|(labels, _)| (&labels["status_code"], &labels["outcome"])).collect();
    assert_eq!(samples.len(), count, "{outcomes:?}");
    assert!(outcomes.iter().all(|(_, outcome)| *outcome == "ok"), "{outcomes:?}");
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

#[tokio::test]
async fn h1_responses_on_one_connection_are_ok() {
    let metrics = Metrics::new();
    let server = Server::start(measured(&metrics, service_fn(daily))).await;
    let mut client = server.connect().await;
    for (path, count) in DAILY.into_iter().zip(1..) {
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\nte: trailers\r\n\r\n")).await;
        if matches!(path, "/chunked" | "/trailers") {
            client.head().await;
            client.until("\r\n0\r\n").await;
            client.until("\r\n").await;
            if path == "/trailers" {
                client.until("\r\n").await;
            }
        } else if path == "/304" {
            client.head().await;
        } else {
            client.response().await;
        }
        metrics.wait_for(DURATION, count).await;
        assert_all_ok(&metrics, usize::try_from(count).unwrap());
    }
}

#[tokio::test]
async fn declared_length_is_ok_without_polling_the_end() {
    let metrics = Metrics::new();
    let body = Scripted::<BoxError>::new([data(3), data(4), Step::PendingForever]);
    let log = body.log();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let inner = service_fn(move |_: Request<Incoming>| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::builder().header("content-length", 7).body(body) }
    });
    let server = Server::start(measured(&metrics, inner)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let (_, body) = client.response().await;
    assert_eq!(body, "xxxxxxx");
    metrics.wait_for(DURATION, 1).await;
    assert_all_ok(&metrics, 1);
    assert_eq!(metrics.sample(RESPONSE_SIZE).1, 7.0);
    assert_eq!(log.given(), 7);
}

#[tokio::test]
async fn h1_head_requests_are_ok_and_have_no_bytes() {
    let metrics = Metrics::new();
    let server = Server::start(measured(&metrics, service_fn(daily))).await;
    let mut client = server.connect().await;
    for path in DAILY {
        client.send(&format!("HEAD {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        client.head().await;
    }
    metrics.wait_for(DURATION, DAILY.len() as u64).await;
    assert_all_ok(&metrics, DAILY.len());
    assert!(metrics.samples(DURATION).iter().all(|(labels, _)| labels["method"] == "HEAD"));
    assert!(metrics.samples(RESPONSE_SIZE).iter().all(|(_, size)| *size == 0.0));
}

#[tokio::test]
async fn normal_responses_over_h2_are_all_ok() {
    let metrics = Metrics::new();
    let server = Server::start(measured(&metrics, service_fn(daily))).await;
    let client = h2_client();
    for path in DAILY {
        let request = Request::get(server.url(path)).body(full("")).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        drop(soon(response.into_body().collect()).await.unwrap());
    }
    metrics.wait_for(DURATION, DAILY.len() as u64).await;
    assert_all_ok(&metrics, DAILY.len());
}

#[tokio::test]
async fn head_requests_over_h2_are_ok() {
    let metrics = Metrics::new();
    // Over HTTP/2 hyper leaves it to the service to send no content.
    let inner = service_fn(|_: Request<Incoming>| async {
        Response::builder().header("content-length", 7).body(full(""))
    });
    let server = Server::start(measured(&metrics, inner)).await;
    let request = Request::head(server.url("/")).body(full("")).unwrap();
    let response = soon(h2_client().request(request)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "7");
    metrics.wait_for(DURATION, 1).await;
    assert_all_ok(&metrics, 1);
}

#[tokio::test]
async fn responses_to_a_pooled_client_are_ok() {
    let metrics = Metrics::new();
    let server = Server::start(measured(&metrics, service_fn(daily))).await;
    let client = h1_client();
    for path in DAILY {
        let request = Request::get(server.url(path)).body(full("")).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        drop(soon(response.into_body().collect()).await.unwrap());
    }
    metrics.wait_for(DURATION, DAILY.len() as u64).await;
    assert_all_ok(&metrics, DAILY.len());
}

/// Three bytes, and then nothing for ever; of a length that is declared or not.
async fn stuck(request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let body = boxed(Scripted::<BoxError>::new([data(3), Step::PendingForever]));
    let mut response = Response::builder();
    if request.uri().path() == "/declared" {
        response = response.header("content-length", 7);
    }
    Ok(response.body(body).unwrap())
}

#[tokio::test]
async fn h1_client_leaving_in_the_body_disconnects() {
    for path in ["/declared", "/chunked"] {
        let metrics = Metrics::new();
        let server = Server::start(measured(&metrics, service_fn(stuck))).await;
        let mut client = server.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        client.until("xxx").await;
        assert_eq!(metrics.gauge(IN_FLIGHT), 1.0, "{path}");
        drop(client);
        metrics.wait_for(DURATION, 1).await;
        assert_eq!(metrics.sample(DURATION).0["outcome"], "disconnect", "{path}");
        assert_eq!(metrics.sample(DURATION).0["status_code"], "200", "{path}");
        assert_eq!(metrics.sample(RESPONSE_SIZE).1, 3.0, "{path}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{path}");
    }
}

#[tokio::test]
async fn h2_client_dropping_the_body_disconnects() {
    for path in ["/declared", "/chunked"] {
        let metrics = Metrics::new();
        let server = Server::start(measured(&metrics, service_fn(stuck))).await;
        let client = h2_client();
        let request = Request::get(server.url(path)).body(full("")).unwrap();
        let mut response = soon(client.request(request)).await.unwrap();
        let frame = soon(response.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len(), 3);
        assert_eq!(metrics.gauge(IN_FLIGHT), 1.0, "{path}");
        drop(response);
        metrics.wait_for(DURATION, 1).await;
        assert_eq!(metrics.sample(DURATION).0["outcome"], "disconnect", "{path}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{path}");
    }
}

#[tokio::test]
async fn client_leaving_before_the_head_cancels() {
    let metrics = Metrics::new();
    let called = Arc::new(Notify::new());
    let inner = {
        let called = Arc::clone(&called);
        service_fn(move |_: Request<Incoming>| {
            called.notify_one();
            pending::<Result<Response<BoxBody>, Infallible>>()
        })
    };
    let server = Server::start(measured(&metrics, inner)).await;

    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n").await;
    soon(called.notified()).await;
    assert_eq!(metrics.gauge(IN_FLIGHT), 1.0);
    drop(client);
    metrics.wait_for(DURATION, 1).await;

    let client = h2_client();
    let request = Request::get(server.url("/")).body(full("")).unwrap();
    tokio::select! {
        response = client.request(request) => panic!("{response:?}"),
        () = soon(called.notified()) => {}
    }
    metrics.wait_for(DURATION, 2).await;
    let samples = metrics.samples(DURATION);
    assert!(samples.iter().all(|(labels, _)| labels["outcome"] == "cancelled"), "{samples:?}");
    assert!(samples.iter().all(|(labels, _)| !labels.contains_key("status_code")), "{samples:?}");
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

#[tokio::test]
async fn failures_are_recorded_over_connections() {
    let metrics = Metrics::new();
    let inner = service_fn(|request: Request<Incoming>| async move {
        if request.uri().path() == "/service" {
            return Err(BoxError::from("gone"));
        }
        let body = Scripted::<BoxError>::new([data(1), Step::Error("broken".into())]);
        Ok(Response::new(boxed(body)))
    });
    let server = Server::start(measured(&metrics, inner)).await;
    for (path, outcome, count) in [("/service", "service_error", 1), ("/body", "body_error", 2)] {
        let mut client = server.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        client.rest().await;
        metrics.wait_for(DURATION, count).await;
        let samples = metrics.samples(DURATION);
        let found = samples.iter().filter(|(labels, _)| labels["outcome"] == outcome).count();
        assert_eq!(found, 1, "{samples:?}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    }
}

#[tokio::test]
async fn panic_leaves_nothing_in_flight() {
    let metrics = Metrics::new();
    let inner = service_fn(|request: Request<Incoming>| async move {
        assert_ne!(request.uri().path(), "/service", "a panic that the test wants");
        let body = Scripted::<BoxError>::new([data(1), Step::Panic]);
        Ok::<_, Infallible>(Response::new(boxed(body)))
    });
    let server = Server::start(measured(&metrics, inner)).await;
    for (path, count) in [("/service", 1), ("/body", 2)] {
        let mut client = server.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\n\r\n")).await;
        client.rest().await;
        metrics.wait_for(DURATION, count).await;
        let samples = metrics.samples(DURATION);
        assert!(samples.iter().all(|(labels, _)| labels["outcome"] == "panic"), "{samples:?}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    }
}

#[tokio::test]
async fn upgraded_connection_is_counted_not_timed() {
    let metrics = Metrics::new();
    let inner = service_fn(|_: Request<Incoming>| async {
        Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo")
            .body(full(""))
    });
    let server = Server::start(measured(&metrics, inner)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    assert!(client.head().await.starts_with("http/1.1 101 "));
    assert_eq!(metrics.counted(STREAMS, &[("kind", "upgrade")]), 1);
    assert_eq!(metrics.samples(DURATION), []);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

// compress

/// Text of its own for each path `/whole/7` or `/stream/7`, and a few others.
async fn pages(request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let path = request.uri().path();
    let response = Response::builder().header("content-type", "text/html");
    let (kind, seed) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let text = page(seed);
    let response = match kind {
        "whole" => response.body(full(text)),
        "stream" => {
            let parts = text.chunks(3_000).map(Bytes::copy_from_slice);
            let steps = parts.flat_map(|part| [Step::Data(part), Step::Pending]);
            response.body(boxed(Scripted::<BoxError>::new(steps)))
        }
        "trailers" => {
            let steps = [Step::Data(text), Step::Pending, trailers()];
            response.header("trailer", "x-sum").body(boxed(Scripted::<BoxError>::new(steps)))
        }
        "stuck" => {
            let steps = [Step::Data(text), Step::PendingForever];
            response.body(boxed(Scripted::<BoxError>::new(steps)))
        }
        "broken" => {
            let steps = [Step::Data(text), Step::Pending, Step::Error("broken".into())];
            response.body(boxed(Scripted::<BoxError>::new(steps)))
        }
        "noise" => response.body(full(noise(5_000))),
        _ => panic!("{path}"),
    };
    Ok(response.unwrap())
}

fn page(seed: &str) -> Bytes {
    let seed = seed.parse().unwrap();
    prose(5_000 + usize::try_from(seed).unwrap() * 777, seed)
}

async fn squeezing() -> Server {
    squeezing_by(CompressLayer::new()).await
}

async fn squeezing_by(layer: CompressLayer) -> Server {
    Server::start(ServiceBuilder::new().layer(layer).service_fn(pages)).await
}

fn asking(server: &Server, path: &str) -> Request<BoxBody> {
    let request = Request::get(server.url(path)).header("accept-encoding", "gzip");
    request.body(full("")).unwrap()
}

#[tokio::test]
async fn whole_body_has_a_length_and_a_stream_none() {
    for layer in [CompressLayer::new(), CompressLayer::new().libdeflate()] {
        whole_bodies_and_streams(&squeezing_by(layer).await).await;
    }
}

async fn whole_bodies_and_streams(server: &Server) {
    for client in [h1_client(), h2_client()] {
        for (path, whole) in [("/whole/1", true), ("/stream/1", false)] {
            let response = soon(client.request(asking(server, path))).await.unwrap();
            let (head, body) = response.into_parts();
            let body = soon(body.collect()).await.unwrap().to_bytes();
            assert_eq!(head.headers["content-encoding"], "gzip", "{:?} {path}", head.version);
            let length = head.headers.get("content-length");
            let length = length.map(|length| length.to_str().unwrap().parse::<usize>().unwrap());
            assert_eq!(length, whole.then_some(body.len()), "{:?} {path}", head.version);
            assert_eq!(gunzip(&body), page("1"), "{:?} {path}", head.version);
        }
        let response = soon(client.request(asking(server, "/noise/1"))).await.unwrap();
        assert_eq!(response.headers()["content-length"], "5000");
        assert!(!response.headers().contains_key("content-encoding"));
        assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), noise(5_000));
    }
}

#[tokio::test]
async fn trailers_come_behind_a_compressed_stream() {
    let server = squeezing().await;
    for client in [h1_client(), h2_client()] {
        let mut request = asking(&server, "/trailers/2");
        request.headers_mut().insert("te", "trailers".parse().unwrap());
        let response = soon(client.request(request)).await.unwrap();
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().expect("the trailers")["x-sum"], "1");
        assert_eq!(gunzip(&collected.to_bytes()), page("2"));
    }
}

#[tokio::test]
async fn head_request_gets_no_plain_length() {
    let server = squeezing().await;
    for client in [h1_client(), h2_client()] {
        for path in ["/whole/3", "/stream/3"] {
            let mut request = asking(&server, path);
            *request.method_mut() = http::Method::HEAD;
            let response = soon(client.request(request)).await.unwrap();
            let version = response.version();
            assert_eq!(response.headers()["vary"], "accept-encoding");
            assert_eq!(response.headers()["content-encoding"], "gzip", "{version:?} {path}");
            // RFC 9110 §8.6: only the one that a GET would get, and that one is another.
            let length = response.headers().get("content-length");
            assert_eq!(length, None, "{version:?} {path}");
        }
    }
}

#[tokio::test]
async fn failed_body_is_no_complete_gzip() {
    let server = squeezing().await;
    for client in [h1_client(), h2_client()] {
        // The server may close the connection before it has sent the head.
        if let Ok(response) = soon(client.request(asking(&server, "/broken/4"))).await {
            assert_eq!(response.headers()["content-encoding"], "gzip");
            assert!(soon(response.into_body().collect()).await.is_err());
        }
    }
}

#[tokio::test]
async fn curl_decodes_what_is_sent() {
    let server = squeezing().await;
    for path in ["/whole/5", "/stream/5"] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let curl = tokio::process::Command::new("curl")
                .args(["--silent", "--fail", "--compressed", "--noproxy", "*", version])
                .arg(server.url(path))
                .output();
            match soon(curl).await {
                Ok(output) => {
                    assert!(output.status.success(), "{path} {version}: {output:?}");
                    assert!(output.stdout == page("5"), "{path} {version}");
                }
                Err(error) => {
                    eprintln!("NOT TESTED: there is no program `curl` here: {error}");
                    return;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_get_their_own_text_while_others_leave() {
    let server = Arc::new(squeezing().await);
    let mut clients = tokio::task::JoinSet::new();
    for client_number in 0..12_u64 {
        let server = Arc::clone(&server);
        clients.spawn(async move {
            let client = if client_number % 2 == 0 { h1_client() } else { h2_client() };
            for round in 0..25 {
                let seed = (client_number * 25 + round) % 40;
                let path = ["whole", "stream", "stuck", "stream"][round as usize % 4];
                let request = asking(&server, &format!("/{path}/{seed}"));
                let mut response = soon(client.request(request)).await.unwrap();
                if path == "stuck" || round % 8 == 1 {
                    // Leaves after a frame.
                    drop(soon(response.body_mut().frame()).await);
                    continue;
                }
                let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
                assert!(gunzip(&body) == page(&seed.to_string()), "/{path}/{seed}");
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn client_leaving_midway_drops_the_inner_body() {
    let body = Scripted::<BoxError>::new([Step::Data(prose(5_000, 6)), Step::PendingForever]);
    let log = body.log();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let inner = service_fn(move |_: Request<Incoming>| {
        let body = body.lock().unwrap().take().unwrap();
        async { Response::builder().header("content-type", "text/html").body(body) }
    });
    let server =
        Server::start(ServiceBuilder::new().layer(CompressLayer::new()).service(inner)).await;
    let mut client = server.connect().await;
    client.send("GET / HTTP/1.1\r\nhost: h\r\naccept-encoding: gzip\r\n\r\n").await;
    assert!(client.head().await.contains("\r\ntransfer-encoding: chunked\r\n"));
    drop(client);
    soon(async {
        while !log.dropped() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
