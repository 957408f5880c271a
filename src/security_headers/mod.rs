//! Sends security headers: those that [helmet](https://helmetjs.github.io) 8.3.0 sends, to the
//! byte, or others of your own, each checked when it is set.
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let app: Router =
//!     Router::new().route("/", get(|| async { "hello" })).layer(SecurityHeadersLayer::new());
//! ```
//!
//! What a field says is a value with a type, and the layer has [`set`] and [`remove`]:
//!
//! ```
//! use std::time::Duration;
//!
//! use http::header::X_DNS_PREFETCH_CONTROL;
//! use tower_kit::SecurityHeadersLayer;
//! use tower_kit::security_headers::{
//!     Csp, Directive::*, Endpoint, Feature, Hsts, InvalidField, LEAKS, PermissionsPolicy, Source,
//! };
//!
//! fn headers() -> Result<SecurityHeadersLayer, InvalidField> {
//!     let reports = Endpoint::new("reports", "https://reports.example.com/");
//!     let policy = Csp::helmet()
//!         .append(ImgSrc, ["https://images.example.com"])
//!         .append(ScriptSrc, [Source::NONCE])
//!         .report_to(&reports);
//!     let features = PermissionsPolicy::new().deny([Feature::Camera, Feature::Microphone]);
//!     Ok(SecurityHeadersLayer::new()
//!         .set(policy)?
//!         .set(Hsts::new(Duration::from_secs(63_072_000)).include_subdomains().preload())?
//!         .set(features)?
//!         .custom("x-robots-tag", "noindex")?
//!         .remove(X_DNS_PREFETCH_CONTROL)
//!         .strip(LEAKS))
//! }
//! # headers().unwrap();
//! ```
//!
//! [`set`]: SecurityHeadersLayer::set
//! [`remove`]: SecurityHeadersLayer::remove
//!
//! # Fields
//!
//! | field | type | default | why |
//! |---|---|---|---|
//! | `content-security-policy`, and `-report-only` | [`Csp`] | [`Csp::helmet`] | an injected script does not run, and forms and frames stay on the site ([CSP3](https://www.w3.org/TR/CSP3/)) |
//! | `cross-origin-embedder-policy`, and `-report-only` | [`Coep`] | none | it breaks pages that embed what has not agreed to it |
//! | `cross-origin-opener-policy`, and `-report-only` | [`Coop`] | `same-origin` | pages of other origins get no handle on the window |
//! | `cross-origin-resource-policy` | [`Corp`] | `same-origin` | other origins cannot embed the answer, nor read it from memory |
//! | `origin-agent-cluster` | [`OriginAgentCluster`] | `?1` | the origin gets a process, or at least a heap, of its own |
//! | `referrer-policy` | [`ReferrerPolicy`] | `no-referrer` | addresses, and what stands in their queries, do not leak |
//! | `strict-transport-security` | [`Hsts`] | `max-age=31536000; includeSubDomains` | a year of HTTPS only (RFC 6797; browsers ignore it over plain HTTP) |
//! | `x-content-type-options` | [`ContentTypeOptions`] | `nosniff` | an upload is not run because it looks like a script |
//! | `x-dns-prefetch-control` | [`DnsPrefetch`] | `off` | link targets are not looked up before they are followed |
//! | `x-download-options` | [`DownloadOptions`] | `noopen` | old Internet Explorer does not open downloads in the site's context |
//! | `x-frame-options` | [`FrameOptions`] | `SAMEORIGIN` | what `frame-ancestors` says, for browsers before it (RFC 7034) |
//! | `x-permitted-cross-domain-policies` | [`CrossDomainPolicies`] | `none` | Flash and Acrobat load no data across domains |
//! | `x-xss-protection` | [`XssProtection`] | `0` | the filter that it switches off could itself be used for attacks |
//! | `integrity-policy`, and `-report-only` | [`IntegrityPolicy`] | none | scripts and styles have to state their hashes |
//! | `permissions-policy` | [`PermissionsPolicy`] | none | which features a page needs, only it knows |
//! | `reporting-endpoints` | [`Endpoint`] | none | the layer defines the endpoints that its fields report to |
//! | any other | [`custom`](SecurityHeadersLayer::custom) | none | |
//!
//! They are sent in this order, before those of the service. A service that sets
//! `reporting-endpoints` itself has to define all endpoints. What is obsolete is not offered:
//! `expect-ct`, `public-key-pins`, `feature-policy`, `pragma`. [`ClearSiteData`] is for handlers.
//!
//! # Defaults
//!
//! [`SecurityHeadersLayer::new`] sends, as helmet does:
//!
//! ```text
//! content-security-policy: default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests
//! cross-origin-opener-policy: same-origin
//! cross-origin-resource-policy: same-origin
//! origin-agent-cluster: ?1
//! referrer-policy: no-referrer
//! strict-transport-security: max-age=31536000; includeSubDomains
//! x-content-type-options: nosniff
//! x-dns-prefetch-control: off
//! x-download-options: noopen
//! x-frame-options: SAMEORIGIN
//! x-permitted-cross-domain-policies: none
//! x-xss-protection: 0
//! ```
//!
//! and removes `x-powered-by` from what the service sends, unless the layer
//! [keeps](SecurityHeadersLayer::keep)
//! it.
//!
//! [`owasp`](SecurityHeadersLayer::owasp), [`api`](SecurityHeadersLayer::api) and
//! [`none`](SecurityHeadersLayer::none) begin with others.
//!
//! # One response
//!
//! A field that the service sets itself wins, with all its lines: the layer's is not sent. For a
//! `content-security-policy` that means all of its directives.
//!
//! ```
//! use axum::http::header::REFERRER_POLICY;
//! use axum::{Router, routing::get};
//! use tower_kit::SecurityHeadersLayer;
//!
//! let shop = || async { ([(REFERRER_POLICY, "origin")], "where our partners see us come from") };
//! let app: Router = Router::new().route("/shop", get(shop)).layer(SecurityHeadersLayer::new());
//! ```
//!
//! [`Overrides`] in the extensions of the response leave a field of the layer's out, or add to its
//! policy.
//!
//! A policy that must win instead has [`override_all`](SecurityHeadersLayer::override_all), or
//! [`override_field`](SecurityHeadersLayer::override_field) for some fields.
//!
//! # Nonces
//!
//! A policy with [`Source::NONCE`] gives each request a [`Nonce`], for the page to put on its
//! scripts. It is drawn only if it is asked for. A response without it has the policy without
//! it, which forbids all that a nonce would have allowed, and is the same each time.
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
//! # fn app() -> Result<Router, tower_kit::security_headers::InvalidField> {
//! let headers = SecurityHeadersLayer::none().set(POLICY)?;
//! let app = Router::new().route("/", get(page)).layer(headers);
//! # Ok(app)
//! # }
//! # app().unwrap();
//! ```
//!
//! - Where no policy of the layer has [`Source::NONCE`], requests have no [`Nonce`], and axum's
//!   `Extension<Nonce>` answers 500. With the feature `axum`, [`Nonce`] is an extractor by itself,
//!   as is `Option<Nonce>`.
//! - Without the nonce, `'unsafe-inline'` beside it is not sent either: it is for browsers that
//!   know no nonces, and would begin to count for the others.
//! - The value is marked sensitive, so that HPACK does not index it; so is a policy that the
//!   service sets itself.
//! - A 304 has no policy with a nonce: it would replace the one that the browser has kept with the
//!   page, whose nonce is another (RFC 9111 §4.3.4). So a page that is only ever confirmed keeps
//!   the policy that it came with.
//! - A layer inside of another one uses the nonce that the other has given.
//! - A response whose nonce was used is private: the layer adds `private` to its `cache-control`, and
//!   takes `public` and `s-maxage` out. Headers that single caches heed instead (`cdn-cache-control` and
//!   others of RFC 9213, `surrogate-control`, `edge-control`) become `no-store`, and
//!   `x-accel-expires` becomes `0`. `expires` stays, for the client's own cache. A nonce that is sent
//!   to two clients protects neither. `no-store` and `private` of the service stay as they are. A
//!   [cache](crate#order) of this crate keeps no such response, wherever it stands.
//! - A nonce that is first asked for while the body is sent is too late for the policy, and for
//!   `cache-control`. It is empty, [`Nonce::get`] returns an error, and the response is counted.
//!
//! # Local servers
//!
//! Browsers remember `strict-transport-security` for `localhost` as for any host, on all ports.
//! [`http_hosts`](SecurityHeadersLayer::http_hosts)`(`[`LOOPBACK`]`)` leaves it and
//! `upgrade-insecure-requests` out for hosts of the own machine, and
//! [`https_only`](SecurityHeadersLayer::https_only) for all requests by plain HTTP. Neither is on by
//! default, as in helmet.
//!
//! # Newer values
//!
//! Each type sends what it does not know by its `custom`: a source, a directive, a feature, a policy, a
//! type of data. Only the characters of these are checked, so that none of them can end its directive or
//! its list, or stand for a nonce. [`SecurityHeadersLayer::custom`] lists them.
//!
//! # What is measured
//!
//! | name | kind | |
//! |---|---|---|
//! | `http_nonces_missed_total{reason}` | counter | responses whose nonce was asked for and not sent: `late`, or `random` where the operating system had no random bits |
//!
//! # Where it goes
//!
//! Outside of what answers for itself (limits, caches, authentication), so that refusals carry the
//! fields too, and inside of [`latency` and `pressure`](crate#order): what is shed costs next to nothing.
//!
//! # What it never does
//!
//! It never changes a status or a body. It removes nothing that the service has set, and replaces
//! nothing but `x-powered-by`, unless it is told to ([`strip`](SecurityHeadersLayer::strip),
//! [`override_all`](SecurityHeadersLayer::override_all)), or a [nonce](self#nonces) was used in a
//! response that others could store. No request makes it fail, and no
//! response.

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
