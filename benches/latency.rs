//! The cost of `latency` for each request, compared with a bare service and with its peers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::MatchedPath;
use axum::routing::get;
use axum::{Extension, Router};
use axum_prometheus::utils::SECONDS_DURATION_BUCKETS;
use axum_prometheus::{AXUM_HTTP_REQUESTS_DURATION_SECONDS, PrometheusMetricLayer};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{Empty, Full};
use hyper::body::Body;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use tower::{Layer, Service, service_fn};
use tower_http::trace::TraceLayer;
use tower_kit::LatencyLayer;
use tower_kit::latency::{BODY_SIZE_BUCKETS, DURATION_BUCKETS};

use support::{Bench, Costs, bar, call, read, versioned};

mod support;

fn main() {
    let bench = Bench::from_args();
    let exporter = install_exporter();
    let to_end = compare(&bench, "GET of 1 KiB, read to its end", None);
    exporter.run_upkeep();
    let dropped = compare(&bench, "GET of 1 KiB, dropped at its declared length", Some(1_024));
    exporter.run_upkeep();

    for (costs, ending) in [(&to_end, "read to its end"), (&dropped, "dropped")] {
        for (histograms, most) in [(1, 900.0), (3, 1_300.0)] {
            let atomics = costs.net(&kit(histograms, ATOMICS));
            let text = format!("{ending}, histograms: {histograms}");
            let allocations = atomics.map(|net| net.allocations);
            bar(&format!("allocations, {text}"), allocations, 0.0);
            let instructions = atomics.map(|net| net.instructions);
            bar(&format!("instructions, {text}, {ATOMICS}"), instructions, most);
            let exported = costs.net(&kit(histograms, EXPORTER)).map(|net| net.instructions);
            bar(&format!("instructions, {text}, {EXPORTER}"), exported, most);
        }
    }
}

/// Compares the bare service with the layered ones for the same requests.
fn compare(bench: &Bench, title: &'static str, declared: Option<u64>) -> Costs {
    let mut group = bench.group(title);
    group.case("bare", || requests(service_fn(answer), declared));
    for recorder in [ATOMICS, EXPORTER] {
        for histograms in [1, 3, 4] {
            group.case(kit(histograms, recorder), || {
                let layer = LatencyLayer::new()
                    .route(|request| request.extensions.get().map(MatchedPath::as_str));
                let layer = if histograms >= 3 { layer.record_body_sizes() } else { layer };
                let layer = if histograms >= 4 { layer.record_time_to_first_byte() } else { layer };
                let layer =
                    if recorder == ATOMICS { layer.recorder(Arc::new(Atomics)) } else { layer };
                requests(layer.layer(service_fn(answer)), declared)
            });
        }
    }
    group.case(format!("{}, 1 histogram, {EXPORTER}", versioned("axum-prometheus")), || {
        requests(PrometheusMetricLayer::new().layer(service_fn(answer)), declared)
    });
    group.case(format!("{}, 3 histograms, the SDK", versioned("tower-otel")), || {
        // The thread of the reader collects once a minute, which is not during a bench.
        let reader = PeriodicReader::builder(Nowhere).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let layer = tower_otel::metrics::HttpLayer::server(&meters.meter("bench"));
        let mut iterate = requests(layer.layer(service_fn(answer)), declared);
        move || {
            let _ = &meters;
            iterate();
        }
    });
    group.case(format!("{} TraceLayer, no subscriber", versioned("tower-http")), || {
        requests(TraceLayer::new_for_http().layer(service_fn(answer)), declared)
    });
    group.run()
}

fn kit(histograms: u32, recorder: &str) -> String {
    let plural = if histograms == 1 { "" } else { "s" };
    format!("{}, {histograms} histogram{plural}, {recorder}", versioned("tower-kit"))
}

fn requests<S, B>(mut service: S, declared: Option<u64>) -> impl FnMut() + use<S, B>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>>,
    B: Body,
{
    let head = head();
    move || {
        let request = black_box(head.clone()).map(|()| Empty::new());
        black_box(read(call(&mut service, request).into_body(), declared));
    }
}

fn answer<B>(_: Request<B>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(&[b'x'; 1_024])));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1024"));
    ready(Ok(response))
}

/// Returns the head of a request that axum has routed.
fn head() -> Request<()> {
    let mut router = Router::new()
        .route("/items/{id}", get(|matched: MatchedPath| async { Extension(matched) }));
    let uri = Uri::from_static("/items/7");
    let mut request = Request::new(axum::body::Body::empty());
    *request.uri_mut() = uri.clone();
    let routed = call(&mut router, request);

    let mut head = Request::new(());
    *head.uri_mut() = uri;
    head.extensions_mut().extend(routed.extensions().clone());
    let headers =
        [(HOST, "localhost:3000"), (USER_AGENT, "curl/8.5.0"), (ACCEPT, "text/html, */*;q=0.8")];
    for (name, value) in headers {
        head.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    head
}

/// Installs the exporter of the peer as the global recorder.
fn install_exporter() -> PrometheusHandle {
    let buckets: [(Matcher, &[f64]); 4] = [
        (Matcher::Full(AXUM_HTTP_REQUESTS_DURATION_SECONDS.into()), SECONDS_DURATION_BUCKETS),
        (Matcher::Full("http_request_duration_seconds".into()), &DURATION_BUCKETS),
        (Matcher::Full("http_request_first_byte_seconds".into()), &DURATION_BUCKETS),
        (Matcher::Suffix("_bytes".into()), &BODY_SIZE_BUCKETS),
    ];
    let builder =
        buckets.into_iter().try_fold(PrometheusBuilder::new(), |builder, (at, buckets)| {
            builder.set_buckets_for_metric(at, buckets)
        });
    let Ok(builder) = builder else { panic!("the buckets are not valid") };
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        panic!("there is a recorder already");
    }
    handle
}

/// A recorder that costs almost nothing, so that the layer's own cost remains.
struct Atomics;

#[derive(Default)]
struct Samples {
    count: AtomicU64,
    last: AtomicU64,
}

impl Recorder for Atomics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(Arc::new(AtomicU64::new(0)))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Samples::default()))
    }
}

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.last.store(value.to_bits(), Ordering::Relaxed);
    }
}

/// An exporter that sends nothing, while the SDK still aggregates.
struct Nowhere;

impl PushMetricExporter for Nowhere {
    async fn export(&self, _: &ResourceMetrics) -> OTelSdkResult {
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

const ATOMICS: &str = "atomics";
const EXPORTER: &str = "Prometheus exporter";
