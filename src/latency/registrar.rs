use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Recorder};

use super::labels::LabelValues;
use super::methods::Methods;
use super::names::{MetricNames, OVERFLOW, UNMATCHED, VERSIONS};
use super::policy::{Outcome, StreamKind};
use super::request_totals;
use super::series::{RouteLabel, Series, version_index};
use crate::metrics::{METADATA, Metrics, Name};

/// Registers metric handles with the recorder, under the names and labels of a convention.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) metrics: Metrics,
    pub(super) names: MetricNames,
    pub(super) enabled: Enabled,
    pub(super) methods: Methods,
    pub(super) custom: LabelValues,
    /// The kinds of streams, without duplicates.
    pub(super) stream_kinds: Vec<&'static str>,
    /// The route templates that are known before the first request.
    pub(super) templates: Vec<Arc<str>>,
}

/// The optional histograms that the user has enabled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enabled {
    pub(super) first_byte: bool,
    pub(super) body_sizes: bool,
}

/// The metric handles of one set of labels.
#[derive(Debug)]
pub(super) struct Handles {
    /// The request duration, or the stream duration if the labels are those of a stream.
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) request_size: Histogram,
    pub(super) response_size: Histogram,
    pub(super) streams: Counter,
    /// The total of requests with the same status class and outcome.
    pub(super) requests: Counter,
    /// The gauge of requests in flight that have the same method and scheme.
    pub(super) in_flight: Gauge,
}

/// The metric handles whose labels are known before the first request.
#[derive(Debug)]
pub(super) struct CommonHandles {
    pub(super) overflow: Counter,
    /// A no-op under OpenTelemetry, where the gauge has labels.
    pub(super) in_flight: Gauge,
    /// One gauge for each kind of stream.
    pub(super) open_streams: Vec<Gauge>,
}

impl Registrar {
    /// Returns the number of gauges of requests in flight: 1, or under OpenTelemetry one for each
    /// method and scheme.
    pub(super) fn gauge_count(&self) -> usize {
        if self.names.is_open_telemetry() { 2 * self.methods.len() } else { 1 }
    }

    #[inline]
    pub(super) fn gauge_index(&self, series: &Series) -> usize {
        if self.names.is_open_telemetry() {
            2 * usize::from(series.method.0) + usize::from(series.https)
        } else {
            0
        }
    }

    pub(super) fn stream_kind(&self, name: &str) -> Option<StreamKind> {
        let at = self.stream_kinds.iter().position(|kind| *kind == name)?;
        u8::try_from(at + 1).ok().map(StreamKind)
    }

    /// Registers every metric whose labels are known before the first request, so that its
    /// counters are exported as 0.
    // Prometheus computes no increase for the first sample of a counter. A counter that is
    // registered with its first event therefore hides that event from `rate` and from alerts.
    #[cold]
    pub(super) fn common(&self) -> CommonHandles {
        let names = self.names.name_set();
        for (class, outcome) in request_totals::label_sets().flatten() {
            drop(self.requests(class, outcome));
        }
        // Under OpenTelemetry, streams have labels that only a request knows.
        if !self.names.is_open_telemetry() {
            self.register_streams();
        }
        let open_streams = self.stream_kinds.iter().map(|kind| {
            self.metrics.gauge(names.open_streams, vec![Label::from_static_parts(KIND, kind)])
        });
        let open_streams = open_streams.collect();
        CommonHandles {
            overflow: self.metrics.counter(names.overflow, Vec::new()),
            in_flight: if self.names.is_open_telemetry() {
                Gauge::noop()
            } else {
                self.metrics.gauge(names.in_flight, Vec::new())
            },
            open_streams,
        }
    }

    /// Registers the gauge of requests in flight, which has labels under OpenTelemetry.
    #[cold]
    pub(super) fn in_flight(&self, series: &Series) -> Gauge {
        let names = self.names.name_set();
        let mut labels = Vec::new();
        if self.names.is_open_telemetry() {
            labels.push(Label::new(names.method, self.methods.name(series.method)));
            labels.extend(self.scheme_label(series));
        }
        self.metrics.gauge(names.in_flight, labels)
    }

