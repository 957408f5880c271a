use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::Guard;
use http::{StatusCode, Version};
use metrics::{Counter, Gauge, Histogram};

use super::grow::{GrowOnly, hash_str, hash_u64};
use super::labels::{LabelSet, LabelValues};
use super::methods::MethodId;
use super::names::{OVERFLOW, UNMATCHED};
use super::policy::{GrpcStatus, Outcome, StreamKind};
use super::register::Registrar;
use crate::refreshing_handle::{RefreshingHandle, Registered};

/// The handles of every set of labels that was seen, found without a lock.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) registrar: Registrar,
    routes: GrowOnly<Arc<str>, ()>,
    series: GrowOnly<SeriesKey, RefreshingHandle<Handles>>,
    /// The sets of labels whose route is `_overflow`. Clients choose none of their labels freely,
    /// so that there is no further bound.
    folded: OnceLock<GrowOnly<SeriesKey, RefreshingHandle<Handles>>>,
    common: OnceLock<RefreshingHandle<Common>>,
    in_flight: Box<[Level]>,
    open_streams: Box<[AtomicI64]>,
}

/// How many requests are in flight, under the labels of one gauge.
#[derive(Debug, Default)]
struct Level {
    count: AtomicI64,
    /// Empty where the gauge is among the [`Common`] ones.
    gauge: OnceLock<RefreshingHandle<Gauge>>,
}

/// The route of a request, as a label.
#[derive(Clone, Debug)]
pub(super) enum RouteLabel {
    Unmatched,
    /// The one `Arc` of this template in the registry.
    Template(Arc<str>),
    /// There are too many templates.
    Overflow,
}

/// The labels of a request, but for its route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Series {
    pub(super) method: MethodId,
    pub(super) https: bool,
    /// `None` where the convention has no label for it.
    pub(super) version: Option<Version>,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: Outcome,
    pub(super) kind: StreamKind,
    pub(super) grpc: GrpcStatus,
    pub(super) custom: LabelSet,
}

/// The handles of one set of labels.
#[derive(Debug)]
pub(super) struct Handles {
    /// The lifetime, where the set is one of streams.
    pub(super) duration: Histogram,
    pub(super) first_byte: Histogram,
    pub(super) request_size: Histogram,
    pub(super) response_size: Histogram,
    pub(super) streams: Counter,
    /// Shared by all sets of this class of status and this outcome.
    pub(super) requests: Counter,
    /// The gauge of all requests in flight of this method.
    pub(super) in_flight: Gauge,
}

/// The handles whose labels are known before there is a request. Once they are registered, their
/// counters are exported as 0.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) overflow: Counter,
    pub(super) in_flight: Gauge,
    pub(super) open_streams: Vec<Gauge>,
}

