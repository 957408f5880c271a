use std::sync::{Arc, OnceLock};
use std::time::Instant;

use arc_swap::Guard;
use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Key, Label, Recorder};

use super::grow::{GrowOnly, hash_str, hash_u64};
use super::names::Names;
use super::policy::{KnownMethod, METHODS, Outcome};
use crate::fresh::{Fresh, Stamped};
use crate::meter::{METADATA, Meter, Name};

/// The handles of every set of labels that was seen, found without a lock.
#[derive(Debug)]
pub(super) struct Registry {
    meter: Meter,
    names: Names,
    measures: Measures,
    routes: GrowOnly<Arc<str>, ()>,
    series: GrowOnly<SeriesKey, Fresh<Handles>>,
    overflow: OnceLock<Fresh<Handles>>,
    in_flight: [OnceLock<Fresh<Gauge>>; 2 * METHODS.len()],
}

/// What is measured beside the duration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measures {
    pub(super) first_byte: bool,
    pub(super) sizes: bool,
}

/// Which template a request has.
#[derive(Clone, Debug)]
pub(super) enum RouteLabel {
    Unmatched,
    /// The one `Arc` of this template in the registry.
    Template(Arc<str>),
    /// There are too many templates.
    Overflow,
}

/// The labels of a request, but for its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Series {
    pub(super) method: KnownMethod,
    pub(super) https: bool,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) struct Handles {
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) request_size: Histogram,
    pub(super) response_size: Histogram,
    /// Does nothing but in the series of what is too much.
    pub(super) overflow: Counter,
}

/// The address of the route's one `Arc`, which the registry keeps alive, and the rest.
#[derive(Debug, PartialEq, Eq)]
struct SeriesKey {
    route: usize,
    series: Series,
}

impl Registry {
    pub(super) fn new(meter: Meter, names: Names, measures: Measures, most: usize) -> Self {
        Self {
            meter,
            names,
            measures,
            routes: GrowOnly::new(most),
            series: GrowOnly::new(most),
            overflow: OnceLock::new(),
            in_flight: [const { OnceLock::new() }; 2 * METHODS.len()],
        }
    }

    pub(super) fn route(&self, template: &str) -> RouteLabel {
        let found = self.routes.find_or_insert(
            hash_str(template),
            |at| **at == *template,
            || (Arc::from(template), ()),
        );
        found.map_or(RouteLabel::Overflow, |(route, ())| RouteLabel::Template(Arc::clone(route)))
    }

    /// The handles for these labels.
    #[inline]
    pub(super) fn handles(
        &self,
        route: &RouteLabel,
        series: Series,
        now: Instant,
    ) -> Guard<Arc<Stamped<Handles>>> {
        let register = || self.register(&self.names.labels(route, series), Counter::noop());
        let address = match route {
            RouteLabel::Unmatched => 0,
            RouteLabel::Template(route) => Arc::as_ptr(route).cast::<u8>() as usize,
            RouteLabel::Overflow => return self.overflow(now),
        };
        let key = SeriesKey { route: address, series };
        let found = self.series.find_or_insert(
            hash_u64(hash_u64(0, address as u64), series.packed()),
            |at| *at == key,
            || (SeriesKey { ..key }, Fresh::new(register(), now)),
        );
        match found {
            Some((_, handles)) => handles.get(now, register),
            None => self.overflow(now),
        }
    }

    pub(super) fn in_flight(&self, series: Series, now: Instant) -> Guard<Arc<Stamped<Gauge>>> {
        let slot = if self.names.has_scheme() {
            2 * usize::from(series.method.0) + usize::from(series.https)
        } else {
            0
        };
        let register = || {
            let name = self.names.vocabulary().in_flight;
            self.meter.gauge(name, self.names.gauge_labels(series))
        };
        self.in_flight[slot].get_or_init(|| Fresh::new(register(), now)).get(now, register)
    }

    /// Counts an event stream or an upgrade.
    pub(super) fn count_stream(&self, route: &RouteLabel, series: Series, kind: &'static str) {
        let mut labels = self.names.head_labels(route, series);
        labels.push(Label::from_static_parts("kind", kind));
        self.meter.count(self.names.vocabulary().streams, labels);
    }

    fn overflow(&self, now: Instant) -> Guard<Arc<Stamped<Handles>>> {
        let register = || {
            let counter = self.meter.counter(self.names.vocabulary().overflow, Vec::new());
            self.register(&self.names.overflow_labels(), counter)
        };
        self.overflow.get_or_init(|| Fresh::new(register(), now)).get(now, register)
    }

    #[cold]
    fn register(&self, labels: &[Label], overflow: Counter) -> Handles {
        let words = self.names.vocabulary();
        let Measures { first_byte, sizes } = self.measures;
        self.meter.with(|recorder| {
            let histogram = |on: bool, name: Name| {
                if on { register_histogram(recorder, name, labels) } else { Histogram::noop() }
            };
            Handles {
                duration: histogram(true, words.duration),
                first_byte: histogram(first_byte, words.first_byte),
                request_size: histogram(sizes, words.request_size),
                response_size: histogram(sizes, words.response_size),
                overflow,
            }
        })
    }
}

impl Series {
    fn packed(self) -> u64 {
        let status = self.status.map_or(0, |status| u64::from(status.as_u16()));
        status << 16
            | u64::from(self.method.0) << 8
            | (self.outcome as u64) << 1
            | u64::from(self.https)
    }
}

fn register_histogram(recorder: &dyn Recorder, name: Name, labels: &[Label]) -> Histogram {
    recorder.describe_histogram(name.name.into(), Some(name.unit), name.help());
    recorder.register_histogram(&Key::from_parts(name.name, labels.to_vec()), &METADATA)
}
