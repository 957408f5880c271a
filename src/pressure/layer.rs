use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, request};
use metrics::Recorder;
use tower::Layer;

use super::event::PressureEvent;
use super::exempt::ExemptPath;
use super::memory::{MemorySource, MemoryUsage};
use super::monitor::{Callback, Monitor, MonitorSettings};
use super::policy::{InvalidThresholds, Level, Priority, Rules};
use super::rejection::PressureRejection;
use super::service::Pressure;
use super::state::{RequestSettings, SharedState};
use crate::drain::Drains;
use crate::error_response::Format;
use crate::metrics::Metrics;

/// A layer that sheds requests while memory is short, before the kernel kills the process.
///
/// The layer is its own builder: each setter returns the changed layer. Clones of a layer, and all
/// services made from them, share the readings of memory; a setter makes a layer with readings of
/// its own. See the [module documentation](crate::pressure) for the behavior and the defaults.
#[derive(Clone)]
#[doc(alias("load shedding", "load_shed", "OOM", "cgroup", "under-pressure", "overload"))]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct PressureLayer {
    shared: Arc<SharedState>,
}

impl PressureLayer {
    /// Creates a layer with the [defaults](crate::pressure#defaults).
    ///
    /// The layer reads memory once a second, calls callbacks from 80% of the limit on, and sheds all
    /// requests but health checks from 90% on, for ten seconds at a time.
    pub fn new() -> Self {
        let settings = MonitorSettings {
            rules: Rules::default(),
            interval: DEFAULT_INTERVAL,
            memory_limit: None,
            source: MemorySource::default(),
            callbacks: Vec::new(),
            metrics: Metrics::default(),
        };
        let requests = RequestSettings {
            exempt: ExemptPath::defaults(),
            skip_if: None,
            priority: None,
            format: Format::Text,
            response: None,
        };
        Self::from_settings(settings, requests)
    }

    /// Sets the fractions of the memory limit at which the level becomes [high](Level::High) and
    /// [critical](Level::Critical).
    ///
    /// The defaults are 0.80 and 0.90. With equal thresholds, the level is never `High`.
    ///
    /// # Errors
    ///
    /// Returns an error unless `0 < high <= critical <= 1`.
    pub fn thresholds(self, high: f64, critical: f64) -> Result<Self, InvalidThresholds> {
        let (mut settings, requests) = self.settings();
        settings.rules.set_thresholds(high, critical)?;
        Ok(Self::from_settings(settings, requests))
    }

    /// Sets the minimum time between two readings of memory.
    ///
    /// The default is 1 second; the minimum is 10 milliseconds, and a shorter interval is raised to
    /// it.
    pub fn interval(self, interval: Duration) -> Self {
        self.with_settings(|settings| settings.interval = interval.max(MIN_INTERVAL))
    }

    /// Sets how long requests are shed before they are admitted for the same time, in turn.
    ///
    /// The default is 10 seconds. The duration is rounded up to whole seconds, the unit of
    /// `retry-after`. [`Duration::ZERO`] disables shedding; callbacks still run.
    ///
    /// Periods of shedding end because usage may never fall: the allocator may keep freed memory.
    /// These settings make allocators return it to the system sooner:
    ///
    /// - glibc: `MALLOC_ARENA_MAX=2` and `MALLOC_TRIM_THRESHOLD_=131072`. Only `malloc_trim` returns
    ///   holes below the top of an arena; an [`on_pressure`](Self::on_pressure) callback may call it.
    /// - jemalloc: `background_thread:true,dirty_decay_ms:1000`, in `_RJEM_MALLOC_CONF` for
    ///   `tikv-jemallocator`. Without the thread, memory decays only along with other allocations.
    /// - mimalloc: `MIMALLOC_PURGE_DELAY=0`.
    #[doc(alias("shed_for", "malloc_trim", "jemalloc", "mimalloc"))]
    pub fn shed_duration(self, duration: Duration) -> Self {
        self.with_settings(|settings| settings.rules.set_shed_duration(duration))
    }

    /// Disables shedding: the layer only calls [callbacks](Self::on_pressure) and records metrics.
    ///
    /// Takes precedence over [`shed_duration`](Self::shed_duration).
    ///
    /// ```
    /// use tower_kit::PressureLayer;
    ///
    /// let layer = PressureLayer::new().watch_only().on_pressure(|event| {
    ///     eprintln!("memory is {:?}: {:?}", event.level(), event.memory_usage());
    /// });
    /// # drop(layer);
    /// ```
    #[doc(alias = "dry run")]
    pub fn watch_only(self) -> Self {
        self.with_settings(|settings| settings.rules.set_watch_only())
    }

