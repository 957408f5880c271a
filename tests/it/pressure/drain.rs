//! The body of a shed request is drained, so that its client sees the 503.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::ServiceBuilder;
use tower_kit::pressure::PressureLayer;

use super::{Memory, send};
use crate::support::{
    BoxError, Metrics, Scripted, Server, Step, data, full, h1_client, h2_client, soon, text,
};

const DRAINS: &str = "http_request_drains_total";

#[tokio::test]
async fn body_is_read_to_its_end() {
    let metrics = Metrics::new();
    let layer = Memory::new(950).layer().recorder(metrics.recorder());
    let body = Scripted::<BoxError>::new([data(6), Step::Pending, data(6)]);
    let log = body.log();
    let response = send(&layer, Request::post("/").body(body).unwrap()).await;
    assert_eq!(response.status(), 503);
    assert!(!response.headers().contains_key("connection"));
    log.until_dropped().await;
    assert_eq!(log.given(), 12);
    let labels = [("layer", "pressure"), ("outcome", "complete")];
    assert_eq!(metrics.counted(DRAINS, &labels), 1);
}

#[tokio::test]
async fn body_after_100_continue_is_not_read() {
    let layer = Memory::new(950).layer();
    let body = Scripted::<BoxError>::new([data(6)]);
    let log = body.log();
    let request = Request::post("/").version(Version::HTTP_11).header("expect", "100-continue");
    let response = send(&layer, request.body(body).unwrap()).await;
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!((log.polls(), log.dropped()), (0, true));
}

async fn shedding(layer: PressureLayer) -> Server {
    async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::default())
    }
    Server::start(ServiceBuilder::new().layer(layer).service_fn(hello)).await
}

#[tokio::test]
async fn response_is_seen_and_connection_kept() {
    let server = shedding(Memory::new(950).layer()).await;
    for client in [h1_client(), h2_client()] {
        for size in [20 << 10, 2 << 20, 8 << 20] {
            for _ in 0..10 {
                let request = Request::post(server.url("/")).body(full(vec![b'x'; size])).unwrap();
                let response = soon(client.request(request)).await.unwrap();
                assert_eq!(response.status(), 503);
                assert!(soon(text(response)).await.contains("overloaded"));
            }
        }
    }
    let mut client = server.connect().await;
    for _ in 0..3 {
        let body = "x".repeat(100_000);
        client
            .send(&format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n{body}"))
            .await;
        let (head, _) = client.response().await;
        assert!(head.starts_with("http/1.1 503 "), "{head}");
        assert!(!head.contains("\r\nconnection:"), "{head}");
    }
}
