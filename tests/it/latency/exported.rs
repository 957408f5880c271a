//! What Prometheus' exporter makes of the numbers.

use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, NativeHistogramConfig, PrometheusBuilder, PrometheusHandle,
};
use metrics_util::MetricKindMask;
use tower_kit::latency::{DURATION_BUCKETS, LIFETIME_BUCKETS, SIZE_BUCKETS};

use super::*;

/// The set-up of the module's page.
fn builder(names: Names) -> PrometheusBuilder {
    let buckets = [
        (&names.durations()[..], &DURATION_BUCKETS[..]),
        (&names.lifetimes(), &LIFETIME_BUCKETS),
        (&names.sizes(), &SIZE_BUCKETS),
    ];
    let mut builder = PrometheusBuilder::new();
    for (names, buckets) in buckets {
        for name in names {
            let matcher = Matcher::Full((*name).to_owned());
            builder = builder.set_buckets_for_metric(matcher, buckets).unwrap();
        }
    }
    builder
}

fn exporter(names: Names) -> (LatencyLayer, PrometheusHandle) {
    let recorder = builder(names).build_recorder();
    let handle = recorder.handle();
    let layer = LatencyLayer::new().names(names).first_byte().sizes();
    (layer.recorder(std::sync::Arc::new(recorder)), handle)
}

fn value(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn every_histogram_has_buckets_under_both_names() {
    for names in [Names::Prometheus, Names::OpenTelemetry] {
        let (layer, handle) = exporter(names);
        drop(answered(&layer, Method::GET, Response::new(full(""))));
        drop(answered(
            &layer,
            Method::GET,
            Response::builder().status(101).body(full("")).unwrap(),
        ));
        let text = handle.render();
        assert!(!text.contains(" summary"), "{text}");
        assert_eq!(text.matches(" histogram\n").count(), 5, "{text}");
        assert!(text.contains("le=\"86400\""), "lifetimes have buckets of their own");
    }
}

#[test]
fn closed_sets_of_labels_are_born_at_zero() {
    let (layer, handle) = exporter(Names::Prometheus);
    let layer = layer.routes(["/items/{id}"]).stream("ndjson", |_, _| false);
    // No request yet: the layer is stacked upon a service.
    drop(layer.layer(service_fn(|_: Request<()>| pending::<Result<(), ()>>())));
    let text = handle.render();
    assert_eq!(value(&text, "http_series_overflow_total"), Some(0.0), "{text}");
    assert_eq!(value(&text, "http_requests_in_flight"), Some(0.0));
    for kind in ["event_stream", "upgrade", "ndjson"] {
        let open = format!("http_open_streams{{kind=\"{kind}\"}}");
        assert_eq!(value(&text, &open), Some(0.0), "{kind}");
        for route in ["/items/{id}", "unmatched"] {
            let streams =
                format!("http_streams_total{{method=\"GET\",route=\"{route}\",kind=\"{kind}\"}}");
            assert_eq!(value(&text, &streams), Some(0.0), "{streams} in {text}");
        }
    }
    let requests = text.lines().filter(|line| line.starts_with("http_requests_total{"));
    assert_eq!(requests.clone().count(), 34);
    assert!(requests.clone().all(|line| line.ends_with(" 0")), "{text}");

    for _ in 0..50 {
        let refused = Response::builder().status(503).body(full("")).unwrap();
        drop(answered(&layer, Method::GET, refused));
    }
    let refused = "http_requests_total{status_class=\"5xx\",outcome=\"ok\"}";
    assert_eq!(value(&handle.render(), refused), Some(50.0));
}

#[test]
fn a_skipped_first_request_announces_the_rest() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let layer = LatencyLayer::new().skip_if(|_| true);
    // Built before there is a recorder; the scrape itself is skipped.
    let mut service =
        layer.layer(service_fn(|_| ready(Ok::<_, Infallible>(Response::new(full(""))))));
    metrics::with_local_recorder(&recorder, || drop(now(service.call(get()))));
    assert_eq!(value(&handle.render(), "http_requests_in_flight"), Some(0.0));
}

#[tokio::test]
async fn an_expired_gauge_comes_back_right() {
    let recorder = PrometheusBuilder::new()
        .idle_timeout(MetricKindMask::ALL, Some(Duration::from_millis(1)))
        .build_recorder();
    let handle = recorder.handle();
    let layer = LatencyLayer::new().recorder(std::sync::Arc::new(recorder));
    let inner = service_fn(|_| pending::<Result<Response<Full<Bytes>>, Infallible>>());
    let mut service = layer.layer(inner);
    let in_flight = || value(&handle.render(), "http_requests_in_flight");
    let first = service.call(get());
    let second = service.call(get());
    assert_eq!(in_flight(), Some(2.0));
    // The exporter forgets what was idle for a millisecond, by a clock of its own.
    while in_flight().is_some() {
        tokio::task::yield_now().await;
    }
    drop(first);
    // A set of labels is registered when it ends, and so is its gauge.
    assert_eq!(in_flight(), Some(1.0), "and not -1");
    drop(second);
    assert!(matches!(in_flight(), None | Some(0.0)));
}

#[test]
fn native_histograms_replace_those_with_buckets() {
    let names = Names::Prometheus;
    let native = NativeHistogramConfig::new(1.1, 160, 1e-6).unwrap();
    let duration = Matcher::Full(names.durations()[0].to_owned());
    let recorder =
        builder(names).set_native_histogram_for_metric(duration, native).build_recorder();
    let handle = recorder.handle();
    let layer = LatencyLayer::new().first_byte().recorder(std::sync::Arc::new(recorder));
    drop(answered(&layer, Method::GET, Response::new(full(""))));
    let text = handle.render();
    // The text has no place for them: they are for the exporter's feature `protobuf`.
    assert!(!text.contains("http_request_duration_seconds"), "{text}");
    assert!(text.contains("# TYPE http_request_first_byte_seconds histogram"), "{text}");
}
