//! Bounds what a request may send: its body, its target and its header section.
//!
//! A body whose declared length is over the limit is refused with 413 before the service is
//! called and before a byte of it is read, so that a client which waits for `100 Continue` never
//! sends it. A body of unknown length (chunked, or HTTP/2 without `content-length`) is counted as
//! it streams, and the read that crosses the limit fails with
//! [`LengthLimitError`](http_body_util::LengthLimitError).
//!
//! ```
//! use tower::ServiceBuilder;
//! use tower_kit::LimitLayer;
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # use tower_kit::limit;
//! # async fn handler(_: Request<limit::RequestBody<Full<Bytes>>>)
//! #     -> Result<Response<Full<Bytes>>, std::convert::Infallible> { Ok(Response::default()) }
//!
//! let service = ServiceBuilder::new().layer(LimitLayer::new()).service_fn(handler);
//! # let _ = tower::ServiceExt::oneshot(service, Request::new(Full::default()));
//! ```
//!
//! Limits go by the request's media type; a more exact one wins over a wider one:
//!
//! ```
//! use tower_kit::limit::{LimitLayer, Size};
//! use tower_kit::{InvalidMediaType, KIB, MIB};
//!
//! # fn main() -> Result<(), InvalidMediaType> {
//! let layer = LimitLayer::new()
//!     .json(100 * KIB)
//!     .media_type("image/*", 5 * MIB)?
//!     .media_type("image/svg+xml", 64 * KIB)?
//!     .media_type("application/grpc", Size::UNLIMITED)?
//!     .other(64 * KIB)
//!     .target(4 * KIB)
//!     .header_count(64);
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! # Defaults
//!
//! | what | limit | why |
//! |---|---|---|
//! | JSON: `application/json` and every `+json` | 10 KiB (10,240 bytes) | an API call is small; a parser's work and memory grow with it |
//! | forms: `application/x-www-form-urlencoded` | 10 KiB (10,240 bytes) | as JSON |
//! | any other media type, none, or a malformed one | 2 MiB (2,097,152 bytes) | the bound that axum's extractors set, so that neither surprises the other |
//! | target | 8 KiB (8,192 bytes) | RFC 9110 §4.1 asks for 8,000 at least |
//! | header section | 16 KiB (16,384 bytes) | what Node.js accepts, and hyper on HTTP/2 |
//! | header fields | 100 | what hyper accepts on HTTP/1 |
//!
//! `application/grpc+json` is among JSON, since axum's `Json` reads it. A stream of gRPC is one
//! body, of all its messages: give its media type a limit of its own, or none as above.
//!
//! Of several `content-type` lines the one with the lowest limit counts: services differ in which
//! one they read.
//!
//! # Answers
//!
//! | status | when | `reason` |
//! |---|---|---|
//! | 413 Content Too Large | the body is over its limit | `body_too_large` |
//! | 414 URI Too Long | the target is over its limit | `target_too_long` |
//! | 431 Request Header Fields Too Large | the header section is over its limit | `headers_too_large` |
//! | 431 Request Header Fields Too Large | there are too many header fields | `too_many_headers` |
//! | 400 Bad Request | `content-length` is not a number, or several ones differ (RFC 9110 §8.6) | `invalid_content_length` |
//!
//! The answer is a line of `text/plain`, or `application/problem+json` (RFC 9457) where `accept`
//! names JSON or [`LimitLayer::problem_json`] says so; [`LimitLayer::response`] replaces it. On
//! HTTP/1 it carries `connection: close` where a part of the body is unread, since what is left of
//! it would be taken for the next request. Each one counts on
//! `http_requests_rejected_total{layer="limit", reason}`.
//!
//! A call of gRPC (POST over HTTP/2, `application/grpc` or `application/grpc+...`) gets 200 with
//! `grpc-status: 8` (`RESOURCE_EXHAUSTED`) and `grpc-message` instead, the
//! [Trailers-Only](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses) of
//! that protocol; in place of 400 it is `13` (`INTERNAL`). gRPC-web gets what others get.
//!
//! Where a body of unknown length crosses its limit before the service has answered, axum's
//! extractors see the error and answer 413 by themselves; on HTTP/1 the layer adds the `connection:
//! close`. A service that answers something else, or fails, has its answer replaced by the layer's
//! own. Once the service has answered, the read fails and its answer stands: to a stream's handler
//! in tonic, that read is `UNKNOWN`.
//!
//! # Where it goes
//!
//! Outside of a cache and the service. Counted is what arrives at this layer: for compressed
//! requests put a layer that inflates them *outside* of it, so that the inflated bytes count and a
//! gzip bomb is cut off at the limit:
//!
//! ```
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use http_body_util::Full;
//! # async fn handler<B>(_: Request<B>)
//! #     -> Result<Response<Full<Bytes>>, std::convert::Infallible> { Ok(Response::default()) }
//! use tower::ServiceBuilder;
//! use tower_http::decompression::RequestDecompressionLayer;
//! use tower_kit::LimitLayer;
//!
//! let service = ServiceBuilder::new()
//!     .layer(RequestDecompressionLayer::new())
//!     .layer(LimitLayer::new())
//!     .service_fn(handler);
//! # let _ = tower::ServiceExt::oneshot(service, Request::new(Full::<Bytes>::default()));
//! ```
//!
//! An inflated body has no known length, so its 413 comes while it streams; a declared length over
//! the limit is still refused at once where a second `LimitLayer` stands outside of the inflater.
//!
//! The service gets [`RequestBody`] around the body, so a handler has to be generic over its body,
//! as axum's are.
//!
//! On HTTP/1, hyper itself refuses differing `content-length` lines (400) and more than 100 fields
//! (431) before any layer sees the request; its answers are bare.
//!
//! # What it never does
//!
//! It never buffers, never reads a body that the service does not read, and never bounds
//! responses or time: for a client that sends slowly, set the server's timeouts.

mod body;
#[cfg(feature = "limit-decompress-br")]
mod brotli;
mod codec;
mod coding;
mod decode;
mod error;
#[cfg(feature = "limit-decompress")]
mod inflate;
mod layer;
mod pace;
mod policy;
mod refusal;
mod service;
#[cfg(feature = "limit-decompress-zstd")]
mod zstd;

pub use body::RequestBody;
pub use error::BodyError;
pub use layer::LimitLayer;
pub use policy::Size;
pub use refusal::{Reason, Refusal};
pub use service::{Limit, Settle};
