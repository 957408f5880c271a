use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::uri::Scheme;
use http::{Extensions, HeaderMap, Method, Request, Uri, Version, request, response};
use http_body::SizeHint;

use super::labels::{CustomLabels, LabelSet};
use super::methods::Methods;
use super::names::Names;
use super::policy::{self, GrpcStatus, Outcome, Route, StreamKind};
use super::register::Enabled;
use super::series::{Registry, RouteLabel, Series};
use super::watch::InFlight;
use crate::metrics::Metrics;
use crate::{axum_extensions, path_template};

/// The settings and the numbers of a layer, which all of its services share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) registry: Registry,
}

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) names: Names,
    pub(super) enabled: Enabled,
    pub(super) until_first_byte: bool,
    pub(super) https: bool,
    pub(super) max_series: usize,
    pub(super) max_label_values: usize,
    pub(super) route: Option<Arc<RouteOf>>,
    pub(super) templates: Vec<Cow<'static, str>>,
    pub(super) methods: Methods,
    pub(super) labels: CustomLabels,
    pub(super) streams: Vec<(&'static str, Arc<IsStream>)>,
    pub(super) skip: Option<Arc<Skip>>,
    pub(super) metrics: Metrics,
    /// Functions of the user's need the head of a request in one piece: taking it off costs.
    pub(super) reads_requests: bool,
    /// The same for the head of a response.
    pub(super) reads_responses: bool,
}

/// The parts of a request that its labels come from.
struct RequestInfo<'a> {
    method: &'a Method,
    uri: &'a Uri,
    version: Version,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    length: &'a SizeHint,
}

type RouteOf = dyn Fn(&request::Parts) -> Option<&str> + Send + Sync;
type Skip = dyn Fn(&request::Parts) -> bool + Send + Sync;
type IsStream = dyn Fn(&str, &response::Parts) -> bool + Send + Sync;

impl Shared {
    /// Starts the clock of a request, for settings that read the heads of requests. Returns `None`
    /// for a request that is skipped.
    pub(super) fn start_head(
        self: &Arc<Self>,
        head: &request::Parts,
        length: &SizeHint,
    ) -> Option<InFlight> {
        let Settings { route, skip, labels, .. } = &self.settings;
        if skip.as_ref().is_some_and(|skip| skip(head)) {
            self.registry.announce();
            return None;
        }
        let request::Parts { method, uri, version, headers, extensions, .. } = head;
        let template = route.as_ref().and_then(|route| route(head));
        let custom = self.registry.registrar.custom.of_request(labels, head);
        let info = RequestInfo { method, uri, version: *version, headers, extensions, length };
        Some(self.start_with(&info, template, custom))
    }

    /// Starts the clock of a request, for all other settings.
    pub(super) fn start<B>(self: &Arc<Self>, request: &Request<B>, length: &SizeHint) -> InFlight {
        let info = RequestInfo {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
            length,
        };
        self.start_with(&info, None, LabelSet::default())
    }

    /// Reads the user's own labels of a response.
    pub(super) fn response_labels(&self, head: &response::Parts) -> LabelSet {
        self.registry.registrar.custom.of_response(&self.settings.labels, head)
    }

    /// Returns the kind that a response was declared to be a stream of.
    pub(super) fn stream_kind(&self, route: &str, head: &response::Parts) -> Option<StreamKind> {
        let mut streams = self.settings.streams.iter();
        let (kind, _) = streams.find(|(_, is_stream)| is_stream(route, head))?;
        self.registry.registrar.stream_kind(kind)
    }

    #[inline]
    fn start_with(
        self: &Arc<Self>,
        info: &RequestInfo<'_>,
        template: Option<&str>,
        custom: LabelSet,
    ) -> InFlight {
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
        let size = || info.length.exact().or_else(|| policy::content_length(info.headers));
        let size = self.settings.enabled.sizes.then(size).flatten();
        let polled_to_end = policy::is_polled_to_its_end(info.version);
        InFlight::start(Arc::clone(self), route, series, size, polled_to_end)
    }
}

impl Settings {
    /// Returns `true` if the clock is to be read at the head of the response.
    pub(super) fn times_first_byte(&self) -> bool {
        self.enabled.first_byte || self.until_first_byte
    }

    fn is_https(&self, uri: &Uri) -> bool {
        let scheme = || uri.scheme().map_or(self.https, |scheme| *scheme == Scheme::HTTPS);
        self.names.is_open_telemetry() && scheme()
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
