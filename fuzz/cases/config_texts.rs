//! Any text where a configuration has one: it is refused, or means what it says.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tower::{Layer, Service, service_fn};
use tower_kit::cache::{CacheKey, CacheLayer, MemoryStore, RedisConfig};
use tower_kit::security_headers::{
    Allowlist, Coep, Coop, Corp, CrossDomainPolicies, Csp, Directive, Endpoint, Feature,
    FrameOptions, PermissionsPolicy, ReferrerPolicy, Source,
};
use tower_kit::{CompressLayer, LimitLayer, SecurityHeadersLayer};

pub(crate) fn check(text: &str) {
    media_type(text);
    addresses(text);
    words(text);
    let (name, value) = text.split_once('\n').unwrap_or((text, "x"));
    custom(name, value);
    endpoint(name, value);
}

/// A request of the type that a pattern names has the limit of the pattern.
fn media_type(text: &str) {
    let limited = LimitLayer::new().media_type(text, 3);
    assert_eq!(CompressLayer::new().media_type(text).is_ok(), limited.is_ok());
    assert_eq!(CompressLayer::new().skip_media_type(text).is_ok(), limited.is_ok());
    let Ok(layer) = limited else { return };
    let content_type = match text.strip_suffix('*') {
        Some(class) => format!("{class}any"),
        None if !text.contains('/') => format!("any/any{text}"),
        None => text.to_owned(),
    };
    for (length, status) in [(3, StatusCode::OK), (4, StatusCode::PAYLOAD_TOO_LARGE)] {
        let request = Request::post("/")
            .header(CONTENT_TYPE, &content_type)
            .header(CONTENT_LENGTH, length)
            .body(Empty)
            .expect("a media type is a field's value");
        let inner = service_fn(|_| ready(Ok::<_, Infallible>(Response::new(Empty))));
        let answer = answer(layer.layer(inner).call(request));
        assert_eq!(answer.status(), status, "{content_type}");
    }
}

fn addresses(text: &str) {
    if let Err(error) = RedisConfig::new(text) {
        assert!(!error.to_string().is_empty());
    }
    // Not clones of one: a handle purges under the keys of all layers that were made from its layer.
    let cache = CacheLayer::new(MemoryStore::new(1_000));
    let any_host = CacheLayer::new(MemoryStore::new(1_000)).key(CacheKey::new().any_host());
    if cache.handle().purge_url(text).is_ok() {
        assert!(any_host.handle().purge_url(text).is_ok());
        assert!(text.contains("://"), "it has a host");
    }
}

/// Checks that a text that parses is sent as it was spelled, except for its case and spaces.
fn words(text: &str) {
    let none = SecurityHeadersLayer::none;
    let layers = [
        text.parse().map(|it: Coop| none().set(it)),
        text.parse().map(|it: Coep| none().set(it)),
        text.parse().map(|it: Corp| none().set(it)),
        text.parse().map(|it: CrossDomainPolicies| none().set(it)),
        text.parse().map(|it: FrameOptions| none().set(it)),
        text.parse().map(|it: ReferrerPolicy| none().set(it)),
    ];
    for layer in layers.into_iter().flatten() {
        let sent = fields(&layer.expect("what parses can be set"));
        let plain = |text: &str| text.replace(char::is_whitespace, "").to_ascii_lowercase();
        assert_eq!(plain(value(&sent)), plain(text));
    }
    if let Ok(list) = Allowlist::NONE.origin(text) {
        let policy = PermissionsPolicy::new().allow(Feature::CAMERA, list);
        let layer = none().set(policy).expect("what parses can be set");
        assert_eq!(value(&fields(&layer)), format!("camera=(\"{text}\")"));
    }
    if let Ok(host) = Source::host(text.to_owned()) {
        let policy = Csp::new().set(Directive::DEFAULT_SRC, [host]);
        let layer = none().set(policy).expect("what parses can be set");
        assert_eq!(value(&fields(&layer)), format!("default-src {text}"));
    }
}

fn custom(name: &str, given: &str) {
    if let Ok(layer) = SecurityHeadersLayer::none().custom(name, given) {
        let sent = fields(&layer);
        assert_eq!(value(&sent), given);
        assert!(sent.contains_key(name));
    }
}

fn endpoint(name: &str, url: &str) {
    if let Ok(endpoint) = Endpoint::new(name, url) {
        let layer = SecurityHeadersLayer::none().set(endpoint).expect("what parses can be set");
        assert_eq!(value(&fields(&layer)), format!("{name}=\"{url}\""));
    }
}

/// The fields that a layer sends.
fn fields(layer: &SecurityHeadersLayer) -> HeaderMap {
    let inner = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
    answer(layer.layer(inner).call(Request::new(()))).headers().clone()
}

/// Returns the value of the only header.
fn value(fields: &HeaderMap) -> &str {
    assert_eq!(fields.len(), 1, "{fields:?}");
    let value = fields.values().next().expect("there is one");
    value.to_str().expect("visible ASCII")
}

fn answer<T>(call: impl Future<Output = Result<T, Infallible>>) -> T {
    let Poll::Ready(Ok(answer)) = pin!(call).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("no response");
    };
    answer
}

struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
