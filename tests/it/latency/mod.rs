//! Tests of `LatencyLayer`, most of them with scripted bodies and a recorder that keeps each sample.

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
use http_body_util::{BodyExt, Empty, Full};
use metrics::Unit;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_kit::latency::{LatencyLayer, MetricNames, ResponseBody, Route};

use crate::support::{
    BoxBody, BoxError, Labels, Metrics, Scripted, Step, data, empty, full, now, poll_frame,
    poll_once, status, trailers,
};

mod body;
mod exporter;
mod histograms;
mod labels;
mod open_telemetry;
mod outcomes;
#[cfg(feature = "full")]
mod prometheus;
mod readiness;
mod routes;
mod streams;
mod totals;

const DURATION: &str = "http_request_duration_seconds";
const IN_FLIGHT: &str = "http_requests_in_flight";
const FIRST_BYTE: &str = "http_request_first_byte_seconds";
const REQUEST_SIZE: &str = "http_request_size_bytes";
const RESPONSE_SIZE: &str = "http_response_size_bytes";
const STREAMS: &str = "http_streams_total";
const STREAM_DURATION: &str = "http_stream_duration_seconds";
const OPEN: &str = "http_open_streams";
const REQUESTS: &str = "http_requests_total";
const OVERFLOW: &str = "http_series_overflow_total";

fn get() -> Request<Empty<Bytes>> {
    get_path("/items/1")
}

fn get_path(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(empty()).unwrap()
}

fn empty_response(code: u16) -> Response<BoxBody> {
    Response::builder().status(code).body(full("")).unwrap()
}

fn layer(metrics: &Metrics) -> LatencyLayer {
    LatencyLayer::new().recorder(metrics.recorder())
}

/// Sends `request` through the layer to a service that returns `result`.
fn call<B, ReqBody, E>(
    layer: &LatencyLayer,
    request: Request<ReqBody>,
    result: Result<Response<B>, E>,
) -> Result<Response<ResponseBody<B>>, E>
where
    B: Body,
    B::Error: 'static,
    ReqBody: Body,
    E: 'static,
{
    // The layer requires a service that is `Clone`, which the result is not.
    let result = Rc::new(RefCell::new(Some(result)));
    let inner = service_fn(move |_: Request<ReqBody>| ready(result.borrow_mut().take().unwrap()));
    now(layer.layer(inner).call(request))
}

/// Returns the body of the response to a request of this method.
fn body_of<B>(layer: &LatencyLayer, method: Method, response: Response<B>) -> ResponseBody<B>
where
    B: Body,
    B::Error: 'static,
{
    let mut request = get();
    *request.method_mut() = method;
    let Ok(response) = call::<_, _, Infallible>(layer, request, Ok(response));
    response.into_body()
}

/// Returns the body of the response to a GET.
fn get_body<B>(layer: &LatencyLayer, response: Response<B>) -> ResponseBody<B>
where
    B: Body,
    B::Error: 'static,
{
    body_of(layer, Method::GET, response)
}

/// Records `request` with an empty response of the status 200.
fn record(layer: &LatencyLayer, request: Request<Empty<Bytes>>) {
    drop(call::<_, _, Infallible>(layer, request, Ok(empty_response(200))));
}

/// Records `request` with an error of the service.
fn record_error(layer: &LatencyLayer, request: Request<Empty<Bytes>>) {
    drop(call::<Full<Bytes>, _, _>(layer, request, Err("gone")));
}

/// Returns the values of a label of all requests, sorted.
fn values(metrics: &Metrics, histogram: &str, label: &str) -> Vec<String> {
    let samples = metrics.samples(histogram).into_iter();
    let mut values: Vec<_> = samples.map(|(labels, _)| labels[label].clone()).collect();
    values.sort();
    values
}

fn labels_of<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// Asserts that one GET has ended like this, and that no request is in flight.
#[track_caller]
fn assert_ended(metrics: &Metrics, status: Option<&str>, outcome: &str) {
    let (labels, _) = metrics.sample(DURATION);
    let mut expected = labels_of([("method", "GET"), ("route", "unmatched"), ("outcome", outcome)]);
    expected.extend(status.map(|status| ("status_code".to_owned(), status.to_owned())));
    assert_eq!(labels, expected);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0, "in flight");
}

