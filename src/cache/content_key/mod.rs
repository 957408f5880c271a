//! The content of a request as a part of its key: caching of `QUERY` (RFC 10008), and of `POST` by
//! choice.
//!
//! `QUERY` is a safe method like `GET`, with the query in the content of the request. The cache alone
//! reads no contents, and passes such requests by. A [`ContentKeyLayer`] directly outside of the
//! [`CacheLayer`] reads them, and tells the cache their hash:
//!
//! ```
//! use axum::Router;
//! use axum::body::Bytes;
//! use axum::http::header::CACHE_CONTROL;
//! use axum::routing::any;
//! use tower_kit::cache::content_key::ContentKeyLayer;
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::MIB;
//!
//! let search = |query: Bytes| async move { ([(CACHE_CONTROL, "max-age=60")], query) };
//! // `any`, since axum has no name for the method.
//! let app: Router = Router::new()
//!     .route("/search", any(search))
//!     .layer((ContentKeyLayer::new(), CacheLayer::new(MemoryStore::new(64 * MIB))));
//! # drop(app);
//! ```
//!
//! GraphQL sends queries by `POST`, beside mutations. [`post_if`](ContentKeyLayer::post_if) tells them
//! apart:
//!
//! ```
//! use axum::Router;
//! use axum::http::header::CACHE_CONTROL;
//! use axum::http::request;
//! use axum::routing::post;
//! use serde::Deserialize;
//! use tower_kit::cache::content_key::ContentKeyLayer;
//! use tower_kit::cache::{CacheLayer, MemoryStore};
//! use tower_kit::MIB;
//!
//! #[derive(Deserialize)]
//! struct Operation {
//!     query: String,
//! }
//!
//! /// Returns `true` for a document that has queries only. A program has a parser of GraphQL, which
//! /// recognizes more of them.
//! fn only_reads(_: &request::Parts, content: &[u8]) -> bool {
//!     // A content that is no operation is not chosen, nor is a list of operations.
//!     let Ok(Operation { query }) = serde_json::from_slice(content) else { return false };
//!     let starts = query.starts_with("query") || query.starts_with('{');
//!     starts && !query.contains("mutation") && !query.contains("subscription")
//! }
//!
//! let graphql = || async { ([(CACHE_CONTROL, "max-age=60")], "{\"data\":{}}") };
//! let app: Router = Router::new()
//!     .route("/graphql", post(graphql))
//!     .layer((
//!         ContentKeyLayer::new().post_if(only_reads),
//!         CacheLayer::new(MemoryStore::new(64 * MIB)),
//!     ));
//! # drop(app);
//! ```
//!
//! # Behavior
//!
//! ## Keys
//!
//! Two requests share a response if they agree in the method, in all that the
//! [`CacheKey`](super::CacheKey) takes of the head, in the content, and in the headers that describe the
//! content (`content-type`, `content-encoding`, `content-language` and all others that start with
//! `content-`, except for `content-length`), all byte for byte. Nothing is normalized, which RFC 10008
//! §2.7 would allow: two spellings of one query are two entries, and a difference that only the inner
//! service knows of mixes no responses. The key has the SHA-256 of these, so that no client can make a
//! content whose key is that of another one. A `GET` or a `HEAD` never gets the response to a `QUERY`.
//!
//! All else is as for `GET`: freshness, `vary`, conditional requests and ranges, coalescing, stale
//! responses, and the rules of what is stored. A response is not stored under the URL that its
//! `location` or `content-location` names; these headers and `accept-query` pass to clients.
//!
//! ## Content that is not known
//!
//! The request passes by the cache with its content, trailers and errors unchanged, and
//! `http_cache_requests_total` has the `reason`, if the content
//!
//! - is over [`max_content`](ContentKeyLayer::max_content): `content-size`;
//! - has not ended within [`read_timeout`](ContentKeyLayer::read_timeout): `content-timeout`;
//! - finds no place in [`max_buffered`](ContentKeyLayer::max_buffered): `content-budget`;
//! - fails, has trailers or a `content-range`, or differs from its declared length: `content`.
//!
//! A content whose declared length is over the maximum is not read at all. A client that expects `100
//! (Continue)` then gets it from the inner service; for other contents the layer asks for them.
//!
//! ## Invalidation
//!
//! Purges by URL, prefix and tag hit these entries as all others of their URL, and so does the response
//! to an unsafe method for the URL. A `QUERY` and a chosen `POST` purge nothing. If more than 150,000
//! URLs are changed by unsafe methods, older entries of this kind are no longer served.
//!
//! # Defaults
//!
//! | setting | default | reason |
//! |---|---|---|
//! | [`max_content`](ContentKeyLayer::max_content) | 64 KiB | more than queries have |
//! | [`max_buffered`](ContentKeyLayer::max_buffered) | 16 MiB | 256 of the largest contents |
//! | [`read_timeout`](ContentKeyLayer::read_timeout) | 5 s | a phone sends 64 KiB sooner |
//! | [`post_if`](ContentKeyLayer::post_if) | none | only the program knows which requests change nothing |
//!
//! # Placement
//!
//! Place the layer directly outside of the cache: a layer between them that replaced the content would
//! make the key that of another content. Authentication, rate limits and `limit` go outside of both. The
//! layer has no effect without a cache inside. It reads the content before the inner service sees the
//! request, which for `POST` holds for all requests: add it to the routes that need it.
//!
//! The layer needs a Tokio runtime with its timer enabled, as the cache does.
//!
//! [`CacheLayer`]: super::CacheLayer

mod body;
mod config;
mod layer;
mod policy;
mod read;
mod service;

pub use body::RequestBody;
pub use layer::ContentKeyLayer;
pub use service::{ContentKey, ResponseFuture};
