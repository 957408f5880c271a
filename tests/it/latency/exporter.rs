//! The metrics as `metrics-exporter-prometheus` exports them.

use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, NativeHistogramConfig, PrometheusBuilder, PrometheusHandle,
};
use metrics_util::MetricKindMask;
use tower_kit::latency::{BODY_SIZE_BUCKETS, DURATION_BUCKETS, STREAM_DURATION_BUCKETS};

use super::*;

/// Returns an exporter with the buckets of the module page.
fn builder(names: MetricNames) -> PrometheusBuilder {
    let buckets = [
        (&names.durations()[..], &DURATION_BUCKETS[..]),
        (&names.stream_durations(), &STREAM_DURATION_BUCKETS),
        (&names.body_sizes(), &BODY_SIZE_BUCKETS),
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

fn exporter(names: MetricNames) -> (LatencyLayer, PrometheusHandle) {
    let recorder = builder(names).build_recorder();
    let handle = recorder.handle();
    let layer =
        LatencyLayer::new().metric_names(names).record_time_to_first_byte().record_body_sizes();
    (layer.recorder(std::sync::Arc::new(recorder)), handle)
}

fn value(text: &str, line: &str) -> Option<f64> {
    let found = text.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
    found.map(|value| value.parse().unwrap())
}

#[test]
fn histograms_have_buckets_in_both_conventions() {
    for names in [MetricNames::Prometheus, MetricNames::OpenTelemetry] {
        let (layer, handle) = exporter(names);
        record(&layer, get());
        drop(get_body(&layer, empty_response(101)));
        let text = handle.render();
        assert!(!text.contains(" summary"), "{text}");
        assert_eq!(text.matches(" histogram\n").count(), 5, "{text}");
        assert!(text.contains("le=\"86400\""), "streams have buckets of their own");
    }
}

#[test]
fn known_label_sets_are_exported_as_zero() {
    let (layer, handle) = exporter(MetricNames::Prometheus);
    let layer = layer.route_templates(["/items/{id}"]).stream_if("ndjson", |_, _| false);
    // Stacking the layer on a service is enough: there is no request yet.
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
        drop(get_body(&layer, empty_response(503)));
    }
    let refused = "http_requests_total{status_class=\"5xx\",outcome=\"ok\"}";
    assert_eq!(value(&handle.render(), refused), Some(50.0));
}

#[test]
fn skipped_request_registers_the_counters() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let layer = LatencyLayer::new().skip_if(|_| true);
    // The layer is built before the recorder is installed, and the first request is a scrape.
    let mut service = layer.layer(service_fn(|_| ready(Ok::<_, Infallible>(empty_response(200)))));
    metrics::with_local_recorder(&recorder, || drop(now(service.call(get()))));
    assert_eq!(value(&handle.render(), "http_requests_in_flight"), Some(0.0));
}

#[tokio::test]
async fn expired_gauge_returns_with_the_right_value() {
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
    // The exporter expires metrics that are idle for a millisecond, by a clock of its own.
    while in_flight().is_some() {
        tokio::task::yield_now().await;
    }
    drop(first);
    // The end of a request registers its set of labels, which includes the gauge.
    assert_eq!(in_flight(), Some(1.0), "and not -1");
    drop(second);
    assert!(matches!(in_flight(), None | Some(0.0)));
}

#[test]
fn native_histograms_are_not_in_the_text_format() {
    let names = MetricNames::Prometheus;
    let native = NativeHistogramConfig::new(1.1, 160, 1e-6).unwrap();
    let duration = Matcher::Full(names.durations()[0].to_owned());
    let recorder =
        builder(names).set_native_histogram_for_metric(duration, native).build_recorder();
    let handle = recorder.handle();
    let layer =
        LatencyLayer::new().record_time_to_first_byte().recorder(std::sync::Arc::new(recorder));
    record(&layer, get());
    let text = handle.render();
    // The exporter writes native histograms with its feature `protobuf` only.
    assert!(!text.contains("http_request_duration_seconds"), "{text}");
    assert!(text.contains("# TYPE http_request_first_byte_seconds histogram"), "{text}");
}
