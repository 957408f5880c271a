//! Nonces over real sockets: axum over HTTP/1 and HTTP/2, and HPACK.

use std::collections::HashSet;

use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Extension, Router};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_kit::SecurityHeadersLayer;
use tower_kit::security_headers::{Csp, Directive, InvalidHeader, Nonce, Source};

use super::nonce::{ENFORCED, POLICY, STATIC, assert_shape, only, with};
use crate::support::{BoxBody, Server, boxed, empty, h2_client, soon, text};

async fn page(Extension(nonce): Extension<Nonce>) -> Html<String> {
    Html(format!("<script nonce=\"{nonce}\">start()</script>"))
}

async fn failing(Extension(nonce): Extension<Nonce>) -> impl IntoResponse {
    (StatusCode::INTERNAL_SERVER_ERROR, nonce.to_string())
}

fn app() -> Result<Router, InvalidHeader> {
    let headers = SecurityHeadersLayer::none()
        .set(POLICY)?
        .set(Csp::new().set(Directive::DEFAULT_SRC, [Source::NONCE]).report_only())?;
    Ok(Router::new()
        .route("/", get(page))
        .route("/failing", get(failing))
        .route("/plain", get(|| async { "plain" }))
        .layer(headers))
}

#[tokio::test]
async fn axum_pages_have_the_nonce_over_http_1() {
    let server = Server::start(app().unwrap()).await;
    let mut client = server.connect().await;
    let mut seen = HashSet::new();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        // `response` returns the head in lower case.
        let (head, body) = client.response().await;
        let nonce = body.split('"').nth(1).unwrap();
        assert_shape(nonce);
        let lower = nonce.to_lowercase();
        assert!(head.contains(&format!("script-src 'self' 'nonce-{lower}'\r\n")), "{head}");
        assert!(head.contains(&format!("-report-only: default-src 'nonce-{lower}'\r\n")), "{head}");
        assert!(seen.insert(nonce.to_owned()));
    }
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(head.contains("script-src 'self' 'nonce-"), "{head}");
    client.send("GET /plain HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (head, _) = client.response().await;
    assert!(head.contains(&format!("content-security-policy: {STATIC}\r\n")), "{head}");
    assert!(head.contains("-report-only: default-src 'none'\r\n"), "{head}");
}

#[tokio::test]
async fn axum_pages_have_the_nonce_over_http_2() {
    let server = Server::start(app().unwrap()).await;
    let client = h2_client();
    let ask = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(server.url(path));
        let request = request.body(boxed(empty()) as BoxBody).unwrap();
        let response = soon(client.request(request)).await.unwrap();
        let policy = only(response.headers(), &ENFORCED).to_owned();
        (response.status(), policy, text(response).await)
    };
    let (_, policy, body) = ask(Method::GET, "/").await;
    let nonce = body.split('"').nth(1).unwrap();
    assert_shape(nonce);
    assert_eq!(policy, with(nonce));
    let (status, policy, nonce) = ask(Method::GET, "/failing").await;
    assert_eq!(status, 500);
    assert_eq!(policy, with(&nonce));
    let (_, policy, _) = ask(Method::HEAD, "/").await;
    assert!(policy.contains(" 'nonce-"), "{policy}");
    for path in ["/plain", "/nowhere"] {
        let (_, policy, _) = ask(Method::GET, path).await;
        assert_eq!(policy, STATIC);
    }
}

/// No hop may index a header with a nonce (RFC 7541 §6.2.3).
#[tokio::test]
async fn http_2_never_indexes_a_policy_with_a_nonce() {
    let server = Server::start(app().unwrap()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // Streams 1 and 3 ask for pages with nonces, stream 5 for one without.
    for (id, path) in [(1, "/"), (3, "/"), (5, "/plain")] {
        // By the static table: GET, http, then the path and the authority as literals.
        let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend(b"\x01\x01a");
        // HEADERS with END_STREAM and END_HEADERS.
        let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 0x01, 0x05, 0, 0, 0, id];
        frame.extend(block);
        stream.write_all(&frame).await.unwrap();
        let found = soon(head_block(&mut stream, id)).await;
        assert_eq!(never_indexed(&found), if id == 5 { 0 } else { 2 }, "{found:x?}");
    }
}

/// Reads the header block of the response on a stream, which is in one frame.
async fn head_block(stream: &mut TcpStream, id: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let [_, high, low, kind, flags, .., of] = head;
        let mut payload = vec![0; usize::from(high) << 8 | usize::from(low)];
        stream.read_exact(&mut payload).await.unwrap();
        if kind == 0x01 && of == id {
            assert_eq!(flags & 0x2c, 0x04, "whole, without padding or priority");
            return payload;
        }
    }
}

/// Counts the literals of a block that are never indexed (RFC 7541 §6).
fn never_indexed(mut block: &[u8]) -> usize {
    let mut found = 0;
    while let Some(&first) = block.first() {
        let prefix = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = number(&mut block, prefix);
        // An index or a table size has no strings after it.
        if (0x20..0x40).contains(&first) || first >= 0x80 {
            continue;
        }
        found += usize::from(first & 0xf0 == 0x10);
        let strings = if index == 0 { 2 } else { 1 };
        for _ in 0..strings {
            let length = number(&mut block, 7);
            block = &block[length..];
        }
    }
    found
}

/// Reads a number whose first byte has `prefix` bits of it (RFC 7541 §5.1).
fn number(block: &mut &[u8], prefix: u32) -> usize {
    let mut next = || {
        let (first, rest) = block.split_first().unwrap();
        *block = rest;
        usize::from(*first)
    };
    let most = (1 << prefix) - 1;
    let mut value = next() & most;
    if value < most {
        return value;
    }
    for shift in (0..).step_by(7) {
        let byte = next();
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}
