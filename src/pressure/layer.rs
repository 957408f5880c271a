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

use super::exempt::ExemptPath;
use super::monitor::{Handler, Monitor, Settings};
use super::policy::{InvalidThresholds, Level, Priority, Rules};
use super::reading::{Event, Reading, Source};
use super::refusal::Refusal;
use super::service::Pressure;
use crate::drain::Drains;
use crate::error_response::Format;
use crate::metrics::Metrics;

/// Watches memory, tells handlers when it is short, and sheds requests; see the
/// [module](crate::pressure).
#[derive(Clone)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct PressureLayer {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) monitor: Monitor,
    pub(super) drains: Arc<Drains>,
    pub(super) requests: Requests,
}

/// What becomes of requests.
#[derive(Clone)]
pub(super) struct Requests {
    pub(super) exempt: Vec<ExemptPath>,
    pub(super) skip: Option<Arc<Skip>>,
    pub(super) priority: Option<Arc<PriorityOf>>,
    pub(super) format: Format,
    pub(super) respond: Option<Arc<Respond>>,
}

type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;
type PriorityOf = dyn Fn(&request::Parts) -> Priority + Send + Sync;
type Respond = dyn Fn(&Refusal) -> Response<Bytes> + Send + Sync;

impl PressureLayer {
    /// The defaults: memory is read once a second, handlers are told from 80% on, and everything
    /// but health checks is shed from 90% on, for ten seconds at a time.
    pub fn new() -> Self {
        let settings = Settings {
            rules: Rules::default(),
            interval: DEFAULT_INTERVAL,
            limit: None,
            source: Source::default(),
            handlers: Vec::new(),
            metrics: Metrics::default(),
        };
        let exempt = ExemptPath::defaults();
        let requests =
            Requests { exempt, skip: None, priority: None, format: Format::Text, respond: None };
        Self::of(settings, requests)
    }

    /// From which parts of the limit on memory is [high](Level::High) and
    /// [critical](Level::Critical): 0.80 and 0.90 by default. Where both are the same, memory is
    /// never merely high.
    ///
    /// # Errors
    ///
    /// Unless `0 < high <= critical <= 1`.
    pub fn thresholds(self, high: f64, critical: f64) -> Result<Self, InvalidThresholds> {
        let (mut settings, requests) = self.parts();
        settings.rules.thresholds(high, critical)?;
        Ok(Self::of(settings, requests))
    }

    /// How often memory is read. Every second by default; less than 10 ms is taken as 10 ms.
    pub fn interval(self, interval: Duration) -> Self {
        self.edit(|settings| settings.interval = interval.max(SHORTEST_INTERVAL))
    }

    /// For how long requests are shed before they are let in for as long again; rounded up to whole
    /// seconds, since that is what `retry-after` is told in. 10 seconds by default. With
    /// [`Duration::ZERO`] none are shed, and handlers are told all the same.
    pub fn shed_for(self, time: Duration) -> Self {
        self.edit(|settings| settings.rules.shed_for(time))
    }

    /// Sheds no requests, whatever the memory: the layer only calls [handlers](Self::on_pressure) and
    /// records the gauge. Holds whatever [`shed_for`](Self::shed_for) says.
    ///
    /// ```
    /// use tower_kit::PressureLayer;
    ///
    /// let layer = PressureLayer::new().watch_only().on_pressure(|event| {
    ///     eprintln!("memory is {:?}: {:?}", event.level(), event.reading());
    /// });
    /// # drop(layer);
    /// ```
    ///
    /// A handler is called when the level changes. Memory is read while requests come, and without
    /// them by [`watch`](Self::watch).
    pub fn watch_only(self) -> Self {
        self.edit(|settings| settings.rules.watch_only())
    }

    /// The most bytes that this process should take, where that is less than what the machine has.
    /// Limits of control groups count beside it. Of a [`source`](Self::source), the lower one of its
    /// limit and this counts. None by default; 0 is none.
    pub fn limit(self, bytes: u64) -> Self {
        self.edit(|settings| settings.limit = Some(bytes).filter(|bytes| *bytes > 0))
    }

