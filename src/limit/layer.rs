use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, request};
use metrics::Recorder;
use tower::Layer;

use super::policy::{Limits, MinRate, Size};
use super::refusal::{Reason, Refusal};
use super::service::Limit;
use crate::axum_extensions::original_uri;
use crate::drain::Drains;
use crate::error_response::{Format, count_rejected};
use crate::media_type::InvalidMediaType;
use crate::metrics::Metrics;
use crate::path_template::find_template;

/// Bounds the size of request bodies, targets and header sections; see the
/// [module](crate::limit).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LimitLayer {
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone)]
pub(super) struct Shared {
    limits: Limits,
    /// Of those that apply to a request, the first one takes the place of `limits`.
    overrides: Vec<(Arc<Applies>, Limits)>,
    pub(super) drains: Arc<Drains>,
    format: Format,
    respond: Option<Arc<Respond>>,
    metrics: Metrics,
    registered: Arc<Once>,
}

type Applies = dyn Fn(&request::Parts) -> bool + Send + Sync;
type Respond = dyn Fn(&Refusal) -> Response<Bytes> + Send + Sync;

impl LimitLayer {
    /// The defaults: 10 KiB of JSON or form, 2 MiB of anything else, 8 KiB of target, 16 KiB of
    /// header section in at most 100 fields.
    pub fn new() -> Self {
        let metrics = Metrics::default();
        let shared = Shared {
            limits: Limits::default(),
            overrides: Vec::new(),
            drains: Drains::new("limit", metrics.clone()),
            format: Format::default(),
            respond: None,
            metrics,
            registered: Arc::new(Once::new()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The most bytes of a JSON body: `application/json`, and every media type that ends in
    /// `+json`. 10 KiB by default.
    pub fn json(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.json(size))
    }

    /// The most bytes of an `application/x-www-form-urlencoded` body. 10 KiB by default.
    pub fn form(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.form(size))
    }

    /// Sets the maximum bytes of a `multipart/form-data` body, such as the upload of files by a form:
    /// of all its parts together. As [`other`](Self::other) by default.
    pub fn multipart(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.multipart(size))
    }