#[track_caller]
fn assert_in_flight(metrics: &Metrics) {
    assert_eq!(metrics.samples(DURATION), [], "ended");
    assert_eq!(metrics.gauge(IN_FLIGHT), 1.0, "in flight");
}

#[test]
fn services_of_a_layer_share_its_series() {
    let metrics = Metrics::new();
    let shared = layer(&metrics).max_series(1);
    for _ in 0..100 {
        // `record` calls `Layer::layer` each time, as axum does.
        record(&shared, get());
    }
    assert_eq!(metrics.samples(DURATION).len(), 100);
    assert_eq!(metrics.counted(OVERFLOW, &[]), 0, "one set of labels");
    for layer in [shared.clone(), shared] {
        drop(body_of(&layer, Method::POST, empty_response(200)));
    }
    assert_eq!(metrics.counted(OVERFLOW, &[]), 2, "a clone shares the series");
}

#[test]
fn layers_with_own_recorders_are_independent() {
    let (one, other) = (Metrics::new(), Metrics::new());
    record(&layer(&one), get());
    assert_eq!(one.samples(DURATION).len(), 1);
    assert_eq!(other.samples(DURATION), []);
}

#[test]
fn recorder_may_be_installed_after_the_layer() {
    let inner = service_fn(|_| ready(Ok::<_, Infallible>(empty_response(200))));
    let mut service = LatencyLayer::new().layer(inner);
    let metrics = Metrics::new();
    metrics::with_local_recorder(&*metrics.recorder(), || drop(now(service.call(get()))));
    assert_ended(&metrics, Some("200"), "ok");
}

#[test]
fn concurrent_requests_are_all_in_flight() {
    let metrics = Metrics::new();
    let inner = service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut service = layer(&metrics).layer(inner);
    let futures: Vec<_> = (0..5).map(|_| service.call(get())).collect();
    assert_eq!(metrics.gauge(IN_FLIGHT), 5.0);
    drop(futures);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
    assert_eq!(metrics.samples(DURATION).len(), 5);
}

#[test]
fn concurrent_threads_lose_no_sample() {
    // Ten sets of labels, under the maximum and over it.
    for (max, fits) in [(64, true), (8, false)] {
        let metrics = Metrics::new();
        let layer = layer(&metrics).max_series(max);
        let record = || (0..200).for_each(|n| drop(get_body(&layer, empty_response(200 + n % 10))));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(record);
            }
        });
        let samples = metrics.samples(DURATION);
        assert_eq!(samples.len(), 800);
        assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);
        let overflowed =
            samples.iter().filter(|(labels, _)| labels["route"] == "_overflow").count();
        assert_eq!(metrics.counted(OVERFLOW, &[]), overflowed as u64);
        assert_eq!(overflowed == 0, fits, "{overflowed}");
        let mut sets: Vec<_> = samples.iter().map(|(labels, _)| labels).collect();
        sets.sort();
        sets.dedup();
        assert_eq!(sets.len(), 10, "each status keeps its label, whatever its route");
    }
}

#[test]
fn skipped_requests_are_in_no_metric() {
    let metrics = Metrics::new();
    let layer = layer(&metrics)
        .record_time_to_first_byte()
        .record_body_sizes()
        .skip_if(|request| request.uri.path() == "/healthz");
    let response = Response::builder().header("content-type", "text/event-stream");
    let response = response.body(Scripted::<Infallible>::new([data(2)])).unwrap();
    let Ok(response) = call::<_, _, Infallible>(&layer, get_path("/healthz"), Ok(response));
    assert_eq!(now(response.into_body().collect()).unwrap().to_bytes().len(), 2);
    for histogram in [DURATION, STREAM_DURATION, FIRST_BYTE, REQUEST_SIZE, RESPONSE_SIZE] {
        assert_eq!(metrics.samples(histogram), [], "{histogram}");
    }
    assert_eq!(metrics.counted(STREAMS, &[]), 0);
    assert_eq!(metrics.gauge(IN_FLIGHT), 0.0);

    record(&layer, get());
    assert_eq!(metrics.samples(DURATION).len(), 1, "another path is not skipped");
}
