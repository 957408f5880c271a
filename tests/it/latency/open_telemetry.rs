//! Names and labels under the conventions of OpenTelemetry.

use hyper::body::Incoming;

use super::*;
use crate::support::{Server, h1_client, h2_client, soon};

const OTEL_DURATION: &str = "http.server.request.duration";
const OTEL_IN_FLIGHT: &str = "http.server.active_requests";

fn otel_layer(metrics: &Metrics) -> LatencyLayer {
    layer(metrics).metric_names(MetricNames::OpenTelemetry)
}

#[test]
fn names_and_labels_follow_the_conventions() {
    let metrics = Metrics::new();
    let layer = otel_layer(&metrics)
        .route_templates(["/items/{id}"])
        .record_time_to_first_byte()
        .record_body_sizes();
    record(&layer, get());
    let expected = labels_of([
        ("http.request.method", "GET"),
        ("http.route", "/items/{id}"),
        ("http.response.status_code", "200"),
        ("network.protocol.version", "1.1"),
        ("url.scheme", "http"),
    ]);
    for histogram in [
        OTEL_DURATION,
        "http.server.request.first_byte",
        "http.server.request.body.size",
        "http.server.response.body.size",
    ] {
        assert_eq!(metrics.sample(histogram).0, expected, "{histogram}");
    }
    let expected = labels_of([("http.request.method", "GET"), ("url.scheme", "http")]);
    assert_eq!(metrics.gauges(OTEL_IN_FLIGHT), [(expected, 0.0)]);
    assert_eq!(metrics.samples(DURATION), []);
}

#[test]
fn streams_and_overflow_have_names() {
    let metrics = Metrics::new();
    let layer = otel_layer(&metrics).max_series(0);
    drop(get_body(&layer, empty_response(101)));
    record(&layer, get());
    assert_eq!(metrics.counted("http.server.streams", &[("kind", "upgrade")]), 1);
    assert_eq!(metrics.counted("http.server.series_overflow", &[]), 2);
    assert_eq!(metrics.sample(OTEL_DURATION).0["http.route"], "_overflow");
}

#[test]
fn error_type_is_set_on_failures_only() {
    let labels = |result: Result<Response<BoxBody>, &'static str>| {
        let metrics = Metrics::new();
        drop(call(&otel_layer(&metrics), get(), result));
        assert_eq!(metrics.gauge(OTEL_IN_FLIGHT), 0.0);
        metrics.sample(OTEL_DURATION).0
    };
    for code in [200, 304, 404, 499] {
        assert!(!labels(Ok(empty_response(code))).contains_key("error.type"), "{code}");
    }
    for code in [500, 503] {
        assert_eq!(labels(Ok(empty_response(code)))["error.type"], code.to_string());
    }
    // The way that the response failed takes precedence over its status.
    let left = labels(Ok(Response::builder().status(500).body(full("x")).unwrap()));
    assert_eq!((&*left["error.type"], &*left["http.response.status_code"]), ("disconnect", "500"));
    let failed = labels(Err("gone"));
    assert_eq!(failed["error.type"], "service_error");
    assert!(!failed.contains_key("http.response.status_code"));
    assert!(!failed.contains_key("http.route"), "no template matches");
}

#[test]
fn scheme_comes_from_the_target_or_the_layer() {
    for (assume_https, target, expected) in [
        (false, "/", "http"),
        (true, "/", "https"),
        (false, "https://h.example/", "https"),
        (true, "http://h.example/", "http"),
        (true, "secret://h.example/", "http"),
    ] {
        let metrics = Metrics::new();
        let layer = otel_layer(&metrics);
        let layer = if assume_https { layer.assume_https() } else { layer };
        record(&layer, get_path(target));
        assert_eq!(metrics.sample(OTEL_DURATION).0["url.scheme"], expected, "{target}");
    }
}

#[test]
fn gauges_name_extra_methods() {
    let metrics = Metrics::new();
    let purge = Method::from_bytes(b"PURGE").unwrap();
    let layer = otel_layer(&metrics).extra_methods([purge.clone()]);
    drop(body_of(&layer, purge, empty_response(200)));
    let gauges = metrics.gauges(OTEL_IN_FLIGHT);
    let [(labels, 0.0)] = &gauges[..] else { panic!("{gauges:?}") };
    assert_eq!(labels["http.request.method"], "PURGE");
}

#[tokio::test]
async fn version_is_a_label() {
    let metrics = Metrics::new();
    let service = ServiceBuilder::new()
        .layer(otel_layer(&metrics))
        .service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(empty_response(200)) });
    let server = Server::start(service).await;
    for client in [h1_client(), h2_client()] {
        let request = Request::get(server.url("/")).body(full("")).unwrap();
        soon(client.request(request)).await.unwrap();
    }
    metrics.wait_for(OTEL_DURATION, 2).await;
    assert_eq!(values(&metrics, OTEL_DURATION, "network.protocol.version"), ["1.1", "2"]);
}
