//! Handles of the [`metrics`](https://docs.rs/metrics) facade: the recorder of a layer, and handles
//! that outlive a recorder.

use std::fmt;
use std::sync::Arc;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "pressure"
))]
use std::time::{Duration, Instant};

#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "pressure"
))]
use arc_swap::{ArcSwap, Guard};
use metrics::{Counter, Key, Label, Level, Metadata, Recorder, SharedString, Unit};

/// The recorder that a layer was given, or else the process's.
#[derive(Clone, Default)]
pub(crate) struct Metrics {
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
}

/// A metric's name, and what exporters print beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    help: &'static str,
}

/// A handle of a metric, or several, that is registered again once it is older than [`REFRESH`].
///
/// A handle is bound to the recorder that was installed when the handle was registered. A handle
/// that was registered before the recorder is silent forever, and so is one that an exporter has
/// expired as idle.
#[cfg(any(feature = "cache", feature = "compress", feature = "latency", feature = "pressure"))]
#[derive(Debug)]
pub(crate) struct RefreshingHandle<H>(ArcSwap<Registered<H>>);

/// A handle and the time at which it expires.
#[cfg(any(feature = "cache", feature = "compress", feature = "latency", feature = "pressure"))]
#[derive(Debug)]
pub(crate) struct Registered<H> {
    pub(crate) handle: H,
    expires: Instant,
}

impl Name {
    pub(crate) const fn new(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self { name, unit, help }
    }

    pub(crate) fn help(self) -> SharedString {
        SharedString::const_str(self.help)
    }
}

impl Metrics {
    pub(crate) fn to(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self { recorder: Some(recorder) }
    }

    pub(crate) fn with<T>(&self, record: impl FnOnce(&dyn Recorder) -> T) -> T {
        match &self.recorder {
            Some(recorder) => record(recorder),
            None => metrics::with_recorder(record),
        }
    }

    /// Counts one, on a counter that is rare enough to be looked up each time.
    #[cfg(feature = "pressure")]
    pub(crate) fn count(&self, name: Name, labels: Vec<Label>) {
        self.counter(name, labels).increment(1);
    }

    /// A counter, described.
    pub(crate) fn counter(&self, name: Name, labels: Vec<Label>) -> Counter {
        self.with(|recorder| {
            recorder.describe_counter(name.name.into(), Some(name.unit), name.help());
            recorder.register_counter(&Key::from_parts(name.name, labels), &METADATA)
        })
    }

    /// A gauge, described.
    #[cfg(any(feature = "cache", feature = "latency", feature = "pressure"))]
    pub(crate) fn gauge(&self, name: Name, labels: Vec<Label>) -> metrics::Gauge {
        self.with(|recorder| {
            recorder.describe_gauge(name.name.into(), Some(name.unit), name.help());
            recorder.register_gauge(&Key::from_parts(name.name, labels), &METADATA)
        })
    }

    /// Counts requests that a layer answers in the service's place. `count` is 0 where the series
    /// is only to exist: the increase from nothing to 1 is one that Prometheus does not see.
    #[cfg(any(feature = "limit", feature = "pressure"))]
    pub(crate) fn rejected(&self, layer: &'static str, reason: &'static str, count: u64) {
        let labels = [("layer", layer), ("reason", reason)];
        let labels = labels.map(|(name, value)| Label::from_static_parts(name, value));
        self.counter(REJECTED, labels.to_vec()).increment(count);
    }
}

#[cfg(any(feature = "cache", feature = "compress", feature = "latency", feature = "pressure"))]
impl<H> RefreshingHandle<H> {
    pub(crate) fn new(handle: H, now: Instant) -> Self {
        Self(ArcSwap::from_pointee(Registered { handle, expires: now + REFRESH }))
    }

    /// Returns the handle, and registers it anew if it has expired. Takes no lock, and allocates
    /// nothing before that.
    #[inline]
    pub(crate) fn get(
        &self,
        now: Instant,
        register: impl FnOnce() -> H,
    ) -> Guard<Arc<Registered<H>>> {
        let current = self.0.load();
        if now < current.expires {
            return current;
        }
        self.0.store(Arc::new(Registered { handle: register(), expires: now + REFRESH }));
        self.0.load()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recorder = if self.recorder.is_some() { "given" } else { "the process's" };
        f.debug_struct("Metrics").field("recorder", &recorder).finish()
    }
}

#[cfg(any(feature = "limit", feature = "pressure"))]
const REJECTED: Name = Name::new(
    "http_requests_rejected_total",
    Unit::Count,
    "Requests that a layer refused before the service answered them.",
);

/// The age at which a handle expires: shorter than any idle timeout that an exporter is likely to
/// have.
#[cfg(any(feature = "cache", feature = "compress", feature = "latency", feature = "pressure"))]
pub(crate) const REFRESH: Duration = Duration::from_secs(10);

/// The metadata of every handle of this crate.
pub(crate) const METADATA: Metadata<'static> =
    Metadata::new("tower_kit", Level::INFO, Some("tower_kit"));
