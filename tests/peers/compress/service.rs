use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{Empty, Full};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::compress::CompressLayer;

use super::harness::{encoding_of, full, get, html, list, read};
use crate::support::{empty, prose};

type Plain = Request<Empty<Bytes>>;

async fn page(request: Plain) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.headers()["accept-encoding"], "gzip");
    Ok(html().body(full(prose(5_000, 64))).unwrap())
}

fn request() -> Plain {
    get().body(empty()).unwrap()
}

#[tokio::test]
async fn two_layers_compress_once() {
    let service = ServiceBuilder::new()
        .layer(CompressLayer::new())
        .layer(CompressLayer::new())
        .service(service_fn(page));
    let response = service.oneshot(request()).await.unwrap();
    assert_eq!(list(&response, "content-encoding"), "gzip");
    assert_eq!(list(&response, "vary"), "accept-encoding");
    assert_eq!(read(response), prose(5_000, 64));
}

#[tokio::test]
async fn changed_clones_leave_the_layer_unchanged() {
    let layer = CompressLayer::new();
    let other = layer.clone().threshold(6_000);
    for (layer, expected) in [(&layer, Some("gzip")), (&layer, Some("gzip")), (&other, None)] {
        let service = layer.layer(service_fn(page));
        let response = service.clone().oneshot(request()).await.unwrap();
        assert_eq!(encoding_of(&response), expected);
    }
}
