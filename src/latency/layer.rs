use std::borrow::Cow;
use std::sync::Arc;

use http::{Method, request, response};
use metrics::Recorder;
use tower::Layer;

use super::labels::{CustomLabels, InvalidLabel, LabelValues};
use super::methods::Methods;
use super::names::MetricNames;
use super::registrar::{self, Enabled, Registrar};
use super::registry::Registry;
use super::service::Latency;
use super::shared::{Settings, Shared};
use crate::metrics::Metrics;

/// A layer that records request durations as histograms, with labels for route, status and outcome.
///
/// The [module page](crate::latency) lists the metrics and labels, and shows where the layer stands
/// in a stack.
#[doc(alias = "histogram")]
#[doc(alias = "metrics")]
#[doc(alias = "prometheus")]
#[doc(alias = "opentelemetry")]
#[doc(alias = "prom-client")]
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LatencyLayer {
    shared: Arc<Shared>,
}

impl LatencyLayer {
    /// Creates a layer that records request durations, requests in flight and totals, under
    /// [`MetricNames::Prometheus`].
    pub fn new() -> Self {
        Self::from_settings(Settings {
            names: MetricNames::default(),
            enabled: Enabled::default(),
            stop_at_headers: false,
            assume_https: false,
            max_series: DEFAULT_MAX_SERIES,
            max_label_values: DEFAULT_MAX_LABEL_VALUES,
            route: None,
            templates: Vec::new(),
            methods: Methods::default(),
            labels: CustomLabels::default(),
            streams: Vec::new(),
            skip_if: None,
            metrics: Metrics::default(),
            reads_requests: false,
            reads_responses: false,
        })
    }

    /// Sets the convention that metrics and labels are named by.
    ///
    /// The default is [`MetricNames::Prometheus`].
    #[doc(alias = "names")]
    #[doc(alias = "semantic conventions")]
    pub fn metric_names(self, names: MetricNames) -> Self {
        self.edit(|settings| settings.names = names)
    }

    /// Sets the callback that finds the route template of a request.
    ///
    /// The template must come from a small, fixed set. A path would make each URL a time series.
    /// By default, the route comes from the other sources listed under
    /// [Cardinality](crate::latency#cardinality).
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

