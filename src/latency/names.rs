use metrics::Unit;

use crate::metrics::Name;

/// The convention that metrics and labels are named by.
///
/// The [module page](crate::latency#metrics) lists the names of both conventions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricNames {
    /// The [naming practices] of Prometheus:
    /// `http_request_duration_seconds{method, route, status_code, outcome}`.
    ///
    /// [naming practices]: https://prometheus.io/docs/practices/naming/
    #[default]
    Prometheus,
    /// The [semantic conventions] of OpenTelemetry for HTTP servers:
    /// `http.server.request.duration` with the labels `http.request.method`, `http.route`,
    /// `http.response.status_code`, `url.scheme`, `network.protocol.version` and `error.type`.
    ///
    /// Metrics that the conventions do not define, such as streams and totals, get names of the
    /// same form.
    ///
    /// [semantic conventions]: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
    OpenTelemetry,
}

/// The names, units and help texts of one convention.
#[derive(Debug)]
pub(super) struct NameSet {
    pub(super) duration: Name,
    pub(super) first_byte: Name,
    pub(super) stream_duration: Name,
    pub(super) request_size: Name,
    pub(super) response_size: Name,
    pub(super) in_flight: Name,
    pub(super) open_streams: Name,
    pub(super) requests: Name,
    pub(super) streams: Name,
    pub(super) overflow: Name,
    pub(super) method: &'static str,
    pub(super) route: &'static str,
    pub(super) status: &'static str,
    pub(super) outcome: &'static str,
    pub(super) grpc_status: &'static str,
}

impl MetricNames {
    /// Returns the names of the histograms of request durations and times to the first byte, in
    /// seconds. [`DURATION_BUCKETS`] suit them.
    #[must_use]
    pub const fn durations(self) -> [&'static str; 2] {
        let names = self.name_set();
        [names.duration.name, names.first_byte.name]
    }

    /// Returns the names of the histograms of stream durations, in seconds.
    /// [`STREAM_DURATION_BUCKETS`] suit them.
    #[must_use]
    pub const fn stream_durations(self) -> [&'static str; 1] {
        [self.name_set().stream_duration.name]
    }

    /// Returns the names of the histograms of request and response body sizes, in bytes.
    /// [`BODY_SIZE_BUCKETS`] suit them.
    #[must_use]
    pub const fn body_sizes(self) -> [&'static str; 2] {
        let names = self.name_set();
        [names.request_size.name, names.response_size.name]
    }

    pub(super) const fn name_set(self) -> &'static NameSet {
        match self {
            Self::Prometheus => &PROMETHEUS,
            Self::OpenTelemetry => &OPEN_TELEMETRY,
        }
    }

    pub(super) fn is_open_telemetry(self) -> bool {
        self == Self::OpenTelemetry
    }
}

const PROMETHEUS: NameSet = NameSet {
    duration: Name::new("http_request_duration_seconds", Unit::Seconds, DURATION),
    first_byte: Name::new("http_request_first_byte_seconds", Unit::Seconds, FIRST_BYTE),
    stream_duration: Name::new("http_stream_duration_seconds", Unit::Seconds, STREAM_DURATION),
    request_size: Name::new("http_request_size_bytes", Unit::Bytes, REQUEST_SIZE),
    response_size: Name::new("http_response_size_bytes", Unit::Bytes, RESPONSE_SIZE),
    in_flight: Name::new("http_requests_in_flight", Unit::Count, IN_FLIGHT),
    open_streams: Name::new("http_open_streams", Unit::Count, OPEN_STREAMS),
    requests: Name::new("http_requests_total", Unit::Count, REQUESTS),
    streams: Name::new("http_streams_total", Unit::Count, STREAMS),
    overflow: Name::new("http_series_overflow_total", Unit::Count, SERIES_OVERFLOW),
    method: "method",
    route: "route",
    status: "status_code",
    outcome: "outcome",
    grpc_status: "grpc_status",
};

// The conventions define the durations, sizes and active requests. The other names follow their form.
const OPEN_TELEMETRY: NameSet = NameSet {
    duration: Name::new("http.server.request.duration", Unit::Seconds, DURATION),
    first_byte: Name::new("http.server.request.first_byte", Unit::Seconds, FIRST_BYTE),
    stream_duration: Name::new("http.server.stream.duration", Unit::Seconds, STREAM_DURATION),
    request_size: Name::new("http.server.request.body.size", Unit::Bytes, REQUEST_SIZE),
    response_size: Name::new("http.server.response.body.size", Unit::Bytes, RESPONSE_SIZE),
    in_flight: Name::new("http.server.active_requests", Unit::Count, IN_FLIGHT),
    open_streams: Name::new("http.server.open_streams", Unit::Count, OPEN_STREAMS),
    requests: Name::new("http.server.requests", Unit::Count, REQUESTS),
    streams: Name::new("http.server.streams", Unit::Count, STREAMS),
    overflow: Name::new("http.server.series_overflow", Unit::Count, SERIES_OVERFLOW),
    method: "http.request.method",
    route: "http.route",
    status: "http.response.status_code",
    outcome: "error.type",
    grpc_status: "rpc.grpc.status_code",
};

const DURATION: &str = "Time from the request to the last byte of the response, or to its headers with stop_at_headers.";
const FIRST_BYTE: &str = "Time from the request to the headers of the response.";
const STREAM_DURATION: &str = "Time from the request to the end of an event stream, an upgraded connection or a declared stream.";
const REQUEST_SIZE: &str = "Declared sizes of request bodies.";
const RESPONSE_SIZE: &str = "Sizes of response bodies, as handed to the server.";
const IN_FLIGHT: &str = "Requests whose response has not ended, without upgraded connections.";
const OPEN_STREAMS: &str = "Streams that are open, by kind.";
const REQUESTS: &str = "Requests that have ended, by status class and outcome.";
const STREAMS: &str = "Streams that have started, by kind.";
const SERIES_OVERFLOW: &str = "Requests reported with the route _overflow, because max_series sets of labels exist. Raise max_series, or use labels with fewer values.";

/// The `network.protocol.version` of each HTTP version, behind `None` for conventions without it.
pub(super) const VERSIONS: [Option<&str>; 6] =
    [None, Some("0.9"), Some("1.0"), Some("1.1"), Some("2"), Some("3")];

// OpenTelemetry leaves the label out instead.
pub(super) const UNMATCHED: &str = "unmatched";
pub(super) const OVERFLOW: &str = "_overflow";

/// Histogram buckets for request durations, in seconds: 5 ms to 10 s.
///
/// The bounds are those that OpenTelemetry recommends for `http.server.request.duration`. The
/// [module page](crate::latency#exporters) shows how `metrics-exporter-prometheus` takes them. Native
/// histograms have no buckets: pass the same matchers to `set_native_histogram_for_metric`, and
/// enable the exporter's feature `protobuf` and Prometheus' `native-histograms`. The text format
/// leaves native histograms out.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Histogram buckets for stream durations, in seconds: a tenth of a second to one day.
pub const STREAM_DURATION_BUCKETS: [f64; 12] =
    [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// Histogram buckets for body sizes, in bytes: 128 bytes to 32 MiB, each bound four times the
/// previous one.
pub const BODY_SIZE_BUCKETS: [f64; 10] = [
    128.0,
    512.0,
    2_048.0,
    8_192.0,
    32_768.0,
    131_072.0,
    524_288.0,
    2_097_152.0,
    8_388_608.0,
    33_554_432.0,
];
