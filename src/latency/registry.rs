use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::Guard;
use metrics::Gauge;

use super::append_only_map::{AppendOnlyMap, hash_str, hash_u64};
use super::labels::LabelValues;
use super::policy::StreamKind;
use super::registrar::{CommonHandles, Handles, Registrar};
use super::series::{RouteLabel, Series};
use crate::refreshing_handle::{RefreshingHandle, Registered};

/// The metric handles of every set of labels that was recorded, found without a lock.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) registrar: Registrar,
    routes: AppendOnlyMap<Arc<str>, ()>,
    series: AppendOnlyMap<SeriesKey, RefreshingHandle<Handles>>,
    /// The sets of labels with the route `_overflow`.
    // The map needs no maximum: custom values are `other` in it, and clients cannot choose the
    // values of the other labels freely.
    overflow: OnceLock<AppendOnlyMap<SeriesKey, RefreshingHandle<Handles>>>,
    common: OnceLock<RefreshingHandle<CommonHandles>>,
    in_flight: Box<[InFlightGauge]>,
    /// The number of open streams of each kind.
    open_streams: Box<[AtomicI64]>,
}

/// The number of requests in flight that one gauge reports.
#[derive(Debug, Default)]
struct InFlightGauge {
    count: AtomicI64,
    /// Unused if the gauge has no labels and is one of the [`CommonHandles`].
    gauge: OnceLock<RefreshingHandle<Gauge>>,
}

/// The key of a set of labels.
// The route is the address of its only `Arc`, which the registry never drops, so that finding a
// series compares three integers and reads no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SeriesKey {
    route: usize,
    packed: u64,
    custom: u64,
}

type HandlesGuard = Guard<Arc<Registered<Handles>>>;

impl Registry {
    pub(super) fn new(registrar: Registrar, max_series: usize) -> Self {
        Self {
            routes: AppendOnlyMap::new(max_series),
            series: AppendOnlyMap::new(max_series),
            overflow: OnceLock::new(),
            common: OnceLock::new(),
            in_flight: (0..registrar.gauge_count()).map(|_| InFlightGauge::default()).collect(),
            open_streams: registrar.stream_kinds.iter().map(|_| AtomicI64::new(0)).collect(),
            registrar,
        }
    }

    /// Returns the label of a route template.
    pub(super) fn route(&self, template: &str) -> RouteLabel {
        let found = self.routes.get_or_insert_with(
            hash_str(template),
            |other| **other == *template,
            || (Arc::from(template), ()),
        );
        found.map_or(RouteLabel::Overflow, |(route, ())| RouteLabel::Template(Arc::clone(route)))
    }

    /// Registers the common metrics, unless a request has done so.
    // The handles are not stored: if no recorder is installed yet, they would stay no-ops for the
    // ten seconds until they are registered again.
    pub(super) fn register_common(&self) {
        if self.common.get().is_none() {
            self.registrar.common();
        }
    }

    /// Counts a request as in flight.
    #[inline]
    pub(super) fn request_started(&self, series: &Series, now: Instant) {
        let in_flight = &self.in_flight[self.registrar.gauge_index(series)];
        in_flight.count.fetch_add(1, Ordering::SeqCst);
        let common = self.common(now);
        if self.in_flight.len() == 1 {
            set_gauge(&common.handle.in_flight, &in_flight.count);
        } else {
            let register = || self.registrar.in_flight(series);
            let gauge = in_flight.gauge.get_or_init(|| RefreshingHandle::new(register(), now));
            set_gauge(&gauge.get(now, register).handle, &in_flight.count);
        }
    }

    /// Counts a request as no longer in flight.
    #[inline]
    pub(super) fn request_ended(&self, series: &Series, handles: &Handles) {
        let in_flight = &self.in_flight[self.registrar.gauge_index(series)];
        in_flight.count.fetch_sub(1, Ordering::SeqCst);
        set_gauge(&handles.in_flight, &in_flight.count);
    }

