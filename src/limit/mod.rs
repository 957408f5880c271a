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
//! The request's `content-type` selects the limit: an exact type takes precedence over a suffix such as
//! `+json`, and a suffix over `type/*`. Of several `content-type` lines, the one with the lowest limit
//! applies. A gRPC stream is one body that contains all its messages.
//!
//! A declared `content-length` over the limit is rejected before the inner service is called. The body
//! is not read first, so a client that waits for `100 Continue` never sends it.
//!
//! A body of unknown length is counted while the inner service reads it. The read that exceeds the
//! limit fails with a [`RequestBodyError`]. If the inner service has not responded yet, its response or
//! error is replaced by the rejection, except for a response with the same status: axum's extractors
//! respond with 413 to the failed read, and that response is kept. If the inner service has responded
//! already, only the read fails.
//!
//! The inner service gets a [`RequestBody`] around the body of the request. axum handlers do not notice
//! it; other services name the type:
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
//!     match request.into_body().collect().await {
//!         Ok(body) => Ok(Response::new(body.to_bytes().into())),
//!         // The layer replaces this response if the body exceeded its limit.
//!         Err(error) => {
//!             let response = Response::builder().status(400).body(error.to_string().into());
//!             Ok(response.unwrap_or_default())
//!         }
//!     }
//! }
//!
//! let service = ServiceBuilder::new().layer(LimitLayer::new()).service_fn(echo);
//! # drop(service);
//! ```
//!
//! ## Responses
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
//! A response contains one line of `text/plain`, or an `application/problem+json` document (RFC 9457) if
//! the request's `accept` names JSON. [`LimitLayer::problem_json`] always selects the latter, and
//! [`LimitLayer::response`] replaces the response.
//!
//! A gRPC call (a POST over HTTP/2 with the media type `application/grpc` or `application/grpc+...`)
//! gets status 200 with `grpc-status` and `grpc-message`, as gRPC requires. The `grpc-status` is 8
//! (`RESOURCE_EXHAUSTED`); for 400 it is 13 (`INTERNAL`), for 415 12 (`UNIMPLEMENTED`), and for 408 4
//! (`DEADLINE_EXCEEDED`). gRPC-Web calls get an ordinary response.
//!
//! ## Draining
//!
//! Many clients send the whole body before they read the response. If the server closes the connection
//! in the meantime, they report a reset connection instead of the rejection. The layer therefore
//! responds at once, and then reads and discards the rest of the body in a background task:
//! [`LimitLayer::max_drain`] bytes at most, for 5 seconds at most, and for 256 requests of each layer at
//! a time. The connection stays open for the next request. If the inner service responds with 413 by
//! itself after it has read a part of the body, the rest is drained in the same way.
//!
//! A body that is not expected to fit these bounds closes the connection: the response contains
//! `connection: close` over HTTP/1, and the stream is reset over HTTP/2. The body of a client that waits
//! for `100 Continue` is not drained, and neither is any body outside of a tokio runtime.
//!
//! ## Decompression
//!
//! By default the limits apply to the bytes that arrive, compressed or not. With the feature
//! `limit-decompress`, `LimitLayer::decompress` decodes gzip and deflate; `limit-decompress-br` and
//! `limit-decompress-zstd` add br and zstd. The limit then applies to the decompressed bytes as well, so
//! that a decompression bomb is stopped at the limit.
//!
//! ## Slow uploads
//!
//! [`LimitLayer::min_data_rate`] ends bodies that arrive too slowly. Only the time counts during which
//! the inner service waits for the body.
//!
//! # Metrics
//!
//! | counter | labels | counts |
//! |---|---|---|
//! | `http_requests_rejected_total` | `layer="limit"`, `reason` of the table above | rejected requests |
//! | `http_request_drains_total` | `layer="limit"`, `outcome` | drains by outcome: `complete`, `too_large`, `timed_out`, `failed` (the client disconnected), or `skipped` (256 others were running) |
//!
//! # Defaults
//!
//! | limit | default | reason |
//! |---|---|---|
//! | JSON bodies (`application/json`, `+json`) | 10 KiB (10,240 bytes) | API calls are small, and the cost of parsing grows with the body |
//! | form bodies (`application/x-www-form-urlencoded`) | 10 KiB | same as JSON |
//! | other bodies, also those with no or a malformed `content-type` | 2 MiB (2,097,152 bytes) | same as axum's extractors |
//! | URI | 8 KiB | RFC 9110 §4.1 recommends at least 8,000 bytes |
//! | headers in bytes | 16 KiB | same as Node.js, and hyper over HTTP/2 |
//! | headers in number | 100 | same as hyper over HTTP/1 |
//! | drained bytes | the limit of the body, at least 8 MiB | large enough for clients that do not read while they send |
//! | minimum data rate | none | event streams and gRPC calls may pause for long |
//! | decompression | off | a proxy, or a service that stores bodies, needs them as they arrive |
//!
//! # Placement
//!
//! `limit` stands outside of a cache and of the service, and inside of authentication and of
//! [`latency`](https://docs.rs/tower-kit/latest/tower_kit/latency/). A decompression layer of another
//! crate must stand outside of `limit`, so that the decompressed bytes count.
//!
//! To raise a limit for one route, use [`LimitLayer::for_paths`] or [`LimitLayer::for_requests_if`]. A
//! second `LimitLayer` around the route cannot raise the limit of the outer one.
//!
//! axum's extractors have a limit of their own of 2 MiB. With the feature `axum`, this layer sets that
//! limit to its own, so that `json(5 * MIB)` admits 5 MiB of JSON; a `DefaultBodyLimit` of the
//! application still applies. Without the feature, add `DefaultBodyLimit::disable()` for larger limits.
//!
//! hyper rejects more than 100 headers (431) and differing `content-length` lines (400) over HTTP/1
//! before any layer sees the request. Those responses are empty and not counted.
//!
//! # What it does not do
//!
//! - The layer limits neither the number nor the rate of requests. tower's `ConcurrencyLimitLayer` and
//!   `RateLimitLayer` do.
//! - The layer does not limit single fields or files of a form, or single messages of a gRPC stream.
//! - The layer does not limit responses.
//! - The layer reads no body that the inner service leaves unread, unless the request is rejected.

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
