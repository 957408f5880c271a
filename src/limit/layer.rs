use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, request};
use metrics::Recorder;
use tower::Layer;

use super::limits::MinDataRate;
use super::rejection::LimitRejection;
use super::service::Limit;
use super::size::Size;
use super::state::{LimitState, Override};
use crate::axum_extensions::original_uri;
use crate::error_response::Format;
use crate::media_type::InvalidMediaType;
use crate::metrics::Metrics;
use crate::path_template::find_template;

/// A layer that limits the size of request bodies, URIs and headers, by media type and path.
///
/// The layer rejects larger requests with 413, 414 or 431. It limits neither the number nor the rate
/// of requests; tower's `ConcurrencyLimitLayer` and `RateLimitLayer` do. See the
/// [module](crate::limit) for the behavior, the defaults, and the placement in a stack.
///
/// ```
/// use tower_kit::{LimitLayer, MIB};
///
/// let layer = LimitLayer::new().json(MIB).default_body(10 * MIB);
/// # drop(layer);
/// ```
#[derive(Clone, Debug)]
#[doc(alias = "RequestBodyLimitLayer")]
#[doc(alias = "DefaultBodyLimit")]
#[doc(alias = "body limit")]
#[doc(alias = "body-parser")]
#[doc(alias = "413")]
#[doc(alias = "414")]
#[doc(alias = "431")]
#[must_use = "a layer does nothing until a service is stacked under it"]
pub struct LimitLayer {
    state: Arc<LimitState>,
}

impl LimitLayer {
    /// Creates a layer with the default limits.
    ///
    /// The defaults are 10 KiB for JSON and form bodies, 2 MiB for other bodies, 8 KiB for the URI,
    /// and 16 KiB for at most 100 headers.
    pub fn new() -> Self {
        Self { state: Arc::new(LimitState::new()) }
    }