    /// Counts a stream as open, and records the time to its first byte.
    pub(super) fn stream_started(
        &self,
        route: &RouteLabel,
        series: &Series,
        first_byte: Option<Duration>,
        now: Instant,
    ) {
        let (handles, _) = self.handles(route, series, now);
        handles.handle.streams.increment(1);
        if let Some(first_byte) = first_byte {
            handles.handle.first_byte.record(first_byte);
        }
        if series.kind == StreamKind::UPGRADE {
            self.request_ended(series, &handles.handle);
        }
        self.add_open_streams(series.kind, 1, now);
    }

    /// Counts a stream as no longer open.
    pub(super) fn stream_ended(&self, kind: StreamKind, now: Instant) {
        self.add_open_streams(kind, -1, now);
    }

    fn add_open_streams(&self, kind: StreamKind, number: i64, now: Instant) {
        let at = usize::from(kind.0).wrapping_sub(1);
        let common = self.common(now);
        if let (Some(count), Some(gauge)) =
            (self.open_streams.get(at), common.handle.open_streams.get(at))
        {
            count.fetch_add(number, Ordering::SeqCst);
            set_gauge(gauge, count);
        }
    }

    /// Counts a request whose route is reported as `_overflow`.
    pub(super) fn count_overflow(&self, now: Instant) {
        self.common(now).handle.overflow.increment(1);
    }

    /// Returns the handles of a set of labels, and `true` if its route is reported as `_overflow`.
    #[inline]
    pub(super) fn handles(
        &self,
        route: &RouteLabel,
        series: &Series,
        now: Instant,
    ) -> (HandlesGuard, bool) {
        let address = match route {
            RouteLabel::Unmatched => 0,
            RouteLabel::Template(route) => Arc::as_ptr(route).cast::<u8>() as usize,
            RouteLabel::Overflow => return (self.overflow_handles(series, now), true),
        };
        let key = SeriesKey { route: address, packed: series.packed(), custom: series.custom.0 };
        let register = || self.registrar.handles(route, series);
        let found = self.series.get_or_insert_with(
            key.hash(),
            |other| *other == key,
            || (key, RefreshingHandle::new(register(), now)),
        );
        match found {
            Some((_, handles)) => (handles.get(now, register), false),
            None => (self.overflow_handles(series, now), true),
        }
    }

    #[cold]
    fn overflow_handles(&self, series: &Series, now: Instant) -> HandlesGuard {
        let series = Series { custom: LabelValues::with_other_values(series.custom), ..*series };
        let key = SeriesKey { route: 0, packed: series.packed(), custom: series.custom.0 };
        let register = || self.registrar.handles(&RouteLabel::Overflow, &series);
        let map = self.overflow.get_or_init(|| AppendOnlyMap::new(usize::MAX));
        let found = map.get_or_insert_with(
            key.hash(),
            |other| *other == key,
            || (key, RefreshingHandle::new(register(), now)),
        );
        match found {
            Some((_, handles)) => handles.get(now, register),
            // Unreachable, since the map has no maximum.
            None => RefreshingHandle::new(register(), now).get(now, register),
        }
    }

    #[inline]
    fn common(&self, now: Instant) -> Guard<Arc<Registered<CommonHandles>>> {
        let register = || self.registrar.common();
        self.common.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register)
    }
}

impl SeriesKey {
    #[inline]
    fn hash(&self) -> u64 {
        let hash = hash_u64(hash_u64(0, self.route as u64), self.packed);
        if self.custom == 0 {
            return hash;
        }
        hash_u64(hash, self.custom)
    }
}

/// Sets a gauge to a count that other threads change at the same time.
// A thread that sets an older count than another thread reads the count again afterwards, so the
// last value that is set is the current count. The gauge is set and not incremented, because a
// gauge that an exporter has expired starts at 0 again.
#[inline]
fn set_gauge(gauge: &Gauge, count: &AtomicI64) {
    loop {
        let now = count.load(Ordering::SeqCst);
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge.set(now as f64);
        if count.load(Ordering::SeqCst) == now {
            return;
        }
    }
}
