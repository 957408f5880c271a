//! Adds security headers to responses: by default the twelve headers that
//! [helmet](https://helmetjs.github.io) 8.3.0 sends, byte for byte. For every service that browsers
//! talk to.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "hello" })).layer(SecurityHeadersLayer::new());
//! ```
//!
//! Each header has a type. The layer [`set`]s and [`remove`]s headers, and checks each value when it
//! is set:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::header::X_DNS_PREFETCH_CONTROL;
//! use tower_kit::SecurityHeadersLayer;
//! use tower_kit::security_headers::{
//!     Csp, Directive, Endpoint, FINGERPRINT_HEADERS, Feature, Hsts, InvalidHeader,
//!     PermissionsPolicy, Source,
//! };
//!
//! fn headers() -> Result<SecurityHeadersLayer, InvalidHeader> {
//!     let reports = Endpoint::new("reports", "https://reports.example.com/")?;
//!     let policy = Csp::helmet()
//!         .append(Directive::IMG_SRC, ["https://images.example.com"])
//!         .append(Directive::SCRIPT_SRC, [Source::NONCE])
//!         .report_to(&reports);
//!     let features = PermissionsPolicy::new().deny([Feature::CAMERA, Feature::MICROPHONE]);
//!     Ok(SecurityHeadersLayer::new()
//!         .set(policy)?
//!         .set(Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().preload())?
//!         .set(features)?
//!         .custom("x-robots-tag", "noindex")?
//!         .remove(X_DNS_PREFETCH_CONTROL)
//!         .strip(FINGERPRINT_HEADERS))
//! }
//! # headers().unwrap();
//! ```
//!
//! [`set`]: SecurityHeadersLayer::set
//! [`remove`]: SecurityHeadersLayer::remove
//!
//! # Behavior
//!
//! ## Headers of the service
//!
//! A header that the service sets replaces the layer's, with all its lines. A
//! `content-security-policy` replaces all directives.
//!
//! ```
//! use axum::http::header::REFERRER_POLICY;
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let shop = || async { ([(REFERRER_POLICY, "origin")], "partners see where clients come from") };
//! let app: Router = Router::new().route("/shop", get(shop)).layer(SecurityHeadersLayer::new());
//! ```
//!
//! [`Overrides`] in the extensions of a response remove a header of the layer, or add to its policy.
//! [`override_header`](SecurityHeadersLayer::override_header) and
//! [`override_all`](SecurityHeadersLayer::override_all) make headers of the layer replace those of
//! the service.
//!
//! ## Nonces
//!
//! A policy with [`Source::NONCE`] adds a [`Nonce`] to each request, for the scripts of the page. The
//! nonce is drawn when it is first asked for.
//!
//! ```
//! use axum::{Extension, Router, response::Html, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//! use tower_kit::security_headers::{Csp, Nonce};
//!
//! const POLICY: Csp = Csp::from_static(
//!     "default-src 'self'; script-src 'nonce' 'strict-dynamic'; object-src 'none'; base-uri 'none'",
//! );
//!
//! async fn page(Extension(nonce): Extension<Nonce>) -> Html<String> {
//!     Html(format!("<script nonce=\"{nonce}\">start()</script>"))
//! }
//!
//! # fn app() -> Result<Router, tower_kit::security_headers::InvalidHeader> {
//! let headers = SecurityHeadersLayer::none().set(POLICY)?;
//! let app = Router::new().route("/", get(page)).layer(headers);
//! # Ok(app)
//! # }
//! # app().unwrap();
//! ```
//!
//! - A response whose nonce was not asked for has the policy without it, and also without
//!   `'unsafe-inline'` beside it, which would start to apply.
//! - A response whose nonce was used is private: two clients must not share a nonce. The layer adds
//!   `private` to `cache-control`, and removes `public` and `s-maxage`. Headers for single caches
//!   (RFC 9213, `surrogate-control`, `edge-control`) become `no-store`, and `x-accel-expires`
//!   becomes `0`. The [cache](crate#order) of this crate stores no such response, on either side of
//!   the layer.
//! - A 304 has no policy with a nonce, because it would replace the policy of the page that the
//!   browser has stored (RFC 9111 §4.3.4).
//! - The value is marked as sensitive, so that HPACK does not index it.
//! - Nested layers share the nonce of the outermost one.
//! - Without a policy that has [`Source::NONCE`], requests have no [`Nonce`], and axum's
//!   `Extension<Nonce>` responds with 500. The feature `axum` makes [`Nonce`] and `Option<Nonce>`
//!   extractors.
//!
//! ## Conditions
//!
//! [`https_if`](SecurityHeadersLayer::https_if) sends `strict-transport-security` and
//! `upgrade-insecure-requests` by HTTPS only. [`http_hosts`](SecurityHeadersLayer::http_hosts) leaves
//! both out for some hosts, such as [`LOOPBACK_HOSTS`]: browsers remember HSTS for `localhost`, on
//! all ports. [`documents_only`](SecurityHeadersLayer::documents_only) leaves headers for pages out
//! of other responses. As in helmet, none of these conditions is on by default.
//!
//! ## Values that this crate does not know
//!
//! Each type takes a new value by its `custom`. The crate checks the characters only, so that the
//! value cannot end its directive or its list, and is no nonce. [`SecurityHeadersLayer::custom`]
//! lists these functions, and sends headers that have no type.
//!
//! # Metrics
//!
//! | name | kind | |
//! |---|---|---|
//! | `http_nonces_missed_total{reason}` | counter | responses whose nonce was asked for but not sent: `late` (the headers were sent before) or `random` (the operating system had no random bits) |
//!
//! # Defaults
//!
//! The headers are sent in this order, before those of the service:
//!
//! | header | type | default | reason |
//! |---|---|---|---|
//! | `content-security-policy`, and `-report-only` | [`Csp`] | [`Csp::helmet`] | injected scripts do not run, and forms and frames stay on the site |
//! | `cross-origin-embedder-policy`, and `-report-only` | [`Coep`] | none | it breaks pages that embed resources which have not agreed |
//! | `cross-origin-opener-policy`, and `-report-only` | [`Coop`] | `same-origin` | pages of other origins get no handle of the window |
//! | `cross-origin-resource-policy` | [`Corp`] | `same-origin` | other origins can neither embed the response nor read it from memory |
//! | `origin-agent-cluster` | [`OriginAgentCluster`] | `?1` | the origin gets a heap of its own |
//! | `referrer-policy` | [`ReferrerPolicy`] | `no-referrer` | URLs and their queries do not leak |
//! | `strict-transport-security` | [`Hsts`] | `max-age=31536000; includeSubDomains` | a year of HTTPS only |
//! | `x-content-type-options` | [`ContentTypeOptions`] | `nosniff` | an upload that looks like a script does not run |
//! | `x-dns-prefetch-control` | [`DnsPrefetch`] | `off` | browsers do not reveal links before a click |
//! | `x-download-options` | [`DownloadOptions`] | `noopen` | old Internet Explorer does not open downloads in the site's context |
//! | `x-frame-options` | [`FrameOptions`] | `SAMEORIGIN` | browsers without `frame-ancestors` keep frames on the site |
//! | `x-permitted-cross-domain-policies` | [`CrossDomainPolicies`] | `none` | Flash and Acrobat load no data across domains |
//! | `x-xss-protection` | [`XssProtection`] | `0` | attacks can use the filter that this turns off |
//! | `integrity-policy`, and `-report-only` | [`IntegrityPolicy`] | none | only pages with hashes work with it |
//! | `permissions-policy` | [`PermissionsPolicy`] | none | the features that a page needs differ |
//! | `reporting-endpoints` | [`Endpoint`] | none | the layer defines the endpoints of its headers |
//!
//! The default policy is:
//!
//! ```text
//! default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests
//! ```
//!
//! The layer also removes `x-powered-by` from what the service sends, unless it
//! [keeps](SecurityHeadersLayer::keep) it. [`owasp`](SecurityHeadersLayer::owasp),
//! [`api`](SecurityHeadersLayer::api) and [`none`](SecurityHeadersLayer::none) start with other
//! headers.
//!
//! # Placement
//!
//! Put the layer outside of layers that respond themselves (limits, caches, authentication), so that
//! their responses have the headers too, and inside of [`latency` and `pressure`](crate#order), so
//! that a request that is shed costs little.
//!
//! # What it does not do
//!
//! - The layer never changes a status or a body, and no request or response makes it fail.
//! - It removes and replaces no header of the service, except `x-powered-by`, those of
//!   [`strip`](SecurityHeadersLayer::strip) and [`override_all`](SecurityHeadersLayer::override_all),
//!   and the caching headers of a response with a [nonce](self#nonces).
//! - It does not add the layer's endpoints to a `reporting-endpoints` of the service.
//! - It offers no obsolete headers: `expect-ct`, `public-key-pins`, `feature-policy`, `pragma`.
//! - It does not send `clear-site-data`; [`ClearSiteData`] is for handlers.

