use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, SizeHint};
use http_body_util::{BodyExt, Full};
use metrics::Unit;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::latency::{LatencyLayer, Names, ResponseBody, Route};

use crate::support::{
    BoxError, Labels, Metrics, Scripted, Step, data, empty, full, now, poll_frame, poll_once,
    status, trailers,
};

mod clock;
mod endings;
mod exported;
mod labels;
#[cfg(feature = "full")]
mod prometheus;
mod streams;
mod totals;

const DURATION: &str = "http_request_duration_seconds";
const IN_FLIGHT: &str = "http_requests_in_flight";
const FIRST_BYTE: &str = "http_request_first_byte_seconds";
const REQUEST_SIZE: &str = "http_request_size_bytes";
const RESPONSE_SIZE: &str = "http_response_size_bytes";
const STREAMS: &str = "http_streams_total";
const LIFETIME: &str = "http_stream_duration_seconds";
const OPEN: &str = "http_open_streams";
const REQUESTS: &str = "http_requests_total";
const OVERFLOW: &str = "http_series_overflow_total";

fn get() -> Request<http_body_util::Empty<Bytes>> {
    Request::get("/items/1").body(empty()).unwrap()
}

fn layer(metrics: &Metrics) -> LatencyLayer {
    LatencyLayer::new().recorder(metrics.recorder())
}

/// The layer's answer where the service gives this one.
fn answer<B, ReqBody, E>(
    layer: &LatencyLayer,
    request: Request<ReqBody>,
    answer: Result<Response<B>, E>,
) -> Result<Response<ResponseBody<B>>, E>
where
    B: Body,
    B::Error: 'static,
    ReqBody: Body,
    E: 'static,
{
    // A service that can be cloned, for an answer that cannot.
    let answer = Rc::new(RefCell::new(Some(answer)));
    let inner = service_fn(move |_: Request<ReqBody>| ready(answer.borrow_mut().take().unwrap()));
    now(layer.layer(inner).call(request))
}

fn answered<B>(layer: &LatencyLayer, method: Method, response: Response<B>) -> ResponseBody<B>
where
    B: Body,
    B::Error: 'static,
{
    let request = Request::builder().method(method).uri("/items/1").body(empty()).unwrap();
    let Ok(response) = answer::<_, _, Infallible>(layer, request, Ok(response));
    response.into_body()
}

/// One request has ended like this, and nothing is left in flight.
#[track_caller]
fn assert_ended(metrics: &Metrics, status: Option<&str>, outcome: &str) {
    let (labels, _) = metrics.sample(DURATION);
    let mut expected: Labels = [("method", "GET"), ("route", "unmatched"), ("outcome", outcome)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    expected.extend(status.map(|status| ("status_code".to_owned(), status.to_owned())));
    assert_eq!(labels, expected);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "in flight");
}

#[track_caller]
fn assert_in_flight(metrics: &Metrics) {
    assert_eq!(metrics.samples(DURATION), [], "not ended");
    assert_eq!(metrics.gauge(IN_FLIGHT), 1.0, "in flight");
}

fn ended_ok(metrics: &Metrics) -> bool {
    let samples = metrics.samples(DURATION);
    assert!(samples.len() <= 1, "{samples:?}");
    samples.first().is_some_and(|(labels, _)| labels["outcome"] == "ok")
}

// Outcomes.

#[test]
fn a_response_that_is_read_to_its_end_is_ok() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(3), Step::Pending]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    assert!(poll_frame(&mut body).is_pending());
    assert_in_flight(&metrics);
    assert!(matches!(poll_frame(&mut body), Poll::Ready(None)));
    assert_ended(&metrics, Some("200"), "ok");
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn a_response_is_ok_whatever_its_status() {
    for code in ["100", "204", "301", "304", "404", "500", "503", "999"] {
        let metrics = Metrics::new();
        let response = Response::builder().status(code).body(full("")).unwrap();
        drop(answered(&layer(&metrics), Method::GET, response));
        assert_ended(&metrics, Some(code), "ok");
    }
}

#[test]
fn a_service_that_fails_is_a_service_error_without_a_status_and_its_error_passes() {
    #[derive(Debug, PartialEq)]
    struct Own(u8);
    let metrics = Metrics::new();
    let error: Own = answer::<Full<Bytes>, _, _>(&layer(&metrics), get(), Err(Own(7))).unwrap_err();
    assert_eq!(error, Own(7));
    assert_ended(&metrics, None, "service_error");
}

