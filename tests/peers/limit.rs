//! `limit` inside of a layer that inflates request bodies: tower-http's.

use std::convert::Infallible;
use std::io::Write;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::decompression::{DecompressionBody, RequestDecompressionLayer};
use tower_kit::limit::{LimitLayer, RequestBody};

use crate::support::{BoxError, Scripted, Step, full, reads, text};

fn post() -> http::request::Builder {
    Request::post("/")
}

#[tokio::test]
async fn gzip_bomb_is_cut_off_at_its_inflated_size() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&vec![0; 10_000_000]).unwrap();
    let bomb = gzip.finish().unwrap();
    assert!(bomb.len() <= 10_240, "{} bytes pass the limit as they are", bomb.len());

    let seen = Arc::new(Mutex::new(0));
    let inner = {
        let seen = Arc::clone(&seen);
        service_fn(move |request: Request<RequestBody<DecompressionBody<Scripted>>>| {
            let seen = Arc::clone(&seen);
            async move {
                let mut body = pin!(request.into_body());
                let error = loop {
                    match body.frame().await.expect("an error before the end") {
                        Ok(frame) => *seen.lock().unwrap() += frame.into_data().unwrap().len(),
                        Err(error) => break error,
                    }
                };
                assert!(error.is::<LengthLimitError>());
                Ok::<_, Infallible>(Response::builder().status(400).body(full("")).unwrap())
            }
        })
    };
    // Small frames of the compressed body, so that it shows how many of them were read.
    let frames: Vec<_> =
        bomb.chunks(64).map(|part| Step::Data(Bytes::copy_from_slice(part))).collect();
    let body = Scripted::<BoxError>::new(frames);
    let log = body.log();
    let request = post()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .header("content-length", bomb.len())
        .body(body)
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(RequestDecompressionLayer::new())
        .layer(LimitLayer::new())
        .service(inner);
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 413);
    assert!(*seen.lock().unwrap() <= 10_240, "the service saw {}", seen.lock().unwrap());
    assert!(log.given() < bomb.len() as u64 / 4, "{} compressed bytes were read", log.given());
}

#[tokio::test]
async fn body_below_the_limit_arrives_inflated() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&[b' '; 10_240]).unwrap();
    let body = gzip.finish().unwrap();
    let request = post()
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let service = ServiceBuilder::new()
        .layer(RequestDecompressionLayer::new())
        .layer(LimitLayer::new())
        .service(service_fn(reads));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(text(response).await, "10240");
}
