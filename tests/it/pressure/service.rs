//! The contract between the layer and its inner service.

use std::convert::Infallible;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tokio::time::advance;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::pressure::PressureLayer;
use tower_test::mock;

use super::{Memory, SECOND, hello};
use crate::support::{Scripted, Step, data, empty, now, poll_once, trailers};

#[test]
fn shed_request_does_not_reach_the_service() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<Empty<Bytes>>, Response<Full<Bytes>>, _>(
            Memory::new(950).layer(),
        );
    handle.allow(1);
    assert!(service.poll_ready().is_ready());
    assert_eq!(now(service.call(Request::new(empty()))).unwrap().status(), 503);
    assert!(poll_once(pin!(handle.next_request())).is_pending());
}

#[test]
fn readiness_passes_through() {
    for per_mille in [100, 950] {
        let (mut service, mut handle) =
            mock::spawn_layer::<Request<Empty<Bytes>>, Response<Full<Bytes>>, _>(
                Memory::new(per_mille).layer(),
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
}

/// `ConcurrencyLimit` panics if the instance that is called was not ready.
#[tokio::test(start_paused = true)]
async fn ready_instance_is_called_and_released() {
    let memory = Memory::new(950);
    let service = ServiceBuilder::new()
        .layer(memory.layer())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(hello));
    let mut one = service.clone();
    for (per_mille, expected) in [(950, 503), (950, 503), (100, 200), (950, 503), (100, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        let response = one.ready().await.unwrap().call(Request::new(empty()));
        drop(service.clone());
        assert_eq!(response.await.unwrap().status(), expected);
    }
    // A server makes a clone for each request, and drops it.
    drop(one);
    for (per_mille, expected) in [(950, 503), (100, 200), (100, 200)] {
        memory.set(per_mille);
        advance(SECOND).await;
        let response = service.clone().oneshot(Request::new(empty())).await.unwrap();
        assert_eq!(response.status(), expected);
    }
}

#[tokio::test]
async fn inner_error_passes_untouched() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner =
        service_fn(|_: Request<Empty<Bytes>>| async { Err::<Response<Full<Bytes>>, _>(Own(7)) });
    let layer = Memory::new(100).layer();
    let error: Own = layer.layer(inner).oneshot(Request::new(empty())).await.unwrap_err();
    assert_eq!(error, Own(7));
}

#[test]
fn infallible_service_stays_infallible() {
    fn infallible<S: Service<R, Error = Infallible>, R>(_: &S) {}
    let service = PressureLayer::new().layer(service_fn(hello::<Full<Bytes>>));
    infallible::<_, Request<Full<Bytes>>>(&service);
}

#[tokio::test]
async fn admitted_exchange_passes_unchanged() {
    // At 950 the request is taken apart, and put together again.
    for per_mille in [100, 950] {
        let body = Scripted::<Infallible>::new([data(2), Step::Pending, trailers()]).exact();
        let log = body.log();
        let mut response = Some(Response::builder().status(201).body(body).unwrap());
        let inner = service_fn(move |request: Request<Empty<Bytes>>| {
            assert_eq!(request.method(), Method::PUT);
            assert_eq!(request.uri(), "/healthz?a=1");
            assert_eq!(request.headers()["x-own"], "1");
            assert_eq!(request.extensions().get(), Some(&7_u8));
            std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
        });
        let request = Request::put("/healthz?a=1").header("x-own", "1").extension(7_u8);
        let request = request.body(empty()).unwrap();
        let layer = Memory::new(per_mille).layer();
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (201, 0));
        assert_eq!(response.body().size_hint().exact(), Some(2));
        assert!(!response.body().is_end_stream());
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes().len(), 2);
        assert!(!log.polled_after_end());
    }
}
