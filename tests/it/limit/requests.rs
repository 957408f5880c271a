//! Limits of some requests alone.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::limit::{LimitLayer, RequestBody};

use crate::support::{Metrics, empty};

async fn status(layer: &LimitLayer, uri: &str, len: u64) -> u16 {
    let inner = |_: Request<RequestBody<Full<Bytes>>>| async {
        Ok::<_, std::convert::Infallible>(http::Response::new(empty()))
    };
    let request = Request::post(uri)
        .version(Version::HTTP_11)
        .header("content-length", len)
        .body(Full::from("x"))
        .unwrap();
    layer.layer(service_fn(inner)).oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn paths_are_compared_with_templates() {
    let layer = LimitLayer::new()
        .default_body(10)
        .for_paths(["/upload", "/items/{id}/photo"], &LimitLayer::new().default_body(20))
        .for_paths(["/upload", "/files/{*path}"], &LimitLayer::new().default_body(30));
    for (uri, limit) in [
        ("/", 10),
        ("/upload", 20),
        ("/upload?a=/files/b", 20),
        ("http://h/upload", 20),
        ("/items/7/photo", 20),
        ("/items//photo", 10),
        ("/files/a/b", 30),
        ("/files/", 10),
        ("/upload/", 10),
        ("/Upload", 10),
        ("/%75pload", 10),
        ("/a/../upload", 10),
        ("//upload", 10),
    ] {
        assert_eq!(status(&layer, uri, limit).await, 200, "{uri}");
        assert_eq!(status(&layer, uri, limit + 1).await, 413, "{uri}");
    }
}

#[tokio::test]
async fn all_limits_of_a_request_are_the_other_ones() {
    let long = format!("/{}", "a".repeat(99));
    let other = LimitLayer::new().uri(100).max_drain(0).min_data_rate(1, Duration::from_secs(1));
    let metrics = Metrics::new();
    let layer = LimitLayer::new()
        .uri(50)
        .default_body(1)
        .recorder(metrics.recorder())
        .response(|refusal| {
            let mut response = refusal.to_response();
            response.headers_mut().insert("x-refused", 1.into());
            response
        })
        .for_requests_if(|request| request.headers.contains_key("x-other"), &other);
    let ask = |uri: &str, other: bool, len: u64| {
        let mut request = Request::post(uri).header("content-length", len);
        if other {
            request = request.header("x-other", "1");
        }
        let inner = |_: Request<RequestBody<Full<Bytes>>>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(empty()))
        };
        layer.layer(service_fn(inner)).oneshot(request.body(Full::from("x")).unwrap())
    };
    for (uri, other, len, expected) in [
        (&*long, false, 1, 414),
        (&*long, true, 1, 200),
        ("/", false, 2, 413),
        // What the other limits do not set is at its default.
        ("/", true, 2_097_152, 200),
        ("/", true, 2_097_153, 413),
    ] {
        let response = ask(uri, other, len).await.unwrap();
        assert_eq!(response.status().as_u16(), expected, "{other} {len}");
        let refused = response.headers().contains_key("x-refused");
        assert_eq!(refused, expected != 200, "the outer layer makes the response");
    }
    let counted = |reason| metrics.counted("http_requests_rejected_total", &[("reason", reason)]);
    assert_eq!((counted("body_too_large"), counted("uri_too_long")), (2, 1));
}