    /// Reads memory through `read` instead of from the system: for an allocator that knows better,
    /// and for tests. It is called in the middle of a request, so it should be quick.
    ///
    /// ```
    /// use tower_kit::pressure::{PressureLayer, Reading};
    ///
    /// # fn allocated() -> std::io::Result<u64> { Ok(0) }
    /// let layer = PressureLayer::new().source(|| Ok(Reading::new(allocated()?, 512 << 20)));
    /// # drop(layer);
    /// ```
    pub fn source<F>(self, read: F) -> Self
    where
        F: Fn() -> io::Result<Reading> + Send + Sync + 'static,
    {
        self.edit(|settings| settings.source = Source::Own(Arc::new(read)))
    }

    /// Calls `handler` when the level changes, and while it stays [critical](Level::Critical) each
    /// time that requests have been shed for a while. Handlers add up, and are called one by one.
    ///
    /// It is called in the middle of a request, or in [`watch`](Self::watch): start a thread or a
    /// task for what takes longer than some milliseconds. One that panics is counted, and the
    /// request goes on.
    pub fn on_pressure<F>(self, handler: F) -> Self
    where
        F: Fn(&Event) + Send + Sync + 'static,
    {
        self.edit(|settings| settings.handlers.push(Handler(Arc::new(handler))))
    }

    /// Adds paths that are never shed, beside those of the
    /// [usual probes](crate::pressure#exempt-paths) and of metrics. A path is exempt with and without
    /// a `/` at its end; `/status/**` exempts `/status` and all paths below it.
    ///
    /// ```
    /// use tower_kit::PressureLayer;
    ///
    /// let layer = PressureLayer::new().skip_paths(["/checkout", "/internal/status/**"]);
    /// # drop(layer);
    /// ```
    #[doc(alias = "exempt")]
    pub fn skip_paths<T>(self, paths: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        self.edit_requests(|requests| {
            requests.exempt.extend(paths.into_iter().map(ExemptPath::new));
        })
    }

    /// Sets the paths that are never shed, in place of the default ones and of those that
    /// [`skip_paths`](Self::skip_paths) added: for a service that has other pages at `/live` or
    /// `/up`.
    #[doc(alias = "exempt_only")]
    pub fn skip_only_paths<T>(self, paths: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let paths = paths.into_iter().map(ExemptPath::new).collect();
        self.edit_requests(|requests| requests.exempt = paths)
    }

