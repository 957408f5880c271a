//! Any headers: a request is rejected with a status of the layer or a gRPC status, or reaches the
//! inner service.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service, service_fn};
use tower_kit::LimitLayer;
use tower_kit::limit::RequestBody;

struct Sized(u64);

impl Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.0);
        hint
    }
}

const NAMES: [HeaderName; 3] = [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE];

/// The minimum length of the body, the URI, and headers: indices of [`NAMES`], and values.
pub(crate) type Input<'a> = (u64, &'a [u8], Vec<(u8, Vec<u8>)>);

pub(crate) fn check((lower, uri, headers): &Input<'_>) {
    let mut request = Request::new(Sized(*lower));
    if lower % 2 == 1 {
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
    }
    if let Ok(uri) = Uri::try_from(*uri) {
        *request.uri_mut() = uri;
    }
    for (name, value) in headers.iter().take(200) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().append(&NAMES[usize::from(*name) % NAMES.len()], value);
        }
    }
    let inner = service_fn(|_: Request<RequestBody<Sized>>| {
        ready(Ok::<_, Infallible>(Response::new(Sized(0))))
    });
    let mut cx = Context::from_waker(Waker::noop());
    let call = LimitLayer::new().layer(inner).call(request);
    let Poll::Ready(Ok(response)) = pin!(call).poll(&mut cx) else { panic!("no response") };
    assert!(matches!(response.status().as_u16(), 200 | 400 | 413 | 414 | 431));
    let passed = response.status() == 200 && !response.headers().contains_key("grpc-status");
    assert!(!passed || *lower <= 2 * 1024 * 1024);
}