#[tokio::test(start_paused = true)]
async fn the_timeout_layer_of_tower_inside_is_a_timeout() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .layer(layer(&metrics))
        .timeout(Duration::from_secs(5))
        .service_fn(|_| pending::<Result<Response<Full<Bytes>>, BoxError>>());
    let error = service.oneshot(get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_ended(&metrics, None, "timeout");
}

#[test]
fn an_io_timeout_of_the_service_is_a_timeout_also_where_it_is_boxed_or_a_source() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let metrics = Metrics::new();
    answer::<Full<Bytes>, _, _>(&layer(&metrics), get(), Err(timed_out())).unwrap_err();
    assert_ended(&metrics, None, "timeout");

    #[derive(Debug)]
    struct Outer(io::Error);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("outer")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    for error in [BoxError::from(timed_out()), BoxError::from(Outer(timed_out()))] {
        let metrics = Metrics::new();
        answer::<Full<Bytes>, _, _>(&layer(&metrics), get(), Err(error)).unwrap_err();
        assert_ended(&metrics, None, "timeout");
    }
}

#[test]
fn an_io_timeout_of_the_body_is_a_timeout() {
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let metrics = Metrics::new();
    let response = Response::new(Scripted::new([data(1), Step::Error(timed_out())]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    let Poll::Ready(Some(Err(error))) = poll_frame(&mut body) else { panic!("no error") };
    let error: io::Error = error;
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_ended(&metrics, Some("200"), "timeout");

    let metrics = Metrics::new();
    let response = Response::new(Scripted::<BoxError>::new([Step::Error(timed_out().into())]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert_ended(&metrics, Some("200"), "timeout");
}

#[test]
fn a_body_that_fails_is_a_body_error() {
    let metrics = Metrics::new();
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let response = Response::new(Scripted::new([data(1), Step::Error(reset)]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert!(matches!(poll_frame(&mut body), Poll::Ready(Some(Err(_)))));
    assert_ended(&metrics, Some("200"), "body_error");
    drop(body);
    assert_ended(&metrics, Some("200"), "body_error");
}

#[test]
fn a_body_that_is_dropped_before_its_end_is_a_disconnect() {
    // Never polled, after some data, and while it is pending.
    for polls in 0..3 {
        let metrics = Metrics::new();
        let steps = [data(1), Step::PendingForever];
        let response = Response::new(Scripted::<Infallible>::new(steps));
        let mut body = answered(&layer(&metrics), Method::GET, response);
        for _ in 0..polls {
            let _ = poll_frame(&mut body);
        }
        assert_in_flight(&metrics);
        drop(body);
        assert_ended(&metrics, Some("200"), "disconnect");
    }
}

#[test]
fn a_body_that_is_dropped_one_byte_before_its_declared_length_is_a_disconnect() {
    let metrics = Metrics::new();
    let body = Scripted::<Infallible>::new([data(9), data(1)]).exact();
    let response = Response::builder().header("content-length", 10).body(body).unwrap();
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    drop(body);
    assert_ended(&metrics, Some("200"), "disconnect");
}

#[test]
fn a_request_that_is_dropped_before_the_head_is_cancelled() {
    for polls in 0..2 {
        let metrics = Metrics::new();
        let inner = service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
        let mut future = Box::pin(layer(&metrics).layer(inner).call(get()));
        for _ in 0..polls {
            assert!(poll_once(future.as_mut()).is_pending());
        }
        assert_in_flight(&metrics);
        drop(future);
        assert_ended(&metrics, None, "cancelled");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outer_layer_that_gives_up_cancels() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .timeout(Duration::from_secs(5))
        .layer(layer(&metrics))
        .service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let error = service.oneshot(get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>());
    assert_ended(&metrics, None, "cancelled");
}

#[test]
fn a_panic_of_the_call_is_a_panic() {
    let metrics = Metrics::new();
    let inner = service_fn(|_: Request<_>| {
        if true {
            panic!("in the call");
        }
        ready(Ok::<_, Infallible>(Response::new(full(""))))
    });
    let mut service = layer(&metrics).layer(inner);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(service.call(get())))).is_err());
    assert_ended(&metrics, None, "panic");
}

#[test]
fn a_panic_of_the_future_is_a_panic() {
    let metrics = Metrics::new();
    let inner = service_fn(|_: Request<_>| async {
        if true {
            panic!("in the future");
        }
        Ok::<_, Infallible>(Response::new(full("")))
    });
    let mut future = Box::pin(layer(&metrics).layer(inner).call(get()));
    assert!(catch_unwind(AssertUnwindSafe(|| poll_once(future.as_mut()).is_ready())).is_err());
    drop(future);
    assert_ended(&metrics, None, "panic");
}

#[test]
fn a_panic_of_the_body_is_a_panic() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1), Step::Panic]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert!(catch_unwind(AssertUnwindSafe(|| poll_frame(&mut body).is_ready())).is_err());
    drop(body);
    assert_ended(&metrics, Some("200"), "panic");
}

#[test]
fn a_response_that_was_complete_before_a_panic_elsewhere_stays_ok() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1)]).exact());
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("elsewhere");
    }));
    assert!(unwound.is_err());
    assert_ended(&metrics, Some("200"), "ok");
}