    /// Never sheds the requests for which `skip` returns `true`, beside those of the exempt
    /// [paths](Self::skip_paths). None by default. `skip` is only called while something is shed.
    ///
    /// ```
    /// use http::Method;
    /// use tower_kit::PressureLayer;
    ///
    /// // A request that deletes gives memory back.
    /// let layer = PressureLayer::new().skip_if(|request| request.method == Method::DELETE);
    /// # drop(layer);
    /// ```
    #[doc(alias = "exempt")]
    #[doc(alias = "skip")]
    pub fn skip_if<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit_requests(|requests| requests.skip = Some(Arc::new(skip)))
    }

    /// Sets how soon a request is shed that is not exempt by its [path](Self::skip_paths) or by
    /// [`skip_if`](Self::skip_if). [`Priority::Normal`] by default. `priority` is only called while
    /// something is shed.
    ///
    /// A request with `sec-purpose: prefetch` that is of normal priority is shed as one of
    /// [`Priority::Low`].
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
        self.edit_requests(|requests| requests.priority = Some(Arc::new(priority)))
    }

    /// Refuses with `application/problem+json` (RFC 9457), whatever `accept` says; calls of
    /// gRPC excepted.
    pub fn problem_json(self) -> Self {
        self.edit_requests(|requests| requests.format = Format::ProblemJson)
    }

    /// Makes the response to a request that is shed. [`Refusal::to_response`] gives the one that is
    /// sent otherwise, to start from. The layer adds `connection: close` where it must, and leaves
    /// the body out for HEAD.
    pub fn response<F>(self, respond: F) -> Self
    where
        F: Fn(&Refusal) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.edit_requests(|requests| requests.respond = Some(Arc::new(respond)))
    }

    /// Records on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|settings| settings.metrics = Metrics::to(recorder))
    }

    /// Reads memory now, apart from what the layer does by itself: to see at the start which limit
    /// was found, and that it can be read.
    ///
    /// # Errors
    ///
    /// Where memory cannot be read. A layer over such a system never sheds.
    pub fn reading(&self) -> io::Result<Reading> {
        let Settings { source, limit, .. } = &self.shared.monitor.settings;
        source.read(*limit)
    }

    /// Returns the level of memory, which is read first if the last reading is older than the
    /// interval. Costs as much as the layer costs a request.
    ///
    /// A handler asks a clone of the layer, such as a readiness endpoint, which takes an instance
    /// out of rotation before it has to shed:
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
    /// // Setters make another layer: clone the one that is finished.
    /// let pressure = PressureLayer::new();
    /// let app: Router = Router::new()
    ///     .route("/readyz", get(ready))
    ///     .with_state(pressure.clone())
    ///     .layer(pressure);
    /// ```
    ///
    /// The level stays as it is while requests are admitted for a period in spite of it, and while
    /// readings fail. Before the first reading that succeeds it is [`Level::Normal`]. A liveness
    /// endpoint should not depend on it: a restart loses all requests in progress.
    #[must_use]
    pub fn level(&self) -> Level {
        self.shared.monitor.level()
    }

    /// Looks at memory where no request does: every interval, for ever. With it, handlers are told
    /// and the gauge is right while no requests come; without it, the first request after that is
    /// what looks.
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
    ///     () = pressure.watch() => unreachable!("it watches for ever"),
    /// }
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When it is polled outside of a tokio runtime with a timer.
    pub fn watch(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = Arc::clone(&self.shared);
        async move { shared.monitor.watch().await }
    }

    fn edit(self, edit: impl FnOnce(&mut Settings)) -> Self {
        let (mut settings, requests) = self.parts();
        edit(&mut settings);
        Self::of(settings, requests)
    }

    fn edit_requests(self, edit: impl FnOnce(&mut Requests)) -> Self {
        let (settings, mut requests) = self.parts();
        edit(&mut requests);
        Self::of(settings, requests)
    }

    fn parts(&self) -> (Settings, Requests) {
        (self.shared.monitor.settings.clone(), self.shared.requests.clone())
    }

    fn of(settings: Settings, requests: Requests) -> Self {
        let drains = Drains::new("pressure", settings.metrics.clone());
        Self { shared: Arc::new(Shared { monitor: Monitor::new(settings), drains, requests }) }
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
        self.shared.describe(f.debug_struct("PressureLayer"))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(f.debug_struct("Shared"))
    }
}

impl Shared {
    fn describe(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let Settings { rules, interval, limit, .. } = &self.monitor.settings;
        f.field("rules", rules).field("interval", interval).field("limit", limit);
        self.monitor.describe(&mut f);
        f.field("exempt", &self.requests.exempt).finish_non_exhaustive()
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_the_nearest() {
        let ms = Duration::from_millis;
        for (given, taken) in [(ms(0), ms(10)), (ms(9), ms(10)), (ms(10), ms(10)), (ms(11), ms(11))]
        {
            let layer = PressureLayer::new().interval(given);
            assert_eq!(layer.shared.monitor.settings.interval, taken);
        }
        for (given, taken) in [(0, None), (1, Some(1)), (u64::MAX, Some(u64::MAX))] {
            assert_eq!(PressureLayer::new().limit(given).shared.monitor.settings.limit, taken);
        }
    }
}