    /// Sets a memory limit for this process, in bytes.
    ///
    /// The lowest limit applies: this one, the memory of the machine, and those of control groups.
    /// With a [`memory_source`](Self::memory_source), the lower one of its limit and this one
    /// applies. There is no such limit by default, and 0 means none.
    pub fn memory_limit(self, bytes: u64) -> Self {
        let limit = Some(bytes).filter(|&bytes| bytes > 0);
        self.with_settings(|settings| settings.memory_limit = limit)
    }

    /// Reads memory usage with `read` instead of from the operating system, for example from the
    /// allocator's statistics.
    ///
    /// The layer calls `read` within a request, so it should return fast. An error or a panic counts
    /// as a failed reading.
    ///
    /// ```
    /// use tower_kit::MIB;
    /// use tower_kit::pressure::{MemoryUsage, PressureLayer};
    ///
    /// # fn allocated() -> std::io::Result<u64> { Ok(0) }
    /// let layer =
    ///     PressureLayer::new().memory_source(|| Ok(MemoryUsage::new(allocated()?, 512 * MIB)));
    /// # drop(layer);
    /// ```
    pub fn memory_source<F>(self, read: F) -> Self
    where
        F: Fn() -> io::Result<MemoryUsage> + Send + Sync + 'static,
    {
        self.with_settings(|settings| settings.source = MemorySource::Custom(Arc::new(read)))
    }

    /// Adds a callback that is called when the level changes.
    ///
    /// While the level stays [`Critical`](Level::Critical), callbacks are also called at the end of
    /// each shedding period. They are called one after the other, in the order in which they were
    /// added.
    ///
    /// A callback runs within a request, or in [`watch`](Self::watch): it should start a task or a
    /// thread for work of more than some milliseconds. A panic is caught and counted.
    #[doc(alias("callback", "free memory"))]
    pub fn on_pressure<F>(self, callback: F) -> Self
    where
        F: Fn(&PressureEvent) + Send + Sync + 'static,
    {
        self.with_settings(|settings| settings.callbacks.push(Callback(Arc::new(callback))))
    }

    /// Adds exempt paths, whose requests are never shed.
    ///
    /// The paths of common probes and of metrics are [exempt by default](crate::pressure#exempt-paths).
    /// A path matches with and without a trailing slash; `/status/**` matches `/status` and all paths
    /// below it.
    ///
    /// ```
    /// use tower_kit::PressureLayer;
    ///
    /// let layer = PressureLayer::new().skip_paths(["/checkout", "/internal/status/**"]);
    /// # drop(layer);
    /// ```
    #[doc(alias("exempt", "health check", "probe"))]
    pub fn skip_paths<T>(self, paths: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        self.with_requests(|requests| {
            requests.exempt.extend(paths.into_iter().map(ExemptPath::new));
        })
    }

    /// Replaces the exempt paths, the default ones included.
    ///
    /// Meant for a service that has other pages at `/live` or `/up`.
    #[doc(alias = "exempt_only")]
    pub fn skip_only_paths<T>(self, paths: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let paths = paths.into_iter().map(ExemptPath::new).collect();
        self.with_requests(|requests| requests.exempt = paths)
    }

    /// Never sheds requests for which `predicate` returns `true`, in addition to those of exempt
    /// [paths](Self::skip_paths).
    ///
    /// The predicate is called only during shedding periods.
    ///
    /// ```
    /// use http::Method;
    /// use tower_kit::PressureLayer;
    ///
    /// // A DELETE request frees memory.
    /// let layer = PressureLayer::new().skip_if(|request| request.method == Method::DELETE);
    /// # drop(layer);
    /// ```
    #[doc(alias("exempt", "skip"))]
    pub fn skip_if<F>(self, predicate: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.with_requests(|requests| requests.skip_if = Some(Arc::new(predicate)))
    }

    /// Sets the function that assigns a priority to a request.
    ///
    /// All requests have [`Priority::Normal`] by default. The function is called only during
    /// shedding periods, and not for exempt requests. A request with `sec-purpose: prefetch` and
    /// normal priority is treated as one of [`Priority::Low`].
    ///
    /// ```
    /// use tower_kit::pressure::{PressureLayer, Priority};
    ///
    /// let layer = PressureLayer::new().priority(|request| match request.uri.path() {
    ///     "/reports" => Priority::Low,
    ///     _ => Priority::Normal,
    /// });
    /// # drop(layer);
    /// ```
    pub fn priority<F>(self, priority: F) -> Self
    where
        F: Fn(&request::Parts) -> Priority + Send + Sync + 'static,
    {
        self.with_requests(|requests| requests.priority = Some(Arc::new(priority)))
    }

    /// Sends `application/problem+json` (RFC 9457) to all shed requests, except to gRPC calls.
    ///
    /// By default only requests whose `accept` header names JSON get it.
    pub fn problem_json(self) -> Self {
        self.with_requests(|requests| requests.format = Format::ProblemJson)
    }

