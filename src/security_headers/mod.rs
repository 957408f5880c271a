//! Sends the security headers that [helmet](https://helmetjs.github.io) 8.3.0 sends, to the byte.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "hello" })).layer(SecurityHeadersLayer::new());
//! ```
//!
//! A field that the service sets itself wins, with all its lines: that is how one page gets a
//! policy of its own.
//!
//! ```
//! use axum::http::header::CONTENT_SECURITY_POLICY;
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let widget = || async { ([(CONTENT_SECURITY_POLICY, "frame-ancestors *")], "embed me") };
//! let app: Router =
//!     Router::new().route("/widget", get(widget)).layer(SecurityHeadersLayer::new());
//! ```
//!
//! # Defaults
//!
//! | field | value | why |
//! |---|---|---|
//! | `content-security-policy` | `default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests` | an injected script does not run, and forms and frames stay on the site ([CSP3](https://www.w3.org/TR/CSP3/)) |
//! | `cross-origin-opener-policy` | `same-origin` | pages of other origins get no handle on the window |
//! | `cross-origin-resource-policy` | `same-origin` | other origins cannot embed the answer, nor read it from memory |
//! | `origin-agent-cluster` | `?1` | the origin gets a process, or at least a heap, of its own |
//! | `referrer-policy` | `no-referrer` | addresses, and what stands in their queries, do not leak |
//! | `strict-transport-security` | `max-age=31536000; includeSubDomains` | a year of HTTPS only (RFC 6797; browsers ignore it over plain HTTP) |
//! | `x-content-type-options` | `nosniff` | an upload is not run because it looks like a script |
//! | `x-dns-prefetch-control` | `off` | link targets are not looked up before they are followed |
//! | `x-download-options` | `noopen` | old Internet Explorer does not open downloads in the site's context |
//! | `x-frame-options` | `SAMEORIGIN` | what `frame-ancestors` says, for browsers before it (RFC 7034) |
//! | `x-permitted-cross-domain-policies` | `none` | Flash and Acrobat load no data across domains |
//! | `x-xss-protection` | `0` | the filter that it switches off could itself be used for attacks |
//!
//! # Where it goes
//!
//! Outside of everything that answers for itself (limits, caches, authentication), so that
//! refusals carry the fields too, and inside of [`latency`](crate#order).
//!
//! To change a field for a whole application, set it inside of this layer, for example with
//! tower-http's `SetResponseHeaderLayer`. A field cannot be left out.
//!
//! # What it never does
//!
//! It never changes a status or a body, never removes a field, and never replaces one that the
//! service has set.

mod layer;
mod policy;
mod service;

pub use layer::SecurityHeadersLayer;
pub use service::{SecurityHeaders, Stamp};