// The ends of a body.

#[test]
fn trailers_end_a_body_without_the_end_being_polled() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1), trailers()]));
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    assert!(poll_frame(&mut body).is_ready());
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn a_body_that_is_at_its_end_when_it_is_wrapped_ends_with_the_head() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([]).tells_end());
    let _body = answered(&layer(&metrics), Method::GET, response);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn a_body_that_tells_its_end_after_a_frame_ends_there() {
    let metrics = Metrics::new();
    let response = Response::new(Scripted::<Infallible>::new([data(1), data(1)]).tells_end());
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    assert!(poll_frame(&mut body).is_ready());
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn a_body_without_a_body_ends_with_the_head_although_it_does_not_tell() {
    let body = || Scripted::<Infallible>::new([data(3)]);
    for (method, code) in [("HEAD", 200), ("HEAD", 404), ("GET", 204), ("GET", 304), ("GET", 103)] {
        let metrics = Metrics::new();
        let response = Response::builder().status(code).header("content-length", 3);
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        drop(answered(&layer(&metrics), method, response.body(body()).unwrap()));
        assert!(ended_ok(&metrics), "{code}");
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    }
}

#[test]
fn the_declared_length_ends_a_body_that_is_never_asked_for_its_end() {
    let header = |len: u64| Response::builder().header("content-length", len);
    let steps = || [data(2), Step::Pending, data(3)];
    let of_the_hint = Response::new(Scripted::<Infallible>::new(steps()).exact());
    let of_the_header = header(5).body(Scripted::new(steps())).unwrap();
    let of_both = header(5).body(Scripted::new(steps()).exact()).unwrap();
    for response in [of_the_hint, of_the_header, of_both] {
        let metrics = Metrics::new();
        let mut body = answered(&layer(&metrics), Method::GET, response);
        assert!(poll_frame(&mut body).is_ready());
        assert!(poll_frame(&mut body).is_pending());
        assert_in_flight(&metrics);
        assert!(poll_frame(&mut body).is_ready());
        assert_ended(&metrics, Some("200"), "ok");
        drop(body);
        assert_ended(&metrics, Some("200"), "ok");
    }
}

#[test]
fn a_declared_length_of_zero_ends_with_the_head() {
    let none = SizeHint::with_exact(0);
    let of_the_hint = Response::new(Scripted::<Infallible>::new([]).hint(&none));
    let of_the_header = Response::builder().header("content-length", "0");
    for response in [of_the_hint, of_the_header.body(Scripted::new([])).unwrap()] {
        let metrics = Metrics::new();
        drop(answered(&layer(&metrics), Method::GET, response));
        assert_ended(&metrics, Some("200"), "ok");
    }
}

#[test]
fn what_comes_after_the_end_is_recorded_no_more() {
    let metrics = Metrics::new();
    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
    let body = Scripted::new([data(5), trailers(), Step::Error(reset)]);
    let response = Response::builder().header("content-length", 5).body(body).unwrap();
    let mut body = answered(&layer(&metrics), Method::GET, response);
    for _ in 0..4 {
        assert!(poll_frame(&mut body).is_ready());
    }
    drop(body);
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn a_malformed_declared_length_is_none() {
    let metrics = Metrics::new();
    let body = Scripted::<Infallible>::new([data(5)]);
    let response = Response::builder().header("content-length", "-5").body(body).unwrap();
    let mut body = answered(&layer(&metrics), Method::GET, response);
    assert!(poll_frame(&mut body).is_ready());
    assert_in_flight(&metrics);
    drop(body);
    assert_ended(&metrics, Some("200"), "disconnect");
}

#[test]
fn the_body_passes_as_it_is() {
    let body = Scripted::<io::Error>::new([data(2), data(3), trailers()]).exact().tells_end();
    let log = body.log();
    let metrics = Metrics::new();
    let mut body = answered(&layer(&metrics), Method::GET, Response::new(body));
    assert_eq!((body.size_hint().exact(), body.is_end_stream(), log.polls()), (Some(5), false, 0));
    assert!(poll_frame(&mut body).is_ready());
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(3), false));
    let rest = now(body.collect()).unwrap();
    assert_eq!(rest.trailers().unwrap()["x-sum"], "1");
    assert_eq!(rest.to_bytes().len(), 3);
    assert!(!log.polled_after_end());
}

