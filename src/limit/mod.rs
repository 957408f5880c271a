//! Bounds what a request may send: its body, its target, its header section, and how slowly the
//! body may arrive.
//!
//! A body whose declared length is over the limit is refused with 413 before the service is
//! called and before a byte of it is read, so that a client which waits for `100 Continue` never
//! sends it. A body of unknown length (chunked, or HTTP/2 without `content-length`) is counted as
//! it streams, and the read that crosses the limit fails with a [`RequestBodyError`], which in a box
//! is [`LengthLimitError`](http_body_util::LengthLimitError).
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
//! use std::time::Duration;
//!
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
//!     .header_count(64)
//!     .min_data_rate(240, Duration::from_secs(5));
//! # drop(layer);
//! # Ok(())
//! # }
//! ```
//!
//! Other limits for some paths, or for the requests that a closure tells:
//!
//! ```
//! use tower_kit::{LimitLayer, MIB};
//!
//! let uploads = LimitLayer::new().multipart(50 * MIB);
//! let layer = LimitLayer::new().for_paths(["/upload", "/items/{id}/photo"], &uploads);
//! # drop(layer);
//! ```
//!
//! A second `LimitLayer` around the route alone cannot raise the limits of the outer one, which has
//! refused the request by then.
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
//! | discarded of a refused body | the limit of the body, and at least 8 MiB | clients that do not read before they have sent everything |
//! | minimum data rate | none | event streams and gRPC have long pauses |
//! | decompression | off | a proxy, or a service that stores what it gets, wants the body as it was sent |
//!
//! `application/grpc+json` is among JSON, since axum's `Json` reads it. A stream of gRPC is one
//! body, of all its messages: give its media type a limit of its own, or none as above.
//!
//! Of several `content-type` lines the one with the lowest limit counts: services differ in which
//! one they read. Over HTTP/2 and HTTP/3 all `cookie` lines are one header, whose parts are joined by
//! `; ` (RFC 9113 §8.2.3): browsers send a line for each cookie.
//!
//! # Responses
//!
//! | status | when | `reason` |
//! |---|---|---|
//! | 413 Content Too Large | the body is over its limit | `body_too_large` |
//! | 414 URI Too Long | the target is over its limit | `target_too_long` |
//! | 431 Request Header Fields Too Large | the header section is over its limit | `headers_too_large` |
//! | 431 Request Header Fields Too Large | there are too many header fields | `too_many_headers` |
//! | 400 Bad Request | `content-length` is not a number, or several ones differ (RFC 9110 §8.6) | `invalid_content_length` |
//! | 400 Bad Request | a body to decompress is corrupt, or cut | `malformed_encoding` |
//! | 415 Unsupported Media Type | a body to decompress has a coding that is not known | `unsupported_encoding` |
//! | 408 Request Timeout | the body arrives at less than the minimum data rate | `body_too_slow` |
//!
//! The response is a line of `text/plain`, or `application/problem+json` (RFC 9457) where `accept`
//! names JSON or [`LimitLayer::problem_json`] says so; [`LimitLayer::response`] replaces it. Each one
//! counts on `http_requests_rejected_total{layer="limit", reason}`.
//!
//! A call of gRPC (POST over HTTP/2, `application/grpc` or `application/grpc+...`) gets 200 with
//! `grpc-status` and `grpc-message` instead, the
//! [Trailers-Only](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses) of
//! that protocol. The status is `8` (`RESOURCE_EXHAUSTED`), in place of 400 `13` (`INTERNAL`), of 415
//! `12` (`UNIMPLEMENTED`) and of 408 `4` (`DEADLINE_EXCEEDED`). gRPC-web gets what others get.
//!
//! Where a body crosses its limit before the service has answered, axum's extractors see the error
//! and answer 413 by themselves. A service that answers something else, or fails, has its response
//! replaced by the layer's own; the same holds for 400 and 408 where the body cannot be decompressed
//! or is too slow. Once the service has answered, the read fails and its response stands: to a
//! stream's handler in tonic, that read is `UNKNOWN`.
//!
//! # The rest of a refused body
//!
//! Many clients send the whole body before they read the response. If the server closes the
//! connection before that, they see a reset in place of the refusal. So the layer responds at once,
//! and then reads and discards the rest of the body in a task of its own: up to
//! [`LimitLayer::drain`] bytes, for at most 5 seconds, and of at most 256 requests at a time for each
//! layer. Over HTTP/1 the connection is then kept for the next request. Over HTTP/2 the stream ends
//! with the response, and is reset with `NO_ERROR` if the body goes on beyond these bounds.
//!
//! The same holds where the service has begun to read a body and answers 413 by itself, as axum's
//! extractors do over their own limit.
//!
//! What cannot be read to its end is left: the body of a client that waits for `100 Continue`, and
//! all that is beyond these bounds. Where the layer knows that from the start (by the declared length, or
//! because 256 others are being read), the response on HTTP/1 carries `connection: close`. Outside of
//! a tokio runtime nothing is discarded. How the reading ended counts on
//! `http_request_drains_total{layer="limit", outcome}`: `complete`, `too_large`, `timed_out`, `failed`
//! (the client left), or `skipped` (256 others).
//!
//! # Compressed requests
//!
//! The limits are those of the bytes that arrive. `LimitLayer::decompress` (with the feature
//! `limit-decompress`) takes the codings gzip and deflate off, and with `limit-decompress-br` and
//! `limit-decompress-zstd` br and zstd, and applies the limit to both sides: a bomb is cut off at the
//! limit, and nothing beyond it is inflated.
//!
//! # Where it goes
//!
//! Outside of a cache and the service. A layer of another crate that inflates requests goes *outside*
//! of this one, so that the inflated bytes count; a declared length over the limit is still refused at
//! once where a second `LimitLayer` stands outside of the inflater.
//!
//! The service gets [`RequestBody`] around the body, so a handler has to be generic over its body,
//! as axum's are.
//!
//! On HTTP/1, hyper itself refuses differing `content-length` lines (400) and more than 100 fields
//! (431) before any layer sees the request; its responses are bare.
//!
//! axum's extractors have a limit of 2 MiB of their own, and answer 413 above it. With the feature
//! `axum`, this layer raises or lowers it to the limit of the request, as if by `DefaultBodyLimit`, so
//! that `json(5 * MIB)` lets 5 MiB of JSON through. A `DefaultBodyLimit` that the application sets
//! itself, inside or outside of this layer, still counts. Without the feature, turn theirs off with
//! `DefaultBodyLimit::disable()` where this layer lets more through.
//!
//! # What it does not do
//!
//! It never buffers a body, never reads a body that the service does not read (unless the request is
//! refused), and never bounds responses.

mod body;
#[cfg(feature = "limit-decompress-br")]
mod brotli;
mod codec;
mod coding;
mod decode;
mod error;
mod failure;
#[cfg(feature = "limit-decompress")]
mod inflate;
mod layer;
mod pace;
mod policy;
mod refusal;
mod service;
#[cfg(feature = "limit-decompress-zstd")]
mod zstd;

pub use crate::body::ResponseBody;
pub use body::RequestBody;
pub use error::{BodyError, RequestBodyError};
pub use layer::LimitLayer;
pub use policy::Size;
pub use refusal::{Reason, Refusal};
pub use service::{Limit, Settle};