    /// Registers the handles of one set of labels.
    #[cold]
    pub(super) fn handles(&self, route: &RouteLabel, series: &Series) -> Handles {
        let names = self.names.name_set();
        let labels_at_headers = self.labels_at_headers(route, series);
        let labels = self.labels_at_end(labels_at_headers.clone(), series);
        let is_stream = series.kind != StreamKind::NONE;
        let kind = self.stream_kinds.get(usize::from(series.kind.0).wrapping_sub(1));
        let with_kind = |mut labels: Vec<Label>| {
            labels.extend(kind.map(|kind| Label::from_static_parts(KIND, kind)));
            labels
        };
        let Enabled { first_byte, body_sizes } = self.enabled;
        // The size of a stream depends on when its client disconnects.
        let body_sizes = body_sizes && !is_stream;
        let total = request_totals::index(series.status, series.outcome);
        let total = request_totals::label_sets().nth(total).flatten();
        let (duration, duration_labels) = if is_stream {
            (names.stream_duration, with_kind(labels.clone()))
        } else {
            (names.duration, labels.clone())
        };
        let streams = if is_stream {
            self.metrics.counter(names.streams, with_kind(labels_at_headers))
        } else {
            Counter::noop()
        };
        self.metrics.with(|recorder| Handles {
            duration: histogram(recorder, duration, &duration_labels, true),
            first_byte: histogram(recorder, names.first_byte, &labels, first_byte),
            request_size: histogram(recorder, names.request_size, &labels, body_sizes),
            response_size: histogram(recorder, names.response_size, &labels, body_sizes),
            streams,
            requests: total
                .map_or_else(Counter::noop, |(class, outcome)| self.requests(class, outcome)),
            in_flight: self.in_flight(series),
        })
    }

    /// Registers the counters of streams for GET and each known route.
    fn register_streams(&self) {
        let names = self.names.name_set();
        for kind in &self.stream_kinds {
            let templates = self.templates.iter().map(|it| RouteLabel::Template(Arc::clone(it)));
            for route in templates.chain([RouteLabel::Unmatched]) {
                let mut labels = vec![Label::from_static_parts(names.method, "GET")];
                labels.extend(self.route_label(&route));
                labels.push(Label::from_static_parts(KIND, kind));
                drop(self.metrics.counter(names.streams, labels));
            }
        }
    }

    fn requests(&self, class: &'static str, outcome: &'static str) -> Counter {
        let labels = [("status_class", class), ("outcome", outcome)];
        let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
        self.metrics.counter(self.names.name_set().requests, labels.into())
    }

    /// Returns the labels that are known once the response headers are.
    fn labels_at_headers(&self, route: &RouteLabel, series: &Series) -> Vec<Label> {
        let names = self.names.name_set();
        let mut labels = vec![Label::new(names.method, self.methods.name(series.method))];
        labels.extend(self.route_label(route));
        labels.extend(self.scheme_label(series));
        if let Some(version) = VERSIONS[version_index(series.version)] {
            labels.push(Label::from_static_parts("network.protocol.version", version));
        }
        labels.extend(self.custom.labels(series.custom));
        labels
    }

    /// Adds the labels that are known once the response has ended.
    fn labels_at_end(&self, mut labels: Vec<Label>, series: &Series) -> Vec<Label> {
        let names = self.names.name_set();
        if let Some(status) = series.status {
            labels.push(Label::new(names.status, status.as_str().to_owned()));
        }
        // OpenTelemetry's `error.type` is set on failures only. The status code of a server error is
        // one, unless the response failed in another way as well.
        let outcome = match series.status.filter(|status| status.is_server_error()) {
            _ if !self.names.is_open_telemetry() => Some(series.outcome.as_str().into()),
            _ if series.outcome != Outcome::Ok => Some(series.outcome.as_str().into()),
            status => status.map(|status| status.as_str().to_owned().into()),
        };
        labels.extend(
            outcome.map(|outcome: metrics::SharedString| Label::new(names.outcome, outcome)),
        );
        labels.extend(series.grpc.label().map(|status| Label::new(names.grpc_status, status)));
        labels
    }

    fn route_label(&self, route: &RouteLabel) -> Option<Label> {
        let name = self.names.name_set().route;
        match route {
            RouteLabel::Template(route) => Some(Label::new(name, Arc::clone(route))),
            RouteLabel::Unmatched if self.names.is_open_telemetry() => None,
            RouteLabel::Unmatched => Some(Label::from_static_parts(name, UNMATCHED)),
            RouteLabel::Overflow => Some(Label::from_static_parts(name, OVERFLOW)),
        }
    }

    fn scheme_label(&self, series: &Series) -> Option<Label> {
        let scheme = if series.https { "https" } else { "http" };
        let label = || Label::from_static_parts("url.scheme", scheme);
        self.names.is_open_telemetry().then(label)
    }
}

/// Returns the kinds of streams: the built-in kinds, and those declared with `stream_if`.
pub(super) fn stream_kinds(declared: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut kinds = vec!["event_stream", "upgrade"];
    for kind in declared {
        if !kinds.contains(&kind) && kinds.len() < usize::from(u8::MAX) {
            kinds.push(kind);
        }
    }
    kinds
}

fn histogram(recorder: &dyn Recorder, name: Name, labels: &[Label], enabled: bool) -> Histogram {
    if !enabled {
        return Histogram::noop();
    }
    recorder.describe_histogram(name.name.into(), Some(name.unit), name.help());
    recorder.register_histogram(&Key::from_parts(name.name, labels.to_vec()), &METADATA)
}

const KIND: &str = "kind";
