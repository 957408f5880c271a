use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, Label, Recorder};

use super::labels::LabelValues;
use super::methods::Methods;
use super::names::{Names, OVERFLOW, UNMATCHED, VERSIONS};
use super::policy::{Outcome, StreamKind};
use super::series::{Common, Handles, RouteLabel, Series, version_index};
use super::totals;
use crate::metrics::{METADATA, Metrics, Name};

/// Registers handles with the recorder, under the names and labels of a convention.
#[derive(Debug)]
pub(super) struct Registrar {
    pub(super) metrics: Metrics,
    pub(super) names: Names,
    pub(super) enabled: Enabled,
    pub(super) methods: Methods,
    pub(super) custom: LabelValues,
    /// The kinds of streams, each once.
    pub(super) stream_kinds: Vec<&'static str>,
    /// The templates that are known before there is a request.
    pub(super) templates: Vec<Arc<str>>,
}

/// The histograms that are recorded beside the duration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enabled {
    pub(super) first_byte: bool,
    pub(super) sizes: bool,
}

impl Registrar {
    /// Returns the number of gauges of requests in flight: one, or under OpenTelemetry one for
    /// each method and scheme.
    pub(super) fn gauges(&self) -> usize {
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

    /// Registers what needs no request: with that, its counters are born at 0. The increase of a
    /// counter that is born at its first event does not include that event.
    #[cold]
    pub(super) fn common(&self) -> Common {
        let names = self.names.metric_names();
        for (class, outcome) in totals::label_sets().flatten() {
            drop(self.requests(class, outcome));
        }
        let open_streams = self.stream_kinds.iter().map(|kind| {
            self.metrics.gauge(names.open_streams, vec![Label::from_static_parts(KIND, kind)])
        });
        let open_streams = open_streams.collect();
        for kind in &self.stream_kinds {
            let templates = self.templates.iter().map(|it| RouteLabel::Template(Arc::clone(it)));
            for route in templates.chain([RouteLabel::Unmatched]) {
                let mut labels = vec![Label::from_static_parts(names.method, "GET")];
                labels.extend(self.route_label(&route));
                labels.push(Label::from_static_parts(KIND, kind));
                if !self.names.is_open_telemetry() {
                    drop(self.metrics.counter(names.streams, labels));
                }
            }
        }
        Common {
            overflow: self.metrics.counter(names.overflow, Vec::new()),
            in_flight: if self.names.is_open_telemetry() {
                Gauge::noop()
            } else {
                self.metrics.gauge(names.in_flight, Vec::new())
            },
            open_streams,
        }
    }

    /// Registers the gauge of requests in flight with the labels that OpenTelemetry requires.
    #[cold]
    pub(super) fn in_flight(&self, series: &Series) -> Gauge {
        let names = self.names.metric_names();
        let mut labels = Vec::new();
        if self.names.is_open_telemetry() {
            labels.push(Label::new(names.method, self.methods.name(series.method)));
            labels.extend(self.scheme_label(series));
        }
        self.metrics.gauge(names.in_flight, labels)
    }

    #[cold]
    pub(super) fn handles(&self, route: &RouteLabel, series: &Series) -> Handles {
        let names = self.names.metric_names();
        let head = self.head_labels(route, series);
        let labels = self.end_labels(head.clone(), series);
        let is_stream = series.kind != StreamKind::NONE;
        let kind = self.stream_kinds.get(usize::from(series.kind.0).wrapping_sub(1));
        let of_kind = |mut labels: Vec<Label>| {
            labels.extend(kind.map(|kind| Label::from_static_parts(KIND, kind)));
            labels
        };
        let Enabled { first_byte, sizes } = self.enabled;
        let class = totals::label_sets().nth(totals::index(series.status, series.outcome));
        let (duration, of_duration) = if is_stream {
            (names.stream_duration, of_kind(labels.clone()))
        } else {
            (names.duration, labels.clone())
        };
        let streams = if is_stream {
            self.metrics.counter(names.streams, of_kind(head))
        } else {
            Counter::noop()
        };
        self.metrics.with(|recorder| Handles {
            duration: histogram(recorder, duration, &of_duration, true),
            first_byte: histogram(recorder, names.first_byte, &labels, first_byte),
            request_size: histogram(recorder, names.request_size, &labels, sizes && !is_stream),
            response_size: histogram(recorder, names.response_size, &labels, sizes && !is_stream),
            streams,
            requests: class
                .flatten()
                .map_or_else(Counter::noop, |(class, outcome)| self.requests(class, outcome)),
            in_flight: self.in_flight(series),
        })
    }

    fn requests(&self, class: &'static str, outcome: &'static str) -> Counter {
        let labels = [("status_class", class), ("outcome", outcome)];
        let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
        self.metrics.counter(self.names.metric_names().requests, labels.into())
    }

    /// Returns the labels that are known from the head of a response.
    fn head_labels(&self, route: &RouteLabel, series: &Series) -> Vec<Label> {
        let names = self.names.metric_names();
        let mut labels = vec![Label::new(names.method, self.methods.name(series.method))];
        labels.extend(self.route_label(route));
        labels.extend(self.scheme_label(series));
        if let Some(version) = VERSIONS[version_index(series.version)] {
            labels.push(Label::from_static_parts("network.protocol.version", version));
        }
        labels.extend(self.custom.labels(series.custom));
        labels
    }

    /// Adds the labels that are known from the end of a response.
    fn end_labels(&self, mut labels: Vec<Label>, series: &Series) -> Vec<Label> {
        let names = self.names.metric_names();
        if let Some(status) = series.status {
            labels.push(Label::new(names.status, status.as_str().to_owned()));
        }
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
        let name = self.names.metric_names().route;
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

/// Returns the kinds of streams: those that are known by themselves, and the declared ones.
pub(super) fn stream_kinds(declared: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut kinds = vec!["event_stream", "upgrade"];
    for kind in declared {
        if !kinds.contains(&kind) && kinds.len() < usize::from(u8::MAX) {
            kinds.push(kind);
        }
    }
    kinds
}

fn histogram(recorder: &dyn Recorder, name: Name, labels: &[Label], is_on: bool) -> Histogram {
    if !is_on {
        return Histogram::noop();
    }
    recorder.describe_histogram(name.name.into(), Some(name.unit), name.help());
    recorder.register_histogram(&Key::from_parts(name.name, labels.to_vec()), &METADATA)
}

const KIND: &str = "kind";
