//! Limits of the URI and the headers.

use http::{Request, Version};
use http_body_util::Empty;
use tower::ServiceBuilder;
use tower_kit::limit::{LimitLayer, Size};

use super::{reads, rejections, send};
use crate::support::{BoxBody, Metrics, Server, empty, full, h1_client, h2_client};

fn get(uri: &str) -> http::request::Builder {
    Request::get(uri)
}

async fn status(layer: &LimitLayer, request: http::request::Builder) -> u16 {
    send::<Empty<_>>(layer, request.body(empty()).unwrap()).await.status().as_u16()
}

#[tokio::test]
async fn uris_over_the_limit_get_414() {
    for (len, expected) in [(8_192, 200), (8_193, 414)] {
        let uri = format!("/{}?q={}", "a".repeat(4_000), "b".repeat(len - 4_004));
        assert_eq!(uri.len(), len);
        assert_eq!(status(&LimitLayer::new(), get(&uri)).await, expected, "{len}");
    }
}

#[tokio::test]
async fn scheme_and_authority_count() {
    let layer = LimitLayer::new().uri(20);
    for (uri, expected) in [("http://h.example/abc", 200), ("http://h.example/abcd", 414)] {
        assert_eq!(status(&layer, get(uri).version(Version::HTTP_2)).await, expected, "{uri}");
    }
    assert_eq!(status(&layer, get("*")).await, 200);
}

#[tokio::test]
async fn header_lines_over_the_limit_get_431() {
    for (count, expected) in [(100, 200), (101, 431)] {
        let same = (0..count).fold(get("/"), |it, _| it.header("x-a", ""));
        let different = (0..count).fold(get("/"), |it, n| it.header(format!("x-{n}"), ""));
        for request in [same, different] {
            assert_eq!(status(&LimitLayer::new(), request).await, expected, "{count}");
        }
    }
}

#[tokio::test]
async fn header_bytes_over_the_limit_get_431() {
    // Two lines: 2 * (3 + 4) + 16,370 = 16,384.
    for (len, expected) in [(16_370, 200), (16_371, 431)] {
        let request = get("/").header("x-a", "b".repeat(10)).header("x-a", "b".repeat(len - 10));
        assert_eq!(status(&LimitLayer::new(), request).await, expected, "{len}");
    }
}

#[tokio::test]
async fn all_limits_of_the_head_can_be_lifted() {
    let lifted = LimitLayer::new()
        .uri(Size::UNLIMITED)
        .header_bytes(Size::UNLIMITED)
        .header_count(Size::UNLIMITED);
    for (layer, expected) in [
        (lifted.clone(), 200),
        (lifted.clone().uri(20_000), 414),
        (lifted.clone().header_count(199), 431),
        (lifted.header_bytes(200 * 200), 431),
    ] {
        let request = get(&format!("/{}", "a".repeat(20_000)));
        let value = "b".repeat(200);
        let request = (0..200).fold(request, |it, n| it.header(format!("x-{n}"), &value));
        assert_eq!(status(&layer, request).await, expected);
    }
}

/// A GET with `cookies` lines of cookies and `others` other lines.
fn with_cookies(url: &str, cookies: usize, others: usize) -> Request<BoxBody> {
    let request = (0..cookies).fold(get(url), |it, n| it.header("cookie", format!("k{n}=v")));
    let request = (0..others).fold(request, |it, n| it.header(format!("x-{n}"), ""));
    request.body(full("")).unwrap()
}

#[tokio::test]
async fn browsers_with_many_cookies_are_admitted() {
    let metrics = Metrics::new();
    let layer = LimitLayer::new().recorder(metrics.recorder());
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await;
    let client = h2_client();
    for (cookies, others, expected) in
        [(1, 0, 200), (101, 0, 200), (180, 0, 200), (180, 99, 200), (180, 100, 431), (0, 101, 431)]
    {
        let request = with_cookies(&server.url("/"), cookies, others);
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{cookies} cookies and {others} others");
    }
    assert_eq!(rejections(&metrics, "too_many_headers"), 2);
}

#[tokio::test]
async fn cookie_lines_of_http_1_count_each() {
    // RFC 6265 §5.4: there is one line. hyper itself accepts at most 100.
    let layer = LimitLayer::new().header_count(50);
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(reads)).await;
    for (cookies, expected) in [(1, 200), (60, 431)] {
        let request = with_cookies(&server.url("/"), cookies, 0);
        let response = h1_client().request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{cookies} cookies");
    }
}
