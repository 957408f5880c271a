//! Any headers of request and response: no panic, the same status, and at most one encoding.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service, service_fn};
use tower_kit::CompressLayer;

struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(text))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |text| text.len() as u64))
    }
}

const NAMES: [HeaderName; 9] = [
    ACCEPT_ENCODING,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    ETAG,
    IF_NONE_MATCH,
    VARY,
];

/// `true` for a HEAD, the status, and the headers of request and response.
pub(crate) type Input = (bool, u16, Headers, Headers);

/// Names, as indexes into [`NAMES`], and values.
type Headers = Vec<(u8, Vec<u8>)>;

pub(crate) fn check((head, status, request_headers, response_headers): &Input) {
    let map = |headers: &[(u8, Vec<u8>)]| {
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().take(40) {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                map.append(&NAMES[usize::from(*name) % NAMES.len()], value);
            }
        }
        map
    };
    let mut request = Request::new(());
    *request.method_mut() = if *head { Method::HEAD } else { Method::GET };
    *request.headers_mut() = map(request_headers);
    let mut response = Response::new(Text(Some(Bytes::from(vec![b'a'; 2_000]))));
    let Ok(status) = StatusCode::from_u16(200 + status % 300) else { return };
    *response.status_mut() = status;
    *response.headers_mut() = map(response_headers);
    let before = response.headers().clone();
    let mut response = Some(response);
    let inner = service_fn(move |_| ready(Ok::<_, Infallible>(response.take().unwrap())));
    let mut cx = Context::from_waker(Waker::noop());
    let call = CompressLayer::new().layer(inner).call(request);
    let Poll::Ready(Ok(response)) = pin!(call).poll(&mut cx) else {
        panic!("the response is pending")
    };
    assert_eq!(response.status(), status);
    let (after, vary) = (response.headers(), |map: &HeaderMap| map.get_all(VARY).iter().count());
    assert!(vary(after) <= vary(&before) + 1);
    if after.get(CONTENT_ENCODING) != before.get(CONTENT_ENCODING) {
        assert_eq!(after.get_all(CONTENT_ENCODING).iter().count(), 1);
        assert!(after.contains_key(VARY));
        let suffix = format!("--{}\"", after[CONTENT_ENCODING].to_str().unwrap());
        let etag = after.get(ETAG).map(|tag| tag.as_bytes().trim_ascii());
        assert!(!etag.is_some_and(|tag| is_strong(tag) && !tag.ends_with(suffix.as_bytes())));
    }
}

/// Returns `true` for a well-formed strong entity tag (RFC 9110 §8.8.3).
fn is_strong(tag: &[u8]) -> bool {
    let opaque = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\""));
    opaque.is_some_and(|opaque| !opaque.contains(&b'"'))
}
