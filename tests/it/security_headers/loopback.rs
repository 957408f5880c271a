//! Hosts of the own machine, to which the layer sends no header that asks for HTTPS.

use std::convert::Infallible;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Layer, service_fn};
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, Hsts, LOOPBACK_HOSTS, Overrides};

use crate::support::{Server, boxed, empty, h1_client, h2_client, soon};

const HSTS: &str = "max-age=31536000; includeSubDomains";
const UPGRADE: &str = ";upgrade-insecure-requests";

async fn hello(_: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    Ok(Response::default())
}

/// Returns `true` for HSTS and `true` for a policy that asks for HTTPS.
fn learned(headers: &HeaderMap) -> (bool, bool) {
    let policy = headers["content-security-policy"].to_str().unwrap();
    let hsts = headers.get(STRICT_TRANSPORT_SECURITY);
    assert!(hsts.is_none_or(|value| value == HSTS));
    (hsts.is_some(), policy.ends_with(UPGRADE))
}

#[tokio::test]
async fn loopback_hosts_get_no_https_headers() {
    let layer = SecurityHeadersLayer::new().http_hosts(LOOPBACK_HOSTS).unwrap();
    let server = Server::start(layer.layer(service_fn(hello))).await;
    let port = server.addr.port();
    for client in [h1_client(), h2_client()] {
        for (host, expected) in [("127.0.0.1", (false, false)), ("localhost", (false, false))] {
            let request = Request::get(format!("http://{host}:{port}/"));
            let request = request.body(boxed(empty())).unwrap();
            let response = soon(client.request(request)).await.unwrap();
            assert_eq!(learned(response.headers()), expected, "{host} {:?}", response.version());
        }
    }
    // Over HTTP/1 the header `host` decides, and not the address of the connection.
    for (host, expected) in [
        ("example.com", (true, true)),
        ("app.localhost:3000", (false, false)),
        ("[::1]:3000", (false, false)),
        ("localhost.example.com", (true, true)),
    ] {
        let request = Request::get(server.url("/")).header("host", host);
        let request = request.body(boxed(empty())).unwrap();
        let response = soon(h1_client().request(request)).await.unwrap();
        assert_eq!(learned(response.headers()), expected, "{host}");
    }
}

#[tokio::test]
async fn every_host_gets_https_headers_by_default() {
    let server = Server::start(SecurityHeadersLayer::new().layer(service_fn(hello))).await;
    for client in [h1_client(), h2_client()] {
        let request = Request::get(server.url("/")).body(boxed(empty())).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        assert_eq!(learned(response.headers()), (true, true));
    }
}

#[tokio::test]
async fn http_hosts_hold_beside_other_conditions() {
    let layer = || SecurityHeadersLayer::new().http_hosts(["localhost"]).unwrap();
    let own = Overrides::new()
        .set(Hsts::new(std::time::Duration::from_secs(60)))
        .and_then(|own| own.extend(Csp::new().flag(Directive::UPGRADE_INSECURE_REQUESTS)))
        .unwrap();
    let handler = service_fn(move |_: Request<Incoming>| {
        let mut response = Response::new(Full::<bytes::Bytes>::default());
        response.extensions_mut().insert(own.clone());
        async { Ok::<_, Infallible>(response) }
    });
    for (layer, host, expected) in [
        (layer().https_if(|_| true), "localhost", false),
        (layer().https_if(|_| false), "example.com", false),
        (layer().https_if(|_| true), "example.com", true),
        (layer().http_hosts(["other.example"]).unwrap(), "localhost", false),
        (layer().http_hosts(["other.example"]).unwrap(), "other.example", false),
    ] {
        let server = Server::start(layer.layer(handler.clone())).await;
        let request = Request::get(server.url("/")).header("host", host);
        let request = request.body(boxed(empty())).unwrap();
        let response = soon(h1_client().request(request)).await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        let found = (headers.contains_key(STRICT_TRANSPORT_SECURITY), policy.ends_with(UPGRADE));
        assert_eq!(found, (expected, expected), "{host}");
    }
}

#[test]
fn hosts_with_ports_are_refused() {
    for host in ["localhost:3000", "http://localhost", "localhost/", "", "*"] {
        let error = SecurityHeadersLayer::new().http_hosts([host]).unwrap_err();
        assert_eq!((error.header(), error.value()), ("host", host));
    }
}