    /// Sets the function that builds the response to a shed request.
    ///
    /// [`PressureRejection::to_response`] returns the default response, to start from. The layer
    /// still adds `connection: close` where HTTP/1 needs it, and removes the body for HEAD.
    #[doc(alias = "503")]
    pub fn response<F>(self, response: F) -> Self
    where
        F: Fn(&PressureRejection) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.with_requests(|requests| requests.response = Some(Arc::new(response)))
    }

    /// Sets the recorder for metrics, in place of the global recorder.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.with_settings(|settings| settings.metrics = Metrics::to(recorder))
    }

    /// Reads memory usage now, without effect on levels and metrics.
    ///
    /// Call this at startup to check that memory can be read, and which limit applies.
    ///
    /// # Errors
    ///
    /// Returns an error if memory usage cannot be read. The layer then never sheds.
    #[doc(alias = "reading")]
    pub fn memory_usage(&self) -> io::Result<MemoryUsage> {
        let MonitorSettings { source, memory_limit, .. } = &self.shared.monitor.settings;
        source.read(*memory_limit)
    }

    /// Returns the current level. Reads memory first if the last reading is older than the
    /// [`interval`](Self::interval).
    ///
    /// A readiness endpoint can use the level to take an instance out of rotation before it sheds:
    ///
    /// ```
    /// use axum::extract::State;
    /// use axum::http::StatusCode;
    /// use axum::{Router, routing::get};
    /// use tower_kit::PressureLayer;
    /// use tower_kit::pressure::Level;
    ///
    /// async fn ready(State(pressure): State<PressureLayer>) -> StatusCode {
    ///     match pressure.level() {
    ///         Level::Normal => StatusCode::OK,
    ///         _ => StatusCode::SERVICE_UNAVAILABLE,
    ///     }
    /// }
    ///
    /// // Clone the layer after the last setter: a setter makes a layer with readings of its own.
    /// let pressure = PressureLayer::new();
    /// let app: Router = Router::new()
    ///     .route("/readyz", get(ready))
    ///     .with_state(pressure.clone())
    ///     .layer(pressure);
    /// ```
    ///
    /// A liveness endpoint should not use the level: a restart loses all requests in progress.
    ///
    /// The level does not change while requests are admitted in spite of it, or while readings fail.
    /// Before the first successful reading the level is [`Level::Normal`].
    #[doc(alias("readiness", "readyz"))]
    #[must_use]
    pub fn level(&self) -> Level {
        self.shared.monitor.level()
    }

    /// Reads memory every [`interval`](Self::interval), independently of requests; never completes.
    ///
    /// Without this future memory is read by requests only: callbacks are not called, and the gauge
    /// does not change, while there are none.
    ///
    /// ```
    /// # async fn serve() -> std::io::Result<()> { Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// use tower_kit::PressureLayer;
    ///
    /// let pressure = PressureLayer::new();
    /// tokio::select! {
    ///     served = serve() => served,
    ///     () = pressure.watch() => unreachable!("`watch` never completes"),
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// The future panics if it is polled outside of a Tokio runtime with a timer.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.monitor.watch().await }
    }

    // Setters replace the shared state instead of changing it: services and clones of the layer that
    // exist already keep theirs.
    fn with_settings(self, edit: impl FnOnce(&mut MonitorSettings)) -> Self {
        let (mut settings, requests) = self.settings();
        edit(&mut settings);
        Self::from_settings(settings, requests)
    }

    fn with_requests(self, edit: impl FnOnce(&mut RequestSettings)) -> Self {
        let (settings, mut requests) = self.settings();
        edit(&mut requests);
        Self::from_settings(settings, requests)
    }

    fn settings(&self) -> (MonitorSettings, RequestSettings) {
        (self.shared.monitor.settings.clone(), self.shared.requests.clone())
    }

    fn from_settings(settings: MonitorSettings, requests: RequestSettings) -> Self {
        let drains = Drains::new("pressure", settings.metrics.clone());
        Self { shared: Arc::new(SharedState { monitor: Monitor::new(settings), drains, requests }) }
    }
}

impl Default for PressureLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for PressureLayer {
    type Service = Pressure<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Pressure::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for PressureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt_fields(f.debug_struct("PressureLayer"))
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const MIN_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_range_values_are_clamped() {
        let ms = Duration::from_millis;
        for (given, expected) in
            [(ms(0), ms(10)), (ms(9), ms(10)), (ms(10), ms(10)), (ms(11), ms(11))]
        {
            let layer = PressureLayer::new().interval(given);
            assert_eq!(layer.shared.monitor.settings.interval, expected);
        }
        for (given, expected) in [(0, None), (1, Some(1)), (u64::MAX, Some(u64::MAX))] {
            let layer = PressureLayer::new().memory_limit(given);
            assert_eq!(layer.shared.monitor.settings.memory_limit, expected);
        }
    }
}
