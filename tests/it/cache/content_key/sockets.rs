//! Contents over real sockets.

use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tower::{Layer, ServiceExt, service_fn};
use tower_kit::cache::content_key::{ContentKeyLayer, RequestBody};
use tower_kit::cache::{CacheLayer, MemoryStore};

use super::{Seen, origin};
use crate::support::{
    BoxError, Scripted, Server, boxed, data, full, h1_client, h2_client, header_of, soon, text,
    trailers,
};

async fn server(seen: &Seen) -> Server {
    let cache = CacheLayer::new(MemoryStore::new(1 << 22));
    let layer = ContentKeyLayer::new().post_if(|_, content| content.starts_with(b"query"));
    Server::start(layer.layer(cache.layer(origin(seen.clone())))).await
}

fn calls(seen: &Seen) -> usize {
    seen.0.lock().unwrap().len()
}

#[tokio::test]
async fn query_is_cached_over_h1_and_h2() {
    for (client, version) in [(h1_client(), Version::HTTP_11), (h2_client(), Version::HTTP_2)] {
        let seen = Seen::default();
        let server = server(&seen).await;
        for (content, hit) in [("a", false), ("b", false), ("a", true), ("b", true)] {
            for method in ["QUERY", "POST"] {
                let request = Request::builder().method(method).uri(server.url("/search"));
                let body = format!("query {content}");
                let request = request.header("content-type", "text/plain").body(full(body));
                let response = soon(client.request(request.unwrap())).await.unwrap();
                assert_eq!(response.version(), version);
                let status = response.headers()["cache-status"].to_str().unwrap();
                assert_eq!(status.contains("hit"), hit, "{method} {content}: {status}");
                assert_eq!(soon(text(response)).await, "7");
            }
        }
        assert_eq!(calls(&seen), 4);
    }
}

#[tokio::test]
async fn one_connection_takes_many_contents() {
    let seen = Seen::default();
    let server = server(&seen).await;
    let mut client = server.connect().await;
    let head = "QUERY / HTTP/1.1\r\nhost: h\r\ncontent-type: text/plain\r\n";
    for (framed, expected) in [
        ("content-length: 3\r\n\r\nabc", "fwd=uri-miss; stored"),
        ("content-length: 3\r\n\r\nabc", "hit"),
        ("transfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "hit"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", "detail=content"),
        ("content-length: 0\r\n\r\n", "fwd=uri-miss; stored"),
        ("\r\n", "hit"),
        // Two requests at once.
        ("content-length: 3\r\n\r\nabcQUERY / HTTP/1.1\r\nhost: h\r\n\r\n", "hit"),
    ] {
        client.send(&format!("{head}{framed}")).await;
        let (head, _) = soon(client.response()).await;
        let status = header_of(&head, "cache-status").unwrap();
        assert!(head.starts_with("http/1.1 200 ") && status.contains(expected), "{framed}: {head}");
    }
    let (head, body) = soon(client.response()).await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!((body.as_str(), header_of(&head, "connection")), ("0", None));
    assert_eq!(calls(&seen), 4);
}

#[tokio::test]
async fn split_content_is_read_to_its_end() {
    let seen = Seen::default();
    let server = server(&seen).await;
    for hit in [false, true] {
        let mut client = server.connect().await;
        client.send("QUERY / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\n").await;
        for _ in 0..10 {
            client.send("x").await;
            tokio::task::yield_now().await;
        }
        let (head, body) = soon(client.response()).await;
        assert_eq!(header_of(&head, "cache-status").unwrap().contains("hit"), hit, "{head}");
        assert_eq!(body, "10");
    }
}

#[tokio::test]
async fn expected_content_is_asked_for() {
    let seen = Seen::default();
    let server = server(&seen).await;
    for hit in [false, true] {
        let mut client = server.connect().await;
        let head =
            "QUERY / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
        client.send(head).await;
        assert!(soon(client.head()).await.starts_with("http/1.1 100 "));
        client.send("abc").await;
        let (head, body) = soon(client.response()).await;
        assert_eq!(header_of(&head, "cache-status").unwrap().contains("hit"), hit, "{head}");
        assert_eq!(body, "3");
    }
    assert_eq!(calls(&seen), 1);
}

#[tokio::test]
async fn large_content_is_asked_for_by_the_service() {
    let cache = CacheLayer::new(MemoryStore::new(1 << 22));
    let reads = origin(Seen::default());
    let service = service_fn(move |request: Request<RequestBody<Incoming>>| {
        let reads = reads.clone();
        async move {
            let length = request.headers()["content-length"].to_str().unwrap();
            if length.len() > 6 {
                return Ok(Response::builder().status(413).body(full("")).unwrap());
            }
            reads.oneshot(request).await
        }
    });
    let service = ContentKeyLayer::new().layer(cache.layer(service));
    let server = Server::start(service).await;
    let head = "QUERY / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: ";
    // The service refuses the one before the client sends it, and reads the other.
    let mut client = server.connect().await;
    client.send(&format!("{head}2000000\r\n\r\n")).await;
    let all = soon(client.rest()).await;
    assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
    let mut client = server.connect().await;
    client.send(&format!("{head}100000\r\n\r\n")).await;
    assert!(soon(client.head()).await.starts_with("http/1.1 100 "));
    client.send(&"x".repeat(100_000)).await;
    let (head, body) = soon(client.response()).await;
    assert!(header_of(&head, "cache-status").unwrap().ends_with("content-size"), "{head}");
    assert_eq!(body, "100000");
}

#[tokio::test]
async fn malformed_length_is_refused_by_the_server() {
    let seen = Seen::default();
    let server = server(&seen).await;
    for length in ["x", "-1", "3\r\ncontent-length: 4", "99999999999999999999"] {
        let mut client = server.connect().await;
        client
            .send(&format!("QUERY / HTTP/1.1\r\nhost: h\r\ncontent-length: {length}\r\n\r\nabc"))
            .await;
        let all = soon(client.rest()).await;
        assert!(all.starts_with("HTTP/1.1 400 "), "{length}: {all}");
    }
    // A client that leaves before its content has come.
    let mut client = server.connect().await;
    client.send("QUERY / HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nabc").await;
    drop(client);
    let mut client = server.connect().await;
    client.send("QUERY / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc").await;
    let (head, _) = soon(client.response()).await;
    assert!(!header_of(&head, "cache-status").unwrap().contains("hit"), "{head}");
}

#[tokio::test]
async fn h2_trailers_of_a_content_reach_the_service() {
    let seen = Seen::default();
    let server = server(&seen).await;
    for _ in 0..2 {
        let body = boxed(Scripted::<BoxError>::new([data(3), trailers()]));
        let request = Request::builder().method("QUERY").uri(server.url("/")).body(body).unwrap();
        let response = soon(h2_client().request(request)).await.unwrap();
        let status = response.headers()["cache-status"].to_str().unwrap();
        assert!(status.ends_with("detail=content"), "{status}");
        assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), "3");
        let last = seen.0.lock().unwrap().pop().unwrap();
        assert_eq!(
            last.trailers,
            Some(HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())]))
        );
    }
}
