use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::uri::Scheme;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request, response};
use http_body::SizeHint;

use super::labels::{CustomLabels, LabelSet};
use super::methods::Methods;
use super::names::MetricNames;
use super::policy::{self, GrpcStatus, Outcome, StreamKind};
use super::registrar::Enabled;
use super::registry::Registry;
use super::route::Route;
use super::series::{RouteLabel, Series};
use crate::metrics::Metrics;
use crate::{axum_extensions, path_template};

/// The settings and the metrics of a layer, shared by all services that it makes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) registry: Registry,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) names: MetricNames,
    pub(super) enabled: Enabled,
    pub(super) stop_at_headers: bool,
    pub(super) assume_https: bool,
    pub(super) max_series: usize,
    pub(super) max_label_values: usize,
    pub(super) route: Option<Arc<RouteFn>>,
    pub(super) templates: Vec<Cow<'static, str>>,
    pub(super) methods: Methods,
    pub(super) labels: CustomLabels,
    pub(super) streams: Vec<(&'static str, Arc<StreamPredicate>)>,
    pub(super) skip_if: Option<Arc<SkipPredicate>>,
    pub(super) metrics: Metrics,
    /// A callback of the user reads request parts.
    // Splitting a request into parts and joining them again moves both, so the layer does it only
    // for a callback.
    pub(super) reads_requests: bool,
    /// A callback of the user reads response parts.
    pub(super) reads_responses: bool,
}

/// The facts about a request that are recorded when it ends.
pub(super) struct RequestRecord {
    pub(super) route: RouteLabel,
    pub(super) series: Series,
    /// The declared size of the request body, if body sizes are recorded.
    pub(super) size: Option<u64>,
    /// See [`policy::is_polled_to_end`].
    pub(super) polled_to_end: bool,
}

/// The parts of a request that the layer reads.
struct RequestInfo<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    length: &'a SizeHint,
}

type RouteFn = dyn Fn(&request::Parts) -> Option<&str> + Send + Sync;
type SkipPredicate = dyn Fn(&request::Parts) -> bool + Send + Sync;
type StreamPredicate = dyn Fn(&str, &response::Parts) -> bool + Send + Sync;

impl Shared {
    /// Reads a request for settings with callbacks. Returns `None` if the request is skipped.
    pub(super) fn read_parts(
        &self,
        parts: &request::Parts,
        length: &SizeHint,
    ) -> Option<RequestRecord> {
        let Settings { route, skip_if, labels, .. } = &self.settings;
        if skip_if.as_ref().is_some_and(|skip_if| skip_if(parts)) {
            // A skipped request may be the scrape itself: its response has the counters at 0.
            self.registry.register_common();
            return None;
        }
        let request::Parts { method, uri, version, headers, extensions, .. } = parts;
        let template = route.as_ref().and_then(|route| route(parts));
        let custom = self.registry.registrar.custom.read_request(labels, parts);
        let info = RequestInfo { method, uri, version: *version, headers, extensions, length };
        Some(self.record(&info, template, custom))
    }

    /// Reads a request for settings without callbacks.
    #[inline]
    pub(super) fn read<B>(&self, request: &Request<B>, length: &SizeHint) -> RequestRecord {
        let info = RequestInfo {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
            length,
        };
        self.record(&info, None, LabelSet::default())
    }

    /// Returns the values of the custom labels that are read from responses.
    pub(super) fn response_labels(&self, parts: &response::Parts) -> LabelSet {
        self.registry.registrar.custom.read_response(&self.settings.labels, parts)
    }

    /// Returns the kind of stream that the settings declare a response to be.
    pub(super) fn stream_kind(&self, route: &str, parts: &response::Parts) -> Option<StreamKind> {
        let mut streams = self.settings.streams.iter();
        let (kind, _) = streams.find(|(_, is_stream)| is_stream(route, parts))?;
        self.registry.registrar.stream_kind(kind)
    }

    #[inline]
    fn record(
        &self,
        info: &RequestInfo<'_>,
        template: Option<&str>,
        custom: LabelSet,
    ) -> RequestRecord {
        let template = template
            .or_else(|| info.extensions.get().map(Route::as_str))
            .or_else(|| path_template::find_template(&self.settings.templates, info.uri.path()))
            .or_else(|| axum_extensions::matched_path(info.extensions));
        let route =
            template.map_or(RouteLabel::Unmatched, |template| self.registry.route(template));
        let series = Series {
            method: self.settings.methods.id(info.method),
            https: self.settings.is_https(info.uri),
            version: self.settings.names.is_open_telemetry().then_some(info.version),
            status: None,
            outcome: Outcome::Cancelled,
            kind: StreamKind::NONE,
            grpc: GrpcStatus::Absent,
            custom,
        };
        let size = || policy::request_size(info.headers, info.length);
        let size = self.settings.enabled.body_sizes.then(size).flatten();
        let polled_to_end = policy::is_polled_to_end(info.version);
        RequestRecord { route, series, size, polled_to_end }
    }
}

impl Settings {
    /// Returns `true` if the layer reads the clock at the response headers.
    pub(super) fn times_headers(&self) -> bool {
        self.enabled.first_byte || self.stop_at_headers
    }

    fn is_https(&self, uri: &Uri) -> bool {
        let is_https = || uri.scheme().map_or(self.assume_https, |it| *it == Scheme::HTTPS);
        self.names.is_open_telemetry() && is_https()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("names", &self.names)
            .field("enabled", &self.enabled)
            .field("max_series", &self.max_series)
            .field("templates", &self.templates)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}
