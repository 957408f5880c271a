//! All the layers together.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::header::X_FRAME_OPTIONS;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tower::util::BoxService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_kit::cache::MemoryStore;
use tower_kit::pressure::{MemoryUsage, PressureLayer};
use tower_kit::security_headers::{Csp, Directive, Nonce, Overrides, Source};
use tower_kit::{CacheLayer, CompressLayer, LatencyLayer, LimitLayer, MIB, SecurityHeadersLayer};

use crate::support::{
    BoxBody, BoxError, Metrics, Scripted, Step, boxed, data, full, gunzip, prose, text, trailers,
};

const DURATION: &str = "http_request_duration_seconds";
const INPUT: &str = "http_compression_input_bytes_total";
const RESPONSE_SIZE: &str = "http_response_size_bytes";
const IN_FLIGHT: &str = "http_requests_in_flight";
const REJECTED: &str = "http_requests_rejected_total";

type Stack = BoxService<Request<Scripted>, Response<BoxBody>, Infallible>;

/// Responds with the body of the request, or with 500 if the body fails.
async fn echo<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible>
where
    B: Body,
{
    let (status, body) = match request.into_body().collect().await {
        Ok(body) => (200, body.to_bytes()),
        Err(_) => (500, "the body broke".into()),
    };
    let response = Response::builder().status(status).header("referrer-policy", "origin");
    Ok(response.body(body.into()).unwrap())
}

