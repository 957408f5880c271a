//! The example `quickstart`, as a process, driven by real clients.

use std::io::Write;

use http::{Request, StatusCode};
use http_body_util::BodyExt;

use super::program::Program;
use super::support::{BoxBody, boxed, empty, full, gunzip, h1_client, h2_client, soon, text};

fn post(server: &Program, path: &str, content_type: &str, body: BoxBody) -> Request<BoxBody> {
    Request::post(server.url(path)).header("content-type", content_type).body(body).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn quickstart_serves_every_layer() {
    let server = Program::start("quickstart", &[]);
    let json = "application/json";

    // Over HTTP/1, several requests on one connection.
    let mut raw = server.connect().await;
    for path in ["/", "/page.css", "/page.js", "/items?n=3", "/healthz"] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (head, body) = raw.response().await;
        assert!(head.starts_with("http/1.1 200 "), "{path}: {head}");
        assert!(head.contains("\r\ncontent-security-policy: default-src 'none';"), "{head}");
        assert!(!body.is_empty());
    }
    for (path, status) in [("/items?n=x", "400"), ("/items?n=10001", "400"), ("/nowhere", "404")] {
        raw.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        let (head, _) = raw.response().await;
        assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path}: {head}");
    }
    raw.send("DELETE /items HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(raw.response().await.0.starts_with("http/1.1 405 "));
    let items: serde_json::Value =
        serde_json::from_str(&text(server.get("/items?n=3").await).await).unwrap();
    assert_eq!(items["items"].as_array().unwrap().len(), 3);

    // A body is echoed, and one that is too large is refused, over both protocols.
    for client in [h1_client(), h2_client()] {
        let echo = post(&server, "/echo", json, full("[1, 2]"));
        let response = soon(client.request(echo)).await.unwrap();
        assert_eq!((response.status(), text(response).await), (StatusCode::OK, "[1, 2]".into()));
        let large = post(&server, "/echo", json, full(vec![b'1'; 20 * 1024]));
        let response = soon(client.request(large)).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(text(response).await, "The request body is larger than 10240 bytes.\n");
    }
    // The answer to HEAD has no body, which h2 clients insist on.
    let head = Request::head(server.url("/")).body(boxed(empty())).unwrap();
    let head = soon(h2_client().request(head)).await.unwrap();
    assert_eq!((head.status(), text(head).await), (StatusCode::OK, String::new()));
    let refused = [("layer", "limit"), ("reason", "body_too_large")];
    assert_eq!(server.metric("http_requests_rejected_total", &refused).await, 2.0);
    let too_large = [("route", "/echo"), ("status_code", "413"), ("outcome", "ok")];
    assert_eq!(server.metric("http_request_duration_seconds", &too_large).await, 2.0);

    // Memory is watched.
    let ratio = server.metric("process_memory_usage_ratio", &[]).await;
    assert!(ratio > 0.0 && ratio < 1.0, "{ratio}");

    // Compressed for whoever takes it, unless it opts out.
    for client in [h1_client(), h2_client()] {
        let mut lengths = Vec::new();
        for (name, value) in
            [("accept-encoding", "gzip"), ("x-other", "1"), ("x-no-compression", "1")]
        {
            let request = Request::get(server.url("/items?n=100"));
            let mut request = request.header(name, value).body(boxed(empty())).unwrap();
            if name == "x-no-compression" {
                request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
            }
            let (head, body) = soon(client.request(request)).await.unwrap().into_parts();
            let body = soon(body.collect()).await.unwrap().to_bytes();
            let coding = head.headers.get("content-encoding");
            assert_eq!(coding.is_some(), name == "accept-encoding", "{head:?}");
            let vary = head.headers.get_all("vary").iter().map(|line| line.to_str().unwrap());
            let vary = vary.collect::<Vec<_>>().join(", ");
            assert!(vary.contains("accept-encoding"), "{vary}");
            assert!(!vary.contains("x-no-compression"), "{vary}");
            lengths.push(body.len());
            let json = if coding.is_some() { gunzip(&body) } else { body.to_vec() };
            let items: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(items["items"].as_array().unwrap().len(), 100);
        }
        assert!(lengths[0] * 4 < lengths[1] && lengths[1] == lengths[2], "{lengths:?}");
    }
    let gzip = [("encoding", "gzip")];
    assert!(server.metric("http_compression_input_bytes_total", &gzip).await > 0.0);

    // Compressed events come one by one too.
    let events = Request::get(server.url("/events"));
    let events = events.header("accept-encoding", "gzip").body(boxed(empty())).unwrap();
    let events = soon(h1_client().request(events)).await.unwrap();
    assert_eq!(events.headers()["content-encoding"], "gzip");
    let mut events = events.into_body();
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for expected in ["id: 1\ndata: event 1\n\n", "id: 2\ndata: event 2\n\n"] {
        while decoder.get_ref() != expected.as_bytes() {
            assert!(decoder.get_ref().len() < expected.len(), "more than an event at once");
            let data = soon(events.frame()).await.unwrap().unwrap().into_data().unwrap();
            decoder.write_all(&data).unwrap();
            decoder.flush().unwrap();
        }
        decoder.get_mut().clear();
    }
    drop(events);
    // The one that asks.
    server.wait_for("http_requests_in_flight", &[], 1.0).await;

    // A client that leaves while it waits for its answer.
    let mut gone = server.connect().await;
    gone.send("GET /slow?ms=60000 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    // This request, and the one that asks.
    server.wait_for("http_requests_in_flight", &[], 2.0).await;
    drop(gone);
    let cancelled = [("route", "/slow"), ("outcome", "cancelled")];
    server.wait_for("http_request_duration_seconds", &cancelled, 1.0).await;
    assert_eq!(server.metric("http_requests_in_flight", &[]).await, 1.0);

    // An event comes at once, and a stop ends the stream.
    let mut events = server.get("/events").await.into_body();
    let first = soon(events.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "id: 1\ndata: event 1\n\n");
    assert_eq!(server.metric("http_streams_total", &[("kind", "event_stream")]).await, 2.0);
    assert!(server.stop().success());
    assert!(soon(events.collect()).await.is_ok(), "the stream ends as it should");
}