// Streams: see `latency/streams.rs`.

#[test]
fn a_connect_that_is_refused_is_a_response_like_any_other() {
    let metrics = Metrics::new();
    let response = Response::builder().status(502).body(full("")).unwrap();
    drop(answered(&layer(&metrics), Method::CONNECT, response));
    assert_eq!(metrics.counted(STREAMS, &[]), 0);
    assert_eq!(metrics.sample(DURATION).0["outcome"], "ok");
}

// Labels.

#[test]
fn a_method_that_is_not_known_becomes_other() {
    for method in ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"] {
        assert_eq!(method_label(method), method);
    }
    for method in ["QUERY", "PROPFIND", "VERSION-CONTROL"] {
        assert_eq!(method_label(method), method, "registered at IANA");
    }
    for method in ["PURGE", "get", "X", "_OTHER"] {
        assert_eq!(method_label(method), "_OTHER");
    }
}

fn method_label(method: &str) -> String {
    let metrics = Metrics::new();
    let response = Response::builder().status(404).body(full("")).unwrap();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    drop(answered(&layer(&metrics), method, response));
    metrics.sample(DURATION).0["method"].clone()
}

/// The route's label where request and response carry these extensions.
fn route_label(
    set: impl Fn(LatencyLayer) -> LatencyLayer,
    of_request: Option<&'static str>,
    of_response: Option<&'static str>,
) -> String {
    let metrics = Metrics::new();
    let mut request = get();
    let mut response = Response::new(full(""));
    if let Some(route) = of_request {
        request.extensions_mut().insert(Route::new(route));
    }
    if let Some(route) = of_response {
        response.extensions_mut().insert(Route::new(route));
    }
    drop(answer::<_, _, Infallible>(&set(layer(&metrics)), request, Ok(response)));
    metrics.sample(DURATION).0["route"].clone()
}

#[test]
fn a_route_is_a_template_from_a_closure_an_extension_or_a_table_and_never_the_path() {
    let of_closure = |layer: LatencyLayer| layer.route(|_| Some("/closure"));
    let of_table = |layer: LatencyLayer| layer.routes(["/items/{id}"]);
    assert_eq!(route_label(|layer| layer, None, None), "unmatched");
    assert_eq!(route_label(of_closure, None, None), "/closure");
    assert_eq!(route_label(of_table, None, None), "/items/{id}");
    assert_eq!(route_label(|layer| layer, Some("/request"), None), "/request");
    assert_eq!(route_label(|layer| layer, None, Some("/response")), "/response");
    assert_eq!(route_label(|layer| layer.route(|_| None), None, None), "unmatched");
    assert_eq!(route_label(|layer| layer.routes(["/other"]), None, None), "unmatched");
}

#[test]
fn the_response_names_its_route_before_the_closure_the_request_and_the_table_do() {
    let all = |layer: LatencyLayer| layer.route(|_| Some("/closure")).routes(["/items/{id}"]);
    let silent = |layer: LatencyLayer| layer.route(|_| None).routes(["/items/{id}"]);
    assert_eq!(route_label(all, Some("/request"), Some("/response")), "/response");
    assert_eq!(route_label(all, Some("/request"), None), "/closure");
    assert_eq!(route_label(silent, Some("/request"), None), "/request");
    assert_eq!(route_label(silent, None, None), "/items/{id}");
}

