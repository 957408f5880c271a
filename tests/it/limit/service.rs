//! The contract of a layer: readiness, errors, responses and clones.

use std::convert::Infallible;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::KIB;
use tower_kit::limit::{LimitLayer, RequestBody};
use tower_test::mock;

use super::{max_body, post, reads, send};
use crate::support::{Scripted, data, empty, full, status, trailers};

#[tokio::test]
async fn rejections_release_a_concurrency_limit() {
    let mut service = ServiceBuilder::new()
        .layer(max_body(1))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(reads));
    for (body, expected) in [("xx", 413), ("xx", 413), ("x", 200), ("x", 200), ("xx", 413)] {
        let response = service.ready().await.unwrap().call(post().body(full(body)).unwrap());
        assert_eq!(response.await.unwrap().status(), expected);
    }
}

#[test]
fn readiness_passes() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<RequestBody<Scripted>>, Response<Full<Bytes>>, _>(
            LimitLayer::new(),
        );
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    handle.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn errors_of_the_service_pass() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = service_fn(|_: Request<RequestBody<Empty<Bytes>>>| async {
        Err::<Response<Full<Bytes>>, _>(Own(7))
    });
    let result = LimitLayer::new().layer(inner).oneshot(Request::new(empty())).await;
    assert_eq!(result.unwrap_err(), Own(7));
}

#[test]
fn infallible_services_stay_infallible() {
    fn infallible<S, R>(_: &S)
    where
        S: Service<R, Error = Infallible>,
    {
    }
    let service = LimitLayer::new().layer(service_fn(reads::<Full<Bytes>>));
    infallible::<_, Request<Full<Bytes>>>(&service);
}

#[tokio::test]
async fn responses_of_the_service_pass() {
    let body = Scripted::<Infallible>::new([data(2), trailers()]).exact();
    let log = body.log();
    let mut response =
        Some(Response::builder().status(201).header("x-own", "1").body(body).unwrap());
    let inner = service_fn(move |_: Request<RequestBody<Empty<Bytes>>>| {
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    let response = LimitLayer::new().layer(inner).oneshot(Request::new(empty())).await;
    let response = response.unwrap();
    assert_eq!((response.status(), response.headers().len()), (status(201), 1));
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert!(!response.body().is_end_stream());
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
    assert_eq!(collected.to_bytes().len(), 2);
    assert!(!log.polled_after_end());
}

#[tokio::test]
async fn clones_of_a_layer_change_independently() {
    let strict = max_body(KIB);
    let loose = strict.clone().default_body(2 * KIB);
    let request = || post().body(full(vec![0; 1_500])).unwrap();
    assert_eq!(send(&strict, request()).await.status(), 413);
    assert_eq!(send(&loose, request()).await.status(), 200);
}