/// The address of the route's one `Arc`, which the registry keeps alive, and the rest.
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
            routes: GrowOnly::new(max_series),
            series: GrowOnly::new(max_series),
            folded: OnceLock::new(),
            common: OnceLock::new(),
            in_flight: (0..registrar.gauges()).map(|_| Level::default()).collect(),
            open_streams: registrar.stream_kinds.iter().map(|_| AtomicI64::new(0)).collect(),
            registrar,
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

    /// Registers what has no labels of a request, unless a request has done so. The handles are
    /// not kept: a recorder may be installed after this.
    pub(super) fn announce(&self) {
        if self.common.get().is_none() {
            self.registrar.common();
        }
    }

    /// Counts a request that begins.
    #[inline]
    pub(super) fn enter(&self, series: &Series, now: Instant) {
        let level = &self.in_flight[self.registrar.gauge_index(series)];
        level.count.fetch_add(1, Ordering::SeqCst);
        let common = self.common(now);
        if self.in_flight.len() == 1 {
            show(&level.count, &common.handle.in_flight);
        } else {
            let register = || self.registrar.in_flight(series);
            let gauge = level.gauge.get_or_init(|| RefreshingHandle::new(register(), now));
            show(&level.count, &gauge.get(now, register).handle);
        }
    }

    /// Takes a request from those in flight.
    #[inline]
    pub(super) fn leave(&self, series: &Series, handles: &Handles) {
        let level = &self.in_flight[self.registrar.gauge_index(series)];
        level.count.fetch_sub(1, Ordering::SeqCst);
        show(&level.count, &handles.in_flight);
    }

    /// Records the head of a stream.
    pub(super) fn stream_begins(
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
            self.leave(series, &handles.handle);
        }
        self.count_stream(series.kind, 1, now);
    }

    /// Takes a stream from the open ones.
    pub(super) fn stream_ends(&self, kind: StreamKind, now: Instant) {
        self.count_stream(kind, -1, now);
    }

    fn count_stream(&self, kind: StreamKind, by: i64, now: Instant) {
        let at = usize::from(kind.0).wrapping_sub(1);
        let common = self.common(now);
        if let (Some(count), Some(gauge)) =
            (self.open_streams.get(at), common.handle.open_streams.get(at))
        {
            count.fetch_add(by, Ordering::SeqCst);
            show(count, gauge);
        }
    }

    /// Counts a request whose route was folded.
    pub(super) fn overflow(&self, now: Instant) {
        self.common(now).handle.overflow.increment(1);
    }

    /// Returns the handles for these labels, and whether the route was folded.
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
            RouteLabel::Overflow => return (self.folded(series, now), true),
        };
        let key = SeriesKey { route: address, packed: series.packed(), custom: series.custom.0 };
        let register = || self.registrar.handles(route, series);
        let found = self.series.find_or_insert(
            key.hash(),
            |at| *at == key,
            || (key, RefreshingHandle::new(register(), now)),
        );
        match found {
            Some((_, handles)) => (handles.get(now, register), false),
            None => (self.folded(series, now), true),
        }
    }

    #[cold]
    fn folded(&self, series: &Series, now: Instant) -> HandlesGuard {
        let series = Series { custom: LabelValues::folded(series.custom), ..*series };
        let key = SeriesKey { route: 0, packed: series.packed(), custom: series.custom.0 };
        let register = || self.registrar.handles(&RouteLabel::Overflow, &series);
        let table = self.folded.get_or_init(|| GrowOnly::new(usize::MAX));
        let found = table.find_or_insert(
            key.hash(),
            |at| *at == key,
            || (key, RefreshingHandle::new(register(), now)),
        );
        match found {
            Some((_, handles)) => handles.get(now, register),
            // It has no bound that could be reached.
            None => RefreshingHandle::new(register(), now).get(now, register),
        }
    }

    #[inline]
    fn common(&self, now: Instant) -> Guard<Arc<Registered<Common>>> {
        let register = || self.registrar.common();
        self.common.get_or_init(|| RefreshingHandle::new(register(), now)).get(now, register)
    }
}

impl RouteLabel {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Unmatched => UNMATCHED,
            Self::Template(template) => template,
            Self::Overflow => OVERFLOW,
        }
    }
}

impl Series {
    /// All labels but the user's, each in its own bits.
    fn packed(&self) -> u64 {
        u64::from(self.status.map_or(0, |status| status.as_u16())) << 48
            | u64::from(self.method.0) << 32
            | u64::from(self.kind.0) << 24
            | u64::from(self.grpc.packed()) << 16
            | (version_index(self.version) as u64) << 8
            | (self.outcome as u64) << 1
            | u64::from(self.https)
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

/// Returns the place of a version in [`VERSIONS`](super::names::VERSIONS).
pub(super) fn version_index(version: Option<Version>) -> usize {
    match version {
        None => 0,
        Some(Version::HTTP_09) => 1,
        Some(Version::HTTP_10) => 2,
        Some(Version::HTTP_11) => 3,
        Some(Version::HTTP_2) => 4,
        Some(_) => 5,
    }
}

/// Sets a gauge to a count that other threads change. A thread that sets an older number than
/// another one looks again after it, so that the last number is the right one.
///
/// The gauge is set and not incremented: one that an exporter has expired begins at 0 again.
#[inline]
fn show(count: &AtomicI64, gauge: &Gauge) {
    loop {
        let now = count.load(Ordering::SeqCst);
        #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
        gauge.set(now as f64);
        if count.load(Ordering::SeqCst) == now {
            return;
        }
    }
}