#[test]
fn a_table_matches_segments_and_the_first_match_wins() {
    let cases = [
        ("/", "/"),
        ("/items", "/items"),
        ("/items?n=1", "/items"),
        ("/items/1", "/items/{id}"),
        ("/items/1/parts", "/items/{id}/parts"),
        ("/items/new", "/items/{id}"),
        ("/files/a/b/c", "/files/{*path}"),
        ("/files/", "unmatched"),
        ("/files", "unmatched"),
        ("/items/", "unmatched"),
        ("/items/1/", "unmatched"),
        ("/ITEMS", "unmatched"),
        ("//", "unmatched"),
        ("/items/1/parts/2", "unmatched"),
    ];
    for (path, expected) in cases {
        let metrics = Metrics::new();
        let layer = layer(&metrics).routes([
            "/",
            "/items",
            "/items/{id}",
            "/items/new",
            "/items/{id}/parts",
            "/files/{*path}",
        ]);
        let request = Request::get(path).body(empty()).unwrap();
        drop(answer::<_, _, Infallible>(&layer, request, Ok(Response::new(full("")))));
        assert_eq!(metrics.sample(DURATION).0["route"], expected, "{path}");
    }
}

#[test]
fn a_request_without_a_response_keeps_the_route_of_its_request() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).routes(["/items/{id}"]);
    drop(answer::<Full<Bytes>, _, _>(&layer, get(), Err("gone")));
    assert_eq!(metrics.sample(DURATION).0["route"], "/items/{id}");
}

#[test]
fn sets_of_labels_over_the_cap_are_folded_into_one_and_counted() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).max_series(2).route(|request| request.extensions.get().copied());
    let routes = ["/a", "/b", "/c", "/d", "/a", "/b", "/c"];
    for route in routes {
        let mut request = get();
        request.extensions_mut().insert::<&'static str>(route);
        drop(answer::<_, _, Infallible>(&layer, request, Ok(Response::new(full("")))));
    }
    let mut found: Vec<_> =
        metrics.samples(DURATION).into_iter().map(|(labels, _)| labels["route"].clone()).collect();
    found.sort();
    assert_eq!(found, ["/a", "/a", "/b", "/b", "_overflow", "_overflow", "_overflow"]);
    assert_eq!(metrics.counted(OVERFLOW, &[]), 3);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    let overflow =
        metrics.samples(DURATION).into_iter().find(|(labels, _)| labels["route"] == "_overflow");
    let expected =
        [("method", "GET"), ("route", "_overflow"), ("status_code", "200"), ("outcome", "ok")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(overflow.unwrap().0, expected.into(), "the other labels stay");
}

#[test]
fn a_cap_counts_statuses_and_outcomes_too() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).max_series(3);
    for code in [200, 201, 202, 203, 206, 200] {
        let response = Response::builder().status(code).body(full("")).unwrap();
        drop(answered(&layer, Method::GET, response));
    }
    assert_eq!(metrics.counted(OVERFLOW, &[]), 2);
    assert_eq!(metrics.samples(DURATION).len(), 6, "each request is recorded once");
}

#[test]
fn a_skipped_request_leaves_no_trace_and_passes() {
    let metrics = Metrics::new();
    let layer =
        layer(&metrics).first_byte().sizes().skip_if(|request| request.uri.path() == "/healthz");
    let request = Request::get("/healthz").body(empty()).unwrap();
    let response = Response::builder().header("content-type", "text/event-stream");
    let response = response.body(Scripted::<Infallible>::new([data(2)])).unwrap();
    let response = answer::<_, _, Infallible>(&layer, request, Ok(response)).unwrap();
    assert_eq!(now(response.into_body().collect()).unwrap().to_bytes().len(), 2);
    for histogram in [DURATION, FIRST_BYTE, REQUEST_SIZE, RESPONSE_SIZE] {
        assert_eq!(metrics.samples(histogram), [], "{histogram}");
    }
    assert_eq!(metrics.counted(STREAMS, &[]), 0);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);

    drop(answered(&layer, Method::GET, Response::new(full(""))));
    assert_eq!(metrics.samples(DURATION).len(), 1, "another path is not skipped");
}

#[test]
fn an_error_text_or_a_path_is_in_no_label() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    drop(answer::<Full<Bytes>, _, _>(&layer, get(), Err("secret")));
    let (labels, _) = metrics.sample(DURATION);
    let values = labels.values().cloned().collect::<String>();
    assert!(!values.contains("secret") && !values.contains("items"), "{labels:?}");
}

// OpenTelemetry.

