//! The responses to rejected requests.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use http_body::Body;
use tower::{Layer, Service, service_fn};
use tower_kit::limit::{LimitLayer, Reason};

use super::{REJECTED, is_closed, max_body, post, reads, rejections, scripted, send};
use crate::support::{Metrics, data, empty, full, now, status, text};

/// A request for each reason that the head alone causes: its label, status and title.
fn rejected_heads() -> [(&'static str, u16, &'static str, http::request::Builder); 5] {
    const HEADERS: &str = "Request Header Fields Too Large";
    let long = format!("/{}", "a".repeat(9_000));
    let many = (0..101).fold(post(), |it, _| it.header("x-a", "b"));
    [
        ("body_too_large", 413, "Content Too Large", post().header("content-length", 3_000_000)),
        ("uri_too_long", 414, "URI Too Long", Request::post(long)),
        ("headers_too_large", 431, HEADERS, post().header("x-a", "b".repeat(17_000))),
        ("too_many_headers", 431, HEADERS, many),
        // No request may break out of the JSON.
        ("invalid_content_length", 400, "Bad Request", post().header("content-length", "\"},{\"")),
    ]
}

fn too_large() -> http::request::Builder {
    post().header("content-length", 3_000_000)
}

#[tokio::test]
async fn every_reason_has_a_complete_response() {
    for (reason, code, _, request) in rejected_heads() {
        let metrics = Metrics::new();
        let layer = LimitLayer::new().max_drain(0).recorder(metrics.recorder());
        let response = send(&layer, request.body(scripted([])).unwrap()).await;
        assert_eq!(response.status(), code, "{reason}");
        assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8", "{reason}");
        assert!(is_closed(response.headers()), "{reason}");
        let length = response.body().size_hint().exact();
        let body = text(response).await;
        assert_eq!(length, Some(body.len() as u64), "{reason}");
        assert!(body.ends_with('\n') && body.lines().count() == 1, "{reason}: {body:?}");
        let labels = [("layer", "limit"), ("reason", reason)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(metrics.counter_labels(REJECTED), [labels.into()], "{reason}");
        assert_eq!(metrics.counted(REJECTED, &[]), 1, "{reason}");
        assert!(!metrics.described()[REJECTED].1.is_empty(), "the counter is described");
    }
}

#[tokio::test]
async fn every_reason_has_problem_details() {
    for (reason, code, title, request) in rejected_heads() {
        let request = request.header("accept", "text/html").body(scripted([])).unwrap();
        let response = send(&LimitLayer::new().problem_json(), request).await;
        assert_eq!(response.status(), code, "{reason}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["status"], code);
        assert_eq!(problem["title"], title);
        // RFC 9457 §3.1.1: the default type.
        assert_eq!(problem["type"].as_str().unwrap_or("about:blank"), "about:blank");
        assert!(problem["detail"].is_string());
    }
}

#[tokio::test]
async fn clients_that_accept_json_get_problem_details() {
    let json = "application/problem+json";
    let plain = "text/plain; charset=utf-8";
    let cases: [(&[&str], &str); 12] = [
        (&["application/json"], json),
        (&["application/problem+json"], json),
        (&["Application/JSON; q=0.9, text/html"], json),
        (&["text/html", "application/json"], json),
        (&["text/html,application/json;q=0.001"], json),
        (&[], plain),
        (&["*/*"], plain),
        (&["application/*"], plain),
        (&["text/html"], plain),
        (&["application/json;q=0"], plain),
        (&["application/json; Q=0.000"], plain),
        (&["application/jsonp"], plain),
    ];
    for (lines, expected) in cases {
        let request = lines.iter().fold(too_large(), |it, line| it.header("accept", *line));
        let response = send(&LimitLayer::new(), request.body(scripted([])).unwrap()).await;
        assert_eq!(response.headers()["content-type"], expected, "{lines:?}");
    }
}

#[tokio::test]
async fn admitted_requests_are_not_counted() {
    let metrics = Metrics::new();
    let layer = LimitLayer::new().recorder(metrics.recorder());
    assert_eq!(send(&layer, post().body(full("x")).unwrap()).await.status(), 200);
    assert_eq!(metrics.counted(REJECTED, &[]), 0);
}

#[test]
fn the_global_recorder_is_the_default() {
    let mut service = max_body(0).layer(service_fn(reads));
    let metrics = Metrics::new();
    let request = post().body(full("x")).unwrap();
    let response =
        metrics::with_local_recorder(&*metrics.recorder(), || now(service.call(request)));
    assert_eq!(response.unwrap().status(), 413);
    assert_eq!(rejections(&metrics, "body_too_large"), 1);
}

#[tokio::test]
async fn grpc_calls_get_a_grpc_status() {
    let streamed = ("body_too_large", 413, "", post());
    for (reason, code, _, request) in rejected_heads().into_iter().chain([streamed]) {
        let metrics = Metrics::new();
        // gRPC clients cannot read JSON.
        let layer = LimitLayer::new().problem_json().recorder(metrics.recorder());
        let request =
            request.version(Version::HTTP_2).header("content-type", "application/grpc+proto");
        let body = scripted([data(2_097_152), data(1)]);
        let response = send(&layer, request.body(body).unwrap()).await;
        assert_eq!(response.status(), 200, "{reason}");
        assert_eq!(response.headers()["content-type"], "application/grpc", "{reason}");
        let grpc_status = if code == 400 { "13" } else { "8" };
        assert_eq!(response.headers()["grpc-status"], grpc_status, "{reason}");
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(message.starts_with("The ") && message.ends_with('.'), "{reason}: {message}");
        assert!(!message.contains('%'), "{reason}: {message}");
        assert_eq!(response.headers().len(), 3, "{reason}");
        assert!(response.body().is_end_stream(), "the headers are the trailers: {reason}");
        assert_eq!(rejections(&metrics, reason), 1, "{reason}");
    }
}

#[tokio::test]
async fn a_callback_replaces_grpc_responses() {
    let layer = LimitLayer::new().response(|rejection| {
        assert_eq!(rejection.status(), 413);
        let mut response = rejection.to_response();
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("own"));
        response
    });
    let request = too_large().version(Version::HTTP_2).header("content-type", "application/grpc");
    let response = send(&layer, request.body(scripted([])).unwrap()).await;
    assert_eq!(response.headers()["grpc-status"], "8");
    assert_eq!(response.headers()["grpc-message"], "own");
}

#[tokio::test]
async fn a_callback_replaces_responses() {
    let layer = max_body(10).max_drain(0).response(|rejection| {
        assert_eq!(rejection.reason(), Reason::BodyTooLarge);
        assert_eq!(rejection.reason().as_str(), "body_too_large");
        assert_eq!((rejection.status(), rejection.limit()), (status(413), Some(10)));
        Response::builder().status(418).header("x-own", "1").body("own".into()).unwrap()
    });
    let declared = post().header("content-length", 11).body(scripted([]));
    let streamed = post().body(scripted([data(11)]));
    for request in [declared, streamed] {
        let response = send(&layer, request.unwrap()).await;
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["x-own"], "1");
        assert!(is_closed(response.headers()), "the layer adds the header");
        assert!(!response.headers().contains_key("content-type"));
        assert_eq!(text(response).await, "own");
    }
}

#[tokio::test]
async fn a_callback_extends_the_default_response() {
    let layer = LimitLayer::new().response(|rejection| {
        let mut response: Response<Bytes> = rejection.to_response();
        response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        response
    });
    let request = || too_large().header("accept", "application/json").body(scripted([])).unwrap();
    let response = send(&layer, request()).await;
    assert_eq!(response.headers()["x-own"], "1");
    let expected = text(send(&LimitLayer::new(), request()).await).await;
    assert_eq!(text(response).await, expected);
}

#[tokio::test]
async fn only_http_1_closes_the_connection() {
    for (version, expected) in [
        (Version::HTTP_10, true),
        (Version::HTTP_11, true),
        (Version::HTTP_2, false),
        (Version::HTTP_3, false),
    ] {
        let request = post().version(version).header("content-length", 10_u64 << 30);
        let response = send(&LimitLayer::new(), request.body(scripted([])).unwrap()).await;
        assert_eq!(is_closed(response.headers()), expected, "{version:?}");
    }
    let bodiless = Request::get(format!("/{}", "a".repeat(9_000))).body(empty()).unwrap();
    let response = send(&LimitLayer::new(), bodiless).await;
    assert_eq!(response.status(), 414);
    assert!(!is_closed(response.headers()));
}
