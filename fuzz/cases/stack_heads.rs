//! Any heads through the rooms that read little of them, `latency` and `security_headers`: the
//! response stays the service's, one request is measured under a route that its path has, and what
//! depends on HTTPS and on the media type is sent where it is due.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower::{Layer, Service, service_fn};
use tower_kit::latency::MetricNames;
use tower_kit::security_headers::forwarded_proto;
use tower_kit::{LatencyLayer, SecurityHeadersLayer};

#[derive(Arbitrary, Debug)]
pub(crate) struct Input<'a> {
    method: u8,
    path: &'a str,
    templates: Vec<&'a str>,
    open_telemetry: bool,
    status: u16,
    request: Vec<(u8, &'a [u8])>,
    response: Vec<(u8, &'a [u8])>,
    /// The frames of the body.
    frames: u8,
    /// The number of polls before the body is dropped.
    polls: u8,
}

/// A body of single bytes.
#[derive(Clone)]
struct Bits(u8);

/// The route of each sample of the duration, and the sum of the gauges.
#[derive(Default)]
struct Seen {
    routes: Arc<Mutex<Vec<Option<String>>>>,
    in_flight: Arc<AtomicU64>,
    streams: Arc<AtomicU64>,
}

struct Duration {
    route: Option<String>,
    routes: Arc<Mutex<Vec<Option<String>>>>,
}

pub(crate) fn check(input: &Input<'_>) {
    let Ok(status) = StatusCode::from_u16(100 + input.status % 500) else { return };
    let Ok(uri) = input.path.parse::<Uri>() else { return };
    let path = uri.path().to_owned();
    let mut request = Request::new(Bits(0));
    *request.method_mut() = METHODS[usize::from(input.method) % METHODS.len()].clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = map(&input.request);
    let (head, body) = request.into_parts();
    let is_https = forwarded_proto(&head);
    let request = Request::from_parts(head, body);

    let mut response = Response::new(Bits(input.frames));
    *response.status_mut() = status;
    *response.headers_mut() = map(&input.response);
    let before = response.headers().clone();
    let inner = service_fn(move |_| ready(Ok::<_, Infallible>(response.clone())));

    let seen = Arc::new(Seen::default());
    let names =
        if input.open_telemetry { MetricNames::OpenTelemetry } else { MetricNames::Prometheus };
    let templates = input.templates.iter().map(|template| (*template).to_owned());
    let latency = LatencyLayer::new()
        .metric_names(names)
        .route_templates(templates)
        .record_body_sizes()
        .record_time_to_first_byte();
    let latency = latency.recorder(Arc::clone(&seen) as _);
    let security = SecurityHeadersLayer::new().https_if(forwarded_proto).documents_only();
    let mut cx = Context::from_waker(Waker::noop());
    let call = (latency, security).layer(inner).call(request);
    let Poll::Ready(Ok(response)) = pin!(call).poll(&mut cx) else { panic!("no response") };

    assert_eq!(response.status(), status);
    let after = response.headers();
    for name in before.keys().filter(|name| *name != "x-powered-by") {
        assert!(before.get_all(name).iter().eq(after.get_all(name)), "the service's fields win");
    }
    assert!(after.contains_key(X_CONTENT_TYPE_OPTIONS));
    assert_eq!(after.contains_key(STRICT_TRANSPORT_SECURITY), is_https);
    let types: Vec<_> = before.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes).collect();
    if matches!(types[..], [] | [_, _, ..]) || types == [b"text/html"] {
        assert!(after.contains_key(CONTENT_SECURITY_POLICY));
    } else if types == [b"image/png"] {
        assert!(!after.contains_key(CONTENT_SECURITY_POLICY));
    }

    let mut body = pin!(Some(response.into_body()));
    for _ in 0..input.polls {
        let Some(body) = body.as_mut().as_pin_mut() else { break };
        if let Poll::Ready(None) = body.poll_frame(&mut cx) {
            break;
        }
    }
    body.set(None);
    assert_eq!(f64::from_bits(seen.in_flight.load(Ordering::Relaxed)), 0.0);
    let routes = seen.routes.lock().unwrap();
    assert_eq!(routes.len() as u64 + seen.streams.load(Ordering::Relaxed), 1);
    for route in &*routes {
        let expected = input.templates.iter().find(|template| is_of(&path, template));
        let unmatched = (!input.open_telemetry).then_some("unmatched");
        assert_eq!(route.as_deref(), expected.copied().or(unmatched), "{path}");
    }
}

/// Returns `true` if a path has this template, compared from its end.
fn is_of(path: &str, template: &str) -> bool {
    let (path, template): (Vec<_>, Vec<_>) =
        (path.split('/').collect(), template.split('/').collect());
    let wild = |part: &&str| part.starts_with("{*") && part.ends_with('}');
    let fits = |(part, of): (&&str, &&str)| match of.starts_with('{') && of.ends_with('}') {
        true => !part.is_empty(),
        false => part == of,
    };
    match template.iter().position(wild) {
        Some(at) => {
            let rest = path.get(at..).unwrap_or_default().join("/");
            !rest.is_empty() && path.iter().zip(&template[..at]).all(fits)
        }
        None => path.len() == template.len() && path.iter().zip(&template).all(fits),
    }
}

fn map(fields: &[(u8, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().take(40) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.append(&NAMES[usize::from(*name) % NAMES.len()], value);
        }
    }
    map
}

impl Body for Bits {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.checked_sub(1).map(|left| {
            self.0 = left;
            Ok(Frame::data(Bytes::from_static(b"x")))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }
}

impl HistogramFn for Duration {
    fn record(&self, _: f64) {
        self.routes.lock().unwrap().push(self.route.clone());
    }
}

impl Recorder for Seen {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "http_streams_total" | "http.server.streams" => {
                Counter::from_arc(Arc::clone(&self.streams))
            }
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::clone(&self.in_flight))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if !["http_request_duration_seconds", "http.server.request.duration"].contains(&key.name())
        {
            return Histogram::noop();
        }
        let route = key.labels().find(|label| ["route", "http.route"].contains(&label.key()));
        let route = route.map(|label| label.value().to_owned());
        Histogram::from_arc(Arc::new(Duration { route, routes: Arc::clone(&self.routes) }))
    }
}

const METHODS: [Method; 4] = [Method::GET, Method::HEAD, Method::POST, Method::CONNECT];

const NAMES: [HeaderName; 5] = [
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("permissions-policy"),
];