    /// Sets the maximum size of a JSON body, in bytes. The default is 10 KiB.
    ///
    /// The limit applies to `application/json` and to every media type with the suffix `+json`.
    #[doc(alias = "express.json")]
    pub fn json(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.json(size))
    }

    /// Sets the maximum size of an `application/x-www-form-urlencoded` body, in bytes. The default is
    /// 10 KiB.
    #[doc(alias = "express.urlencoded")]
    pub fn form(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.form(size))
    }

    /// Sets the maximum size of a `multipart/form-data` body, in bytes. The default is the limit of
    /// [`default_body`](Self::default_body).
    ///
    /// The limit applies to the whole body, with all its files and boundaries.
    #[doc(alias = "upload")]
    #[doc(alias = "multer")]
    pub fn multipart(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.multipart(size))
    }

    /// Sets the maximum size of a body of `media_type`, in bytes.
    ///
    /// The media type is `type/subtype`, `type/*` or `+suffix`, in any case and without parameters. An
    /// exact type takes precedence over a suffix, and a suffix over `type/*`. A second call for the
    /// same media type replaces the first.
    ///
    /// ```
    /// use tower_kit::{InvalidMediaType, KIB, LimitLayer, MIB};
    ///
    /// # fn main() -> Result<(), InvalidMediaType> {
    /// let layer = LimitLayer::new()
    ///     .media_type("image/*", 5 * MIB)?
    ///     .media_type("image/svg+xml", 64 * KIB)?;
    /// # drop(layer);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If `media_type` has none of these forms. For `*/*`, use [`default_body`](Self::default_body).
    #[doc(alias = "content-type")]
    #[doc(alias = "express.raw")]
    #[doc(alias = "express.text")]
    pub fn media_type(
        self,
        media_type: &str,
        size: impl Into<Size>,
    ) -> Result<Self, InvalidMediaType> {
        let media_type = media_type.parse()?;
        let size = size.into();
        Ok(self.edit(|state| state.limits.media_type(media_type, size)))
    }

    /// Sets the maximum size of a body without a limit of its own, in bytes. The default is 2 MiB.
    ///
    /// The limit applies to media types that no other setter names, and to requests with no
    /// `content-type` or a malformed one. A limit of 0 admits only requests without a body.
    pub fn default_body(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.default_body = size)
    }

    /// Sets the maximum length of the request URI, in bytes. The default is 8 KiB.
    ///
    /// The length includes the path and the query. Scheme and authority count if the request target
    /// contains them, as it does over HTTP/2 and in requests to a proxy.
    #[doc(alias = "url")]
    #[doc(alias = "request target")]
    pub fn uri(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.uri = size)
    }

    /// Sets the maximum size of all headers together, in bytes. The default is 16 KiB.
    ///
    /// Each header line counts its name, its value, and four bytes for the separator and the line
    /// break of HTTP/1.1. The server enforces a limit of its own before the layer sees the request.
    #[doc(alias = "max_header_size")]
    pub fn header_bytes(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.header_bytes = size)
    }

    /// Sets the maximum number of header lines. The default is 100.
    ///
    /// Over HTTP/2 and HTTP/3 all `cookie` lines count as one. The server enforces a limit of its own
    /// before the layer sees the request.
    #[doc(alias = "max_headers")]
    pub fn header_count(self, count: impl Into<Size>) -> Self {
        let count = count.into();
        self.edit(|state| state.limits.header_count = count)
    }

    /// Sets the minimum rate at which a request body must arrive, in bytes per second, and a grace
    /// period. By default there is no minimum.
    ///
    /// Only the time counts during which the inner service waits for the body. The grace period is a
    /// budget of waiting time: waiting uses it up, and each byte that arrives adds the time that the
    /// byte takes at the minimum rate. Once the budget is used up, the body fails with
    /// [`RequestBodyError::is_too_slow`](super::RequestBodyError::is_too_slow) and the client gets 408.
    ///
    /// A rate of 0 removes the minimum. The timer requires a tokio runtime with time enabled; outside
    /// of a runtime no minimum applies. Kestrel's default is 240 bytes per second after 5 seconds:
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
    #[doc(alias = "timeout")]
    #[doc(alias = "408")]
    pub fn min_data_rate(self, bytes_per_second: u64, grace: Duration) -> Self {
        let rate = (bytes_per_second > 0).then_some(MinDataRate { bytes_per_second, grace });
        self.edit(|state| state.limits.min_data_rate = rate)
    }

    /// Decompresses request bodies according to their `content-encoding`. By default bodies reach the
    /// inner service as they arrive.
    ///
    /// The codings are gzip (`x-gzip`) and deflate; the features `limit-decompress-br` and
    /// `limit-decompress-zstd` add br and zstd. The limit applies both to the bytes that arrive and to
    /// the decompressed bytes, so that a decompression bomb is stopped at the limit.
    ///
    /// The inner service gets a decompressed request without the headers that describe the encoded
    /// body: `content-encoding`, `content-length` and digests. A request with an unknown coding, or
    /// with more than two codings, is rejected with 415. A corrupt or truncated body fails with
    /// [`RequestBodyError::is_malformed`](super::RequestBodyError::is_malformed) and the client gets
    /// 400.
    #[cfg(feature = "limit-decompress")]
    #[doc(alias = "RequestDecompressionLayer")]
    #[doc(alias = "inflate")]
    #[doc(alias = "gzip")]
    #[doc(alias = "zip bomb")]
    #[doc(alias = "415")]
    pub fn decompress(self) -> Self {
        self.edit(|state| state.limits.decompress = true)
    }

    /// Sets the maximum number of bytes of a rejected body that the layer reads and discards, so that
    /// the client sees the response. 0 turns draining off.
    ///
    /// The default is the limit of the body itself, and at least 8 MiB (8,388,608 bytes). A drain
    /// takes at most 5 seconds, and each layer runs at most 256 of them at a time. A body whose declared
    /// length exceeds the maximum closes its connection within 5 seconds instead: the response contains
    /// `connection: close` over HTTP/1, and the stream is reset with `NO_ERROR` over HTTP/2.
    ///
    /// A body is not drained if the client waits for `100 Continue`, or outside of a tokio runtime.
    pub fn max_drain(self, size: impl Into<Size>) -> Self {
        let size = size.into();
        self.edit(|state| state.limits.max_drain = Some(size))
    }

    /// Sets the limits of requests to some paths.
    ///
    /// In a path template, `{name}` matches one non-empty segment, and a final `{*name}` matches one or
    /// more. Paths are compared byte for byte, as the client sent them. In a nested axum router, which
    /// strips a prefix from the path, the layer sees the full path with the feature `axum` only.
    ///
    /// `limits` replaces the limits of this layer as [`for_requests_if`](Self::for_requests_if)
    /// describes.
    ///
    /// ```
    /// use tower_kit::{KIB, LimitLayer, MIB};
    ///
    /// let uploads = LimitLayer::new().multipart(50 * MIB);
    /// let layer = LimitLayer::new()
    ///     .json(64 * KIB)
    ///     .for_paths(["/upload", "/files/{*path}"], &uploads);
    /// # drop(layer);
    /// ```
    #[doc(alias = "route")]
    #[doc(alias = "override")]
    pub fn for_paths<T>(self, templates: impl IntoIterator<Item = T>, limits: &Self) -> Self
    where
        T: Into<Cow<'static, str>>,
    {
        // Compared without decoding and normalizing: routers do not agree on them, and a path that only
        // this layer recognizes would get the limits of another route.
        let templates: Vec<_> = templates.into_iter().map(Into::into).collect();
        let applies = move |request: &request::Parts| {
            let uri = original_uri(&request.extensions).unwrap_or(&request.uri);
            find_template(&templates, uri.path()).is_some()
        };
        self.for_requests_if(applies, limits)
    }

    /// Sets the limits of requests for which `predicate` returns `true`.
    ///
    /// `limits` replaces all limits of this layer: a limit that `limits` does not set has its default.
    /// Its [`max_drain`](Self::max_drain), [`min_data_rate`](Self::min_data_rate) and decompression
    /// apply as well, but this layer creates and counts the responses. If several predicates match,
    /// the one that was added first applies.
    ///
    /// ```
    /// use axum::extract::MatchedPath;
    /// use tower_kit::{LimitLayer, MIB};
    ///
    /// let photos = LimitLayer::new().default_body(50 * MIB);
    /// let layer = LimitLayer::new().for_requests_if(
    ///     |request| {
    ///         let route = request.extensions.get().map(MatchedPath::as_str);
    ///         route == Some("/items/{id}/photo")
    ///     },
    ///     &photos,
    /// );
    /// # drop(layer);
    /// ```
    #[doc(alias = "override")]
    // A second layer is the builder of the limits, so that every setter exists once.
    pub fn for_requests_if<F>(self, predicate: F, limits: &Self) -> Self
    where
        F: Fn(&request::Parts) -> bool + Send + Sync + 'static,
    {
        let limits = limits.state.limits.clone();
        let applies = Arc::new(predicate);
        self.edit(|state| state.overrides.push(Override { applies, limits }))
    }

    /// Sends every rejection as `application/problem+json` (RFC 9457). By default only clients whose
    /// `accept` names JSON get it, and other clients get one line of text.
    ///
    /// Responses to gRPC calls are not affected. A 413 of the inner service also stays as it is, such
    /// as the one of axum's extractors when a streamed body exceeds its limit.
    #[doc(alias = "RFC 9457")]
    #[doc(alias = "RFC 7807")]
    pub fn problem_json(self) -> Self {
        self.edit(|state| state.format = Format::ProblemJson)
    }

    /// Sets a callback that creates the responses to rejected requests.
    ///
    /// [`LimitRejection::to_response`] returns the default response as a starting point. The layer
    /// adds `connection: close` to the result where necessary, and removes the body of a response to
    /// HEAD. The callback does not see a 413 of the inner service, such as the one of axum's extractors
    /// when a streamed body exceeds its limit.
    ///
    /// ```
    /// use http::HeaderValue;
    /// use tower_kit::LimitLayer;
    ///
    /// let layer = LimitLayer::new().response(|rejection| {
    ///     let mut response = rejection.to_response();
    ///     let reason = HeaderValue::from_static(rejection.reason().as_str());
    ///     response.headers_mut().insert("x-rejected", reason);
    ///     response
    /// });
    /// # drop(layer);
    /// ```
    #[doc(alias = "error handler")]
    pub fn response<F>(self, respond: F) -> Self
    where
        F: Fn(&LimitRejection) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.edit(|state| state.respond = Some(Arc::new(respond)))
    }

    /// Sets the recorder of the layer's metrics. The default is the global recorder of the
    /// [`metrics`] crate.
    pub fn recorder(self, recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        self.edit(|state| state.set_metrics(Metrics::to(recorder)))
    }

    fn edit(mut self, edit: impl FnOnce(&mut LimitState)) -> Self {
        edit(Arc::make_mut(&mut self.state));
        self
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
        Limit::new(inner, Arc::clone(&self.state))
    }
}
