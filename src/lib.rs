//! Independent [`tower`] layers that turn any `hyper`-based service (hyper, axum, tonic, a
//! reverse proxy) into a production one.
//!
//! Each layer is a module behind a cargo feature of the same name (with `-` for `_`). It works
//! alone, and it stacks with the others. The feature `axum` lets layers recognize axum's extensions
//! of requests. No feature is on by default; `full` turns all of them on, with the codings br and
//! zstd, libdeflate, and Redis with TLS (parts of which are C, so that a C compiler is needed).
//!
//! | module | what it does | answers of its own |
//! |---|---|---|
//! | `latency` | histograms of how long clients waited, sizes, requests in flight | none |
//! | `pressure` | watches memory, calls back when it is short, and sheds requests | 503 |
//! | `security_headers` | the security headers of helmet, or others, checked; nonces | none |
//! | `limit` | bounds the size of bodies, targets and header sections; decompresses requests | 400, 408, 413, 414, 415, 431 |
//! | `cache` | keeps responses to GET, in memory or Redis, as a shared cache by RFC 9111 | 304, 206, 416, 504 |
//! | `compress` | gzip and deflate, br and zstd where they are named, with an opt-out header | none |
//! | `batch` | turns a service of many items into one of an item; for what handlers call | errors |
//!
//! # Order
//!
//! From the outside in: `latency`, `pressure`, `security_headers`, `limit`, `cache`, `compress`, then
//! the service. Latency stands outermost, so that it measures what clients wait for and counts the
//! answers that the other layers give; pressure next, so that what it sheds costs next to nothing.
//! The cache stands outside of compress, so that a hit is compressed already. Authentication, CORS
//! and rate limits go between `security_headers` and `limit`, traces outside of all. Every layer keeps
//! its promises in any other order too; but a cache outside of authentication answers before it.
//!
//! Stack the layers in one [`ServiceBuilder`] (or, for axum, one tuple): each separate call of
//! axum's `Router::layer` boxes the service and its body once more.
//!
//! [`ServiceBuilder`]: https://docs.rs/tower/latest/tower/struct.ServiceBuilder.html
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
#![cfg_attr(
    feature = "full",
    doc = "What a service of axum needs to know: [`with_axum`]. What each middleware of Express has here:\n[`from_express`].\n"
)]
//! # What holds for every layer
//!
//! - The inner service's errors pass through untouched: `type Error = S::Error`. Only `cache` may
//!   answer in the place of one, with what it still has, and `limit`, if a body has crossed its limit.
//! - Refusals are complete HTTP responses.
//! - A count, size or time that is out of range is taken as the nearest that is in range, as its setter
//!   says. Fractions, levels of codings and texts that are out of range are errors of their setter.
//! - Nothing is global but each thread's pool of codecs. Numbers go to the process's [`metrics`](https://docs.rs/metrics)
//!   recorder, or to the one that a layer is given.
//! - `Layer::layer` and cloning a service are cheap: state lives in the layer, behind one `Arc`.

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

#[cfg(any(feature = "cache", feature = "latency", feature = "limit"))]
mod axum_extensions;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod body;
#[cfg(any(feature = "cache", feature = "compress"))]
mod cache_marks;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "limit",
    feature = "pressure"
))]
mod clock;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod drain;
#[cfg(any(feature = "limit", feature = "pressure"))]
mod error_response;
#[cfg(feature = "cache")]
mod for_one;
#[cfg(any(
    feature = "compress",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
mod future;
#[cfg(any(feature = "cache", feature = "compress", feature = "limit"))]
mod headers;
#[cfg(any(
    feature = "cache",
    feature = "compress",
    feature = "latency",
    feature = "limit",
    feature = "pressure",
    feature = "security-headers"
))]
mod metrics;
#[cfg(any(feature = "latency", feature = "limit"))]
mod path_template;

/// A page for those who come from Express: its middlewares, and what takes their place here.
///
#[doc = include_str!("from_express.md")]
#[cfg(all(doc, feature = "full"))]
#[cfg_attr(docsrs, doc(auto_cfg = false))]
pub mod from_express {}

/// A page for services of axum: where a tuple of layers ends, overrides for one route, metrics, and
/// the errors of the compiler that a wrong order gives.
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
#[cfg(any(feature = "compress", feature = "limit"))]
pub use headers::media_type::InvalidMediaType;
#[cfg(feature = "latency")]
#[doc(inline)]
pub use latency::LatencyLayer;
#[cfg(feature = "limit")]
#[doc(inline)]
pub use limit::LimitLayer;
#[cfg(feature = "pressure")]
#[doc(inline)]
pub use pressure::PressureLayer;
#[cfg(feature = "security-headers")]
#[doc(inline)]
pub use security_headers::SecurityHeadersLayer;
#[cfg(feature = "values")]
#[doc(inline)]
pub use values::ValueCache;

/// 1,024 bytes.
pub const KIB: u64 = 1024;

/// 1,048,576 bytes.
pub const MIB: u64 = 1024 * KIB;

/// Compiles the README's code.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
