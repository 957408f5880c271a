use std::convert::Infallible;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{Empty, Full};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::compress::{CompressError, CompressLayer};
use tower_test::mock;

use super::harness::{encoding_of, full, get, html, list, read};
use crate::support::{empty, now, poll_once, prose};

type Plain = Request<Empty<Bytes>>;

async fn page(_: Plain) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(html().body(full(prose(5_000, 64))).unwrap())
}

fn request() -> Plain {
    get().body(empty()).unwrap()
}

#[test]
fn readiness_passes_through() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Plain, Response<Full<Bytes>>, _>(CompressLayer::new());
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    handle.allow(1);
    assert!(service.is_woken());
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    let mut future = Box::pin(service.call(request()));
    assert!(poll_once(future.as_mut()).is_pending(), "the inner service has not responded");
    let (seen, respond) = now(handle.next_request()).unwrap();
    assert_eq!(seen.headers(), request().headers());
    respond.send_response(html().body(full(prose(5_000, 65))).unwrap());
    let Poll::Ready(Ok(response)) = poll_once(future.as_mut()) else { panic!("no response") };
    assert_eq!(encoding_of(&response), Some("gzip"));
    handle.send_error("gone");
    let Poll::Ready(Err(error)) = service.poll_ready() else { panic!("no error") };
    assert_eq!(error.to_string(), "gone");
}

#[tokio::test]
async fn works_over_a_concurrency_limit() {
    let mut service = ServiceBuilder::new()
        .layer(CompressLayer::new())
        .layer(ConcurrencyLimitLayer::new(1))
        .service(service_fn(page));
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(request()).await;
        assert_eq!(read(response.unwrap()), prose(5_000, 64));
    }
}

#[tokio::test]
async fn service_errors_pass_unchanged() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let inner = service_fn(|_: Plain| async { Err::<Response<Full<Bytes>>, _>(Own(7)) });
    let service = CompressLayer::new().only_if(|_, _| true).layer(inner);
    let error: Own = service.oneshot(request()).await.unwrap_err();
    assert_eq!(error, Own(7));
}

#[test]
fn infallible_services_stay_infallible() {
    fn infallible<S, B>(_: &S)
    where
        S: Service<Plain, Response = Response<B>, Error = Infallible>,
        B: Body<Data = Bytes, Error = CompressError<Infallible>>,
    {
    }
    infallible(&CompressLayer::new().layer(service_fn(page)));
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
