use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, request, response};
use metrics::Recorder;
use tower::Layer;

use super::labels::{CustomLabels, InvalidLabel, LabelValues};
use super::methods::Methods;
use super::names::Names;
use super::register::{self, Enabled, Registrar};
use super::series::Registry;
use super::service::Latency;
use super::shared::{Settings, Shared};
use crate::metrics::Metrics;

/// Measures how long clients waited; see the [module](crate::latency).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LatencyLayer {
    shared: Arc<Shared>,
}

impl LatencyLayer {
    /// Creates a layer that measures the duration to the last byte and the requests in flight,
    /// under [`Names::Prometheus`].
    pub fn new() -> Self {
        Self::of(Settings {
            names: Names::default(),
            enabled: Enabled::default(),
            until_first_byte: false,
            https: false,
            max_series: DEFAULT_MAX_SERIES,
            max_label_values: DEFAULT_MAX_LABEL_VALUES,
            route: None,
            templates: Vec::new(),
            methods: Methods::default(),
            labels: CustomLabels::default(),
            streams: Vec::new(),
            skip: None,
            metrics: Metrics::default(),
            reads_requests: false,
            reads_responses: false,
        })
    }

    /// Sets the names of metrics and labels. [`Names::Prometheus`] by default.
    pub fn names(self, names: Names) -> Self {
        self.edit(|settings| settings.names = names)
    }

    /// Sets the function that finds the template of a request's route. The template must come
    /// from a set that is small and known, so never from the path.
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

    /// Sets the templates to match the path with, of which the first match wins: `{name}` stands for one segment
    /// that is not empty, `{*name}` at the end for all that follow. They are compared one by one,
    /// for requests with no other route, so this is for a few dozen.
    pub fn routes<T>(self, templates: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let templates = templates.into_iter().map(Into::into).collect();
        self.edit(|settings| settings.templates = templates)
    }

