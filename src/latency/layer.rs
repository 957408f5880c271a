use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::uri::Scheme;
use http::{Extensions, HeaderMap, Method, Request, Uri, request};
use http_body::SizeHint;
use metrics::Recorder;
use tower::Layer;

use super::names::Names;
use super::policy::{self, KnownMethod, Outcome, Route};
use super::series::{Measures, Registry, RouteLabel, Series};
use super::service::Latency;
use super::watch::Watch;
use crate::meter::Meter;

/// Measures how long clients waited; see the [module](crate::latency).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LatencyLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) registry: Registry,
}

#[derive(Clone)]
pub(super) struct Settings {
    names: Names,
    measures: Measures,
    pub(super) until_first_byte: bool,
    https: bool,
    max_series: usize,
    route: Option<Arc<RouteOf>>,
    templates: Vec<Cow<'static, str>>,
    skip: Option<Arc<Skip>>,
    meter: Meter,
}

/// What matters of a request.
struct Seen<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    length: &'a SizeHint,
}

type RouteOf = dyn Fn(&request::Parts) -> Option<&str> + Send + Sync;
type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;

impl LatencyLayer {
    /// The duration to the last byte and the requests in flight, under
    /// [`Names::Prometheus`].
    pub fn new() -> Self {
        Self::of(Settings {
            names: Names::default(),
            measures: Measures::default(),
            until_first_byte: false,
            https: false,
            max_series: DEFAULT_MAX_SERIES,
            route: None,
            templates: Vec::new(),
            skip: None,
            meter: Meter::default(),
        })
    }

    /// Names of metrics and labels. [`Names::Prometheus`] by default.
    pub fn names(self, names: Names) -> Self {
        self.edit(|settings| settings.names = names)
    }

    /// Where the template of a request's route is found. It must come from a set that is small
    /// and known, so never from the path.
    ///
    /// ```
    /// use axum::extract::MatchedPath;
    /// use tower_kit::LatencyLayer;
    ///
    /// let layer = LatencyLayer::new()
    ///     .route(|request| request.extensions.get().map(MatchedPath::as_str));
    /// # drop(layer);
    /// ```
    pub fn route<F>(self, route: F) -> Self
    where
        F: Fn(&request::Parts) -> Option<&str> + Send + Sync + 'static,
    {
        self.edit(|settings| settings.route = Some(Arc::new(route)))
    }

    /// Templates to match the path with, the first match winning: `{name}` stands for one segment
    /// that is not empty, `{*name}` at the end for all that follow. They are compared one by one,
    /// for requests with no other route, so this is for a few dozen.
    pub fn routes<T>(self, templates: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let templates = templates.into_iter().map(Into::into).collect();
        self.edit(|settings| settings.templates = templates)
    }

    /// Leaves out the requests for which `skip` says so, such as health checks. None by default.
    pub fn skip<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.skip = Some(Arc::new(skip)))
    }

    /// Measures the time to the response's head too, in a histogram of its own.
    pub fn first_byte(self) -> Self {
        self.edit(|settings| settings.measures.first_byte = true)
    }

    /// Measures the sizes of request and response bodies too, in bytes.
    pub fn sizes(self) -> Self {
        self.edit(|settings| settings.measures.sizes = true)
    }

    /// Ends the duration with the response's head instead of its last byte. Requests are still
    /// recorded, and in flight, until their last byte.
    pub fn until_first_byte(self) -> Self {
        self.edit(|settings| settings.until_first_byte = true)
    }

    /// Reports the scheme `https`, under [`Names::OpenTelemetry`], where the target of a request has
    /// none, as on HTTP/1: for a service behind TLS. `http` by default.
    pub fn https(self) -> Self {
        self.edit(|settings| settings.https = true)
    }

    /// How many sets of labels there may be before new ones are folded into one, and how many
    /// routes. 2,000 by default.
    pub fn max_series(self, most: usize) -> Self {
        self.edit(|settings| settings.max_series = most)
    }

    /// Records on `recorder` instead of the process's.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use tower_kit::LatencyLayer;
    ///
    /// // Two apps in a process, each with numbers of its own.
    /// let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
    /// let handle = recorder.handle();
    /// let layer = LatencyLayer::new().recorder(recorder);
    /// # drop((handle, layer));
    /// ```
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|settings| settings.meter = Meter::to(recorder))
    }

    fn edit(self, edit: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        edit(&mut settings);
        Self::of(settings)
    }

    fn of(settings: Settings) -> Self {
        let Settings { names, measures, max_series, ref meter, .. } = settings;
        let registry = Registry::new(meter.clone(), names, measures, max_series);
        Self { shared: Arc::new(Shared { settings, registry }) }
    }
}

impl Shared {
    /// Starts to watch a request, for settings that [read heads](Settings::reads_heads).
    pub(super) fn watch_head(self: &Arc<Self>, head: &request::Parts, length: &SizeHint) -> Watch {
        let Settings { route, skip, .. } = &self.settings;
        if skip.as_ref().is_some_and(|skip| skip(head)) {
            return Watch::skipped();
        }
        let request::Parts { method, uri, headers, extensions, .. } = head;
        let template = route.as_ref().and_then(|route| route(head));
        self.start(&Seen { method, uri, headers, extensions, length }, template)
    }

    /// Starts to watch a request, for all other settings.
    pub(super) fn watch<B>(self: &Arc<Self>, request: &Request<B>, length: &SizeHint) -> Watch {
        let (method, uri) = (request.method(), request.uri());
        let (headers, extensions) = (request.headers(), request.extensions());
        self.start(&Seen { method, uri, headers, extensions, length }, None)
    }

    fn start(self: &Arc<Self>, seen: &Seen<'_>, template: Option<&str>) -> Watch {
        let template = template
            .or_else(|| seen.extensions.get().map(Route::as_str))
            .or_else(|| policy::find_template(&self.settings.templates, seen.uri.path()));
        let route =
            template.map_or(RouteLabel::Unmatched, |template| self.registry.route(template));
        let series = Series {
            method: KnownMethod::of(seen.method),
            https: self.settings.is_https(seen.uri),
            status: None,
            outcome: Outcome::Cancelled,
        };
        let size = || policy::declared_length(seen.headers, seen.length);
        let size = self.settings.measures.sizes.then(size).flatten();
        Watch::start(Arc::clone(self), route, series, size)
    }
}

impl Settings {
    /// Whether the user's closures need a request's head in one piece: taking it off costs.
    pub(super) fn reads_heads(&self) -> bool {
        self.route.is_some() || self.skip.is_some()
    }

    /// Whether the clock is to be read at the response's head.
    pub(super) fn times_first_byte(&self) -> bool {
        self.measures.first_byte || self.until_first_byte
    }

    fn is_https(&self, uri: &Uri) -> bool {
        let scheme = || uri.scheme().map_or(self.https, |scheme| *scheme == Scheme::HTTPS);
        self.names.has_scheme() && scheme()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("names", &self.names)
            .field("measures", &self.measures)
            .field("max_series", &self.max_series)
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}

impl Default for LatencyLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for LatencyLayer {
    type Service = Latency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Latency::new(inner, Arc::clone(&self.shared))
    }
}

const DEFAULT_MAX_SERIES: usize = 2_000;
