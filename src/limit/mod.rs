//! Limits on the size of request bodies, URIs and headers, and a minimum upload rate.
//!
//! [`LimitLayer`] protects an HTTP service from requests that are larger than the service expects, and
//! from clients that upload too slowly. The layer rejects such a request with a complete response
//! (such as 413), and drains the rest of the upload so that the client receives that response. Bodies
//! are counted as they stream and never buffered.
//!
//! ```
//! use axum::{Router, routing::post};
//! use tower_kit::LimitLayer;
//!
//! let app: Router = Router::new()
//!     .route("/items", post(|body: String| async { body }))
//!     .layer(LimitLayer::new());
//! ```
//!
//! Every limit can be set, by media type and by path:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_kit::limit::Size;
//! use tower_kit::{InvalidMediaType, KIB, LimitLayer, MIB};
//!
//! # fn main() -> Result<(), InvalidMediaType> {
//! let uploads = LimitLayer::new().multipart(50 * MIB);
//! let layer = LimitLayer::new()
//!     .json(100 * KIB)
//!     .media_type("image/*", 5 * MIB)?
//!     .media_type("application/grpc", Size::UNLIMITED)?
//!     .default_body(64 * KIB)
//!     .uri(4 * KIB)
//!     .header_count(64)
//!     .min_data_rate(240, Duration::from_secs(5))
//!     .for_paths(["/upload", "/items/{id}/photo"], &uploads);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Behavior
//!
//! ## Bodies
//!
//! The request's `content-type` selects the limit. An exact type takes precedence over a suffix such as
//! `+json`, and a suffix over `type/*`. Of several `content-type` lines, the one with the lowest limit
//! applies. A gRPC stream is one body that contains all its messages.
//!
//! A declared `content-length` over the limit is rejected before the inner service is called and before
//! the body is read. A client that waits for `100 Continue` never sends such a body.
//!
//! A body of unknown length is counted while the inner service reads it, and the read that exceeds the
//! limit fails with a [`RequestBodyError`]. A body that cannot be decompressed or arrives below
//! [`LimitLayer::min_data_rate`] fails in the same way. The response then depends on the inner service:
//!
//! - If the inner service responds with the status that the layer would send (413, 400 or 408), its
//!   response is sent unchanged. axum's `Json` and `Bytes` do that: they respond to a body over its
//!   limit with a 413 of plain text.
//! - If the inner service responds with another status or fails, the layer's response is sent.
//! - If the inner service responded before the read failed, its response is sent.
//!
//! The inner service gets a [`RequestBody`] around the body of the request. axum handlers accept any
//! body; other services name the type or are generic:
//!
//! ```
//! use std::convert::Infallible;
//!
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::{BodyExt, Full};
//! use hyper::body::Incoming;
//! use tower::ServiceBuilder;
//! use tower_kit::LimitLayer;
//! use tower_kit::limit::RequestBody;
//!
//! async fn echo(
//!     request: Request<RequestBody<Incoming>>,
//! ) -> Result<Response<Full<Bytes>>, Infallible> {
//!     let mut response = Response::new(Full::default());
//!     match request.into_body().collect().await {
//!         Ok(body) => *response.body_mut() = body.to_bytes().into(),
//!         // The layer replaces this response if the body exceeded its limit.
//!         Err(_) => *response.status_mut() = http::StatusCode::BAD_REQUEST,
//!     }
//!     Ok(response)
//! }
//!
//! let service = ServiceBuilder::new().layer(LimitLayer::new()).service_fn(echo);
//! # drop(service);
//! ```
//!
//! ## Rejections
//!
//! | status | cause | [`Reason`] |
//! |---|---|---|
//! | 413 Content Too Large | the body exceeds its limit | `body_too_large` |
//! | 414 URI Too Long | the URI exceeds its limit | `uri_too_long` |
//! | 431 Request Header Fields Too Large | the headers exceed their limit in bytes | `headers_too_large` |
//! | 431 Request Header Fields Too Large | the headers exceed their limit in number | `too_many_headers` |
//! | 400 Bad Request | the `content-length` is not a number, or several values differ | `invalid_content_length` |
//! | 400 Bad Request | the body is not valid in its `content-encoding` | `malformed_encoding` |
//! | 415 Unsupported Media Type | the `content-encoding` is not supported | `unsupported_encoding` |
//! | 408 Request Timeout | the body arrives below the minimum data rate | `body_too_slow` |
//!
//! The layer's response contains one line of text, or an `application/problem+json` document if the
//! request's `accept` names JSON or [`LimitLayer::problem_json`] is set. gRPC calls get a `grpc-status` instead, as
//! [`LimitRejection::to_response`] describes. [`LimitLayer::response`] replaces the response.
//!
//! ## Draining
//!
//! Many clients send the whole body before they read the response, and report a reset connection if the
//! server closes the connection in the meantime. The layer therefore responds at once, and then reads
//! and discards the rest of the body in a background task, within the bounds of
//! [`LimitLayer::max_drain`]. The connection stays open for the next request. The rest of a body is
//! drained as well if the inner service reads a part of the body and responds with 413 by itself.
//!
//! ## Decompression
//!
//! By default the limits apply to the bytes that arrive, compressed or not. `LimitLayer::decompress`
//! (feature `limit-decompress`) decodes gzip and deflate; `limit-decompress-br` and
//! `limit-decompress-zstd` add br and zstd. The limit then applies to the decompressed bytes as well, so
//! that a decompression bomb is stopped at the limit.
//!
//! # Metrics
//!
//! | counter | labels | counts |
//! |---|---|---|
//! | `http_requests_rejected_total` | `layer="limit"`, `reason` | rejected requests |
//! | `http_request_drains_total` | `layer="limit"`, `outcome` | drains: `complete`, `too_large`, `timed_out`, `failed` (the client disconnected), or `skipped` (256 others were running) |
//!
//! # Defaults
//!
//! | limit | default | reason |
//! |---|---|---|
//! | JSON bodies (`application/json`, `+json`) | 10 KiB (10,240 bytes) | API calls are small, and the cost of parsing grows with the body |
//! | form bodies (`application/x-www-form-urlencoded`) | 10 KiB | same as JSON |
//! | other bodies, and those with no or a malformed `content-type` | 2 MiB (2,097,152 bytes) | same as axum's extractors |
//! | URI | 8 KiB | RFC 9110 §4.1 recommends at least 8,000 bytes |
//! | headers in bytes | 16 KiB | same as Node.js, and as hyper over HTTP/2 |
//! | headers in number | 100 | same as hyper over HTTP/1 |
//! | drained bytes | the limit of the body, at least 8 MiB | suffices for clients that do not read while they send |
//! | minimum data rate | none | event streams and gRPC calls may pause for long |
//! | decompression | off | proxies and services that store bodies need them as they arrive |
//!
//! # Placement
//!
//! `limit` stands outside of a cache and of the service, and inside of authentication and metrics. A
//! decompression layer of another crate stands outside of `limit`, so that the decompressed bytes count.
//!
//! To raise a limit for one route, use [`LimitLayer::for_paths`] or [`LimitLayer::for_requests_if`]: a
//! second `LimitLayer` around the route cannot raise the limit of the outer one. An override inherits
//! nothing: it starts from the defaults, or from a clone of the layer.
//!
//! An axum middleware by `from_fn` in the same tuple or `ServiceBuilder` stands outside of `limit`,
//! because it requires axum's own request body. To place it inside, add each by its own `Router::layer`.
//!
//! axum's extractors have a limit of 2 MiB of their own. With the feature `axum`, this layer sets that
//! limit to its own, so that `json(5 * MIB)` admits 5 MiB of JSON; a `DefaultBodyLimit` of the
//! application still applies. Without the feature, add `DefaultBodyLimit::disable()` for larger limits.
//!
//! hyper rejects more than 100 headers (431) and a `content-length` that is no number or differs
//! between lines (400) over HTTP/1 before any layer sees the request. Those responses are empty and not counted.
//!
//! # What it does not do
//!
//! The layer does not limit the number or rate of requests (tower's `ConcurrencyLimitLayer` and
//! `RateLimitLayer` do), single files of a form, single messages of a gRPC stream, or responses. It
//! reads no body that the inner service leaves unread, unless the request is rejected.

mod body;
mod body_status;
mod data_rate;
mod decompress;
mod error;
mod future;
mod layer;
mod limits;
mod policy;
mod rejection;
mod service;
mod size;
mod state;

pub use crate::body::ResponseBody;
pub use body::RequestBody;
pub use error::{MalformedBodyError, RequestBodyError, SlowBodyError};
pub use future::ResponseFuture;
pub use layer::LimitLayer;
pub use rejection::{LimitRejection, Reason};
pub use service::Limit;
pub use size::Size;
