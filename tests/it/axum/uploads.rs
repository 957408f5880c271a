//! An upload route of 50 MiB beside routes that keep their limits, over a real server.

use axum::extract::MatchedPath;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::Request;
use tower_kit::{LimitLayer, MIB};

use crate::support::{BoxError, Scripted, Server, Step, boxed, full, h1_client, h2_client, text};

const MULTIPART: &str = "multipart/form-data; boundary=x";

fn routes() -> Router {
    let len = |body: Bytes| async move { body.len().to_string() };
    Router::new()
        .route("/upload", post(len))
        .route("/other", post(len))
        .route("/json", post(|Json(text): Json<String>| async move { text }))
}

fn uploads() -> LimitLayer {
    LimitLayer::new().multipart(50 * MIB)
}

/// The three ways to give a route limits of its own.
fn apps() -> [(&'static str, Router); 3] {
    let is_upload = |request: &http::request::Parts| {
        request.extensions.get().map(MatchedPath::as_str) == Some("/upload")
    };
    let separate = Router::new()
        .route("/upload", post(|body: Bytes| async move { body.len().to_string() }))
        .layer(uploads());
    let others = Router::new()
        .route("/other", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/json", post(|Json(text): Json<String>| async move { text }))
        .layer(LimitLayer::new());
    [
        ("a table of paths", routes().layer(LimitLayer::new().for_paths(["/upload"], &uploads()))),
        ("a closure", routes().layer(LimitLayer::new().for_requests_if(is_upload, &uploads()))),
        ("routers of their own", others.merge(separate)),
    ]
}

/// The responses to bodies of `len` bytes: of declared length, and streamed over HTTP/1 and HTTP/2.
async fn send(server: &Server, path: &str, media_type: &str, len: u64) -> [(u16, String); 3] {
    let uri = || server.url(path);
    let len = usize::try_from(len).unwrap();
    let declared = || full(vec![b'1'; len]);
    let mebibyte = usize::try_from(MIB).unwrap();
    let streamed = || {
        let frames = std::iter::repeat_n(mebibyte, len / mebibyte).chain([len % mebibyte]);
        let frames = frames.map(|len| Step::Data(Bytes::from(vec![b'1'; len])));
        boxed(Scripted::<BoxError>::new(frames.collect::<Vec<_>>()))
    };
    let (h1, h2) = (h1_client(), h2_client());
    let mut says = Vec::new();
    for (client, body) in [(&h1, declared()), (&h1, streamed()), (&h2, streamed())] {
        let request = Request::post(uri()).header("content-type", media_type).body(body).unwrap();
        let response = client.request(request).await.unwrap();
        says.push((response.status().as_u16(), text(response).await));
    }
    says.try_into().unwrap()
}

#[tokio::test]
async fn upload_route_takes_50_mib() {
    for (name, app) in apps() {
        let server = Server::start(app).await;
        for (status, says) in send(&server, "/upload", MULTIPART, 50 * MIB).await {
            assert_eq!((status, says.as_str()), (200, "52428800"), "{name}");
        }
    }
}

#[tokio::test]
async fn upload_route_refuses_more_than_its_limit() {
    for (name, app) in apps() {
        let server = Server::start(app).await;
        let mut client = server.connect().await;
        let head = format!("POST /upload HTTP/1.1\r\nhost: h\r\ncontent-type: {MULTIPART}\r\n");
        client.send(&format!("{head}content-length: {}\r\n\r\n", 50 * MIB + 1)).await;
        let (head, says) = client.response().await;
        assert!(head.starts_with("http/1.1 413 ") && says.contains("52428800"), "{name}: {says}");
    }
}

#[tokio::test]
async fn other_routes_keep_their_limits() {
    for (name, app) in apps() {
        let server = Server::start(app).await;
        for (path, media_type, len, expected) in [
            ("/other", MULTIPART, 2 * MIB, 200),
            ("/other", MULTIPART, 2 * MIB + 1, 413),
            ("/other", "text/plain", 2 * MIB + 1, 413),
            ("/json", "application/json", 10 * 1024 + 1, 413),
            // Another media type of the upload route is at its default.
            ("/upload", "text/plain", 2 * MIB + 1, 413),
        ] {
            for (status, says) in send(&server, path, media_type, len).await {
                assert_eq!(status, expected, "{name} {path} {media_type} {len}: {says}");
            }
        }
    }
}