/// The three layers in each of their six orders, named from the outside in.
fn orders(metrics: &Metrics) -> Vec<(&'static str, Stack)> {
    let latency = || LatencyLayer::new().recorder(metrics.recorder());
    let limit = || LimitLayer::new().default_body(10).recorder(metrics.recorder());
    let headers = SecurityHeadersLayer::new;
    vec![
        ("latency headers limit", {
            let stack = ServiceBuilder::new().layer(latency()).layer(headers()).layer(limit());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
        ("latency limit headers", {
            let stack = ServiceBuilder::new().layer(latency()).layer(limit()).layer(headers());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
        ("headers latency limit", {
            let stack = ServiceBuilder::new().layer(headers()).layer(latency()).layer(limit());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
        ("headers limit latency", {
            let stack = ServiceBuilder::new().layer(headers()).layer(limit()).layer(latency());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
        ("limit latency headers", {
            let stack = ServiceBuilder::new().layer(limit()).layer(latency()).layer(headers());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
        ("limit headers latency", {
            let stack = ServiceBuilder::new().layer(limit()).layer(headers()).layer(latency());
            BoxService::new(stack.service_fn(echo).map_response(|it| it.map(boxed)))
        }),
    ]
}

/// Returns `true` if `outer` stands outside of `inner`.
fn is_outside(order: &str, outer: &str, inner: &str) -> bool {
    order.find(outer) < order.find(inner)
}

#[tokio::test]
async fn a_request_passes_the_layers_in_any_order() {
    let metrics = Metrics::new();
    for (order, stack) in orders(&metrics) {
        let before = metrics.samples(DURATION).len();
        let body = Scripted::new([data(4), Step::Pending, data(6)]);
        let response = stack.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{order}");
        assert_eq!(response.headers().len(), 12, "{order}");
        assert_eq!(response.headers()["referrer-policy"], "origin", "{order}");
        assert_eq!(response.headers()["x-frame-options"], "SAMEORIGIN", "{order}");
        assert_eq!(text(response).await, "xxxxxxxxxx", "{order}");
        let samples = metrics.samples(DURATION);
        assert_eq!(samples.len(), before + 1, "{order}");
        assert!(samples.iter().all(|(labels, _)| labels["outcome"] == "ok"), "{order}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
    }
    assert_eq!(metrics.counted(REJECTED, &[]), 0);
}

#[tokio::test]
async fn declared_body_is_rejected_in_any_order() {
    let metrics = Metrics::new();
    for ((order, stack), refused) in orders(&metrics).into_iter().zip(1..) {
        let before = metrics.samples(DURATION).len();
        let body = Scripted::new([data(11)]).exact();
        let log = body.log();
        let response = stack.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 413, "{order}");
        assert_eq!(log.polls(), 0, "{order}");
        let stamped = response.headers().get("x-frame-options").is_some();
        assert_eq!(stamped, is_outside(order, "headers", "limit"), "{order}");
        assert!(text(response).await.contains("10 bytes"), "{order}");
        let samples = metrics.samples(DURATION);
        let measured = usize::from(is_outside(order, "latency", "limit"));
        assert_eq!(samples.len(), before + measured, "{order}");
        assert!(samples.iter().all(|(labels, _)| labels["status_code"] == "413"), "{order}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
        assert_eq!(metrics.counted(REJECTED, &[("reason", "body_too_large")]), refused, "{order}");
    }
}

#[tokio::test]
async fn streamed_body_is_rejected_in_any_order() {
    let metrics = Metrics::new();
    for (order, stack) in orders(&metrics) {
        let before = metrics.samples(DURATION).len();
        let body = Scripted::new([data(4), Step::Pending, data(7), data(1)]);
        let response = stack.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 413, "{order}");
        assert!(text(response).await.contains("10 bytes"), "{order}");
        let samples = metrics.samples(DURATION);
        assert_eq!(samples.len(), before + 1, "{order}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
    }
    let count = |status: &str| {
        let samples = metrics.samples(DURATION);
        samples.iter().filter(|(labels, _)| labels["status_code"] == status).count()
    };
    assert_eq!((count("413"), count("500")), (3, 3), "inside of limit it is the service's 500");
    assert_eq!(metrics.counted(REJECTED, &[]), 6);
}

#[tokio::test]
async fn failing_response_body_passes_all_layers() {
    let metrics = Metrics::new();
    let inner = service_fn(|_| {
        let body = Scripted::new([data(1), Step::Error(BoxError::from("broken"))]);
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let service = ServiceBuilder::new()
        .layer(LatencyLayer::new().recorder(metrics.recorder()))
        .layer(SecurityHeadersLayer::new())
        .layer(LimitLayer::new())
        .service(inner);
    let request = Request::get("/").body(full("")).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "broken");
    assert_eq!(metrics.sample(DURATION).0["outcome"], "body_error");
}

/// A page of HTML, as a whole or, for `/stream`, as a stream with trailers.
async fn pages<B>(request: Request<B>) -> Result<Response<BoxBody>, Infallible>
where
    B: Body,
{
    let path = request.uri().path().to_owned();
    if request.into_body().collect().await.is_err() {
        return Ok(Response::builder().status(500).body(full("the body broke")).unwrap());
    }
    let response = Response::builder().header("content-type", "text/html").header("etag", "\"1\"");
    let parts = [prose(5_000, 1).slice(..2_000), prose(5_000, 1).slice(2_000..)].map(Step::Data);
    Ok(match path.as_str() {
        "/stream" => {
            let steps = parts.into_iter().chain([Step::Pending, trailers()]);
            response.body(boxed(Scripted::<BoxError>::new(steps))).unwrap()
        }
        _ => response.body(full(prose(5_000, 1))).unwrap(),
    })
}

/// The four layers, in the order that the documentation recommends and in others.
fn compressing(metrics: &Metrics) -> Vec<(&'static str, Stack)> {
    let latency = || LatencyLayer::new().record_body_sizes().recorder(metrics.recorder());
    let limit = || LimitLayer::new().default_body(10).recorder(metrics.recorder());
    let headers = SecurityHeadersLayer::new;
    let compress = || CompressLayer::new().recorder(metrics.recorder());
    let stack = ServiceBuilder::new;
    vec![
        ("latency headers limit compress", {
            let stack = stack().layer(latency()).layer(headers()).layer(limit()).layer(compress());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("compress limit headers latency", {
            let stack = stack().layer(compress()).layer(limit()).layer(headers()).layer(latency());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("limit compress latency headers", {
            let stack = stack().layer(limit()).layer(compress()).layer(latency()).layer(headers());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("headers latency compress limit", {
            let stack = stack().layer(headers()).layer(latency()).layer(compress()).layer(limit());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
    ]
}

#[tokio::test]
async fn response_is_compressed_in_any_order() {
    for path in ["/whole", "/stream"] {
        let metrics = Metrics::new();
        let mut input = 0;
        for (order, stack) in compressing(&metrics) {
            let before = metrics.samples(RESPONSE_SIZE).len();
            let request = Request::get(path).header("accept-encoding", "gzip");
            let body = Scripted::new([data(4), Step::Pending, data(6)]);
            let response = stack.oneshot(request.body(body).unwrap()).await.unwrap();
            let (head, body) = response.into_parts();
            assert_eq!(head.headers["content-encoding"], "gzip", "{order} {path}");
            assert_eq!(head.headers["etag"], "\"1--gzip\"", "{order} {path}");
            assert_eq!(head.headers["vary"], "accept-encoding", "{order} {path}");
            assert_eq!(head.headers["x-frame-options"], "SAMEORIGIN", "{order} {path}");
            let exact = body.size_hint().exact();
            let collected = body.collect().await.unwrap();
            assert_eq!(collected.trailers().is_some(), path == "/stream", "{order}");
            let body = collected.to_bytes();
            assert_eq!(exact, (path == "/whole").then_some(body.len() as u64), "{order}");
            assert_eq!(gunzip(&body), prose(5_000, 1), "{order} {path}");
            input += 5_000;
            assert_eq!(metrics.counted(INPUT, &[("encoding", "gzip")]), input, "{order}");

            // What latency measures is what it stands outside of.
            let sizes = metrics.samples(RESPONSE_SIZE);
            assert_eq!(sizes.len(), before + 1, "{order}");
            let outside = is_outside(order, "latency", "compress");
            let size = if outside { body.len() as f64 } else { 5_000.0 };
            assert_eq!(sizes[before].1, size, "{order} {path}");
            assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
        }
        let samples = metrics.samples(DURATION);
        assert!(samples.iter().all(|(labels, _)| labels["outcome"] == "ok"), "{samples:?}");
    }
}

#[tokio::test]
async fn a_refusal_passes_compress_in_any_order() {
    let metrics = Metrics::new();
    for (order, stack) in compressing(&metrics) {
        let request = Request::post("/whole").header("accept-encoding", "gzip");
        let body = Scripted::new([data(4), Step::Pending, data(7)]);
        let response = stack.oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 413, "{order}");
        assert!(!response.headers().contains_key("content-encoding"), "{order}");
        assert!(text(response).await.contains("10 bytes"), "{order}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
    }
    assert_eq!(metrics.counted(REJECTED, &[]), 4);
}

#[tokio::test]
async fn dropped_compressed_stream_is_a_disconnect() {
    let metrics = Metrics::new();
    let inner = service_fn(|_| async {
        let body = Scripted::<BoxError>::new([Step::Data(prose(5_000, 1)), Step::PendingForever]);
        Response::builder().header("content-type", "text/html").body(body)
    });
    let service = ServiceBuilder::new()
        .layer(LatencyLayer::new().recorder(metrics.recorder()))
        .layer(CompressLayer::new())
        .service(inner);
    let request = Request::get("/").header("accept-encoding", "gzip").body(full("")).unwrap();
    let mut body = service.oneshot(request).await.unwrap().into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert_eq!(metrics.gauge(IN_FLIGHT), 1.0);
    drop(body);
    assert_eq!(metrics.sample(DURATION).0["outcome"], "disconnect");
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
}

#[tokio::test]
async fn opt_out_and_compressed_copies_stay_apart() {
    for opted_out_first in [false, true] {
        let inner = service_fn(|_| async {
            let response = Response::builder().header("content-type", "text/html");
            response.header("cache-control", "max-age=60").body(full(prose(5_000, 1)))
        });
        let service = ServiceBuilder::new()
            .layer(CacheLayer::new(MemoryStore::new(MIB)))
            .layer(CompressLayer::new())
            .service(inner);
        // The response to a request that opts out is not stored.
        let hits = if opted_out_first {
            ["fwd=uri-miss", "fwd=uri-miss", "fwd=vary-miss", "hit"]
        } else {
            ["fwd=uri-miss", "fwd=vary-miss", "hit", "fwd=vary-miss"]
        };
        let opted_out = [opted_out_first, !opted_out_first];
        for (opted_out, hit) in opted_out.into_iter().cycle().zip(hits) {
            let mut request = Request::get("http://a/").header("accept-encoding", "gzip");
            if opted_out {
                request = request.header("x-no-compression", "1");
            }
            let request = request.body(full("")).unwrap();
            let (head, body) = service.clone().oneshot(request).await.unwrap().into_parts();
            let status = head.headers["cache-status"].to_str().unwrap();
            assert!(status.starts_with(&format!("tower-kit; {hit};")), "{status}, not {hit}");
            assert_eq!(head.headers.get("content-encoding").is_none(), opted_out, "{status}");
            let body = body.collect().await.unwrap().to_bytes();
            let text = if opted_out { body.to_vec() } else { gunzip(&body) };
            assert_eq!(text, prose(5_000, 1), "{status}");
        }
    }
}

/// A layer over memory that is nearly full, or that has room.
fn pressure(metrics: &Metrics, is_full: bool) -> PressureLayer {
    let used = if is_full { 95 } else { 50 };
    PressureLayer::new()
        .memory_source(move || Ok(MemoryUsage::new(used, 100)))
        .recorder(metrics.recorder())
}

/// The layers with `pressure` among them, in the order that the documentation recommends and in
/// others.
fn shedding(metrics: &Metrics, is_full: bool) -> Vec<(&'static str, Stack)> {
    let latency = || LatencyLayer::new().recorder(metrics.recorder());
    let pressure = || pressure(metrics, is_full);
    let headers = SecurityHeadersLayer::new;
    let limit = || LimitLayer::new().default_body(10).recorder(metrics.recorder());
    let compress = || CompressLayer::new().recorder(metrics.recorder());
    let stack = ServiceBuilder::new;
    vec![
        ("latency pressure headers limit compress", {
            let stack = stack().layer(latency()).layer(pressure()).layer(headers());
            let stack = stack.layer(limit()).layer(compress());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("headers limit compress latency pressure", {
            let stack = stack().layer(headers()).layer(limit()).layer(compress());
            let stack = stack.layer(latency()).layer(pressure());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("pressure compress headers latency limit", {
            let stack = stack().layer(pressure()).layer(compress()).layer(headers());
            let stack = stack.layer(latency()).layer(limit());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
        ("compress limit pressure latency headers", {
            let stack = stack().layer(compress()).layer(limit()).layer(pressure());
            let stack = stack.layer(latency()).layer(headers());
            BoxService::new(stack.service_fn(pages).map_response(|it| it.map(boxed)))
        }),
    ]
}

#[tokio::test]
async fn request_is_shed_in_any_order() {
    let metrics = Metrics::new();
    for ((order, stack), refused) in shedding(&metrics, true).into_iter().zip(1..) {
        let before = metrics.samples(DURATION).len();
        let body = Scripted::new([data(4), Step::Pending, data(6)]);
        let log = body.log();
        let request = Request::post("/whole").header("accept-encoding", "gzip");
        let response = stack.oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503, "{order}");
        assert_eq!(log.polls(), 0, "{order}");
        assert_eq!(response.headers()["retry-after"], "10", "{order}");
        // What is left of the body is discarded.
        assert!(!response.headers().contains_key("connection"), "{order}");
        let stamped = response.headers().contains_key("x-frame-options");
        assert_eq!(stamped, is_outside(order, "headers", "pressure"), "{order}");
        assert!(text(response).await.starts_with("The service is overloaded"), "{order}");
        let samples = metrics.samples(DURATION);
        let measured = usize::from(is_outside(order, "latency", "pressure"));
        assert_eq!(samples.len(), before + measured, "{order}");
        assert!(samples.iter().all(|(labels, _)| labels["status_code"] == "503"), "{order}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "{order}");
        assert_eq!(metrics.counted(REJECTED, &[("layer", "pressure")]), refused, "{order}");
    }
}

#[tokio::test]
async fn one_layer_at_most_rejects_a_request() {
    let metrics = Metrics::new();
    for (order, stack) in shedding(&metrics, false) {
        let body = Scripted::new([data(4), Step::Pending, data(6)]);
        let request = Request::post("/whole").header("accept-encoding", "gzip");
        let response = stack.oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["content-encoding"], "gzip", "{order}");
        assert_eq!(gunzip(&body.collect().await.unwrap().to_bytes()), prose(5_000, 1), "{order}");
    }
    assert_eq!(metrics.counted(REJECTED, &[]), 0);
    for (order, stack) in shedding(&metrics, true) {
        let body = Scripted::new([data(11)]).exact();
        let response = stack.oneshot(Request::post("/").body(body).unwrap()).await.unwrap();
        let expected = if is_outside(order, "pressure", "limit") { 503 } else { 413 };
        assert_eq!(response.status(), expected, "{order}");
    }
    assert_eq!(metrics.counted(REJECTED, &[]), 4);
}

#[tokio::test(start_paused = true)]
async fn rejections_are_not_stored_and_hits_go_on() {
    let used = Arc::new(AtomicU64::new(95));
    let read = Arc::clone(&used);
    let pressure = PressureLayer::new()
        .memory_source(move || Ok(MemoryUsage::new(read.load(Ordering::SeqCst), 100)));
    let page = |_| async {
        let response = Response::builder().header("cache-control", "max-age=600");
        Ok::<_, Infallible>(response.body(Full::new(Bytes::from("a page"))).unwrap())
    };
    // As a service that is to be cached whatever it answers would be.
    let cache = || CacheLayer::with_ttl(MemoryStore::new(MIB), Duration::from_secs(600));
    let outside = ServiceBuilder::new().layer(cache()).layer(pressure.clone()).service_fn(page);
    let inside = ServiceBuilder::new().layer(pressure).layer(cache()).service_fn(page);
    let ask = async || {
        let request = || Request::get("/").header("host", "a").body(full("")).unwrap();
        let outside = outside.clone().oneshot(request()).await.unwrap().status().as_u16();
        (outside, inside.clone().oneshot(request()).await.unwrap().status().as_u16())
    };
    for (full, expected) in [(95, (503, 503)), (50, (200, 200)), (95, (200, 503))] {
        used.store(full, Ordering::SeqCst);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(ask().await, expected);
    }
}

/// A stack over [`personal`].
type Personal = BoxService<Request<Empty<Bytes>>, Response<BoxBody>, Infallible>;

/// Answers with what makes a response one that only its own client may get, by the path.
async fn personal(request: Request<Empty<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let nonce = request.extensions().get::<Nonce>().cloned();
    let mut response = Response::builder().header("cache-control", "max-age=60");
    let mut body = "the same for all".to_owned();
    match (request.uri().path(), nonce) {
        ("/nonce", Some(nonce)) => body = format!("<script nonce=\"{nonce}\">"),
        ("/changed", _) => {
            response = response.extension(Overrides::new().remove(X_FRAME_OPTIONS));
        }
        _ => {}
    }
    Ok(response.body(body.into()).unwrap())
}

/// Requests a path twice. Returns the heads and the bodies of both responses.
async fn twice(stack: impl Fn() -> Personal, path: &str) -> [(Response<()>, String); 2] {
    let mut answers = Vec::new();
    for _ in 0..2 {
        let request = Request::get(path).header("host", "a").body(Empty::new()).unwrap();
        let (head, body) = stack().oneshot(request).await.unwrap().into_parts();
        let body = text(Response::new(body)).await;
        answers.push((Response::from_parts(head, ()), body));
    }
    answers.try_into().unwrap()
}

type Make = Box<dyn Fn() -> Personal>;

/// The cache inside of the security headers, and outside of them.
fn with_nonces() -> [(&'static str, Make); 2] {
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let headers = SecurityHeadersLayer::new().set(policy).unwrap();
    let cache = || CacheLayer::new(MemoryStore::new(MIB));
    let inside = ServiceBuilder::new().layer(headers.clone()).layer(cache());
    let outside = ServiceBuilder::new().layer(cache()).layer(headers);
    let (inside, outside) = (inside.service_fn(personal), outside.service_fn(personal));
    [
        ("headers cache", {
            Box::new(move || BoxService::new(inside.clone().map_response(|it| it.map(boxed))))
        }),
        ("cache headers", {
            Box::new(move || BoxService::new(outside.clone().map_response(|it| it.map(boxed))))
        }),
    ]
}

#[tokio::test]
async fn a_response_whose_nonce_was_used_is_never_kept() {
    for (order, stack) in with_nonces() {
        let answers = twice(stack, "/nonce").await;
        assert_ne!(answers[0].1, answers[1].1, "{order}");
        for (response, body) in &answers {
            let status = response.headers()["cache-status"].to_str().unwrap();
            assert!(status.ends_with("; detail=for-one-request"), "{order}: {status}");
            let nonce = body.split('"').nth(1).unwrap();
            assert_eq!(nonce.len(), 22, "{order}: {body}");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            let sent = format!("script-src 'self' 'nonce-{nonce}';");
            assert!(policy.contains(&sent), "{order}: {policy}");
        }
    }
}

/// A body that asks for the nonce when it is first polled.
struct Late(Option<Nonce>);

impl Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame =
            |nonce: Nonce| Ok(Frame::data(Bytes::from(format!("nonce={:?}", nonce.as_str()))));
        Poll::Ready(self.0.take().map(frame))
    }
}

#[tokio::test]
async fn response_with_a_nonce_in_its_body_is_not_kept() {
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let headers = SecurityHeadersLayer::new().set(policy).unwrap();
    let cache = CacheLayer::new(MemoryStore::new(MIB));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let page = service_fn(move |request: Request<Empty<Bytes>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().header("cache-control", "max-age=60");
        let body = Late(request.extensions().get().cloned());
        std::future::ready(Ok::<_, Infallible>(response.body(body).unwrap()))
    });
    let stack = ServiceBuilder::new().layer(headers).layer(cache).service(page);
    for times in 1..=3 {
        let request = Request::get("/").header("host", "a").body(Empty::new()).unwrap();
        let response = stack.clone().oneshot(request).await.unwrap();
        assert!(text(response.map(boxed)).await.starts_with("nonce="));
        assert_eq!(asked.load(Ordering::SeqCst), times);
    }
}

#[tokio::test]
async fn response_with_a_used_nonce_is_not_stored() {
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let headers = SecurityHeadersLayer::new().set(policy).unwrap();
    let before = |mut response: Response<Full<Bytes>>| {
        let name = "content-security-policy";
        let own = response.headers_mut().remove(name).unwrap();
        response.headers_mut().append(name, "upgrade-insecure-requests".parse().unwrap());
        response.headers_mut().append(name, own);
        response
    };
    let stack = ServiceBuilder::new()
        .layer(CacheLayer::new(MemoryStore::new(MIB)))
        .map_response(before)
        .layer(headers)
        .service_fn(personal);
    let stack = || BoxService::new(stack.clone().map_response(|it| it.map(boxed)));
    let [(_, first), (_, second)] = twice(stack, "/nonce").await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn response_with_an_unused_nonce_is_stored() {
    for (order, stack) in with_nonces() {
        for (response, body) in twice(&stack, "/").await {
            assert_eq!(body, "the same for all");
            let policy = response.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.contains(";script-src 'self';"), "{order}: {policy}");
        }
        let [_, (second, _)] = twice(stack, "/").await;
        let status = second.headers()["cache-status"].to_str().unwrap();
        assert!(status.contains("; hit"), "{order}: {status}");
    }
}

#[tokio::test]
async fn changed_headers_are_changed_on_each_hit() {
    for (order, stack) in with_nonces() {
        let [_, (second, _)] = twice(stack, "/changed").await;
        assert!(!second.headers().contains_key("x-frame-options"), "{order}");
        assert!(second.headers().contains_key("x-content-type-options"), "{order}");
        let status = second.headers()["cache-status"].to_str().unwrap();
        let kept = is_outside(order, "cache", "headers");
        assert_eq!(status.contains("; hit"), kept, "{order}: {status}");
    }
}

/// The cache asks again in the background, for a page whose client has its answer already: its
/// nonce comes too late, and the page must not be kept for all others.
#[tokio::test(start_paused = true)]
async fn a_page_whose_nonce_came_too_late_is_not_kept() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let page = service_fn(move |request: Request<Empty<Bytes>>| {
        let nonce = request.extensions().get::<Nonce>().unwrap().clone();
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            let (body, again) = match first {
                true => ("the same for all".to_owned(), "max-age=1, stale-while-revalidate=60"),
                false => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    (format!("<script nonce=\"{nonce}\">"), "max-age=60")
                }
            };
            let response = Response::builder().header("cache-control", again);
            Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
        }
    });
    let policy = Csp::helmet().append(Directive::SCRIPT_SRC, [Source::NONCE]);
    let headers = SecurityHeadersLayer::new().set(policy).unwrap();
    let now = Arc::new(AtomicU64::new(1 << 30));
    let read = Arc::clone(&now);
    let clock = move || UNIX_EPOCH + Duration::from_secs(read.load(Ordering::SeqCst));
    let cache = CacheLayer::new(MemoryStore::new(MIB)).clock(clock);
    let stack = ServiceBuilder::new().layer(headers).layer(cache).service(page);
    let ask = async || {
        let request = Request::get("/").header("host", "a").body(Empty::new()).unwrap();
        text(stack.clone().oneshot(request).await.unwrap().map(boxed)).await
    };
    assert_eq!(ask().await, "the same for all");
    now.fetch_add(2, Ordering::SeqCst);
    assert_eq!(ask().await, "the same for all");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // Were it kept, this would be a hit, with a nonce that is empty.
    let page = ask().await;
    assert!(page == "the same for all" || page.len() == "<script nonce=\"\">".len() + 22, "{page}");
}