#[test]
fn the_names_and_labels_of_open_telemetry() {
    let metrics = Metrics::new();
    let layer =
        layer(&metrics).names(Names::OpenTelemetry).routes(["/items/{id}"]).first_byte().sizes();
    drop(answered(&layer, Method::GET, Response::new(full(""))));
    let expected: Labels = [
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for histogram in [
        "http.server.request.duration",
        "http.server.request.first_byte",
        "http.server.request.body.size",
        "http.server.response.body.size",
    ] {
        assert_eq!(metrics.sample(histogram).0, expected, "{histogram}");
    }
    let gauges = metrics.gauges("http.server.active_requests");
    let expected: Labels = [("http.request.method", "GET"), ("url.scheme", "http")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    assert_eq!(gauges, [(expected, 0.0)]);
    assert_eq!(metrics.samples(DURATION), []);
}

fn open_telemetry(response: Result<Response<Full<Bytes>>, &'static str>) -> Labels {
    let metrics = Metrics::new();
    let layer = layer(&metrics).names(Names::OpenTelemetry);
    drop(answer(&layer, get(), response));
    assert_eq!(metrics.gauge("http.server.active_requests"), 0.0);
    metrics.sample("http.server.request.duration").0
}

#[test]
fn the_error_type_of_open_telemetry_is_what_failed_or_the_code_of_a_server_error() {
    let with = |code| Ok(Response::builder().status(code).body(Full::default()).unwrap());
    for code in [200, 304, 404, 499] {
        assert!(!open_telemetry(with(code)).contains_key("error.type"), "{code}");
    }
    assert_eq!(open_telemetry(with(500))["error.type"], "500");
    assert_eq!(open_telemetry(with(503))["error.type"], "503");
    let labels = open_telemetry(Err("gone"));
    assert_eq!(labels["error.type"], "service_error");
    assert!(!labels.contains_key("http.response.status_code"));
    assert!(!labels.contains_key("http.route"), "left out where nothing matches");
}

#[test]
fn a_disconnect_in_a_server_error_is_told_as_the_disconnect_under_open_telemetry() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).names(Names::OpenTelemetry);
    let response = Response::builder().status(500).body(Scripted::<Infallible>::new([data(1)]));
    drop(answered(&layer, Method::GET, response.unwrap()));
    let (labels, _) = metrics.sample("http.server.request.duration");
    assert_eq!(labels["error.type"], "disconnect");
    assert_eq!(labels["http.response.status_code"], "500");
}

#[test]
fn the_scheme_is_what_the_target_says_or_else_what_the_layer_is_told() {
    let scheme = |layer: LatencyLayer, target: &str| {
        let metrics = Metrics::new();
        let layer = layer.names(Names::OpenTelemetry).recorder(metrics.recorder());
        let request = Request::get(target).body(empty()).unwrap();
        drop(answer::<_, _, Infallible>(&layer, request, Ok(Response::new(full("")))));
        metrics.sample("http.server.request.duration").0["url.scheme"].clone()
    };
    assert_eq!(scheme(LatencyLayer::new(), "/"), "http");
    assert_eq!(scheme(LatencyLayer::new().https(), "/"), "https");
    assert_eq!(scheme(LatencyLayer::new(), "https://h.example/"), "https");
    assert_eq!(scheme(LatencyLayer::new().https(), "http://h.example/"), "http");
    assert_eq!(scheme(LatencyLayer::new().https(), "secret://h.example/"), "http");
}

#[test]
fn streams_and_overflow_have_their_open_telemetry_names() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).names(Names::OpenTelemetry).max_series(0);
    let response = Response::builder().status(101).body(full("")).unwrap();
    drop(answered(&layer, Method::GET, response));
    drop(answered(&layer, Method::GET, Response::new(full(""))));
    assert_eq!(metrics.counted("http.server.streams", &[("kind", "upgrade")]), 1);
    assert_eq!(metrics.counted("http.server.series_overflow", &[]), 2);
    assert_eq!(metrics.sample("http.server.request.duration").0["http.route"], "_overflow");
}

// Histograms.

#[test]
fn the_optional_histograms_are_off_unless_they_are_asked_for() {
    let metrics = Metrics::new();
    drop(answered(&layer(&metrics), Method::GET, Response::new(full("x"))));
    let names: Vec<_> = metrics.described().into_keys().collect();
    assert_eq!(names, [OPEN, DURATION, IN_FLIGHT, REQUESTS, OVERFLOW, STREAMS]);
}