    /// Names further methods than those that are registered at IANA. Any other is `_OTHER`.
    ///
    /// ```
    /// use tower_kit::LatencyLayer;
    ///
    /// # fn main() -> Result<(), http::method::InvalidMethod> {
    /// let layer = LatencyLayer::new().methods([http::Method::from_bytes(b"PURGE")?]);
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.edit(|settings| settings.methods = Methods::new(methods))
    }

    /// Adds a label whose value is read from requests. A request for which `value` returns `None`
    /// or an empty string goes without the label.
    ///
    /// Clients may choose the values: each label has at most
    /// [`max_label_values`](Self::max_label_values) of up to 128 bytes, and reports all others as
    /// `other`. Each combination of values is a set of labels of its own, of
    /// [`max_series`](Self::max_series).
    ///
    /// # Errors
    ///
    /// Returns an error if the name is not of letters, digits, `_` and `.`, if the layer or
    /// Prometheus has a label of this name, if this layer has it already, or if it would be the
    /// ninth.
    ///
    /// ```
    /// use tower_kit::LatencyLayer;
    ///
    /// # fn main() -> Result<(), tower_kit::latency::InvalidLabel> {
    /// let layer = LatencyLayer::new()
    ///     .request_label("tenant", |request| request.headers.get("x-tenant")?.to_str().ok())?
    ///     .response_label("cache", |response| {
    ///         Some(if response.headers.contains_key("age") { "hit" } else { "miss" })
    ///     })?;
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_label<F>(self, name: &'static str, value: F) -> Result<Self, InvalidLabel>
    where
        F: Fn(&request::Parts) -> Option<&str> + Send + Sync + 'static,
    {
        let mut labels = self.shared.settings.labels.clone();
        labels.of_request(name, Arc::new(value))?;
        Ok(self.edit(|settings| settings.labels = labels))
    }

    /// Adds a label whose value is read from responses, such as from an extension that a handler
    /// has set; as [`request_label`](Self::request_label) does from requests. A request that gets
    /// no response goes without the label.
    ///
    /// # Errors
    ///
    /// Returns an error for the same names as [`request_label`](Self::request_label).
    pub fn response_label<F>(self, name: &'static str, value: F) -> Result<Self, InvalidLabel>
    where
        F: Fn(&response::Parts) -> Option<&str> + Send + Sync + 'static,
    {
        let mut labels = self.shared.settings.labels.clone();
        labels.of_response(name, Arc::new(value))?;
        Ok(self.edit(|settings| settings.labels = labels))
    }

    /// Sets how many values each label of yours may have before others are reported as `other`.
    /// 100 by default; more than 250 is taken as 250.
    pub fn max_label_values(self, max: usize) -> Self {
        self.edit(|settings| settings.max_label_values = max)
    }

    /// Declares responses to be streams of this `kind`: responses that last as long as their
    /// client likes, and so say nothing about latency. `is_stream` is asked for each response with
    /// a body, and gets the template of the route (`unmatched` if there is none) and the head.
    /// Event streams and upgrades are streams without being declared.
    ///
    /// ```
    /// use http::header::CONTENT_TYPE;
    /// use tower_kit::LatencyLayer;
    ///
    /// let layer = LatencyLayer::new()
    ///     .routes(["/prices.Prices/Watch"])
    ///     .stream("grpc", |route, _| route == "/prices.Prices/Watch")
    ///     .stream("ndjson", |_, response| {
    ///         response.headers.get(CONTENT_TYPE).is_some_and(|it| it == "application/x-ndjson")
    ///     });
    /// # drop(layer);
    /// ```
    pub fn stream<F>(self, kind: &'static str, is_stream: F) -> Self
    where
        F: Fn(&str, &response::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.streams.push((kind, Arc::new(is_stream))))
    }

    /// Leaves out the requests for which `skip` returns `true`, such as health checks. None by
    /// default.
    #[doc(alias = "skip")]
    pub fn skip_if<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.skip = Some(Arc::new(skip)))
    }

    /// Measures the time to the head of the response too, in a histogram of its own: that of
    /// streams as well, for which it is recorded at once.
    pub fn first_byte(self) -> Self {
        self.edit(|settings| settings.enabled.first_byte = true)
    }

    /// Measures the sizes of request and response bodies too, in bytes.
    pub fn sizes(self) -> Self {
        self.edit(|settings| settings.enabled.sizes = true)
    }

    /// Ends the duration with the response's head instead of its last byte. Requests are still
    /// recorded, and in flight, until their last byte. The lifetime of a stream stays what it is.
    pub fn until_first_byte(self) -> Self {
        self.edit(|settings| settings.until_first_byte = true)
    }

    /// Reports the scheme `https`, under [`Names::OpenTelemetry`], where the target of a request has
    /// none, as on HTTP/1: for a service behind TLS. `http` by default.
    pub fn https(self) -> Self {
        self.edit(|settings| settings.https = true)
    }

    /// Sets how many sets of labels there may be before the route of new ones is reported as
    /// `_overflow`, and how many routes. 2,000 by default.
    pub fn max_series(self, max: usize) -> Self {
        self.edit(|settings| settings.max_series = max)
    }

    /// Records on `recorder` instead of the process's. A recorder has one layer: clones of it, and
    /// all services that it makes, count together, but the gauges of two layers that were made
    /// apart overwrite each other.
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
        self.edit(|settings| settings.metrics = Metrics::to(recorder))
    }

    fn edit(self, edit: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        edit(&mut settings);
        Self::of(settings)
    }

    fn of(mut settings: Settings) -> Self {
        settings.reads_requests =
            settings.route.is_some() || settings.skip.is_some() || settings.labels.read_requests();
        settings.reads_responses = !settings.streams.is_empty() || settings.labels.read_responses();
        let registrar = Registrar {
            metrics: settings.metrics.clone(),
            names: settings.names,
            enabled: settings.enabled,
            methods: settings.methods.clone(),
            custom: LabelValues::new(&settings.labels, settings.max_label_values),
            stream_kinds: register::stream_kinds(settings.streams.iter().map(|(kind, _)| *kind)),
            templates: settings.templates.iter().map(|it| Arc::from(&**it)).collect(),
        };
        let registry = Registry::new(registrar, settings.max_series);
        Self { shared: Arc::new(Shared { settings, registry }) }
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
        self.shared.registry.announce();
        Latency::new(inner, Arc::clone(&self.shared))
    }
}

const DEFAULT_MAX_SERIES: usize = 2_000;
const DEFAULT_MAX_LABEL_VALUES: usize = 100;
