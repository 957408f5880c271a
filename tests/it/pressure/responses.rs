//! Responses to shed requests.

use http::{HeaderValue, Request, Version};
use http_body::{Body, SizeHint};
use tower::{Layer, service_fn};
use tower_kit::pressure::Level;

use super::{MILLISECOND, Memory, SECOND, ServiceResponse, hello, send};
use crate::support::{
    BoxError, Scripted, Server, data, empty, full, h1_client, h2_client, soon, text,
};

/// Checks that a response has these headers and no others.
fn check_headers(response: &ServiceResponse, expected: &[(&str, &str)]) {
    assert_eq!(response.headers().len(), expected.len(), "{:?}", response.headers());
    for (name, value) in expected {
        assert_eq!(response.headers()[*name], value);
    }
}

/// Returns a request body that is too long to be drained.
fn endless() -> Scripted<BoxError> {
    Scripted::new([data(1)]).hint(&SizeHint::with_exact(10 << 30))
}

#[tokio::test(start_paused = true)]
async fn response_says_when_to_retry() {
    let layer = Memory::new(950).layer();
    let response = send(&layer, Request::new(empty())).await;
    assert_eq!(response.status(), 503);
    let mut headers = [
        ("retry-after", "10"),
        ("cache-control", "no-store"),
        ("content-type", "text/plain; charset=utf-8"),
        ("vary", "accept"),
    ];
    check_headers(&response, &headers);
    assert_eq!(text(response).await, "The service is overloaded: try again in 10 seconds.\n");
    headers[0].1 = "3";
    let layer = layer.shed_duration(2_500 * MILLISECOND);
    check_headers(&send(&layer, Request::new(empty())).await, &headers);
}

#[tokio::test(start_paused = true)]
async fn problem_json_is_negotiated_or_set() {
    let layer = Memory::new(950).layer();
    let json = layer.clone().problem_json();
    let accepts = || Request::get("/").header("accept", "application/json").body(empty()).unwrap();
    for response in [send(&layer, accepts()).await, send(&json, Request::new(empty())).await] {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["retry-after"], "10");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
    }
}

#[tokio::test(start_paused = true)]
async fn grpc_call_gets_a_grpc_status() {
    let layer = Memory::new(950).layer().problem_json();
    let call = Request::post("/a.Service/Method").version(Version::HTTP_2);
    let call = call.header("content-type", "application/grpc").body(empty()).unwrap();
    let response = send(&layer, call).await;
    assert_eq!(response.status(), 200);
    let headers = [
        ("content-type", "application/grpc"),
        ("grpc-status", "14"),
        ("grpc-message", "The service is overloaded: try again in 10 seconds."),
        ("retry-after", "10"),
        ("grpc-retry-pushback-ms", "10000"),
        ("cache-control", "no-store"),
    ];
    check_headers(&response, &headers);
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn custom_response_is_completed() {
    let layer = Memory::new(950).layer().response(|rejection| {
        assert_eq!((rejection.level(), rejection.retry_after()), (Level::Critical, 10 * SECOND));
        let mut response = rejection.to_response().map(|_| "own".into());
        response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        response
    });
    let response = send(&layer, Request::post("/").body(endless()).unwrap()).await;
    assert_eq!(response.headers()["x-own"], "1");
    assert_eq!(response.headers()["retry-after"], "10");
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(text(response).await, "own");
    let head = send(&layer, Request::head("/").body(empty()).unwrap()).await;
    assert!(head.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn http_1_closes_for_an_unread_body() {
    let layer = Memory::new(950).layer();
    for (version, expected) in [
        (Version::HTTP_10, true),
        (Version::HTTP_11, true),
        (Version::HTTP_2, false),
        (Version::HTTP_3, false),
    ] {
        let body = endless();
        let log = body.log();
        let request = Request::post("/").version(version).body(body).unwrap();
        let response = send(&layer, request).await;
        let close = response.headers().get("connection").is_some_and(|value| value == "close");
        assert_eq!(close, expected, "{version:?}");
        assert_eq!(log.polls(), 0, "the response waited for the body");
    }
    let response = send(&layer, Request::get("/").body(empty()).unwrap()).await;
    assert!(!response.headers().contains_key("connection"));
}

#[tokio::test(start_paused = true)]
async fn response_to_head_has_no_body() {
    let layer = Memory::new(950).layer();
    let response = send(&layer, Request::head("/").body(empty()).unwrap()).await;
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "10");
    assert_eq!(text(response).await, "");
}

#[tokio::test]
async fn real_clients_are_shed_and_admitted_again() {
    let memory = Memory::new(950);
    let layer = memory.layer().interval(std::time::Duration::ZERO);
    let server = Server::start(layer.layer(service_fn(hello))).await;
    for client in [h1_client(), h2_client()] {
        let post = || Request::post(server.url("/")).body(full(vec![0; 100_000])).unwrap();
        memory.set(950);
        let until = async |status| loop {
            let response = soon(client.request(post())).await.unwrap();
            if response.status() == status {
                break response;
            }
        };
        let response = until(http::StatusCode::SERVICE_UNAVAILABLE).await;
        assert_eq!(response.headers()["retry-after"], "10");
        assert!(text(response).await.starts_with("The service is overloaded"));
        let health = Request::get(server.url("/healthz")).body(full("")).unwrap();
        assert_eq!(soon(client.request(health)).await.unwrap().status(), 200);
        memory.set(100);
        assert_eq!(text(until(http::StatusCode::OK).await).await, "hello");
    }
}
