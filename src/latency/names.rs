use std::sync::Arc;

use metrics::{Label, Unit};

use super::policy::Outcome;
use super::series::{RouteLabel, Series};
use crate::meter::Name;

/// Under which names and labels numbers are recorded; the [module](crate::latency) lists them.
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
pub(super) struct Vocabulary {
    pub(super) duration: Name,
    pub(super) first_byte: Name,
    pub(super) request_size: Name,
    pub(super) response_size: Name,
    pub(super) in_flight: Name,
    pub(super) streams: Name,
    pub(super) overflow: Name,
    method: &'static str,
    route: &'static str,
    status: &'static str,
    outcome: &'static str,
}

impl Names {
    pub(super) fn vocabulary(self) -> &'static Vocabulary {
        match self {
            Self::Prometheus => &PROMETHEUS,
            Self::OpenTelemetry => &OPEN_TELEMETRY,
        }
    }

    pub(super) fn has_scheme(self) -> bool {
        self == Self::OpenTelemetry
    }

    /// The labels of a finished request.
    pub(super) fn labels(self, route: &RouteLabel, series: Series) -> Vec<Label> {
        let words = self.vocabulary();
        let mut labels = self.head_labels(route, series);
        if let Some(status) = series.status {
            labels.push(Label::new(words.status, status.as_str().to_owned()));
        }
        match self {
            Self::Prometheus => {
                labels.push(Label::from_static_parts(words.outcome, series.outcome.as_str()));
            }
            Self::OpenTelemetry => {
                let failed = series.status.filter(|status| status.is_server_error());
                if series.outcome != Outcome::Ok {
                    labels.push(Label::from_static_parts(words.outcome, series.outcome.as_str()));
                } else if let Some(status) = failed {
                    labels.push(Label::new(words.outcome, status.as_str().to_owned()));
                }
            }
        }
        labels
    }

    /// The labels that are known before the request has ended.
    pub(super) fn head_labels(self, route: &RouteLabel, series: Series) -> Vec<Label> {
        let words = self.vocabulary();
        let mut labels = vec![Label::from_static_parts(words.method, series.method.as_str())];
        match route {
            RouteLabel::Template(route) => labels.push(Label::new(words.route, Arc::clone(route))),
            RouteLabel::Unmatched if self == Self::OpenTelemetry => {}
            RouteLabel::Unmatched => labels.push(Label::from_static_parts(words.route, UNMATCHED)),
            RouteLabel::Overflow => labels.push(Label::from_static_parts(words.route, OVERFLOW)),
        }
        labels.extend(self.scheme_label(series.https));
        labels
    }

    /// The labels of the gauge: none for Prometheus, what is required for OpenTelemetry.
    pub(super) fn gauge_labels(self, series: Series) -> Vec<Label> {
        match self {
            Self::Prometheus => Vec::new(),
            Self::OpenTelemetry => {
                let method =
                    Label::from_static_parts(self.vocabulary().method, series.method.as_str());
                std::iter::once(method).chain(self.scheme_label(series.https)).collect()
            }
        }
    }

    /// The labels of the one series that takes what is too much.
    pub(super) fn overflow_labels(self) -> Vec<Label> {
        let words = self.vocabulary();
        let names = [words.method, words.route, words.status, words.outcome];
        names.map(|name| Label::from_static_parts(name, OVERFLOW)).into()
    }

    fn scheme_label(self, https: bool) -> Option<Label> {
        let scheme = if https { "https" } else { "http" };
        self.has_scheme().then(|| Label::from_static_parts("url.scheme", scheme))
    }
}

const PROMETHEUS: Vocabulary = Vocabulary {
    duration: Name::new("http_request_duration_seconds", Unit::Seconds, DURATION),
    first_byte: Name::new("http_request_first_byte_seconds", Unit::Seconds, FIRST_BYTE),
    request_size: Name::new("http_request_size_bytes", Unit::Bytes, REQUEST_SIZE),
    response_size: Name::new("http_response_size_bytes", Unit::Bytes, RESPONSE_SIZE),
    in_flight: Name::new("http_requests_in_flight", Unit::Count, IN_FLIGHT),
    streams: Name::new("http_streams_total", Unit::Count, STREAMS),
    overflow: Name::new("http_series_overflow_total", Unit::Count, SERIES_OVERFLOW),
    method: "method",
    route: "route",
    status: "status_code",
    outcome: "outcome",
};

const OPEN_TELEMETRY: Vocabulary = Vocabulary {
    duration: Name::new("http.server.request.duration", Unit::Seconds, DURATION),
    first_byte: Name::new("http.server.request.first_byte", Unit::Seconds, FIRST_BYTE),
    request_size: Name::new("http.server.request.body.size", Unit::Bytes, REQUEST_SIZE),
    response_size: Name::new("http.server.response.body.size", Unit::Bytes, RESPONSE_SIZE),
    in_flight: Name::new("http.server.active_requests", Unit::Count, IN_FLIGHT),
    streams: Name::new("http.server.streams", Unit::Count, STREAMS),
    overflow: Name::new("http.server.series_overflow", Unit::Count, SERIES_OVERFLOW),
    method: "http.request.method",
    route: "http.route",
    status: "http.response.status_code",
    outcome: "error.type",
};

const DURATION: &str = "Time from the request to the end of the response.";
const FIRST_BYTE: &str = "Time from the request to the head of the response.";
const REQUEST_SIZE: &str = "Declared length of the request body.";
const RESPONSE_SIZE: &str = "Bytes of the response body that were sent.";
const IN_FLIGHT: &str = "Requests whose response is not complete yet.";
const STREAMS: &str = "Event streams and upgraded connections.";
const SERIES_OVERFLOW: &str = "Requests whose labels were folded into _overflow.";

const UNMATCHED: &str = "unmatched";
const OVERFLOW: &str = "_overflow";

/// Buckets for durations in seconds: the boundaries that OpenTelemetry recommends for HTTP.
pub const DURATION_BUCKETS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

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
