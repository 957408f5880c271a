use metrics::Unit;

use crate::metrics::Name;

/// The names of metrics and labels; the [module](crate::latency) lists them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names {
    /// `http_request_duration_seconds{method, route, status_code, outcome}`.
    #[default]
    Prometheus,
    /// The [semantic conventions] of OpenTelemetry for HTTP servers:
    /// `http.server.request.duration` with `http.request.method`, `http.route`,
    /// `http.response.status_code`, `url.scheme` and `error.type`.
    ///
    /// [semantic conventions]: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
    OpenTelemetry,
}

/// The names of one convention.
#[derive(Debug)]
pub(super) struct MetricNames {
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

impl Names {
    /// Returns the names of the histograms of durations, in seconds: for [`DURATION_BUCKETS`].
    #[must_use]
    pub const fn durations(self) -> [&'static str; 2] {
        let names = self.metric_names();
        [names.duration.name, names.first_byte.name]
    }

    /// Returns the names of the histograms of lifetimes, in seconds: for [`LIFETIME_BUCKETS`].
    #[must_use]
    pub const fn lifetimes(self) -> [&'static str; 1] {
        [self.metric_names().stream_duration.name]
    }

    /// Returns the names of the histograms of sizes, in bytes: for [`SIZE_BUCKETS`].
    #[must_use]
    pub const fn sizes(self) -> [&'static str; 2] {
        let names = self.metric_names();
        [names.request_size.name, names.response_size.name]
    }

    pub(super) const fn metric_names(self) -> &'static MetricNames {
        match self {
            Self::Prometheus => &PROMETHEUS,
            Self::OpenTelemetry => &OPEN_TELEMETRY,
        }
    }

    pub(super) fn is_open_telemetry(self) -> bool {
        self == Self::OpenTelemetry
    }
}

const PROMETHEUS: MetricNames = MetricNames {
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

const OPEN_TELEMETRY: MetricNames = MetricNames {
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

const DURATION: &str = "Time from the request to the end of the response.";
const FIRST_BYTE: &str = "Time from the request to the head of the response.";
const STREAM_DURATION: &str = "Time from the request to the end of an event stream, an upgraded connection or another stream.";
const REQUEST_SIZE: &str = "Declared length of the request body.";
const RESPONSE_SIZE: &str = "Bytes of the response body that were sent.";
const IN_FLIGHT: &str = "Requests whose response is not complete yet.";
const OPEN_STREAMS: &str = "Streams that have begun and not ended, by kind.";
const REQUESTS: &str = "Requests that have ended, by the class of their status and their outcome.";
const STREAMS: &str = "Streams that have begun, by kind.";
const SERIES_OVERFLOW: &str = "Requests whose route is reported as _overflow, because there are more sets of labels than max_series.";

/// The versions of HTTP as OpenTelemetry writes them, behind one for none.
pub(super) const VERSIONS: [Option<&str>; 6] =
    [None, Some("0.9"), Some("1.0"), Some("1.1"), Some("2"), Some("3")];

pub(super) const UNMATCHED: &str = "unmatched";
pub(super) const OVERFLOW: &str = "_overflow";

/// Buckets for durations in seconds: the boundaries that OpenTelemetry recommends for HTTP.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Buckets for the lifetimes of streams in seconds: a tenth of a second to a day.
pub const LIFETIME_BUCKETS: [f64; 12] =
    [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// Buckets for sizes in bytes: 128 bytes to 32 MiB, each four times the one before.
pub const SIZE_BUCKETS: [f64; 10] = [
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