#[test]
fn every_metric_has_a_unit_and_a_help_text() {
    let metrics = Metrics::new();
    let all = layer(&metrics).first_byte().sizes().max_series(1);
    drop(answered(&all, Method::GET, Response::new(full(""))));
    let upgrade = Response::builder().status(101).body(full("")).unwrap();
    drop(answered(&all, Method::GET, upgrade));
    drop(answered(&all, Method::POST, Response::new(full(""))));
    let described = metrics.described();
    let units: Vec<_> =
        described.iter().map(|(name, (unit, _))| (name.as_str(), unit.unwrap())).collect();
    let expected = [
        (OPEN, Unit::Count),
        (DURATION, Unit::Seconds),
        (FIRST_BYTE, Unit::Seconds),
        (REQUEST_SIZE, Unit::Bytes),
        (IN_FLIGHT, Unit::Count),
        (REQUESTS, Unit::Count),
        (RESPONSE_SIZE, Unit::Bytes),
        (OVERFLOW, Unit::Count),
        (LIFETIME, Unit::Seconds),
        (STREAMS, Unit::Count),
    ];
    assert_eq!(units, expected);
    assert!(described.values().all(|(_, help)| !help.is_empty()), "{described:?}");
}

#[test]
fn sizes_are_what_the_request_declares_and_what_of_the_response_was_handed_over() {
    let sizes = |request: Request<Scripted<Infallible>>, response: Scripted<Infallible>, polls| {
        let metrics = Metrics::new();
        let layer = layer(&metrics).sizes();
        let response = answer::<_, _, Infallible>(&layer, request, Ok(Response::new(response)));
        let mut body = response.unwrap().into_body();
        for _ in 0..polls {
            let _ = poll_frame(&mut body);
        }
        drop(body);
        let request = metrics.samples(REQUEST_SIZE).into_iter().map(|(_, size)| size).collect();
        (request, metrics.sample(RESPONSE_SIZE).1)
    };
    let nothing = Scripted::new([]);
    let request = |len: u64| Request::post("/").header("content-length", len);
    let declared = request(1_234).body(Scripted::new([])).unwrap();
    assert_eq!(sizes(declared, Scripted::new([data(3), data(4)]), 3), (vec![1_234.0], 7.0));
    let exact = Request::new(Scripted::new([data(99)]).exact());
    assert_eq!(sizes(exact, nothing, 1), (vec![99.0], 0.0));
    let chunked = Request::new(Scripted::new([data(99)]));
    assert_eq!(sizes(chunked, Scripted::new([data(3), data(4)]), 1), (vec![], 3.0));
    let without = request(0).body(Scripted::new([])).unwrap();
    assert_eq!(sizes(without, Scripted::new([data(3), trailers()]), 2), (vec![0.0], 3.0));
}

#[test]
fn a_head_request_has_a_response_of_no_bytes() {
    let metrics = Metrics::new();
    let response = Response::builder().header("content-length", 500).body(full("x")).unwrap();
    drop(answered(&layer(&metrics).sizes(), Method::HEAD, response));
    assert_eq!(metrics.sample(RESPONSE_SIZE).1, 0.0);
}

#[test]
fn the_first_byte_is_recorded_once_and_never_later_than_the_last() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).first_byte();
    let response = Response::new(Scripted::<Infallible>::new([data(1)]));
    let mut body = answered(&layer, Method::GET, response);
    while !matches!(poll_frame(&mut body), Poll::Ready(None)) {}
    let (labels, first) = metrics.sample(FIRST_BYTE);
    let (same, last) = metrics.sample(DURATION);
    assert_eq!(labels, same);
    assert!(0.0 <= first && first <= last, "{first} {last}");
}

#[test]
fn a_request_without_a_head_has_no_first_byte_and_no_response_size() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).first_byte().sizes();
    drop(answer::<Full<Bytes>, _, _>(&layer, get(), Err("gone")));
    assert_eq!(metrics.samples(FIRST_BYTE), []);
    assert_eq!(metrics.samples(RESPONSE_SIZE), []);
    assert_eq!(metrics.samples(DURATION).len(), 1);
    assert_eq!(metrics.sample(REQUEST_SIZE).1, 0.0);
}