mod caching;
mod clear_site_data;
mod conditions;
mod cross_origin;
mod csp;
mod endpoint;
mod error;
#[cfg(feature = "axum")]
mod extract;
mod feature;
mod header;
mod hsts;
mod integrity;
mod layer;
mod legacy;
mod nonce;
mod overrides;
mod permissions;
mod policy;
mod presets;
mod referrer;
mod service;
mod structured;

pub use clear_site_data::ClearSiteData;
pub use conditions::{LOOPBACK_HOSTS, forwarded_proto};
pub use cross_origin::{Coep, Coop, Corp, OriginAgentCluster};
pub use csp::{Csp, Directive, Source};
pub use endpoint::Endpoint;
pub use error::InvalidHeader;
pub use feature::Feature;
pub use header::Header;
pub use hsts::Hsts;
pub use integrity::IntegrityPolicy;
pub use layer::SecurityHeadersLayer;
pub use legacy::{
    ContentTypeOptions, CrossDomainPolicies, DnsPrefetch, DownloadOptions, FrameOptions,
    XssProtection,
};
pub use nonce::{Nonce, NonceError};
pub use overrides::Overrides;
pub use permissions::{Allowlist, PermissionsPolicy};
pub use presets::FINGERPRINT_HEADERS;
pub use referrer::ReferrerPolicy;
pub use service::{ResponseFuture, SecurityHeaders};
