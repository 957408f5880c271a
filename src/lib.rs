//! Independent [`tower`] layers that make an HTTP service ready for production: response cache,
//! compression, body limits, load shedding, security headers, latency histograms, and batching.
//!
//! The layers work over any `hyper`-based service: hyper, axum, tonic, warp, a reverse proxy. Each
//! layer is a module behind a cargo feature of the same name (with `-` for `_`), works alone, and
//! composes with the others. No feature is on by default. The feature `full` turns all of them on,
//! with brotli, zstd, libdeflate, and Redis with TLS; it needs a C compiler.
//!
//! | module | the layer | responses of its own |
//! |---|---|---|
//! | `latency` | Records histograms of response times and body sizes, and the number of requests in flight. | none |
//! | `pressure` | Watches the memory of the process, calls handlers, and sheds requests. | 503 |
//! | `security_headers` | Sends the security headers of helmet, or others, checked when they are set; CSP nonces. | none |
//! | `limit` | Bounds bodies, URIs and header sections; decompresses request bodies. | 400, 408, 413, 414, 415, 431 |
//! | `cache` | Stores responses in memory or Redis, as a shared cache by RFC 9111, and coalesces requests. | 206, 304, 416, 504 |
//! | `compress` | Compresses responses with gzip, deflate, brotli or zstd. | none |
//! | `batch` | Collects single items into batches, for a service that handles many at once. | none: errors |
//! | `values` | Caches values of any type in the stores of `cache`, and purges the responses made of those that change; not a layer. | none |
//!
//! # The stack
//!
#![cfg_attr(feature = "full", doc = "```")]
#![cfg_attr(not(feature = "full"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use tower_kit::cache::MemoryStore;
//! use tower_kit::{
//!     CacheLayer, CompressLayer, KIB, LatencyLayer, LimitLayer, MIB, PressureLayer,
//!     SecurityHeadersLayer,
//! };
//!
//! let app: Router = Router::new().route("/items/{id}", get(|| async { "an item" })).layer((
//!     LatencyLayer::new(),
//!     PressureLayer::new(),
//!     SecurityHeadersLayer::new(),
//!     LimitLayer::new().json(64 * KIB),
//!     CacheLayer::new(MemoryStore::new(64 * MIB)),
//!     CompressLayer::new(),
//! ));
//! ```
//!
//! The first layer is the outermost. Each layer is correct in any order; this order has the best
//! effect:
//!
//! 1. `latency` measures the time that clients wait, and counts the responses of all other layers.
//! 2. `pressure` rejects requests before they cost anything.
//! 3. `security_headers` also covers the responses of the layers inside it.
//! 4. Authentication, rate limits and CORS come here: a cache hit must not skip them.
//! 5. `limit` rejects requests that are too large before a handler sees them.
//! 6. `cache` stands outside `compress`, so that it stores compressed responses and a hit costs no
//!    codec.
//! 7. `compress` stands next to the service.
//!
//! Add all layers with one [`ServiceBuilder`], or one tuple in axum: each separate call of axum's
//! `Router::layer` boxes the service and its body once more.
//!
//! [`ServiceBuilder`]: https://docs.rs/tower/latest/tower/struct.ServiceBuilder.html
//!
#![cfg_attr(
    feature = "full",
    doc = "Users of axum find overrides for single routes, metrics and compiler errors in [`with_axum`]; users\nof Express find the equivalent of each middleware in [`from_express`].\n"
)]
//! # Common behavior
//!
//! - Errors of the inner service pass unchanged: `type Error = S::Error`. Two layers may send a
//!   response in place of an error: `cache`, a stale response, and `limit`, a rejection if the request
//!   body has exceeded its limit.
//! - A layer rejects a request with a complete HTTP response, which a client can read even while the
//!   client is still sending its body.
//! - Setters of counts, sizes and times use the nearest valid value, as their docs say. Setters of
//!   fractions, compression levels and texts return an error.
//! - Metrics go to the recorder of the process (the [`metrics`](https://docs.rs/metrics) crate), or to
//!   the recorder that a layer is given.
//! - `Layer::layer` and cloning a service are cheap. Services that one layer creates share their state.
//! - The crate has no global state, except for a pool of codecs in each thread.
//! - The crate has no unsafe code and supports Rust 1.85.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::disallowed_methods)]

