//! Limits of some requests only.

use std::time::Duration;

use http::Request;
use tower_kit::limit::LimitLayer;

use super::{max_body, rejections, scripted, send};
use crate::support::{Metrics, data};

#[tokio::test]
async fn path_templates_select_the_limits() {
    let layer = max_body(10)
        .for_paths(["/upload", "/items/{id}/photo"], &max_body(20))
        .for_paths(["/upload", "/files/{*path}"], &max_body(30));
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
        for (len, expected) in [(limit, 200), (limit + 1, 413)] {
            let request = Request::post(uri).header("content-length", len);
            let request = request.body(scripted([data(1)])).unwrap();
            assert_eq!(send(&layer, request).await.status(), expected, "{uri} {len}");
        }
    }
}

#[tokio::test]
async fn overrides_replace_all_limits() {
    let long = format!("/{}", "a".repeat(99));
    let other = LimitLayer::new().uri(100).max_drain(0).min_data_rate(1, Duration::from_secs(1));
    let metrics = Metrics::new();
    let layer = max_body(1)
        .uri(50)
        .recorder(metrics.recorder())
        .response(|rejection| {
            let mut response = rejection.to_response();
            response.headers_mut().insert("x-rejected", 1.into());
            response
        })
        .for_requests_if(|request| request.headers.contains_key("x-other"), &other);
    for (uri, is_other, len, expected) in [
        (&*long, false, 1, 414),
        (&*long, true, 1, 200),
        ("/", false, 2, 413),
        // Limits that the override does not set have their defaults.
        ("/", true, 2_097_152, 200),
        ("/", true, 2_097_153, 413),
    ] {
        let mut request = Request::post(uri).header("content-length", len);
        if is_other {
            request = request.header("x-other", "1");
        }
        let response = send(&layer, request.body(scripted([data(1)])).unwrap()).await;
        assert_eq!(response.status(), expected, "{is_other} {len}");
        let is_outer = response.headers().contains_key("x-rejected");
        assert_eq!(is_outer, expected != 200, "the outer layer creates the response");
    }
    assert_eq!(rejections(&metrics, "body_too_large"), 2);
    assert_eq!(rejections(&metrics, "uri_too_long"), 1);
}

#[tokio::test]
async fn clones_of_a_layer_change_independently() {
    let strict = max_body(1_000);
    let loose = strict.clone().default_body(2_000);
    for (layer, expected) in [(&strict, 413), (&loose, 200)] {
        let request = Request::post("/").header("content-length", 1_500);
        let response = send(layer, request.body(scripted([data(1)])).unwrap()).await;
        assert_eq!(response.status(), expected);
    }
}