    /// Sets the route templates that the paths of requests are matched against.
    ///
    /// The first template that matches is the route. `{name}` matches one segment that is not
    /// empty, and `{*name}` at the end of a template matches the rest of the path if that is not
    /// empty. The templates are compared one after the other, which suits a few dozen of them.
    /// There are none by default.
    ///
    /// ```
    /// use tower_kit::LatencyLayer;
    ///
    /// let layer = LatencyLayer::new().route_templates(["/", "/items/{id}", "/files/{*path}"]);
    /// # drop(layer);
    /// ```
    #[doc(alias = "routes")]
    pub fn route_templates<T>(self, templates: impl IntoIterator<Item = T>) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let templates = templates.into_iter().map(Into::into).collect();
        self.edit(|settings| settings.templates = templates)
    }

    /// Sets the methods that are label values in addition to those registered at IANA.
    ///
    /// All other methods are reported as `_OTHER`, because clients may send any method. There are
    /// no extra methods by default.
    ///
    /// ```
    /// use tower_kit::LatencyLayer;
    ///
    /// # fn main() -> Result<(), http::method::InvalidMethod> {
    /// let layer = LatencyLayer::new().extra_methods([http::Method::from_bytes(b"PURGE")?]);
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "methods")]
    #[doc(alias = "known methods")]
    pub fn extra_methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.edit(|settings| settings.methods = Methods::new(methods))
    }

    /// Adds a label whose value `value` reads from each request.
    ///
    /// The label is left out if `value` returns `None` or an empty string. Clients may choose the
    /// values: each label has at most [`max_label_values`](Self::max_label_values) values of up to
    /// 128 bytes, and all others are reported as `other`. Each combination of values counts
    /// towards [`max_series`](Self::max_series). A layer has at most 8 labels of this kind.
    ///
    /// # Errors
    ///
    /// Returns an error if the name has other characters than ASCII letters, digits, `_` and `.`,
    /// if this layer or Prometheus uses the name, if the label was added already, or if the layer
    /// has 8 custom labels.
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
    #[doc(alias = "custom label")]
    #[doc(alias = "attribute")]
    pub fn request_label<F>(self, name: &'static str, value: F) -> Result<Self, InvalidLabel>
    where
        F: Fn(&request::Parts) -> Option<&str> + Send + Sync + 'static,
    {
        let mut labels = self.shared.settings.labels.clone();
        labels.add_request_label(name, Arc::new(value))?;
        Ok(self.edit(|settings| settings.labels = labels))
    }

    /// Adds a label whose value `value` reads from each response, for example from an extension
    /// that a handler has inserted.
    ///
    /// The label is left out if there is no response. The limits are those of
    /// [`request_label`](Self::request_label).
    ///
    /// # Errors
    ///
    /// Returns an error in the cases of [`request_label`](Self::request_label).
    pub fn response_label<F>(self, name: &'static str, value: F) -> Result<Self, InvalidLabel>
    where
        F: Fn(&response::Parts) -> Option<&str> + Send + Sync + 'static,
    {
        let mut labels = self.shared.settings.labels.clone();
        labels.add_response_label(name, Arc::new(value))?;
        Ok(self.edit(|settings| settings.labels = labels))
    }

    /// Sets the maximum number of values of each custom label.
    ///
    /// Further values are reported as `other`. The default is 100, and numbers above 250 count as
    /// 250.
    pub fn max_label_values(self, max: usize) -> Self {
        self.edit(|settings| settings.max_label_values = max)
    }

    /// Declares the responses for which `is_stream` returns `true` to be streams of this `kind`.
    ///
    /// Streams last as long as their clients stay connected, so they are recorded apart from
    /// requests: see [Streams](crate::latency#streams). The layer calls `is_stream` for each
    /// response, with the route template (or `unmatched`) and the response parts. Responses without
    /// content are not streams. Event streams and upgrades are streams without a declaration.
    ///
    /// ```
    /// use http::header::CONTENT_TYPE;
    /// use tower_kit::LatencyLayer;
    ///
    /// let layer = LatencyLayer::new()
    ///     .route_templates(["/prices.Prices/Watch"])
    ///     .stream_if("grpc", |route, _| route == "/prices.Prices/Watch")
    ///     .stream_if("ndjson", |_, response| {
    ///         response.headers.get(CONTENT_TYPE).is_some_and(|it| it == "application/x-ndjson")
    ///     });
    /// # drop(layer);
    /// ```
    #[doc(alias = "stream")]
    pub fn stream_if<F>(self, kind: &'static str, is_stream: F) -> Self
    where
        F: Fn(&str, &response::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.streams.push((kind, Arc::new(is_stream))))
    }

    /// Skips the requests for which `skip` returns `true`, such as health checks.
    ///
    /// Skipped requests are in no metric. By default, no request is skipped.
    #[doc(alias = "skip")]
    #[doc(alias = "exclude")]
    pub fn skip_if<F>(self, skip: F) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        self.edit(|settings| settings.skip_if = Some(Arc::new(skip)))
    }

    /// Records the time to the first byte of each response as a histogram, in seconds.
    ///
    /// The first byte is the response headers, as the inner service returns them. The histogram
    /// includes streams, whose first byte is recorded at once. It is off by default.
    #[doc(alias = "TTFB")]
    #[doc(alias = "first_byte")]
    pub fn record_time_to_first_byte(self) -> Self {
        self.edit(|settings| settings.enabled.first_byte = true)
    }

    /// Records the sizes of request and response bodies as histograms, in bytes.
    ///
    /// The request size is the declared one. A request body of unknown length is not recorded,
    /// because counting its bytes would change the body type that the inner service receives. The
    /// response size is the number of bytes handed to the server. The histograms are off by
    /// default.
    #[doc(alias = "sizes")]
    #[doc(alias = "content-length")]
    pub fn record_body_sizes(self) -> Self {
        self.edit(|settings| settings.enabled.body_sizes = true)
    }

    /// Stops the duration of a request at the response headers instead of the last byte.
    ///
    /// A request is still recorded, and counted as in flight, until its last byte. The durations of
    /// streams do not change.
    #[doc(alias = "until_first_byte")]
    pub fn stop_at_headers(self) -> Self {
        self.edit(|settings| settings.stop_at_headers = true)
    }

    /// Reports the scheme `https` for requests whose target has no scheme, as on HTTP/1.
    ///
    /// This suits a service behind TLS. The default is `http`. Only
    /// [`MetricNames::OpenTelemetry`] has a label for the scheme.
    #[doc(alias = "https")]
    #[doc(alias = "url.scheme")]
    pub fn assume_https(self) -> Self {
        self.edit(|settings| settings.assume_https = true)
    }

    /// Sets the maximum number of sets of label values, and of route templates.
    ///
    /// Further sets are reported with the route `_overflow`, custom labels as `other`, and count on
    /// `http_series_overflow_total`. The default is 2,000.
    #[doc(alias = "cardinality")]
    pub fn max_series(self, max: usize) -> Self {
        self.edit(|settings| settings.max_series = max)
    }

    /// Sets the recorder that the metrics are registered with, instead of the global one.
    ///
    /// Use one layer for each recorder, and clone the layer where it is needed twice. The clones
    /// of a layer count together, but two layers made apart overwrite the gauges of each other.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    /// use tower_kit::LatencyLayer;
    ///
    /// // Two apps in a process, each with metrics of its own.
    /// let recorder = Arc::new(PrometheusBuilder::new().build_recorder());
    /// let handle = recorder.handle();
    /// let layer = LatencyLayer::new().recorder(recorder);
    /// # drop((handle, layer));
    /// ```
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|settings| settings.metrics = Metrics::to(recorder))
    }

    // Each setter builds a new registry, which is empty until the first request.
    fn edit(self, edit: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings.clone();
        edit(&mut settings);
        Self::from_settings(settings)
    }

    fn from_settings(mut settings: Settings) -> Self {
        settings.reads_requests = settings.route.is_some()
            || settings.skip_if.is_some()
            || settings.labels.has_request_labels();
        settings.reads_responses =
            !settings.streams.is_empty() || settings.labels.has_response_labels();
        let kinds = settings.streams.iter().map(|(kind, _)| *kind);
        let registrar = Registrar {
            metrics: settings.metrics.clone(),
            names: settings.names,
            enabled: settings.enabled,
            methods: settings.methods.clone(),
            custom: LabelValues::new(&settings.labels, settings.max_label_values),
            stream_kinds: registrar::stream_kinds(kinds),
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
        self.shared.registry.register_common();
        Latency::new(inner, Arc::clone(&self.shared))
    }
}

const DEFAULT_MAX_SERIES: usize = 2_000;
const DEFAULT_MAX_LABEL_VALUES: usize = 100;
