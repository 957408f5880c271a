//! The crumbs of a browser's cookies over HTTP/2.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::ServiceBuilder;
use tower_kit::limit::{LimitLayer, RequestBody};

use crate::support::{Metrics, Server, full, h1_client, h2_client};

async fn hello(_: Request<RequestBody<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::default())
}

/// A GET with this many lines of cookies, and as many of others.
fn get(url: &str, cookies: usize, others: usize) -> Request<crate::support::BoxBody> {
    let mut request = Request::get(url);
    for n in 0..cookies {
        request = request.header("cookie", format!("k{n}=v"));
    }
    for n in 0..others {
        request = request.header(format!("x-{n}"), "");
    }
    request.body(full("")).unwrap()
}

#[tokio::test]
async fn a_browser_with_many_cookies_is_let_in() {
    let metrics = Metrics::new();
    let layer = LimitLayer::new().recorder(metrics.recorder());
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(hello)).await;
    let client = h2_client();
    for (cookies, others, expected) in
        [(1, 0, 200), (101, 0, 200), (180, 0, 200), (180, 99, 200), (180, 100, 431), (0, 101, 431)]
    {
        let response = client.request(get(&server.url("/"), cookies, others)).await.unwrap();
        assert_eq!(response.status(), expected, "{cookies} cookies and {others} others");
    }
    let refused =
        metrics.counted("http_requests_rejected_total", &[("reason", "too_many_headers")]);
    assert_eq!(refused, 2);
}

#[tokio::test]
async fn cookie_lines_of_http_1_count_each() {
    // RFC 6265 §5.4: there is one line. 60 of them and as many others pass hyper's own bound of 100
    // only where they are fewer.
    let layer = LimitLayer::new().header_count(50);
    let server = Server::start(ServiceBuilder::new().layer(layer).service_fn(hello)).await;
    for (cookies, expected) in [(1, 200), (60, 431)] {
        let response = h1_client().request(get(&server.url("/"), cookies, 0)).await.unwrap();
        assert_eq!(response.status(), expected, "{cookies} cookies");
    }
}
