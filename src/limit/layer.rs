use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use metrics::Recorder;
use tower::Layer;

use super::policy::{Limits, Size};
use super::refusal::Refusal;
use super::service::Limit;
use crate::form::Format;
use crate::media_type::InvalidMediaType;
use crate::meter::Meter;

/// Bounds the size of request bodies, targets and header sections; see the
/// [module](crate::limit).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LimitLayer {
    pub(super) shared: Arc<Shared>,
}

#[derive(Clone, Default)]
pub(super) struct Shared {
    pub(super) limits: Limits,
    format: Format,
    respond: Option<Arc<Respond>>,
    meter: Meter,
}

type Respond = dyn Fn(&Refusal) -> Response<Bytes> + Send + Sync;

impl LimitLayer {
    /// The defaults: 10 KiB of JSON or form, 2 MiB of anything else, 8 KiB of target, 16 KiB of
    /// header section in at most 100 fields.
    pub fn new() -> Self {
        Self { shared: Arc::default() }
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
        self.edit(|shared| shared.meter = Meter::to(recorder))
    }

    fn edit(mut self, edit: impl FnOnce(&mut Shared)) -> Self {
        edit(Arc::make_mut(&mut self.shared));
        self
    }
}

impl Shared {
    /// Counts the refusal and makes its response.
    pub(super) fn refuse(&self, mut refusal: Refusal) -> Response<Bytes> {
        refusal.form.or(self.format);
        self.count(&refusal);
        let response = match &self.respond {
            Some(respond) => respond(&refusal),
            None => refusal.to_response(),
        };
        refusal.finish(response)
    }

    pub(super) fn count(&self, refusal: &Refusal) {
        self.meter.rejected("limit", refusal.reason().as_str());
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