#[test]
fn until_first_byte_the_duration_is_that_of_the_head_and_the_outcome_still_that_of_the_body() {
    let metrics = Metrics::new();
    let layer = layer(&metrics).first_byte().until_first_byte();
    let response = Response::new(Scripted::<Infallible>::new([data(1)]));
    let body = answered(&layer, Method::GET, response);
    assert_in_flight(&metrics);
    drop(body);
    assert_eq!(metrics.sample(DURATION), metrics.sample(FIRST_BYTE));
    assert_ended(&metrics, Some("200"), "disconnect");
}

// The layer.

#[test]
fn all_services_of_a_layer_share_its_series() {
    let metrics = Metrics::new();
    let shared = layer(&metrics).max_series(1);
    for _ in 0..100 {
        // `answered` calls `Layer::layer` each time, as axum does.
        drop(answered(&shared, Method::GET, Response::new(full(""))));
    }
    assert_eq!(metrics.samples(DURATION).len(), 100);
    assert_eq!(metrics.counted(OVERFLOW, &[]), 0, "it is one set of labels");
    let clone = shared.clone();
    drop(answered(&clone, Method::POST, Response::new(full(""))));
    drop(answered(&shared, Method::POST, Response::new(full(""))));
    assert_eq!(metrics.counted(OVERFLOW, &[]), 2, "a clone shares them too");
}

#[test]
fn two_layers_with_recorders_of_their_own_never_meet() {
    let (one, other) = (Metrics::new(), Metrics::new());
    drop(answered(&layer(&one), Method::GET, Response::new(full(""))));
    assert_eq!(one.samples(DURATION).len(), 1);
    assert_eq!(other.samples(DURATION), []);
}

#[test]
fn the_layer_may_be_built_before_the_recorder_is_there() {
    let shared = LatencyLayer::new();
    let mut service =
        shared.layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(full(""))))));
    let metrics = Metrics::new();
    metrics::with_local_recorder(&*metrics.recorder(), || drop(now(service.call(get()))));
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn requests_at_the_same_time_are_all_in_flight() {
    let metrics = Metrics::new();
    let layer = layer(&metrics);
    let inner = service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut service = layer.layer(inner);
    let futures: Vec<_> = (0..5).map(|_| service.call(get())).collect();
    assert_eq!(metrics.gauge(IN_FLIGHT), 5.0);
    drop(futures);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    assert_eq!(metrics.samples(DURATION).len(), 5);
}

#[test]
fn threads_that_record_the_same_series_lose_nothing() {
    // Ten sets of labels, below the cap and above it.
    for (cap, fits) in [(64, true), (8, false)] {
        let metrics = Metrics::new();
        let layer = layer(&metrics).max_series(cap);
        let record = || {
            for n in 0..200 {
                let response = Response::builder().status(200 + n % 10).body(full("")).unwrap();
                drop(answered(&layer, Method::GET, response));
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(record);
            }
        });
        let samples = metrics.samples(DURATION);
        assert_eq!(samples.len(), 800);
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
        let folded = samples.iter().filter(|(labels, _)| labels["route"] == "_overflow").count();
        assert_eq!(metrics.counted(OVERFLOW, &[]), folded as u64);
        assert_eq!(folded == 0, fits, "{folded}");
        let mut sets: Vec<_> = samples.iter().map(|(labels, _)| labels).collect();
        sets.sort();
        sets.dedup();
        assert_eq!(sets.len(), 10, "a status stays itself, whatever its route becomes");
    }
}

#[tokio::test]
async fn it_works_over_a_concurrency_limit() {
    let metrics = Metrics::new();
    let mut service = ServiceBuilder::new()
        .layer(layer(&metrics))
        .layer(ConcurrencyLimitLayer::new(1))
        .service_fn(|_| async { Ok::<_, Infallible>(Response::new(full(""))) });
    for _ in 0..3 {
        let response = service.ready().await.unwrap().call(get()).await.unwrap();
        assert_eq!(response.status(), status(200));
    }
    assert_eq!(metrics.samples(DURATION).len(), 3);
}

#[test]
fn an_infallible_service_stays_infallible_and_the_body_keeps_its_types() {
    fn same<S, R, B>(_: &S)
    where
        S: Service<R, Error = Infallible, Response = Response<ResponseBody<B>>>,
        B: Body,
        ResponseBody<B>: Body<Data = B::Data, Error = B::Error>,
    {
    }
    let inner = service_fn(|_: Request<Full<Bytes>>| {
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    same::<_, Request<Full<Bytes>>, Full<Bytes>>(&LatencyLayer::new().layer(inner));
}
