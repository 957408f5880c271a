use http::{Method, Response};
use http_body_util::BodyExt;
use tower_kit::CompressLayer;

use super::support::{Served, Stack, clients, send};
use crate::support::{BoxBody, BoxError, Scripted, Step, boxed, full, prose, trailers};

type Headers = &'static [(&'static str, &'static str)];

/// Headers that a service may send, some of them copied from the response of another server.
const HEADERS: [Headers; 14] = [
    &[],
    &[("transfer-encoding", "chunked")],
    &[("transfer-encoding", "Chunked")],
    &[("transfer-encoding", "gzip, chunked")],
    &[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")],
    &[("transfer-encoding", "chunked"), ("connection", "close")],
    &[("connection", "close")],
    &[("connection", "keep-alive"), ("keep-alive", "timeout=5")],
    &[("connection", "x-hop, close"), ("x-hop", "1")],
    &[("trailer", "x-sum")],
    &[("te", "trailers"), ("trailer", "x-sum"), ("transfer-encoding", "chunked")],
    &[("proxy-connection", "keep-alive")],
    &[("content-length", "LENGTH")],
    &[("content-length", "LENGTH"), ("content-length", "LENGTH")],
];

fn response(headers: Headers, len: usize, kind: &str) -> Response<BoxBody> {
    let text = prose(len, 3);
    let body = match kind {
        "whole" => full(text),
        "trailers" => boxed(Scripted::<BoxError>::new([Step::Data(text), trailers()])),
        _ => boxed(Scripted::<BoxError>::new([Step::Data(text), Step::Pending])),
    };
    let mut response = Response::builder().header("content-type", "text/html");
    for (name, value) in headers {
        let value = if *value == "LENGTH" { len.to_string() } else { (*value).to_owned() };
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}

#[tokio::test]
async fn headers_that_bare_hyper_serves_are_served() {
    let mut served_by_hyper = 0;
    for headers in HEADERS {
        for (len, kind) in [
            (3_000, "whole"),
            (3_000, "stream"),
            (200_000, "whole"),
            (20, "stream"),
            (3_000, "trailers"),
        ] {
            let start = |stack| {
                Served::start(stack, CompressLayer::new(), move |_| response(headers, len, kind))
            };
            let (bare, compressed, cached) = (
                start(Stack::Bare).await,
                start(Stack::Compressed).await,
                start(Stack::Cached).await,
            );
            for client in clients() {
                for method in [Method::GET, Method::HEAD] {
                    let ask = |served: &Served| {
                        let mut request =
                            served.get(&[("accept-encoding", "gzip"), ("te", "trailers")]);
                        *request.method_mut() = method.clone();
                        request
                    };
                    let Ok(bare) = send(&client, ask(&bare)).await else { continue };
                    served_by_hyper += 1;
                    for served in [&compressed, &cached] {
                        let read = send(&client, ask(served)).await;
                        let read = read.unwrap_or_else(|error| {
                            panic!("{method} {headers:?} {len} {kind}: {error}")
                        });
                        assert_eq!(read.head.status, bare.head.status);
                        assert_eq!(read.trailers, bare.trailers, "{headers:?} {kind}");
                        if method == Method::GET {
                            assert_eq!(read.text(), bare.text(), "{headers:?} {len} {kind}");
                        }
                    }
                }
            }
        }
    }
    assert!(served_by_hyper > 200, "only {served_by_hyper} were served");
}

#[tokio::test]
async fn http_1_0_clients_get_the_whole_body() {
    for (headers, kind) in [(HEADERS[0], "whole"), (HEADERS[0], "stream"), (HEADERS[1], "whole")] {
        let served = Served::start(Stack::Compressed, CompressLayer::new(), move |_| {
            response(headers, 3_000, kind)
        })
        .await;
        let mut raw = served.server.connect().await;
        raw.send("GET / HTTP/1.0\r\nhost: a\r\naccept-encoding: gzip\r\n\r\n").await;
        let head = raw.head().await;
        assert!(head.starts_with("http/1.0 200"), "{head}");
        assert!(head.contains("content-encoding: gzip"), "{head}");
        assert!(!head.contains("chunked"), "{head}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    let respond = |request: &http::Request<_>| {
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("content-length", 3_000)
            .header("etag", "\"v1\"");
        let body = if request.method() == Method::HEAD { full("") } else { full(prose(3_000, 4)) };
        response.body(body).unwrap()
    };
    let served = Served::start(Stack::Compressed, CompressLayer::new(), respond).await;
    for client in clients() {
        let fields = [("accept-encoding", "gzip")];
        let get = served.read(&client, &fields).await;
        let mut request = served.get(&fields);
        *request.method_mut() = Method::HEAD;
        let head = client.request(request).await.unwrap();
        for name in ["content-encoding", "vary", "etag", "content-type"] {
            assert_eq!(head.headers().get(name), get.head.headers.get(name), "{name}");
            assert!(head.headers().contains_key(name), "{name}");
        }
        assert!(!head.headers().contains_key("content-length"));
        assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
}