    /// The most bytes of a body of `media_type`: one of `type/subtype`, `type/*` or `+suffix`, in
    /// any case and without parameters. The exact type wins over the suffix, and the suffix over
    /// `type/*`; setting the same one again replaces it.
    ///
    /// # Errors
    ///
    /// If `media_type` is of none of these forms. (`*/*` is what [`other`](Self::other) sets.)
    pub fn media_type(
        self,
        media_type: &str,
        size: impl Into<Size>,
    ) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        let size = size.into();
        Ok(self.edit(|shared| shared.limits.media_type(media_type, size)))
    }

    /// The most bytes of a body of any other media type, or of none. 2 MiB by default.
    pub fn other(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.other = size)
    }

    /// The most bytes of the request's target: its path and query and, where the request carries
    /// them there (absolute form, HTTP/2), its scheme and authority. 8 KiB by default.
    pub fn target(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.target = size)
    }

    /// The most bytes of the header section: each field counts its name, its value and four more,
    /// which is what a line of HTTP/1.1 takes. 16 KiB by default.
    ///
    /// The server has its own bound, which the request must pass first.
    pub fn header_bytes(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.header_bytes = size)
    }

    /// The most header fields, each line counted. 100 by default.
    ///
    /// The server has its own bound, which the request must pass first.
    pub fn header_count(self, count: impl Into<Size>) -> Self {
        let count = count.into();
        self.edit(|shared| shared.limits.header_count = count)
    }

    /// Sets other limits for requests to some paths: `{name}` in a template stands for one segment
    /// that is not empty, `{*name}` at its end for all that follow. Paths are compared byte for byte,
    /// as a client has sent them; within axum's nested routers, where the beginning of the path has
    /// been cut off, only the feature `axum` knows it.
    ///
    /// Otherwise as [`for_requests`](Self::for_requests).
    ///
    /// ```
    /// use tower_kit::{KIB, LimitLayer, MIB};
    ///
    /// let layer = LimitLayer::new()
    ///     .json(64 * KIB)
    ///     .for_paths(["/upload", "/files/{*path}"], &LimitLayer::new().multipart(50 * MIB));
    /// # drop(layer);
    /// ```
    pub fn for_paths<T>(self, templates: impl IntoIterator<Item = T>, limits: &Self) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        let templates: Vec<_> = templates.into_iter().map(Into::into).collect();
        let applies = move |request: &request::Parts| {
            let uri = original_uri(&request.extensions).unwrap_or(&request.uri);
            find_template(&templates, uri.path()).is_some()
        };
        self.for_requests(applies, limits)
    }

    /// Sets other limits for the requests for which `applies` returns `true`. `limits` takes the place
    /// of this layer's limits, of all of them: what it does not set itself is at its default. Where
    /// several apply, those count that were added first.
    ///
    /// Only the limits, [`drain`](Self::drain), [`min_data_rate`](Self::min_data_rate) and whether
    /// bodies are decompressed come from `limits`: this layer makes the responses, and counts them.
    ///
    /// ```
    /// use axum::extract::MatchedPath;
    /// use tower_kit::{LimitLayer, MIB};
    ///
    /// let layer = LimitLayer::new().for_requests(
    ///     |request| {
    ///         let route = request.extensions.get().map(MatchedPath::as_str);
    ///         route == Some("/items/{id}/photo")
    ///     },
    ///     &LimitLayer::new().other(50 * MIB),
    /// );
    /// # drop(layer);
    /// ```
    pub fn for_requests<F>(self, applies: F, limits: &Self) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        let limits = limits.shared.limits.clone();
        self.edit(|shared| shared.overrides.push((Arc::new(applies), limits)))
    }

    /// Sets the maximum bytes that are read and discarded of the body of a refused request, so that
    /// its client sees the response and the connection is kept. 0 discards nothing.
    ///
    /// By default as much as the limit of the body itself, and at least 8 MiB (8,388,608 bytes). In
    /// any case it lasts for at most 5 seconds, and is done for at most 256 requests at a time.
    pub fn drain(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|shared| shared.limits.drain = Some(size))
    }

    /// Decompresses request bodies by their `content-encoding`: gzip (`x-gzip`) and deflate, and br
    /// and zstd with the features `limit-decompress-br` and `limit-decompress-zstd`. Off by default.
    ///
    /// The limit holds for the bytes that arrive and for what they inflate to. The service gets the
    /// request without `content-encoding`, `content-length` and digests. Other codings, and more than
    /// two of them, are refused with 415; a body that is corrupt or cut fails with
    /// [`BodyError`](super::BodyError), and with 400 if the service has not answered by then.
    ///
    /// ```
    /// use tower_kit::LimitLayer;
    ///
    /// let layer = LimitLayer::new().decompress();
    /// # drop(layer);
    /// ```
    #[cfg(feature = "limit-decompress")]
    #[doc(alias = "inflate")]
    pub fn decompress(self) -> Self {
        self.edit(|shared| shared.limits.decompress = true)
    }

    /// Sets the minimum rate at which a request body must arrive, and for how long it may be slower.
    /// Off by default; 240 bytes a second after 5 seconds is what Kestrel asks for. 0 turns it off.
    ///
    /// Only the time counts in which the service waits for more of the body. `grace` is a supply of
    /// such time: waiting uses it up, and each byte gives back what it takes at this rate. A body that
    /// has used it up fails with [`BodyError`](super::BodyError), and with 408 if the service has not
    /// answered by then. A rate of 0 is none. This takes a tokio runtime with its timer on; without a
    /// runtime, no rate is enforced.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use tower_kit::LimitLayer;
    ///
    /// let layer = LimitLayer::new().min_data_rate(240, Duration::from_secs(5));
    /// # drop(layer);
    /// ```
    #[doc(alias = "slowloris")]
    pub fn min_data_rate(self, bytes_per_second: u64, grace: Duration) -> Self {
        let rate = (bytes_per_second > 0).then_some(MinRate { bytes_per_second, grace });
        self.edit(|shared| shared.limits.min_rate = rate)
    }

    /// Refuses with `application/problem+json` (RFC 9457), whatever `accept` says; calls of gRPC
    /// excepted. (A service that itself answers 413 to a body which crossed its limit, as axum's
    /// extractors do, keeps its answer.)
    pub fn problem_json(self) -> Self {
        self.edit(|shared| shared.format = Format::ProblemJson)
    }

    /// Makes the response to a request that the layer refuses. [`Refusal::to_response`] gives the one that is
    /// sent otherwise, to start from. The layer adds `connection: close` where it
    /// must, and leaves the body out for HEAD.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_kit::LimitLayer;
    ///
    /// let layer = LimitLayer::new().response(|refusal| {
    ///     let mut response = refusal.to_response();
    ///     let reason = HeaderValue::from_static(refusal.reason().as_str());
    ///     response.headers_mut().insert("x-refused", reason);
    ///     response
    /// });
    /// # drop(layer);
    /// ```
    pub fn response<F>(self, respond: F) -> Self
    where
        F: Fn(&Refusal) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.edit(|shared| shared.respond = Some(Arc::new(respond)))
    }

    /// Counts refusals on `recorder` instead of the process's.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        let metrics = Metrics::to(recorder);
        self.edit(|shared| {
            shared.drains = Drains::new("limit", metrics.clone());
            shared.metrics = metrics;
            shared.registered = Arc::new(Once::new());
        })
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        edit(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Shared {
    /// Returns the limits of a request.
    pub(super) fn limits<B>(&self, request: Request<B>) -> (Request<B>, &Limits) {
        if self.overrides.is_empty() {
            return (request, &self.limits);
        }
        let (head, body) = request.into_parts();
        let found = self.overrides.iter().find(|(applies, _)| applies(&head));
        (Request::from_parts(head, body), found.map_or(&self.limits, |(_, limits)| limits))
    }

    /// Counts the refusal and makes its response.
    pub(super) fn refuse(&self, mut refusal: Refusal) -> Response<Bytes> {
        refusal.format.or(self.format);
        self.count(&refusal);
        let response = match &self.respond {
            Some(respond) => respond(&refusal),
            None => refusal.to_response(),
        };
        refusal.finish(response)
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        count_rejected(&self.metrics, "limit", refusal.reason().as_str(), 1);
    }

    /// Registers every series at 0, with the first request: by then the recorder is there.
    pub(super) fn register(&self) {
        self.registered.call_once(|| {
            Reason::ALL
                .iter()
                .for_each(|it| count_rejected(&self.metrics, "limit", it.as_str(), 0));
        });
    }
}

impl Default for LimitLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for LimitLayer {
    type Service = Limit<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit::new(inner, Arc::clone(&self.shared))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("limits", &self.limits).finish_non_exhaustive()
    }
}