#[cfg(feature = "batch")]
pub mod batch;
#[cfg(feature = "cache")]
pub mod cache;
#[cfg(feature = "compress")]
pub mod compress;
#[cfg(feature = "latency")]
pub mod latency;
#[cfg(feature = "limit")]
pub mod limit;
#[cfg(feature = "pressure")]
pub mod pressure;
#[cfg(feature = "security-headers")]
pub mod security_headers;
#[cfg(feature = "values")]
pub mod values;

#[cfg(any(
    feature = "cache",
    feature = "compress-dictionary",
    feature = "latency",
    feature = "limit"
))]
mod axum_extensions;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod body;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "limit",
    feature = "pressure"
))]
#[cfg_attr(
    not(feature = "full"),
    expect(clippy::allow_attributes, reason = "some sets of features use all of the module"),
    allow(dead_code, reason = "each layer uses a part of the module")
)]
mod clock;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod drain;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod error_response;
#[cfg(any(
    feature = "compress",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
#[cfg_attr(
    not(feature = "full"),
    expect(clippy::allow_attributes, reason = "some sets of features use all of the module"),
    allow(dead_code, reason = "each layer uses a part of the module")
)]
mod future;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
#[cfg_attr(
    not(feature = "full"),
    expect(clippy::allow_attributes, reason = "some sets of features use all of the module"),
    allow(dead_code, reason = "each layer uses a part of the module")
)]
mod headers;
#[cfg(any(feature = "compress", feature = "limit"))]
mod media_type;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
#[cfg_attr(
    not(feature = "full"),
    expect(clippy::allow_attributes, reason = "some sets of features use all of the module"),
    allow(dead_code, reason = "each layer uses a part of the module")
)]
mod metrics;
#[cfg(any(feature = "latency", feature = "limit"))]
mod path_template;
#[cfg(any(feature = "cache", feature = "compress"))]
mod random;
#[cfg(any(feature = "cache", feature = "compress", feature = "latency", feature = "pressure"))]
mod refreshing_handle;
#[cfg(any(feature = "cache", feature = "compress", feature = "security-headers"))]
#[cfg_attr(
    not(all(feature = "cache", feature = "compress", feature = "security-headers")),
    expect(dead_code, reason = "each of these layers uses a part of it")
)]
mod single_use;

/// A guide for users of Express: each middleware, and its equivalent in this crate.
///
#[doc = include_str!("from_express.md")]
#[cfg(all(doc, feature = "full"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod from_express {}

/// A page for programs that write code: the stack, its order, and mistakes that compile.
///
#[doc = include_str!("for_agents.md")]
#[cfg(all(doc, feature = "full"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod for_agents {}

/// A guide for users of axum: the layers of a router, overrides for one route, metrics, and the errors
/// that the compiler reports for a wrong order.
///
#[doc = include_str!("with_axum.md")]
#[cfg(all(doc, feature = "full"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod with_axum {}

#[cfg(feature = "batch")]
#[doc(inline)]
pub use batch::BatchLayer;
#[cfg(feature = "cache")]
#[doc(inline)]
pub use cache::CacheLayer;
#[cfg(feature = "cache-query")]
#[doc(inline)]
pub use cache::content_key::ContentKeyLayer;
#[cfg(feature = "compress")]
#[doc(inline)]
pub use compress::CompressLayer;
#[doc(hidden)]
#[cfg(any(
    feature = "compress",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
pub use future::*;
#[cfg(feature = "latency")]
#[doc(inline)]
pub use latency::LatencyLayer;
#[cfg(feature = "limit")]
#[doc(inline)]
pub use limit::LimitLayer;
#[cfg(any(feature = "compress", feature = "limit"))]
pub use media_type::InvalidMediaType;
#[cfg(feature = "pressure")]
#[doc(inline)]
pub use pressure::PressureLayer;
#[cfg(feature = "security-headers")]
#[doc(inline)]
pub use security_headers::SecurityHeadersLayer;
#[cfg(feature = "values")]
#[doc(inline)]
pub use values::ValueCache;

/// The number of bytes in a kibibyte: 1,024.
pub const KIB: u64 = 1024;

/// The number of bytes in a mebibyte: 1,048,576.
pub const MIB: u64 = 1024 * KIB;

/// The README, whose code is compiled as doctests.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
