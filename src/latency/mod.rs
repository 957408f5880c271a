//! Measures how long clients waited, to the last byte, as histograms.
//!
//! Numbers go through the [`metrics`](https://docs.rs/metrics) facade, so any exporter takes them.
//!
//! ```
//! use axum::{Router, extract::MatchedPath, routing::get};
//! use tower_kit::LatencyLayer;
//!
//! let app: Router = Router::new().route("/items/{id}", get(|| async { "an item" })).layer(
//!     LatencyLayer::new()
//!         .route(|request| request.extensions.get().map(MatchedPath::as_str))
//!         .skip(|request| request.uri.path() == "/healthz"),
//! );
//! ```
//!
//! Without a router that knows its templates, give them:
//!
//! ```
//! use tower_kit::latency::{LatencyLayer, Names};
//!
//! let layer = LatencyLayer::new()
//!     .names(Names::OpenTelemetry)
//!     .routes(["/", "/items", "/items/{id}", "/files/{*path}"])
//!     .first_byte()
//!     .sizes();
//! # drop(layer);
//! ```
//!
//! # What is measured
//!
//! | [`Names::Prometheus`] | [`Names::OpenTelemetry`] | kind | on |
//! |---|---|---|---|
//! | `http_request_duration_seconds` | `http.server.request.duration` | histogram, s | always |
//! | `http_requests_in_flight` | `http.server.active_requests` | gauge | always |
//! | `http_request_first_byte_seconds` | `http.server.request.first_byte` | histogram, s | [`first_byte`](LatencyLayer::first_byte) |
//! | `http_request_size_bytes` | `http.server.request.body.size` | histogram, bytes | [`sizes`](LatencyLayer::sizes) |
//! | `http_response_size_bytes` | `http.server.response.body.size` | histogram, bytes | [`sizes`](LatencyLayer::sizes) |
//! | `http_streams_total` | `http.server.streams` | counter | as they come |
//! | `http_series_overflow_total` | `http.server.series_overflow` | counter | as they come |
//!
//! The duration is the time from the call of this layer to the *last byte* of the response body,
//! as it is handed to the server; [`until_first_byte`](LatencyLayer::until_first_byte) ends it
//! with the head. The request size is the declared one (`content-length`, or the exact length that
//! the body states): a chunked request body is not counted, since that would change its type for
//! the service. The response size is what was handed to the server.
//!
//! The gauge counts requests, from the call to the last byte. Open connections, many of which are
//! idle, say nothing about load, and a layer does not see them.
//!
//! # Labels
//!
//! | `Prometheus` | `OpenTelemetry` | values |
//! |---|---|---|
//! | `method` | `http.request.method` | the nine of RFC 9110 and 5789; any other is `_OTHER` |
//! | `route` | `http.route` | a template; `unmatched`, or left out under OpenTelemetry |
//! | `status_code` | `http.response.status_code` | left out where there was no response |
//! | `outcome` | `error.type` | below; under OpenTelemetry only what failed, and the code of a 5xx |
//! | | `url.scheme` | `http`, `https` |
//!
//! | `outcome` | how the request ended |
//! |---|---|
//! | `ok` | the response is complete, whatever its status |
//! | `service_error` | the service failed, so there was no response |
//! | `timeout` | the service or the body failed with `tower`'s `Elapsed`, or with an I/O time-out: as that type, or as a boxed error that comes from it |
//! | `body_error` | the response body failed |
//! | `disconnect` | the client left before the response body was complete |
//! | `cancelled` | the client left, or an outer layer gave up, before there was a response |
//! | `panic` | the service or the body panicked |
//!
//! Labels cannot explode. A route is a template, never the path: the first there is of
//!
//! 1. a [`Route`] among the extensions of the response,
//! 2. what [`route`](LatencyLayer::route) finds,
//! 3. a [`Route`] among the extensions of the request,
//! 4. the template of [`routes`](LatencyLayer::routes) that matches the path.
//!
//! After [`max_series`](LatencyLayer::max_series) sets of labels, new ones are folded into one whose
//! labels are all `_overflow`, and each such request counts on `http_series_overflow_total`.
//!
//! # Streams
//!
//! An event stream (`text/event-stream`) lasts as long as its client likes, and an upgraded
//! connection (101, or 2xx to CONNECT) is no response at all: both would poison percentiles. They
//! count on `http_streams_total`, with `kind` either `event_stream` or `upgrade`, and stay out of
//! the histograms. An event stream is in flight until it ends.
//!
//! # Defaults
//!
//! | what | default | why |
//! |---|---|---|
//! | names | `Prometheus` | what most dashboards query |
//! | duration until | the last byte | that is what a client waits for |
//! | first byte, sizes | off | each histogram is a dozen time series per set of labels |
//! | sets of labels | at most 2,000 | what OpenTelemetry's SDKs allow; a service has a few hundred |
//! | skipped | nothing | a health check is a request too |
//!
//! # The exporter
//!
//! `metrics-exporter-prometheus` exports a *summary* unless it is given buckets, and summaries of
//! several processes cannot be added up. It also keeps every sample (16 bytes) until its upkeep
//! runs or `/metrics` is asked for: call `PrometheusHandle::run_upkeep` every few seconds.
//!
//! ```
//! use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
//! use tower_kit::latency::{DURATION_BUCKETS, SIZE_BUCKETS};
//!
//! # fn main() -> Result<(), metrics_exporter_prometheus::BuildError> {
//! let recorder = PrometheusBuilder::new()
//!     .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &DURATION_BUCKETS)?
//!     .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &SIZE_BUCKETS)?
//!     .build_recorder();
//! # drop(recorder);
//! # Ok(())
//! # }
//! ```
//!
//! The layer may be built before the recorder is installed, and an exporter may expire idle
//! metrics: handles are registered again every ten seconds.
//!
//! # Where it goes
//!
//! Outermost, so that what the other layers answer and take counts too. With axum, `MatchedPath` is
//! there for layers that are added with `Router::layer`, not for one around the whole `Router`: use
//! [`routes`](LatencyLayer::routes) there.
//!
//! # What it never does
//!
//! It never changes a request or a response, takes no lock, and allocates nothing for a set of
//! labels that it has seen. It never reads the path, the host or an error's text into a label.

mod body;
mod errors;
mod future;
mod grow;
mod labels;
mod layer;
mod methods;
mod names;
mod policy;
mod register;
mod series;
mod service;
mod sync;
mod totals;
mod upgrade;
mod watch;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub use labels::InvalidLabel;
pub use layer::LatencyLayer;
pub use names::{DURATION_BUCKETS, LIFETIME_BUCKETS, Names, SIZE_BUCKETS};
pub use policy::Route;
pub use service::Latency;
pub use upgrade::UpgradeGuard;
